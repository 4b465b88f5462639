"""Campaigns that are wrong: every wrong field is named at once, and nothing is made."""

from __future__ import annotations

import copy

import pytest

from outdial.api.kore.drafts import campaign_draft
from outdial.core.errors import InvalidInputError
from support.wire import agentless, errors, with_agents


def changed(body: dict, path: str, value: object) -> dict:
    """A copy with the field at the dotted path set, or taken out (``...``)."""
    body = copy.deepcopy(body)
    *parents, last = path.split(".")
    place = body
    for parent in parents:
        place = place[int(parent) if isinstance(place, list) else parent]
    if value is ...:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return body


DAYS = "dialingStrategy.callingHours.days"
LATE = {"day": "MO", "start": "5:00 PM", "end": "8:00 PM"}
WEEKEND = [
    # on from Friday 10 PM to Saturday 2 AM, as answers show such a window
    {"day": "FR", "start": "10:00 PM", "end": "11:59 PM"},
    {"day": "SA", "start": "12:00 AM", "end": "2:00 AM"},
    {"day": "SA", "start": "1:00 AM", "end": "9:00 AM"},
]

WRONG = [
    ("name", ..., "`name` is missing."),
    ("name", "x" * 49, "`name` has 49 characters; at most 48 are allowed."),
    ("name", "  ", "`name` must not be blank."),
    ("name", "a\nb", "`name` holds a line break or another control character."),
    ("name", "\x1b[2J", "`name` holds a line break or another control character."),
    ("contactLists", ["a\u2028"], "`contactLists[0]` holds a line break or another control character."),
    ("name", ["x"], "`name` must be text, not a list."),
    ("description", ..., "`description` is missing."),
    ("description", "x" * 257, "`description` has 257 characters; at most 256 are allowed."),
    ("contactLists", ..., "`contactLists` is missing."),
    ("contactLists", [], "`contactLists` must not be empty."),
    ("contactLists", "Recent Buyers", "`contactLists` must be a list, not 'Recent Buyers'."),
    ("contactLists", [f"L{n}" for n in range(11)], "`contactLists` has 11 entries; at most 10 are allowed."),
    ("contactLists", ["a", 5], "`contactLists[1]` must be text, not the number 5."),
    ("contactLists", ["a", "A"], "`contactLists` names one list twice."),
    ("priority", 5, "`priority` must be '1', '2', '3', '4' or '5', not the number 5."),
    ("priority", "6", "`priority` must be '1', '2', '3', '4' or '5', not '6'."),
    ("dialingMode", ..., "`dialingMode` is missing."),
    ("dialingMode", "Predictive", "`dialingMode` must be 'Agentless', 'Progressive' or 'Preview', not 'Predictive'."),
    ("dialingMode", {}, "`dialingMode` must be 'Agentless', 'Progressive' or 'Preview', not an object."),
    ("dialingStrategy", ..., "`dialingStrategy` is missing."),
    ("dialingStrategy", [], "`dialingStrategy` must be an object, not a list."),
    ("dialingStrategy.callerId.phoneNumber", "abc", "`dialingStrategy.callerId.phoneNumber` cannot be dialed: "),
    ("dialingStrategy.callerId", {}, "`dialingStrategy.callerId.phoneNumber` is missing."),
    ("dialingStrategy.callingHours", ..., "`dialingStrategy.callingHours` is missing."),
    ("dialingStrategy.callingHours.frequency", "MONTHLY", "`dialingStrategy.callingHours.frequency` must be"),
    (
        "dialingStrategy.callingHours.timezone",
        "Mars/Olympus",
        "`dialingStrategy.callingHours.timezone` must be a time zone",
    ),
    (
        "dialingStrategy.callingHours.timezone",
        "../etc/passwd",
        "`dialingStrategy.callingHours.timezone` must be a time zone",
    ),
    ("dialingStrategy.callingHours.timezone", "", "`dialingStrategy.callingHours.timezone` must be a time zone"),
    (DAYS, [], f"`{DAYS}` must not be empty."),
    (f"{DAYS}.0.day", "Mon", f"`{DAYS}[0].day` must be"),
    (f"{DAYS}.1.start", "13:00 PM", f"`{DAYS}[1].start` must be a time like '9:00 AM' or '6:30 PM', not '13:00 PM'."),
    (f"{DAYS}.1.end", ..., f"`{DAYS}[1].end` is missing."),
    (f"{DAYS}.0.end", "9:00 AM", f"`{DAYS}[0]` ends at 9:00 AM, which is not after its start at 9:00 AM."),
    (f"{DAYS}.0.end", "8:00 AM", f"`{DAYS}[0]` ends at 8:00 AM, which is not after its start at 9:00 AM."),
    (
        f"{DAYS}.1",
        LATE,
        f"`{DAYS}` overlap: MO 9:00 AM–6:00 PM and MO 5:00 PM–8:00 PM; make one of them.",
    ),
    (DAYS, [LATE, LATE], f"`{DAYS}` overlap: MO 5:00 PM–8:00 PM and MO 5:00 PM–8:00 PM; make one of them."),
    (DAYS, WEEKEND, f"`{DAYS}` overlap: SA 12:00 AM–2:00 AM and SA 1:00 AM–9:00 AM; make one of them."),
    (
        DAYS,
        [*WEEKEND, LATE, {**LATE, "start": "7:59 PM", "end": "9:00 PM"}],
        f"`{DAYS}` overlap: MO 5:00 PM–8:00 PM and MO 7:59 PM–9:00 PM; SA 12:00 AM–2:00 AM and SA 1:00 AM–9:00 AM; ",
    ),
    (
        "dialingStrategy.dialingOrder",
        "RANDOM",
        "`dialingStrategy.dialingOrder` must be 'FIFO' or 'LIFO', not 'RANDOM'.",
    ),
    ("dialingStrategy.maxAttemptsPerRecord", 0, "`dialingStrategy.maxAttemptsPerRecord` must be at least 1"),
    ("dialingStrategy.maxAttemptsPerRecord", 101, "`dialingStrategy.maxAttemptsPerRecord` must be at most 100"),
    ("dialingStrategy.maxAttemptsPerRecord", 2.5, "`dialingStrategy.maxAttemptsPerRecord` must be a whole number"),
    ("dialingStrategy.defaultRetryPeriod", 1441, "`dialingStrategy.defaultRetryPeriod` must be at most 1440"),
    (
        "dialingStrategy.defaultRetryPeriod",
        "10",
        "`dialingStrategy.defaultRetryPeriod` must be a whole number, not '10'.",
    ),
    ("dialingStrategy.maxRingTime", 4, "`dialingStrategy.maxRingTime` must be at least 5"),
    ("dialingStrategy.maxRingTime", 121, "`dialingStrategy.maxRingTime` must be at most 120"),
    ("dialingStrategy.maxRingTime", True, "`dialingStrategy.maxRingTime` must be a whole number, not true."),
    ("campaignType", ..., "`campaignType` is missing."),
    ("campaignType", "fax", "`campaignType` must be 'voice' or 'sms', not 'fax'."),
    ("schedule", "later", "`schedule` must be an object, not 'later'."),
    ("schedule", {"isSchedulingEnabled": "no"}, "`schedule.isSchedulingEnabled` must be true or false, not 'no'."),
    ("experienceFlowName", ..., "`experienceFlowName` is missing."),
    ("experienceFlowName", "", "`experienceFlowName` must not be empty."),
    ("enableMachineDetect", ..., "`enableMachineDetect` is missing."),
]


