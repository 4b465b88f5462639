"""Simulations of campaigns that are in the database: their lists, rules and lines, and what is known of calls."""

from __future__ import annotations

import asyncio
import random
import threading
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import phonenumbers
import pytest

from dialing import CALLER_ID, phones, set_stage, with_rules
from outdial import clock
from outdial.core import pacing
from outdial.core.attempt_limits import Counted, LimitRule
from outdial.core.errors import (
    BadReferenceError,
    InvalidInputError,
    SimulationEndedError,
    SimulationTooLongError,
)
from outdial.core.model import Breaker, CallingHours, CallingWindow, Disposition, DoneReason, OwnRules
from outdial.core.phone import zones_of
from outdial.core.simulation import simulate
from outdial.dialer import claim
from outdial.services import attempt_limits, campaigns, contact_lists, dnc, simulations
from outdial.services.contact_lists import ContactDraft
from outdial.services.simulations import BLOCK_DIGITS, SimulationDraft, Source, simulate_campaign
from outdial.store.simulations import called_lately
from runs import insert_run

D = Disposition
FRIDAY = datetime(2026, 3, 27, 9, tzinfo=UTC)
OFFICE = CallingHours(tuple(CallingWindow(day, time(9), time(17)) for day in range(5)), "Europe/Paris")
SURE = SimulationDraft(start_at=FRIDAY, answer_rate=1.0)
NEW_YORK = [f"+1212555{number:04d}" for number in range(30)]


async def simulated(stage, draft=SURE):
    campaign = await campaigns.get_campaign(stage.database, stage.owner.iid, stage.campaign_id)
    return await simulate_campaign(stage.database, stage.secrets, campaign, draft)


async def test_lists_lines_and_rules_of_the_campaign_decide(database, secret_box):
    rules = with_rules(calling_hours=OFFICE, max_attempts=2)
    stage = await set_stage(database, secret_box, [*phones(5), *NEW_YORK], rules=rules)
    await contact_lists.add_contacts(
        database,
        stage.owner.iid,
        stage.list_name,
        [ContactDraft(phone="+33612345678"), ContactDraft(phone="+15559990001", time_zone="Asia/Tokyo")],
        default_region=None,
    )
    await dnc.add_numbers(
        database, account_id=stage.owner.account_id, phones=[NEW_YORK[0]], reason="", actor="test", default_region=None
    )
    made = await simulated(stage)
    outcome = made.outcome
    assert outcome.contacts == 37
    assert [(one.why, one.count) for one in outcome.never] == [("On the account's do-not-call list.", 1)]
    assert outcome.done == {DoneReason.REACHED: 36}
    assert (made.lines.value, made.lines.source) == (stage.trunk.max_channels, Source.TRUNK)
    assert made.calls_per_second.value == stage.trunk.calls_per_second
    by_hour = {hour.isoformat()[8:13]: found.calls for hour, found in outcome.hours.items()}
    # in Paris, or where nothing is known, at once; in New York from nine o'clock there; Tokyo's week is over
    assert by_hour == {"27T09": 6, "27T13": 29, "30T00": 1}


async def test_what_is_given_comes_before_what_is_known(database, secret_box):
    stage = await set_stage(database, secret_box, phones(40))
    draft = replace(SURE, answer_rate=0.0, busy_rate=1.0, lines=2, calls_per_second=0.5, talk_seconds=1, ring_seconds=1)
    made = await simulated(stage, draft)
    assert made.outcome.dispositions == {D.BUSY: 80}
    assert made.outcome.lines <= 2
    assert {one.source for one in (made.lines, made.calls_per_second, made.talk_seconds)} == {Source.GIVEN}
    assert made.shares[D.REJECTED].value == 0
    again = await simulated(stage, draft)
    assert again.outcome == made.outcome


