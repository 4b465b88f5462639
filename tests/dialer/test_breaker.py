"""A carrier that fails: the run pauses itself and says why, and the trunk slows down for every node."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from dialing import dialing, phones, set_stage, with_rules
from engines import simulated
from outdial.core.model import Breaker, OwnRules, RunState
from outdial.core.pacing import BACKOFF_RECOVERY
from outdial.dialer import claim
from outdial.services import run_views, runs
from outdial.store import reserve
from outdial.telephony import simulated as simulated_module
from outdial.telephony.engine import CallEnded
from outdial.telephony.loopback import Phone, Rule
from waiting import until

OVERLOADED = Rule(0, 99, Phone.BUSY, "has too much to do", 503, 34)
BUSY = Rule(0, 99, Phone.BUSY, "is busy", 486, 17)
RULES = with_rules(max_attempts=1, own=OwnRules(breaker=Breaker(attempts=10, share=0.5)))


async def start(stage):
    return (
        await runs.start(
            stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
        )
    ).run


async def is_in(stage, run, state) -> bool:
    return (await runs.progress(stage.database, run.id)).run.state is state


async def test_it_pauses_itself_and_says_why_and_goes_on_once_resumed(database, secret_box, engines, tmp_path):
    # so slow that the run is not over before anybody looks
    stage = await set_stage(database, secret_box, phones(60), rules=RULES, calls_per_second=10.0)
    now = [OVERLOADED]
    async with simulated(rule_of=lambda _number: now[0]) as engine, dialing(stage, engine, tmp_path, engines=engines):
        run = await start(stage)
        await until(lambda: is_in(stage, run, RunState.PAUSED), seconds=60)
        sent = len(engine.sent)
        assert 10 <= sent < 60
        view = await run_views.view_run(database, iid=stage.owner.iid, instance_id=run.instance_id)
        paused = view.moves[-1]
        assert (paused.after, paused.actor) == (RunState.PAUSED, "breaker")
        assert "of the last 10 calls have failed" in paused.reason
        now[0] = BUSY
        await runs.resume(database, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
        # what failed before it was resumed counts no more
        await until(lambda: is_in(stage, run, RunState.COMPLETED), seconds=90)
    assert len({call.number for call in engine.sent}) == 60


async def test_it_pauses_itself_where_call_after_call_is_lost_with_its_connection(
    database, secret_box, engines, tmp_path, monkeypatch
):
    """Nobody of them is dialed again: else a trunk that fails would use up everybody."""

    def lost(*told, by_carrier):
        return CallEnded(*told, by_carrier=not by_carrier)

    monkeypatch.setattr(simulated_module, "CallEnded", lost)
    stage = await set_stage(database, secret_box, phones(60), rules=RULES, calls_per_second=10.0)
    async with database.connection() as connection:
        await connection.execute("UPDATE trunks SET transport = 'tcp'")
    async with (
        simulated(rule_of=lambda _number: OVERLOADED) as engine,
        dialing(stage, engine, tmp_path, engines=engines),
    ):
        run = await start(stage)
        await until(lambda: is_in(stage, run, RunState.PAUSED), seconds=60)
    view = await run_views.view_run(database, iid=stage.owner.iid, instance_id=run.instance_id)
    assert "10 of the last 10 calls have failed (10 unknown)" in view.moves[-1].reason
    assert 10 <= len(engine.sent) < 60


async def test_one_that_has_moved_on_is_left_alone(database, secret_box, engines):
    stage = await set_stage(database, secret_box, phones(3), rules=RULES)
    run = await start(stage)
    stale = replace(run, epoch=run.epoch + 1)
    assert await runs.pause_failing(database, engines, stale, reason="calls fail") is None
    assert await is_in(stage, run, RunState.ACTIVE)
    paused = await runs.pause_failing(database, engines, run, reason="calls fail")
    assert (paused.run.state, paused.problems) == (RunState.PAUSED, "")
    assert await runs.pause_failing(database, engines, run, reason="calls fail") is None


async def fail(connection, run, number, *, seconds_ago, code) -> None:
    """Write down a call that has ended so, placed by a node of its own."""
    await connection.execute(
        """
        INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                              engine_id, node_id, epoch, number, state, disposition, sip_code, ended_at,
                              changed_by)
        VALUES (md5(($1::integer)::text), $2, 'c', $3, $1, '+15550100001', '+1', $4, 'e', 'another', $7, 1,
                'ended', 'congestion', $5, now() - $6::interval, 'test')
        """,
        number,
        run.id,
        run.account_id,
        run.trunk_id,
        code,
        timedelta(seconds=seconds_ago),
        run.epoch,
    )


async def test_an_engine_that_hung_is_asked_again_until_the_pause_is_proven(
    database, secret_box, engines, tmp_path, capsys
):
    stage = await set_stage(database, secret_box, phones(60), rules=RULES, calls_per_second=2.0)

    async def told(word: str, seen: list[str]) -> bool:
        seen.append(capsys.readouterr().out)
        return any(word in text for text in seen)

    async with simulated(rule_of=lambda _number: BUSY) as engine, dialing(stage, engine, tmp_path, engines=engines):
        run = await start(stage)
        await until(lambda: bool(engine.sent))
        engine.freeze()
        async with database.connection() as connection:
            for number in range(10):
                await fail(connection, run, number, seconds_ago=0, code=503)
        seen: list[str] = []
        await until(lambda: told("pause_not_proven", seen), seconds=60)
        assert await is_in(stage, run, RunState.PAUSED)
        assert "pause_proven" not in "".join(seen)
        engine.thaw()
        await until(lambda: told("pause_proven", seen), seconds=60)


async def test_calls_lie_further_apart_after_a_refusal(database, secret_box, engines, tmp_path, monkeypatch):
    no_breaker = with_rules(max_attempts=1, own=OwnRules(breaker=None))
    stage = await set_stage(database, secret_box, phones(60), rules=no_breaker, calls_per_second=20.0)
    planned = {}
    plans = claim.make_plan

    def noted(run, trunk, facts, *asked, **more):
        made = plans(run, trunk, facts, *asked, **more)
        # so long after the last refusal the rate is not what it was again
        slow = bool(facts.refused_at) and facts.now - facts.refused_at[-1] < BACKOFF_RECOVERY
        for (_, attempt_id), at in zip(made.wish.wanted, made.instants, strict=True):
            planned[attempt_id] = at, slow
        return made

    monkeypatch.setattr(claim, "make_plan", noted)

    def slowly(engine):
        # what was planned and not reserved is planned once more
        return sorted(planned[call.call_id][0] for call in engine.sent if planned[call.call_id][1])

    async with simulated(rule_of=lambda _number: OVERLOADED) as engine, dialing(stage, engine, tmp_path):
        await start(stage)
        await until(lambda: len(slowly(engine)) >= 5, seconds=90)
    instants = slowly(engine)
    apart = [later - earlier for earlier, later in pairwise(instants)]
    # half of twenty a second or less
    assert min(apart) >= timedelta(seconds=0.1)
    # no call leaves before its instant, by clocks of one machine
    early = [planned[call.call_id][0] - call.at for call in engine.sent]
    assert max(early) < timedelta(milliseconds=20)


async def test_refusals_are_told_to_every_node(database, secret_box):
    stage = await set_stage(database, secret_box, phones(3))
    run = await start(stage)
    async with database.connection() as connection:
        for age, code in ((1, 503), (3, 429), (4, 486), (500, 503)):
            await fail(connection, run, age, seconds_ago=age, code=code)
        facts = await reserve.facts(connection, run)
        plan = "\n".join(
            row[0]
            for row in await connection.fetch(
                "EXPLAIN SELECT ended_at FROM attempts WHERE trunk_id = $1 AND sip_code IN (429, 503) "
                "AND ended_at > now()",
                run.trunk_id,
            )
        )
    assert [round((datetime.now(UTC) - at).total_seconds()) < 60 for at in facts.refused_at] == [True, True]
    assert "attempts_refused" in plan
