"""Pause, resume, clone, stop, schedules and runs by outdial's own surface."""

from __future__ import annotations

import asyncio
import csv
import io
import json

import pytest

from engines import simulated
from outdial.api.app import create_app
from outdial.core.errors import StopNotProvenError
from outdial.services import barrier, exports
from outdial.services import stop as stop_service
from support.native import BASE, Native, sentences
from support.nodes import dialer
from support.wire import ever_open
from waiting import until


@pytest.fixture
def native(tenant) -> Native:
    return Native(tenant)


@pytest.fixture
async def campaign_id(tenant) -> str:
    return await tenant.create_campaign(ever_open(1))


@pytest.fixture
async def instance_id(tenant, campaign_id) -> str:
    answer = await tenant.trigger(campaign_id, "play")
    assert answer.status_code == 200
    return answer.json()["campaignInstanceId"]


async def test_pause_and_resume(native, campaign_id, instance_id):
    path = f"/campaigns/{campaign_id}"
    paused = await native.done("POST", f"{path}/pause")
    assert (paused["instanceId"], paused["state"], paused["epoch"]) == (instance_id, "paused", 2)
    assert (await native.done("POST", f"{path}/pause"))["epoch"] == 2
    assert (await native.done("GET", path))["state"] == "paused"
    assert await native.tenant.status(campaign_id) == "Paused"
    resumed = await native.done("POST", f"{path}/resume", {})
    assert (resumed["state"], resumed["epoch"]) == ("active", 3)
    failure = await native.refused(409, "POST", f"{path}/resume")
    assert failure["errorCode"] == "illegal_move"
    assert "Possible: pause, stop, complete" in sentences(failure)[0]
    await native.refused(412, "POST", f"{path}/pause", {"why": "lunch"})


async def test_what_never_ran_cannot_be_paused_or_stopped(native, campaign_id):
    for action in ("pause", "resume", "stop"):
        failure = await native.refused(409, "POST", f"/campaigns/{campaign_id}/{action}")
        assert "never been started" in sentences(failure)[0]


async def test_a_stop_returns_its_whole_report_and_the_same_again(native, campaign_id, instance_id):
    path = f"/campaigns/{campaign_id}/stop"
    stopped = await native.done("POST", path, {"ringing": "let_ring", "connected": "hang_up", "keepSchedule": True})
    assert list(stopped) == ["instanceId", "state", "stoppedAt", "report"]
    assert (stopped["instanceId"], stopped["state"]) == (instance_id, "stopped")
    report = stopped["report"]
    assert (report["ringing"], report["connected"]) == ("let_ring", "hang_up")
    assert (report["requestedBy"], report["neverReachedCount"]) == (native.tenant.credentials.client_id, 3)
    assert await native.done("POST", path) == stopped
    detail = await native.done("GET", f"/runs/{instance_id}")
    assert detail["stopReport"] == report


@pytest.mark.parametrize("body", [{"ringing": "x"}, {"keepSchedule": "yes"}, {"keep_schedule": True}, []])
async def test_a_stop_that_is_misspelled_does_nothing(native, campaign_id, instance_id, body):
    await native.refused(412, "POST", f"/campaigns/{campaign_id}/stop", body)
    assert (await native.done("GET", f"/runs/{instance_id}"))["run"]["state"] == "active"


async def test_a_pause_ignores_keys_and_says_when_it_is_not_proven(native, campaign_id, instance_id, monkeypatch):
    path, headers = f"/campaigns/{campaign_id}/pause", {"Idempotency-Key": "p1"}
    with monkeypatch.context() as patched:

        async def loud(*_args, **_more):
            return [barrier.Silence("asterisk", silent=False, problem="it does not answer.")]

        patched.setattr(barrier, "silence", loud)
        failure = await native.refused(503, "POST", path, headers=headers)
    assert (failure["errorCode"], failure["retryable"]) == ("pause_not_proven", True)
    assert "asterisk: it does not answer." in failure["errors"][0]["msg"]
    assert (await native.done("GET", f"/runs/{instance_id}"))["run"]["state"] == "paused"
    assert (await native.done("POST", path, headers=headers))["state"] == "paused"


