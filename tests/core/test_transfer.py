"""Whom a transfer may call through a run's trunk."""

from __future__ import annotations

from dataclasses import replace

import pytest

from outdial.core.model import NumberFormat, Transport
from outdial.core.transfer import NotOnTrunkError, attempt_of_leg, destination, leg_id
from values import TRUNK

ATTEMPT = "0123456789abcdef0123456789abcdef"
LINE = replace(TRUNK, host="pbx.example", port=5060)
SECURE = replace(LINE, port=5061, transport=Transport.TLS)


def test_a_leg_tells_its_call():
    assert attempt_of_leg(leg_id(ATTEMPT, 7)) == ATTEMPT
    assert attempt_of_leg(ATTEMPT) is None
    assert attempt_of_leg(f"{ATTEMPT}-7") is None, "a playback"


def test_a_number_is_written_as_the_trunk_wants_it():
    bare = replace(LINE, number_format=NumberFormat.E164, number_prefix="9")
    assert destination("+15550100001", bare) == ("915550100001", "+15550100001")


@pytest.mark.parametrize(
    ("to", "trunk"),
    [
        ("sip:desk@pbx.example", LINE),
        ("sip:desk@PBX.example:5060", LINE),
        ("sips:desk@pbx.example", SECURE),
        ("sip:desk@pbx.example", replace(LINE, port=0)),
        ("sip:desk@[::1]:5070", replace(LINE, host="::1", port=5070)),
    ],
)
def test_an_address_at_the_trunk_is_its_user(to, trunk):
    assert destination(to, trunk) == ("desk", None)


BARE = replace(LINE, number_format=NumberFormat.E164, number_prefix="9")
LETTERS = replace(LINE, number_prefix="out")


@pytest.mark.parametrize(
    ("user", "trunk", "dialed"),
    [
        ("+15550100001", LINE, "+15550100001"),
        ("15550100001", LINE, "+15550100001"),
        ("+1-555-010.0001", LINE, "+15550100001"),
        ("915550100001", BARE, "915550100001"),
        ("15550100001", BARE, "915550100001"),
        ("+15550100001", BARE, "915550100001"),
        ("out+15550100001", LETTERS, "out+15550100001"),
    ],
)
def test_a_number_is_one_however_it_is_spelled(user, trunk, dialed):
    """Or a do-not-call list would not be asked."""
    assert destination(f"sip:{user}@pbx.example", trunk) == (dialed, "+15550100001")


@pytest.mark.parametrize("user", ["05550100001", "200", "*6715550100001", "+", "%2B15550100001", "15550100001;a=b"])
def test_what_may_be_a_number_and_cannot_be_read_is_not_called(user):
    with pytest.raises(NotOnTrunkError):
        destination(f"sip:{user}@pbx.example", LINE)


@pytest.mark.parametrize(
    ("to", "trunk"),
    [
        ("sip:desk@elsewhere.example", LINE),
        ("sip:desk@pbx.example:5070", LINE),
        ("sip:desk@pbx.example:5060", replace(LINE, port=0)),
        ("sips:desk@pbx.example:5060", LINE),
        ("sip:desk;x=y@pbx.example", LINE),
        ("sip:desk@pbx.example;transport=tcp", LINE),
        ("sip:desk/other@pbx.example", LINE),
        ("sip:a&b@pbx.example", LINE),
    ],
)
def test_nothing_else_is_called(to, trunk):
    with pytest.raises(NotOnTrunkError):
        destination(to, trunk)
