"""Simulations of campaigns that are in the database: their lists, rules and lines, and what is known of calls."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import phonenumbers
import pytest

from dialing import CALLER_ID, phones, set_stage, with_rules
from outdial.core.attempt_limits import Counted, LimitRule
from outdial.core.errors import BadReferenceError, InvalidInputError
from outdial.core.model import Breaker, CallingHours, CallingWindow, Disposition, DoneReason, OwnRules
from outdial.core.phone import zones_of
from outdial.dialer import claim
from outdial.services import attempt_limits, campaigns, contact_lists, dnc, simulations
from outdial.services.contact_lists import ContactDraft
from outdial.services.simulations import BLOCK_DIGITS, SimulationDraft, Source, simulate_campaign
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
    assert pytest.approx(claim.HORIZON_SECONDS + claim.LATE_SECONDS) == simulations.AHEAD_SECONDS


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
