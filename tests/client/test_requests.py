"""What each method asks, to the letter, and what it makes of an answer; against the real application they are all asked
in ``test_real_application``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from outdial.client import (
    AsyncClient,
    CallingHours,
    CallingWindow,
    CampaignDraft,
    Client,
    Daily,
    NewContact,
    Once,
    Weekly,
    errors,
    operations,
)
from outdial.client.steps import Request, Site
from support import answers
from support.conversations import NO_ANSWER, Played, play, refused, reply, site

V1, V2 = "/campaign/api/v1/public/st-1/campaign", "/campaign/api/v2/public/st-1/campaign"
ADDING = "/api/1.1/public/st-1/campaign"
VOICE = {"campaignType": "voice"}
START, END = datetime(2100, 1, 15, 10), datetime(2100, 2, 15, 18, 30)
NOON = datetime(2026, 3, 1, 12, 0, 0, 250_999, tzinfo=timezone(timedelta(hours=2)))
HOURS = CallingHours(timezone="Europe/Paris", days=(CallingWindow("MO", "9:00 AM", "6:00 PM"),))
DRAFT = CampaignDraft(
    name="Spring",
    contact_lists=("Recent Buyers", "Others"),
    caller_id="+15550100999",
    calling_hours=HOURS,
    flow="Greeting",
)
BODY = {
    "name": "Spring",
    "description": "",
    "contactLists": ["Recent Buyers", "Others"],
    "priority": "5",
    "dialingMode": "Agentless",
    "dialingStrategy": {
        "callerId": {"phoneNumber": "+15550100999"},
        "callingHours": {
            "timezone": "Europe/Paris",
            "days": ({"day": "MO", "start": "9:00 AM", "end": "6:00 PM"},),
            "frequency": "WEEKLY",
        },
        "dialingOrder": "FIFO",
        "maxAttemptsPerRecord": 1,
        "defaultRetryPeriod": 60,
        "maxRingTime": 30,
    },
    "schedule": {"isSchedulingEnabled": False},
    "campaignType": "voice",
    "experienceFlowName": "Greeting",
    "enableMachineDetect": False,
}
PERSON = "+15550100101"
IN_RUN = "cdl-00000000-0000-4000-8000-000000000001"


@dataclass(frozen=True)
class Case:
    """A method, how it is called, what it asks last, and what is answered to each of its requests."""

    method: str
    ask: Callable[[Site], Any]
    asks: Request
    answers: tuple[Any, ...]
    changes: bool = False
    """It has a key, and is never sent again where it may have been done."""
    seconds: float | None = None
    """What its first request gets; None: what the client was made with."""


LOOKS = (
    Case(
        "get_contact_list",
        lambda site: operations.get_contact_list(site, "cl-1"),
        Request("GET", f"{V2}/contactList/cl-1"),
        (answers.data(answers.CONTACT_LIST),),
    ),
    Case(
        "contact_lists",
        operations.contact_lists,
        Request("POST", f"{V2}/contactList/getAllListDetails", {"type": "call"}),
        (answers.data([answers.CONTACT_LIST]),),
    ),
    Case(
        "contacts",
        lambda site: operations.contacts(site, "cl-1"),
        Request("GET", f"{V2}/contactList/cl-1/getAllContacts", {"skip": "0", "limit": "1000"}),
        (answers.page(answers.CONTACT),),
    ),
    Case(
        "get_campaign",
        lambda site: operations.get_campaign(site, "cd-1"),
        Request("GET", f"{V2}/cd-1"),
        (answers.data(answers.CAMPAIGN),),
    ),
    Case(
        "campaigns",
        operations.campaigns,
        Request(
            "POST",
            f"{V2}/getAllCampaignDetails",
            {},
            {"type": "voice", "limit": 200, "sortBy": {"createdAt": "asc"}, "filters": {}, "skip": 0},
        ),
        (answers.page(answers.CAMPAIGN),),
    ),
    Case(
        "campaigns",
        lambda site: operations.campaigns(
            site,
            statuses=["Active", "Paused"],
            priorities=(1,),
            modes=iter(["Preview"]),
            created_from=NOON,
            created_to=NOON + timedelta(days=1),
            order="name",
            descending=True,
            page_size=7,
        ),
        Request(
            "POST",
            f"{V2}/getAllCampaignDetails",
            {},
            {
                "type": "voice",
                "limit": 7,
                "sortBy": {"name": "desc"},
                "filters": {"status": ["Active", "Paused"], "priority": [1], "dialingMode": ["Preview"]},
                "startDate": "2026-03-01T10:00:00.250Z",
                "endDate": "2026-03-02T10:00:00.250Z",
                "skip": 0,
            },
        ),
        (answers.page(answers.CAMPAIGN),),
    ),
    Case(
        "status",
        lambda site: operations.status(site, "cd-1"),
        Request("POST", f"{V2}/cd-1/status", {"view": "status"}, {}),
        (answers.STATUS,),
    ),
    Case(
        "run_contacts",
        lambda site: operations.run_contacts(site, "cd-1"),
        Request("POST", f"{V2}/cd-1/status", {"view": "contacts"}, {"page": 1, "limit": 100}),
        (answers.page(answers.RUN_CONTACT),),
    ),
    Case(
        "explain",
        lambda site: operations.explain(site, PERSON, campaign_id="cd-1"),
        Request("GET", "/api/outdial/campaigns/cd-1/contacts/%2B15550100101/explain"),
        (answers.EXPLANATION,),
    ),
    Case(
        "explain",
        lambda site: operations.explain(site, IN_RUN, instance_id="cid-1", at=NOON),
        Request("GET", f"/api/outdial/runs/cid-1/contacts/{IN_RUN}/explain", {"at": "2026-03-01T10:00:00.250Z"}),
        (answers.EXPLANATION,),
    ),
    Case(
        "waterfall",
        lambda site: operations.waterfall(site, "cid-1"),
        Request("GET", "/api/outdial/runs/cid-1/waterfall"),
        (answers.WATERFALL,),
    ),
    Case(
        "dnc_lists",
        operations.dnc_lists,
        Request("GET", "/api/outdial/dnc-lists"),
        ({"results": [answers.DNC_LIST]},),
    ),
)

CHANGES = (
    Case(
        "create_contact_list",
        lambda site: operations.create_contact_list(site, "L", description="d", allow_duplicates=True),
        Request(
            "POST",
            f"{V2}/contactList/createContactList",
            {},
            {"name": "L", "description": "d", "source": "passiveApi", "allowDuplicates": True},
        ),
        (answers.data(answers.CONTACT_LIST),),
        changes=True,
    ),
    Case(
        "add_contacts",
        lambda site: operations.add_contacts(site, "L", [NewContact(PERSON, {"phoneNumber": "x", "firstName": "Ada"})]),
        Request(
            "POST",
            f"{ADDING}/contactList/addContacts",
            {},
            # what it is called by is never what its attributes say
            {"contact_list_name": "L", "data": [{"firstName": "Ada", "phoneNumber": PERSON}]},
        ),
        ({"message": "m"},),
        changes=True,
    ),
    Case(
        "update_contact_list",
        lambda site: operations.update_contact_list(site, "cl-1", name="N", description="", allow_duplicates=False),
        Request("PUT", f"{V1}/contactList/cl-1", {}, {"name": "N", "description": "", "allowDuplicates": False}),
        ({}, answers.data(answers.CONTACT_LIST)),
        changes=True,
    ),
    Case(
        "delete_contact_list",
        lambda site: operations.delete_contact_list(site, "cl-1"),
        Request("DELETE", f"{V2}/contactList/cl-1"),
        (answers.data(answers.CONTACT_LIST),),
        changes=True,
    ),
    Case(
        "create_campaign",
        lambda site: operations.create_campaign(site, DRAFT),
        Request("POST", V1, VOICE, BODY),
        (answers.data({"_id": "cd-1"}),),
        changes=True,
    ),
    Case(
        "update_campaign",
        lambda site: operations.update_campaign(site, "cd-1", DRAFT),
        Request("PUT", f"{V1}/cd-1", VOICE, BODY),
        (answers.data({"campId": "cd-1"}), answers.data(answers.CAMPAIGN)),
        changes=True,
    ),
    Case(
        "delete_campaign",
        lambda site: operations.delete_campaign(site, "cd-1"),
        Request("DELETE", f"{V2}/cd-1", VOICE),
        (answers.data(answers.CAMPAIGN),),
        changes=True,
    ),
    Case(
        "start",
        lambda site: operations.start(site, "cd-1"),
        Request("POST", f"{V1}/cd-1", {**VOICE, "trigger": "play"}, {}),
        (answers.STARTED,),
        changes=True,
    ),
    Case(
        "call_back",
        lambda site: operations.call_back(site, "cid-1", {"cdl-1": NOON}),
        Request(
            "POST",
            f"{V2}/cid-1/callContactAt",
            {},
            [{"campaignDialingListId": "cdl-1", "timeToContact": "2026-03-01T10:00:00.250Z"}],
        ),
        (answers.data([answers.CALLED_BACK]),),
        changes=True,
    ),
    Case(
        "call_now",
        lambda site: operations.call_now(site, "cid-1", PERSON),
        Request("POST", "/api/outdial/runs/cid-1/contacts/%2B15550100101/call"),
        (answers.MANUAL_CALL,),
        changes=True,
    ),
    Case(
        "enable_schedule",
        lambda site: operations.enable_schedule(site, "cd-1", Weekly(START, END, days=("Mon", "Fri"), every=2)),
        Request(
            "POST",
            f"{V2}/schedule",
            {"enableSchedule": "true", "campaignName": "Spring", "campaignId": "cd-1"},
            {
                "startDateTime": "2100-01-15 10:00:00",
                "endDateTime": "2100-02-15 18:30:00",
                "recurrenceObject": {
                    "recurType": "Weekly",
                    "weeklyDetails": {"onceEveryNweeks": 2, "whichDays": ["Mon", "Fri"]},
                },
            },
        ),
        (answers.data(answers.CAMPAIGN), answers.SCHEDULED),
        changes=True,
    ),
    Case(
        "disable_schedule",
        lambda site: operations.disable_schedule(site, "cd-1"),
        Request(
            "POST", f"{V2}/schedule", {"enableSchedule": "false", "campaignName": "Spring", "campaignId": "cd-1"}, {}
        ),
        (answers.data(answers.CAMPAIGN), answers.SCHEDULED),
        changes=True,
    ),
)

STOP = Case(
    "stop",
    lambda site: operations.stop(site, "cd-1"),
    Request("POST", f"{V1}/cd-1", {**VOICE, "trigger": "stop"}, {}),
    (answers.STOPPED,),
    seconds=30.0,
)
FILE = Case(
    "add_dnc_file",
    lambda site: operations.add_dnc_file(
        site,
        "cl-1",
        b"Caller,Mobile\n",
        name="a.csv",
        columns=["Caller", "Mobile"],
        default_region="US",
        reason="of March",
        expires_at=NOON,
    ),
    Request(
        "POST",
        "/api/outdial/dnc-lists/cl-1/files",
        {
            "fileName": "a.csv",
            "column": ("Caller", "Mobile"),
            "defaultRegion": "US",
            "reason": "of March",
            "expiresAt": "2026-03-01T10:00:00.250Z",
        },
        file=b"Caller,Mobile\n",
    ),
    (answers.DNC_FILE,),
    seconds=600.0,
)
ALL = (*LOOKS, *CHANGES, STOP, FILE)


def named(case: Case) -> str:
    return case.method


def played(case: Case, **changed: Any) -> Played:
    return play(case.ask(site(**changed)), *(reply(body=each) for each in case.answers))


def of(case: Case, one: Played) -> Request:
    """The request the case is about, out of those that were sent."""
    (found,) = (sent.request for sent in one.sent if (sent.request.key is not None) is case.changes)
    return found


@pytest.mark.parametrize("case", ALL, ids=named)
def test_what_is_asked(case):
    one = played(case)
    assert one.error is None
    assert replace(of(case, one), key=None) == case.asks
    assert len(one.sent) == len(case.answers)
    # a listing hands on items, all else an answer
    assert (one.answer is None) is bool(one.items)


def test_every_method_is_in_the_list():
    methods = {name for name in dir(Client) if not name.startswith("_")} - {"close"}
    assert {case.method for case in ALL} == methods
    assert methods < set(dir(AsyncClient))


@pytest.mark.parametrize("case", ALL, ids=named)
@pytest.mark.parametrize("limit", [refused(429, "Slower.", retry_after="7")], ids=["429"])
def test_all_of_them_wait_for_the_rate_limit_as_long_as_they_are_told(case, limit):
    one = play(case.ask(site()), limit, *(reply(body=each) for each in case.answers))
    assert (one.error, one.waits) == (None, [7.0])
    assert one.sent[0].request == one.sent[1].request


@pytest.mark.parametrize("case", CHANGES, ids=named)
@pytest.mark.parametrize(
    "failure", [NO_ANSWER, refused(503, "Away."), refused(504, "Late.")], ids=["none", "503", "504"]
)
def test_no_change_is_sent_again_without_a_promise(case, failure):
    """Each step of what takes two requests by itself: the look before a schedule may be repeated, the change not."""
    before = len(case.answers) - 1 if case.method.endswith("schedule") else 0
    one = play(case.ask(site()), *(reply(body=each) for each in case.answers[:before]), failure)
    assert one.error.retryable
    assert [sent.request.key is not None for sent in one.sent].count(True) == 1


@pytest.mark.parametrize("case", CHANGES, ids=named)
def test_with_a_promise_each_is_repeated_under_its_key(case):
    before = len(case.answers) - 1 if case.method.endswith("schedule") else 0
    told = [reply(body=each) for each in case.answers]
    one = play(case.ask(site(idempotent=True)), *told[:before], NO_ANSWER, *told[before:])
    assert one.error is None
    first, second = (sent.request for sent in one.sent if sent.request.key is not None)
    assert first == second


@pytest.mark.parametrize("case", LOOKS, ids=named)
def test_every_look_is_repeated_and_its_answer_is_that_of_the_last(case):
    told = [reply(body=each) for each in case.answers]
    one = play(case.ask(site()), NO_ANSWER, refused(502, "Away."), *told)
    assert (one.error, len(one.sent), one.waits) == (None, 3, [0.25, 0.5])
    assert (one.answer, one.items) == ((whole := played(case)).answer, whole.items)


@pytest.mark.parametrize("case", ALL, ids=named)
def test_each_request_gets_the_time_that_was_given(case):
    times = {sent.timeout_seconds for sent in played(case, timeout_seconds=4.5).sent}
    assert times == {case.seconds or 4.5}


class TestDrafts:
    def test_a_do_not_call_list_takes_the_second_version(self):
        draft = replace(DRAFT, dnc_list="Never Call", machine_detection="disconnect", max_skips=3, queue="Q")
        (sent,) = play(operations.create_campaign(site(), draft), reply(body=answers.data({"id": "cd-1"}))).sent
        assert (sent.request.path, sent.request.body["dncLists"]) == (V2, {"name": "Never Call"})
        said = [sent.request.body[name] for name in ("enableMachineDetect", "maxSkips", "queue_name")]
        assert said == ["disconnect", 3, "Q"]

    @pytest.mark.parametrize(("detection", "said"), [("no", False), ("detect", True)])
    def test_the_first_version_has_two_words_for_machines(self, detection, said):
        assert replace(DRAFT, machine_detection=detection).body()["enableMachineDetect"] is said

    def test_what_was_not_given_is_not_said(self):
        assert {"dncLists", "queue_name", "maxSkips"}.isdisjoint(DRAFT.body())
        assert "experienceFlowName" not in replace(DRAFT, flow=None).body()

    @pytest.mark.parametrize(
        ("plan", "rule"),
        [
            (Once(START, END), None),
            (Daily(START, END, every=3), {"recurType": "Daily", "dailyDetails": {"onceEveryNdays": 3}}),
        ],
        ids=["once", "daily"],
    )
    def test_plans(self, plan, rule):
        times = {"startDateTime": "2100-01-15 10:00:00", "endDateTime": "2100-02-15 18:30:00"}
        assert plan.body() == (times if rule is None else {**times, "recurrenceObject": rule})

    @pytest.mark.parametrize("kind", [Once, Daily, Weekly])
    def test_a_plan_is_a_wall_clock(self, kind):
        for start, end in ((START.replace(tzinfo=UTC), END), (START, END.replace(tzinfo=UTC))):
            with pytest.raises(ValueError, match="without tzinfo"):
                kind(start, end)

    def test_an_id_by_any_of_its_names(self):
        for name in ("id", "_id", "campId"):
            steps = operations.create_campaign(site(), DRAFT)
            assert play(steps, reply(body=answers.data({name: "cd-7"}))).answer == "cd-7"
        strange = play(operations.create_campaign(site(), DRAFT), reply(body=answers.data({"id": "cd-7/../x"})))
        assert isinstance(strange.error, errors.NotUnderstoodError)


class TestAnswers:
    def test_a_contact_keeps_what_it_was_added_with(self):
        (case,) = (case for case in LOOKS if case.method == "contacts")
        (contact,) = played(case).items
        assert (contact.id, contact.phone_number) == ("cc-1", PERSON)
        assert contact.attributes == {"firstName": "Ada", "shoeSize": 38}
        assert contact.created_at == datetime(2026, 3, 1, 10, 15, tzinfo=UTC)

    def test_an_explanation_whole(self):
        (case, _) = (case for case in LOOKS if case.method == "explain")
        found = played(case).answer
        (step,) = found.steps
        assert (found.dialable, found.decided_by, found.next_at) == (False, "run_state", None)
        assert (step.code, step.says, step.inputs, step.changes) == (
            "run_state",
            "forbids",
            {"state": "stopped"},
            found.changes,
        )

    def test_lists_are_told_with_who_uses_them(self):
        (case,) = (case for case in LOOKS if case.method == "contact_lists")
        (found,) = played(case).answer
        assert [(user.id, user.name) for user in found.campaign_in_use] == [("cd-1", "Spring")]
        assert (found.total_record_count, found.is_list_in_use) == (3, False)

    def test_what_became_of_call_backs(self):
        (case,) = (case for case in CHANGES if case.method == "call_back")
        (found,) = played(case).answer
        assert (found.campaign_dialing_list_id, found.status, found.reason) == ("cdl-1", "failed", "dnc")

    def test_a_waterfall_falls(self):
        (case,) = (case for case in LOOKS if case.method == "waterfall")
        found = played(case).answer
        assert (found.total_count, found.dialable_count, found.blocked_by) == (3, 2, None)
        assert [(fall.lost_count, fall.left_count) for fall in found.steps] == [(1, 2)]


class TestWrongArguments:
    @pytest.mark.parametrize(
        "steps",
        [
            lambda site: operations.call_back(site, "cid-1", {"cdl-1": datetime(2026, 1, 1)}),
            lambda site: operations.explain(site, PERSON, campaign_id="cd-1", at=datetime(2026, 1, 1)),
            lambda site: operations.campaigns(site, created_from=datetime(2026, 1, 1)),
        ],
        ids=["call_back", "explain", "campaigns"],
    )
    def test_a_time_without_a_zone_is_not_guessed(self, steps):
        with pytest.raises(ValueError, match="aware"):
            next(steps(site()))

    @pytest.mark.parametrize(
        "contact", ["", "15550100101", "+0123456789", "+1555", "cdl-1/../x", "Ada", "+1555010010１"]
    )
    def test_nobody_is_named_by_a_guess(self, contact):
        for steps in (
            lambda: operations.call_now(site(), "cid-1", contact),
            lambda: operations.explain(site(), contact, instance_id="cid-1"),
        ):
            with pytest.raises(ValueError, match="neither a number"):
                next(steps())

    @pytest.mark.parametrize("named_by", [{"campaign_id": ""}, {"instance_id": ""}, {"campaign_id": "a/b"}])
    def test_a_run_or_campaign_is_named_by_an_id(self, named_by):
        with pytest.raises(ValueError, match="is no id"):
            next(operations.explain(site(), PERSON, **named_by))
