"""What a peer of a SIP call hears, says and presses: G.711 µ-law (RFC 3551, payload type 0) and keys (RFC 4733) over
its RTP socket."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import struct
from array import array
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence

from sounds import tone
from support.sip_peer import ANCILLARY, TELEPHONE_EVENT, SipPeer, arrived_at
from waiting import until

RATE = 8000
_FRAME = 160
_PCMU = 0
_MARKER = 0x80

KEYS = "0123456789*#ABCD"
"""Each at the place of its event code (RFC 4733, section 3.2)."""

_MOMENT = 400
"""Samples in which one tone is told from another: multiples of 20 Hz do not disturb each other in them."""
_LOUD = 5000
"""More of a tone of amplitude 8000 than two that meet in a moment can both have."""

_KEY_FRAMES = 5
"""A key is held for 100 ms."""
_REST_FRAMES = 5
"""And not pressed for as long before the next."""
_END_PACKETS = 3
"""The end is said three times, since packets are lost (RFC 4733, section 2.5.1.4)."""
_END = 0x80
_VOLUME = 10


class _Sending:
    """The one stream of packets to one port: its sequence numbers and clock go on from sound to key to sound."""

    def __init__(self, now: float) -> None:
        self._sequence = 0
        self._began = now
        self._ssrc = id(self) & 0xFFFFFFFF

    def timestamp(self, now: float) -> int:
        return round((now - self._began) * RATE)

    def packet(self, payload_type: int, timestamp: int, payload: bytes) -> bytes:
        self._sequence += 1
        return struct.pack("!BBHII", 0x80, payload_type, self._sequence & 0xFFFF, timestamp, self._ssrc) + payload


class Handset:
    """Hears all that arrives at a peer's RTP socket, call by call, talks into them, and presses keys."""

    def __init__(self, peer: SipPeer) -> None:
        assert peer._rtp is not None
        self._peer = peer
        self._socket = peer._rtp
        self.heard = array("h")
        self.sent_seconds = 0.0
        """How much of the last sound that was to be sent has been."""
        self.heard_at = 0
        """When the last sound of all arrived, by the kernel: Unix nanoseconds."""
        self._by_port: defaultdict[int, array] = defaultdict(lambda: array("h"))
        self._sending: dict[int, _Sending] = {}

    def listen(self) -> None:
        """Take all that has arrived."""
        with contextlib.suppress(BlockingIOError):
            while True:
                packet, ancillary, _, source = self._socket.recvmsg(2048, ANCILLARY)
                if packet[1] & 0x7F == _PCMU:
                    self.heard_at = arrived_at(ancillary)
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

    def melody(self, frequencies: Iterable[float], number: str | None = None) -> list[float]:
        """Which of the tones were heard, in their order, each once for as long as it went on or was begun again."""
        heard = self.of(number) if number else self.heard
        found: list[float] = []
        for at in range(0, len(heard) - _MOMENT + 1, _MOMENT):
            part = heard[at : at + _MOMENT]
            found += [one for one in frequencies if _amplitude(part, one) > _LOUD and one not in found[-1:]]
        return found

    def seconds_of(self, frequency: float) -> float:
        """For how long a tone was heard, all in all."""
        parts = (self.heard[at : at + _MOMENT] for at in range(0, len(self.heard) - _MOMENT + 1, _MOMENT))
        return sum(_amplitude(part, frequency) > _LOUD for part in parts) * _MOMENT / RATE

    async def hears(self, frequency: float, *, seconds: float = 20.0) -> None:
        """Wait until that tone has been heard for a moment."""
        await until(lambda: self.loudness(frequency, seconds=0.2) > 1000, seconds=seconds)

    async def hears_well(self, frequency: float, number: str | None = None, *, seconds: float = 60.0) -> None:
        """Wait until the last half second that was heard was most of it that tone."""

        def well() -> bool:
            last = (self.of(number) if number else self.heard)[-RATE // 2 :]
            return len(last) == RATE // 2 and _amplitude(last, frequency) > _LOUD

        await until(well, seconds=seconds)

    async def say(self, frequency: float, seconds: float, number: str | None = None) -> None:
        """Send a tone, packet by packet as a phone does, once a call is answered."""
        await self.send(tone(frequency, rate=RATE, seconds=seconds), number)

    async def send(self, samples: Sequence[int], number: str | None = None) -> None:
        """Send any sound in the same way."""
        port, sending = await self._opened(number)
        loop = asyncio.get_running_loop()
        began = loop.time()
        first = sending.timestamp(began)
        for at in range(0, len(samples), _FRAME):
            await asyncio.sleep(max(0.0, began + at / RATE - loop.time()))
            self.sent_seconds = at / RATE
            payload = bytes(_ulaw(sample) for sample in samples[at : at + _FRAME])
            self._socket.sendto(sending.packet(_PCMU, first + at, payload), (self._peer.host, port))

    async def press(self, keys: str, number: str | None = None) -> None:
        """Press keys one after the other, each as RFC 4733 events: every packet of a key has the timestamp of its
        beginning and says how long it has been held, the first is marked, and its end is said three times."""
        port, sending = await self._opened(number)
        loop = asyncio.get_running_loop()
        for key in keys:
            began = loop.time()
            pressed_at = sending.timestamp(began)
            for frame in range(1, _KEY_FRAMES + _END_PACKETS):
                held, ends = min(frame, _KEY_FRAMES), frame >= _KEY_FRAMES
                event = struct.pack("!BBH", KEYS.index(key), (_END if ends else 0) | _VOLUME, held * _FRAME)
                marker = _MARKER if frame == 1 else 0
                packet = sending.packet(marker | TELEPHONE_EVENT, pressed_at, event)
                self._socket.sendto(packet, (self._peer.host, port))
                await asyncio.sleep(max(0.0, began + frame * _FRAME / RATE - loop.time()))
            await asyncio.sleep(_REST_FRAMES * _FRAME / RATE)

    async def _opened(self, number: str | None) -> tuple[int, _Sending]:
        """The engine's port of a call that is answered, and the stream to it."""
        await until(lambda: bool(self._peer._dialogs))
        port = self._port(number)
        return port, self._sending.setdefault(port, _Sending(asyncio.get_running_loop().time()))


@contextlib.asynccontextmanager
async def handset(peer: SipPeer) -> AsyncIterator[Handset]:
    """Pick up: hear what arrives while the block lasts."""
    opened = Handset(peer)
    loop = asyncio.get_running_loop()
    loop.add_reader(opened._socket.fileno(), opened.listen)
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
