"""Runs share a trunk's lines by priority, over all nodes; caps of caller IDs hold; what holds a run back is said.

Claims are made as nodes make them, on a real database, without dialing anybody: what decides is who may reserve.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from dialing import add_campaign, dialing, phones, set_stage, with_rules
from engines import simulated
from outdial.api.metrics import Metrics
from outdial.core import shares
from outdial.core.model import EngineKind
from outdial.core.pacing import CallerCaps
from outdial.core.shares import LONGEST_WAIT
from outdial.dialer import claim as claim_module
from outdial.dialer.claim import IDLE_SECONDS, SHARED_SECONDS, TURN_SECONDS, claim
from outdial.services import caller_ids, run_views, runs
from outdial.services.webhook_keeper import WebhookCounts
from outdial.store import engines, metrics, nodes, turns
from outdial.store import reserve as reserve_store
from outdial.store import runs as runs_store
from outdial.store.nodes import NodeRow
from outdial.store.reserve import Verdict
from waiting import until

PEOPLE = 60


@pytest.fixture
async def stage(database, secret_box):
    made = await set_stage(database, secret_box, phones(PEOPLE), max_channels=1000, calls_per_second=1000.0)
    async with database.connection() as connection:
        await engines.put(
            connection,
            secret_box,
            engine_id="e1",
            kind=EngineKind.SIMULATED,
            url=None,
            username=None,
            password=None,
        )
        for name in ("n1", "n2"):
            await nodes.register(connection, NodeRow(name, name, "h", 1, f"app-{name}", "e1"), ttl_seconds=600)
    return made


def unhurried(monkeypatch) -> None:
    """However slow this machine is: what a run wants holds, and the others wait for it."""
    monkeypatch.setattr(turns, "WANTS_SECONDS", 600.0)
    monkeypatch.setattr(shares, "PATIENCE_SECONDS", 600.0)


async def begin(stage, campaign_id, *, priority: int):
    async with stage.database.connection() as connection:
        await connection.execute("UPDATE campaigns SET priority = $2 WHERE id = $1", campaign_id, priority)
    started = await runs.start(
        stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=campaign_id, actor="test"
    )
    return started.run


async def another(stage, numbers, *, priority: int):
    campaign_id = await add_campaign(stage.database, stage.owner, numbers, list_name="others", name="Summer")
    return await begin(stage, campaign_id, priority=priority)


async def ask(stage, run, node="n1", *, trunk=None):
    """Claim as a worker does: again where another was faster, or the budgets did not exist yet."""
    while True:
        found = await claim(stage.database, run, trunk or stage.trunk, node, many=False, asked=set())
        if found.verdict is not Verdict.CONFLICT:
            return found


async def taken(stage, run) -> int:
    async with stage.database.connection() as connection:
        return await connection.fetchval("SELECT count(*) FROM attempts WHERE run_id = $1", run.id)


async def hang_up(stage, *, count: int = 1000, disposition: str = "busy") -> None:
    async with stage.database.connection() as connection:
        await connection.execute(
            """
            UPDATE attempts SET state = 'ended', disposition = $2, dialed_at = clock_timestamp(),
                   ended_at = clock_timestamp()
             WHERE id IN (SELECT id FROM attempts WHERE state = 'reserved' ORDER BY reserved_at LIMIT $1)
            """,
            count,
            disposition,
        )


async def rate_is_free(stage) -> None:
    async with stage.database.connection() as connection:
        await connection.execute("UPDATE rate_budgets SET next_at = clock_timestamp() - interval '1 day'")


async def passed(stage) -> set[int]:
    async with stage.database.connection() as connection:
        rows = await connection.fetch("SELECT run_id FROM run_turns WHERE passed_since IS NOT NULL")
    return {row["run_id"] for row in rows}


async def pass_time(stage) -> None:
    async with stage.database.connection() as connection:
        await connection.execute("UPDATE run_turns SET passed_since = passed_since - interval '1 hour'")


async def share_of(stage, run) -> float:
    async with stage.database.connection() as connection:
        return await connection.fetchval("SELECT coalesce(max(share), 0) FROM run_turns WHERE run_id = $1", run.id)


async def held_by(stage, run) -> str | None:
    async with stage.database.connection() as connection:
        return await turns.held_by(connection, run.id)


class TestShares:
    async def test_lines_that_become_free_one_by_one_go_by_priority(self, stage, monkeypatch):
        """A trunk whose lines are all taken: each call that ends makes room for one, whoever asks first and oftener."""
        unhurried(monkeypatch)
        high = await begin(stage, stage.campaign_id, priority=5)
        low = await another(stage, phones(PEOPLE, area=556), priority=1)
        trunk = replace(stage.trunk, max_channels=1, calls_per_second=1.0)
        order = [high, low, low, low, high, low]
        for turn in range(300):
            run = order[turn % len(order)]
            await ask(stage, run, "n1" if turn % 2 else "n2", trunk=trunk)
            async with stage.database.connection() as connection:
                # the trunk's rate is another test's
                await connection.execute("UPDATE rate_budgets SET next_at = clock_timestamp() - interval '1 day'")
            await hang_up(stage)
            if await taken(stage, high) + await taken(stage, low) == 36:
                break
        got = await taken(stage, high), await taken(stage, low)
        assert sum(got) == 36
        assert abs(got[0] - 30) <= 1

    async def test_a_run_that_has_nobody_to_dial_lends_everything(self, stage):
        high = await begin(stage, stage.campaign_id, priority=5)
        low = await another(stage, phones(PEOPLE, area=556), priority=1)
        for run in (high, low):
            await ask(stage, run)
        async with stage.database.connection() as connection:
            await connection.execute(
                "UPDATE run_contacts SET state = 'done', done_reason = 'reached' WHERE run_id = $1", high.id
            )
            await connection.execute("UPDATE rate_budgets SET next_at = clock_timestamp() - interval '1 day'")
        assert (await ask(stage, high)).exhausted
        # at once, not once its wish has lapsed
        before = await taken(stage, low)
        await ask(stage, low)
        assert await taken(stage, low) == before + 16

    async def test_whose_turn_it_is_not_waits_and_it_is_said(self, stage, monkeypatch):
        unhurried(monkeypatch)
        high = await begin(stage, stage.campaign_id, priority=5)
        low = await another(stage, phones(PEOPLE, area=556), priority=1)
        for run in (high, low):
            await ask(stage, run)
        async with stage.database.connection() as connection:
            await connection.execute("UPDATE run_turns SET share = share + 100 WHERE run_id = $1", low.id)
        # to take turns is no waiting
        assert not (await ask(stage, low)).places
        assert await held_by(stage, low) is None
        async with stage.database.connection() as connection:
            await connection.execute(
                "UPDATE run_turns SET wants_until = clock_timestamp() + interval '1.9 seconds' WHERE run_id = $1",
                low.id,
            )
        found = await ask(stage, low)
        assert (found.places, found.verdict) == ((), Verdict.RESERVED)
        assert found.wait_seconds > 0
        assert await held_by(stage, low) == "turn"
        assert await held_by(stage, high) is None
        # who waits for nobody any more takes its lines
        async with stage.database.connection() as connection:
            await connection.execute("UPDATE run_turns SET wants_until = '-infinity' WHERE run_id = $1", high.id)
            await connection.execute("UPDATE rate_budgets SET next_at = clock_timestamp() - interval '1 day'")
        assert (await ask(stage, low)).places

    async def test_one_that_is_slow_by_itself_holds_nobody_up(self, stage):
        slow = await begin(stage, stage.campaign_id, priority=5)
        fast = await another(stage, phones(PEOPLE, area=556), priority=1)
        async with stage.database.connection() as connection:
            await connection.execute("UPDATE runs SET calls_per_second = 1 WHERE id = $1", slow.id)
        slow = (await runs.progress(stage.database, slow.id)).run
        await ask(stage, slow)
        assert await taken(stage, slow) == 1

        async def all_of_them() -> bool:
            await ask(stage, fast)
            return await taken(stage, fast) == PEOPLE

        await until(all_of_them)
        assert await held_by(stage, fast) is None

    async def test_what_is_called_while_the_other_wants_nothing_is_not_made_good(self, stage, monkeypatch):
        """The other is active and outside its hours: all of its people are deferred."""
        unhurried(monkeypatch)
        early = await begin(stage, stage.campaign_id, priority=1)
        late = await another(stage, phones(PEOPLE, area=556), priority=5)
        async with stage.database.connection() as connection:
            await connection.execute(
                "UPDATE run_contacts SET state = 'waiting', not_before = clock_timestamp() + interval '1 day' "
                "WHERE run_id = $1",
                late.id,
            )
        await ask(stage, late)
        while await taken(stage, early) < 40:
            await ask(stage, early)
            await rate_is_free(stage)
        assert await share_of(stage, early) == 0
        async with stage.database.connection() as connection:
            await connection.execute(
                "UPDATE run_contacts SET not_before = clock_timestamp() WHERE run_id = $1", late.id
            )
        await ask(stage, late)
        assert await taken(stage, late) > 0

    @pytest.mark.parametrize("slow", [False, True])
    async def test_an_old_share_keeps_no_run_from_its_turn(self, stage, monkeypatch, slow):
        """The other began while this one, far ahead from another time, wanted nothing."""
        unhurried(monkeypatch)
        old = await begin(stage, stage.campaign_id, priority=1)
        new = await another(stage, phones(PEOPLE, area=556), priority=5)
        trunk = replace(stage.trunk, calls_per_second=1.0)
        async with stage.database.connection() as connection:
            await connection.execute("INSERT INTO run_turns (run_id, share) VALUES ($1, 5000)", old.id)
            if slow:
                await connection.execute("UPDATE runs SET calls_per_second = 0.1 WHERE id = $1", old.id)
        old = (await runs.progress(stage.database, old.id)).run
        await ask(stage, new, trunk=trunk)
        for _ in range(10):
            for run in (old, new):
                await rate_is_free(stage)
                await ask(stage, run, trunk=trunk)
        assert await taken(stage, old) >= 1
        assert await taken(stage, new) >= 5

    async def test_whose_turn_it_is_not_and_who_has_nobody_to_dial_wants_nothing_and_completes(self, stage):
        done = await begin(stage, stage.campaign_id, priority=1)
        other = await another(stage, phones(PEOPLE, area=556), priority=5)
        for run in (done, other):
            await ask(stage, run)
        async with stage.database.connection() as connection:
            await connection.execute(
                "UPDATE run_contacts SET state = 'done', done_reason = 'reached' WHERE run_id = $1", done.id
            )
            await connection.execute(
                "UPDATE run_turns SET share = share + 100, wants_until = clock_timestamp() + interval '1.9 seconds' "
                "WHERE run_id = $1",
                done.id,
            )
            await connection.execute(
                "UPDATE run_turns SET wants_until = clock_timestamp() + interval '1 hour' WHERE run_id = $1", other.id
            )
        assert (await ask(stage, done)).exhausted
        async with stage.database.connection() as connection:
            assert await connection.fetchval(
                "SELECT wants_until = '-infinity' FROM run_turns WHERE run_id = $1", done.id
            )

    async def test_who_waits_for_its_turn_looks_again_no_sooner_than_there_is_a_slot(self, stage, monkeypatch):
        unhurried(monkeypatch)
        first = await begin(stage, stage.campaign_id, priority=5)
        second = await another(stage, phones(PEOPLE, area=556), priority=1)
        for run in (first, second):
            await ask(stage, run)
        async with stage.database.connection() as connection:
            await connection.execute("UPDATE run_turns SET share = share + 100 WHERE run_id = $1", second.id)
            await connection.execute("UPDATE rate_budgets SET next_at = clock_timestamp() - interval '1 day'")
        full = replace(stage.trunk, max_channels=1)
        assert (await ask(stage, second)).wait_seconds == TURN_SECONDS
        assert (await ask(stage, first, trunk=full)).wait_seconds == SHARED_SECONDS
        async with stage.database.connection() as connection:
            await connection.execute("UPDATE rate_budgets SET next_at = clock_timestamp() + interval '1 hour'")
        assert (await ask(stage, second)).wait_seconds == LONGEST_WAIT
        assert (await ask(stage, first, trunk=full)).wait_seconds == LONGEST_WAIT
        # whose turn it is says every second that it wants
        assert (await ask(stage, first)).wait_seconds == IDLE_SECONDS

    async def test_nobody_waits_long_for_one_that_could_take_a_call_and_does_not(self, stage, monkeypatch):
        """Its node or its engine is slow, but still claims now and then."""
        unhurried(monkeypatch)
        slow = await begin(stage, stage.campaign_id, priority=5)
        fast = await another(stage, phones(PEOPLE, area=556), priority=1)
        for run in (slow, fast):
            await ask(stage, run)
        await rate_is_free(stage)
        async with stage.database.connection() as connection:
            await connection.execute("UPDATE run_turns SET share = share + 100 WHERE run_id = $1", fast.id)
        assert not (await ask(stage, fast)).places
        assert await passed(stage) == {slow.id}
        # not at once
        assert not (await ask(stage, fast)).places
        await pass_time(stage)
        assert (await ask(stage, fast)).places
        # it comes back as one that had wanted nothing, and is waited for again
        await rate_is_free(stage)
        assert (await ask(stage, slow)).places
        assert await passed(stage) == set()
        assert await share_of(stage, slow) >= await share_of(stage, fast)

    async def test_one_that_finds_no_line_when_it_looks_has_let_none_pass(self, stage, monkeypatch):
        unhurried(monkeypatch)
        first = await begin(stage, stage.campaign_id, priority=5)
        second = await another(stage, phones(PEOPLE, area=556), priority=1)
        for run in (first, second):
            await ask(stage, run)
        await rate_is_free(stage)
        async with stage.database.connection() as connection:
            await connection.execute("UPDATE run_turns SET share = share + 100 WHERE run_id = $1", second.id)
        await ask(stage, second)
        assert await passed(stage) == {first.id}
        await ask(stage, first, trunk=replace(stage.trunk, max_channels=1))
        assert await passed(stage) == set()
        # nor while the trunk's rate lets no call leave
        async with stage.database.connection() as connection:
            await connection.execute("UPDATE rate_budgets SET next_at = clock_timestamp() + interval '1 hour'")
        await ask(stage, second)
        assert await passed(stage) == set()

    async def test_a_run_alone_writes_nothing(self, stage):
        run = await begin(stage, stage.campaign_id, priority=5)
        assert (await ask(stage, run)).places
        async with stage.database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM run_turns") == 0


async def test_a_node_that_falls_silent_after_a_reservation_keeps_nobody_waiting(stage, monkeypatch):
    """It is frozen, or its connection is, right after the database has answered: no lock may be left with it."""
    first = await begin(stage, stage.campaign_id, priority=5)
    second = await another(stage, phones(PEOPLE, area=556), priority=1)
    for run in (first, second):
        await ask(stage, run)
    await hang_up(stage)
    async with stage.database.connection() as connection:
        await connection.execute("UPDATE rate_budgets SET next_at = clock_timestamp() - interval '1 day'")
        await connection.execute("UPDATE run_turns SET share = 0")
    real, silent, go_on = reserve_store.reserve, asyncio.Event(), asyncio.Event()

    async def reserve(connection, run, node_id, wish):
        answer = await real(connection, run, node_id, wish)
        if run.id == first.id and answer[1]:
            silent.set()
            await go_on.wait()
        return answer

    monkeypatch.setattr(claim_module.store, "reserve", reserve)
    frozen = asyncio.create_task(ask(stage, first))
    try:
        await asyncio.wait_for(silent.wait(), 20)
        async with stage.database.connection() as connection:
            # every lock that outlasts a statement belongs to a transaction
            held = await connection.fetch(
                "SELECT l.locktype, l.mode FROM pg_locks l JOIN pg_stat_activity s USING (pid) "
                "WHERE s.datname = current_database() AND s.state = 'idle in transaction'"
            )
        assert held == []
        async with stage.database.connection() as connection:
            share = await connection.fetchval("SELECT share FROM run_turns WHERE run_id = $1", first.id)
        # what it has taken is written down all the same
        assert share > 0
        async with stage.database.transaction() as connection:
            await runs_store.lock_run(connection, first.id)
        assert (await ask(stage, second, "n2")).verdict is Verdict.RESERVED
    finally:
        go_on.set()
        await frozen


async def test_a_node_dials_both_to_their_end_and_the_more_important_one_faster(database, secret_box, tmp_path):
    rules = with_rules(max_attempts=1)
    stage = await set_stage(
        database, secret_box, phones(40, last="70"), rules=rules, max_channels=4, calls_per_second=1000.0
    )
    high = await begin(stage, stage.campaign_id, priority=5)
    others = phones(40, last="70", area=556)
    campaign_id = await add_campaign(database, stage.owner, others, rules=rules, list_name="others", name="Summer")
    low = await begin(stage, campaign_id, priority=1)

    async def all_called() -> bool:
        return await taken(stage, high) + await taken(stage, low) == 80

    async with simulated() as engine, dialing(stage, engine, tmp_path):
        await until(all_called, seconds=120)
    async with database.connection() as connection:
        order = await connection.fetch("SELECT run_id FROM attempts ORDER BY reserved_at LIMIT 42")
    first = [row["run_id"] for row in order].count(high.id)
    # five of six, save for what the first to ask has had to itself
    assert first >= 28


async def cap(stage, **caps) -> None:
    await caller_ids.set_caps(
        stage.database,
        iid=stage.owner.iid,
        phone=stage.trunk.caller_ids[0],
        caps=CallerCaps(**caps),
        actor="test",
    )


class TestCallerIds:
    async def test_calls_at_once_are_capped_over_runs_and_nodes(self, stage, monkeypatch):
        unhurried(monkeypatch)
        first = await begin(stage, stage.campaign_id, priority=5)
        second = await another(stage, phones(PEOPLE, area=556), priority=5)
        await cap(stage, max_concurrent_calls=3)
        for _ in range(6):
            await asyncio.gather(*(ask(stage, run, node) for run in (first, second) for node in ("n1", "n2")))
            assert await taken(stage, first) + await taken(stage, second) <= 3
        assert await taken(stage, first) + await taken(stage, second) == 3
        assert {await held_by(stage, first), await held_by(stage, second)} == {"caller_id"}
        shown = await run_views.view_run(stage.database, iid=stage.owner.iid, instance_id=first.instance_id)
        assert shown.held_by == "caller_id"
        async with stage.database.connection() as connection:
            live = await metrics.live(connection)
        assert live.held == {"caller_id": 2}
        text = Metrics(WebhookCounts()).text(live)
        assert b'outdial_runs_held{by="caller_id"} 2.0' in text
        await hang_up(stage, count=1)
        await ask(stage, first)
        await ask(stage, second)
        assert await taken(stage, first) + await taken(stage, second) == 4

    async def test_calls_in_a_day_are_capped_and_those_never_sent_do_not_count(self, stage):
        run = await begin(stage, stage.campaign_id, priority=5)
        await cap(stage, calls_per_day=2, max_concurrent_calls=1)
        await ask(stage, run)
        async with stage.database.connection() as connection:
            await connection.execute(
                "UPDATE attempts SET state = 'ended', disposition = 'cancelled', ended_at = clock_timestamp()"
            )
        for _ in range(4):
            await ask(stage, run)
            await hang_up(stage)
        assert await taken(stage, run) == 3
        await ask(stage, run)
        assert await held_by(stage, run) == "caller_id_day"
        async with stage.database.connection() as connection:
            await connection.execute("UPDATE attempts SET reserved_at = reserved_at - interval '25 hours'")
        await ask(stage, run)
        assert await taken(stage, run) == 4

    async def test_calls_a_second_are_spaced_over_runs(self, stage):
        first = await begin(stage, stage.campaign_id, priority=5)
        second = await another(stage, phones(PEOPLE, area=556), priority=5)
        await cap(stage, calls_per_second=5.0)
        places = []
        for run in (first, second, first, second):
            places += (await ask(stage, run)).places
        # the horizon holds two at 5 a second, whoever takes them
        assert 1 <= len(places) <= 3
        instants = sorted(place.at for place in places)
        assert all(later - earlier > 0.15 for earlier, later in pairwise(instants))

    async def test_without_caps_there_are_none(self, stage):
        run = await begin(stage, stage.campaign_id, priority=5)
        await cap(stage, max_concurrent_calls=1)
        await ask(stage, run)
        await cap(stage)
        await ask(stage, run)
        assert await taken(stage, run) == 17