def problems(body: object, *, version: int) -> list[str]:
    with pytest.raises(InvalidInputError) as wrong:
        campaign_draft(body, version=version, region=None)
    return list(wrong.value.problems)


async def refused(tenant, body: object, *, version: int, status: int = 412) -> list[str]:
    answer = await tenant.ask("POST", "", body, version=version, campaignType="voice")
    assert answer.status_code == status, answer.text
    assert {error["code"] for error in answer.json()["errors"]} == {status}
    return errors(answer)


@pytest.mark.parametrize(("path", "value", "sentence"), WRONG, ids=lambda value: str(value)[:40])
def test_each_wrong_field_is_named(path, value, sentence):
    for version in (1, 2):
        sentences = problems(changed(agentless(version), path, value), version=version)
        assert len(sentences) == 1
        assert sentences[0].startswith(sentence)


def test_windows_that_touch_are_taken_in_any_order():
    days = [{**LATE, "start": "8:00 PM", "end": "12:00 AM"}, LATE, {"day": "TU", "start": "12:00 AM", "end": "1:00 AM"}]
    draft = campaign_draft(changed(agentless(1), DAYS, days), version=1, region=None)
    assert len(draft.rules.calling_hours.windows) == 3


@pytest.mark.parametrize(
    ("version", "mode", "path", "value", "sentence"),
    [
        (1, "Agentless", "enableMachineDetect", "no", "`enableMachineDetect` must be true or false, not 'no'."),
        (
            2,
            "Agentless",
            "enableMachineDetect",
            False,
            "`enableMachineDetect` must be 'no', 'detect' or 'disconnect', not false.",
        ),
        (1, "Progressive", "enableMachineDetect", ..., "`enableMachineDetect` is missing."),
        (1, "Progressive", "queue_name", ..., "`queue_name` is missing."),
        (2, "Preview", "queue_name", "", "`queue_name` must not be empty."),
        (1, "Preview", "maxSkips", ..., "`maxSkips` is missing."),
        (2, "Preview", "maxSkips", -1, "`maxSkips` must be at least 0, not the number -1."),
        (2, "Preview", "maxSkips", "1", "`maxSkips` must be a whole number, not '1'."),
        (2, "Agentless", "dncLists", ..., "`dncLists` is missing."),
        (2, "Progressive", "dncLists", {}, "`dncLists.name` is missing."),
        (2, "Preview", "dncLists", ["Never Call"], "`dncLists` must be an object, not a list."),
        (1, "Agentless", "dncLists", "Never Call", "`dncLists` must be an object, not 'Never Call'."),
    ],
)
def test_what_only_some_versions_and_modes_ask_for(version, mode, path, value, sentence):
    body = agentless(version) if mode == "Agentless" else with_agents(version, mode)
    assert problems(changed(body, path, value), version=version) == [sentence]