async def test_a_stop_ignores_keys_and_says_when_it_is_not_proven(native, campaign_id, instance_id, monkeypatch):
    path, headers = f"/campaigns/{campaign_id}/stop", {"Idempotency-Key": "k1"}
    await native.done("PATCH", "/application", {}, headers=headers)
    with monkeypatch.context() as patched:

        async def unproven(*_args, **_more):
            raise StopNotProvenError("not yet")

        patched.setattr(stop_service, "stop", unproven)
        failure = await native.refused(503, "POST", path, headers=headers)
    assert (failure["errorCode"], failure["retryable"]) == ("stop_not_proven", True)
    for _ in range(2):
        answer = await native.ask("POST", path, headers=headers)
        assert answer.status_code == 200
        assert "Idempotent-Replay" not in answer.headers


async def test_a_stop_of_a_schedule_alone(native, campaign_id):
    plan = {"startDateTime": "2098-03-01 09:00:00", "endDateTime": "2099-03-01 09:00:00"}
    await native.tenant.done(
        "POST", "/schedule", plan, enableSchedule="true", campaignName="Product Feedback", version=2
    )
    path = f"/campaigns/{campaign_id}"
    schedule = await native.done("GET", f"{path}/schedule")
    assert (schedule["enabled"], schedule["recurrence"], schedule["zone"]) == (True, "once", "Asia/Kolkata")
    assert (schedule["start"], schedule["nextAt"]) == ("2098-03-01 09:00:00", "2098-03-01T03:30:00Z")
    assert (await native.done("GET", path))["state"] == "scheduled"
    stopped = await native.done("POST", f"{path}/stop")
    assert (stopped["instanceId"], stopped["state"], stopped["report"]) == (None, "stopped", None)
    schedule = await native.done("GET", f"{path}/schedule")
    assert (schedule["enabled"], schedule["nextAt"], schedule["stoppedAt"]) == (False, None, stopped["stoppedAt"])


async def test_a_schedule_that_is_not_set(native, campaign_id):
    schedule = await native.done("GET", f"/campaigns/{campaign_id}/schedule")
    assert not schedule["enabled"]
    assert schedule["occurrences"] == []
    assert {schedule[name] for name in ("zone", "start", "end", "recurrence", "every", "nextAt", "stoppedAt")} == {None}


async def test_a_clone_is_a_campaign_of_its_own(native, campaign_id, instance_id):
    tenant, path = native.tenant, f"/campaigns/{campaign_id}/clone"
    clone = await native.done("POST", path)
    assert (clone["name"], clone["state"], clone["instanceId"]) == ("Product Feedback copy", "ready", None)
    first = (await tenant.done("GET", f"/{campaign_id}"))["data"]
    second = (await tenant.done("GET", f"/{clone['id']}"))["data"]
    own = {"_id", "name", "lname", "status", "createdAt", "updatedAt", "campaignInstanceId"}
    assert {key: first[key] for key in first.keys() - own} == {key: second[key] for key in second.keys() - own}
    assert (await native.done("POST", path, {"name": "Second wave"}))["name"] == "Second wave"
    await native.refused(412, "POST", path, {"name": ""})
    await native.refused(412, "POST", path, {"name": "x" * 49})


async def test_a_clone_of_a_long_name_keeps_to_the_limit(native):
    campaign_id = await native.tenant.create_campaign(ever_open(1, name="x" * 48))
    for _ in range(2):
        clone = await native.done("POST", f"/campaigns/{campaign_id}/clone")
        assert clone["name"] == "x" * 43 + " copy"


