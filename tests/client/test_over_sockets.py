"""Both clients over real sockets: errors by their names, what is sent again, pages as they are needed, and closing."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import httpx
import pytest

from outdial.client import AsyncClient, Client, clients, errors
from support import answers
from support.raw_server import ACCESS, answer, hang, running
from waiting import until


@pytest.fixture(params=["sync", "async"])
def ask(request):
    """Talk to a server by either client: ``talk`` is given one and returns what came of a method of it."""

    async def by(url: str, talk, **options):
        if request.param == "async":
            async with AsyncClient(url, **{**ACCESS, **options}) as client:
                found = talk(client)
                return await found if inspect.isawaitable(found) else [item async for item in found]

        def inside():
            with Client(url, **{**ACCESS, **options}) as client:
                found = talk(client)
                return list(found) if isinstance(found, Iterator) else found

        return await asyncio.to_thread(inside)

    return by


def refusal(status: int, *headers: str) -> bytes:
    return answer({"errors": [{"msg": f"No, {status}.", "code": status}]}, f"{status} X", *headers)


KINDS = {
    400: (errors.BadRequestError, "bad_request", False),
    401: (errors.UnauthorizedError, "unauthorized", False),
    403: (errors.RefusedError, "refused", False),
    404: (errors.NotFoundError, "not_found", False),
    409: (errors.ConflictError, "conflict", False),
    412: (errors.InvalidInputError, "invalid_input", False),
    413: (errors.TooLargeError, "too_large", False),
    429: (errors.RateLimitedError, "rate_limited", True),
    500: (errors.RefusedError, "refused", False),
    501: (errors.NotBuiltError, "not_built", False),
    502: (errors.UnavailableError, "unavailable", True),
    503: (errors.UnavailableError, "unavailable", True),
    504: (errors.UnavailableError, "unavailable", True),
}


async def test_every_refusal_has_its_class_code_and_sentence(ask):
    statuses = list(KINDS)

    async def refuse(number, writer) -> None:
        writer.write(refusal(statuses[number - 1], f"X-Request-Id: r-{number}", "Retry-After: 9"))

    async with running(refuse) as server:
        for number, (status, (kind, code, retryable)) in enumerate(KINDS.items(), start=1):
            with pytest.raises(errors.RefusedError) as caught:
                await ask(server.url, lambda client: client.start("cd-1"), patience_seconds=0)
            error = caught.value
            assert (type(error), error.code, error.retryable) == (kind, code, retryable)
            assert (error.status, error.sentences, str(error)) == (status, (f"No, {status}.",), f"No, {status}.")
            assert (error.request_id, error.retry_after_seconds) == (f"r-{number}", 9.0)
    # none of them was sent twice
    assert len(server.requests) == len(KINDS)


def key_of(request: bytes) -> bytes:
    (found,) = re.findall(rb"(?i)idempotency-key: (\S+)", request)
    return found


async def test_a_start_that_was_not_admitted_is_sent_again_when_told_and_is_the_same(ask):
    at = []

    async def limited(number, writer) -> None:
        at.append(time.monotonic())
        writer.write(refusal(429, "Retry-After: 1") if number == 1 else answer(answers.STARTED))

    async with running(limited) as server:
        assert (await ask(server.url, lambda client: client.start("cd-1"))).campaign_instance_id == "cid-1"
    first, second = server.requests
    assert key_of(first) == key_of(second)
    assert first.partition(b"\r\n\r\n")[2] == second.partition(b"\r\n\r\n")[2] == b"{}"
    assert at[1] - at[0] >= 1.0


@pytest.mark.parametrize("idempotent", [False, True])
async def test_a_change_that_may_have_been_done_is_sent_again_only_with_a_promise(ask, idempotent):
    """The answer was begun, so it was done; then the line broke."""

    async def torn(number, writer) -> None:
        whole = answer(answers.data(answers.CAMPAIGN))
        writer.write(whole[:-20] if number == 1 else whole)
        if number == 1:
            await writer.drain()
            writer.close()

    async with running(torn) as server:
        deleting = ask(server.url, lambda client: client.delete_campaign("cd-1"), idempotent=idempotent)
        if idempotent:
            assert (await deleting).id == "cd-1"
        else:
            with pytest.raises(errors.NoAnswerError):
                await deleting
    assert len({key_of(request) for request in server.requests}) == 1
    assert len(server.requests) == 1 + idempotent


async def test_a_server_that_hangs_is_given_its_time_and_a_start_is_not_sent_again(ask):
    async with running(hang) as server, asyncio.timeout(60):
        with pytest.raises(errors.NoAnswerError) as caught:
            await ask(server.url, lambda client: client.start("cd-1"), timeout_seconds=0.3)
        assert caught.value.retryable
        assert len(server.requests) == 1
        # a look may be repeated, as often as everything is
        with pytest.raises(errors.NoAnswerError):
            await ask(server.url, lambda client: client.status("cd-1"), timeout_seconds=0.3)
    assert len(server.requests) == 1 + 3


async def test_a_head_that_trickles_keeps_the_asynchronous_client_no_longer_than_told():
    async def trickling(_number, writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-More: 1\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with running(trickling) as server, asyncio.timeout(60):
        async with AsyncClient(server.url, **ACCESS, timeout_seconds=0.3) as client:
            with pytest.raises(errors.NoAnswerError):
                await client.start("cd-1")
            # the stop's own time is all it takes too
            with pytest.raises(errors.NoAnswerError):
                await client.stop("cd-1", within_seconds=0.5)
        assert sum(b"trigger=play" in request for request in server.requests) == 1


async def test_an_answer_that_cannot_be_unpacked_is_none(ask):
    async def garbled(_number, writer) -> None:
        writer.write(answer(answers.STARTED, "200 OK", "Content-Encoding: gzip"))

    before = asyncio.all_tasks()
    async with running(garbled) as server:
        with pytest.raises(errors.NoAnswerError):
            await ask(server.url, lambda client: client.start("cd-1"))
    assert len(server.requests) == 1
    # httpx leaves the generator that it read from to the event loop
    await until(lambda: asyncio.all_tasks() <= before)


NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
MAYBE_SENT = (httpx.ReadError, httpx.ReadTimeout, httpx.WriteError, httpx.WriteTimeout, httpx.RemoteProtocolError)


@pytest.mark.parametrize("kind", [*NOT_SENT, *MAYBE_SENT])
async def test_what_may_have_left_is_told_from_what_has_not(ask, kind):
    asked = []

    def lost(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if len(asked) < 3:
            raise kind("lost\nand more", request=request)
        return httpx.Response(200, json=answers.STARTED)

    starting = ask("http://api", lambda client: client.start("cd-1"), transport=httpx.MockTransport(lost))
    if kind in NOT_SENT:
        assert (await starting).status == "Active"
        assert len({request.headers["Idempotency-Key"] for request in asked}) == 1
        assert len(asked) == 3
    else:
        with pytest.raises(errors.NoAnswerError) as caught:
            await starting
        assert caught.value.sentences == ("No answer came from the server: lost.",)
        assert (caught.value.status, caught.value.request_id, len(asked)) == (None, None, 1)


async def test_nobody_listens_is_told_as_not_sent(ask):
    async with running(hang) as server:
        url = server.url
    with pytest.raises(errors.NotSentError) as caught:
        await ask(url, lambda client: client.stop("cd-1", within_seconds=0.5))
    assert caught.value.sentences[0].startswith("The server could not be reached: ")


async def test_what_goes_out(ask):
    async def good(_number, writer) -> None:
        writer.write(answer(answers.STARTED))

    async with running(good) as server:
        await ask(f"{server.url}/prefix/", lambda client: client.start("cd-1"), account_id="a" * 24)
    (request,) = server.requests
    head, _, body = request.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert first == "POST /prefix/campaign/api/v1/public/st-1/campaign/cd-1?campaignType=voice&trigger=play HTTP/1.1"
    assert (headers["iid"], headers["accountid"], headers["content-type"]) == ("st-1", "a" * 24, "application/json")
    assert headers["auth"].count(".") == 2
    assert ACCESS["client_secret"] not in request.decode()
    assert body == "{}"


class Pages:
    """A run with contacts 0 … total - 1, in pages."""

    def __init__(self, total: int, *, breaks_at: int | None = None) -> None:
        self._total = total
        self._breaks_at = breaks_at

    async def __call__(self, number, writer) -> None:
        if number == self._breaks_at:
            writer.write(refusal(409))
            return
        first = (number - 1) * 2
        found = range(first, min(first + 2, self._total))
        rows = [{**answers.RUN_CONTACT, "phoneNumber": str(each)} for each in found]
        writer.write(answer(answers.page(*rows, total=self._total)))


def bodies(server) -> list:
    return [json.loads(request.partition(b"\r\n\r\n")[2]) for request in server.requests]


async def test_pages_are_asked_for_one_after_another(ask):
    async with running(Pages(5)) as server:
        found = await ask(server.url, lambda client: client.run_contacts("cd-1", page_size=2))
    assert [each.phone_number for each in found] == list("01234")
    assert bodies(server) == [{"page": number, "limit": 2} for number in (1, 2, 3)]


async def test_nothing_is_asked_before_it_is_wanted():
    async with running(Pages(99)) as server:

        def some() -> list[str]:
            with Client(server.url, **ACCESS) as client:
                listing = client.run_contacts("cd-1", page_size=2)
                assert server.requests == []
                found = [each.phone_number for each in islice(listing, 3)]
                # and the client serves on
                return [*found, next(client.run_contacts("cd-1", page_size=2)).phone_number]

        assert (await asyncio.to_thread(some))[:3] == ["0", "1", "2"]
        assert len(server.requests) == 3
        assert server.connections == 1


async def test_an_asynchronous_listing_is_left_in_the_middle():
    async with running(Pages(99)) as server, AsyncClient(server.url, **ACCESS) as client:
        found = []
        listing = client.run_contacts("cd-1", page_size=2)
        assert server.requests == []
        async for each in listing:
            found.append(each.phone_number)
            if len(found) == 3:
                break
        await listing.aclose()
        assert (found, len(server.requests), server.connections) == (["0", "1", "2"], 2, 1)


async def test_what_came_before_a_failure_has_been_handed_on():
    async with running(Pages(99, breaks_at=2)) as server, AsyncClient(server.url, **ACCESS) as client:
        found = []
        with pytest.raises(errors.ConflictError):
            async for each in client.run_contacts("cd-1", page_size=2):
                found.append(each.phone_number)  # noqa: PERF401 - what is kept when it breaks off
    assert found == ["0", "1"]


async def by_name(_number, writer) -> None:
    writer.write(answer(answers.STATUS))


async def test_a_client_keeps_its_connection_and_closes_it(ask):
    async with running(by_name) as server:

        def talk(client):
            if isinstance(client, Client):
                return [client.status("cd-1").status for _ in range(3)]

            async def three():
                return [(await client.status("cd-1")).status for _ in range(3)]

            return three()

        assert await ask(server.url, talk) == ["Active"] * 3
        assert server.connections == 1
        await until(lambda: server.ended == 1)


async def test_a_client_that_is_closed_asks_nobody():
    async with running(by_name) as server:
        client = AsyncClient(server.url, **ACCESS)
        await client.status("cd-1")
        await client.close()
        with pytest.raises(RuntimeError, match="closed"):
            await client.status("cd-1")
        with pytest.raises(ZeroDivisionError):
            async with AsyncClient(server.url, **ACCESS) as other:
                await other.status("cd-1")
                raise ZeroDivisionError
        # also when the block was left by an error
        await until(lambda: server.ended == server.connections == 2)
        assert len(server.requests) == 2


async def echo(server, number, writer) -> None:
    found = re.search(rb"campaign/(cd-\d+)/status", server.requests[number - 1])
    writer.write(answer(answers.data({"id": found[1].decode(), "status": "Active", "name": "Spring"})))


async def test_many_threads_share_one_client_and_each_gets_its_own_answer():
    async with running(by_name) as server:

        async def own(number, writer) -> None:
            await echo(server, number, writer)

        server.behaviour = own
        ids = [f"cd-{number}" for number in range(40)]

        def talk() -> list[str]:
            with Client(server.url, **ACCESS) as client, ThreadPoolExecutor(8) as pool:
                return [found.id for found in pool.map(client.status, ids)]

        assert await asyncio.to_thread(talk) == ids
        assert len(server.requests) == 40


async def test_who_gives_up_waiting_has_sent_it_once_and_can_ask_on():
    async def first_hangs(number, writer) -> None:
        if number == 1:
            await asyncio.Event().wait()
        writer.write(answer(answers.STATUS))

    async with running(first_hangs) as server, AsyncClient(server.url, **ACCESS) as client:
        starting = asyncio.create_task(client.start("cd-1"))
        await until(lambda: len(server.requests) == 1)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert (await client.status("cd-1")).status == "Active"
        assert len(server.requests) == 2


async def test_where_all_connections_are_in_use_nothing_was_sent(monkeypatch):
    """It says so, and soon: whoever has not sent a start may send it again."""
    monkeypatch.setattr(clients, "CONNECT_SECONDS", 5.0)
    async with running(hang) as server, AsyncClient(server.url, **ACCESS) as client:
        busy = [asyncio.create_task(client.status("cd-1")) for _ in range(100)]
        await until(lambda: len(server.requests) == 100)
        monkeypatch.setattr(clients, "CONNECT_SECONDS", 0.1)
        with pytest.raises(errors.NotSentError):
            await client.start("cd-1")
        assert len(server.requests) == 100
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
