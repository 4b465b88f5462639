"""Call details v2: the documented requests in, the documented answer out; whose calls, which, and of when."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from outdial.core import ids
from outdial.store.call_details import PAGE
from support.wire import (
    CALLER_ID,
    CAMPAIGN_ID,
    CONVERSATION_ID,
    INSTANCE_ID,
    TIMESTAMP,
    USER_ID,
    Tenant,
    differs,
    errors,
    ever_open,
)

GROUPS = ["skills", "customerinfo", "userleveltags", "sessionleveltags", "campaigninfo"]
LOCAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
DIALING_LIST_ID = re.compile("cdl-[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
DAY = datetime(2026, 2, 16, 14, 10, 40, 900_000, tzinfo=UTC)
BODY = {
    "startDate": "2026-02-16",
    "endDate": "2026-02-22",
    "direction": "Outbound",
    "selectedFields": GROUPS,
    "queues": [],
    "channels": [],
    "timeZoneOffset": -330,
}


@pytest.fixture
async def running(tenant) -> str:
    """A campaign of three contacts whose run has begun; nothing dials here."""
    people = [
        {"phoneNumber": "+15550100104", "firstName": "Ada", "lastName": "Byron", "email": "ada@example.net", "n": 1}
    ]
    await tenant.create_list("More")
    await tenant.done("POST", "/contactList/addContacts", {"contact_list_name": "More", "data": people}, version="1.1")
    campaign_id = await tenant.create_campaign(ever_open(1, contactLists=["More", "Recent Buyers"]))
    assert (await tenant.trigger(campaign_id, "play")).status_code == 200
    return campaign_id


async def call(
    database, campaign_id: str, at: datetime = DAY, *, phone: str = "+15550100104", number: int = 1, **what
) -> str:
    """Write down a call that is over; return the attempt's id."""
    row = {
        "id": uuid.uuid4().hex,
        "phone": phone,
        "caller_id": CALLER_ID,
        "engine_id": "e",
        "node_id": "n",
        "epoch": 1,
        "number": number,
        "state": "ended",
        "disposition": "no_answer",
        "reserved_at": at,
        "dialed_at": at,
        "ended_at": at + timedelta(seconds=21),
        "changed_by": "test",
        **what,
    }
    names = ", ".join(row)
    values = ", ".join(f"${place}" for place in range(3, len(row) + 3))
    async with database.transaction() as connection:
        await connection.execute(
            f"""
            INSERT INTO attempts (run_id, campaign_id, account_id, trunk_id, contact_id, {names})
            SELECT r.id, r.campaign_id, r.account_id, r.trunk_id, c.contact_id, {values}
              FROM runs r JOIN run_contacts c ON c.run_id = r.id AND c.phone = $2
             WHERE r.campaign_id = $1 ORDER BY r.id DESC LIMIT 1
            """,
            campaign_id,
            row["phone"],
            *row.values(),
        )
    return row["id"]


async def ask(tenant: Tenant, body=None, *, name="interactionDetails", prefix="/agentassist", account=None, **query):
    url = f"{prefix}/api/public/analytics/account/{account or tenant.account_id}/v2/{name}"
    return await tenant.http.post(url, json=BODY if body is None else body, params=query, headers=tenant.headers())


async def sessions(tenant, body=None, **query) -> list[str]:
    answer = await ask(tenant, body, **query)
    assert answer.status_code == 200, answer.text
    return [each["sessionId"] for each in answer.json()["data"]]


