"""A SIP carrier for tests: answers as the called number's last digits say, and remembers every INVITE.

Times of INVITEs are the kernel's (``SO_TIMESTAMPNS``), so they are true however busy the process was; they are Unix
nanoseconds, comparable with ``time.time_ns()`` on the same machine. Over TCP and TLS the kernel tells no such time and
the process's own clock is used.

| the number ends in | the peer |
|---|---|
| 486, 404, 503, 603, 480, 500 | refuses with that status |
| 180 | rings for ever |
| 183 | early media, then answers |
| 100 | says nothing at all, ever |
| 181 | says nothing for a second, then rings for ever |
| 202 | says nothing for a second, then answers, even if it was cancelled meanwhile |
| 200 | answers at once |
| 201 | rings and answers even though cancelled: its 200 crosses the CANCEL |
| 401, 407 | asks for credentials (``username``/``password``), then answers |
| 487 | answers, then hangs up after ``hang_up_seconds`` |
| anything else | rings, answers after ``ring_seconds``, listens |
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import socket
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address

TELEPHONE_EVENT = 101
"""Payload type of pressed keys (RFC 4733) in what the peer offers."""

SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@qq")
ANCILLARY = socket.CMSG_SPACE(_TIMESPEC.size)
_RETRANSMIT_SECONDS = (0.5, 1.0, 2.0, 4.0)
_REALM = "carrier"
_NONCE = "n0nce"

_REFUSALS = ("486", "404", "503", "603", "480", "500")
_REASONS = {100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 401: "Unauthorized", 487: "Terminated"}

Send = Callable[[bytes], None]
Timers = dict[str, list[asyncio.TimerHandle]]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What the peer does with one INVITE."""

    silent_seconds: float = 0.0
    provisional: int | None = 180
    ring_seconds: float = 0.0
    final: int | None = 200
    despite_cancel: bool = False
    challenge: int | None = None
    hang_up_seconds: float | None = None


@dataclass(slots=True)
class Call:
    """Everything seen of one Call-ID."""

    call_id: str
    number: str
    caller: str
    invites: list[int] = field(default_factory=list)
    """Arrival of every INVITE of this Call-ID, retransmissions and challenged ones included."""
    source: int = 0
    """Port the first INVITE came from: which engine sent it. Over TCP and TLS, whose connections come from any port and
    maybe through a relay, the port that its topmost Via says it was sent by."""
    authorized: bool = False
    responded_at: int | None = None
    """When the peer first said that it rings, has media or is answered; until then nobody hears anything."""
    cancelled_at: int | None = None
    acknowledged_at: int | None = None
    bye_at: int | None = None
    status: int | None = None
    """Final status sent."""
    answered_at: int | None = None
    ended_at: int | None = None
    """When the peer saw the call end: refused, cancelled, or BYE from either side."""

    @property
    def at(self) -> int:
        return self.invites[0]


class _Request:
    """One SIP request, parsed as far as a peer needs."""

    __slots__ = ("body", "headers", "line", "method", "via")

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        self.line, *lines = head.decode("utf-8", "replace").split("\r\n")
        self.method = self.line.partition(" ")[0]
        self.headers: dict[str, str] = {}
        self.via: list[str] = []
        for line in lines:
            name, _, value = line.partition(":")
            key = name.strip().lower()
            if key in ("via", "v"):
                self.via.append(value.strip())
            else:
                self.headers.setdefault(key, value.strip())

    @property
    def branch(self) -> str:
        found = re.search(r"branch=([^;,\s]+)", self.via[0])
        return found.group(1) if found else ""

    @property
    def sent_by(self) -> int | None:
        """The port in the topmost Via; None where it says none."""
        found = re.match(r"\S+\s+(?:\[[^]]*\]|[^\s:;]+):(\d+)", self.via[0])
        return int(found.group(1)) if found else None

    @property
    def uri(self) -> str:
        return self.line.split(" ")[1]


