"""Asterisk behind the engine port.

``AsteriskControl`` is what a stop uses, from any process, over HTTP. ``AsteriskEngine`` belongs to one dialer node: it
owns the node's Stasis application, whose websocket carries its events and requests. What is played and recorded on its
calls is in ``asterisk_media``.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from outdial.clock import boottime
from outdial.core.errors import EngineUnavailableError
from outdial.core.ids import permit_name
from outdial.core.model import Transport, Trunk
from outdial.telephony import ended_context, permits
from outdial.telephony.ari import CONFLICT, NOT_FOUND, AriHttp, AriSocket, ChannelInfo, Inbox, Message, Reply
from outdial.telephony.asterisk_detection import returned
from outdial.telephony.asterisk_samples import AsteriskSamples
from outdial.telephony.asterisk_stream import FORMATS, AsteriskStream
from outdial.telephony.engine import (
    CallAnswered,
    CallEnded,
    CallRecord,
    CallRinging,
    EngineDown,
    EngineEvent,
    EngineUp,
    KeyPressed,
    LiveCall,
    MediaStream,
    OriginateResult,
    OutgoingCall,
    Permit,
    PlaybackEnded,
    RecordingEnded,
    TrunkAddress,
)
from outdial.telephony.engine_clock import EngineClock

_log = structlog.get_logger()

WATCH_SECONDS: Final = 1.0
"""Between two looks at whether the engine answers and what its clock says."""

GIVE_UP_SECONDS: Final = 10.0
"""An engine silent for this long on an open websocket is connected anew: the connection itself may be dead."""

RECONNECT_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0)

EVENTS: Final = (
    *("Dial", "StasisStart", "ChannelHangupRequest", "ChannelDestroyed", "PlaybackFinished", "ChannelDtmfReceived"),
    *("RecordingFinished", "RecordingFailed", "ApplicationReplaced", "RESTResponse", "ChannelUserevent"),
)
"""All that is read; the rest (ChannelVarset alone is 7 of 16 events of a call) is not sent at all. Without
``RESTResponse`` the filter would swallow the answers to requests on the websocket."""

_REPEATABLE: Final = frozenset({"GET", "DELETE"})

_RINGING: Final = frozenset({"RINGING", "PROGRESS"})
"""Dial status after 180 and after 183; the channel's state tells only of 180."""

_DIALABLE: Final = re.compile(r"[+0-9A-Za-z*#_.-]{1,64}")
"""A number, or the user part of a SIP address. Anything else could name another endpoint:
``PJSIP/<number>@<endpoint>`` is one string."""


class _Ping(msgspec.Struct):
    timestamp: str


class _MediaChannel(msgspec.Struct):
    channelvars: dict[str, str] = {}


_CONNECTION_ID: Final = "MEDIA_WEBSOCKET_CONNECTION_ID"


class _Application(msgspec.Struct):
    channel_ids: list[str] = []


