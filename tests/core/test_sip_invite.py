"""What tells from a SIP message which call it begins."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hep_packets import MARK, invite
from outdial.core.sip_invite import Invite, SipProblem, clean, read_invite


def test_one_of_ours():
    assert read_invite(invite()) == Invite("+15550000110", "+15550100999", "d4fa0175", MARK)


@pytest.mark.parametrize("method", ["ACK", "CANCEL", "BYE", "OPTIONS", "UPDATE", "INVITED"])
def test_other_requests_begin_none(method):
    assert read_invite(invite(method=method)) is None


def test_answers_begin_none():
    assert read_invite(b"SIP/2.0 180 Ringing\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n") is None


@pytest.mark.parametrize("tag", [";tag=peer", " ; TAG = peer", ";x=y;tag=peer"])
def test_one_within_a_dialog_begins_none(tag):
    assert read_invite(invite(to_tag=tag)) is None


def test_a_tag_in_the_name_or_the_address_is_none_of_the_dialog():
    raw = invite().replace(b"To: <sip:+15550000110@", b'To: ";tag=x" <sip:+15550000110;tag=y@')
    found = read_invite(raw)
    assert isinstance(found, Invite)


def test_short_names_folded_lines_and_escapes():
    raw = (
        b"INVITE sip:%2B15550000110;phone-context=x@192.0.2.1 SIP/2.0\r\n"
        b"f: <sip:+15550100999@192.0.2.9>\r\n ;tag=1\r\nt: <sip:+15550000110@192.0.2.1>\r\ni:\r\n  abc\r\n\r\n"
    )
    assert read_invite(raw) == Invite("+15550000110", "+15550100999", "abc", "")


@pytest.mark.parametrize("name", [b"Call-ID", b"To", b"From"])
def test_without_what_every_invite_has_it_is_broken(name):
    raw = b"\r\n".join(line for line in invite().split(b"\r\n") if not line.startswith(name))
    assert read_invite(raw) is SipProblem.BROKEN_INVITE


def test_a_session_line_is_only_one_at_the_beginning_of_a_line_of_the_body():
    raw = invite(session="-").replace(b"Max-Forwards: 70", b"s=header: x").replace(b"t=0 0", b"a=x s=y")
    found = read_invite(raw)
    assert isinstance(found, Invite)
    assert found.session == "-"


def test_what_is_kept_can_be_stored_and_shown():
    assert clean("a\x00b\x1b[31mc\u2028d") == "a?b?[31mc?d"
    assert len(clean("9" * 1000)) == 256


@settings(deadline=None)
@given(st.binary(max_size=500))
def test_no_bytes_are_an_exception(data):
    read_invite(data)
    found = read_invite(b"INVITE " + data)
    assert found is None or isinstance(found, Invite | SipProblem)
    if isinstance(found, Invite):
        assert all(text.isprintable() for text in (found.number, found.caller, found.call_id, found.session))
