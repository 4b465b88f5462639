"""Campaigns: documented requests in, documented answers out, with their keys, types and order."""

from __future__ import annotations

import pytest

from support.wire import (
    CALLER_ID,
    CAMPAIGN_ID,
    FLOW_ID,
    INSTANCE_ID,
    LIST_ID,
    TIMESTAMP,
    agentless,
    differs,
    ever_open,
    with_agents,
)

MESSAGE = "Campaign Product Feedback"


def strategy(version: int) -> dict:
    answered = {
        "callerId": {"phoneNumber": CALLER_ID},
        "callingHours": {
            "frequency": "WEEKLY",
            "days": [
                {"start": "9:00 AM", "end": "6:00 PM", "day": "MO"},
                {"start": "9:00 AM", "end": "12:00 PM", "day": "TU"},
                {"start": "1:00 PM", "end": "11:59 PM", "day": "TU"},
            ],
            "timezone": "Asia/Kolkata",
        },
        "dialingOrder": "FIFO",
        "maxAttemptsPerRecord": 3,
        "defaultRetryPeriod": 10,
        "maxRingTime": 30,
    }
    return {**answered, "useSystemMappings": False} if version == 2 else answered


def fields(version: int, mode: str, **more) -> list[tuple[str, object]]:
    """What create, get and delete share, in order; None marks where they differ."""
    second, flow = version == 2, mode == "Agentless"
    return [
        ("name", "Product Feedback"),
        ("lname", "product feedback"),
        ("description", "Collects quick feedback."),
        *([("dncLists", {"id": LIST_ID, "name": "Never Call"})] if second else []),
        ("priority", "5"),
        ("dialingMode", mode),
        ("dialingStrategy", strategy(version)),
        *([("experienceFlow", FLOW_ID)] if flow else []),
        ("status", more["status"]),
        *([("maxSkips", 1)] if mode == "Preview" else []),
        *([("isFiltersEnabled", False)] if second else []),
        ("createdAt", TIMESTAMP),
        ("updatedAt", TIMESTAMP),
    ]


def detection(version: int, mode: str) -> list[tuple[str, object]]:
    return [("enableMachineDetect", False)] if version == 1 or mode == "Agentless" else []


def created(version: int, mode: str) -> dict:
    return {
        "status": "success",
        "message": f"{MESSAGE} creation in progress",
        "data": dict(
            [
                *fields(version, mode, status="Preparing"),
                ("id", CAMPAIGN_ID),
                ("contactLists", ["Recent Buyers"]),
                *detection(version, mode),
            ]
        ),
    }


def read(version: int, mode: str, verb: str, *, status: str = "Ready", ran: bool = False) -> dict:
    return {
        "status": "success",
        "message": f"{MESSAGE} {verb} successfully",
        "data": dict(
            [
                ("_id", CAMPAIGN_ID),
                *fields(version, mode, status=status),
                ("schedule", {"isSchedulingEnabled": False, "isRecurrenceEnabled": False}),
                *([("campaignInstanceId", INSTANCE_ID)] if ran else []),
                ("contactLists", ["Recent Buyers"]),
                *detection(version, mode),
            ]
        ),
    }


def body_of(version: int, mode: str) -> dict:
    return agentless(version) if mode == "Agentless" else with_agents(version, mode)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("mode", ["Agentless", "Progressive", "Preview"])
async def test_create_get_status_delete(tenant, version, mode):
    answer = await tenant.done("POST", "", body_of(version, mode), version=version, campaignType="voice")
    if (version, mode) == (1, "Preview"):
        campaign_id = answer["id"]
        golden = {
            "status": "success",
            "message": f"{MESSAGE} creation in progress",
            "id": CAMPAIGN_ID,
            "data": {"campId": campaign_id},
        }
    else:
        campaign_id = answer["data"]["id"]
        golden = created(version, mode)
        assert answer["data"]["createdAt"] == answer["data"]["updatedAt"]
    assert differs(golden, answer) == []
    got = await tenant.done("GET", f"/{campaign_id}", version=version)
    assert differs(read(version, mode, "retrieved"), got) == []
    assert got["data"]["_id"] == campaign_id
    assert await tenant.status(campaign_id) == "Ready"
    deleted = await tenant.done("DELETE", f"/{campaign_id}", version=version, campaignType="voice")
    assert differs(read(version, mode, "deleted"), deleted) == []
    assert deleted["data"] == got["data"]
    for method in ("GET", "DELETE"):
        assert (await tenant.ask(method, f"/{campaign_id}", campaignType="voice")).status_code == 404