class AsteriskEngine(AsteriskSamples):
    """One dialer node's engine: originates, plays and hears events."""

    def __init__(
        self,
        *,
        engine_id: str,
        url: str,
        username: str,
        password: str,
        stasis_app: str,
        timeout_seconds: float = 1.0,
        media_dir: Path | None = None,
        records: Callable[[str], Awaitable[CallRecord | None]] | None = None,
    ) -> None:
        """``records`` is ``ManagedAsterisk.call_record`` when the engine is ours."""
        super().__init__(
            engine_id=engine_id,
            url=url,
            username=username,
            password=password,
            timeout_seconds=timeout_seconds,
            media_dir=media_dir,
            stasis_app=stasis_app,
        )
        self._records = records
        self._socket: AriSocket | None = None
        self._rest_on_socket = True
        self._stalled = True
        self._clock = EngineClock()
        self._events: asyncio.Queue[EngineEvent | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        # calls this node placed or adopted and has not seen end
        self._known: set[str] = set()
        self._ringing: set[str] = set()
        # calls either side has put down: what was played to them "failed" for that reason (measured: told before it)
        self._put_down: set[str] = set()
        # call over TCP or TLS that is ending → what its carrier said last
        self._said: dict[str, str] = {}
        # channels whose other end is a websocket of ours
        self._media: dict[str, asyncio.Event] = {}
        # permit name → what was put there, so that a renewal sends the contact alone
        self._made: dict[str, tuple[Trunk, TrunkAddress]] = {}
        self._adopted: dict[str, AriSocket] = {}

    async def start(self) -> None:
        """Begin to connect; ``events()`` says when the engine is up."""
        self._spawn(self._stay_connected())

    async def close(self) -> None:
        """Drop the event streams and all connections; calls go on at the engine."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for socket in (*self._adopted.values(), *((self._socket,) if self._socket else ())):
            await socket.close()
        self._socket = None
        await super().close()

    @property
    def up(self) -> bool:
        """Event stream connected, the engine answering, its clock known and near ours."""
        socket = self._socket
        return socket is not None and not (socket.closed or self._stalled) and self._clock.trusted(boottime())

    @property
    def clock_offset_seconds(self) -> float | None:
        """Engine clock minus ours, None while unknown."""
        return self._clock.offset(boottime())

    @property
    def keeps_records(self) -> bool:
        """Whether this Asterisk is ours, so that its records can be read."""
        return self._records is not None

    async def events(self) -> AsyncIterator[EngineEvent]:
        """Yield events in order; ends only when another node has taken this node's application over."""
        while (event := await self._events.get()) is not None:
            yield event

    # Permits

    async def put_permit(self, permit: Permit) -> None:
        """Create the permit: endpoint and AOR, then the contact that lets calls through."""
        name = permit_name(permit.run_id, permit.epoch, permit.key)
        expires = self._engine_expiry(permit)
        await self._put_endpoint(permit.trunk, permit.address, name)
        await self._put_contact(name, permit, expires)
        self._made[name] = (permit.trunk, permit.address)

    async def renew_permit(self, permit: Permit) -> bool:
        """Extend the permit by its contact; False when this engine has to be given all of it."""
        name = permit_name(permit.run_id, permit.epoch, permit.key)
        if self._made.get(name) != (permit.trunk, permit.address):
            return False
        await self._put_contact(name, permit, self._engine_expiry(permit))
        return True

    def _engine_expiry(self, permit: Permit) -> float:
        """Return the permit's end in the engine's time, by the clock that is checked here: a measurement that comes
        while the permit is being made may be one nobody has checked."""
        if not self._clock.trusted(boottime()):
            raise EngineUnavailableError(
                f"The clock of Asterisk at {self._http.url} is unknown or more than 0.5 s from this machine's "
                f"({self.clock_offset_seconds} s): synchronise both (NTP). No call is placed meanwhile."
            )
        return self._clock.engine_time(permit.expires_at.timestamp())

    async def _put_contact(self, name: str, permit: Permit, expires: float) -> None:
        body = permits.contact_fields(permits.contact_uri(permit.trunk, permit.address), expires)
        self._expect(await self._request("PUT", permits.contact_path(name), body=body))

    async def remove_permit(self, run_id: int, epoch: int, key: str) -> None:
        """Remove one permit."""
        self._made.pop(permit_name(run_id, epoch, key), None)
        await super().remove_permit(run_id, epoch, key)

    async def trunk_up(self, trunk: Trunk, address: TrunkAddress) -> bool:
        """Whether the trunk may be dialed now."""
        if trunk.transport is Transport.UDP:
            return True
        name = permits.probe_name(trunk.id, address)
        if self._made.get(name) != (trunk, address):
            await self._put_probe(trunk, address)
            self._made[name] = (trunk, address)
        return await self.line_up(trunk.id, address)

    # Calls

    async def originate(self, call: OutgoingCall) -> OriginateResult:
        """Place one call; refused without a live event stream, since nobody would answer for what it reaches."""
        socket = self._socket
        if socket is None or not self.up:
            return OriginateResult.REFUSED
        if not _DIALABLE.fullmatch(call.number):
            _log.error("number_not_dialable", call_id=call.id)
            return OriginateResult.FAILED
        name = permit_name(call.run_id, call.epoch, call.key)
        self._known.add(call.id)
        query = {
            "endpoint": f"PJSIP/{call.number}@{name}",
            "app": self._app,
            "channelId": call.id,
            "timeout": str(call.ring_seconds),
            "callerId": f'"" <{call.caller_id}>',
        }
        # on the very socket that was found open, or not at all: over HTTP Asterisk would place it without one. Where
        # requests cannot travel on it, it leaves at once by a connection that is idle; when there is none the permit
        # alone decides, and for a stream lost meanwhile the node hears EngineDown and ends the call.
        rest = socket if self._rest_on_socket else self._http
        try:
            reply = await rest.request("POST", "channels", query, self._told_of(name))
        except EngineUnavailableError:
            return OriginateResult.UNKNOWN
        return self._result(call.id, name, reply)

    def _told_of(self, name: str) -> dict[str, dict[str, str]] | None:
        """What a call by that permit is given, so that the engine tells who has ended it, where that is not certain."""
        made = self._made.get(name)
        if made is not None and made[0].transport is Transport.UDP:
            return None
        return {"variables": ended_context.VARIABLES}

    def _result(self, call_id: str, name: str, reply: Reply) -> OriginateResult:
        if reply.ok:
            return OriginateResult.ACCEPTED
        if reply.status == CONFLICT:
            # a channel with this id lives: an earlier request was carried out after all
            return OriginateResult.UNKNOWN
        self._known.discard(call_id)
        text = reply.text
        if "Allocation failed" in text:
            # whoever removed the permit may have removed the endpoint with it: it must be put anew
            self._made.pop(name, None)
            return OriginateResult.REFUSED
        _log.warning("originate_failed", call_id=call_id, status=reply.status, answer=text[:200])
        return OriginateResult.FAILED

    async def open_media(self, call_id: str, media_id: str, rate: int) -> MediaStream:
        """Bridge the call with a channel whose other end is a websocket of ours."""
        query = {
            "app": self._app,
            "channelId": media_id,
            "external_host": "INCOMING",
            "connection_type": "server",
            "transport": "websocket",
            "encapsulation": "none",
            "format": FORMATS[rate],
        }
        arrived = self._media[media_id] = asyncio.Event()
        reply = self._expect(await self._request("POST", "channels/externalMedia", query))
        connection_id = reply.decode(_MediaChannel).channelvars.get(_CONNECTION_ID, "")
        try:
            stream = await AsteriskStream.connect(self._http, connection_id, rate)
            # only then it may join a bridge, and it comes some time after its websocket is open
            await self._until_arrived(arrived)
            await self.connect(call_id, media_id)
        except EngineUnavailableError:
            await self.hang_up(media_id)
            raise
        return _Bridged(stream, self, media_id)

    async def _until_arrived(self, arrived: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(self._http.timeout_seconds):
                await arrived.wait()
        except TimeoutError:
            raise EngineUnavailableError(f"Asterisk at {self._http.url} handed no media channel over.") from None

    async def adopt(self, stasis_app: str) -> Sequence[LiveCall]:
        """Take over a dead node's application by connecting under its name."""
        known = self._adopted.get(stasis_app)
        if known is None or known.closed:
            socket = await AriSocket.connect(self._http, stasis_app, self._on_message)
            try:
                await self._filter(socket, stasis_app)
            except BaseException:
                await socket.close()
                raise
            self._adopted[stasis_app] = socket
        reply = self._expect(await self._request("GET", f"applications/{stasis_app}"), NOT_FOUND)
        owned = set(reply.decode(_Application).channel_ids) if reply.ok else set()
        found = [call for call in await self.calls() if call.id in owned]
        self._known.update(call.id for call in found)
        return found

    async def record(self, call_id: str) -> CallRecord | None:
        """Return what the engine wrote down about a call, None when nothing is known."""
        return None if self._records is None else await self._records(call_id)

    # The event stream

    async def _request(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None) -> Reply:
        """Ask on the websocket, where a DELETE cannot overtake the POST of the call it is to end, nor a removal the
        making of what it removes: on HTTP connections of their own they could.

        GET and DELETE, all that a stop needs, may be asked twice: they go over HTTP when the websocket does not answer
        in time, and at once while it is known not to, so that a stop is as quick here as from another process. What
        still waits in the websocket meanwhile is what a stop meets from any other process too: fenced, it is refused;
        and whoever ends a single call goes on while its originate is in flight. PUT and POST are never sent twice.
        """
        socket = self._socket
        if socket is not None and not socket.closed and self._rest_on_socket:
            if method not in _REPEATABLE:
                return await socket.request(method, path, query, body)
            if not self._stalled:
                try:
                    return await socket.request(method, path, query, body)
                except EngineUnavailableError:
                    if socket is self._socket:
                        # until the watcher has heard it again
                        self._stalled = True
        return await self._http.request(method, path, query, body)

    async def _stay_connected(self) -> None:
        failures = 0
        while True:
            inbox = Inbox(self._on_message)
            try:
                socket = await self._connect(inbox)
            except EngineUnavailableError as error:
                if failures == 0:
                    _log.warning("engine_unreachable", engine_id=self._id, error=error.message)
                await asyncio.sleep(RECONNECT_SECONDS[min(failures, len(RECONNECT_SECONDS) - 1)])
                failures += 1
                continue
            failures = 0
            self._socket, self._stalled = socket, False
            self._events.put_nowait(EngineUp())
            inbox.open()
            reason = await self._watch(socket, inbox)
            self._socket = None
            self._clock.forget()
            self._made.clear()
            self._said.clear()
            self.forget_dialplan()
            await socket.close()
            if inbox.replaced.is_set():
                self._events.put_nowait(EngineDown("another node took over this node's calls"))
                self._events.put_nowait(None)
                return
            self._events.put_nowait(EngineDown(reason))

    async def _connect(self, inbox: Inbox) -> AriSocket:
        socket = await AriSocket.connect(self._http, self._app, inbox.receive)
        try:
            await self._prepare(socket)
        except BaseException:
            await socket.close()
            raise
        return socket

    async def _prepare(self, socket: AriSocket) -> None:
        """Ask for the events we read, and set our watch by the engine's."""
        try:
            await self._measure(socket)
            self._rest_on_socket = True
        except EngineUnavailableError:
            if socket.closed:
                raise
            # Asterisk before 22.4 ignores requests on the websocket
            await self._measure(self._http)
            self._rest_on_socket = False
        await self._filter(socket if self._rest_on_socket else self._http, self._app)

    async def _filter(self, rest: AriSocket | AriHttp, app: str) -> None:
        body = {"allowed": [{"type": kind} for kind in EVENTS]}
        self._expect(await rest.request("PUT", f"applications/{app}/eventFilter", body=body))

    async def _measure(self, rest: AriSocket | AriHttp) -> None:
        sent = time.time()
        reply = self._expect(await rest.request("GET", "asterisk/ping"))
        self._clock.sample(
            sent=sent,
            received=time.time(),
            engine=datetime.fromisoformat(reply.decode(_Ping).timestamp).timestamp(),
            boottime=boottime(),
        )

    async def _watch(self, socket: AriSocket, inbox: Inbox) -> str:
        """Look after the engine until its websocket is gone or somebody else's; return why."""
        closed = asyncio.ensure_future(socket.wait_closed())
        replaced = asyncio.ensure_future(inbox.replaced.wait())
        silent_since: float | None = None
        try:
            while not closed.done():
                await asyncio.wait([closed, replaced], timeout=WATCH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if replaced.done():
                    break
                try:
                    await self._measure(socket if self._rest_on_socket else self._http)
                except EngineUnavailableError as error:
                    if socket.closed:
                        break
                    if silent_since is None:
                        silent_since = boottime()
                        self._stalled = True
                        self._events.put_nowait(EngineDown(error.message))
                    elif boottime() - silent_since > GIVE_UP_SECONDS:
                        return f"silent for {GIVE_UP_SECONDS:.0f} s"
                    continue
                self._stalled = False
                if silent_since is not None:
                    silent_since = None
                    self._events.put_nowait(EngineUp())
            return "event stream closed"
        finally:
            closed.cancel()
            replaced.cancel()

    def _on_message(self, message: Message) -> None:
        """Turn one ARI event into ours; runs in the reading task, so it only sorts."""
        if message.type == "PlaybackFinished" and message.playback is not None:
            call_id = message.playback.target_uri.removeprefix("channel:")
            failed = message.playback.state == "failed" and call_id not in self._put_down
            self._events.put_nowait(PlaybackEnded(call_id, message.playback.id, self._at(message), failed))
        elif message.type in {"RecordingFinished", "RecordingFailed"} and message.recording is not None:
            call_id = self._recorded_call(message.recording.target_uri)
            self._events.put_nowait(RecordingEnded(call_id, message.recording.name, self._at(message)))
        elif message.type == "Dial" and message.peer is not None:
            if message.dialstatus in _RINGING and message.peer.id not in self._ringing:
                self._ringing.add(message.peer.id)
                self._events.put_nowait(CallRinging(message.peer.id, self._at(message)))
        elif message.channel is not None:
            self._on_channel(message, message.channel)

    def _on_channel(self, message: Message, channel: ChannelInfo) -> None:
        if self._hears_snoop(message, channel):
            return
        if channel.id in self._media:
            # the far end of a stream, and nobody's call
            if message.type == "StasisStart":
                self._media[channel.id].set()
            elif message.type == "ChannelDestroyed":
                # whoever waits for it learns from the bridge that it is gone
                self._media.pop(channel.id).set()
            return
        if message.type == "StasisStart":
            self._on_start(message, channel)
        elif message.type == "ChannelDtmfReceived":
            self._events.put_nowait(KeyPressed(channel.id, self._at(message), message.digit))
        elif message.type == "ChannelHangupRequest":
            self._put_down.add(channel.id)
        elif message.type == "ChannelUserevent" and message.eventname == ended_context.EVENT:
            self._said[channel.id] = str(message.userevent.get(ended_context.SAID, ""))
        elif message.type == "ChannelDestroyed":
            self._on_end(message, channel)

    def _on_end(self, message: Message, channel: ChannelInfo) -> None:
        for calls in (self._known, self._ringing, self._put_down):
            calls.discard(channel.id)
        said = self._said.pop(channel.id, None)
        by_carrier = None if said is None else ended_context.is_by_carrier(said, message.tech_cause or None)
        self._events.put_nowait(
            CallEnded(channel.id, self._at(message), message.cause or None, message.tech_cause or None, by_carrier)
        )

    def _on_start(self, message: Message, channel: ChannelInfo) -> None:
        """A call is ours: answered, or back from where it was listened to."""
        if message.application == self._app and channel.id not in self._known:
            _log.warning("unknown_call_answered", call_id=channel.id, engine_id=self._id)
            self._spawn(self._end_unknown(channel.id))
        elif message.args:
            self._events.put_nowait(returned(channel.id, self._at(message), message.args))
        else:
            self._events.put_nowait(CallAnswered(channel.id, self._at(message)))

    def _at(self, message: Message) -> datetime:
        engine = datetime.fromisoformat(message.timestamp).timestamp()
        return datetime.fromtimestamp(self._clock.local_time(engine), UTC)

    async def _end_unknown(self, call_id: str) -> None:
        """Try until the engine has answered: somebody is connected to nobody."""
        for pause in chain(RECONNECT_SECONDS, repeat(RECONNECT_SECONDS[-1])):
            with contextlib.suppress(EngineUnavailableError):
                await self.hang_up(call_id)
                return
            await asyncio.sleep(pause)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Bridged:
    """A stream and the bridge that connects it with a call."""

    def __init__(self, stream: AsteriskStream, engine: AsteriskEngine, media_id: str) -> None:
        self._stream = stream
        self._engine = engine
        self._media_id = media_id

    async def receive(self) -> bytes | None:
        """Return the next frame."""
        return await self._stream.receive()

    async def send(self, samples: bytes) -> None:
        """Have the person hear that."""
        await self._stream.send(samples)

    async def clear(self) -> None:
        """Have the person hear nothing more of it."""
        await self._stream.clear()

    async def close(self) -> None:
        """End both; a channel whose websocket is closed ends by itself."""
        await self._stream.close()
        try:
            await self._engine.part(self._media_id)
        except EngineUnavailableError as error:
            # an empty bridge is left
            _log.warning("bridge_not_removed", media_id=self._media_id, reason=error.message)
