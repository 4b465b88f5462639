"""Ask a SIP server whether it is there: OPTIONS (RFC 3261 §11), over the transport calls would take."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from outdial.clock import boottime
from outdial.core.errors import OutdialError
from outdial.core.model import Transport
from outdial.telephony.engine import TrunkAddress

ANSWER_SECONDS: Final = 3.0
"""Patience with an answer; over UDP the request is repeated meanwhile."""

REPEAT_SECONDS: Final = 0.5
"""T1 of RFC 3261; doubled at each repetition."""

_STATUS: Final = re.compile(rb"SIP/2\.0 (\d{3}) ([^\r\n]*)")
_HEADER_END: Final = b"\r\n\r\n"
_LONGEST_ANSWER: Final = 65_536


class SipUnansweredError(OutdialError):
    """A SIP server does not answer; calls over it would fail."""

    code = "sip_unanswered"
    status = 503
    wire_code = 503
    retryable = True


@dataclass(frozen=True, slots=True)
class SipAnswer:
    """What it answered. Any answer shows that it is there: many refuse OPTIONS from those they do not know."""

    status: int
    reason: str
    seconds: float


async def ask(address: TrunkAddress, transport: Transport, *, seconds: float = ANSWER_SECONDS) -> SipAnswer:
    """Send OPTIONS and return the first answer. Raises SipUnansweredError.

    TLS is spoken without checking the certificate, as calls are.
    """
    began = boottime()
    try:
        async with asyncio.timeout(seconds):
            answer = await (_by_udp(address) if transport is Transport.UDP else _by_stream(address, transport))
    except TimeoutError:
        raise SipUnansweredError(
            f"{_where(address)} did not answer OPTIONS over {transport} within {seconds:g} s"
        ) from None
    except OSError as error:
        raise SipUnansweredError(f"{_where(address)} cannot be reached over {transport}: {_why(error)}") from error
    status = _STATUS.match(answer)
    if status is None:
        raise SipUnansweredError(f"{_where(address)} answered over {transport}, but not with SIP")
    return SipAnswer(int(status[1]), status[2].decode(errors="replace").strip(), boottime() - began)


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    # asyncio puts the address, which is known, where the reason should be
    return os.strerror(error.errno) if error.errno else str(error)


def _where(address: TrunkAddress) -> str:
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"


def _request(address: TrunkAddress, transport: Transport, local: tuple[str, int]) -> bytes:
    scheme = "sips" if transport is Transport.TLS else "sip"
    here = _where(TrunkAddress(*local))
    return "\r\n".join(
        (
            f"OPTIONS {scheme}:{_where(address)} SIP/2.0",
            f"Via: SIP/2.0/{transport.upper()} {here};branch=z9hG4bK{secrets.token_hex(8)};rport",
            "Max-Forwards: 70",
            f"From: <{scheme}:outdial@{here}>;tag={secrets.token_hex(4)}",
            f"To: <{scheme}:{_where(address)}>",
            f"Call-ID: {secrets.token_hex(16)}",
            "CSeq: 1 OPTIONS",
            f"Contact: <{scheme}:outdial@{here}>",
            "Accept: application/sdp",
            "User-Agent: outdial",
            "Content-Length: 0",
            "",
            "",
        )
    ).encode()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, _address: object) -> None:
        if not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, error: Exception) -> None:
        # the peer's machine says that nobody listens there
        if not self.answer.done():
            self.answer.set_exception(error)


async def _by_udp(address: TrunkAddress) -> bytes:
    transport, peer = await asyncio.get_running_loop().create_datagram_endpoint(
        _Datagrams, remote_addr=(address.host, address.port)
    )
    try:
        request = _request(address, Transport.UDP, transport.get_extra_info("sockname")[:2])
        pause = REPEAT_SECONDS
        while not peer.answer.done():
            transport.sendto(request)
            await asyncio.wait({peer.answer}, timeout=pause)
            pause *= 2
        return peer.answer.result()
    finally:
        peer.answer.cancel()
        transport.close()


async def _by_stream(address: TrunkAddress, transport: Transport) -> bytes:
    async with _connected(address, transport) as (reader, writer):
        writer.write(_request(address, transport, writer.get_extra_info("sockname")[:2]))
        await writer.drain()
        try:
            return await reader.readuntil(_HEADER_END)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            raise ConnectionError("it closed the connection without an answer") from None


@contextlib.asynccontextmanager
async def _connected(
    address: TrunkAddress, transport: Transport
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    context = _unchecked() if transport is Transport.TLS else None
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context, limit=_LONGEST_ANSWER)
    try:
        yield reader, writer
    finally:
        # not close: a peer that never answers TLS's farewell would hold us
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _unchecked() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
