"""Who had answered, as outdial's own surface and its metrics tell it."""

from __future__ import annotations

import pytest

from api.test_system import metrics
from outdial.core.machine import Detection, DetectionTimings, MachineVerdict
from support.native import Native
from support.recordings import ended_attempt
from support.wire import ever_open

FOUND = Detection(MachineVerdict.MACHINE, "LONGGREETING-2520-2500", 3.21, DetectionTimings(decision_seconds=6.0))


@pytest.fixture
async def instance_id(tenant) -> str:
    campaign_id = await tenant.create_campaign(ever_open(1))
    started = await tenant.trigger(campaign_id, "play")
    return started.json()["campaignInstanceId"]


async def test_it_is_shown_with_the_attempt_and_counted(tenant, database, instance_id):
    native = Native(tenant)
    path = f"/runs/{instance_id}/attempts"
    attempt_id = await ended_attempt(database, instance_id)
    (shown,) = (await native.done("GET", path))["results"]
    assert (shown["id"], shown["machineDetection"]) == (attempt_id, None)
    assert (await metrics(tenant.http))['outdial_machine_verdicts{verdict="machine"}'] == 0
    async with database.connection() as connection:
        await connection.execute("UPDATE attempts SET detection = $1", FOUND)
    (shown,) = (await native.done("GET", path))["results"]
    assert shown["machineDetection"] == {
        "verdict": "machine",
        "cause": "LONGGREETING-2520-2500",
        "seconds": 3.21,
        "timings": {
            "decisionSeconds": 6.0,
            "noSpeechSeconds": 2.5,
            "speechSeconds": 2.5,
            "pauseSeconds": 0.8,
            "words": 12,
            "silenceLevel": 256,
            "greetingSeconds": 2.0,
            "toneSeconds": 20.0,
        },
        "keptForReview": False,
    }
    counted = await metrics(tenant.http)
    assert {verdict: counted[f'outdial_machine_verdicts{{verdict="{verdict}"}}'] for verdict in MachineVerdict} == {
        verdict: float(verdict is MachineVerdict.MACHINE) for verdict in MachineVerdict
    }
