"""Updating campaigns and contact lists: documented requests in, documented answers out; refusals change nothing."""

from __future__ import annotations

import asyncio

import pytest

from support.wire import (
    CALLER_ID,
    CAMPAIGN_ID,
    FLOW_ID,
    LIST_ID,
    TIMESTAMP,
    USER_ID,
    agentless,
    differs,
    errors,
    ever_open,
    with_agents,
)

NEW = {"name": "Renewed Feedback", "description": "Asks again.", "priority": "2"}


def strategy(version: int) -> dict:
    """The answered form of the changed campaign's strategy."""
    answered = {
        "callerId": {"phoneNumber": CALLER_ID},
        "callingHours": {
            "frequency": "DAILY",
            "days": [{"start": "8:30 AM", "end": "5:00 PM", "day": "FR"}],
            "timezone": "Europe/Paris",
        },
        "dialingOrder": "LIFO",
        "maxAttemptsPerRecord": 5,
        "defaultRetryPeriod": 60,
        "maxRingTime": 45,
    }
    return {**answered, "useSystemMappings": False} if version == 2 else answered


def changed_body(version: int) -> dict:
    body = agentless(version, **NEW)
    body["dialingStrategy"] = {**strategy(1), "callerId": {"phoneNumber": CALLER_ID}}
    return body


def golden(version: int) -> dict:
    second = version == 2
    return {
        "status": "success",
        "message": "Campaign Renewed Feedback details updated successfully",
        "id": CAMPAIGN_ID,
        "data": dict(
            [
                *([("_id", CAMPAIGN_ID)] if second else []),
                ("name", "Renewed Feedback"),
                ("lname", "renewed feedback"),
                ("description", "Asks again."),
                *([("dncLists", {"id": LIST_ID, "name": "Never Call"})] if second else []),
                ("priority", "2"),
                ("dialingMode", "Agentless"),
                ("dialingStrategy", strategy(version)),
                ("experienceFlow", FLOW_ID),
                ("status", "Ready"),
                *([("isFiltersEnabled", False)] if second else []),
                ("createdAt", TIMESTAMP),
                ("updatedAt", TIMESTAMP),
                *([] if second else [("id", CAMPAIGN_ID)]),
                *([("schedule", {"isSchedulingEnabled": False, "isRecurrenceEnabled": False})] if second else []),
                ("contactLists", ["Recent Buyers"]),
                ("enableMachineDetect", False),
                *([] if second else [("schedule", {"isSchedulingEnabled": False, "isRecurrenceEnabled": False})]),
            ]
        ),
    }


async def detection(database, campaign_id: str) -> str:
    async with database.connection() as connection:
        return await connection.fetchval(
            "SELECT rules ->> 'machine_detection' FROM campaigns WHERE id = $1", campaign_id
        )


