"""Flows, trunks and caller IDs by outdial's own surface."""

from __future__ import annotations

import pytest

from outdial.api.native import lines
from sounds import wav
from support.native import BASE, Native, sentences
from support.wire import CALLER_ID, FLOW, ever_open


@pytest.fixture
def native(tenant) -> Native:
    return Native(tenant)


async def upload(native: Native, name: str | None = "Second", data: bytes | None = None, **headers):
    return await native.tenant.http.post(
        f"{BASE}/flows",
        params={} if name is None else {"name": name},
        content=wav(bytes(1600), rate=8000) if data is None else data,
        headers={"auth": native.tenant.token(), "content-type": "audio/wav", **headers},
    )


class TestFlows:
    async def test_upload_list_get_remove(self, native):
        answer = await upload(native)
        assert answer.status_code == 200
        flow = answer.json()
        assert (flow["name"], flow["durationSeconds"]) == ("Second", 0.1)
        assert [one["name"] for one in (await native.done("GET", "/flows"))["results"]] == [FLOW, "Second"]
        assert await native.done("GET", f"/flows/{flow['id']}") == flow
        assert await native.done("DELETE", f"/flows/{flow['id']}") == flow
        await native.refused(404, "GET", f"/flows/{flow['id']}")
        await native.refused(404, "DELETE", f"/flows/{flow['id']}")
        assert [one["name"] for one in (await native.done("GET", "/flows"))["results"]] == [FLOW]
        # the name is free again
        assert (await upload(native)).json()["id"] != flow["id"]

    async def test_what_cannot_be_uploaded(self, native):
        assert (await upload(native, FLOW.lower())).status_code == 409
        assert (await upload(native, None)).status_code == 412
        assert (await upload(native, "x" * 49)).status_code == 412
        assert (await upload(native, data=b"")).status_code == 412
        assert (await upload(native, data=b"no sound")).status_code == 412
        assert len((await native.done("GET", "/flows"))["results"]) == 1

    async def test_a_recording_has_a_size(self, native, monkeypatch):
        large = wav(bytes(3 * 1024 * 1024), rate=16000)
        assert (await upload(native, data=large)).status_code == 200
        answer = await upload(native, "Third", **{"content-length": str(lines.LARGEST_RECORDING + 1)})
        assert answer.status_code == 413
        assert answer.json()["errorCode"] == "too_large"

    async def test_a_key_makes_an_upload_serve_once(self, native):
        first = await upload(native, **{"Idempotency-Key": "k1"})
        again = await upload(native, **{"Idempotency-Key": "k1"})
        assert (again.content, again.headers["Idempotent-Replay"]) == (first.content, "true")
        other = await upload(native, data=wav(bytes(3200), rate=8000), **{"Idempotency-Key": "k1"})
        assert other.status_code == 422

    async def test_a_flow_that_is_played_stays(self, native):
        tenant = native.tenant
        (flow,) = (await native.done("GET", "/flows"))["results"]
        campaign_id = await tenant.create_campaign(ever_open(1))
        failure = await native.refused(409, "DELETE", f"/flows/{flow['id']}")
        assert failure["errorCode"] == "in_use"
        assert "Product Feedback" in sentences(failure)[0]
        await tenant.done("DELETE", f"/{campaign_id}", campaignType="voice")
        # deleted campaigns keep pointing at it, and it goes all the same
        await native.done("DELETE", f"/flows/{flow['id']}")
        answer = await tenant.ask("POST", "", ever_open(1), campaignType="voice")
        assert answer.status_code == 400


NEW = {
    "name": "Main",
    "host": "sip.example.net",
    "transport": "tls",
    "username": "acme",
    "password": "geheim",
    "callerIds": ["+1 555 010 0022"],
    "callsPerSecond": 5,
}