@pytest.mark.parametrize("version", [1, 2])
async def test_start_status_contacts_stop(tenant, version):
    campaign_id = await tenant.create_campaign(ever_open(version), version=version)
    started = (await tenant.trigger(campaign_id, "play", version=version)).json()
    assert (
        differs(
            {
                "status": "Active",
                "message": "Campaign Started",
                "totalCallsCompleted": 0,
                "updatedAt": TIMESTAMP,
                "campaignInstanceId": INSTANCE_ID,
            },
            started,
        )
        == []
    )
    status = await tenant.done("POST", f"/{campaign_id}/status", {}, version=version, view="status")
    assert status == {"status": "success", "data": {"id": campaign_id, "status": "Active", "name": "Product Feedback"}}
    assert list(status["data"]) == ["id", "status", "name"]
    contacts = await tenant.done(
        "POST", f"/{campaign_id}/status", {"page": 1, "limit": 2}, version=version, view="contacts"
    )
    waiting = {
        "phoneNumber": str,
        "uniqueId": "",
        "dialerOutcome": "",
        "numberOfAttemptsSoFar": 0,
        "botSessionId": "",
        "agentDispositionCodes": [],
        "botOutboundStatus": "",
        "botOutboundStatusDetail": "",
    }
    golden = {
        "status": "success",
        "data": {"results": [waiting, waiting], "page": 1, "limit": 2, "totalPages": 2, "totalResults": 3},
    }
    assert differs(golden, contacts) == []
    assert {contact["phoneNumber"] for contact in contacts["data"]["results"]} <= {
        "15550100101",
        "15550100102",
        "15550100103",
    }
    stopped = (await tenant.trigger(campaign_id, "stop", version=version)).json()
    assert (
        differs(
            {
                "status": "Stopped",
                "message": "Campaign Stopped",
                "updatedAt": TIMESTAMP,
                "campaignInstanceId": INSTANCE_ID,
            },
            stopped,
        )
        == []
    )
    assert stopped["campaignInstanceId"] == started["campaignInstanceId"]
    assert stopped["updatedAt"] >= started["updatedAt"]
    assert await tenant.status(campaign_id) == "Stopped"
    deleted = await tenant.done("DELETE", f"/{campaign_id}", version=version, campaignType="voice")
    ran = read(version, "Agentless", "deleted", status="Stopped", ran=True)
    ran["data"]["dialingStrategy"]["callingHours"]["days"] = list
    assert differs(ran, deleted) == []
    assert deleted["data"]["campaignInstanceId"] == started["campaignInstanceId"]


@pytest.mark.parametrize(
    ("version", "said", "answered"),
    [(1, True, True), (1, False, False), (2, "no", False), (2, "detect", True), (2, "disconnect", True)],
)
async def test_machine_detection_is_a_flag_in_the_answer(tenant, version, said, answered):
    body = agentless(version, enableMachineDetect=said)
    created = await tenant.done("POST", "", body, version=version, campaignType="voice")
    assert created["data"]["enableMachineDetect"] is answered


async def test_the_older_page_reads_the_status_by_get(tenant):
    campaign_id = await tenant.create_campaign()
    answer = await tenant.done("GET", f"/{campaign_id}/status", view="status")
    assert answer["data"]["status"] == "Ready"
    answer = await tenant.done("POST", f"/{campaign_id}/status")
    assert answer["data"]["status"] == "Ready"


async def test_a_campaign_that_never_ran_has_no_contacts_in_a_run(tenant):
    campaign_id = await tenant.create_campaign()
    answer = await tenant.done("POST", f"/{campaign_id}/status", view="contacts")
    assert answer["data"] == {"results": [], "page": 1, "limit": 100, "totalPages": 0, "totalResults": 0}


async def test_numbers_with_a_point_are_numbers(tenant):
    body = agentless(1)
    body["dialingStrategy"] |= {"maxAttemptsPerRecord": 4.0, "defaultRetryPeriod": 1440.0, "maxRingTime": 5.0}
    created = await tenant.done("POST", "", body, campaignType="voice")
    answered = created["data"]["dialingStrategy"]
    assert (answered["maxAttemptsPerRecord"], answered["defaultRetryPeriod"], answered["maxRingTime"]) == (4, 1440, 5)


async def test_v1_honours_a_dnc_list_it_does_not_ask_for(tenant):
    """Leaving it out silently would call people who asked not to be called."""
    body = agentless(1, dncLists={"name": "never call"})
    created = await tenant.done("POST", "", body, campaignType="voice")
    assert differs({"id": LIST_ID, "name": "Never Call"}, created["data"]["dncLists"]) == []


async def test_unknown_fields_are_ignored(tenant):
    body = agentless(1, filters={"a": [1]}, queue_name=5, maxSkips="x", schedule={"later": 1})
    body["dialingStrategy"]["speed"] = "warp"
    await tenant.create_campaign(body)


async def test_two_campaigns_may_bear_one_name(tenant):
    assert await tenant.create_campaign() != await tenant.create_campaign()


async def test_a_caller_id_without_plus(tenant):
    body = agentless(1)
    body["dialingStrategy"]["callerId"]["phoneNumber"] = CALLER_ID.removeprefix("+")
    created = await tenant.done("POST", "", body, campaignType="voice")
    assert created["data"]["dialingStrategy"]["callerId"]["phoneNumber"] == CALLER_ID
