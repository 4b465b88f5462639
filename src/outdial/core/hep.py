"""HEP version 3, the "Homer encapsulation protocol": what an Asterisk's ``res_hep`` says of each SIP packet.

A packet is ``HEP3``, its whole length, and chunks of vendor, type, length and value, all big-endian. Read are the
generic chunks (vendor 0) of the HEP3 network protocol specification, revision 26; those of other vendors and of unknown
types are passed over. What cannot be read is a :class:`HepProblem`, never an exception: it comes from the network.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from struct import Struct
from typing import Final

SIP: Final = 1
"""Protocol type of SIP."""

MICROSECONDS: Final = 1_000_000

_MAGIC: Final = b"HEP3"
_HEADER: Final = Struct("!4sH")
_CHUNK: Final = Struct("!HHH")
_MOST_CHUNKS: Final = 64
"""res_hep sends fourteen."""

_FAMILIES: Final = {2: 4, 10: 16}
"""IP family (Linux's AF_INET, AF_INET6) → bytes of an address."""

_PAYLOAD: Final = 15
_COMPRESSED: Final = 16
_KEY: Final = 14

_SIZES: Final = {1: 1, 2: 1, 3: 4, 4: 4, 5: 16, 6: 16, 7: 2, 8: 2, 9: 4, 10: 4, 11: 1, 12: 4, 13: 2}
"""Chunk type → bytes of its value; the others hold as much as they hold."""

_NEEDED: Final = (1, 7, 8, 9, 10, 11, _PAYLOAD)


class HepProblem(StrEnum):
    """Why a packet is none, in the order in which it is looked for."""

    NOT_HEP3 = "not_hep3"
    """It does not begin with ``HEP3`` and a length."""
    WRONG_LENGTH = "wrong_length"
    """It says to be longer or shorter than it is."""
    BROKEN_CHUNK = "broken_chunk"
    """A chunk is cut off, shorter than its head, of the wrong size for its type, there twice, or one too many."""
    UNAUTHENTIC = "unauthentic"
    """A key is asked for and this one has none, or another."""
    COMPRESSED = "compressed"
    """Its payload is compressed, as no Asterisk sends it: unpacking what strangers send is not bounded."""
    MISSING_CHUNK = "missing_chunk"
    """A chunk that every packet needs is not there."""


@dataclass(frozen=True, slots=True)
class HepPacket:
    """One SIP packet as an engine sent or received it."""

    at_microseconds: int
    """Unix time of the engine's clock."""
    source: tuple[bytes, int]
    """Packed IP address and port."""
    destination: tuple[bytes, int]
    protocol_type: int
    """:data:`SIP`, or something else."""
    capture_name: str
    """What the sender is called, ``capture_name`` of its hep.conf; empty when it says nothing."""
    payload: bytes


def decode(data: bytes, *, key: bytes | None = None) -> HepPacket | HepProblem:
    """Return what the datagram says, or why it says nothing; with ``key`` only what was sent with it."""
    found = _read(data)
    if isinstance(found, HepProblem):
        return found
    if key is not None and not hmac.compare_digest(found.get(_KEY, b""), key):
        return HepProblem.UNAUTHENTIC
    if _COMPRESSED in found:
        return HepProblem.COMPRESSED
    addresses = _addresses(found)
    if addresses is None or not all(kind in found for kind in _NEEDED):
        return HepProblem.MISSING_CHUNK
    return HepPacket(
        at_microseconds=_number(found[9]) * MICROSECONDS + _number(found[10]),
        source=(addresses[0], _number(found[7])),
        destination=(addresses[1], _number(found[8])),
        protocol_type=found[11][0],
        capture_name=found.get(19, b"").decode(errors="replace"),
        payload=found[_PAYLOAD],
    )


def address_text(address: tuple[bytes, int]) -> str:
    """Return ``192.0.2.1:5060`` or ``[2001:db8::1]:5060``."""
    literal = ip_address(address[0])
    return f"[{literal}]:{address[1]}" if literal.version == 6 else f"{literal}:{address[1]}"  # noqa: PLR2004 - IPv6


def _read(data: bytes) -> dict[int, bytes] | HepProblem:
    if len(data) < _HEADER.size or not data.startswith(_MAGIC):
        return HepProblem.NOT_HEP3
    if _HEADER.unpack_from(data)[1] != len(data):
        return HepProblem.WRONG_LENGTH
    found = _chunks(data)
    return HepProblem.BROKEN_CHUNK if found is None else found


def _chunks(data: bytes) -> dict[int, bytes] | None:
    """Return the generic chunks by type, None when one of them is broken."""
    found: dict[int, bytes] = {}
    place, end = _HEADER.size, len(data)
    for _ in range(_MOST_CHUNKS):
        if place == end:
            return found
        if end - place < _CHUNK.size:
            return None
        vendor, kind, length = _CHUNK.unpack_from(data, place)
        if length < _CHUNK.size or length > end - place:
            return None
        if vendor == 0:
            if kind in found or _SIZES.get(kind, length - _CHUNK.size) != length - _CHUNK.size:
                return None
            found[kind] = data[place + _CHUNK.size : place + length]
        place += length
    return None


def _addresses(found: dict[int, bytes]) -> tuple[bytes, bytes] | None:
    """Return source and destination of the family the packet names."""
    match _FAMILIES.get(_number(found.get(1, b""))):
        case 4:
            pair = found.get(3), found.get(4)
        case 16:
            pair = found.get(5), found.get(6)
        case _:
            return None
    source, destination = pair
    return None if source is None or destination is None else (source, destination)


def _number(value: bytes) -> int:
    return int.from_bytes(value)
