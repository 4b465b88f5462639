"""The application behind the real HTTP server: what only a socket can do to it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
import uvicorn

from outdial.api.app import create_app
from outdial.api.kore import campaigns as routes
from support.wire import ever_open
from waiting import until


@pytest.fixture
async def port(parts):
    server = uvicorn.Server(uvicorn.Config(create_app(parts), port=0, log_config=None, lifespan="on"))
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await task


@asynccontextmanager
async def connection(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield reader, writer
    writer.close()
    await writer.wait_closed()


async def talk(port: int, request: bytes) -> bytes:
    async with connection(port) as (reader, writer):
        writer.write(request)
        return await reader.read()


def head(tenant, target: str, *lines: str, method: str = "POST") -> bytes:
    headers = [f"{name}: {value}" for name, value in tenant.headers().items()]
    return "\r\n".join(
        [f"{method} {target} HTTP/1.1", "Host: api", "Connection: close", *headers, *lines, "", ""]
    ).encode()


async def test_a_connection_lost_in_the_middle_of_a_stop_does_not_end_it(tenant, port, monkeypatch):
    campaign_id = await tenant.create_campaign(ever_open(1))
    await tenant.trigger(campaign_id, "play")
    begun, go_on = asyncio.Event(), asyncio.Event()
    real = routes.stop_service.stop

    async def slow(*args, **options):
        begun.set()
        await go_on.wait()
        return await real(*args, **options)

    monkeypatch.setattr(routes.stop_service, "stop", slow)
    target = tenant.url(f"/{campaign_id}") + "?campaignType=voice&trigger=stop"
    async with connection(port) as (_reader, writer):
        writer.write(head(tenant, target, "Content-Length: 2") + b"{}")
        await begun.wait()
        writer.transport.abort()
    go_on.set()

    async def is_stopped() -> bool:
        return await tenant.status(campaign_id) == "Stopped"

    await until(is_stopped)


async def test_a_body_that_never_ends_is_refused_in_time(tenant, port):
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    async with connection(port) as (reader, writer):
        writer.write(head(tenant, tenant.url("?campaignType=voice"), "Transfer-Encoding: chunked"))
        for _ in range(20):
            writer.write(chunk)
        answer = await reader.readline()
    assert b" 413 " in answer


async def test_a_length_that_is_a_lie(tenant, port):
    target = tenant.url("?campaignType=voice")
    answer = await talk(port, head(tenant, target, "Content-Length: 99999999"))
    assert b" 413 " in answer.partition(b"\r\n")[0]
    assert b"larger than 1 MB" in answer


async def test_strange_bytes_in_a_path(tenant, port):
    for name in (
        "%00",
        "%ff%fe",
        "%C3%A4",
        "..%2f..",
        "%F0%9F%93%9E",
    ):
        for prefix in ("", "/campaign"):
            target = f"{prefix}/api/v1/public/{tenant.iid}/campaign/cd-{name}?view=status&%ff=%00"
            answer = await talk(port, head(tenant, target, method="GET"))
            assert b" 404 " in answer.partition(b"\r\n")[0]
            assert b'{"errors":[{"msg":"' in answer


async def test_strange_bytes_in_headers(tenant, port):
    request = head(tenant, tenant.url("/cd-1"), method="GET").replace(b"iid: st-", b"iid: \xff\xfe-")
    assert b" 401 " in (await talk(port, request)).partition(b"\r\n")[0]
    request = head(tenant, tenant.url("/cd-1"), method="GET").replace(b"auth: ey", b"auth: \xe4y")
    assert b" 401 " in (await talk(port, request)).partition(b"\r\n")[0]


async def test_the_answer_is_plain_http(tenant, port):
    answer = await talk(port, head(tenant, "//campaign//api/v2/public/" + tenant.iid + "/campaign/cd-1", method="GET"))
    top, _, body = answer.partition(b"\r\n\r\n")
    assert b" 404 " in top.partition(b"\r\n")[0]
    assert b"content-type: application/json" in top.lower()
    assert body == b'{"errors":[{"msg":"There is no campaign with the id cd-1.","code":404}]}'