async def test_runs_latest_first_page_by_page_and_whole(native, campaign_id):
    tenant, instances = native.tenant, []
    for _ in range(3):
        instances.insert(0, (await tenant.trigger(campaign_id, "play")).json()["campaignInstanceId"])
        await tenant.trigger(campaign_id, "stop")
    path = f"/campaigns/{campaign_id}/runs"
    page = await native.done("GET", path, params={"limit": "2"})
    assert [one["instanceId"] for one in page["results"]] == instances[:2]
    assert (page["skip"], page["limit"], page["total"]) == (0, 2, 3)
    page = await native.done("GET", path, params={"skip": "2"})
    assert [one["instanceId"] for one in page["results"]] == instances[2:]
    detail = await native.done("GET", f"/runs/{instances[2]}")
    actor = tenant.credentials.client_id
    assert [(one["before"], one["after"], one["epoch"], one["actor"]) for one in detail["history"]] == [
        (None, "active", 1, actor),
        ("active", "stopping", 2, actor),
        ("stopping", "stopped", 2, actor),
    ]
    assert detail["contacts"] == {"pending": 3}
    # evidence outlives the campaign
    await tenant.done("DELETE", f"/{campaign_id}", campaignType="voice")
    assert await native.done("GET", f"/runs/{instances[2]}") == detail
    await native.refused(404, "GET", path)


async def test_attempts_and_files_of_a_real_run(native, parts, campaign_id, database):
    tenant = native.tenant
    await tenant.add_contacts("+15550100201", "+15550100270", "+15550100202")
    async with database.connection() as connection:
        await connection.execute("UPDATE trunks SET calls_per_second = 40")
    async with simulated(speed=20.0) as engine, dialer(parts, engine):
        instance_id = (await tenant.trigger(campaign_id, "play")).json()["campaignInstanceId"]

        async def some() -> bool:
            return (await native.done("GET", f"/runs/{instance_id}"))["placedCount"] >= 6

        await until(some)
        await native.done("POST", f"/campaigns/{campaign_id}/stop", {"connected": "hang_up"})
    found, after = [], None
    while True:
        params = {"limit": "2"} | ({} if after is None else {"after": after})
        page = await native.done("GET", f"/runs/{instance_id}/attempts", params=params)
        found += page["results"]
        after = page["next"]
        if after is None:
            break
    assert len({one["id"] for one in found}) == len(found) >= 6
    assert [one["reservedAt"] for one in found] == sorted(one["reservedAt"] for one in found)
    assert {one["callerId"] for one in found} == {"+15550100001"}

    answer = await native.ask("GET", f"/runs/{instance_id}/attempts.csv")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [row["attemptId"] for row in rows] == [one["id"] for one in found]
    assert {row["phoneNumber"][:2] for row in rows} == {"'+"}

    answer = await native.ask("GET", f"/runs/{instance_id}/contacts.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="contacts-{instance_id}.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert len(rows) == 6
    assert {row["lastAttemptId"] for row in rows} <= {one["id"] for one in found}


async def test_files_have_no_formulas_and_keep_everything(native, campaign_id, database):
    evil = {"note": '=HYPERLINK("http://x","y")', "city": "Köln, \n Süd", "+1": "-1"}
    body = {
        "contact_list_name": "Recent Buyers",
        "data": [{"phoneNumber": "+15550100201", "uniqueId": '=1+1,"x"', **evil}],
    }
    await native.tenant.done("POST", "/contactList/addContacts", body)
    instance_id = (await native.tenant.trigger(campaign_id, "play")).json()["campaignInstanceId"]
    answer = await native.ask("GET", f"/runs/{instance_id}/contacts.csv")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    (row,) = [row for row in rows if row["uniqueId"]]
    assert (row["uniqueId"], row["phoneNumber"], row["state"]) == ('\'=1+1,"x"', "'+15550100201", "pending")
    assert json.loads(row["attributes"]) == evil
    for row in rows:
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values())


async def test_large_files_come_in_lots_and_whole(native, campaign_id, instance_id, database, monkeypatch):
    monkeypatch.setattr(exports, "LOT", 7)
    async with database.connection() as connection:
        run_id = await connection.fetchval("SELECT id FROM runs WHERE instance_id = $1", instance_id)
        await connection.execute(
            """
            INSERT INTO run_contacts (run_id, contact_id, phone, dedupe_key, sort_key)
            SELECT $1, 1000 + n, '+1555010' || lpad(n::text, 4, '0'), n::text, n FROM generate_series(1, 46) n
            """,
            run_id,
        )
        await connection.execute(
            """
            INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                  engine_id, node_id, epoch, number, state, disposition, reserved_at, ended_at,
                                  changed_by)
            SELECT md5(n::text), $1, 'cd', 'a', 1000 + n, '+15550100101', '+15550100001', 't', 'e', 'n', 1, 1, 'ended',
                   -- many at the same instant
                   'busy', timestamptz '2026-03-01' + n / 10 * interval '1 s', now(), 'test'
              FROM generate_series(1, 49) n
            """,
            run_id,
        )
    for name, count in (("contacts", 49), ("attempts", 49)):
        answer = await native.ask("GET", f"/runs/{instance_id}/{name}.csv")
        rows = list(csv.reader(io.StringIO(answer.text, newline="")))
        assert len(rows) == count + 1
        assert len({row[0] for row in rows}) == count + 1


