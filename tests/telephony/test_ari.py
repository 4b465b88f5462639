"""The ARI client against a server of our own that answers wrongly, late, out of order, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket as socket_module
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web

from outdial.core.errors import EngineUnavailableError
from outdial.telephony import ari
from outdial.telephony.ari import CONNECTING, CONNECTIONS, AriHttp, AriSocket
from waiting import until


class Server:
    """Answers as ``answer`` and ``on_request`` say."""

    def __init__(self) -> None:
        self.answer = web.json_response
        self.requests: list[tuple[str, str, dict, str]] = []
        self.messages: asyncio.Queue[dict] = asyncio.Queue()
        self.sockets: list[web.WebSocketResponse] = []
        self.refuse_socket = False
        self.url = ""
        self.over = asyncio.Event()

    async def rest(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(
            (request.method, request.path, dict(request.query), request.headers.get("Authorization", ""))
        )
        answer = self.answer()
        return await answer if asyncio.iscoroutine(answer) else answer

    async def events(self, request: web.Request) -> web.StreamResponse:
        if self.refuse_socket:
            return web.Response(status=401)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self.messages.put_nowait(json.loads(message.data))
        return socket

    async def send(self, document: object) -> None:
        text = document if isinstance(document, str) else json.dumps(document)
        await self.sockets[-1].send_str(text)


@pytest.fixture
async def server():
    found = Server()
    application = web.Application()
    application.router.add_get("/ari/events", found.events)
    application.router.add_route("*", "/ari/{path:.*}", found.rest)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    found.over.set()
    await runner.cleanup()


@pytest.fixture
async def http(server):
    client = AriHttp(server.url, "user", "pass", timeout_seconds=0.3)
    yield client
    await client.close()


@pytest.fixture
async def events():
    return []


@pytest.fixture
async def socket(http, events):
    opened = await AriSocket.connect(http, "app", events.append)
    yield opened
    await opened.close()


def syn_sent(port: int) -> list[str]:
    """Connections to a port of this machine that were not answered yet."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [found[1] for found in lines if found[2].endswith(f":{port:04X}") and found[3] == "02"]


