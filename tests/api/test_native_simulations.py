"""Simulations by outdial's own surface."""

from __future__ import annotations

import pytest

from outdial.api.native import simulations
from support.native import Native, sentences
from support.wire import ever_open


@pytest.fixture
def native(tenant) -> Native:
    return Native(tenant)


@pytest.fixture
async def path(tenant) -> str:
    return f"/campaigns/{await tenant.create_campaign(ever_open(1))}/simulations"


async def test_it_tells_what_would_come_of_it(native, path):
    made = await native.done("POST", path, {"startAt": "2027-03-01T14:00:00Z", "answerRate": 1, "lines": 3})
    assert made["startAt"] == "2027-03-01T14:00:00Z"
    assert made["finished"] is True
    assert made["contactsCount"] == made["callsCount"] == sum(one["contactsCount"] for one in made["attempts"]) > 0
    assert made["done"] == {"reached": made["contactsCount"]}
    assert made["hours"][0]["beginsAt"] == "2027-03-01T13:30:00Z"
    assert made["lines"] == {"value": 3, "source": "given"}
    assert made["shares"]["busy"] == {"value": 0, "source": "default"}
    # nothing was stored: the same again is the same
    assert await native.done("POST", path, {"startAt": "2027-03-01T14:00:00Z", "answerRate": 1, "lines": 3}) == made


async def test_bad_bodies(native, path):
    for body in (
        {"answerRate": 2},
        {"answerRate": "0.4"},
        {"talkSeconds": False},
        {"lines": 0},
        {"days": 0},
        {"startAt": "tomorrow"},
        {"answers": 1},
    ):
        await native.refused(412, "POST", path, body)
    failure = await native.refused(412, "POST", path, {"answerRate": 0.9, "busyRate": 0.9})
    assert "together" in sentences(failure)[0]
    failure = await native.refused(412, "POST", path, {"startAt": "1999-01-01T00:00:00Z"})
    assert "2000" in sentences(failure)[0]


async def test_a_campaign_with_too_many_contacts_is_left_to_the_command(native, path, monkeypatch):
    monkeypatch.setattr(simulations, "MOST_CONTACTS", 0)
    failure = await native.refused(409, "POST", path, {})
    assert failure["errorCode"] == "limit_reached"
    assert "outdial simulate" in sentences(failure)[0]
