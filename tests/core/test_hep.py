"""The HEP3 decoder: what res_hep sends is read, everything else is a named fact."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hep_packets import chunk, packet
from outdial.core import hep
from outdial.core.hep import HepPacket, HepProblem, address_text, decode

KEY = b"sesame-sesame-sesame"


def test_what_res_hep_sends_is_read():
    found = decode(packet(b"INVITE sip:", source=("192.0.2.1", 5060), destination=("198.51.100.7", 5061)), key=KEY)
    assert isinstance(found, HepPacket)
    assert found.payload == b"INVITE sip:"
    assert found.at_microseconds == 1_700_000_000_123_456
    assert found.protocol_type == hep.SIP
    assert found.capture_name == "ast-1"
    assert address_text(found.source) == "192.0.2.1:5060"
    assert address_text(found.destination) == "198.51.100.7:5061"


def test_addresses_of_version_six():
    found = decode(packet(b"x", source=("2001:db8::1", 5060), destination=("2001:db8::2", 5061)))
    assert isinstance(found, HepPacket)
    assert address_text(found.source) == "[2001:db8::1]:5060"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", HepProblem.NOT_HEP3),
        (b"HEP", HepProblem.NOT_HEP3),
        (b"HEP2\x00\x06", HepProblem.NOT_HEP3),
        (b"INVITE sip:+15550000110@127.0.0.1 SIP/2.0\r\n\r\n", HepProblem.NOT_HEP3),
        (packet(b"x") + b"y", HepProblem.WRONG_LENGTH),
        (packet(b"x")[:-1], HepProblem.WRONG_LENGTH),
        (packet(b"x", more=b"\x00"), HepProblem.BROKEN_CHUNK),
        (packet(b"x", more=chunk(40, b"abc", length=5)), HepProblem.BROKEN_CHUNK),
        (packet(b"x", more=chunk(40, b"abc", length=10)), HepProblem.BROKEN_CHUNK),
        (packet(b"x", more=chunk(15, b"second")), HepProblem.BROKEN_CHUNK),
        (packet(b"x", without=(7,), more=chunk(7, b"\x01")), HepProblem.BROKEN_CHUNK),
        (packet(b"x", more=b"".join(chunk(kind, b"") for kind in range(100, 164))), HepProblem.BROKEN_CHUNK),
        (packet(b"x", key=None), HepProblem.UNAUTHENTIC),
        (packet(b"x", key="sesame-sesame-sesamE"), HepProblem.UNAUTHENTIC),
        (packet(b"x", key="sesame-sesame-sesame!"), HepProblem.UNAUTHENTIC),
        (packet(b"x", more=chunk(16, b"x\x9c")), HepProblem.COMPRESSED),
        (packet(b"x", without=(15,)), HepProblem.MISSING_CHUNK),
        (packet(b"x", without=(9,)), HepProblem.MISSING_CHUNK),
        (packet(b"x", without=(3,)), HepProblem.MISSING_CHUNK),
        (packet(b"x", without=(1,)), HepProblem.MISSING_CHUNK),
        (packet(b"x", without=(1,), more=chunk(1, b"\x03")), HepProblem.MISSING_CHUNK),
    ],
)
def test_what_is_wrong_has_a_name(data, problem):
    assert decode(data, key=KEY) is problem


def test_without_a_key_of_ours_theirs_does_not_matter():
    assert isinstance(decode(packet(b"x", key="whatever")), HepPacket)
    assert isinstance(decode(packet(b"x", key=None)), HepPacket)


def test_chunks_of_other_vendors_and_unknown_ones_are_passed_over():
    more = chunk(15, b"theirs", vendor=4) + chunk(999, b"new")
    found = decode(packet(b"ours", more=more))
    assert isinstance(found, HepPacket)
    assert found.payload == b"ours"


@settings(deadline=None)
@given(st.binary(max_size=2000))
@example(b"HEP3" + struct.pack("!H", 6))
def test_no_bytes_are_an_exception(data):
    assert isinstance(decode(data), HepProblem)


@settings(deadline=None)
@given(st.data(), st.integers(0, 3))
def test_a_packet_with_bytes_changed_is_a_packet_or_a_problem(data, changes):
    raw = bytearray(packet(b"INVITE sip:+15550000110@127.0.0.1 SIP/2.0\r\n\r\n"))
    for _ in range(changes):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    found = decode(bytes(raw), key=KEY)
    assert isinstance(found, HepPacket | HepProblem)
    if isinstance(found, HepPacket):
        address_text(found.source)
        address_text(found.destination)


@settings(deadline=None)
@given(
    payload=st.binary(max_size=500),
    microseconds=st.integers(0, 2**32 * 1_000_000 - 1),
    port=st.integers(0, 65535),
    name=st.text(max_size=30),
)
def test_what_is_written_is_read_back(payload, microseconds, port, name):
    found = decode(packet(payload, microseconds=microseconds, source=("127.0.0.1", port), name=name), key=KEY)
    assert isinstance(found, HepPacket)
    assert (found.payload, found.at_microseconds, found.source[1], found.capture_name) == (
        payload,
        microseconds,
        port,
        name,
    )
