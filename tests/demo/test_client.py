"""The demo's client: what it sends, what it makes of answers, and a curl that can be pasted."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from outdial.demo.client import Client, DemoRequestError
from outdial.services.access import Credentials

CREDENTIALS = Credentials("acc'1", "st-1", "cs-1", "secret")


class Server:
    """Remembers requests, answers as told."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, object]]] = []
        self.status = 200
        self.body: object = {}

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((request.path_qs, dict(request.headers), await request.json()))
        return web.json_response(self.body, status=self.status)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Server, Client]]:
    server = Server()
    app = web.Application()
    app.router.add_post("/{path:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        async with Client(f"http://{host}:{port}", CREDENTIALS, "to.ke.n") as client:
            yield server, client
    finally:
        await runner.cleanup()


async def test_a_campaign_is_created_with_the_documented_fields():
    async with connected() as (server, client):
        server.body = {"status": "success", "data": {"id": "cd-1"}}
        assert await client.create_campaign(name="Demo", contact_list="Phones", flow="Chime") == "cd-1"
    path, headers, body = server.requests[0]
    assert path == "/agentassist/api/v1/public/st-1/campaign?campaignType=voice"
    assert (headers["auth"], headers["iid"], headers["accountId"]) == ("to.ke.n", "st-1", "acc'1")
    assert (body["name"], body["contactLists"], body["experienceFlowName"]) == ("Demo", ["Phones"], "Chime")
    assert len(body["dialingStrategy"]["callingHours"]["days"]) == 7


async def test_start_and_stop_take_the_documented_path():
    async with connected() as (server, client):
        await client.start("cd-1")
        answer = await client.stop("cd-1")
    assert answer.ok
    base = "/campaign/api/v1/public/st-1/campaign/cd-1?campaignType=voice&trigger="
    assert [(path, body) for path, _, body in server.requests] == [(f"{base}play", {}), (f"{base}stop", {})]


async def test_a_refusal_is_told_in_the_servers_own_words():
    async with connected() as (server, client):
        server.status, server.body = 409, {"errors": [{"msg": "It runs already.", "code": 409}]}
        with pytest.raises(DemoRequestError, match=r"HTTP 409: It runs already\."):
            await client.start("cd-1")
        answer = await client.stop("cd-1")
    assert (answer.ok, answer.sentence) == (False, "HTTP 409: It runs already.")


async def test_no_answer_is_a_sentence():
    client = Client("http://127.0.0.1:1", CREDENTIALS, "t")
    async with client:
        with pytest.raises(DemoRequestError, match="did not answer"):
            await client.start("cd-1")


async def test_the_curl_can_be_pasted_into_a_shell():
    async with connected() as (server, client):
        curl = client.stop_curl("cd-1")
        # the shell itself takes it apart; quotes in values included
        process = await asyncio.create_subprocess_shell(
            curl.replace("curl ", "printf '%s\\n' ", 1), stdout=asyncio.subprocess.PIPE
        )
        words = (await process.communicate())[0].decode().splitlines()
    assert words == shlex.split(curl)[1:]
    assert "\n" not in curl
    assert words[2].endswith("/campaign/api/v1/public/st-1/campaign/cd-1?campaignType=voice&trigger=stop")
    assert {"auth: to.ke.n", "iid: st-1", "accountId: acc'1", "Content-Type: application/json"} <= set(words)
    assert json.loads(words[-1]) == {}
    assert not server.requests
