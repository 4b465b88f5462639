"""Trunk names against a name server of our own, which can also fall silent."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import replace

import pytest

from outdial.core.errors import TrunkUnresolvedError
from outdial.core.model import Transport
from outdial.telephony import resolver as module
from outdial.telephony.engine import TrunkAddress
from outdial.telephony.resolver import TrunkResolver
from telephony.conftest import TRUNK

A, AAAA, SRV = 1, 28, 33


class NameServer(asyncio.DatagramProtocol):
    """Answers what it was told, and NXDOMAIN to the rest; ``silent`` it answers nothing."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], list[tuple[int, bytes]]] = {}
        self.silent = False
        self.failing: set[tuple[str, int]] = set()
        """Answered with SERVFAIL."""
        self.asked: list[tuple[str, int]] = []

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address) -> None:
        labels, at = [], 12
        while length := data[at]:
            labels.append(data[at + 1 : at + 1 + length].decode())
            at += 1 + length
        kind = struct.unpack_from("!H", data, at + 1)[0]
        question = data[12 : at + 5]
        name = ".".join(labels)
        self.asked.append((name, kind))
        if self.silent:
            return
        answers = self.records.get((name, kind), [])
        known = any(known == name for known, _ in self.records)
        flags = 0x8182 if (name, kind) in self.failing else 0x8180 if known else 0x8183
        packet = data[:2] + struct.pack("!HHHHH", flags, 1, len(answers), 0, 0) + question
        for ttl, value in answers:
            packet += struct.pack("!HHHIH", 0xC00C, kind, 1, ttl, len(value)) + value
        self.transport.sendto(packet, address)

    def a(self, name: str, address: str, *, ttl: int = 60) -> None:
        self.records.setdefault((name, A), []).append((ttl, socket.inet_aton(address)))

    def aaaa(self, name: str, address: str) -> None:
        self.records.setdefault((name, AAAA), []).append((60, socket.inet_pton(socket.AF_INET6, address)))

    def srv(self, name: str, target: str, port: int, *, priority: int = 1, weight: int = 1) -> None:
        wire = b"".join(bytes([len(label)]) + label.encode() for label in target.split(".")) + b"\0"
        self.records.setdefault((name, SRV), []).append((60, struct.pack("!HHH", priority, weight, port) + wire))


@pytest.fixture
async def server():
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        NameServer, local_addr=("127.0.0.1", 0)
    )
    yield protocol
    transport.close()


@pytest.fixture
async def resolver(server):
    port = server.transport.get_extra_info("sockname")[1]
    opened = TrunkResolver(nameservers=[f"127.0.0.1:{port}"])
    yield opened
    await opened.close()


def trunk(host="sip.example.net", port=5060, transport=Transport.UDP):
    return replace(TRUNK, host=host, port=port, transport=transport)


async def test_an_address_asks_nobody(resolver, server):
    assert await resolver.address(trunk("192.0.2.7", 5080)) == TrunkAddress("192.0.2.7", 5080)
    assert await resolver.address(trunk("[2001:db8::7]", 0, Transport.TLS)) == TrunkAddress("2001:db8::7", 5061)
    assert server.asked == []


async def test_a_name_with_a_port_is_looked_up_once_for_its_time_to_live(resolver, server):
    server.a("sip.example.net", "192.0.2.1")
    for _ in range(3):
        assert await resolver.address(trunk()) == TrunkAddress("192.0.2.1", 5060)
    assert server.asked == [("sip.example.net", A)]


async def test_many_who_ask_at_once_ask_once(resolver, server):
    server.a("sip.example.net", "192.0.2.1")
    await asyncio.gather(*(resolver.address(trunk()) for _ in range(20)))
    assert len(server.asked) == 1


async def test_a_name_without_ipv4_has_ipv6(resolver, server):
    server.aaaa("sip.example.net", "2001:db8::1")
    assert await resolver.address(trunk()) == TrunkAddress("2001:db8::1", 5060)


@pytest.mark.parametrize(
    ("transport", "service"),
    [(Transport.UDP, "_sip._udp"), (Transport.TCP, "_sip._tcp"), (Transport.TLS, "_sips._tcp")],
)
async def test_port_0_asks_which_server_and_port(resolver, server, transport, service):
    server.srv(f"{service}.example.net", "backup.example.net", 5070, priority=20)
    server.srv(f"{service}.example.net", "small.example.net", 5071, priority=10, weight=1)
    server.srv(f"{service}.example.net", "large.example.net", 5072, priority=10, weight=9)
    server.a("large.example.net", "192.0.2.9")
    assert await resolver.address(trunk("example.net", 0, transport)) == TrunkAddress("192.0.2.9", 5072)


async def test_without_such_records_port_0_is_the_usual_port(resolver, server):
    server.a("example.net", "192.0.2.3")
    assert await resolver.address(trunk("example.net", 0)) == TrunkAddress("192.0.2.3", 5060)
    assert await resolver.address(trunk("example.net", 0, Transport.TLS)) == TrunkAddress("192.0.2.3", 5061)


async def test_a_name_nobody_knows(resolver):
    with pytest.raises(TrunkUnresolvedError, match=r"sip\.example\.net of the trunk line cannot be resolved"):
        await resolver.address(trunk())


async def test_the_last_good_answer_is_kept_while_name_servers_are_silent(resolver, server, monkeypatch):
    monkeypatch.setattr(module, "SHORTEST_SECONDS", 0.0)
    monkeypatch.setattr(module, "QUERY_SECONDS", 0.3)
    server.a("sip.example.net", "192.0.2.1", ttl=0)
    assert await resolver.address(trunk()) == TrunkAddress("192.0.2.1", 5060)
    server.silent = True
    assert await resolver.address(trunk()) == TrunkAddress("192.0.2.1", 5060)
    server.silent = False
    server.records.clear()
    server.a("sip.example.net", "192.0.2.2")
    assert await resolver.address(trunk()) == TrunkAddress("192.0.2.2", 5060)


@pytest.mark.parametrize("kind", [SRV, A])
async def test_a_name_server_that_fails_leads_calls_nowhere_else(resolver, server, monkeypatch, kind):
    monkeypatch.setattr(module, "SHORTEST_SECONDS", 0.0)
    server.records[("_sip._udp.example.net", SRV)] = []
    server.srv("_sip._udp.example.net", "edge.example.net", 5072)
    server.records[("_sip._udp.example.net", SRV)] = [
        (0, value) for _, value in server.records[("_sip._udp.example.net", SRV)]
    ]
    server.a("edge.example.net", "192.0.2.9", ttl=0)
    server.aaaa("edge.example.net", "2001:db8::9")
    server.a("example.net", "192.0.2.80", ttl=0)
    right = TrunkAddress("192.0.2.9", 5072)
    assert await resolver.address(trunk("example.net", 0)) == right
    server.failing.add(("_sip._udp.example.net", SRV) if kind == SRV else ("edge.example.net", A))
    assert await resolver.address(trunk("example.net", 0)) == right


async def test_silence_from_the_beginning_is_an_error(resolver, server, monkeypatch):
    monkeypatch.setattr(module, "QUERY_SECONDS", 0.2)
    server.silent = True
    with pytest.raises(TrunkUnresolvedError, match="no answer in time"):
        await resolver.address(trunk())