class TestShape:
    async def test_the_documented_one(self, tenant, running, database):
        await call(database, running, number=2)
        answer = (await ask(tenant)).json()
        expected = {
            "numResults": 1,
            "data": [
                {
                    "conversationId": CONVERSATION_ID,
                    "sessionId": re.compile("[0-9a-f]{24}"),
                    "channel": "Voice",
                    "isVoicemail": "NO",
                    "Direction": "Outbound",
                    "skills": [],
                    "finalStatus": "CLOSED",
                    "disconnectingEvent": "",
                    "smartStatus": "CLOSED",
                    "reason": "no_answer",
                    "errorDetails": "",
                    "botId": tenant.iid,
                    "dispositions": [],
                    "dispositionRemarks": [],
                    "metaInfo": {
                        "campaignName": "Product Feedback",
                        "userId": USER_ID,
                        "firstName": "Ada",
                        "lastName": "Byron",
                        "caller": CALLER_ID,
                        "callee": "15550100104",
                        "Initiation": "Campaign",
                        "dialedNumber": CALLER_ID,
                        "endUserNumber": "15550100104",
                        "attempt": 2,
                    },
                    "customerinfo": {
                        "CustomerPhone": "15550100104",
                        "CenterPhone": CALLER_ID,
                        "CustomerFirstName": "Ada",
                        "CustomerLastName": "Byron",
                        "CustomerEmail": "ada@example.net",
                    },
                    "sessionStartTime": "2026-02-16T19:40:40",
                    "sessionEndTime": "2026-02-16T19:41:01",
                    "userId": USER_ID,
                    "destinations": [],
                    "userleveltags": [],
                    "sessionleveltags": [],
                    "campaigninfo": {
                        "campaignName": "Product Feedback",
                        "campaignId": CAMPAIGN_ID,
                        "campaignInstanceId": INSTANCE_ID,
                        "campaignDialingListId": DIALING_LIST_ID,
                        "attempt": 2,
                        "contactStatus": "no-answer",
                        "campaignRunDate": TIMESTAMP,
                        "contactListName": ["More", "Recent Buyers"],
                    },
                    "channelSpecificUserId": "15550100104",
                }
            ],
        }
        assert differs(expected, answer) == []

    async def test_its_ids_are_those_of_other_answers(self, tenant, running, database):
        attempt_id = await call(database, running)
        (found,) = (await ask(tenant)).json()["data"]
        contacts = (await tenant.done("POST", f"/{running}/status", view="contacts"))["data"]["results"]
        assert found["sessionId"] in {each["botSessionId"] for each in contacts}
        assert found["conversationId"] == ids.conversation_id(attempt_id)
        info = found["campaigninfo"]
        assert info["campaignId"] == running
        assert info["campaignInstanceId"] == (await tenant.done("GET", f"/{running}"))["data"]["campaignInstanceId"]
        async with database.connection() as connection:
            contact = await connection.fetchval("SELECT contact_id FROM attempts")
        assert ids.read_dialing_list_id(info["campaignDialingListId"], info["campaignInstanceId"]) == contact

    @pytest.mark.parametrize("chosen", [[], ["skills"], ["campaigninfo"], ["customerinfo", "sessionleveltags"], GROUPS])
    async def test_groups_are_there_when_selected(self, tenant, running, database, chosen):
        await call(database, running)
        (found,) = (await ask(tenant, {**BODY, "selectedFields": chosen})).json()["data"]
        assert set(GROUPS) & set(found) == set(chosen)
        assert "metaInfo" in found

    async def test_none_unless_selected_and_names_in_any_case(self, tenant, running, database):
        await call(database, running)
        body = {name: value for name, value in BODY.items() if name != "selectedFields"}
        assert not set(GROUPS) & set((await ask(tenant, body)).json()["data"][0])
        body["selectedFields"] = ["campaignInfo", "snoozeinfo"]
        assert "campaigninfo" in (await ask(tenant, body)).json()["data"][0]

    @pytest.mark.parametrize(
        ("what", "status", "voicemail", "event", "reason", "details"),
        [
            ({"disposition": "answered_human"}, "answered", "NO", "", "", ""),
            ({"disposition": "answered_machine"}, "answered", "YES", "", "", ""),
            ({"disposition": "busy", "sip_code": 486}, "busy", "NO", "", "busy", ""),
            ({"disposition": "no_answer", "sip_code": 480}, "no-answer", "NO", "", "no_answer", ""),
            ({"disposition": "rejected", "sip_code": 603}, "failed", "NO", "", "rejected", "SIP 603"),
            ({"disposition": "congestion", "cause": 34}, "failed", "NO", "", "congestion", "Q.850 cause 34"),
            ({"disposition": "cancelled", "sip_code": 487}, "failed", "NO", "System Hangup", "cancelled", ""),
            ({"disposition": "unknown", "state": "unknown"}, "failed", "NO", "", "unknown", ""),
        ],
    )
    async def test_how_a_call_ended(self, tenant, running, database, what, status, voicemail, event, reason, details):
        await call(database, running, **what)
        (found,) = (await ask(tenant)).json()["data"]
        assert found["campaigninfo"]["contactStatus"] == status
        assert (found["isVoicemail"], found["disconnectingEvent"]) == (voicemail, event)
        assert (found["reason"], found["errorDetails"]) == (reason, details)

    async def test_a_contact_that_is_gone_leaves_its_call(self, tenant, running, database):
        await call(database, running)
        async with database.transaction() as connection:
            await connection.execute("DELETE FROM contacts")
        (found,) = (await ask(tenant)).json()["data"]
        assert (found["metaInfo"]["callee"], found["metaInfo"]["firstName"]) == ("15550100104", "")

    async def test_fields_that_are_no_text_are_no_names(self, tenant, running, database):
        await call(database, running)
        async with database.transaction() as connection:
            await connection.execute("UPDATE contacts SET attributes = $1", {"firstName": {"a": 1}, "email": None})
        (found,) = (await ask(tenant)).json()["data"]
        assert (found["metaInfo"]["firstName"], found["customerinfo"]["CustomerEmail"]) == ("", "")


