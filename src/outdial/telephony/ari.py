"""ARI as outdial speaks it: REST over HTTP, and one websocket that carries both REST and events.

A request written to the websocket leaves at once and in order, needs no connection pool and costs half as much as
one over HTTP (REST over the websocket: Asterisk 22.4 or newer). HTTP serves every process that does not own the
websocket, and older engines.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Final, TypeVar

import aiohttp
import msgspec
import structlog

from outdial.core.errors import EngineUnavailableError

_log = structlog.get_logger()

CONNECTIONS: Final = 16
"""HTTP connections per engine: more made Asterisk slower (16 cancelled 200 channels in 135–224 ms, 64 in 816–1088)."""

CONNECTING: Final = 3
SOCKETS_CONNECTING: Final = 2
"""How many of them are opened at once, and how many websockets. Asterisk lets five wait until it accepts them (its
``listen``); what is beyond is dropped by its kernel without a word, and tried again by ours only a second later: of 200
pools that were opened at once, 5 had a request without an answer for that second (measured)."""

ACCEPTED_SECONDS: Final = 0.1
"""After this long a connection counts as accepted, answered or not: a request that takes its time must not keep others
from theirs."""

NOT_FOUND: Final = 404
CONFLICT: Final = 409

_MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""A list of channels is about 1 kB each; aiohttp's 4 MB would cut the connection at 4,000 calls."""

_CLOSE_SECONDS: Final = 0.5
"""Patience with the closing handshake; a frozen engine does not answer it."""

_T = TypeVar("_T")


class Reply(msgspec.Struct, frozen=True):
    """What Asterisk answered to one request."""

    status: int
    body: bytes | str

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004 - the class of HTTP statuses that mean success

    @property
    def text(self) -> str:
        """The body as text, for people."""
        return self.body if isinstance(self.body, str) else self.body.decode(errors="replace")

    def decode(self, kind: type[_T]) -> _T:
        """Return the body as ``kind``. Raises EngineUnavailableError when it is not that."""
        try:
            return msgspec.json.decode(self.body, type=kind)
        except msgspec.DecodeError as error:
            raise EngineUnavailableError(f"Asterisk answered what outdial cannot read: {error}") from error


class ChannelInfo(msgspec.Struct, frozen=True):
    """The part of a channel that outdial reads."""

    id: str
    name: str = ""
    state: str = ""


class PlaybackInfo(msgspec.Struct, frozen=True):
    """The part of a playback that outdial reads."""

    id: str = ""
    target_uri: str = ""
    state: str = ""


class RecordingInfo(msgspec.Struct, frozen=True):
    """The part of a recording that outdial reads."""

    name: str = ""
    target_uri: str = ""


class Message(msgspec.Struct, frozen=True):
    """Anything that arrives on the websocket: an event, or the answer to a request."""

    type: str
    application: str = ""
    timestamp: str = ""
    channel: ChannelInfo | None = None
    args: list[str] = []
    """What the dialplan hands over with a StasisStart."""
    peer: ChannelInfo | None = None
    """The called channel of a Dial event."""
    dialstatus: str = ""
    playback: PlaybackInfo | None = None
    recording: RecordingInfo | None = None
    digit: str = ""
    """The key of a ChannelDtmfReceived event."""
    cause: int | None = None
    tech_cause: int | None = None
    eventname: str = ""
    """Of a ChannelUserevent, an event that the dialplan tells; its fields are ``userevent``."""
    userevent: dict[str, Any] = {}
    request_id: str = ""
    status_code: int = 0
    message_body: str = ""


