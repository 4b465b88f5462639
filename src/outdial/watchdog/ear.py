"""Hears what the engines send: HEP over UDP, read as it comes, never waiting for anybody.

HEP says nothing of direction. An Asterisk notes what it sends by the microsecond and what it receives by the
millisecond (``ast_tvnow`` and pjlib's ``pj_time_val``; measured on 22.10): a time that is no whole millisecond is of
something sent, and its source an address of the engine's own. Whatever comes from such an address was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from struct import Struct
from typing import Final, TypeVar

import structlog

from outdial import clock
from outdial.core import hep
from outdial.core.errors import StartupError
from outdial.core.hep import HepPacket, HepProblem
from outdial.core.sip_invite import SipProblem, clean, read_invite
from outdial.core.watch import REPEATS, Sighting, read_permission
from outdial.watchdog.counts import Counts

RECEIVE_BYTES: Final = 8 << 20
"""Asked of the kernel for packets that wait to be read; it may give less (net.core.rmem_max)."""

MOST_CALLS: Final = 100_000
"""Call-IDs remembered, to know repetitions: those of five minutes at 300 calls a second."""

MOST_ADDRESSES: Final = 4096
"""Addresses of engines remembered: one each, and one for each TCP or TLS connection."""

AHEAD_SECONDS: Final = 0.01
"""A packet from the future by more than this tells of clocks that differ."""

_LARGEST: Final = 65_536
_AT_ONCE: Final = 256
_SO_RXQ_OVFL: Final = 40
_COUNT: Final = Struct("@I")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = 1000

_Key = TypeVar("_Key")

_log = structlog.get_logger()


def listen(host: str, port: int) -> socket.socket:
    """Return the bound UDP socket; port 0 = a free one. Raises StartupError."""
    try:
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET  # noqa: PLR2004 - IPv6
    except ValueError:
        raise StartupError(f"OUTDIAL_WATCHDOG_HOST must be an IP address, not {host!r}.") from None
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        opened.settimeout(0)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        opened.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        opened.bind((host, port))
    except OSError as error:
        opened.close()
        raise bind_problem(error, host, port, "UDP") from error
    return opened


def bind_problem(error: OSError, host: str, port: int, protocol: str) -> StartupError:
    """Return what a refused address means."""
    if error.errno == errno.EADDRINUSE:
        return StartupError(
            f"{protocol} port {port} on {host} is taken by another program, perhaps another watchdog: stop it, or set "
            "OUTDIAL_WATCHDOG_PORT to a free port, for the watchdog and for what runs the Asterisk."
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return StartupError(f"{host} is no address of this machine: set OUTDIAL_WATCHDOG_HOST to one.")
    return StartupError(
        f"The watchdog cannot bind {protocol} port {port} of {host}: {os.strerror(error.errno or errno.EIO)}."
    )


class Ear:
    """Reads packets and hands on each INVITE for a new call that an engine has sent, once."""

    def __init__(
        self,
        opened: socket.socket,
        *,
        key: str | None,
        counts: Counts,
        on_invite: Callable[[Sighting], None],
        may_repeat: timedelta = REPEATS,
    ) -> None:
        """``may_repeat``: for so long after the start, and after packets were lost, an INVITE may be a repetition of
        one that was not heard."""
        self._socket = opened
        self._key = None if key is None else key.encode()
        self._counts = counts
        self._on_invite = on_invite
        self._blind = may_repeat.total_seconds()
        self._blind_until = clock.boottime() + self._blind
        self._dropped = 0
        self._ahead = False
        self._own: OrderedDict[tuple[bytes, int], None] = OrderedDict()
        self._calls: OrderedDict[tuple[str, str], None] = OrderedDict()

    def open(self) -> None:
        """Begin to read, in the running loop."""
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)

    def close(self) -> None:
        """Stop reading and release the socket."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(_AT_ONCE):
                data, ancillary, _, _ = self._socket.recvmsg(_LARGEST, socket.CMSG_SPACE(_COUNT.size))
                for level, kind, value in ancillary:
                    if level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL:
                        self._overflown(_COUNT.unpack(value[: _COUNT.size])[0])
                self.take(data)

    def _overflown(self, dropped: int) -> None:
        """Note how many packets the kernel has thrown away since the socket was opened."""
        if dropped == self._dropped:
            return
        self._counts.dropped((dropped - self._dropped) % (1 << 32))
        self._dropped = dropped
        self._blind_until = clock.boottime() + self._blind
        _log.error(
            "watchdog_packets_lost", lost=dropped, remedy="raise net.core.rmem_max, or give it more processor time"
        )

    def take(self, data: bytes) -> None:
        """Read one datagram."""
        packet = hep.decode(data, key=self._key)
        if isinstance(packet, HepProblem):
            self._counts.problem(packet)
            return
        self._counts.packet()
        if packet.at_microseconds % _MILLISECOND:
            _remember(self._own, packet.source, MOST_ADDRESSES)
        if packet.protocol_type == hep.SIP:
            self._take_sip(packet)

    def _take_sip(self, packet: HepPacket) -> None:
        invite = read_invite(packet.payload)
        if invite is None:
            return
        if isinstance(invite, SipProblem):
            self._counts.problem(invite)
            return
        permission = read_permission(invite.session)
        # with a permit's name it was sent, unless it has come back to where it was sent from
        if packet.source not in self._own and (permission is None or packet.destination in self._own):
            self._counts.received()
            return
        engine_name = clean(packet.capture_name)
        if not _remember(self._calls, (engine_name, invite.call_id), MOST_CALLS):
            self._counts.repeated()
            return
        sent_at = _EPOCH + timedelta(microseconds=packet.at_microseconds)
        self._compare_clocks(sent_at)
        self._on_invite(
            Sighting(
                call_id=invite.call_id,
                number=invite.number,
                caller=invite.caller,
                permission=permission,
                sent_at=sent_at,
                engine_name=engine_name,
                source=hep.address_text(packet.source),
                destination=hep.address_text(packet.destination),
                may_repeat=clock.boottime() < self._blind_until,
            )
        )

    def _compare_clocks(self, sent_at: datetime) -> None:
        ahead = (sent_at - clock.now()).total_seconds()
        if ahead > AHEAD_SECONDS and not self._ahead:
            self._ahead = True
            _log.warning(
                "watchdog_clocks_differ",
                engine_ahead_seconds=round(ahead, 3),
                remedy="synchronise the clocks (NTP); OUTDIAL_WATCHDOG_TOLERANCE_SECONDS says what they may differ",
            )


def _remember(known: OrderedDict[_Key, None], key: _Key, most: int) -> bool:
    """Remember a thing, forgetting the one not met for longest; return whether it is new."""
    if key in known:
        known.move_to_end(key)
        return False
    known[key] = None
    if len(known) > most:
        known.popitem(last=False)
    return True