class SipPeer:
    """Start with ``await SipPeer.start()``, ``close`` at the end; ``calls`` holds what was seen, by Call-ID."""

    def __init__(self) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self.transport = "udp"
        self.calls: dict[str, Call] = {}
        self.requests: list[tuple[int, str, str]] = []
        """``(ns, method, Call-ID)`` of every request but ACK and OPTIONS, in order."""
        self.choose: Callable[[str], Behaviour] = self.by_suffix
        self.ring_seconds = 0.2
        self.hang_up_seconds = 0.3
        self.username = "user"
        self.password = "secret"
        self.mute = False
        """Throw every packet away unseen, as a dead network would."""
        self.changed = asyncio.Event()
        self._sip: socket.socket | None = None
        self._rtp: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._sent: dict[tuple[str, str], bytes] = {}
        self._timers: Timers = {}
        self._repeats: Timers = {}
        self._answers: dict[str, Callable[[], None]] = {}
        self._tags = 0
        self._dialogs: dict[str, tuple[_Request, Send]] = {}
        self.renewed: set[str] = set()
        """Call-IDs whose re-INVITE of ours was answered."""

    @classmethod
    async def start(
        cls, *, host: str = "127.0.0.1", port: int = 0, transport: str = "udp", tls: ssl.SSLContext | None = None
    ) -> SipPeer:
        self = cls()
        self.host, self.transport = host, transport
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
        self._rtp = socket.socket(family, socket.SOCK_DGRAM)
        self._rtp.setblocking(False)
        self._rtp.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._rtp.bind((host, 0))
        if transport == "udp":
            self._sip = socket.socket(family, socket.SOCK_DGRAM)
            self._sip.setblocking(False)
            self._sip.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            for option in (socket.SO_RCVBUF, 33):  # 33 = SO_RCVBUFFORCE, for root
                with contextlib.suppress(PermissionError):
                    self._sip.setsockopt(socket.SOL_SOCKET, option, 8 << 20)
            self._sip.bind((host, port))
            self.port = self._sip.getsockname()[1]
            asyncio.get_running_loop().add_reader(self._sip.fileno(), self._readable)
        else:
            self._server = await asyncio.start_server(self._serve, host, port, ssl=tls)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def close(self) -> None:
        for timers in (self._timers, self._repeats):
            for call_id in list(timers):
                self._stop(timers, call_id)
        if self._sip is not None:
            asyncio.get_running_loop().remove_reader(self._sip.fileno())
            self._sip.close()
        if self._server is not None:
            self._server.close()
            await self.drop_connections()
            await self._server.wait_closed()
        if self._rtp is not None:
            self._rtp.close()

    async def drop_connections(self) -> None:
        """Cut every TCP or TLS connection."""
        for writer in list(self._writers):
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    # What was seen

    def new_calls_after(self, ns: int) -> list[Call]:
        """Calls whose first INVITE arrived after ``ns``."""
        return [call for call in self.calls.values() if call.at > ns]

    def of_number(self, number: str) -> list[Call]:
        return [call for call in self.calls.values() if call.number == number]

    async def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait until the condition holds; it is asked again after every request that arrives."""
        async with asyncio.timeout(seconds):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def audio_packets(self) -> int:
        """Drain and count the RTP that arrived since the last look (up to what the kernel kept)."""
        count = 0
        assert self._rtp is not None
        with contextlib.suppress(BlockingIOError):
            while self._rtp.recv(2048):
                count += 1
        return count

    def renew(self, call_id: str) -> None:
        """Send a re-INVITE within an answered call's dialog."""
        request, send = self._dialogs[call_id]
        send(self._own_request(request, call_id, "INVITE", 2, self._sdp()))

    # Behaviour

    def by_suffix(self, number: str) -> Behaviour:
        ring = self.ring_seconds
        table = {
            "180": Behaviour(final=None),
            "183": Behaviour(provisional=183, ring_seconds=ring),
            "100": Behaviour(provisional=None, final=None),
            "181": Behaviour(silent_seconds=1.0, final=None),
            "202": Behaviour(silent_seconds=1.0, provisional=None, despite_cancel=True),
            "200": Behaviour(provisional=None),
            "201": Behaviour(ring_seconds=ring, despite_cancel=True),
            "401": Behaviour(challenge=401, ring_seconds=ring),
            "407": Behaviour(challenge=407, ring_seconds=ring),
            "487": Behaviour(ring_seconds=ring, hang_up_seconds=self.hang_up_seconds),
        } | {code: Behaviour(provisional=None, final=int(code)) for code in _REFUSALS}
        return table.get(number[-3:], Behaviour(ring_seconds=ring))

    # Wire

    def _readable(self) -> None:
        assert self._sip is not None
        sip = self._sip
        for _ in range(256):
            try:
                data, ancillary, _, address = sip.recvmsg(8192, ANCILLARY)
            except BlockingIOError:
                return
            if self.mute:
                continue
            at = arrived_at(ancillary)
            self._receive(data, at, lambda answer, to=address: self._send_to(answer, to), address[1])

    def _send_to(self, data: bytes, address: tuple[str, int]) -> None:
        if self._sip is not None and self._sip.fileno() >= 0:
            self._sip.sendto(data, address)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.strip():
                    continue
                length = re.search(rb"(?im)^(?:content-length|l)\s*:\s*(\d+)", head)
                body = await reader.readexactly(int(length.group(1))) if length else b""
                if not self.mute:
                    port = writer.get_extra_info("peername")[1]
                    self._receive(head.lstrip() + body, time.time_ns(), _sender(writer), port)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _receive(self, data: bytes, at: int, send: Send, source: int) -> None:
        if data.startswith(b"SIP/2.0"):
            answer = _Request(data)
            call_id = answer.headers["call-id"]
            if data.startswith(b"SIP/2.0 200") and answer.headers["cseq"] == "2 INVITE":
                send(self._own_request(self._dialogs[call_id][0], call_id, "ACK", 2))
                self.renewed.add(call_id)
                self.changed.set()
            return
        if not data.strip():
            return
        request = _Request(data)
        call_id = request.headers.get("call-id", "")
        if request.method not in ("ACK", "OPTIONS"):
            self.requests.append((at, request.method, call_id))
        if request.method == "INVITE":
            self._on_invite(request, at, send, source)
        elif request.method == "ACK":
            self._on_ack(call_id, at)
        elif request.method == "CANCEL":
            self._on_cancel(request, at, send)
        else:
            call = self.calls.get(call_id)
            if request.method == "BYE" and call is not None:
                call.bye_at = call.ended_at = at
                self._stop(self._timers, call_id)
            send(self._response(request, 200))
        self.changed.set()

    def _on_invite(self, request: _Request, at: int, send: Send, source: int) -> None:
        call_id = request.headers["call-id"]
        call = self.calls.get(call_id)
        if call is None:
            if self.transport != "udp":
                source = request.sent_by or source
            call = Call(call_id, _user(request.uri), _user(request.headers["from"]), source=source)
            self.calls[call_id] = call
        call.invites.append(at)
        key = (call_id, request.branch)
        if key in self._sent:
            # a retransmission: say again what was said last, if anything was
            if self._sent[key]:
                send(self._sent[key])
            return
        self._sent[key] = b""
        if ";tag=" in request.headers["to"]:
            self._say(request, 200, key, send, sdp=True)
            return
        behaviour = self.choose(call.number)
        if behaviour.challenge and not self._authorized(request, behaviour.challenge):
            self._say(request, behaviour.challenge, key, send)
            return
        call.authorized = behaviour.challenge is not None
        self._tags += 1
        request.headers["to"] += f";tag=peer{self._tags}"
        self._later(call_id, behaviour.silent_seconds, lambda: self._ring(call, request, behaviour, key, send))

    def _ring(self, call: Call, request: _Request, behaviour: Behaviour, key: tuple[str, str], send: Send) -> None:
        if behaviour.provisional is not None:
            call.responded_at = call.responded_at or time.time_ns()
            self._say(request, behaviour.provisional, key, send, sdp=behaviour.provisional == 183)
        if not behaviour.despite_cancel:
            self._answers[call.call_id] = lambda: self._refuse(call, request, 487, key, send)
        if behaviour.final is not None:
            self._later(call.call_id, behaviour.ring_seconds, lambda: self._finish(call, request, behaviour, key, send))

    def _finish(self, call: Call, request: _Request, behaviour: Behaviour, key: tuple[str, str], send: Send) -> None:
        self._answers.pop(call.call_id, None)
        assert behaviour.final is not None
        if behaviour.final != 200:
            self._refuse(call, request, behaviour.final, key, send)
            return
        call.status, call.answered_at = 200, time.time_ns()
        call.responded_at = call.responded_at or call.answered_at
        self._say(request, 200, key, send, sdp=True, repeat=True)
        self._dialogs[call.call_id] = (request, send)
        if behaviour.hang_up_seconds is not None:
            self._later(call.call_id, behaviour.hang_up_seconds, lambda: self._bye(call, request, send))

    def _refuse(self, call: Call, request: _Request, status: int, key: tuple[str, str], send: Send) -> None:
        call.status, call.ended_at = status, time.time_ns()
        self._say(request, status, key, send, repeat=True)

    def _bye(self, call: Call, request: _Request, send: Send) -> None:
        call.ended_at = time.time_ns()
        send(self._own_request(request, call.call_id, "BYE", 1))

    def _own_request(self, request: _Request, call_id: str, method: str, number: int, body: str = "") -> bytes:
        """Return a request of ours within the dialog that a request of theirs began."""
        contact = re.search(r"<([^>]+)>", request.headers["contact"])
        assert contact is not None
        branch = f"z9hG4bK{method}{self._tags}{self.calls[call_id].at}"
        lines = [
            f"{method} {contact.group(1)} SIP/2.0",
            f"Via: SIP/2.0/{self.transport.upper()} {self._literal}:{self.port};branch={branch}",
            f"From: {request.headers['to']}",
            f"To: {request.headers['from']}",
            f"Call-ID: {call_id}",
            f"CSeq: {number} {method}",
            f"Contact: <sip:peer@{self._literal}:{self.port};transport={self.transport}>",
            "Max-Forwards: 70",
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        return "\r\n".join([*lines, "", body]).encode()

    def _on_ack(self, call_id: str, at: int) -> None:
        call = self.calls.get(call_id)
        if call is not None and call.status is not None:
            call.acknowledged_at = at
        self._stop(self._repeats, call_id)

    def _on_cancel(self, request: _Request, at: int, send: Send) -> None:
        call_id = request.headers["call-id"]
        call = self.calls.get(call_id)
        send(self._response(request, 200))
        if call is None:
            return
        # copies of it may have waited in line together
        call.cancelled_at = call.cancelled_at or at
        refuse = self._answers.pop(call_id, None)
        if refuse is not None:
            self._stop(self._timers, call_id)
            refuse()

    def _say(
        self,
        request: _Request,
        status: int,
        key: tuple[str, str],
        send: Send,
        *,
        sdp: bool = False,
        repeat: bool = False,
    ) -> None:
        data = self._response(request, status, sdp=sdp)
        self._sent[key] = data
        send(data)
        if repeat and self.transport == "udp":
            for seconds in _RETRANSMIT_SECONDS:
                self._later(key[0], seconds, lambda: send(data), self._repeats)

    def _later(self, call_id: str, seconds: float, action: Callable[[], None], timers: Timers | None = None) -> None:
        if seconds <= 0:
            action()
            return
        timer = asyncio.get_running_loop().call_later(seconds, action)
        (self._timers if timers is None else timers).setdefault(call_id, []).append(timer)

    def _stop(self, timers: Timers, call_id: str) -> None:
        for timer in timers.pop(call_id, []):
            timer.cancel()

    @property
    def _literal(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def _response(self, request: _Request, status: int, *, sdp: bool = False) -> bytes:
        headers = request.headers
        to = headers["to"]
        if ";tag=" not in to and status != 100:
            to += ";tag=peer"
        lines = [
            f"SIP/2.0 {status} {_REASONS.get(status, 'Status')}",
            *(f"Via: {via}" for via in request.via),
            f"From: {headers['from']}",
            f"To: {to}",
            f"Call-ID: {headers['call-id']}",
            f"CSeq: {headers['cseq']}",
            f"Contact: <sip:peer@{self._literal}:{self.port};transport={self.transport}>",
        ]
        if status in (401, 407):
            name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
            lines.append(f'{name}: Digest realm="{_REALM}", nonce="{_NONCE}", algorithm=MD5')
        body = self._sdp() if sdp else ""
        if body:
            lines.append("Content-Type: application/sdp")
        return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]).encode()

    def _sdp(self) -> str:
        assert self._rtp is not None
        kind = "IP6" if ":" in self.host else "IP4"
        return (
            f"v=0\r\no=peer 1 1 IN {kind} {self.host}\r\ns=-\r\nc=IN {kind} {self.host}\r\nt=0 0\r\n"
            f"m=audio {self._rtp.getsockname()[1]} RTP/AVP 0 {TELEPHONE_EVENT}\r\na=rtpmap:0 PCMU/8000\r\n"
            f"a=rtpmap:{TELEPHONE_EVENT} telephone-event/8000\r\na=fmtp:{TELEPHONE_EVENT} 0-15\r\na=sendrecv\r\n"
        )

    def _authorized(self, request: _Request, challenge: int) -> bool:
        """RFC 2617 digest without qop, which is what the challenge offers."""
        given = request.headers.get("authorization" if challenge == 401 else "proxy-authorization", "")
        values = dict(re.findall(r'(\w+)="?([^",]+)"?', given))
        if values.get("nonce") != _NONCE:
            return False
        secret = hashlib.md5(f"{self.username}:{_REALM}:{self.password}".encode()).hexdigest()
        target = hashlib.md5(f"INVITE:{values.get('uri')}".encode()).hexdigest()
        wanted = hashlib.md5(f"{secret}:{_NONCE}:{target}".encode()).hexdigest()
        return values.get("username") == self.username and values.get("response") == wanted


def arrived_at(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Return when the kernel got a packet, from what came beside it; now where it does not say."""
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(value[: _TIMESPEC.size])
            return seconds * 1_000_000_000 + nanoseconds
    return time.time_ns()


def _sender(writer: asyncio.StreamWriter) -> Send:
    """Return what says something over a connection for as long as it is there: calls outlive theirs."""

    def send(data: bytes) -> None:
        # uvloop raises an error for one that is gone
        if not writer.is_closing():
            writer.write(data)

    return send


def _user(header: str) -> str:
    found = re.search(r"sips?:([^@;>]+)@", header)
    return found.group(1) if found else ""