class TestCampaigns:
    @pytest.mark.parametrize(("version", "kind"), [(1, "voice"), (2, "voice"), (2, "sms")])
    async def test_an_update_answers_as_documented_and_stays(self, tenant, version, kind):
        campaign_id = await tenant.create_campaign(version=version)
        before = (await tenant.done("GET", f"/{campaign_id}", version=version))["data"]
        answer = await tenant.done("PUT", f"/{campaign_id}", changed_body(version), version=version, campaignType=kind)
        assert differs(golden(version), answer) == []
        assert answer["id"] == campaign_id
        after = (await tenant.done("GET", f"/{campaign_id}", version=version))["data"]
        assert after["dialingStrategy"] == answer["data"]["dialingStrategy"]
        assert after["createdAt"] == before["createdAt"]
        assert after["updatedAt"] > before["updatedAt"]

    @pytest.mark.parametrize(("before", "answered"), [("no", False), ("detect", True), ("disconnect", True)])
    async def test_the_documented_update_of_v2_leaves_machine_detection_as_it_is(
        self, tenant, database, before, answered
    ):
        """Its sample names no `enableMachineDetect`; and it says sms in the address."""
        campaign_id = await tenant.create_campaign(agentless(2, enableMachineDetect=before), version=2)
        body = changed_body(2)
        del body["enableMachineDetect"]
        answer = await tenant.done("PUT", f"/{campaign_id}", body, version=2, campaignType="sms")
        expected = golden(2)
        expected["data"]["enableMachineDetect"] = answered
        assert differs(expected, answer) == []
        assert await detection(database, campaign_id) == before
        body["enableMachineDetect"] = "disconnect" if before == "no" else "no"
        await tenant.done("PUT", f"/{campaign_id}", body, version=2, campaignType="sms")
        assert await detection(database, campaign_id) == body["enableMachineDetect"]

    async def test_a_campaign_that_was_not_agentless_detects_nothing_until_it_is_told(self, tenant, database):
        body = with_agents(1, "Progressive", enableMachineDetect=True)
        campaign_id = await tenant.create_campaign(body)
        assert await detection(database, campaign_id) == "detect"
        body = changed_body(2)
        del body["enableMachineDetect"]
        await tenant.done("PUT", f"/{campaign_id}", body, version=2, campaignType="voice")
        assert await detection(database, campaign_id) == "no"

    async def test_creations_and_updates_of_v1_still_say_what_is_done_about_machines(self, tenant):
        campaign_id = await tenant.create_campaign()
        for method, path, version in (("POST", "", 1), ("POST", "", 2), ("PUT", f"/{campaign_id}", 1)):
            body = agentless(version)
            del body["enableMachineDetect"]
            answer = await tenant.ask(method, path, body, version=version, campaignType="voice")
            assert answer.status_code == 412
            assert errors(answer) == ["`enableMachineDetect` is missing."]

    async def test_the_dialing_mode_may_change_both_ways(self, tenant):
        campaign_id = await tenant.create_campaign()
        preview = with_agents(1, "Preview")
        data = (await tenant.done("PUT", f"/{campaign_id}", preview, campaignType="voice"))["data"]
        assert (data["dialingMode"], data["maxSkips"]) == ("Preview", 1)
        assert "experienceFlow" not in data
        data = (await tenant.done("PUT", f"/{campaign_id}", agentless(1), campaignType="voice"))["data"]
        assert data["dialingMode"] == "Agentless"
        assert "maxSkips" not in data

    async def test_lists_are_exchanged(self, tenant):
        await tenant.create_list("Others")
        campaign_id = await tenant.create_campaign()
        body = agentless(1, contactLists=["others"])
        data = (await tenant.done("PUT", f"/{campaign_id}", body, campaignType="voice"))["data"]
        assert data["contactLists"] == ["Others"]

    async def test_a_live_campaign_is_not_updated(self, tenant):
        campaign_id = await tenant.create_campaign(ever_open(1))
        await tenant.trigger(campaign_id, "play")
        before = await tenant.done("GET", f"/{campaign_id}")
        answer = await tenant.ask("PUT", f"/{campaign_id}", changed_body(1), campaignType="voice")
        assert answer.status_code == 409
        assert errors(answer) == [
            "The campaign 'Product Feedback' cannot be changed while its run is active; stop it first."
        ]
        assert await tenant.done("GET", f"/{campaign_id}") == before
        await tenant.trigger(campaign_id, "stop")
        answer = await tenant.done("PUT", f"/{campaign_id}", changed_body(1), campaignType="voice")
        # what its latest run came to is still true
        assert answer["data"]["status"] == "Stopped"

    async def test_an_update_and_a_start_at_once_dial_one_definition(self, tenant, database):
        campaign_id = await tenant.create_campaign(ever_open(1))
        outcomes = set()
        for turn in range(12):
            body = ever_open(1)
            body["dialingStrategy"]["maxRingTime"] = 31 + turn
            update = tenant.ask("PUT", f"/{campaign_id}", body, campaignType="voice")
            start = tenant.trigger(campaign_id, "play")
            # each is asked first in turn
            answers = await asyncio.gather(*((update, start) if turn % 2 else (start, update)))
            updated, started = answers if turn % 2 else reversed(answers)
            assert started.status_code == 200
            outcomes.add(updated.status_code)
            async with database.connection() as connection:
                # an update after the start would show here: the run keeps what it was started with
                assert await connection.fetchval(
                    "SELECT r.rules = c.rules FROM runs r JOIN campaigns c ON c.id = r.campaign_id"
                    " WHERE c.id = $1 ORDER BY r.id DESC LIMIT 1",
                    campaign_id,
                )
            await tenant.trigger(campaign_id, "stop")
        assert outcomes <= {200, 409}

    @pytest.mark.parametrize(
        ("body", "status", "sentence"),
        [
            ({"name": "x"}, 412, "`description` is missing."),
            (agentless(1, contactLists=["Nowhere"]), 400, "There is no contact list named 'Nowhere'."),
            (agentless(1, campaignType="sms"), 501, "SMS campaigns are not offered"),
            ([], 412, "The body must be a JSON object, not a list."),
        ],
    )
    async def test_a_wrong_update_changes_nothing(self, tenant, body, status, sentence):
        campaign_id = await tenant.create_campaign()
        before = await tenant.done("GET", f"/{campaign_id}")
        answer = await tenant.ask("PUT", f"/{campaign_id}", body, campaignType="voice")
        assert answer.status_code == status
        assert errors(answer)[0].startswith(sentence)
        assert await tenant.done("GET", f"/{campaign_id}") == before

    async def test_others_campaigns_are_not_there(self, tenant, other):
        campaign_id = await tenant.create_campaign()
        answer = await other.ask("PUT", f"/{campaign_id}", agentless(1), campaignType="voice")
        unknown = await other.ask("PUT", f"/cd-{'0' * 7}{campaign_id[10:]}", agentless(1), campaignType="voice")
        assert (answer.status_code, unknown.status_code) == (404, 404)

    async def test_the_history_names_what_changed_and_who(self, tenant, database):
        campaign_id = await tenant.create_campaign()
        await tenant.done("PUT", f"/{campaign_id}", changed_body(1), campaignType="voice")
        async with database.connection() as connection:
            row = await connection.fetchrow(
                "SELECT actor, reason, detail FROM history WHERE campaign_id = $1 ORDER BY id DESC LIMIT 1", campaign_id
            )
        assert row["reason"] == "update"
        assert row["actor"] == tenant.credentials.client_id
        assert sorted(row["detail"]["changed"]) == ["description", "name", "priority", "rules"]


