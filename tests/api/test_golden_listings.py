"""Listing campaigns and contact lists: documented shapes, filters, order and pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from support.wire import (
    CAMPAIGN_ID,
    FLOW,
    FLOW_ID,
    INSTANCE_ID,
    LIST_ID,
    TIMESTAMP,
    agentless,
    differs,
    errors,
    ever_open,
    with_agents,
)

WHERE = "/getAllCampaignDetails"


def listed(version: int, *, ran: bool = False, status: str = "Ready", mode: str = "Agentless") -> dict:
    second = version == 2
    return dict(
        [
            ("_id", CAMPAIGN_ID),
            ("name", "Product Feedback"),
            ("description", "Collects quick feedback."),
            *([("dncLists", {"id": LIST_ID, "name": "Never Call"})] if second else []),
            ("priority", "5"),
            ("dialingMode", mode),
            *([("experienceFlow", FLOW_ID)] if mode == "Agentless" else []),
            ("status", status),
            *([("isFiltersEnabled", False)] if second else []),
            ("createdAt", TIMESTAMP),
            ("updatedAt", TIMESTAMP),
            ("campaignInstanceUpdatedAt", TIMESTAMP),
            ("schedule", {"isSchedulingEnabled": False, "isRecurrenceEnabled": False}),
            *([("campaignInstanceId", INSTANCE_ID)] if ran else []),
            ("connection", FLOW if mode == "Agentless" else "Default Queue"),
            ("contactLists", ["Recent Buyers"]),
        ]
    )


def wire_time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")


async def ids(tenant, **body) -> list[str]:
    answer = await tenant.done("POST", WHERE, {"type": "voice", **body})
    return [one["_id"] for one in answer["data"]["results"]]


class TestCampaigns:
    @pytest.mark.parametrize("version", [1, 2])
    async def test_the_documented_shape(self, tenant, version):
        await tenant.create_campaign(with_agents(version, "Preview"), version=version)
        running = await tenant.create_campaign(ever_open(version), version=version)
        await tenant.trigger(running, "play", version=version)
        body = {"type": "voice", "limit": 50, "skip": 0, "page": 1, "sortBy": {"createdAt": "asc"}}
        answer = await tenant.done("POST", WHERE, body, version=version)
        expected = {
            "status": "success",
            "message": "Campaign  retrieved successfully",
            "data": {
                "results": [
                    listed(version, mode="Preview"),
                    listed(version, ran=True, status="Active"),
                ],
                "skip": 0,
                "limit": 50,
                "hasMore": False,
                "totalPages": 1,
                "totalResults": 2,
            },
        }
        assert differs(expected, answer) == []

    @pytest.mark.parametrize("version", [1, 2])
    async def test_the_sample_of_a_search(self, tenant, version):
        """Every field of it at once, of which each leaves out one of these campaigns."""
        wanted = [
            await tenant.create_campaign(with_agents(version, mode), version=version)
            for mode in ("Progressive", "Preview")
        ]
        await tenant.create_campaign(with_agents(version, "Preview", priority="4"), version=version)
        stopped = await tenant.create_campaign(ever_open(version), version=version)
        await tenant.trigger(stopped, "play", version=version)
        await tenant.trigger(stopped, "stop", version=version)
        now = datetime.now(UTC)
        sample = {
            "limit": 50,
            "skip": 0,
            "page": 1,
            "startDate": wire_time(now - timedelta(hours=1)),
            "endDate": wire_time(now + timedelta(hours=1)),
            "type": "voice",
            "sortBy": {"createdAt": "desc"},
            "filters": {"status": ["Ready", "Stopped"], "priority": [5], "dialingMode": ["Progressive", "Preview"]},
        }
        answer = await tenant.ask("POST", WHERE, sample, version=version)
        assert answer.status_code == 200, answer.text
        assert "x-outdial-ignored" not in answer.headers
        expected = {
            "status": "success",
            "message": "Campaign  retrieved successfully",
            "data": {
                "results": [listed(version, mode="Preview"), listed(version, mode="Progressive")],
                "skip": 0,
                "limit": 50,
                "hasMore": False,
                "totalPages": 1,
                "totalResults": 2,
            },
        }
        assert differs(expected, answer.json()) == []
        assert [one["_id"] for one in answer.json()["data"]["results"]] == wanted[::-1]
        agentless_too = {**sample, "filters": {**sample["filters"], "dialingMode": ["Agentless"]}}
        (found,) = (await tenant.done("POST", WHERE, agentless_too, version=version))["data"]["results"]
        assert differs(listed(version, ran=True, status="Stopped"), found) == []
        earlier = {**sample, "endDate": wire_time(now - timedelta(minutes=59))}
        assert (await tenant.done("POST", WHERE, earlier, version=version))["data"]["results"] == []

    async def test_none(self, bare):
        answer = await bare.done("POST", WHERE, {"type": "voice"})
        assert answer["data"] == {
            "results": [],
            "skip": 0,
            "limit": 50,
            "hasMore": False,
            "totalPages": 0,
            "totalResults": 0,
        }

    async def test_pages_neither_repeat_nor_leave_out(self, tenant):
        made = [await tenant.create_campaign(agentless(1, name="Same")) for _ in range(7)]
        for sort in ({}, {"name": "asc"}, {"name": "desc"}, {"updatedAt": "asc"}):
            seen = []
            for page in (1, 2, 3):
                answer = await tenant.done("POST", WHERE, {"type": "voice", "limit": 3, "page": page, "sortBy": sort})
                data = answer["data"]
                assert (data["skip"], data["limit"], data["totalPages"], data["totalResults"]) == (
                    3 * (page - 1), 3, 3, 7,
                )  # fmt: skip
                assert data["hasMore"] is (page < 3)
                seen += [one["_id"] for one in data["results"]]
            assert sorted(seen) == sorted(made)
        assert await ids(tenant, skip=5, limit=1, sortBy={"createdAt": "asc"}) == [made[5]]

    @pytest.mark.parametrize("empty", ["", None])
    async def test_empty_text_stands_for_nothing(self, tenant, empty):
        made = await tenant.create_campaign()
        assert await ids(
            tenant, skip=empty, page=empty, limit=empty, startDate=empty, endDate=empty, sortBy={"name": empty}
        ) == [made]

    async def test_sorting(self, tenant):
        names = ["beta", "Alpha", "gamma"]
        made = {name: await tenant.create_campaign(ever_open(1, name=name)) for name in names}
        newest_first = [made[name] for name in reversed(names)]
        assert await ids(tenant) == newest_first
        assert await ids(tenant, sortBy={"createdAt": "desc"}) == newest_first
        assert await ids(tenant, sortBy={"name": "asc"}) == [made["Alpha"], made["beta"], made["gamma"]]
        assert await ids(tenant, sortBy={"name": "desc"}) == [made["gamma"], made["beta"], made["Alpha"]]
        # a run's start is a change of its campaign
        await tenant.trigger(made["beta"], "play")
        assert (await ids(tenant, sortBy={"updatedAt": "desc"}))[0] == made["beta"]

    async def test_the_first_field_counts_most(self, tenant):
        first = await tenant.create_campaign(agentless(1, name="b"))
        second = await tenant.create_campaign(agentless(1, name="a"))
        third = await tenant.create_campaign(agentless(1, name="a"))
        assert await ids(tenant, sortBy={"name": "asc", "createdAt": "asc"}) == [second, third, first]
        assert await ids(tenant, sortBy={"createdAt": "asc", "name": "asc"}) == [first, second, third]

    async def test_filters(self, tenant):
        ready = await tenant.create_campaign(agentless(1, priority="1"))
        running = await tenant.create_campaign(ever_open(1, priority="2"))
        preview = await tenant.create_campaign(with_agents(1, "Preview", priority="3"))
        await tenant.trigger(running, "play")

        async def found(**filters) -> set[str]:
            return set(await ids(tenant, filters=filters))

        assert await found(status=["Ready"]) == {ready, preview}
        assert await found(status=["Active"]) == {running}
        assert await found(status=["Ready", "Active"]) == {ready, running, preview}
        assert await found(status=["Rescheduled"]) == set()
        assert await found(status=[]) == {ready, running, preview}
        assert await found(priority=[1, "3"]) == {ready, preview}
        assert await found(dialingMode=["Preview", "Progressive"]) == {preview}
        assert await found(dialingMode=["Agentless"], status=["Ready"], priority=[1, 2]) == {ready}
        await tenant.trigger(running, "stop")
        assert await found(status=["Stopped"]) == {running}

    async def test_a_stopping_campaign_is_listed_as_the_wire_shows_it(self, tenant, database):
        running = await tenant.create_campaign(ever_open(1))
        await tenant.trigger(running, "play")
        async with database.transaction() as connection:
            await connection.execute("UPDATE runs SET state = 'stopping'")
        assert await ids(tenant, filters={"status": ["Active"]}) == [running]

    async def test_dates_are_those_of_creation_both_ends_included(self, tenant):
        made = await tenant.create_campaign()
        at = datetime.now(UTC)

        async def between(start: timedelta, end: timedelta) -> list[str]:
            return await ids(tenant, startDate=(at + start).isoformat(), endDate=(at + end).isoformat())

        hour = timedelta(hours=1)
        assert await between(-hour, hour) == [made]
        assert await between(-2 * hour, -hour) == []
        assert await between(hour, 2 * hour) == []
        assert await ids(tenant, startDate="2020-01-01T00:00:00.000Z") == [made]
        assert await ids(tenant, startDate="2020-01-01") == [made]

    async def test_deleted_and_others_campaigns_are_not_listed(self, tenant, other, sibling):
        gone = await tenant.create_campaign()
        await tenant.done("DELETE", f"/{gone}", campaignType="voice")
        await other.create_campaign()
        assert await ids(tenant) == []
        assert await ids(sibling) == []

    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            ({}, "`type` is missing."),
            ({"type": "email"}, "`type` must be 'voice' or 'sms', not 'email'."),
            ({"type": "voice", "limit": 0}, "`limit` must be at least 1, not the number 0."),
            ({"type": "voice", "limit": 1001}, "`limit` must be at most 1000, not the number 1001."),
            ({"type": "voice", "skip": -1}, "`skip` must be at least 0, not the number -1."),
            ({"type": "voice", "page": "two"}, "`page` must be a whole number, not 'two'."),
            ({"type": "voice", "startDate": "yesterday"}, "`startDate` must be an instant like"),
            ({"type": "voice", "startDate": 5}, "`startDate` must be an instant like"),
            ({"type": "voice", "endDate": "0001-01-01T00:00:00+14:00"}, "`endDate` lies outside the years 1 to 9999"),
            ({"type": "voice", "sortBy": {"name": "up"}}, "`sortBy.name` must be 'asc' or 'desc', not 'up'."),
            ({"type": "voice", "filters": {"status": ["Busy"]}}, "`filters.status[0]` must be 'Active', "),
            ({"type": "voice", "filters": {"priority": [6]}}, "`filters.priority[0]` must be at most 5"),
            ({"type": "voice", "filters": {"dialingMode": "Preview"}}, "`filters.dialingMode` must be a list"),
        ],
    )
    async def test_wrong_questions(self, tenant, body, sentence):
        answer = await tenant.ask("POST", WHERE, body)
        assert answer.status_code == 412
        assert errors(answer)[0].startswith(sentence)

    async def test_there_are_no_sms_campaigns(self, tenant):
        answer = await tenant.ask("POST", WHERE, {"type": "sms"})
        assert answer.status_code == 501


class TestContactLists:
    @pytest.mark.parametrize("version", [1, 2])
    async def test_the_documented_shape(self, tenant, version):
        await tenant.create_campaign(version=version)
        await tenant.create_list("Empty", version=version, allowDuplicates=True)
        answer = await tenant.done("POST", "/contactList/getAllListDetails", version=version, type="call")
        mapping = {field: field for field in ("firstName", "lastName", "phoneNumber", "timeZone", "uniqueId")}
        if version == 2:
            mapping["contactPriority"] = "contactPriority"

        def shape(name: str, count: int, campaigns: list, mode: str) -> dict:
            return dict(
                [
                    ("_id", LIST_ID),
                    ("name", name),
                    ("description", "d"),
                    ("totalRecordCount", count),
                    ("status", "Ready"),
                    ("mapping", mapping),
                    ("isListInUse", False),
                    ("listType", "call"),
                    ("campaignInUse", campaigns),
                    ("source", "passiveApi"),
                    ("apiConfigurations", {"dataSyncMode": mode}),
                    *([("columns", [])] if version == 2 else []),
                    ("files", []),
                    ("updatedAt", TIMESTAMP),
                ]
            )

        used = [{"id": CAMPAIGN_ID, "name": "Product Feedback"}]
        expected = {
            "status": "success",
            "message": "",
            "data": [
                shape("Empty", 0, [], "allowDuplicates"),
                shape("Recent Buyers", 3, used, "dontAllowDuplicates"),
            ],
        }
        assert differs(expected, answer) == []

    async def test_the_type_may_be_left_out_but_not_wrong(self, tenant):
        assert len((await tenant.done("POST", "/contactList/getAllListDetails"))["data"]) == 1
        answer = await tenant.ask("POST", "/contactList/getAllListDetails", type="sms")
        assert answer.status_code == 400
        assert errors(answer) == ["`type` must be `call`, not 'sms'."]

    async def test_only_ones_own(self, tenant, other, sibling):
        assert (await sibling.done("POST", "/contactList/getAllListDetails"))["data"] == []
        mine = (await tenant.done("POST", "/contactList/getAllListDetails"))["data"]
        theirs = (await other.done("POST", "/contactList/getAllListDetails"))["data"]
        assert mine[0]["_id"] != theirs[0]["_id"]