class TestHttp:
    async def test_it_sends_method_path_query_and_credentials(self, server, http):
        server.answer = lambda: web.json_response([])
        reply = await http.request("POST", "channels", {"endpoint": "PJSIP/+1@run1e1"})
        assert reply.ok
        ((method, path, query, credentials),) = server.requests
        assert (method, path, query) == ("POST", "/ari/channels", {"endpoint": "PJSIP/+1@run1e1"})
        assert credentials == "Basic dXNlcjpwYXNz"

    @pytest.mark.parametrize("suffix", ["", "/", "/ari", "/ari/"])
    async def test_an_address_may_be_written_in_every_way(self, server, suffix):
        client = AriHttp(server.url + suffix, "user", "pass", timeout_seconds=0.3)
        server.answer = lambda: web.json_response({})
        await client.request("GET", "asterisk/ping")
        assert server.requests[0][1] == "/ari/asterisk/ping"
        await client.close()

    @pytest.mark.parametrize("status", [404, 409, 412, 500])
    async def test_other_answers_are_given_back_as_they_are(self, server, http, status):
        server.answer = lambda: web.Response(status=status, text="why")
        reply = await http.request("GET", "channels")
        assert (reply.status, reply.ok, reply.text) == (status, False, "why")

    @pytest.mark.parametrize("status", [401, 403])
    async def test_refused_credentials_are_an_engine_that_is_not_there(self, server, http, status):
        server.answer = lambda: web.Response(status=status)
        with pytest.raises(EngineUnavailableError, match="OUTDIAL_ASTERISK_USER"):
            await http.request("GET", "channels")

    async def test_no_answer_in_time(self, server, http):
        async def never() -> web.Response:
            await server.over.wait()
            return web.Response()

        server.answer = never
        with pytest.raises(EngineUnavailableError, match="does not answer"):
            await http.request("GET", "channels/secret-id")

    async def test_the_request_is_on_its_way_before_it_first_suspends_where_a_connection_is_idle(self, server, http):
        server.answer = lambda: web.json_response([])
        await http.request("GET", "asterisk/ping")
        placing = asyncio.create_task(http.request("POST", "channels", {"endpoint": "x"}))
        # its first step, and no other
        await asyncio.sleep(0)
        placing.cancel()
        await until(lambda: len(server.requests) == 2)
        assert server.requests[-1][:2] == ("POST", "/ari/channels")

    async def test_an_answer_that_cannot_be_read(self, server, http):
        server.answer = lambda: web.Response(text="<html>")
        reply = await http.request("GET", "channels")
        with pytest.raises(EngineUnavailableError, match="cannot read"):
            reply.decode(list[int])

    async def test_no_more_connections_are_opened_at_once_than_are_waited_with(self):
        """Asterisk lets five wait, and its kernel drops what comes on top. Here none is taken up for a while."""
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket_module.create_server(("127.0.0.1", 0), backlog=0))
            listener.setblocking(False)
            port = listener.getsockname()[1]
            while not syn_sent(port):
                filler = stack.enter_context(socket_module.socket())
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            full = len(syn_sent(port))
            client = AriHttp(f"http://127.0.0.1:{port}", "user", "pass", timeout_seconds=20)
            asking = [asyncio.create_task(client.request("GET", "asterisk/ping")) for _ in range(2 * CONNECTIONS)]

            async def opened() -> bool:
                return len(syn_sent(port)) >= full + CONNECTING

            await until(opened)
            for _ in range(50):
                await asyncio.sleep(0)
            assert len(syn_sent(port)) == full + CONNECTING
            # nobody who is gone keeps a place
            for task in asking[:CONNECTING]:
                task.cancel()
            answering = await asyncio.start_server(self.answer, sock=listener)
            assert {(await task).status for task in asking[CONNECTING:]} == {204}
            await client.close()
            answering.close()

    @pytest.mark.parametrize("patience", [60.0, 0.05])
    async def test_one_that_is_not_answered_may_wait_at_the_kernel(self, monkeypatch, patience):
        """Open for us is not accepted: only an answer, or some time, tells."""
        monkeypatch.setattr(ari, "ACCEPTED_SECONDS", patience)
        seen, answer = [], asyncio.Event()

        async def takes(reader, writer):
            seen.append(await reader.readline())
            await answer.wait()
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            writer.close()

        answering = await asyncio.start_server(takes, "127.0.0.1", 0)
        port = answering.sockets[0].getsockname()[1]
        client = AriHttp(f"http://127.0.0.1:{port}", "user", "pass", timeout_seconds=20)
        asking = [asyncio.create_task(client.request("GET", "asterisk/ping")) for _ in range(CONNECTIONS)]
        expected = CONNECTING if patience > 1 else CONNECTIONS

        async def come() -> bool:
            return len(seen) >= expected

        await until(come)
        done, _ = await asyncio.wait(asking, timeout=0.2)
        assert not done
        assert len(seen) == expected
        answer.set()
        assert {(await task).status for task in asking} == {204}
        await client.close()
        answering.close()

    async def test_nor_does_one_that_is_closed_unanswered_and_tried_again(self):
        """aiohttp asks a second time, in the course of the same request."""
        asked = 0

        async def hangs_up(reader, writer):
            nonlocal asked
            asked += 1
            await reader.readline()
            writer.transport.abort()

        answering = await asyncio.start_server(hangs_up, "127.0.0.1", 0)
        port = answering.sockets[0].getsockname()[1]
        client = AriHttp(f"http://127.0.0.1:{port}", "user", "pass", timeout_seconds=20)
        for _ in range(2 * CONNECTING):
            with pytest.raises(EngineUnavailableError):
                await client.request("GET", "asterisk/ping")
        assert asked == 4 * CONNECTING
        assert client._places._value == CONNECTING
        await client.close()
        answering.close()

    async def test_nor_does_an_engine_that_cannot_be_reached_keep_a_place(self):
        gone = AriHttp("http://127.0.0.1:9", "user", "pass", timeout_seconds=20)
        for _ in range(2 * CONNECTING):
            with pytest.raises(EngineUnavailableError):
                await gone.request("GET", "asterisk/ping")
        await gone.close()

    @staticmethod
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readline():
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            await writer.drain()
        writer.close()

    async def test_the_sentence_holds_neither_password_nor_id(self, http):
        await http.close()
        gone = AriHttp("http://127.0.0.1:9", "user", "pass-word", timeout_seconds=0.3)
        with pytest.raises(EngineUnavailableError) as caught:
            await gone.request("DELETE", "channels/0123456789abcdef")
        assert "pass-word" not in caught.value.message
        assert "0123456789abcdef" not in caught.value.message
        await gone.close()