class AriHttp:
    """REST over HTTP with a small pool, each request bounded in time."""

    def __init__(self, url: str, username: str, password: str, *, timeout_seconds: float) -> None:
        self.url = url.rstrip("/").removesuffix("/ari")
        self.timeout_seconds = timeout_seconds
        credentials = base64.b64encode(f"{username}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {credentials}"}
        self._places = asyncio.Semaphore(CONNECTING)
        # of their own: those that hang must not keep a stop's requests waiting
        self._socket_places = asyncio.Semaphore(SOCKETS_CONNECTING)
        self._session: aiohttp.ClientSession | None = None
        self._sockets: aiohttp.ClientSession | None = None

    def session(self) -> aiohttp.ClientSession:
        """Return the session, opened on first use: aiohttp wants a running loop for it."""
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS),
                timeout=aiohttp.ClientTimeout(total=self.timeout_seconds),
                headers=self._headers,
                trace_configs=[_few_connecting(self._places)],
            )
        return self._session

    def sockets(self) -> aiohttp.ClientSession:
        """Return the session of websockets: each holds its connection as long as it is open, and the requests, a stop's
        above all, must not wait for one of theirs."""
        if self._sockets is None or self._sockets.closed:
            self._sockets = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=self.timeout_seconds),
                headers=self._headers,
                trace_configs=[_few_connecting(self._socket_places)],
            )
        return self._sockets

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        *,
        seconds: float | None = None,
    ) -> Reply:
        """Send one request and return its answer, whatever its status, within ``seconds``, or the pool's usual time.

        Raises EngineUnavailableError when there is no answer in time, and when the credentials are refused: an engine
        that cannot be commanded is as good as absent.
        """
        try:
            async with self.session().request(
                method,
                f"{self.url}/ari/{path}",
                params=query,
                json=body,
                timeout=aiohttp.ClientTimeout(total=self.timeout_seconds if seconds is None else seconds),
            ) as response:
                reply = Reply(response.status, await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise EngineUnavailableError(
                f"Asterisk at {self.url} does not answer ({type(error).__name__} on {method} {path.partition('/')[0]})."
            ) from error
        if reply.status in {401, 403}:
            raise EngineUnavailableError(
                f"Asterisk at {self.url} refuses the ARI user or its password (HTTP {reply.status}): check "
                "OUTDIAL_ASTERISK_USER and OUTDIAL_ASTERISK_PASSWORD, and that the user is not read-only."
            )
        return reply

    async def close(self) -> None:
        """Close the pool, and what is still open of websockets."""
        for session in (self._session, self._sockets):
            if session is not None:
                await session.close()


def _few_connecting(places: asyncio.Semaphore) -> aiohttp.TraceConfig:
    """Return what keeps sessions from opening more connections at once than there are places.

    aiohttp has a limit for those that are open alone; but it waits for whoever traces a connection before it opens it.
    One that is open for us may wait at Asterisk's kernel yet: its first answer tells that it does not.
    """

    async def opens(_session: aiohttp.ClientSession, request: SimpleNamespace, _told: object) -> None:
        # aiohttp tries again by itself: the first is over
        give_back(request, getattr(request, "place", None))
        await places.acquire()
        request.place = object()

    async def is_open(_session: aiohttp.ClientSession, request: SimpleNamespace, _told: object) -> None:
        asyncio.get_running_loop().call_later(ACCEPTED_SECONDS, give_back, request, request.place)

    async def is_over(_session: aiohttp.ClientSession, request: SimpleNamespace, _told: object) -> None:
        give_back(request, getattr(request, "place", None))

    def give_back(request: SimpleNamespace, place: object) -> None:
        if place is not None and getattr(request, "place", None) is place:
            request.place = None
            places.release()

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(opens)
    trace.on_connection_create_end.append(is_open)
    trace.on_request_end.append(is_over)
    # also where it could not be opened, or nobody waits for it any more
    trace.on_request_exception.append(is_over)
    return trace


class AriSocket:
    """The event websocket of one Stasis application, REST included. Made by ``connect``, gone when it closes."""

    def __init__(
        self, websocket: aiohttp.ClientWebSocketResponse[bool], http: AriHttp, on_event: Callable[[Message], None]
    ) -> None:
        self._websocket = websocket
        self._http = http
        self._on_event = on_event
        self._answers: dict[str, asyncio.Future[Reply]] = {}
        self._last_id = 0
        self._decoder = msgspec.json.Decoder(Message)
        self._ended = False
        self._reader = asyncio.create_task(self._read(), name="ari-reader")

    @classmethod
    async def connect(cls, http: AriHttp, app: str, on_event: Callable[[Message], None]) -> AriSocket:
        """Open the websocket of ``app``. Asterisk knows one per name: an older holder of the name loses it.

        ``on_event`` is called from the reading task and must not block: an engine whose events are not read stalls.
        Raises EngineUnavailableError.
        """
        try:
            websocket = await asyncio.wait_for(
                http.sockets().ws_connect(
                    f"{http.url}/ari/events",
                    params={"app": app, "subscribeAll": "false"},
                    max_msg_size=_MAX_MESSAGE_BYTES,
                    decode_text=False,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
                ),
                http.timeout_seconds,
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = f"HTTP {error.status}" if isinstance(error, aiohttp.WSServerHandshakeError) else repr(error)
            raise EngineUnavailableError(f"Asterisk at {http.url} opens no event stream ({reason}).") from error
        return cls(websocket, http, on_event)

    @property
    def closed(self) -> bool:
        """Whether it is gone: then a request is not written."""
        return self._ended or self._websocket.closed

    async def request(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None) -> Reply:
        """Send one request over the websocket; it is written before this first suspends.

        Raises EngineUnavailableError when the socket is gone or no answer comes in time; the request may then have
        been carried out or not.
        """
        if self.closed:
            raise EngineUnavailableError(f"The event stream of Asterisk at {self._http.url} is closed.")
        self._last_id += 1
        request_id = str(self._last_id)
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._answers[request_id] = answer
        message: dict[str, Any] = {"type": "RESTRequest", "request_id": request_id, "method": method, "uri": path}
        if query:
            message["query_strings"] = [{"name": name, "value": value} for name, value in query.items()]
        if body is not None:
            message["content_type"] = "application/json"
            message["message_body"] = msgspec.json.encode(body).decode()
        try:
            # aiohttp hands an uncompressed frame to the transport before its first suspension
            await self._websocket.send_str(msgspec.json.encode(message).decode())
            async with asyncio.timeout(self._http.timeout_seconds):
                return await answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise EngineUnavailableError(
                f"Asterisk at {self._http.url} does not answer on its event stream ({type(error).__name__})."
            ) from error
        finally:
            self._answers.pop(request_id, None)

    async def wait_closed(self) -> None:
        """Return when the socket is gone, for whatever reason."""
        await asyncio.wait([self._reader])

    async def close(self) -> None:
        """Close the socket; what the engine still answers is lost."""
        self._ended = True
        self._reader.cancel()
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            await self._websocket.close()
        await asyncio.wait([self._reader])

    async def _read(self) -> None:
        try:
            async for frame in self._websocket:
                if frame.type is not aiohttp.WSMsgType.TEXT:
                    break
                try:
                    message = self._decoder.decode(frame.data)
                except msgspec.DecodeError as error:
                    _log.warning("event_unreadable", error=str(error))
                    continue
                if message.type == "RESTResponse":
                    waiting = self._answers.pop(message.request_id, None)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(Reply(message.status_code, message.message_body))
                else:
                    self._on_event(message)
        finally:
            self._ended = True
            for waiting in self._answers.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionResetError("event stream closed"))
            self._answers.clear()


class Inbox:
    """Holds what arrives on a new event stream until the dialer has been told that it is up."""

    def __init__(self, deliver: Callable[[Message], None]) -> None:
        self._deliver = deliver
        self._held: list[Message] | None = []
        self.replaced = asyncio.Event()
        """Another process connected under our application's name: it believes this node dead. Asterisk leaves this
        websocket open all the same (measured on 22.10.1)."""

    def receive(self, message: Message) -> None:
        """Take one message from the reading task."""
        if message.type == "ApplicationReplaced":
            self.replaced.set()
        elif self._held is not None:
            self._held.append(message)
        else:
            self._deliver(message)

    def open(self) -> None:
        """Deliver what was held, and from now on everything at once."""
        held, self._held = self._held or [], None
        for message in held:
            self._deliver(message)