class TestWhich:
    async def test_only_calls_that_were_dialed_and_are_over(self, tenant, running, database):
        over = await call(database, running)
        await call(database, running, phone="+15550100101", dialed_at=None)
        live = {"state": "answered", "disposition": None, "ended_at": None}
        await call(database, running, phone="+15550100102", **live)
        assert await sessions(tenant) == [over[:24]]

    async def test_oldest_first_and_page_by_page(self, tenant, running, database):
        made = [await call(database, running, DAY + timedelta(seconds=each), number=each + 1) for each in range(5)]
        expected = [each[:24] for each in made]
        assert await sessions(tenant) == expected
        pages = [await sessions(tenant, offset=str(page), limit="2") for page in range(4)]
        assert pages == [expected[:2], expected[2:4], expected[4:], []]

    @pytest.mark.parametrize(
        ("start", "end", "offset", "found"),
        [
            # the call was dialed at 14:10:40.9 UTC, 19:40:40.9 in India
            ("2026-02-16", "2026-02-16", -330, True),
            ("2026-02-17", "2026-02-17", -330, False),
            ("2026-02-16 19:40:40", "2026-02-16 19:40:40", -330, True),
            ("2026-02-16 19:40:41", "2026-02-16 19:50:00", -330, False),
            ("2026-02-16 19:00:00", "2026-02-16 19:40:39", -330, False),
            ("2026-02-16T14:10:40", "2026-02-16T14:10:40", 0, True),
            ("2026-02-16 09:10:40", "2026-02-16 09:10:41", 300, True),
            ("2026-02-17", "2026-02-17", -600, True),
            ("2026-02-10", "2026-02-16", 0, True),
            ("2026-2-9 14:10:40", "2026-02-16 14:10:40", 0, True),
        ],
    )
    async def test_the_window_is_local_and_whole(self, tenant, running, database, start, end, offset, found):
        await call(database, running)
        body = {"startDate": start, "endDate": end, "timeZoneOffset": offset}
        assert len(await sessions(tenant, body)) == found

    @pytest.mark.parametrize(
        ("change", "found"),
        [
            ({"direction": "Both"}, True),
            ({"direction": ""}, True),
            ({"direction": None}, True),
            ({"direction": "Inbound"}, False),
            ({"channels": ["rtm", "Voice"]}, True),
            ({"channels": ["rtm"]}, False),
            ({"queues": ["qu-1"]}, False),
        ],
    )
    async def test_all_calls_are_outbound_by_voice_and_of_no_queue(self, tenant, running, database, change, found):
        await call(database, running)
        assert len(await sessions(tenant, {**BODY, **change})) == found

    async def test_only_ones_own(self, tenant, running, database, other, sibling):
        await call(database, running)
        assert await sessions(sibling) == []
        assert await sessions(other) == []
        refused = await ask(other, account=tenant.account_id)
        assert refused.status_code == 401
        assert errors(refused) == ["Invalid SDK credentials"]

    async def test_a_deleted_campaigns_calls_stay(self, tenant, running, database):
        await call(database, running)
        await tenant.trigger(running, "stop")
        await tenant.ask("DELETE", f"/{running}", campaignType="voice")
        (found,) = (await ask(tenant)).json()["data"]
        assert found["campaigninfo"]["campaignName"] == "Product Feedback"

    @pytest.mark.parametrize("analyzed", [False, True])
    async def test_a_page_of_many_walks_the_index_no_farther_than_it_must(self, tenant, running, database, analyzed):
        await call(database, running)
        async with database.transaction() as connection:
            await connection.execute("ALTER TABLE attempts DISABLE TRIGGER USER")
            # a call every half minute, a week of them
            await connection.execute(
                """
                INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                      engine_id, node_id, epoch, number, state, disposition, dialed_at, ended_at,
                                      changed_by)
                SELECT md5(n::text), run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id, engine_id,
                       node_id, epoch, number, state, disposition, dialed_at + n * interval '30 s',
                       ended_at + n * interval '30 s', changed_by
                  FROM attempts, generate_series(1, 20160) n
                """
            )
        async with database.connection() as connection:
            if analyzed:
                await connection.execute("ANALYZE")
            window = (DAY + timedelta(days=3), DAY + timedelta(days=6))
            plan = await connection.fetchval(
                f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {PAGE}", tenant.account_id, tenant.iid, *window, 200, 100
            )
        (told,) = json.loads(plan) if isinstance(plan, str) else plan
        assert told["Plan"]["Actual Rows"] == 100

        def nodes(node: dict) -> list[dict]:
            return [node, *(found for inner in node.get("Plans", ()) for found in nodes(inner))]

        (walk,) = [node for node in nodes(told["Plan"]) if node.get("Index Name") == "attempts_calls"]
        assert walk["Actual Rows"] == 300, "the page and those before it, of 8,640 in the window"
        assert [node for node in nodes(told["Plan"]) if node.get("Relation Name") == "attempts"] == [walk]