class TestSocket:
    async def test_answers_find_their_requests_in_any_order(self, server, socket):
        first = asyncio.create_task(socket.request("GET", "a"))
        second = asyncio.create_task(socket.request("GET", "b"))
        asked = [await server.messages.get() for _ in range(2)]
        for message in reversed(asked):
            await server.send(
                {
                    "type": "RESTResponse",
                    "request_id": message["request_id"],
                    "status_code": 200,
                    "message_body": json.dumps(message["uri"]),
                }
            )
        assert (await first).decode(str) == "a"
        assert (await second).decode(str) == "b"

    async def test_the_request_is_on_its_way_before_it_first_suspends(self, server, socket):
        """What the dialer's gate relies on: one step of the coroutine, and the frame is in the transport's hands."""
        work = socket.request("POST", "channels", {"endpoint": "x"})
        work.send(None)
        message = await asyncio.wait_for(server.messages.get(), 1)
        assert (message["method"], message["uri"]) == ("POST", "channels")
        assert message["query_strings"] == [{"name": "endpoint", "value": "x"}]
        work.close()

    async def test_no_answer_in_time(self, socket):
        with pytest.raises(EngineUnavailableError, match="event stream"):
            await socket.request("GET", "channels")

    async def test_an_answer_that_comes_too_late_is_nobodys(self, server, socket):
        with pytest.raises(EngineUnavailableError):
            await socket.request("GET", "a")
        late = await server.messages.get()
        await server.send(
            {"type": "RESTResponse", "request_id": late["request_id"], "status_code": 200, "message_body": "1"}
        )
        again = asyncio.create_task(socket.request("GET", "b"))
        message = await server.messages.get()
        await server.send(
            {"type": "RESTResponse", "request_id": message["request_id"], "status_code": 200, "message_body": "2"}
        )
        assert (await again).decode(int) == 2

    async def test_whoever_waits_is_told_when_it_closes(self, server, socket):
        waiting = asyncio.create_task(socket.request("GET", "a"))
        await server.messages.get()
        await server.sockets[-1].close()
        with pytest.raises(EngineUnavailableError):
            await waiting
        await asyncio.wait_for(socket.wait_closed(), 1)
        assert socket.closed
        with pytest.raises(EngineUnavailableError, match="closed"):
            await socket.request("GET", "b")

    async def test_events_are_handed_on_in_order(self, server, socket, events):
        for place in range(5):
            await server.send({"type": "Dial", "dialstatus": str(place)})
        await until(lambda: len(events) == 5)
        assert [event.dialstatus for event in events] == list("01234")

    @pytest.mark.parametrize("text", ["nonsense", "[]", '{"type": 5}', "{"])
    async def test_what_cannot_be_read_does_not_end_the_stream(self, server, socket, events, text):
        await server.send(text)
        await server.send({"type": "StasisStart"})
        await until(lambda: bool(events))
        assert [event.type for event in events] == ["StasisStart"]

    async def test_what_is_new_in_an_event_is_passed_over(self, server, socket, events):
        await server.send({"type": "StasisStart", "channel": {"id": "c", "new": [1, {"deep": True}]}, "more": 1})
        await until(lambda: bool(events))
        assert events[0].channel.id == "c"

    async def test_one_that_is_refused_says_so(self, server, http):
        server.refuse_socket = True
        with pytest.raises(EngineUnavailableError, match=r"opens no event stream.*401"):
            await AriSocket.connect(http, "app", lambda _event: None)

    async def test_one_that_nobody_opens_says_so(self):
        gone = AriHttp("http://127.0.0.1:9", "u", "p", timeout_seconds=0.3)
        with pytest.raises(EngineUnavailableError, match="opens no event stream"):
            await AriSocket.connect(gone, "app", lambda _event: None)
        await gone.close()

    async def test_closing_twice_is_no_error(self, socket):
        for _ in range(2):
            await socket.close()
        with contextlib.suppress(EngineUnavailableError):
            await socket.request("GET", "a")
        assert socket.closed


async def test_websockets_that_are_open_keep_no_request_waiting(server, http):
    """Each holds its connection for as long as a person talks with a program, say; a stop asks meanwhile."""
    sockets = [await http.sockets().ws_connect(f"{server.url}/ari/events") for _ in range(CONNECTIONS + 1)]
    replies = await asyncio.gather(*(http.request("GET", "channels") for _ in range(CONNECTIONS)))
    assert {reply.status for reply in replies} == {200}
    for socket in sockets:
        await socket.close()
