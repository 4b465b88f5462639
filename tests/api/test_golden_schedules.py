"""Schedules on the wire: documented requests in, documented answers out; and what stop does to them."""

from __future__ import annotations

import pytest

from support.wire import CAMPAIGN_ID, TIMESTAMP, differs, errors, ever_open

DAILY = {
    "startDateTime": "2100-01-15 10:00:00",
    "endDateTime": "2100-02-15 18:00:00",
    "recurrenceObject": {"recurType": "Daily", "dailyDetails": {"onceEveryNdays": 2}},
}
WEEKLY = {
    # one digit for the day, as in a sample
    "startDateTime": "2100-01-5 10:00:00",
    "endDateTime": "2100-02-15 18:00:00",
    "recurrenceObject": {
        "recurType": "Weekly",
        "weeklyDetails": {"onceEveryNweeks": 1, "whichDays": ["Mon", "Wed", "Fri"]},
    },
}
NAME = "Product Feedback"


async def schedule(tenant, body, *, enable="true", name=NAME, version=2, **query):
    return await tenant.ask(
        "POST", "/schedule", body, version=version, enableSchedule=enable, campaignName=name, **query
    )


async def shown(tenant, campaign_id, version=2) -> tuple[str, dict]:
    data = (await tenant.ask("GET", f"/{campaign_id}", version=version)).json()["data"]
    return data["status"], data["schedule"]


@pytest.mark.parametrize("body", [DAILY, WEEKLY], ids=["daily", "weekly"])
@pytest.mark.parametrize("version", [1, 2])
async def test_enable_and_disable(tenant, body, version):
    campaign_id = await tenant.create_campaign()
    enabled = await schedule(tenant, body, version=version)
    assert enabled.status_code == 200
    assert not differs(
        {"status": "success", "message": f"Campaign {NAME} scheduled successfully", "id": CAMPAIGN_ID},
        enabled.json(),
    )
    assert enabled.json()["id"] == campaign_id
    on = {"isSchedulingEnabled": True, "isRecurrenceEnabled": True}
    off = {"isSchedulingEnabled": False, "isRecurrenceEnabled": False}
    assert await shown(tenant, campaign_id) == ("Scheduled", on)
    for _ in range(2):
        disabled = await schedule(tenant, {}, enable="false", version=version)
        assert not differs(
            {
                "status": "success",
                "message": f"Campaign {NAME} schedule has been disabled successfully",
                "id": CAMPAIGN_ID,
            },
            disabled.json(),
        )
        assert await shown(tenant, campaign_id) == ("Ready", off)


async def test_the_weekly_pages_table_calls_the_details_daily(tenant, database):
    await tenant.create_campaign()
    rule = {"recurType": "Weekly", "dailyDetails": {"onceEveryNweeks": 3, "whichDays": ["Sun", "Mon", "Sun"]}}
    assert (await schedule(tenant, {**WEEKLY, "recurrenceObject": rule})).status_code == 200
    async with database.connection() as connection:
        definition = await connection.fetchval("SELECT definition FROM schedules")
    assert (definition["recurrence"], definition["every"], definition["weekdays"]) == ("weekly", 3, [0, 6])


async def test_without_recurrence_it_runs_once(tenant):
    campaign_id = await tenant.create_campaign()
    body = {key: value for key, value in DAILY.items() if key != "recurrenceObject"}
    assert (await schedule(tenant, body)).status_code == 200
    once = {"isSchedulingEnabled": True, "isRecurrenceEnabled": False}
    assert await shown(tenant, campaign_id) == ("Scheduled", once)


async def test_its_times_are_of_the_zone_of_its_calling_hours(tenant, database):
    await tenant.create_campaign()
    await schedule(tenant, DAILY)
    async with database.connection() as connection:
        next_at = await connection.fetchval("SELECT next_at FROM schedules")
    # Asia/Kolkata: five and a half hours ahead
    assert next_at.isoformat() == "2100-01-15T04:30:00+00:00"