async def test_everything_wrong_is_named_at_once(bare):
    body = agentless(2, name="", priority=3)
    body["dialingStrategy"]["callingHours"]["timezone"] = "x"
    body["dialingStrategy"]["callingHours"]["days"][1]["end"] = "soon"
    body["dialingStrategy"]["maxRingTime"] = 1
    del body["dncLists"], body["experienceFlowName"]
    named = [sentence.split("`")[1] for sentence in await refused(bare, body, version=2)]
    assert sorted(named) == [
        "dialingStrategy.callingHours.days[1].end",
        "dialingStrategy.callingHours.timezone",
        "dialingStrategy.maxRingTime",
        "dncLists",
        "experienceFlowName",
        "name",
        "priority",
    ]


def test_an_empty_body_names_what_every_campaign_needs():
    for version in (1, 2):
        sentences = problems({}, version=version)
        fields = {"name", "description", "contactLists", "priority", "dialingMode", "dialingStrategy", "campaignType"}
        assert {sentence.split("`")[1] for sentence in sentences} == fields | ({"dncLists"} if version == 2 else set())


async def test_what_does_not_exist_is_named_together(tenant, other):
    await other.create_list("Theirs")
    body = agentless(2, contactLists=["Recent Buyers", "Theirs", "Nobody"], experienceFlowName="Nope")
    body["dncLists"]["name"] = "No List"
    (sentence,) = await refused(tenant, body, version=2, status=400)
    for name in ("'Theirs'", "'Nobody'", "'Nope'", "'No List'"):
        assert name in sentence
    assert "'Recent Buyers'" not in sentence


async def test_nothing_is_left_of_what_was_refused(tenant, database):
    await refused(tenant, agentless(1, experienceFlowName="Nope"), version=1, status=400)
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM campaigns") == 0


async def test_a_schedule_is_not_silently_dropped(tenant):
    for version in (1, 2):
        body = agentless(version, schedule={"isSchedulingEnabled": True})
        (sentence,) = await refused(tenant, body, version=version, status=412)
        assert "nothing says when" in sentence
        assert "enableSchedule=true" in sentence


async def test_sms_is_not_offered(tenant):
    (sentence,) = await refused(tenant, {"campaignType": "sms", "name": 5}, version=1, status=501)
    assert "SMS campaigns are not offered" in sentence
    for method, path in (("POST", ""), ("POST", "/cd-1"), ("POST", "/trigger/cd-1"), ("DELETE", "/cd-1")):
        answer = await tenant.ask(method, path, {}, campaignType="sms", trigger="stop")
        assert answer.status_code == 501
        assert "SMS campaigns are not offered" in errors(answer)[0]


NO_BODIES = [
    (b"{", 400),
    (b"{'name': 1}", 400),
    (b'{"name":"\xff"}', 400),
    (b'{"name":"\\u0000"}', 412),
    (b"[]", 412),
    (b"5", 412),
    (b"[" * 200_000, 412),
    (b'{"name":' * 100 + b"1" + b"}" * 100, 412),
    (b'{"name":"' + b"x" * 1_100_000 + b'"}', 413),
]


@pytest.mark.parametrize(
    ("path", "query"), [("", {}), ("/cd-1", {"trigger": "play"}), ("/cd-1", {"trigger": "stop"}), ("/cd-1/status", {})]
)
async def test_bodies_that_are_none(tenant, path, query):
    for body, status in NO_BODIES:
        answer = await tenant.http.post(
            tenant.url(path), content=body, params={"campaignType": "voice", **query}, headers=tenant.headers()
        )
        assert answer.status_code == status, answer.text
        assert len(errors(answer)) == 1


async def test_what_comes_in_is_read_whatever_its_content_type(tenant):
    """curl says ``application/x-www-form-urlencoded`` unless told otherwise, as in some of the vendor's samples."""
    campaign_id = await tenant.create_campaign()
    for content_type in ("application/x-www-form-urlencoded", "text/plain", ""):
        headers = {**tenant.headers(), "content-type": content_type}
        answer = await tenant.http.post(
            tenant.url(f"/{campaign_id}/status"), content=b"{}", params={"view": "status"}, headers=headers
        )
        assert answer.status_code == 200
