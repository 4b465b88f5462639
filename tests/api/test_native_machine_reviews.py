"""Verdicts that are kept for review over the API: listed, heard, reviewed, counted, and nobody else's."""

from __future__ import annotations

import pytest

from api.test_system import metrics
from outdial.core import recording
from outdial.core.machine import MachineVerdict, Sample, wilson
from support.native import Native
from support.recordings import SAID, ended_attempt, found, kept, recorded
from support.wire import ever_open

NOTHING = {"found": 0, "kept": 0, "unrecorded": 0, "waiting": 0, "person": 0, "machine": 0, "unclear": 0}


@pytest.fixture
def native(tenant) -> Native:
    return Native(tenant)


@pytest.fixture
async def campaign_id(tenant) -> str:
    return await tenant.create_campaign(ever_open(1))


@pytest.fixture
async def run(tenant, campaign_id) -> str:
    return (await tenant.trigger(campaign_id, "play")).json()["campaignInstanceId"]


@pytest.fixture
def keep(database, parts, run):
    async def make(verdict=MachineVerdict.MACHINE, **how):
        return await kept(database, parts.settings.data_dir, instance_id=run, verdict=verdict, **how)

    return make


def path(attempt_id: str) -> str:
    return f"/attempts/{attempt_id}/machine-review"


async def listed(native, **query) -> list[str]:
    answer = await native.done("GET", "/machine-reviews", params=query)
    return [one["attemptId"] for one in answer["results"]]


async def test_it_waits_is_heard_and_is_reviewed(native, keep, campaign_id, run, database):
    attempt_id, recording_id = await keep()
    (waiting,) = (await native.done("GET", "/machine-reviews"))["results"]
    assert waiting["answeredAt"].endswith("Z")
    assert waiting | {"answeredAt": "", "machineDetection": ""} == {
        "attemptId": attempt_id,
        "campaignId": campaign_id,
        "instanceId": run,
        "answeredAt": "",
        "machineDetection": "",
        "recordingId": recording_id,
        "unrecordedBecause": "",
        "actual": None,
        "reviewedBy": None,
        "reviewedAt": None,
    }
    assert (waiting["machineDetection"]["verdict"], waiting["machineDetection"]["keptForReview"]) == ("machine", True)
    assert (await native.ask("GET", f"/recordings/{recording_id}")).content == SAID
    made = await native.done("PUT", path(attempt_id), {"actual": "person"})
    assert (made["actual"], made["reviewedBy"]) == ("person", native.tenant.credentials.client_id)
    assert made == await native.done("GET", path(attempt_id))
    assert await listed(native) == []
    assert await listed(native, state="reviewed") == await listed(native, state="all") == [attempt_id]
    again = await native.done("PUT", path(attempt_id), {"actual": "unclear"})
    assert again["actual"] == "unclear"
    async with database.connection() as connection:
        told = await connection.fetch("SELECT * FROM history WHERE action = 'machine_review' ORDER BY id")
    assert [(row["to_state"], row["actor"], row["campaign_id"]) for row in told] == [
        ("entered", made["reviewedBy"], campaign_id)
    ] * 2
    assert [row["detail"] for row in told] == [
        {"attempt_id": attempt_id, "verdict": "machine", "actual": actual, "before": before}
        for actual, before in (("person", None), ("unclear", "person"))
    ]


async def test_what_could_not_be_recorded_can_be_reviewed_by_its_cause(native, keep):
    attempt_id, _ = await keep(failure="no snoop here")
    (waiting,) = (await native.done("GET", "/machine-reviews"))["results"]
    assert (waiting["recordingId"], waiting["unrecordedBecause"]) == (None, "no snoop here")
    assert waiting["machineDetection"]["cause"] == "LONGGREETING-2520-2500"
    assert (await native.done("PUT", path(attempt_id), {"actual": "machine"}))["actual"] == "machine"


async def test_removed_its_recording_is_gone_and_it_still_waits(native, keep):
    attempt_id, recording_id = await keep()
    await native.done("DELETE", f"/recordings/{recording_id}")
    assert (await native.done("GET", path(attempt_id)))["recordingId"] is None
    assert await listed(native) == [attempt_id]


async def test_a_step_of_a_flow_is_no_sample(native, database, parts, run):
    """Nor could one be: no step begins with a digit."""
    attempt_id, _ = await recorded(database, parts.settings.data_dir, instance_id=run)
    await found(database, attempt_id, MachineVerdict.MACHINE, Sample())
    assert (await native.done("GET", path(attempt_id)))["recordingId"] is None
    assert not recording.is_sample(recording.name_of(attempt_id, 3, "answer"))
    assert recording.parse_name(recording.name_of(attempt_id, 3, "0answer")) is None


async def test_pages_and_campaigns(native, tenant, keep, campaign_id):
    made = [(await keep(ago=f"{seconds} seconds"))[0] for seconds in (1, 2, 3)]
    first = await native.done("GET", "/machine-reviews", params={"limit": "2", "campaignId": campaign_id})
    assert [one["attemptId"] for one in first["results"]] == made[:2]
    assert await listed(native, limit="2", after=first["next"]) == made[2:]
    other = await tenant.create_campaign(ever_open(1, name="Another"))
    assert await listed(native, campaignId=other) == []
    # an empty page would be taken for the end
    gone = await native.refused(404, "GET", "/machine-reviews", params={"after": "0" * 32})
    assert "or none any more; begin anew" in gone["errors"][0]["msg"]


