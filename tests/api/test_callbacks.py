"""Call-backs on the wire: the documented request in, each contact answered by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from outdial.core.ids import dialing_list_id
from support.wire import differs, errors, ever_open

HOUR = timedelta(hours=1)
NO_INSTANT = "`[0].timeToContact` must be an instant like 2026-03-01T10:00:00Z, not null."
WISH = {"campaignDialingListId": "x", "timeToContact": "2099-01-01T00:00:00Z"}


def at(ahead: timedelta) -> str:
    return (datetime.now(UTC) + ahead).strftime("%Y-%m-%dT%H:%M:%S.000Z")


@pytest.fixture
async def instance_id(tenant) -> str:
    campaign_id = await tenant.create_campaign(ever_open(1))
    answer = await tenant.trigger(campaign_id, "play")
    return answer.json()["campaignInstanceId"]


@pytest.fixture
async def people(database, instance_id) -> list[str]:
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT contact_id FROM run_contacts ORDER BY sort_key")
    return [dialing_list_id(instance_id, row["contact_id"]) for row in rows]


async def test_as_documented(tenant, instance_id, people):
    body = [
        {"campaignDialingListId": people[0], "timeToContact": at(-HOUR)},
        {"campaignDialingListId": people[1], "timeToContact": at(HOUR)},
        {"campaignDialingListId": "cdl-nobody", "timeToContact": at(HOUR)},
    ]
    answer = await tenant.ask("POST", f"/{instance_id}/callContactAt", body, version=2)
    assert answer.status_code == 200, answer.text
    expected = {
        "status": "success",
        "data": [
            {"campaignDialingListId": people[0], "status": "failed", "reason": "time_in_past"},
            {"campaignDialingListId": people[1], "status": "success"},
            {"campaignDialingListId": "cdl-nobody", "status": "failed", "reason": "contact_not_found"},
        ],
    }
    assert differs(expected, answer.json()) == []


async def test_the_older_version_has_it_too(tenant, instance_id, people):
    body = [{"campaignDialingListId": people[0], "timeToContact": at(HOUR)}]
    answer = await tenant.done("POST", f"/{instance_id}/callContactAt", body)
    assert answer["data"][0]["status"] == "success"


async def test_the_id_is_the_one_of_call_details(tenant, instance_id, people, database):
    async with database.connection() as connection:
        contact_id = await connection.fetchval("SELECT contact_id FROM run_contacts ORDER BY sort_key LIMIT 1")
        await connection.execute(
            """
            INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                  engine_id, node_id, epoch, number, state, disposition, dialed_at, ended_at,
                                  changed_by)
            SELECT repeat('a', 32), id, campaign_id, account_id, $1, '+15550100104', '+15550100999', trunk_id, 'e',
                   'n', 1, 1, 'ended', 'no_answer', now(), now(), 'n' FROM runs
            """,
            contact_id,
        )
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    details = await tenant.http.post(
        f"/agentassist/api/public/analytics/account/{tenant.account_id}/v2/interactionDetails",
        json={"startDate": today, "endDate": today, "timeZoneOffset": 0, "selectedFields": ["campaigninfo"]},
        headers=tenant.headers(),
    )
    (call,) = details.json()["calls"] if "calls" in details.json() else details.json()["data"]
    assert people[0] in str(call)


async def test_a_run_that_is_over_or_unknown(tenant, instance_id, people):
    body = [{"campaignDialingListId": people[0], "timeToContact": at(HOUR)}]
    answer = await tenant.ask("POST", "/cid-1111111-2222-4333-8444-555555555555/callContactAt", body, version=2)
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("body", "sentences"),
    [
        ({}, ["The body must be a JSON array, not an object."]),
        ([], ["The body must not be empty."]),
        (
            [{"campaignDialingListId": 7, "timeToContact": "tomorrow"}, {}],
            [
                "`[0].campaignDialingListId` must be text, not the number 7.",
                "`[0].timeToContact` must be an instant like '2026-03-01T10:00:00.000Z', not 'tomorrow'.",
                "`[1].campaignDialingListId` is missing.",
                "`[1].timeToContact` is missing.",
            ],
        ),
        (
            [{"campaignDialingListId": "cdl-1", "timeToContact": None}],
            [NO_INSTANT],
        ),
        (
            [{"campaignDialingListId": "cdl-1", "timeToContact": ""}],
            [NO_INSTANT],
        ),
        ([7], ["`[0]` must be an object, not the number 7."]),
        (
            [{"campaignDialingListId": "x", "timeToContact": "2099-01-01Z"}] * 101,
            ["The body has 101 entries; at most 100"],
        ),
    ],
)
async def test_bad_bodies(tenant, instance_id, body, sentences):
    answer = await tenant.ask("POST", f"/{instance_id}/callContactAt", body, version=2)
    assert answer.status_code == 412
    for sentence, told in zip(sentences, errors(answer), strict=True):
        assert sentence in told


async def test_unknown_fields_are_named(tenant, instance_id, people):
    body = [{"campaignDialingListId": people[0], "timeToContact": at(HOUR), "note": "x"}]
    answer = await tenant.ask("POST", f"/{instance_id}/callContactAt", body, version=2)
    assert answer.headers["x-outdial-ignored"] == "[0].note"
