"""Bodies are bounded and clean before anybody looks into them."""

from __future__ import annotations

import tracemalloc

import pytest
from starlette.requests import Request

from outdial.api.body import DEEPEST, LARGEST_BODY, pass_body_on, read_body, read_json
from outdial.core.errors import BadRequestError, InvalidInputError, TooLargeError


def request(*chunks: bytes, headers: dict[str, str] | None = None) -> Request:
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive():
        return messages.pop(0)

    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return Request({"type": "http", "method": "POST", "headers": raw}, receive)


@pytest.mark.parametrize("body", [b"", b" \r\n", b"null", b"\xef\xbb\xbf", b"\xef\xbb\xbf{}", b"{}\n"])
async def test_nothing_is_an_empty_object(body):
    assert await read_json(request(body)) == {}


async def test_a_body_in_pieces():
    assert await read_json(request(b'{"a":', b"[1,", b'"\xc3\xa4"]}')) == {"a": [1, "ä"]}


async def test_a_body_in_tiny_pieces_takes_no_more_room_than_it_is_long():
    length = 200_000
    pieces = iter(range(length))

    async def receive():
        piece = next(pieces)
        return {"type": "http.request", "body": bytes((32, piece % 256)), "more_body": piece < length - 1}

    tracemalloc.start()
    try:
        body = await read_body(Request({"type": "http", "method": "POST", "headers": []}, receive))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(body) == 2 * length
    # an object for each piece would be six million bytes and more
    assert most < 4 * len(body)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{", "The body is not valid JSON: "),
        (b"{'a': 1}", "The body is not valid JSON: "),
        (b'{"a":1}{', "The body is not valid JSON: "),
        (b'{"a":NaN}', "The body is not valid JSON: "),
        (b'{"a":1e999}', "The body is not valid JSON: "),
        (b'"\\ud800"', "The body is not valid JSON: "),
        (b'{"a":"\xff"}', "The body is not valid UTF-8"),
        (b"\x00", "The body is not valid JSON: "),
        ('{"a":1}'.encode("utf-16"), "The body is not valid JSON: "),
        (b"trigger=stop", "The body is not valid JSON: "),
    ],
)
async def test_what_is_no_json_is_refused(body, sentence):
    with pytest.raises(BadRequestError) as refused:
        await read_json(request(body))
    assert refused.value.message.startswith(sentence)


async def test_nul_characters_are_named_wherever_they_are():
    body = rb'{"a":"x\u0000","b":[{"c":"\u0000"}],"d\u0000":1,"e":"fine"}'
    with pytest.raises(InvalidInputError) as refused:
        await read_json(request(body))
    assert refused.value.problems == (
        "`a` holds a NUL character; remove it.",
        "`b[0].c` holds a NUL character; remove it.",
        "A field name in the body holds a NUL character; remove it.",
    )


@pytest.mark.parametrize("depth", [DEEPEST + 1, 5_000, 100_000])
async def test_deep_nesting_is_refused(depth):
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        inner = b"1" if opening == b"[" else b"[]"
        body = opening * depth + inner + closing * depth
        if len(body) <= LARGEST_BODY:
            with pytest.raises(InvalidInputError, match=f"nested deeper than {DEEPEST} levels"):
                await read_json(request(body))


async def test_the_deepest_that_is_read():
    assert await read_json(request(b"[" * DEEPEST + b"]" * DEEPEST))


async def test_a_declared_length_is_enough_to_refuse():
    async def receive():
        pytest.fail("the body was read")

    headers = [(b"content-length", str(LARGEST_BODY + 1).encode())]
    with pytest.raises(TooLargeError, match="larger than 1 MB"):
        await read_json(Request({"type": "http", "method": "POST", "headers": headers}, receive))


async def test_a_length_that_is_not_declared_is_counted():
    with pytest.raises(TooLargeError):
        await read_json(request(b" " * LARGEST_BODY, b" "))
    with pytest.raises(TooLargeError):
        await read_json(request(b" " * (LARGEST_BODY + 1), headers={"content-length": "2"}))
    assert await read_json(request(b" " * LARGEST_BODY)) == {}


async def test_a_million_digits_of_length_are_no_trouble():
    with pytest.raises(TooLargeError):
        await read_json(request(b"{}", headers={"content-length": "9" * 5000}))


async def test_a_client_that_hangs_up_in_its_body_is_no_failure_of_ours():
    messages = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive():
        return messages.pop(0)

    with pytest.raises(BadRequestError, match="hung up"):
        await read_json(Request({"type": "http", "method": "POST", "headers": []}, receive))


class Written(list):
    """What was handed on."""

    async def add(self, piece: bytes) -> None:
        self.append(piece)


@pytest.mark.parametrize(
    "chunks", [(), (b"",), (b"ab", b"c"), (b"x" * 700_000,) * 5], ids=["none", "empty", "few", "many"]
)
async def test_a_large_body_is_handed_on_as_it_comes(chunks):
    written = Written()
    await pass_body_on(request(*chunks), written.add, largest=4_000_000)
    assert b"".join(written) == b"".join(chunks)
    assert max(map(len, written)) < 2 * LARGEST_BODY


async def test_a_large_body_has_an_end_too():
    for asked in (request(b"x" * 60, b"x" * 60), request(headers={"content-length": "101"})):
        with pytest.raises(TooLargeError):
            await pass_body_on(asked, Written().add, largest=100)

    async def gone():
        return {"type": "http.disconnect"}

    with pytest.raises(BadRequestError, match="hung up"):
        await pass_body_on(Request({"type": "http", "method": "POST", "headers": []}, gone), Written().add, largest=100)