async def test_it_is_listed_as_scheduled(tenant):
    campaign_id = await tenant.create_campaign()
    await schedule(tenant, DAILY)
    answer = await tenant.ask(
        "POST", "/getAllCampaignDetails", {"type": "voice", "filters": {"status": ["Scheduled"]}}, version=2
    )
    (one,) = answer.json()["data"]["results"]
    assert (one["_id"], one["status"]) == (campaign_id, "Scheduled")
    assert one["schedule"] == {"isSchedulingEnabled": True, "isRecurrenceEnabled": True}
    assert "campaignInstanceId" not in one


async def test_starting_it_by_hand_is_refused(tenant):
    campaign_id = await tenant.create_campaign(ever_open(1))
    await schedule(tenant, DAILY)
    refused = await tenant.trigger(campaign_id, "play")
    assert refused.status_code == 409
    assert "is scheduled" in errors(refused)[0]
    await schedule(tenant, {}, enable="false")
    assert (await tenant.trigger(campaign_id, "play")).status_code == 200


async def test_deleting_it_is_refused(tenant):
    campaign_id = await tenant.create_campaign()
    await schedule(tenant, DAILY)
    refused = await tenant.ask("DELETE", f"/{campaign_id}", campaignType="voice")
    assert refused.status_code == 409
    assert "scheduled" in errors(refused)[0]


async def test_an_update_leaves_it_alone(tenant):
    campaign_id = await tenant.create_campaign(ever_open(1))
    on = {"isSchedulingEnabled": True, "isRecurrenceEnabled": True}
    await schedule(tenant, DAILY)
    for wanted in (False, True):
        body = ever_open(1, schedule={"isSchedulingEnabled": wanted})
        answer = await tenant.ask("PUT", f"/{campaign_id}", body, campaignType="voice")
        assert answer.status_code == 200
        assert answer.json()["data"]["schedule"] == on
        assert answer.json()["data"]["status"] == "Scheduled"
    await schedule(tenant, {}, enable="false")
    refused = await tenant.ask("PUT", f"/{campaign_id}", body, campaignType="voice")
    assert refused.status_code == 412
    assert "nothing says when" in errors(refused)[0]


