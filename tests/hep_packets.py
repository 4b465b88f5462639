"""HEP packets and INVITEs as ``res_hep`` and Asterisk write them (measured on 22.10.1)."""

from __future__ import annotations

import struct
from ipaddress import ip_address

MARK = "run7e3k0123456789abcdef0123456789abcdef"


def chunk(kind: int, value: bytes, *, vendor: int = 0, length: int | None = None) -> bytes:
    return struct.pack("!HHH", vendor, kind, 6 + len(value) if length is None else length) + value


def packet(
    payload: bytes,
    *,
    microseconds: int = 1_700_000_000_123_456,
    source: tuple[str, int] = ("127.0.0.1", 5060),
    destination: tuple[str, int] = ("127.0.0.1", 5070),
    name: str = "ast-1",
    key: str | None = "sesame-sesame-sesame",
    without: tuple[int, ...] = (),
    more: bytes = b"",
) -> bytes:
    """One whole packet, its chunks in the order in which res_hep sends them."""
    addresses = [ip_address(source[0]), ip_address(destination[0])]
    six = addresses[0].version == 6
    chunks = {
        1: bytes([10 if six else 2]),
        2: bytes([17]),
        7: struct.pack("!H", source[1]),
        8: struct.pack("!H", destination[1]),
        9: struct.pack("!I", microseconds // 1_000_000),
        10: struct.pack("!I", microseconds % 1_000_000),
        11: bytes([1]),
        12: struct.pack("!I", 0),
        5 if six else 3: addresses[0].packed,
        6 if six else 4: addresses[1].packed,
        14: (key or "").encode(),
        17: b"a-call-id",
        19: name.encode(),
        15: payload,
    }
    kept = {kind: value for kind, value in chunks.items() if kind not in without and not (kind == 14 and key is None)}
    body = b"".join(chunk(kind, value) for kind, value in kept.items()) + more
    return b"HEP3" + struct.pack("!H", 6 + len(body)) + body


def invite(
    *,
    number: str = "+15550000110",
    caller: str = "+15550100999",
    call_id: str = "d4fa0175",
    session: str = MARK,
    to_tag: str = "",
    method: str = "INVITE",
    port: int = 5070,
) -> bytes:
    """One as an outdial endpoint sends it."""
    lines = [
        f"{method} sip:{number}@127.0.0.1:{port} SIP/2.0",
        "Via: SIP/2.0/UDP 127.0.0.1:5060;rport;branch=z9hG4bKPjd4da30f9",
        f"From: <sip:{caller}@127.0.0.1>;tag=44161c69",
        f"To: <sip:{number}@127.0.0.1>{to_tag}",
        "Contact: <sip:asterisk@127.0.0.1:5060>",
        f"Call-ID: {call_id}",
        f"CSeq: 29506 {method}",
        "Max-Forwards: 70",
        "Content-Type: application/sdp",
        "",
        f"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns={session}\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 20326 RTP/AVP 0\r\n",
    ]
    return "\r\n".join(lines).encode()
