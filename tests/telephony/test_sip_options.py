"""OPTIONS: a real Asterisk, peers that are slow, silent or talk something else, and ports where nobody is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from outdial.core.model import Transport
from outdial.telephony import sip_options
from outdial.telephony.engine import TrunkAddress
from outdial.telephony.sip_options import SipUnansweredError, ask
from support.asterisk import asterisk  # noqa: F401 - a fixture

LOCAL = "127.0.0.1"


class Peer(asyncio.DatagramProtocol):
    """Answers the n-th request over UDP."""

    def __init__(self, answer: bytes | None, *, at_request: int = 1) -> None:
        self.requests: list[bytes] = []
        self._answer, self._at = answer, at_request

    def connection_made(self, transport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address) -> None:
        self.requests.append(data)
        if self._answer is not None and len(self.requests) == self._at:
            self._transport.sendto(self._answer, address)


@asynccontextmanager
async def udp_peer(*arguments, **options) -> AsyncIterator[tuple[Peer, TrunkAddress]]:
    loop = asyncio.get_running_loop()
    transport, peer = await loop.create_datagram_endpoint(lambda: Peer(*arguments, **options), (LOCAL, 0))
    try:
        yield peer, TrunkAddress(*transport.get_extra_info("sockname"))
    finally:
        transport.close()


@asynccontextmanager
async def tcp_peer(answer: bytes) -> AsyncIterator[TrunkAddress]:
    async def serve(reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, LOCAL, 0)
    try:
        yield TrunkAddress(*server.sockets[0].getsockname())
    finally:
        server.close()
        await server.wait_closed()


def unused_port(kind: socket.SocketKind) -> int:
    with socket.socket(type=kind) as free:
        free.bind((LOCAL, 0))
        return free.getsockname()[1]


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
async def test_asterisk_answers(asterisk, transport):  # noqa: F811
    answer = await ask(asterisk.sip_address, transport)
    assert 200 <= answer.status < 500
    assert answer.reason
    assert 0 < answer.seconds < sip_options.ANSWER_SECONDS


async def test_asterisk_answers_over_tls_with_its_own_certificate(asterisk):  # noqa: F811
    tls = TrunkAddress(LOCAL, asterisk._now().ports.tls)
    assert 200 <= (await ask(tls, Transport.TLS)).status < 500


async def test_the_loopback_carrier_answers_strangers(asterisk):  # noqa: F811
    assert 200 <= (await ask(asterisk.loopback_trunk_address, Transport.UDP)).status < 500


async def test_a_lost_request_is_repeated_as_the_same_one():
    async with udp_peer(b"SIP/2.0 200 OK\r\n\r\n", at_request=2) as (peer, address):
        answer = await ask(address, Transport.UDP)
    assert (answer.status, answer.reason) == (200, "OK")
    assert peer.requests[0] == peer.requests[1]
    lines = peer.requests[0].decode().split("\r\n")
    assert lines[0] == f"OPTIONS sip:{address.host}:{address.port} SIP/2.0"
    assert lines[-2:] == ["", ""]
    assert [line.partition(":")[0] for line in lines[1:6]] == ["Via", "Max-Forwards", "From", "To", "Call-ID"]


async def test_silence_is_told_with_transport_and_patience():
    async with udp_peer(None) as (_, address):
        with pytest.raises(SipUnansweredError, match=rf"{address.port} did not answer OPTIONS over udp within 0.2 s"):
            await ask(address, Transport.UDP, seconds=0.2)


@pytest.mark.parametrize(
    ("transport", "kind"), [(Transport.UDP, socket.SOCK_DGRAM), (Transport.TCP, socket.SOCK_STREAM)]
)
async def test_a_port_where_nobody_listens_is_told_at_once(transport, kind):
    address = TrunkAddress(LOCAL, unused_port(kind))
    with pytest.raises(SipUnansweredError, match=rf"cannot be reached over {transport}: .*refused"):
        await ask(address, transport)


async def test_a_web_server_is_not_a_carrier():
    async with tcp_peer(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
        with pytest.raises(SipUnansweredError, match="not with SIP"):
            await ask(address, Transport.TCP)


async def test_a_connection_closed_without_a_word_is_told():
    async with tcp_peer(b"") as address:
        with pytest.raises(SipUnansweredError, match="closed the connection without an answer"):
            await ask(address, Transport.TCP)


async def test_ipv6_addresses_are_written_in_brackets():
    with pytest.raises(SipUnansweredError, match=r"\[::1\]:\d+ cannot be reached"):
        await ask(TrunkAddress("::1", unused_port(socket.SOCK_STREAM)), Transport.TCP)


async def test_asking_plain_sip_of_a_tls_port_fails(asterisk):  # noqa: F811
    with pytest.raises(SipUnansweredError):
        await ask(TrunkAddress(LOCAL, asterisk._now().ports.tls), Transport.TCP, seconds=1)