class TestTrunks:
    async def test_a_trunk_is_added_and_its_password_never_shown(self, native):
        answer = await native.ask("POST", "/trunks", NEW)
        assert "geheim" not in answer.text
        trunk = answer.json()
        assert trunk.pop("id").startswith("tr-")
        assert trunk == {
            "name": "Main",
            "host": "sip.example.net",
            "port": 5060,
            "transport": "tls",
            "username": "acme",
            "hasPassword": True,
            "fromDomain": None,
            "numberFormat": "e164_plus",
            "numberPrefix": "",
            "callerIds": ["+15550100022"],
            "maxChannels": 10,
            "callsPerSecond": 5.0,
        }
        listed = (await native.done("GET", "/trunks"))["results"]
        assert [one["name"] for one in listed] == ["t", "Main"]
        assert await native.done("GET", f"/trunks/{listed[1]['id']}") == listed[1]

    async def test_a_change_leaves_the_rest_and_null_takes_away(self, native, database):
        trunk = await native.done("POST", "/trunks", NEW)
        path = f"/trunks/{trunk['id']}"
        changed = await native.done("PATCH", path, {"maxChannels": 60, "transport": "udp"})
        assert changed == {**trunk, "maxChannels": 60, "transport": "udp"}
        assert await native.done("PATCH", path, {"password": "neu"}) == changed
        changed = await native.done("PATCH", path, {"password": None})
        assert (changed["hasPassword"], changed["username"]) == (False, "acme")
        failure = await native.refused(412, "PATCH", path, {"username": None, "password": "x", "port": 70000})
        assert len(sentences(failure)) == 2
        assert await native.done("PATCH", path) == changed
        async with database.connection() as connection:
            rows = await connection.fetch("SELECT detail FROM history WHERE action = 'trunk'")
        assert "neu" not in str(rows)

    async def test_what_cannot_be_changed(self, native):
        trunk = await native.done("POST", "/trunks", NEW)
        path = f"/trunks/{trunk['id']}"
        assert (await native.refused(409, "PATCH", path, {"name": "T"}))["errorCode"] == "conflict"
        for body in ({"name": ""}, {"name": None}, {"host": "sip:x"}, {"port": "1"}, {"callerIds": []}, {"port": None}):
            await native.refused(412, "PATCH", path, body)
        assert await native.done("GET", path) == trunk

    async def test_all_wrong_fields_of_a_new_one(self, native):
        failure = await native.refused(
            412, "POST", "/trunks", {**NEW, "host": "sip:x", "maxChannels": 0, "callerIds": ["x"]}
        )
        assert [sentence.split("`")[1] for sentence in sentences(failure)] == ["host", "max_channels", "caller_ids[0]"]

    async def test_removing_one_frees_its_name_and_its_numbers(self, native):
        trunk = await native.done("POST", "/trunks", NEW)
        assert await native.done("DELETE", f"/trunks/{trunk['id']}") == trunk
        await native.refused(404, "GET", f"/trunks/{trunk['id']}")
        await native.refused(404, "PATCH", f"/trunks/{trunk['id']}", {})
        await native.done("POST", "/trunks", NEW)

    async def test_a_trunk_in_use_stays_as_it_is(self, native):
        (trunk,) = (await native.done("GET", "/trunks"))["results"]
        campaign_id = await native.tenant.create_campaign(ever_open(1))
        await native.tenant.trigger(campaign_id, "play")
        path = f"/trunks/{trunk['id']}"
        for method, where, body in (
            ("PATCH", path, {"host": "192.0.2.2"}),
            ("DELETE", path, None),
            ("DELETE", f"/caller-ids/{CALLER_ID}", None),
        ):
            assert (await native.refused(409, method, where, body))["errorCode"] == "in_use"
        await native.done("POST", f"{path}/caller-ids", {"phoneNumber": "+15550100044"})
        await native.done("DELETE", "/caller-ids/+15550100044")
        await native.tenant.trigger(campaign_id, "stop")
        await native.done("DELETE", path)


class TestCallerIds:
    async def test_one_number_selects_one_trunk(self, native):
        main = await native.done("POST", "/trunks", NEW)
        path = f"/trunks/{main['id']}/caller-ids"
        trunk = await native.done("POST", path, {"phoneNumber": "+1-555-010-0033"})
        assert trunk["callerIds"] == ["+15550100022", "+15550100033"]
        assert await native.done("POST", path, {"phoneNumber": "+15550100033"}) == trunk
        failure = await native.refused(409, "POST", path, {"phoneNumber": CALLER_ID})
        assert "Another trunk" in sentences(failure)[0]
        await native.refused(412, "POST", path, {"phoneNumber": "0815"})
        listed = (await native.done("GET", "/caller-ids"))["results"]
        assert [(one["phoneNumber"], one["trunkName"]) for one in listed] == [
            (CALLER_ID, "t"),
            ("+15550100022", "Main"),
            ("+15550100033", "Main"),
        ]

    async def test_caps_are_set_shown_and_taken_away(self, native, database):
        path = f"/caller-ids/{CALLER_ID}/caps"
        wanted = {"maxConcurrentCalls": 10, "callsPerSecond": 2.5, "callsPerDay": 500}
        capped = await native.done("PUT", path, wanted)
        assert {name: capped[name] for name in wanted} == wanted
        assert (await native.done("GET", "/caller-ids"))["results"] == [capped]
        assert (await native.done("PUT", path, {"callsPerDay": 7}))["callsPerSecond"] is None
        for name, wrong in (("maxConcurrentCalls", 0), ("callsPerSecond", 0), ("callsPerDay", 100_001)):
            failure = await native.refused(412, "PUT", path, {name: wrong})
            assert name in sentences(failure)[0]
        await native.refused(404, "PUT", "/caller-ids/+15550100099/caps", wanted)
        await native.refused(404, "PUT", "/caller-ids/x/caps", wanted)
        async with database.connection() as connection:
            told = await connection.fetch("SELECT detail FROM history WHERE to_state = 'caller_id_caps' ORDER BY id")
        assert [row["detail"]["calls_per_day"] for row in told] == [500, 7]

    async def test_removing_the_last_leaves_a_trunk_that_can_be_changed(self, native):
        for spelling in (CALLER_ID, "%2B15550100022"):
            if spelling != CALLER_ID:
                await native.done("POST", "/trunks", NEW)
            trunk = await native.done("DELETE", f"/caller-ids/{spelling}")
            assert trunk["callerIds"] == []
            await native.done("PATCH", f"/trunks/{trunk['id']}", {"maxChannels": 3})
            await native.refused(404, "DELETE", f"/caller-ids/{spelling}")

    async def test_what_is_no_number_is_not_there(self, native):
        for spelling in ("x", "+", "%00", "15550100001"):
            assert (await native.ask("DELETE", f"/caller-ids/{spelling}")).status_code == 404