class TestAddresses:
    @pytest.mark.parametrize("name", ["interactionDetails", "calldetails", "callDetails"])
    @pytest.mark.parametrize("prefix", ["", "/agentassist", "/campaign", "//agentassist/"])
    async def test_each_reaches_it(self, tenant, running, database, name, prefix):
        await call(database, running)
        answer = await ask(tenant, name=name, prefix=prefix)
        assert (answer.status_code, answer.json()["numResults"]) == (200, 1)

    async def test_as_the_samples_ask(self, tenant):
        # without an accountId header, with the application in a header only
        url = (
            f"/agentassist/api/public/analytics/account/{tenant.account_id}/v2/interactionDetails?offset=0\\&limit=100"
        )
        headers = {"auth": tenant.token(), "iId": tenant.iid, "content-type": "application/json;charset=UTF-8"}
        answer = await tenant.http.post(f"http://api{url}", content=json.dumps(BODY), headers=headers)
        assert answer.json() == {"numResults": 0, "data": []}

    async def test_wrong_verbs_and_versions(self, tenant):
        url = f"/agentassist/api/public/analytics/account/{tenant.account_id}"
        assert (await tenant.http.get(f"{url}/v2/calldetails", headers=tenant.headers())).status_code == 405
        assert (await tenant.http.post(f"{url}/calldetails", headers=tenant.headers())).status_code == 404

    @pytest.mark.parametrize("changed", [{"auth": None}, {"iid": "st-other"}, {"accountId": "0" * 24}])
    async def test_credentials(self, tenant, changed):
        url = f"/agentassist/api/public/analytics/account/{tenant.account_id}/v2/interactionDetails"
        answer = await tenant.http.post(url, json=BODY, headers=tenant.headers(**changed))
        assert (answer.status_code, errors(answer)) == (401, ["Invalid SDK credentials"])


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"startDate": None}, "`startDate` must be a day like '2026-02-16' or a time"),
            ({"startDate": "16.02.2026"}, "`startDate` must be a day like"),
            ({"startDate": "2026-02-30"}, "`startDate` must be a day like"),
            ({"startDate": "2026-02-16 25:00:00"}, "`startDate` must be a day like"),
            ({"endDate": 20260222}, "`endDate` must be a day like"),
            ({"endDate": "2026-02-15"}, "`endDate` must not be before `startDate`."),
            ({"endDate": "2026-02-23"}, "`startDate` and `endDate` are more than 7 days apart."),
            ({"endDate": "2026-02-23 00:00:01"}, "`startDate` and `endDate` are more than 7 days apart."),
            ({"startDate": "0001-01-01", "endDate": "0001-01-02"}, "`startDate` or `endDate` lies outside the years"),
            ({"startDate": "9999-12-31", "endDate": "9999-12-31"}, "`startDate` or `endDate` lies outside the years"),
            ({"timeZoneOffset": "-330"}, "`timeZoneOffset` must be a whole number"),
            ({"timeZoneOffset": 901}, "`timeZoneOffset` must be at most 900"),
            ({"direction": "Sideways"}, "`direction` must be"),
            ({"selectedFields": ["secrets"]}, "`selectedFields[0]` must be"),
            ({"selectedFields": "skills"}, "`selectedFields` must be a list"),
            ({"channels": [1]}, "`channels[0]` must be text"),
        ],
    )
    async def test_wrong_bodies(self, tenant, change, sentence):
        answer = await ask(tenant, {**BODY, **change})
        assert answer.status_code == 412
        assert errors(answer)[0].startswith(sentence)

    async def test_what_is_missing_is_named(self, tenant):
        answer = await ask(tenant, {"direction": "Both"})
        assert answer.status_code == 412
        assert errors(answer) == [f"`{name}` is missing." for name in ("startDate", "endDate", "timeZoneOffset")]

    @pytest.mark.parametrize("query", [{"limit": "101"}, {"limit": "0"}, {"offset": "11"}, {"offset": "-1"}])
    async def test_wrong_pages(self, tenant, query):
        assert (await ask(tenant, **query)).status_code == 400

    @pytest.mark.parametrize("body", [[], "x", 5])
    async def test_bodies_that_are_no_objects(self, tenant, body):
        assert (await ask(tenant, body)).status_code == 412
