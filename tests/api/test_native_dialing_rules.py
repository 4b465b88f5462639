"""A campaign's dialing rules by outdial's own surface."""

from __future__ import annotations

import pytest

from support.native import Native, sentences
from support.wire import ever_open

BODY = {
    "retryRules": [
        {"disposition": "busy", "most": 2, "seconds": 300, "nextWindow": False, "otherNumber": False},
        {"disposition": "no_answer", "most": None, "seconds": None, "nextWindow": True, "otherNumber": True},
        {"disposition": "invalid_number", "most": None, "seconds": 60, "nextWindow": False, "otherNumber": True},
    ],
    "retryOrder": "when_due",
    "breaker": {"attempts": 20, "share": 0.5},
    "detection": {
        "decisionSeconds": 15.0,
        "noSpeechSeconds": 5.0,
        "speechSeconds": 2.0,
        "pauseSeconds": 0.6,
        "words": 8,
        "silenceLevel": 400,
        "greetingSeconds": 1.5,
        "toneSeconds": 30.0,
    },
    "review": {"machines": 5.0, "people": 2.5, "seconds": 12.0},
}
USUAL = {
    "retryRules": [],
    "retryOrder": "after_first_tries",
    "breaker": {"attempts": 40, "share": 0.8},
    "detection": {
        "decisionSeconds": 5.0,
        "noSpeechSeconds": 2.5,
        "speechSeconds": 2.5,
        "pauseSeconds": 0.8,
        "words": 12,
        "silenceLevel": 256,
        "greetingSeconds": 2.0,
        "toneSeconds": 20.0,
    },
    "review": {"machines": 0.0, "people": 0.0, "seconds": 10.0},
}


@pytest.fixture
def native(tenant) -> Native:
    return Native(tenant)


@pytest.fixture
async def campaign_id(tenant) -> str:
    return await tenant.create_campaign(ever_open(1))


async def test_set_and_shown_and_set_back(native, campaign_id, database):
    path = f"/campaigns/{campaign_id}/dialing-rules"
    assert await native.done("GET", path) == USUAL
    assert await native.done("PUT", path, BODY) == BODY
    assert await native.done("GET", path) == BODY
    assert (await native.done("PUT", path, {"breaker": None})) == {**USUAL, "breaker": None}
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT detail, actor FROM history WHERE action = 'dialing_rules' ORDER BY id")
    assert [row["detail"]["retry_order"] for row in rows] == ["when_due", "after_first_tries"]
    assert {row["actor"] for row in rows} == {native.tenant.credentials.client_id}


async def test_a_run_has_them_and_nobody_changes_them_meanwhile(native, campaign_id, database):
    path = f"/campaigns/{campaign_id}/dialing-rules"
    await native.done("PUT", path, BODY)
    assert (await native.tenant.trigger(campaign_id, "play")).status_code == 200
    await native.refused(409, "PUT", path, {})
    async with database.connection() as connection:
        own = await connection.fetchval("SELECT rules -> 'own' FROM runs")
    assert own["retry_rules"][0]["seconds"] == 300


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"retryRules": [{"disposition": "answered_human"}]}, "nobody is ever tried again"),
        ({"retryRules": [{"disposition": "unknown", "otherNumber": True}]}, "nobody is ever tried again"),
        ({"retryRules": [{"disposition": "invalid_number"}]}, "`retryRules[0].otherNumber`"),
        ({"retryRules": [{"disposition": "busy"}, {"disposition": "busy"}]}, "second one for busy"),
        ({"retryRules": [{"disposition": "bored"}]}, "disposition"),
        ({"retryRules": [{"disposition": "busy", "most": -1}]}, "most"),
        ({"retryRules": [{"disposition": "busy", "seconds": 10**9}]}, "seconds"),
        ({"retryOrder": "never"}, "retryOrder"),
        ({"breaker": {"attempts": 4}}, "attempts"),
        ({"breaker": {"share": 0}}, "share"),
        ({"brake": None}, "brake"),
        ({"detection": None}, "detection"),
        ({"detection": {"decisionSeconds": 31}}, "decisionSeconds"),
        ({"detection": {"words": 1}}, "words"),
        ({"detection": {"words": 2.5}}, "words"),
        ({"detection": {"beepSeconds": 1}}, "beepSeconds"),
        ({"detection": {"decisionSeconds": 2.5}}, "must be less than `detection.decisionSeconds`, which is 2.5"),
        ({"detection": {"decisionSeconds": 2, "speechSeconds": 1}}, "`detection.noSpeechSeconds` is 2.5"),
    ],
)
async def test_bad_bodies(native, campaign_id, wrong, word):
    path = f"/campaigns/{campaign_id}/dialing-rules"
    assert word in " ".join(sentences(await native.refused(412, "PUT", path, wrong)))
    assert await native.done("GET", path) == USUAL