async def test_assumptions_come_from_the_latest_calls_where_there_are_enough(database, secret_box):
    stage = await set_stage(database, secret_box, phones(10))
    made = await simulated(stage, replace(SURE, answer_rate=None))
    assert {one.source for one in made.shares.values()} == {Source.DEFAULT}
    assert abs(sum(one.value for one in made.shares.values()) - 1) < 1e-9
    await history(stage, answered=150, busy=50)
    made = await simulated(stage, replace(SURE, answer_rate=None))
    assert made.calls_looked_at == 200
    assert {name: one.value for name, one in made.shares.items() if one.value} == {D.ANSWERED_HUMAN: 0.75, D.BUSY: 0.25}
    assert (made.ring_seconds.value, made.talk_seconds.value) == (10.0, 30.0)
    assert made.talk_seconds.source is Source.HISTORY
    # the rest keeps its proportions
    made = await simulated(stage, replace(SURE, answer_rate=0.5))
    assert (made.shares[D.BUSY].value, made.shares[D.BUSY].source) == (0.5, Source.HISTORY)


async def history(stage, *, answered: int, busy: int) -> None:
    """Calls of an earlier run, a day before."""
    async with stage.database.transaction() as connection:
        run_id = await insert_run(connection, stage.owner, trunk_id=stage.trunk.id, state="completed", name="old")
        await connection.execute(
            """
            INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                  engine_id, node_id, epoch, number, state, disposition, reserved_at, dialed_at,
                                  answered_at, ended_at, changed_by)
            SELECT md5(n::text), $1, 'cd-old', $2, n, '+1555' || lpad(n::text, 7, '0'), $3, $4, 'e', 'n', 1, 1, 'ended',
                   CASE WHEN n <= $5::integer THEN 'answered_human' ELSE 'busy' END, t, t,
                   CASE WHEN n <= $5::integer THEN t + interval '10 s' END,
                   t + CASE WHEN n <= $5::integer THEN interval '40 s' ELSE interval '2 s' END, 'test'
              FROM generate_series(1, $5::integer + $6::integer) n, LATERAL (SELECT now() - interval '1 day' AS t) x
            """,
            run_id,
            stage.owner.account_id,
            CALLER_ID,
            stage.trunk.id,
            answered,
            busy,
        )


async def test_limits_count_calls_of_other_runs(database, secret_box):
    stage = await set_stage(database, secret_box, phones(3))
    async with database.transaction() as connection:
        run_id = await insert_run(connection, stage.owner, trunk_id=stage.trunk.id, state="completed", name="old")
        await connection.execute(
            """
            INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                  engine_id, node_id, epoch, number, state, disposition, reserved_at, dialed_at,
                                  ended_at, changed_by)
            SELECT md5('a'), $1, 'cd-old', $2, 1, $3, $4, $5, 'e', 'n', 1, 1, 'ended', 'busy', now(), now(), now(), 'x'
            """,
            run_id,
            stage.owner.account_id,
            phones(3)[0],
            CALLER_ID,
            stage.trunk.id,
        )
    await attempt_limits.add_limit(
        database,
        LimitRule(1, 24 * 3600, Counted.ATTEMPTS),
        account_id=stage.owner.account_id,
        iid=None,
        campaign_id=None,
        actor="test",
    )
    made = await simulated(stage, replace(SURE, start_at=None))
    late = [at for at in made.outcome.hours if at > made.outcome.begin + timedelta(hours=20)]
    assert made.outcome.calls == 3
    assert len(late) == 1


async def called(stage, phone: str, minutes_ago: list[int]) -> None:
    """Calls of an earlier run to a number."""
    async with stage.database.transaction() as connection:
        run_id = await insert_run(connection, stage.owner, trunk_id=stage.trunk.id, state="completed", name="old")
        await connection.execute(
            """
            INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                  engine_id, node_id, epoch, number, state, disposition, reserved_at, dialed_at,
                                  ended_at, changed_by)
            SELECT md5($3 || m), $1, 'cd-old', $2, 1, $3, $4, $5, 'e', 'n', 1, 1, 'ended', 'busy', t, t, t, 'x'
              FROM unnest($6::integer[]) m, LATERAL (SELECT $7::timestamptz - m * interval '1 minute' AS t) x
            """,
            run_id,
            stage.owner.account_id,
            phone,
            CALLER_ID,
            stage.trunk.id,
            minutes_ago,
            clock.now(),
        )


