"""What the ear makes of packets: sent or received, first or again, readable or not."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta

import pytest

from hep_packets import MARK, invite, packet
from outdial.core.errors import StartupError
from outdial.core.watch import Sighting, read_permission
from outdial.watchdog import ear as ear_module
from outdial.watchdog.counts import Counts
from outdial.watchdog.ear import Ear, listen
from waiting import until

KEY = "sesame-sesame-sesame"
ENGINE, CARRIER = ("127.0.0.1", 5060), ("127.0.0.1", 5070)
SENT, RECEIVED = 1_700_000_000_123_456, 1_700_000_000_124_000


class Heard:
    """An ear that is told packets, and what it has handed on."""

    def __init__(self, **options) -> None:
        self.invites: list[Sighting] = []
        self.counts = Counts()
        self.socket = listen("127.0.0.1", 0)
        self.ear = Ear(self.socket, **{"key": KEY, "counts": self.counts, "on_invite": self.invites.append} | options)

    def take(self, payload: bytes, **options) -> None:
        self.ear.take(packet(payload, **{"source": ENGINE, "destination": CARRIER} | options))

    def count(self, line: str) -> float:
        return sum(
            float(each.rpartition(" ")[2])
            for each in self.counts.text().decode().splitlines()
            if each.startswith(f"outdial_watchdog_{line}")
        )


@pytest.fixture
def heard():
    opened = Heard()
    yield opened
    opened.socket.close()


def test_an_invite_of_ours(heard):
    heard.take(invite())
    (seen,) = heard.invites
    assert seen.permission == read_permission(MARK)
    assert (seen.number, seen.caller, seen.call_id) == ("+15550000110", "+15550100999", "d4fa0175")
    assert (seen.source, seen.destination, seen.engine_name) == ("127.0.0.1:5060", "127.0.0.1:5070", "ast-1")
    assert seen.sent_at == datetime.fromtimestamp(1_700_000_000, UTC) + timedelta(microseconds=123_456)


def test_the_same_call_again_is_one(heard):
    heard.take(invite())
    heard.take(invite(), microseconds=SENT + 500_000)
    # the loopback carrier's Asterisk receives what it has sent
    heard.take(invite(), microseconds=RECEIVED)
    assert len(heard.invites) == 1
    assert heard.count('invites_total{outcome="repeated"}') == 2
    heard.take(invite(), name="ast-2")
    assert len(heard.invites) == 2


def test_one_without_a_permit_is_handed_on_when_it_was_sent(heard):
    heard.take(invite(session="-"))
    assert [seen.permission for seen in heard.invites] == [None]


def test_one_that_was_received_is_not(heard):
    heard.take(invite(session="-"), source=CARRIER, destination=ENGINE, microseconds=RECEIVED)
    assert heard.invites == []
    assert heard.count('invites_total{outcome="received"}') == 1


def test_one_of_ours_that_the_carrier_sends_back_is_not(heard):
    heard.take(invite())
    heard.take(invite(call_id="other"), source=CARRIER, destination=ENGINE, microseconds=RECEIVED)
    assert len(heard.invites) == 1


def test_what_was_sent_on_a_whole_millisecond_was_sent_all_the_same(heard):
    # the address is known by anything that was sent from there before
    heard.take(b"OPTIONS sip:x SIP/2.0\r\n\r\n")
    heard.take(invite(session="-"), microseconds=RECEIVED)
    assert len(heard.invites) == 1


def test_within_a_dialog_nothing_is_judged(heard):
    heard.take(invite(to_tag=";tag=peer"))
    heard.take(invite(method="ACK"))
    assert heard.invites == []
    assert heard.count("packets_total") == 2


def test_what_cannot_be_read_is_counted_by_its_name(heard):
    heard.ear.take(b"noise")
    heard.take(invite(), key="another")
    heard.take(b"INVITE sip:x SIP/2.0\r\n\r\n")
    assert heard.invites == []
    for problem in ("not_hep3", "unauthentic", "broken_invite"):
        assert heard.count(f'problems_total{{problem="{problem}"}}') == 1


def test_at_the_start_an_invite_may_be_a_repetition_later_not(heard, monkeypatch):
    heard.take(invite())
    assert heard.invites[-1].may_repeat
    later = ear_module.clock.boottime() + 41
    monkeypatch.setattr(ear_module.clock, "boottime", lambda: later)
    heard.take(invite(call_id="second"))
    assert not heard.invites[-1].may_repeat
    # until packets are lost
    heard.ear._overflown(3)
    heard.ear._overflown(3)
    heard.take(invite(call_id="third"))
    assert heard.invites[-1].may_repeat
    assert heard.count("dropped_total") == 3


async def test_packets_come_by_udp(heard):
    heard.ear.open()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for place in range(300):
            sender.sendto(packet(invite(call_id=f"c{place}")), heard.socket.getsockname())
    await until(lambda: len(heard.invites) == 300)
    heard.ear.close()


async def test_packets_the_kernel_threw_away_are_counted():
    opened = listen("127.0.0.1", 0)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    heard = Heard()
    heard.socket.close()
    ear = Ear(opened, key=KEY, counts=heard.counts, on_invite=heard.invites.append, may_repeat=timedelta(seconds=40))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for place in range(100):
            sender.sendto(packet(invite(call_id=f"c{place}")), opened.getsockname())
        ear.open()
        await until(lambda: len(heard.invites) > 0)
        await asyncio.sleep(0)
        # how many were lost comes with the first packet after them
        sender.sendto(packet(invite(call_id="last")), opened.getsockname())
        await until(lambda: heard.invites[-1].call_id == "last")
    ear.close()
    assert heard.count("dropped_total") == 101 - len(heard.invites) > 0


def test_a_port_that_is_taken_is_said_with_its_remedy():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match=rf"UDP port {port} on 127.0.0.1 is taken .* OUTDIAL_WATCHDOG_PORT"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "said"), [("watch.example", "must be an IP address"), ("192.0.2.1", "is no address of this machine")]
)
def test_an_address_that_is_none_is_said(host, said):
    with pytest.raises(StartupError, match=said):
        listen(host, 9060)
