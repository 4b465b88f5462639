"""Request bodies: read within bounds, decoded, and free of what the database cannot hold."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request

from outdial.api.headers import header
from outdial.core.errors import BadRequestError, InvalidInputError, TooLargeError

LARGEST_BODY: Final = 1024 * 1024
"""Bytes. A hundred contacts with a hundred and fifty columns each take a third of it."""

_BODY: Final = "outdial.body"
_PIECE: Final = 1024 * 1024

DEEPEST: Final = 32
"""Levels of objects and lists within one another; no documented body has more than five."""


async def read_json(request: Request, *, largest: int = LARGEST_BODY) -> Any:
    """Return the decoded body, ``{}`` when there is none or it is ``null``, whatever its content type says.

    Raises TooLargeError, BadRequestError for what is not JSON, InvalidInputError for text with NUL characters and for
    documents nested too deep.
    """
    data = (await read_body(request, largest=largest)).removeprefix(codecs.BOM_UTF8)
    if not data.strip():
        return {}
    try:
        document = msgspec.json.decode(data)
    except RecursionError:
        raise InvalidInputError([_too_deep("the body")]) from None
    except UnicodeDecodeError as error:
        raise BadRequestError(f"The body is not valid UTF-8 (byte {error.start} of a text).") from None
    except msgspec.DecodeError as error:
        raise BadRequestError(f"The body is not valid JSON: {error}.") from None
    problems: list[str] = []
    _look_through(document, "", 1, problems)
    if problems:
        raise InvalidInputError(problems)
    return {} if document is None else document


async def read_body(request: Request, *, largest: int = LARGEST_BODY) -> bytes:
    """Return the body as it was sent; it can be asked for again. Raises TooLargeError, and BadRequestError when the
    client hung up before all of it was there."""
    kept: bytes | None = request.scope.get(_BODY)
    if kept is None:
        kept = request.scope[_BODY] = await _read(request, largest)
    return kept


async def pass_body_on(request: Request, write: Callable[[bytes], Awaitable[None]], *, largest: int) -> None:
    """Hand on a body too large for memory as it arrives, about a megabyte at a time. It cannot be asked for again.

    Raises TooLargeError, BadRequestError when the client hung up before all of it was there, and what ``write`` raises.
    """
    piece = bytearray()
    async for part in _arriving(request, largest):
        piece += part
        if len(piece) >= _PIECE:
            await write(bytes(piece))
            piece.clear()
    await write(bytes(piece))


async def _read(request: Request, largest: int) -> bytes:
    # one buffer: a body may come in a million pieces of a byte, each an object
    data = bytearray()
    async for part in _arriving(request, largest):
        data += part
    return bytes(data)


async def _arriving(request: Request, largest: int) -> AsyncIterator[bytes]:
    declared = next(iter(header(request, b"content-length")), "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > largest:
        raise _too_large(largest)
    count, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            # nobody hears this: it is for the log, where it is no failure of ours
            raise BadRequestError("The client hung up before its whole body had arrived.")
        part = message.get("body", b"")
        more = message.get("more_body", False)
        count += len(part)
        if count > largest:
            raise _too_large(largest)
        yield part


def _too_large(largest: int) -> TooLargeError:
    return TooLargeError(f"The body is larger than {largest // 1024 // 1024} MB; send it in parts.")


def _look_through(value: Any, path: str, depth: int, problems: list[str]) -> None:
    """Name each text that holds a NUL character, which no PostgreSQL text can, and each branch that is too deep."""
    if isinstance(value, str):
        if "\0" in value:
            problems.append(f"{_named(path)} holds a NUL character; remove it.")
        return
    if not isinstance(value, dict | list):
        return
    if depth > DEEPEST:
        problems.append(_too_deep(_named(path)))
        return
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(key, str) and "\0" in key:
            problems.append(f"A field name in {_named(path)} holds a NUL character; remove it.")
        else:
            _look_through(item, join(path, key), depth + 1, problems)


def _named(path: str) -> str:
    return f"`{path}`" if path else "the body"


def _too_deep(what: str) -> str:
    return f"{what[0].upper()}{what[1:]} is nested deeper than {DEEPEST} levels."


def join(path: str, key: str | int) -> str:
    """Return the path of a field or list item below ``path``: ``a.b[0]``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key