@pytest.mark.parametrize("name", ["contacts", "attempts"])
async def test_a_file_is_read_no_faster_than_it_is_taken(native, parts, instance_id, database, monkeypatch, name):
    """Through everything that stands between the file and the socket: nothing of it collects pieces."""
    monkeypatch.setattr(exports, "LOT", 1)
    lots: list[int] = []
    for module, function in ((exports.contacts_store, "lot"), (exports.attempts_store, "page")):
        monkeypatch.setattr(module, function, noting(getattr(module, function), lots))
    if name == "attempts":
        await fill_attempts(database, instance_id)
    taken, full, more = 0, asyncio.Event(), asyncio.Event()
    messages: list[dict] = []

    async def send(message) -> None:
        nonlocal taken
        messages.append(message)
        if message.get("body"):
            taken += 1
            # the names of the columns, then one lot
            if taken == 2:
                full.set()
                await more.wait()

    async def receive():
        await asyncio.Event().wait()

    headers = [(name.lower().encode(), value.encode()) for name, value in native.tenant.headers().items()]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": f"{BASE}/runs/{instance_id}/{name}.csv",
        "query_string": b"",
        "headers": headers,
        "root_path": "",
        "raw_path": f"{BASE}/runs/{instance_id}/{name}.csv".encode(),
        "server": ("api", 80),
        "client": ("x", 1),
    }
    answering = asyncio.create_task(create_app(parts)(scope, receive, send))
    await full.wait()
    # everything else that can go on without the reader goes on until nothing is left to do
    for _ in range(100):
        await database_turn(database)
    assert (lots, taken) == ([1], 2)
    more.set()
    await answering
    assert messages[0]["status"] == 200
    assert lots == [1, 1, 1, 0]
    assert sum(message.get("body", b"").count(b"\r\n") for message in messages) == 4


async def database_turn(database) -> None:
    """Let the event loop and the database do what they have to."""
    async with database.connection() as connection:
        await connection.fetchval("SELECT 1")


def noting(read, lots: list[int]):
    """The same reading; how many rows it found is noted."""

    async def reading(*args, **options):
        lot = await read(*args, **options)
        lots.append(len(lot))
        return lot

    return reading


async def fill_attempts(database, instance_id: str) -> None:
    async with database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                  engine_id, node_id, epoch, number, state, disposition, ended_at, changed_by)
            SELECT md5(n::text), id, 'cd', 'a', n, '+15550100101', '+15550100001', 't', 'e', 'n', 1, 1, 'ended', 'busy',
                   now(), 'test'
              FROM runs CROSS JOIN generate_series(1, 3) n WHERE instance_id = $1
            """,
            instance_id,
        )


async def test_pages_that_are_none(native, campaign_id, instance_id):
    path = f"/runs/{instance_id}/attempts"
    for params in ({"limit": "0"}, {"limit": "-1"}, {"limit": "1001"}, {"after": "a\0"}, {"after": "'"}):
        await native.refused(400, "GET", path, params=params)
    # an empty page would be taken for the end
    await native.refused(404, "GET", path, params={"after": "0123456789abcdef0123456789abcdef"})
    for params in ({"skip": "x"}, {"limit": "1001"}):
        await native.refused(400, "GET", f"/campaigns/{campaign_id}/runs", params=params)


async def test_a_file_begins_only_when_it_is_allowed(native, other, instance_id):
    for name in ("contacts.csv", "attempts.csv"):
        answer = await other.http.get(f"{BASE}/runs/{instance_id}/{name}", headers={"auth": other.token()})
        assert answer.status_code == 404
        assert answer.json()["errorCode"] == "not_found"
