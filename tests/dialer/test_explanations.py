"""What is explained is what the dialer then does: each reason, over a real database and the dialer's own claim."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dialing import ALWAYS, add_campaign, set_stage, with_rules
from outdial import rule_data
from outdial.core.attempt_limits import Counted, LimitRule
from outdial.core.canonical import instant
from outdial.core.changes import ChangeKind
from outdial.core.errors import BadReferenceError, ConflictError, EmergencyStopError, InvalidInputError, NotFoundError
from outdial.core.explanation import MAY_RING
from outdial.core.ids import dialing_list_id
from outdial.core.model import (
    AtClosing,
    AttemptState,
    CallingHours,
    Disposition,
    DoneReason,
    EngineKind,
    OwnRules,
    RetryRule,
    RunContactState,
    RunState,
)
from outdial.core.wide_stop import StopScope, StopTarget
from outdial.dialer.claim import claim
from outdial.services import attempt_limits, contact_lists, explanations, runs, trunks, wide_stops
from outdial.services.contact_lists import ContactDraft
from outdial.services.engines import Engines
from outdial.store import attempts, emergencies, nodes
from outdial.store import engines as engines_store
from outdial.store import runs as runs_store
from outdial.store import wide_stops as wide_stops_store
from outdial.store.attempts import AttemptNews, ContactNews
from outdial.store.nodes import NodeRow
from outdial.store.reserve import Verdict

PHONE = "+15550100101"
NODE = "n1"


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, [PHONE], rules=with_rules(max_attempts=2), max_channels=3)


async def a_node(database, secret_box, *, up=True):
    async with database.connection() as connection:
        await engines_store.put(
            connection, secret_box, engine_id="e1", kind=EngineKind.SIMULATED, url=None, username=None, password=None
        )
        await nodes.register(connection, NodeRow(NODE, NODE, "h", 1, "app-n1", "e1"), ttl_seconds=600)
        await connection.execute("UPDATE nodes SET engine_up = $1", up)


class Scene:
    """A run with one contact in it, and both who are asked about it."""

    def __init__(self, stage, run):
        self.stage, self.run, self.database = stage, run, stage.database

    async def explain(self, contact=PHONE, **more):
        return await explanations.explain_in_run(
            self.database, iid=self.stage.owner.iid, instance_id=self.run.instance_id, contact=contact, **more
        )

    async def dial(self) -> list[str]:
        """Let a node claim; return the ids of the attempts it reserved."""
        async with self.database.connection() as connection:
            run = await runs_store.by_id(connection, self.run.id)
        for _ in range(5):
            found = await claim(self.database, run, self.stage.trunk, NODE, many=True, asked=set())
            # a rate's row is made at its first use, by nobody who has seen it
            if found.verdict is not Verdict.CONFLICT:
                break
        assert found.verdict is not Verdict.CONFLICT
        return [place.attempt_id for place in found.places]

    async def contact(self):
        async with self.database.connection() as connection:
            return await connection.fetchrow("SELECT * FROM run_contacts WHERE run_id = $1", self.run.id)

    async def execute(self, statement, *values):
        async with self.database.connection() as connection:
            await connection.execute(statement, *values)

    async def book(self, attempt_id, disposition, contact, *, dialed_at=None):
        at = dialed_at or datetime.now(UTC)
        news = AttemptNews(
            id=attempt_id,
            state=AttemptState.UNKNOWN if disposition is Disposition.UNKNOWN else AttemptState.ENDED,
            by=NODE,
            disposition=disposition,
            dialed_at=at,
            ended_at=at,
            contact=contact,
        )
        async with self.database.connection() as connection:
            await attempts.book(connection, [news])

    async def put_off(self, code, *, rule=None):
        """Check that it is explained as put off by a step until an instant, and that the dialer does just that."""
        found = (await self.explain()).explanation
        assert (found.dialable, found.decided_by) == (False, code), found
        assert await self.dial() == []
        stored = await self.contact()
        assert stored["state"] == "waiting"
        assert stored["screening"]["rule"] == (rule or code)
        assert abs(stored["not_before"] - next(one.until for one in found.steps if one.code == code)) < timedelta(
            seconds=5
        )
        return found

    async def denied(self, code, reason):
        """Check that it is explained as denied by a step, and that the dialer denies it for that reason."""
        found = (await self.explain()).explanation
        assert (found.dialable, found.decided_by, found.next_at) == (False, code, None), found
        assert await self.dial() == []
        stored = await self.contact()
        assert (stored["state"], stored["done_reason"]) == ("done", reason)
        assert stored["screening"]["rule"] == code
        # from then on it is done, and says so
        after = (await self.explain()).explanation
        assert after.decided_by == "contact_state"
        return found

    async def not_claimed(self, code):
        """Check that a step says no, and that the dialer claims nobody and writes nothing."""
        before = await self.contact()
        found = (await self.explain()).explanation
        assert (found.dialable, found.decided_by) == (False, code), found
        assert await self.dial() == []
        assert await self.contact() == before
        return found


async def started(stage):
    begun = await runs.start(
        stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
    )
    return Scene(stage, begun.run)


@pytest.fixture
async def scene(stage, database, secret_box):
    await a_node(database, secret_box)
    return await started(stage)


async def scene_with(stage, database, secret_box, **rules):
    """A scene whose campaign has other rules."""
    await a_node(database, secret_box)
    campaign_id = await add_campaign(
        database, stage.owner, [PHONE], rules=with_rules(**rules), list_name="others", name="Autumn"
    )
    return await started(replace(stage, campaign_id=campaign_id))


async def test_what_may_be_dialed_is_dialed(scene):
    found = await scene.explain()
    assert (found.explanation.dialable, found.explanation.decided_by) == (True, None)
    assert (found.ahead_count, found.explanation.next_at) == (0, found.now)
    assert len(await scene.dial()) == 1


async def test_a_call_under_way_is_told(scene):
    (attempt_id,) = await scene.dial()
    found = await scene.not_claimed("contact_state")
    call = next(one for one in found.steps if one.code == "live_call")
    assert (call.inputs["attemptId"], call.sentence) == (attempt_id, "Its call is reserved.")


async def test_a_call_of_another_campaign_to_the_number_is_waited_for(scene, database):
    other = await started(
        replace(
            scene.stage,
            campaign_id=await add_campaign(
                database, scene.stage.owner, [PHONE], rules=with_rules(), list_name="others", name="Autumn"
            ),
        )
    )
    assert len(await other.dial()) == 1
    found = await scene.not_claimed("live_call")
    assert found.changes[0].kind is ChangeKind.WAIT_FOR_CALL
    assert "Autumn" in found.sentence


async def test_a_phone_that_may_ring_on_is_waited_for(scene, database):
    draft = {"rules": with_rules(), "list_name": "others", "name": "Autumn"}
    other = await started(
        replace(scene.stage, campaign_id=await add_campaign(database, scene.stage.owner, [PHONE], **draft))
    )
    (attempt_id,) = await other.dial()
    await other.book(attempt_id, Disposition.UNKNOWN, ContactNews(RunContactState.DONE, done_reason=DoneReason.UNKNOWN))
    await scene.execute("UPDATE attempts SET ended_at = '2026-03-01 10:00:00.5+00'")
    assert (await scene.explain()).explanation.dialable
    await scene.execute("UPDATE attempts SET ended_at = clock_timestamp() - interval '1 minute'")
    found = await scene.not_claimed("live_call")
    async with database.connection() as connection:
        ended_at = await connection.fetchval("SELECT ended_at FROM attempts")
    until = instant(ended_at + MAY_RING)
    call = next(one for one in found.steps if one.code == "live_call")
    whose = "A call of the campaign Autumn to the number"
    assert call.sentence == f"{whose} was lost and cannot be cancelled: the phone may ring until {until}."
    assert call.inputs == {
        "attemptId": attempt_id,
        "campaign": "Autumn",
        "state": "unknown",
        "endedAt": instant(ended_at),
    }
    assert [(one.kind, one.sentence) for one in call.changes] == [(ChangeKind.WAIT_FOR_CALL, f"Wait until {until}.")]
    falls = await explanations.waterfall_of(database, scene.run)
    assert falls.dialable == 0


async def test_a_call_of_another_application_is_waited_for_and_not_named(scene, database, secret_box):
    sister = await set_stage(database, secret_box, [PHONE], rules=with_rules(), name="sister")
    (attempt_id,) = await (await started(sister)).dial()
    found = await scene.not_claimed("live_call")
    call = next(one for one in found.steps if one.code == "live_call")
    assert call.sentence == "Another application's call to the number is reserved."
    assert call.inputs == {"attemptId": None, "campaign": None, "state": "reserved"}
    assert attempt_id not in repr(found)


async def test_holidays_are_read_in_no_thread_that_calls_wait_for(stage, database, secret_box, monkeypatch):
    scene = await scene_with(stage, database, secret_box, calling_hours=replace(ALWAYS, holidays=("US",)))
    read, threads = rule_data.holiday_calendar, []

    def seen(*arguments):
        threads.append(threading.get_ident())
        return read(*arguments)

    monkeypatch.setattr(rule_data, "holiday_calendar", seen)
    rule_data._timetable.cache_clear()
    assert (await scene.explain(at=datetime.now(UTC) + timedelta(days=300))).explanation is not None
    assert threads
    assert threading.get_ident() not in threads
    threads.clear()
    rule_data._timetable.cache_clear()
    await explanations.waterfall_of(database, scene.run)
    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("of_account", [True, False])
async def test_a_listed_number(stage, database, secret_box, of_account):
    await a_node(database, secret_box)
    scene = await started(stage)
    if of_account:
        list_id = "(SELECT dnc_list_ids[1] FROM runs)"
    else:
        await scene.execute(
            "INSERT INTO dnc_lists (id, account_id, iid, name) SELECT 'cl-never', account_id, iid, 'Never' FROM runs"
        )
        await scene.execute("UPDATE runs SET dnc_list_ids = dnc_list_ids || 'cl-never'::text")
        list_id = "'cl-never'"
    await scene.execute(
        f"INSERT INTO dnc_entries (dnc_list_id, phone, added_by, source) VALUES ({list_id}, $1, 'test', 'key')", PHONE
    )
    found = await scene.denied("account_dnc" if of_account else "campaign_dnc", DoneReason.DNC)
    assert found.changes[0].choices == ("Account" if of_account else "Never",)


async def test_an_entry_that_ends_before_the_instant_asked_about(scene):
    await scene.execute("UPDATE run_contacts SET state = 'waiting', not_before = now() + interval '2 hours'")
    await scene.execute(
        "INSERT INTO dnc_entries (dnc_list_id, phone, added_by, expires_at) "
        "SELECT dnc_list_ids[1], $1, 'test', now() + interval '1 hour' FROM runs",
        PHONE,
    )
    assert (await scene.explain()).explanation.decided_by == "account_dnc"
    later = await scene.explain(at=datetime.now(UTC) + timedelta(hours=3))
    assert later.explanation.dialable


async def test_used_attempts(scene):
    await scene.execute("UPDATE run_contacts SET attempts_count = 2")
    await scene.denied("contact_attempts", DoneReason.ATTEMPTS_USED)


async def test_a_retry_rule_that_is_used_up(stage, database, secret_box):
    rule = RetryRule(Disposition.BUSY, most=1)
    scene = await scene_with(stage, database, secret_box, max_attempts=9, own=OwnRules(retry_rules=(rule,)))
    for _ in range(2):
        (attempt_id,) = await scene.dial()
        again = ContactNews(RunContactState.WAITING, after_seconds=0)
        await scene.book(attempt_id, Disposition.BUSY, again)
    await scene.denied("retry_count", DoneReason.ATTEMPTS_USED)


async def test_a_retry_that_is_not_due(scene):
    (attempt_id,) = await scene.dial()
    await scene.book(attempt_id, Disposition.BUSY, ContactNews(RunContactState.WAITING, after_seconds=600))
    found = await scene.not_claimed("retry_period")
    assert found.next_at == (await scene.contact())["not_before"]
    # and nothing else changing it is dialed then
    await scene.execute("UPDATE run_contacts SET not_before = clock_timestamp() - interval '1 ms'")
    assert (await scene.explain()).explanation.dialable
    assert len(await scene.dial()) == 1


async def test_the_next_window(stage, database, secret_box):
    rule = RetryRule(Disposition.NO_ANSWER, next_window=True)
    scene = await scene_with(stage, database, secret_box, max_attempts=9, own=OwnRules(retry_rules=(rule,)))
    (attempt_id,) = await scene.dial()
    await scene.book(attempt_id, Disposition.NO_ANSWER, ContactNews(RunContactState.WAITING, after_seconds=0))
    await scene.put_off("retry_window")


async def test_a_number_called_often_enough(scene):
    owner = scene.stage.owner
    await attempt_limits.add_limit(
        scene.database, LimitRule(1, 3600, Counted.ATTEMPTS), account_id=owner.account_id, actor="test"
    )
    (attempt_id,) = await scene.dial()
    await scene.book(attempt_id, Disposition.BUSY, ContactNews(RunContactState.WAITING, after_seconds=0))
    found = await scene.put_off("number_limits")
    assert found.changes[0].kind is ChangeKind.REMOVE_LIMIT


async def test_closed_hours(stage, database, secret_box):
    closed = (datetime.now(UTC) + timedelta(days=2)).weekday()
    open_then = CallingHours(tuple(one for one in ALWAYS.windows if one.weekday == closed), "UTC")
    scene = await scene_with(stage, database, secret_box, calling_hours=open_then)
    found = await scene.put_off("calling_hours")
    assert found.next_at == (await scene.contact())["not_before"]
    assert next(one.versions for one in found.steps if one.code == "calling_hours")["tzdata"]


async def test_a_contact_whose_hours_closed_for_the_day(stage, database, secret_box):
    yesterday = (datetime.now(UTC) - timedelta(days=1)).weekday()
    open_then = CallingHours(
        tuple(one for one in ALWAYS.windows if one.weekday == yesterday), "UTC", at_closing=AtClosing.EXPIRE
    )
    scene = await scene_with(stage, database, secret_box, calling_hours=open_then)
    await scene.execute("UPDATE runs SET updated_at = now() - interval '3 days'")
    found = await scene.denied("calling_hours", DoneReason.EXPIRED)
    assert [change.kind for change in found.changes] == [ChangeKind.START_RUN]


async def test_a_run_that_its_breaker_paused(scene):
    engines = Engines(scene.database, scene.stage.secrets, ttl_seconds=0.5)
    reason = "40 of the last 40 calls have failed"
    assert await runs.pause_failing(scene.database, engines, scene.run, reason=reason)
    await engines.close()
    found = await scene.not_claimed("run_state")
    assert "by breaker: 40 of the last 40 calls have failed" in found.sentence


async def test_a_paused_run(scene):
    async with scene.database.transaction() as connection:
        await runs_store.move_run(
            connection,
            scene.run.id,
            before=RunState.ACTIVE,
            epoch=1,
            after=RunState.PAUSED,
            actor="supervisor",
            reason="lunch",
        )
    found = (await scene.explain()).explanation
    assert found.decided_by == "run_state"
    assert "by supervisor: lunch" in found.sentence
    # the node still believes in the epoch before
    assert (await claim(scene.database, scene.run, scene.stage.trunk, NODE, many=True, asked=set())).places == ()
    assert (await scene.contact())["state"] == "pending"


async def test_no_line_is_free(scene):
    others = [f"+155501002{number:02}" for number in range(3)]
    await contact_lists.add_contacts(
        scene.database,
        scene.stage.owner.iid,
        "people",
        [ContactDraft(phone=one) for one in others],
        default_region=None,
    )
    await scene.execute(
        """
        INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id, engine_id,
                              node_id, epoch, number, state, changed_by)
        SELECT repeat(n::text, 32), r.id, r.campaign_id, r.account_id, 1000 + n, '+1555010030' || n, '+1', r.trunk_id,
               'e1', 'n1', 1, 1, 'ringing', 'n1' FROM runs r, generate_series(1, 3) n
        """
    )
    found = await scene.not_claimed("free_lines")
    assert found.changes[1].choices == ("trunk",)


async def test_the_rate_lets_nothing_leave_yet(scene):
    later = datetime.now(UTC) + timedelta(seconds=90)
    await scene.execute(
        "INSERT INTO rate_budgets (key, next_at) VALUES ($1, $2)", f"trunk:{scene.stage.trunk.id}", later
    )
    found = await scene.not_claimed("rate")
    assert abs(found.changes[0].at - later) < timedelta(seconds=1)


@pytest.mark.parametrize("up", [False, True])
async def test_without_a_node_nobody_dials(stage, database, secret_box, up):
    if not up:
        await a_node(database, secret_box, up=False)
    scene = await started(stage)
    found = (await scene.explain()).explanation
    assert (found.decided_by, found.changes[0].kind) == ("dialer_nodes", ChangeKind.START_NODE)


async def test_a_stop_and_an_emergency_stop(scene):
    await scene.execute(
        "UPDATE runs SET state = 'stopped', ended_at = now(), changed_by = 'cs-1', change_reason = 'stop'"
    )
    await scene.not_claimed("run_state")
    async with scene.database.transaction() as connection:
        stop_id = wide_stops.new_id()
        await wide_stops_store.insert(connection, stop_id, StopTarget(StopScope.EVERYTHING), actor="test")
        await emergencies.declare(connection, stop_id, reason="wrong recording", actor="test")
    found = await scene.not_claimed("emergency_stop")
    assert "wrong recording" in found.sentence
    campaign = {"iid": scene.stage.owner.iid, "campaign_id": scene.stage.campaign_id}
    with pytest.raises(EmergencyStopError):
        await runs.start(scene.database, scene.stage.secrets, actor="test", **campaign)


async def test_retries_wait_for_first_tries_and_the_count_ahead_says_so(stage, database, secret_box):
    numbers = [PHONE, *(f"+155501002{number:02}" for number in range(5))]
    campaign_id = await add_campaign(database, stage.owner, numbers, rules=with_rules(), list_name="more", name="More")
    await a_node(database, secret_box)
    scene = await started(replace(stage, campaign_id=campaign_id))
    await scene.execute(
        "UPDATE run_contacts SET state = 'waiting', not_before = now(), attempts_count = 1 WHERE phone = $1", PHONE
    )
    assert (await scene.explain()).ahead_count == 5
    assert (await scene.explain(numbers[3])).ahead_count == 2


class TestWhoIsMeant:
    async def test_by_its_id_in_the_run(self, scene):
        contact_id = (await scene.contact())["contact_id"]
        found = await scene.explain(dialing_list_id(scene.run.instance_id, contact_id))
        assert (found.contact_id, found.phone) == (contact_id, PHONE)

    async def test_nobody_else(self, scene):
        with pytest.raises(NotFoundError):
            await scene.explain("+15550199999")
        with pytest.raises(NotFoundError):
            await scene.explain(dialing_list_id(scene.run.instance_id, 99))
        with pytest.raises(NotFoundError):
            await scene.explain("cdl-1")
        with pytest.raises(InvalidInputError):
            await scene.explain("nobody")

    async def test_one_number_twice_is_to_be_named_by_id(self, scene):
        await scene.execute("UPDATE run_contacts SET dedupe_key = 'contact:' || contact_id")
        await scene.execute(
            "INSERT INTO run_contacts (run_id, contact_id, phone, dedupe_key, sort_key) "
            "SELECT run_id, 99, phone, 'contact:99', sort_key + 1 FROM run_contacts"
        )
        with pytest.raises(ConflictError, match=dialing_list_id(scene.run.instance_id, 99)):
            await scene.explain()

    async def test_one_added_after_the_lists_were_read(self, scene):
        await contact_lists.add_contacts(
            scene.database, scene.stage.owner.iid, "people", [ContactDraft(phone="+15550100777")], default_region=None
        )
        found = await scene.explain("+15550100777")
        assert (found.contact_id, found.explanation.decided_by) == (None, "contact_state")

    async def test_a_campaign_that_never_ran(self, stage, database):
        asked = {"iid": stage.owner.iid, "campaign_id": stage.campaign_id}
        found = await explanations.explain_in_campaign(database, contact=PHONE, **asked)
        assert (found.run, found.explanation.decided_by) == (None, "run_state")
        await trunks.remove_trunk(database, stage.owner.iid, "line")
        found = await explanations.explain_in_campaign(database, contact=PHONE, **asked)
        assert found.explanation.steps[-1].changes[0].kind is ChangeKind.ADD_CALLER_ID
        with pytest.raises(BadReferenceError, match="caller ID"):
            await runs.start(database, stage.secrets, actor="test", **asked)
        with pytest.raises(NotFoundError):
            await explanations.explain_in_campaign(database, contact="+15550199999", **asked)

    async def test_another_application_is_told_nothing(self, scene):
        with pytest.raises(NotFoundError):
            await explanations.explain_in_run(
                scene.database, iid="st-other", instance_id=scene.run.instance_id, contact=PHONE
            )


class TestThePast:
    async def test_what_was_decided_then_is_told_and_nothing_is_decided_anew(self, scene):
        (attempt_id,) = await scene.dial()
        await scene.book(attempt_id, Disposition.BUSY, ContactNews(RunContactState.WAITING, after_seconds=600))
        now = await scene.explain()
        told = [(one.action, one.after) for one in now.past]
        assert told[:1] == [("attempt", "reserved")]
        assert ("attempt", "ended") in told
        assert ("run_contact", "waiting") in told
        allowed = now.past[0].detail["screening"]
        assert set(allowed["inputs"]) >= {"account_dnc", "calling_hours"}
        assert allowed["versions"]["tzdata"]
        before = await scene.explain(at=now.past[0].at)
        assert before.explanation is None
        assert before.past == now.past[:1]

    async def test_a_denial_stays(self, scene):
        await scene.execute("UPDATE run_contacts SET attempts_count = 2")
        await scene.dial()
        (row,) = (await scene.explain()).past
        assert (row.after, row.detail["rule"]) == ("done", "contact_attempts")