class TestContactLists:
    @pytest.mark.parametrize("version", [1, 2])
    async def test_an_update_answers_as_documented(self, tenant, version):
        made = await tenant.create_list("Renewals", version=version)
        said = {"name": "Renewals 2026", **({"description": "New."} if version == 1 else {})}
        answer = await tenant.done("PUT", f"/contactList/{made['_id']}", said, version=version)
        body = [
            ("name", "Renewals 2026"),
            *([("description", "New.")] if version == 1 else [("scope", ["campaign_management"])]),
            ("orgId", str),
            ("iId", tenant.iid),
            ("listType", "call"),
            ("accountId", tenant.account_id),
            ("updatedBy", USER_ID),
        ]
        expected = {
            "status": "success",
            "message": "Contact list Renewals 2026 updated successfully",
            "data": {"contactListId": made["_id"], "body": dict(body)},
        }
        assert differs(expected, answer) == []
        got = (await tenant.done("GET", f"/contactList/{made['_id']}"))["data"]
        assert (got["name"], got["description"]) == ("Renewals 2026", "New." if version == 1 else "d")

    async def test_nothing_said_changes_nothing_but_the_time(self, tenant):
        made = await tenant.create_list("Renewals")
        await tenant.done("PUT", f"/contactList/{made['_id']}", {})
        got = (await tenant.done("GET", f"/contactList/{made['_id']}"))["data"]
        assert (got["name"], got["description"]) == ("Renewals", "d")

    async def test_campaigns_follow_a_renamed_list(self, tenant):
        campaign_id = await tenant.create_campaign(ever_open(1))
        (using,) = [
            one["_id"]
            for one in (await tenant.done("POST", "/contactList/getAllListDetails", type="call"))["data"]
            if one["name"] == "Recent Buyers"
        ]
        await tenant.trigger(campaign_id, "play")
        await tenant.done("PUT", f"/contactList/{using}", {"name": "Buyers"})
        assert (await tenant.done("GET", f"/{campaign_id}"))["data"]["contactLists"] == ["Buyers"]

    async def test_a_taken_name(self, tenant):
        made = await tenant.create_list("Renewals")
        answer = await tenant.ask("PUT", f"/contactList/{made['_id']}", {"name": "recent BUYERS"})
        assert answer.status_code == 409
        assert errors(answer) == ["There is already a contact list named recent BUYERS; choose another name."]
        await tenant.done("PUT", f"/contactList/{made['_id']}", {"name": "RENEWALS"})

    async def test_duplicates_can_be_allowed_while_the_list_is_empty(self, tenant):
        made = await tenant.create_list("Renewals")
        path = f"/contactList/{made['_id']}"
        answer = await tenant.done("PUT", path, {"allowDuplicates": True})
        assert answer["data"]["body"]["allowDuplicates"] is True
        await tenant.add_contacts("+15550100101", "+15550100101", name="Renewals")
        assert (await tenant.done("GET", path))["data"]["totalRecordCount"] == 2
        refused = await tenant.ask("PUT", path, {"allowDuplicates": False, "name": "Other"})
        assert refused.status_code == 409
        assert (await tenant.done("GET", path))["data"]["name"] == "Renewals"
        # v2 has no such field
        await tenant.done("PUT", path, {"allowDuplicates": False}, version=2)

    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            ({"name": "x" * 49}, "`name` has 49 characters; at most 48 are allowed."),
            ({"name": "a\nb"}, "`name` holds a line break or another control character."),
            ({"description": "x" * 257}, "`description` has 257 characters; at most 256 are allowed."),
            ({"allowDuplicates": "yes"}, "`allowDuplicates` must be true or false, not 'yes'."),
            ({"name": 5, "description": 5}, "`name` must be text, not the number 5."),
        ],
    )
    async def test_wrong_updates(self, tenant, body, sentence):
        made = await tenant.create_list("Renewals")
        answer = await tenant.ask("PUT", f"/contactList/{made['_id']}", body)
        assert answer.status_code == 412
        assert errors(answer)[0] == sentence
        assert len(errors(answer)) == len(body)

    async def test_others_lists_are_not_there(self, tenant, other):
        made = await tenant.create_list("Renewals")
        assert (await other.ask("PUT", f"/contactList/{made['_id']}", {"name": "Mine"})).status_code == 404
