"""Attempt limits: the database says what the pure rule says, and whoever races, no number gets one call more."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dialing import add_campaign, phones, set_stage
from outdial.core.attempt_limits import Counted, LimitRule, standing
from outdial.core.errors import DatabaseUnavailableError
from outdial.core.model import AttemptState, Disposition, DoneReason, EngineKind, RunContactState
from outdial.dialer.claim import make_plan
from outdial.services import attempt_limits, runs
from outdial.store import attempts, engines, nodes, reserve
from outdial.store.attempts import AttemptNews, ContactNews
from outdial.store.nodes import NodeRow
from outdial.store.reserve import Reservation
from runs import waits_for_a_lock
from waiting import until

NUMBERS = phones(6)
HOUR = 3600


@pytest.fixture
async def stage(database, secret_box):
    found = await set_stage(database, secret_box, NUMBERS)
    async with database.connection() as connection:
        await engines.put(
            connection, secret_box, engine_id="e", kind=EngineKind.SIMULATED, url=None, username=None, password=None
        )
        for name in ("n1", "n2"):
            await nodes.register(connection, NodeRow(name, name, "h", 1, f"app-{name}", "e"), ttl_seconds=600)
    return found


@pytest.fixture
async def two(stage):
    """Two runs over the same people."""
    other = await add_campaign(stage.database, stage.owner, NUMBERS, list_name="again", name="Again")
    return [
        (
            await runs.start(stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=campaign_id, actor="test")
        ).run
        for campaign_id in (stage.campaign_id, other)
    ]


async def limit(stage, count, counts=Counted.ATTEMPTS, seconds=HOUR, matter=None, **scope):
    rule = LimitRule(count, seconds, counts, matter)
    return await attempt_limits.add_limit(
        stage.database, rule, account_id=stage.owner.account_id, actor="test", **scope
    )


async def look(stage, run):
    async with stage.database.connection() as connection:
        facts = await reserve.facts(connection, run)
        return facts, await reserve.candidates(connection, run, 16, facts.limits)


async def ask(stage, run, node, people) -> dict[str, int]:
    """Reserve; return the ids of the attempts with their contacts."""
    wanted = [(contact_id, uuid.uuid4().hex) for contact_id in people]
    async with stage.database.connection() as connection:
        _, made = await reserve.reserve(connection, run, node, Reservation((), (), wanted, (), 99, 99, None))
    return {attempt_id: contact_id for contact_id, attempt_id in wanted if attempt_id in made}


async def end(stage, made, *, sent=True, disposition=Disposition.BUSY):
    """Let the attempts end, and their contacts be due again at once."""
    now = datetime.now(UTC)
    contact = (
        ContactNews(RunContactState.WAITING, after_seconds=0)
        if sent
        else ContactNews(RunContactState.PENDING, uncounted=True)
    )
    news = [
        AttemptNews(
            id=one,
            state=AttemptState.ENDED,
            by="test",
            disposition=disposition if sent else Disposition.CANCELLED,
            dialed_at=now if sent else None,
            ended_at=now,
            contact=contact,
        )
        for one in made
    ]
    async with stage.database.connection() as connection:
        await attempts.book(connection, news)


async def calls(stage) -> Counter[str]:
    async with stage.database.connection() as connection:
        rows = await connection.fetch("SELECT phone FROM attempts WHERE dialed_at IS NOT NULL OR ended_at IS NULL")
    return Counter(row["phone"] for row in rows)


def screened(run, trunk, facts, found):
    return make_plan(run, trunk, facts, found, (uuid.uuid4() for _ in found), free=16).wish


async def test_what_another_campaign_has_called_counts(stage, two):
    await limit(stage, 1)
    first, second = two
    _, found = await look(stage, first)
    await end(stage, await ask(stage, first, "n1", [one.contact_id for one in found[:2]]))
    facts, found = await look(stage, second)
    wish = screened(second, stage.trunk, facts, found)
    assert len(wish.wanted) == 4
    assert {at > facts.now + timedelta(seconds=HOUR - 60) for _, at in wish.deferred} == {True}
    assert {one["rule"] for one in wish.decisions.values() if "rule" in one} == {"number_limits"}


async def test_what_was_never_sent_does_not_count(stage, two):
    await limit(stage, 1)
    _, found = await look(stage, two[0])
    people = [one.contact_id for one in found]
    await end(stage, await ask(stage, two[0], "n1", people), sent=False)
    assert len(await ask(stage, two[0], "n1", people)) == 6


@pytest.mark.parametrize("counts", [Counted.CONVERSATIONS, Counted.ABANDONED])
async def test_each_kind_holds_back_after_its_own_ending_only(stage, two, counts):
    await limit(stage, 1, counts)
    _, found = await look(stage, two[0])
    people = [one.contact_id for one in found]
    ending = Disposition.ANSWERED_HUMAN if counts is Counted.CONVERSATIONS else Disposition.ABANDONED
    made = list(await ask(stage, two[0], "n1", people))
    await end(stage, made[:2], disposition=ending)
    await end(stage, made[2:])
    assert len(await ask(stage, two[0], "n1", people)) == 4


async def test_a_limit_added_after_the_look_holds(stage, two):
    _, found = await look(stage, two[0])
    people = [one.contact_id for one in found]
    await end(stage, await ask(stage, two[0], "n1", people))
    await limit(stage, 1)
    assert await ask(stage, two[0], "n1", people) == {}
    assert await ask(stage, two[1], "n1", [one.contact_id for one in (await look(stage, two[1]))[1]]) == {}


async def test_one_campaigns_limit_leaves_the_others_alone(stage, two):
    first, second = two
    await limit(stage, 1, iid=stage.owner.iid, campaign_id=second.campaign_id)
    _, found = await look(stage, first)
    for _ in range(2):
        await end(stage, await ask(stage, first, "n1", [one.contact_id for one in found]))
    assert set((await calls(stage)).values()) == {2}
    assert (await look(stage, first))[0].limits == ()
    _, found = await look(stage, second)
    assert await ask(stage, second, "n1", [one.contact_id for one in found]) == {}


async def test_by_matter(stage, two):
    await limit(stage, 1, matter="debt")
    async with stage.database.connection() as connection:
        await connection.execute("UPDATE contacts SET attributes = jsonb_build_object('debt', list_id)")
        # nobody knows what these are about
        await connection.execute("UPDATE contacts SET attributes = '{}' WHERE phone = ANY ($1)", NUMBERS[:2])
    for run in two:
        _, found = await look(stage, run)
        await end(stage, await ask(stage, run, "n1", [one.contact_id for one in found]))
    made = await calls(stage)
    assert {number: made[number] for number in NUMBERS} == dict.fromkeys(NUMBERS[:2], 1) | dict.fromkeys(NUMBERS[2:], 2)


async def test_one_that_was_made_and_ended_while_we_waited_for_its_number_is_seen(stage, two):
    """The look before the insert cannot see it; the one after, under our own live attempt, does."""
    await limit(stage, 1)
    first, second = two
    _, (one, *_) = await look(stage, second)
    async with stage.database.transaction() as racing:
        await racing.execute(
            """
            INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                  engine_id, node_id, epoch, number, state, changed_by)
            VALUES ($1, $2, 'c', $3, 0, $4, '+1', 't', 'e', 'n1', 1, 1, 'reserved', 'test')
            """,
            "f" * 32,
            first.id,
            first.account_id,
            one.phone,
        )
        asked = asyncio.create_task(ask(stage, second, "n2", [one.contact_id]))
        await until(lambda: waits_for_a_lock(stage.database))
        await racing.execute(
            "UPDATE attempts SET state = 'ended', disposition = 'busy', dialed_at = now(), ended_at = now() "
            "WHERE id = $1",
            "f" * 32,
        )
    with pytest.raises(DatabaseUnavailableError):
        await asked
    assert await ask(stage, second, "n2", [one.contact_id]) == {}
    assert (await calls(stage))[one.phone] == 1


@pytest.mark.parametrize("seed", range(3))
async def test_two_nodes_and_two_campaigns_racing_never_pass_a_limit(stage, two, seed):
    most = 1 + seed
    await limit(stage, most)

    async def dial(run, node, dice) -> None:
        for _ in range(12):
            # whoever looks only now and then asks for what others have used up meanwhile
            _, found = await look(stage, run)
            people = [one.contact_id for one in found]
            dice.shuffle(people)
            for _ in range(3):
                try:
                    made = await ask(stage, run, node, people[: dice.randrange(1, 7)])
                except DatabaseUnavailableError:
                    continue
                await end(stage, made, sent=dice.random() < 0.8)

    await asyncio.gather(
        *(dial(run, node, random.Random(f"{seed} {run.id} {node}")) for run in two for node in ("n1", "n2"))
    )
    made = await calls(stage)
    assert set(made.values()) == {most}, f"seed {seed}: {made}"


async def insert_past(connection, run, phone, age, disposition, dialed, matters, length) -> None:
    await connection.execute(
        """
        INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                              engine_id, node_id, epoch, number, state, disposition, reserved_at, dialed_at,
                              ended_at, matters, changed_by)
        VALUES ($1, $2, 'c', $3, 0, $4, '+1', 't', 'e', 'n', 1, 1, 'ended', $5, now() - $6::interval,
                CASE WHEN $7 THEN now() - $6::interval END, now() - $8::interval, $9, 'test')
        """,
        uuid.uuid4().hex,
        run.id,
        run.account_id,
        phone,
        disposition,
        timedelta(seconds=age),
        dialed,
        timedelta(seconds=max(age - length, 0)),
        matters,
    )


async def test_the_database_says_what_the_rule_says(stage, two):
    dice = random.Random(20261126)
    run = two[0]
    held = 0
    for lot in range(40):
        rule = LimitRule(
            dice.randrange(1, 5), dice.randrange(100, 1000), dice.choice(list(Counted)), dice.choice([None, "debt"])
        )
        made = await limit(stage, rule.count, rule.counts, rule.window_seconds, rule.matter)
        async with stage.database.transaction() as connection:
            await connection.execute("DELETE FROM attempts")
            for _ in range(dice.randrange(12)):
                await insert_past(
                    connection,
                    run,
                    NUMBERS[0],
                    # never at a window's very end, which the two looks have at another instant
                    dice.randrange(1, 24) * 50 + 25,
                    dice.choice([one.value for one in Disposition]),
                    dice.random() < 0.7,
                    dice.choice([None, {"debt": "1"}, {"debt": "2"}, {"other": "1"}]),
                    dice.randrange(10),
                )
        about = dice.choice([{}, {"debt": "1"}])
        facts, found = await look(stage, run)
        (one,) = [each for each in found if each.phone == NUMBERS[0]]
        said = standing(rule, one.past, about, facts.now).free_at is not None
        async with stage.database.connection() as connection:
            beyond = await connection.fetchval(
                "SELECT outdial_beyond_limits($1, $2, $3, $4, $5)",
                run.account_id,
                run.iid,
                run.campaign_id,
                [NUMBERS[0]],
                about,
            )
        assert beyond is said, (lot, rule, one.past)
        held += said
        await attempt_limits.remove_limit(stage.database, made.id, account_id=run.account_id, iid=None, actor="test")
    assert 5 < held < 35


async def test_a_call_back_obeys_limits_and_so_does_a_retry(stage, two):
    await limit(stage, 1)
    run = two[0]
    _, (one, *_) = await look(stage, run)
    await end(stage, await ask(stage, run, "n1", [one.contact_id]))
    async with stage.database.connection() as connection:
        await connection.execute(
            "UPDATE run_contacts SET callback_at = now(), not_before = now() WHERE run_id = $1 AND contact_id = $2",
            run.id,
            one.contact_id,
        )
    facts, found = await look(stage, run)
    assert found[0].is_callback
    assert [contact_id for contact_id, _ in screened(run, stage.trunk, facts, found[:1]).deferred] == [one.contact_id]
    assert await ask(stage, run, "n1", [one.contact_id]) == {}


async def test_looking_up_a_number_reads_its_own_attempts_only(stage, two):
    await limit(stage, 3)
    run = two[0]
    async with stage.database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                  engine_id, node_id, epoch, number, state, disposition, dialed_at, ended_at,
                                  changed_by)
            SELECT md5(n::text), $1, 'c', $2, n, '+1' || (2000000000 + n / 2), '+1', 't', 'e', 'n', 1, 1, 'ended',
                   'busy', now(), now(), 'test' FROM generate_series(1, 20000) n
            """,
            run.id,
            run.account_id,
        )
        text = await connection.fetchval(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT outdial_beyond_limits($1, $2, $3, ARRAY[p], NULL) "
            "FROM unnest($4::text[]) AS p",
            run.account_id,
            run.iid,
            run.campaign_id,
            [f"+1{2000000000 + n}" for n in range(16)],
        )
        plan = (json.loads(text) if isinstance(text, str) else text)[0]["Plan"]
        # twenty thousand rows are some 500 pages, for each number; one it reads says until when attempts were moved
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 16 * 18
        found = await reserve.candidates(connection, run, 16, (await reserve.facts(connection, run)).limits)
    assert len(found) == 6
    assert replace(found[0], past=()) == found[0]


def test_done_reasons_stay():
    # a limit puts off, it never ends a contact: no reason of its own
    assert "number_limits" not in {reason.value for reason in DoneReason}
