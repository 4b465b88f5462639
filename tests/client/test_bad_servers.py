"""Servers that hang, hang up, trickle and lie: real sockets, and never more than the time that was given."""

from __future__ import annotations

import asyncio

import pytest

from outdial.client import AsyncClient, Client, NoAnswerError, NotSentError, NotUnderstoodError, UnavailableError
from support.answers import STARTED, STATUS, STOPPED
from support.raw_server import ACCESS, answer, hang, hang_up, running, trickle


@pytest.fixture(params=["sync", "async"])
def stop(request):
    """Stops by either client; ``options`` are the client's, the rest the stop's."""

    async def by(url: str, *, within_seconds: float, **options):
        if request.param == "async":
            async with AsyncClient(url, **ACCESS, **options) as client:
                return await client.stop("cd-1", within_seconds=within_seconds)

        def talk():
            with Client(url, **ACCESS, **options) as client:
                return client.stop("cd-1", within_seconds=within_seconds)

        return await asyncio.to_thread(talk)

    return by


async def test_a_stop_outlasts_lost_connections_and_missing_proofs(stop):
    async def flaky(number, writer) -> None:
        if number == 1:
            writer.transport.abort()
        elif number == 2:
            writer.write(answer({"errors": [{"msg": "Not yet.", "code": 503}]}, "503 X", "Retry-After: 1"))
        else:
            writer.write(answer(STOPPED))

    async with running(flaky) as server:
        stopped = await stop(server.url, within_seconds=20)
    assert stopped.campaign_instance_id == "cid-1"
    assert len(server.requests) == 3
    assert all(b"trigger=stop" in request for request in server.requests)


@pytest.mark.parametrize("behaviour", [hang, trickle, hang_up], ids=["hangs", "trickles", "hangs up"])
async def test_no_server_keeps_a_stop_longer_than_it_was_given(stop, behaviour):
    async with running(behaviour) as server, asyncio.timeout(30):
        with pytest.raises(NoAnswerError) as caught:
            await stop(server.url, within_seconds=1)
    assert caught.value.sentences[0].startswith("No answer came from the server")


async def test_a_stop_that_is_not_proven_says_so(stop):
    async def unproven(_number, writer) -> None:
        writer.write(answer({"errors": [{"msg": "Not yet.", "code": 503}]}, "503 X", "X-Request-Id: r-7"))

    async with running(unproven) as server:
        with pytest.raises(UnavailableError) as caught:
            await stop(server.url, within_seconds=0.5)
    assert (caught.value.sentences, caught.value.request_id) == (("Not yet.",), "r-7")


async def test_a_redirect_is_not_followed(stop):
    async def elsewhere(_number, writer) -> None:
        writer.write(answer(STOPPED, "302 Found", "Location: http://127.0.0.1:1/"))

    async with running(elsewhere) as server:
        with pytest.raises(Exception, match="302") as caught:
            await stop(server.url, within_seconds=5)
    assert (caught.value.code, len(server.requests)) == ("refused", 1)


async def test_a_page_of_somebody_else_is_no_proof(stop):
    async def portal(_number, writer) -> None:
        writer.write(answer("<html>Please sign in</html>"))

    async with running(portal) as server:
        with pytest.raises(NotUnderstoodError):
            await stop(server.url, within_seconds=5)


async def test_nobody_there():
    async with running(hang) as server:
        url = server.url
    async with AsyncClient(url, **ACCESS) as client:
        with pytest.raises(NotSentError) as caught:
            await client.start("cd-1")
    assert caught.value.retryable


@pytest.mark.parametrize("idempotent", [False, True])
async def test_a_start_is_sent_twice_only_with_the_servers_promise(idempotent):
    async def once(number, writer) -> None:
        if number == 1:
            writer.transport.abort()
        else:
            writer.write(answer(STARTED))

    async with running(once) as server, AsyncClient(server.url, idempotent=idempotent, **ACCESS) as client:
        if idempotent:
            assert (await client.start("cd-1")).status == "Active"
            keys = {line for request in server.requests for line in request.split(b"\r\n") if b"dempotency" in line}
            assert len(keys) == 1
        else:
            with pytest.raises(NoAnswerError):
                await client.start("cd-1")
    assert len(server.requests) == 1 + idempotent


async def test_proxies_of_the_environment_are_not_used_unless_asked_for(monkeypatch):
    async def good(_number, writer) -> None:
        writer.write(answer(STATUS))

    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with running(good) as server, running(hang_up) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        async with AsyncClient(server.url, **ACCESS) as client:
            assert (await client.status("cd-1")).status == "Active"
        assert proxy.requests == []
        async with AsyncClient(server.url, trust_env=True, **ACCESS) as client:
            with pytest.raises(NoAnswerError):
                await client.status("cd-1")
        assert proxy.requests
