"""Rates of an archive, and what a row of its decisions says."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from core.test_explanation import NOON, POLICIES
from core.test_recompute import CONTACT, PHONE, call
from outdial.core.canonical import canonical
from outdial.core.evidence import Evidence, limit_document, rates, read_limit
from outdial.core.model import Disposition


class TestRates:
    def test_the_most_calls_in_a_window_and_when_that_was_reached(self):
        limits = POLICIES["limits"].limits
        calls = [call(place, Disposition.BUSY, ago, own=True) for place, ago in enumerate((90_000, 3600, 1800, 0))]
        found = {one["limit"]: one for one in rates(calls, limits)}
        assert (found["al-1"]["counted"], found["al-1"]["most"]) == (3, 2)
        assert found["al-1"]["reachedAt"] == "2026-11-22T12:00:00.000000Z"
        # 25 hours lie within 48
        assert found["al-3"]["counted"] == 4
        assert "al-2" not in found, "nobody was talked to"

    def test_what_was_not_sent_and_what_lives_does_not_count(self):
        unsent = replace(call(1, Disposition.CANCELLED, 60, own=True), dialed_at=None)
        living = replace(call(2, None, 60, own=True), ended_at=None, booked_at=None)
        assert list(rates([unsent, living], POLICIES["limits"].limits)) == []

    def test_limits_are_read_back(self):
        for limit in POLICIES["limits"].limits:
            assert read_limit(json.loads(canonical(limit_document(limit, NOON)))) == limit


RESERVED = {
    "id": 1,
    "at": "2026-03-01T10:00:00.000000Z",
    "runId": 1,
    "contactId": CONTACT,
    "attemptId": "a",
    "action": "attempt",
    "from": None,
    "to": "reserved",
    "reason": "",
    "detail": {"phone": PHONE, "number": 1, "screening": {"inputs": {}}},
}


class TestRows:
    def test_an_attempt_is_pieced_together(self):
        evidence = Evidence()
        evidence.take(RESERVED)
        detail = {"ended_at": "2026-03-01T10:00:09+00:00", "disposition": "busy", "dialed_at": None}
        evidence.take({**RESERVED, "id": 2, "from": "reserved", "to": "ended", "detail": detail})
        found = evidence.calls["a"]
        assert (found.disposition, found.ended_at) == (Disposition.BUSY, datetime(2026, 3, 1, 10, 0, 9, tzinfo=UTC))
        assert [one.attempt_id for one in evidence.decisions] == ["a"]

    @pytest.mark.parametrize(
        "row",
        [
            {"detail": {"phone": PHONE}},
            {"from": "reserved", "to": "ended", "detail": {"ended_at": "2026-03-01T10:00:09+00:00"}},
        ],
    )
    def test_a_row_that_nobody_has_written_is_told(self, row):
        with pytest.raises(ValueError, match="row 1"):
            Evidence().take({**RESERVED, **row})