async def test_what_is_not_kept_is_not_here(native, database, run):
    attempt_id = await ended_attempt(database, run)
    await found(database, attempt_id, MachineVerdict.MACHINE)
    assert await listed(native, state="all") == []
    for method, body in (("GET", None), ("PUT", {"actual": "person"})):
        failure = await native.refused(404, method, path(attempt_id), body)
        assert failure["errors"][0]["msg"] == f"No verdict of an attempt {attempt_id} is kept for review."


async def test_the_table(native, keep, database, run, campaign_id):
    for actual in ("person", "machine", "machine", "unclear"):
        attempt_id, _ = await keep()
        await native.done("PUT", path(attempt_id), {"actual": actual})
    await keep(failure="no snoop here")
    person, _ = await keep(MachineVerdict.NO_SPEECH)
    await native.done("PUT", path(person), {"actual": "person"})
    for _ in range(3):
        await found(database, await ended_attempt(database, run), MachineVerdict.HUMAN)
    await keep(ago="31 days")
    told = await native.done("GET", "/machine-reviews/table")
    rows = {row.pop("verdict"): row for row in told["verdicts"]}
    assert rows == {
        "human": NOTHING | {"found": 3},
        "machine": {"found": 5, "kept": 5, "unrecorded": 1, "waiting": 1, "person": 1, "machine": 2, "unclear": 1},
        "no_speech": NOTHING | {"found": 1, "kept": 1, "person": 1},
        "not_sure": NOTHING,
        "failed": NOTHING,
    }
    expected = wilson(1, 3)
    assert told["machinesWrong"] == {
        "value": expected.value,
        "low": expected.low,
        "high": expected.high,
    }
    # 5 × 1/3 of 5 × 1/3 + 4
    assert told["peopleTaken"]["value"] == pytest.approx(5 / 17)
    counted = await metrics(native.tenant.http)
    assert counted['outdial_machine_reviews{actual="machine",verdict="machine"}'] == 2
    assert counted['outdial_machine_reviews{actual="waiting",verdict="machine"}'] == 1
    assert counted['outdial_machine_reviews{actual="person",verdict="no_speech"}'] == 1
    of_campaign = await native.done(
        "GET",
        "/machine-reviews/table",
        params={"campaignId": campaign_id, "begin": "2020-01-01T00:00:00Z", "end": "2020-12-31T00:00:00Z"},
    )
    assert of_campaign["campaignId"] == campaign_id
    assert all(row["found"] == 0 for row in of_campaign["verdicts"])
    assert of_campaign["peopleTaken"] is None


@pytest.mark.parametrize(
    ("status", "where", "query", "words"),
    [
        (400, "", {"state": "some"}, "`state` must be"),
        (400, "", {"state": ""}, "`state` must be"),
        (400, "/table", {"end": ""}, "`end` must be an instant with its zone"),
        (400, "", {"after": "x"}, "`after` must be the id of an attempt"),
        (400, "", {"limit": "0"}, "`limit` must be a whole number"),
        (400, "/table", {"begin": "yesterday"}, "`begin` must be an instant with its zone"),
        (400, "/table", {"end": "2026-01-01T00:00:00"}, "`end` must be an instant with its zone"),
        (400, "/table", {"end": "0001-01-01T00:00:00Z"}, "`end` must lie between"),
        (412, "/table", {"begin": "2020-01-01T00:00:00Z", "end": "2022-01-01T00:00:00Z"}, "no longer than 366 days"),
        (412, "/table", {"begin": "2020-01-02T00:00:00Z", "end": "2020-01-01T00:00:00Z"}, "must end after it begins"),
    ],
)
async def test_what_cannot_be_asked(native, status, where, query, words):
    failure = await native.refused(status, "GET", f"/machine-reviews{where}", params=query)
    assert words in failure["errors"][0]["msg"]


async def test_a_campaign_that_is_not_there(native):
    for where in ("", "/table"):
        await native.refused(
            404,
            "GET",
            f"/machine-reviews{where}",
            params={"campaignId": "cd-1111111-2222-4333-8444-555555555555"},
        )


async def test_nobody_is_anything_else(native, keep):
    attempt_id, _ = await keep()
    for body in ({"actual": "robot"}, {}, {"actual": "person", "why": "x"}):
        await native.refused(412, "PUT", path(attempt_id), body)
    assert await listed(native) == [attempt_id]


async def test_the_shares_of_a_campaign(native, campaign_id):
    where = f"/campaigns/{campaign_id}/dialing-rules"
    assert (await native.done("GET", where))["review"] == {"machines": 0.0, "people": 0.0, "seconds": 10.0}
    shares = {"machines": 12.5, "people": 1, "seconds": 8}
    assert (await native.done("PUT", where, {"review": shares}))["review"] == shares
    assert (await native.done("GET", where))["review"] == shares
    for wrong in ({"machines": 101}, {"people": -1}, {"seconds": 61}, {"seconds": 0}):
        await native.refused(412, "PUT", where, {"review": wrong})
