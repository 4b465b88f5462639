"""A waterfall's last count is what the dialer then dials, over a real database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dialing import add_campaign, phones, set_stage, with_rules
from outdial.core import waterfall as core
from outdial.core.attempt_limits import Counted, LimitRule
from outdial.core.model import EngineKind
from outdial.core.screening import screen
from outdial.dialer.claim import claim
from outdial.services import attempt_limits, explanations, runs
from outdial.store import engines, nodes
from outdial.store.nodes import NodeRow

NODE = "n1"


@pytest.fixture
async def stage(database, secret_box):
    made = await set_stage(database, secret_box, phones(40), rules=with_rules(max_attempts=3), max_channels=100)
    async with database.connection() as connection:
        await engines.put(
            connection, secret_box, engine_id="e1", kind=EngineKind.SIMULATED, url=None, username=None, password=None
        )
        await nodes.register(connection, NodeRow(NODE, NODE, "h", 1, "app-n1", "e1"), ttl_seconds=600)
        await connection.execute("UPDATE nodes SET engine_up = true")
    return made


@pytest.fixture
async def run(stage):
    begun = await runs.start(
        stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
    )
    return begun.run


async def execute(database, *statements):
    async with database.connection() as connection:
        for statement in statements:
            await connection.execute(statement)


NTH = (
    "contact_id IN (SELECT contact_id FROM run_contacts WHERE run_id = {run} ORDER BY sort_key "
    "OFFSET {skip} LIMIT {count})"
)


async def a_crowd(stage, run):
    """Forty contacts, five of them at each of seven places, and five who may be dialed."""

    def some(place):
        return NTH.format(run=run.id, skip=place * 5, count=5)

    await execute(
        stage.database,
        f"UPDATE run_contacts SET state = 'done', done_reason = 'reached' WHERE {some(0)}",
        "INSERT INTO dnc_entries (dnc_list_id, phone, added_by) SELECT r.dnc_list_ids[1], c.phone, 'test' "
        f"FROM runs r, run_contacts c WHERE {some(1)}",
        f"UPDATE run_contacts SET state = 'waiting', not_before = now() + interval '1 hour' WHERE {some(2)}",
        "UPDATE run_contacts SET state = 'waiting', not_before = now() + interval '2 hours', "
        f'screening = \'{{"rule": "calling_hours"}}\' WHERE {some(3)}',
        f"UPDATE run_contacts SET attempts_count = 3 WHERE {some(4)}",
        # no zone of that name: closed for ever
        "UPDATE contacts SET time_zone = 'Mars/Olympus' WHERE id IN "
        f"(SELECT contact_id FROM run_contacts WHERE {some(5)})",
        f"UPDATE run_contacts SET state = 'claimed' WHERE {some(6)}",
    )


async def claimed(stage, run) -> int:
    """Let the dialer claim all it can; return how many attempts that made."""
    for _ in range(20):
        # the trunk's rate is not what is asked about here
        await execute(stage.database, "UPDATE rate_budgets SET next_at = clock_timestamp()")
        trunk = replace(stage.trunk, calls_per_second=10_000.0)
        await claim(stage.database, run, trunk, NODE, many=True, asked=set())
    async with stage.database.connection() as connection:
        return await connection.fetchval("SELECT count(*) FROM attempts")


async def test_step_by_step_down_to_those_who_are_dialed(stage, run):
    await a_crowd(stage, run)
    found = await explanations.waterfall_of(stage.database, run)
    assert [(fall.code, fall.lost, fall.left) for fall in found.falls] == [
        ("reached", 5, 35),
        ("contact_state", 5, 30),
        ("do_not_call", 5, 25),
        ("calling_hours", 5, 20),
        ("retry_period", 5, 15),
        ("contact_attempts", 5, 10),
        ("calling_hours", 5, 5),
    ]
    assert (found.dialable, found.estimate, found.blocked_by) == (5, False, None)
    assert await claimed(stage, run) == 5


async def test_a_number_that_is_being_called_and_one_called_often_enough(stage, run, database):
    other = await add_campaign(database, stage.owner, phones(2), rules=with_rules(), list_name="others", name="Autumn")
    begun = await runs.start(database, stage.secrets, iid=stage.owner.iid, campaign_id=other, actor="test")
    await claimed(stage, begun.run)
    await execute(
        database,
        "UPDATE attempts SET state = 'ended', disposition = 'busy', dialed_at = now(), ended_at = now() "
        "WHERE id = (SELECT min(id) FROM attempts)",
    )
    await attempt_limits.add_limit(
        database, LimitRule(1, 3600, Counted.ATTEMPTS), account_id=stage.owner.account_id, actor="test"
    )
    found = await explanations.waterfall_of(database, run)
    assert [(fall.code, fall.lost) for fall in found.falls] == [("live_call", 1), ("number_limits", 1)]
    assert found.dialable == 38


async def test_of_many_a_sample_is_asked(stage, run, monkeypatch):
    monkeypatch.setattr(explanations, "LARGEST_SAMPLE", 10)
    asked = []

    def counting(*args, **options):
        asked.append(args[0].contact_id)
        return screen(*args, **options)

    monkeypatch.setattr(explanations, "screen", counting)
    await execute(stage.database, "UPDATE contacts SET time_zone = 'Mars/Olympus'")
    found = await explanations.waterfall_of(stage.database, run)
    assert 0 < len(set(asked)) == len(asked) < 40
    assert (found.estimate, found.dialable, found.falls[0].lost) == (True, 0, 40)
    assert core.LARGEST_SAMPLE == 2_000


async def test_a_run_that_was_stopped_says_so(stage, run):
    await execute(stage.database, "UPDATE runs SET state = 'stopped', ended_at = now(), change_reason = 'enough'")
    found = await explanations.waterfall_of(stage.database, run)
    assert found.blocked_by == "run_state"
    assert found.sentence == "Nothing is dialing because the run was stopped (by test: enough)."
    assert abs(found.at - datetime.now(UTC)) < timedelta(minutes=5)