class TestStop:
    async def test_it_ends_the_schedule_too(self, tenant):
        campaign_id = await tenant.create_campaign()
        await schedule(tenant, DAILY)
        stopped = await tenant.trigger(campaign_id, "stop")
        assert stopped.status_code == 200
        assert not differs(
            {"status": "Stopped", "message": "Campaign Stopped", "updatedAt": TIMESTAMP, "campaignInstanceId": ""},
            stopped.json(),
        )
        off = {"isSchedulingEnabled": False, "isRecurrenceEnabled": False}
        assert await shown(tenant, campaign_id) == ("Stopped", off)
        assert (await tenant.trigger(campaign_id, "stop")).json() == stopped.json()

    async def test_with_a_live_run_it_ends_both(self, tenant):
        campaign_id = await tenant.create_campaign(ever_open(1))
        started = await tenant.trigger(campaign_id, "play")
        await schedule(tenant, DAILY)
        assert (await shown(tenant, campaign_id))[0] == "Active"
        stopped = await tenant.trigger(campaign_id, "stop")
        assert stopped.json()["campaignInstanceId"] == started.json()["campaignInstanceId"]
        assert (await shown(tenant, campaign_id))[0] == "Stopped"
        assert (await tenant.trigger(campaign_id, "stop")).json() == stopped.json()

    async def test_it_keeps_the_schedule_when_told_to(self, tenant):
        campaign_id = await tenant.create_campaign(ever_open(1))
        await tenant.trigger(campaign_id, "play")
        await schedule(tenant, DAILY)
        answer = await tenant.ask(
            "POST", f"/{campaign_id}", {"keepSchedule": True}, campaignType="voice", trigger="stop"
        )
        assert answer.status_code == 200
        assert (await shown(tenant, campaign_id))[0] == "Scheduled"


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"startDateTime": "tomorrow"}, "`startDateTime` must be a time like"),
            ({"startDateTime": "2100-02-30 10:00:00"}, "`startDateTime` must be a time like"),
            ({"startDateTime": "2100-01-15T10:00:00Z"}, "`startDateTime` must be a time like"),
            ({"startDateTime": 5}, "`startDateTime` must be a time like"),
            ({"endDateTime": None}, "`endDateTime` must be a time like"),
            ({"endDateTime": "2100-01-15 10:00:00"}, "`endDateTime` must be later than `startDateTime`"),
            ({"startDateTime": "2020-01-01 10:00:00", "endDateTime": "2020-02-01 10:00:00"}, "later than now"),
            ({"endDateTime": "2500-01-15 10:00:00"}, "outside the years"),
            ({"recurrenceObject": "Daily"}, "`recurrenceObject` must be an object"),
            ({"recurrenceObject": {"recurType": "Monthly"}}, "`recurrenceObject.recurType` must be"),
            ({"recurrenceObject": {"recurType": "Daily"}}, "needs `dailyDetails`"),
            ({"recurrenceObject": {"recurType": "Weekly"}}, "needs `weeklyDetails`"),
            (
                {"recurrenceObject": {"recurType": "Daily", "dailyDetails": {"onceEveryNdays": 0}}},
                "`recurrenceObject.dailyDetails.onceEveryNdays` must be at least 1",
            ),
            (
                {"recurrenceObject": {"recurType": "Weekly", "weeklyDetails": {"whichDays": ["MO"]}}},
                "`recurrenceObject.weeklyDetails.whichDays[0]` must be",
            ),
            (
                {"recurrenceObject": {"recurType": "Weekly", "weeklyDetails": {"whichDays": []}}},
                "`recurrenceObject.weeklyDetails.whichDays` must not be empty",
            ),
        ],
    )
    async def test_each_is_named_and_changes_nothing(self, tenant, change, words):
        campaign_id = await tenant.create_campaign()
        refused = await schedule(tenant, {**DAILY, **change})
        assert refused.status_code == 412
        assert words in " ".join(errors(refused))
        assert (await shown(tenant, campaign_id))[0] == "Ready"

    async def test_what_is_missing(self, tenant):
        await tenant.create_campaign()
        refused = await schedule(tenant, {})
        assert refused.status_code == 412
        assert sorted(errors(refused)) == ["`endDateTime` is missing.", "`startDateTime` is missing."]

    @pytest.mark.parametrize(
        ("query", "words"),
        [
            ({"enableSchedule": "yes", "campaignName": NAME}, "`enableSchedule` must be"),
            ({"campaignName": NAME}, "`enableSchedule` is missing"),
            ({"enableSchedule": "true"}, "`campaignName` is missing"),
            ({"enableSchedule": "true", "campaignName": ""}, "`campaignName` is missing"),
        ],
    )
    async def test_the_query(self, tenant, query, words):
        refused = await tenant.ask("POST", "/schedule", DAILY, **query)
        assert refused.status_code == 400
        assert words in errors(refused)[0]

    async def test_names(self, tenant, other):
        assert (await schedule(tenant, DAILY, name="Nobody")).status_code == 404
        first = await tenant.create_campaign()
        # another tenant's campaign of that name is neither meant nor told
        assert (await schedule(other, DAILY)).status_code == 404
        second = await tenant.create_campaign()
        refused = await schedule(tenant, DAILY)
        assert refused.status_code == 409
        assert first in errors(refused)[0]
        assert second in errors(refused)[0]
        assert (await schedule(tenant, DAILY, campaignId=second)).json()["id"] == second

    async def test_credentials_come_first(self, tenant, other):
        await tenant.create_campaign()
        headers = {**tenant.headers(), "auth": other.token()}
        answer = await tenant.http.post(
            f"/campaign/api/v2/public/{tenant.iid}/campaign/schedule", json=DAILY, headers=headers
        )
        assert answer.status_code == 401