async def limited(stage, count: int, *, seconds: int = 24 * 3600) -> None:
    """Give the account a limit."""
    await attempt_limits.add_limit(
        stage.database,
        LimitRule(count, seconds, Counted.ATTEMPTS),
        account_id=stage.owner.account_id,
        iid=None,
        campaign_id=None,
        actor="test",
    )


async def test_calls_before_are_read_in_lots_and_kept_as_far_as_limits_look(database, secret_box, monkeypatch):
    stage = await set_stage(database, secret_box, phones(5))
    await limited(stage, 3)
    first, second, *_ = phones(5)
    await called(stage, first, [5, 10, 15, 20, 25, 30, 35, 2000])
    await called(stage, second, [7, 1500])
    played, lots = [], []

    def noted(people, *rest, **more):
        played.append(people)
        return simulate(people, *rest, **more)

    async def read(*words, **more):
        lots.append(await called_lately(*words, **more))
        return lots[-1]

    monkeypatch.setattr(simulations, "simulate", noted)
    monkeypatch.setattr(simulations.store, "called_lately", read)
    monkeypatch.setattr(simulations, "CALLS", 2)
    monkeypatch.setattr(simulations, "NUMBERS", 2)
    await simulated(stage, replace(SURE, start_at=None))
    (people,) = played
    assert max(len(lot) for lot in lots) == 2
    calls = [call for lot in lots for call in lot]
    assert len(calls) == len(set(calls)) == 8
    ago = {
        f"+{number}": [round((clock.now() - one.at).total_seconds() / 60) for one in past]
        for number, past in people.past.items()
    }
    assert ago == {first: [5, 10, 15], second: [7]}


async def test_nothing_of_rows_and_the_play_is_done_in_the_loop(database, secret_box, monkeypatch):
    """Whoever renews a lease beside it must not wait for the tables of numbers, or for a million objects."""
    stage = await set_stage(database, secret_box, NEW_YORK)
    await limited(stage, 1)
    await called(stage, NEW_YORK[3], [5])
    threads: dict[str, set[int]] = {}

    def noting(name):
        done = getattr(simulations, name)

        def noted(*words, **more):
            threads.setdefault(name, set()).add(threading.get_ident())
            return done(*words, **more)

        return noted

    names = {"whereabouts", "zones_of", "looked_at", "PastAttempt", "simulate"}
    for name in names:
        monkeypatch.setattr(simulations, name, noting(name))
    await simulated(stage, replace(SURE, start_at=None))
    assert threads.keys() == names
    assert threading.get_ident() not in set.union(*threads.values())


async def test_the_play_ends_when_nobody_waits_for_it(database, secret_box, monkeypatch):
    stage = await set_stage(database, secret_box, phones(3))
    began, left = threading.Event(), threading.Event()

    def long(people, conditions, supposed, *, steps):
        began.set()
        try:
            for _ in range(30):
                simulate(people, conditions, supposed, steps=steps)
                steps.look()
                left.wait(0.5)
        except SimulationEndedError:
            left.set()
            raise

    monkeypatch.setattr(simulations, "simulate", long)
    work = asyncio.create_task(simulated(stage))
    assert await asyncio.to_thread(began.wait, 30)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert await asyncio.to_thread(left.wait, 10)


async def test_a_play_of_too_many_steps_is_refused(database, secret_box):
    stage = await set_stage(database, secret_box, phones(3))
    campaign = await campaigns.get_campaign(database, stage.owner.iid, stage.campaign_id)
    with pytest.raises(SimulationTooLongError, match="outdial simulate"):
        await simulate_campaign(database, secret_box, campaign, SURE, most_steps=50)


