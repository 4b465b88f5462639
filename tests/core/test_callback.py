from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from outdial.core.callback import FARTHEST, CallbackContact, CallbackRefusal, callback_refusal

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
SOMEBODY = CallbackContact(contact_id=1, on_dnc=False)


def test_a_contact_of_the_run_may_ask_for_any_instant_ahead():
    for ahead in (timedelta(microseconds=1), timedelta(hours=1), FARTHEST):
        assert callback_refusal(SOMEBODY, at=NOW + ahead, now=NOW) is None


@pytest.mark.parametrize(
    ("contact", "at", "refusal"),
    [
        (None, LATER, CallbackRefusal.CONTACT_NOT_FOUND),
        (SOMEBODY, NOW, CallbackRefusal.TIME_IN_PAST),
        (SOMEBODY, NOW - timedelta(days=1), CallbackRefusal.TIME_IN_PAST),
        (SOMEBODY, NOW + FARTHEST + timedelta(microseconds=1), CallbackRefusal.TIME_TOO_FAR),
        (CallbackContact(1, on_dnc=True), LATER, CallbackRefusal.DNC),
    ],
)
def test_refusals(contact, at, refusal):
    assert callback_refusal(contact, at=at, now=NOW) is refusal


def test_the_documented_reason_is_spelled_as_documented():
    assert CallbackRefusal.TIME_IN_PAST == "time_in_past"
