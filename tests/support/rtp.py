"""What a peer of a SIP call hears, and what it says: G.711 µ-law over its RTP socket (RFC 3551, payload type 0)."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import struct
from array import array
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence

from sounds import tone
from support.sip_peer import SipPeer
from waiting import until

RATE = 8000
_FRAME = 160
_PCMU = 0


class Handset:
    """Hears all that arrives at a peer's RTP socket, call by call, and talks into them."""

    def __init__(self, peer: SipPeer) -> None:
        assert peer._rtp is not None
        self._peer = peer
        self._socket = peer._rtp
        self.heard = array("h")
        self.sent_seconds = 0.0
        """How much of the last sound that was to be sent has been."""
        self._by_port: defaultdict[int, array] = defaultdict(lambda: array("h"))

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                packet, source = self._socket.recvfrom(2048)
                if packet[1] & 0x7F == _PCMU:
                    samples = [_LINEAR[byte] for byte in packet[12:]]
                    self.heard.extend(samples)
                    self._by_port[source[1]].extend(samples)

    def of(self, number: str) -> array:
        """What the phone of that number has heard in its last call."""
        return self._by_port[self._port(number)]

    def _port(self, number: str | None) -> int:
        """The engine's RTP port, of the last call to the number, or the last of all."""
        calls = [call.call_id for call in self._peer.of_number(number)] if number else list(self._peer._dialogs)
        request, _ = self._peer._dialogs[calls[-1]]
        port = re.search(rb"m=audio ([0-9]+) ", request.body)
        assert port is not None
        return int(port.group(1))

    def loudness(self, frequency: float, *, seconds: float = 0.5) -> float:
        """How much of what was heard last is that tone: the amplitude of its sine."""
        return _amplitude(self.heard[-round(seconds * RATE) :], frequency)

    def most(self, frequency: float, *, seconds: float = 0.2) -> float:
        """The loudest it ever was for that long."""
        step = round(seconds * RATE)
        parts = [self.heard[at : at + step] for at in range(0, max(1, len(self.heard) - step), step // 2)]
        return max(_amplitude(part, frequency) for part in parts)

    async def hears(self, frequency: float, *, seconds: float = 20.0) -> None:
        """Wait until that tone has been heard for a moment."""
        await until(lambda: self.loudness(frequency, seconds=0.2) > 1000, seconds=seconds)

    async def say(self, frequency: float, seconds: float, number: str | None = None) -> None:
        """Send a tone, packet by packet as a phone does, once a call is answered."""
        await self.send(tone(frequency, rate=RATE, seconds=seconds), number)

    async def send(self, samples: Sequence[int], number: str | None = None) -> None:
        """Send any sound in the same way."""
        await until(lambda: bool(self._peer._dialogs))
        port = self._port(number)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for place, at in enumerate(range(0, len(samples), _FRAME)):
            await asyncio.sleep(max(0.0, began + at / RATE - loop.time()))
            self.sent_seconds = at / RATE
            payload = bytes(_ulaw(sample) for sample in samples[at : at + _FRAME])
            header = struct.pack("!BBHII", 0x80, _PCMU, place & 0xFFFF, at, id(self) & 0xFFFFFFFF)
            self._socket.sendto(header + payload, (self._peer.host, port))


@contextlib.asynccontextmanager
async def handset(peer: SipPeer) -> AsyncIterator[Handset]:
    """Pick up: hear what arrives while the block lasts."""
    opened = Handset(peer)
    loop = asyncio.get_running_loop()
    loop.add_reader(opened._socket.fileno(), opened._readable)
    try:
        yield opened
    finally:
        loop.remove_reader(opened._socket.fileno())


def amplitude(samples: array, frequency: float, *, rate: int = RATE) -> float:
    """How loud a sine of that frequency is in the samples, as its amplitude."""
    return _amplitude(samples, frequency, rate)


def _amplitude(samples: array, frequency: float, rate: int = RATE) -> float:
    if not samples:
        return 0.0
    turn = 2 * math.pi * frequency / rate
    real = sum(sample * math.cos(turn * at) for at, sample in enumerate(samples))
    imaginary = sum(sample * math.sin(turn * at) for at, sample in enumerate(samples))
    return 2 * math.hypot(real, imaginary) / len(samples)


def _linear(byte: int) -> int:
    """ITU-T G.711, µ-law to 16 bit."""
    byte = ~byte & 0xFF
    magnitude = ((((byte & 0x0F) << 3) + 0x84) << ((byte & 0x70) >> 4)) - 0x84
    return -magnitude if byte & 0x80 else magnitude


def _ulaw(sample: int) -> int:
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), 32635) + 0x84
    exponent = magnitude.bit_length() - 8
    return ~(sign | exponent << 4 | (magnitude >> (exponent + 3)) & 0x0F) & 0xFF


_LINEAR = [_linear(byte) for byte in range(256)]