async def test_a_number_that_is_on_a_list_twice_is_one_number(database, secret_box):
    stage = await set_stage(database, secret_box, phones(2))
    await limited(stage, 1)
    await contact_lists.create_list(
        database,
        iid=stage.owner.iid,
        account_id=stage.owner.account_id,
        name="twice",
        description="",
        source="passiveApi",
        allow_duplicates=True,
        api_version=2,
        actor="test",
    )
    drafts = [
        ContactDraft(phone="+15550109001"),
        ContactDraft(phone="+15550109001"),
        ContactDraft(phone="+15550109002"),
    ]
    await contact_lists.add_contacts(database, stage.owner.iid, "twice", drafts, default_region=None)
    campaign = await campaigns.get_campaign(database, stage.owner.iid, stage.campaign_id)
    async with database.connection() as connection:
        twice = await connection.fetchval("SELECT id FROM contact_lists WHERE name = 'twice'")
    made = await simulate_campaign(database, secret_box, replace(campaign, list_ids=(twice,)), SURE)
    # a contact who was reached counts for the other one
    assert [hour.calls for hour in made.outcome.hours.values()] == [2, 1]
    assert made.outcome.last_call_at > FRIDAY + timedelta(hours=24)


async def test_who_is_on_two_lists_is_one_contact(database, secret_box):
    stage = await set_stage(database, secret_box, phones(4))
    campaign = await campaigns.get_campaign(database, stage.owner.iid, stage.campaign_id)
    twice = replace(campaign, list_ids=campaign.list_ids * 2)
    made = await simulate_campaign(database, secret_box, twice, SURE)
    assert made.outcome.contacts == 4


async def test_what_to_know_is_told(database, secret_box):
    rules = with_rules(own=OwnRules(breaker=Breaker(10, 0.01)), max_attempts=9, retry_seconds=6 * 3600)
    stage = await set_stage(database, secret_box, phones(20), rules=rules)
    notes = " ".join((await simulated(stage, replace(SURE, answer_rate=0.0, days=1, lines=1))).notes)
    assert "would pause itself" in notes
    assert "still to be called" in notes


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"answer_rate": 1.5}, "answerRate"),
        ({"answer_rate": 0.9, "busy_rate": 0.2}, "together"),
        ({"lines": 0}, "lines"),
        ({"calls_per_second": 0.0}, "callsPerSecond"),
        ({"days": 400}, "days"),
        ({"start_at": datetime(2026, 1, 1)}, "startAt"),
    ],
)
async def test_what_cannot_be_supposed_is_refused(database, secret_box, wrong, named):
    stage = await set_stage(database, secret_box, phones(1))
    with pytest.raises(InvalidInputError, match=named):
        await simulated(stage, replace(SimulationDraft(), **wrong))


async def test_without_a_trunk_its_lines_have_to_be_given(database, secret_box):
    stage = await set_stage(database, secret_box, phones(2))
    campaign = await campaigns.get_campaign(database, stage.owner.iid, stage.campaign_id)
    nowhere = replace(campaign, rules=replace(campaign.rules, caller_id="+15550100777"))
    with pytest.raises(BadReferenceError, match="how many lines"):
        await simulate_campaign(database, secret_box, nowhere, SURE)
    made = await simulate_campaign(database, secret_box, nowhere, replace(SURE, lines=1, calls_per_second=1.0))
    assert made.outcome.calls == 2


def test_a_call_lies_within_hours_for_as_long_as_the_dialer_asks():
    assert pacing.leaves_within(claim.NO_LEAD) == timedelta(seconds=simulations.AHEAD_SECONDS)


def test_numbers_of_one_block_are_in_the_same_zones():
    """Whoever shares all but the last digits does so for the tables too, in all but a few blocks that are divided."""
    dice = random.Random(20261126)
    same = total = 0
    for region in ("US", "CA", "GB", "DE", "FR", "AU", "IN", "BR", "MX", "ES"):
        example = phonenumbers.example_number(region)
        whole = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
        for _ in range(30):
            other = whole[:-BLOCK_DIGITS] + f"{dice.randrange(10**BLOCK_DIGITS):0{BLOCK_DIGITS}d}"
            same += zones_of(other) == zones_of(whole)
            total += 1
    assert same == total
