"""Answering machines in simulations: what is supposed of them, by a campaign's mode and by past verdicts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dialing import CALLER_ID, phones, set_stage, with_rules
from outdial.core.errors import InvalidInputError
from outdial.core.machine import USUAL_TIMINGS, Detection, MachineDetection, MachineVerdict
from outdial.core.model import Disposition, DoneReason
from outdial.services import flows
from outdial.services.simulated_machines import DEFAULT_HUNG_UP_SECONDS, DEFAULT_MACHINE_RATE, DEFAULT_MESSAGE_SECONDS
from outdial.services.simulations import Source
from runs import insert_run
from services.test_simulations import SURE, simulated
from sounds import tone, wav

D, M = Disposition, MachineDetection


async def staged(database, secret_box, mode: MachineDetection, *, drops: bool = False):
    rules = with_rules(machine_detection=mode, max_attempts=2, retry_seconds=60)
    stage = await set_stage(database, secret_box, phones(100), rules=rules)
    sound = {"hello.wav": wav(tone(440, rate=8000, seconds=0.2), rate=8000)}
    document = {"start": "hello", "sounds": {"hello": "hello.wav"}, "steps": {"hello": {"play": "hello"}}}
    if drops:
        document |= {"machine_start": "hello"}
    found = await flows.add_flow_document(database, stage.owner.iid, "f", document, sound)
    async with database.connection() as connection:
        await connection.execute("UPDATE campaigns SET flow_id = $1", found.id)
    return stage


async def past(stage, *, machines: int, people: int, seconds: int, told: bool) -> None:
    """Calls of an earlier run of which it was found out who had answered, a day before."""
    async with stage.database.transaction() as connection:
        run_id = await insert_run(connection, stage.owner, trunk_id=stage.trunk.id, state="completed", name="old")
        await connection.execute(
            """
            INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                  engine_id, node_id, epoch, number, state, disposition, reserved_at, dialed_at,
                                  answered_at, ended_at, changed_by, detection)
            SELECT md5(n::text), $1, 'cd-old', $2, n, '+1555' || lpad(n::text, 7, '0'), $3, $4, 'e', 'n', 1, 1, 'ended',
                   CASE WHEN n <= $5::integer THEN 'answered_machine' ELSE 'answered_human' END, t, t,
                   t + interval '10 s',
                   t + CASE WHEN n <= $5::integer THEN make_interval(secs => 10 + $7) ELSE interval '70 s' END, 'test',
                   $8
              FROM generate_series(1, $5::integer + $6::integer) n, LATERAL (SELECT now() - interval '1 day' AS t) x
            """,
            run_id,
            stage.owner.account_id,
            CALLER_ID,
            stage.trunk.id,
            machines,
            people,
            float(seconds),
            Detection(MachineVerdict.MACHINE, "LONGGREETING", 4.0, USUAL_TIMINGS),
        )
        if told:
            await connection.execute(
                "INSERT INTO flow_outcomes (attempt_id, flow_id, opted_out, path, finished)"
                " SELECT a.id, c.flow_id, false, '{hello}', true FROM attempts a, campaigns c"
                " WHERE a.disposition = 'answered_machine' AND c.flow_id IS NOT NULL"
            )


async def test_where_nobody_asks_machines_hear_what_people_hear(database, secret_box):
    made = await simulated(await staged(database, secret_box, M.NO, drops=True))
    assert made.machines is None
    assert made.outcome.dispositions == {D.ANSWERED_HUMAN: 100}
    assert D.ANSWERED_MACHINE not in made.shares


@pytest.mark.parametrize(
    ("mode", "drops", "left"), [(M.DISCONNECT, True, False), (M.DETECT, False, False), (M.DETECT, True, True)]
)
async def test_unless_the_account_knows_better_a_round_number_of_machines_answers(
    database, secret_box, mode, drops, left
):
    made = await simulated(await staged(database, secret_box, mode, drops=drops))
    seconds = DEFAULT_MESSAGE_SECONDS if left else DEFAULT_HUNG_UP_SECONDS
    found = made.machines
    assert (found.mode, found.message_left, found.verdicts_looked_at) == (mode, left, 0)
    assert (found.rate.value, found.seconds.value) == (DEFAULT_MACHINE_RATE, seconds)
    assert {found.rate.source, found.seconds.source, made.shares[D.ANSWERED_MACHINE].source} == {Source.DEFAULT}
    assert abs(sum(one.value for one in made.shares.values()) - 1) < 1e-9
    outcome = made.outcome
    machines = outcome.dispositions[D.ANSWERED_MACHINE]
    assert 10 <= machines <= 60
    if left:
        assert outcome.done == {DoneReason.REACHED: 100}
    else:
        # tried once more, and reached unless a machine has answered again
        assert outcome.calls > 100
        assert outcome.done[DoneReason.ATTEMPTS_USED] == 100 - outcome.dispositions[D.ANSWERED_HUMAN]
    assert any("a round number, no measurement" in note for note in made.notes)


async def test_the_accounts_own_verdicts_say_how_many_and_how_long(database, secret_box):
    stage = await staged(database, secret_box, M.DISCONNECT)
    await past(stage, machines=60, people=140, seconds=6, told=False)
    made = await simulated(stage)
    found = made.machines
    assert (found.rate.value, found.rate.source, found.verdicts_looked_at) == (0.3, Source.HISTORY, 200)
    assert (found.seconds.value, found.seconds.source) == (6.0, Source.HISTORY)
    assert made.shares[D.ANSWERED_MACHINE].source is Source.HISTORY
    assert made.talk_seconds.value == 60.0, "people's calls alone"
    assert "30% are supposed to be machines', which are hung up on and tried again." in made.notes[0]


async def test_how_long_a_message_takes_is_not_told_by_who_was_hung_up_on(database, secret_box):
    stage = await staged(database, secret_box, M.DETECT, drops=True)
    await past(stage, machines=60, people=140, seconds=6, told=False)
    assert (await simulated(stage)).machines.seconds.source is Source.DEFAULT


async def test_but_by_those_that_heard_one(database, secret_box):
    stage = await staged(database, secret_box, M.DETECT, drops=True)
    await past(stage, machines=60, people=140, seconds=26, told=True)
    found = (await simulated(stage)).machines
    assert (found.seconds.value, found.seconds.source) == (26.0, Source.HISTORY)


async def test_too_few_say_nothing(database, secret_box):
    stage = await staged(database, secret_box, M.DISCONNECT)
    await past(stage, machines=20, people=100, seconds=6, told=False)
    found = (await simulated(stage)).machines
    assert (found.rate.source, found.seconds.source, found.verdicts_looked_at) == (Source.DEFAULT, Source.DEFAULT, 120)


async def test_what_is_given_comes_first(database, secret_box):
    stage = await staged(database, secret_box, M.DISCONNECT)
    await past(stage, machines=60, people=140, seconds=6, told=False)
    made = await simulated(stage, replace(SURE, machine_rate=1.0, machine_seconds=2.0, ring_seconds=1.0))
    assert {made.machines.rate.source, made.machines.seconds.source} == {Source.GIVEN}
    assert made.outcome.dispositions == {D.ANSWERED_MACHINE: 200}
    assert made.outcome.done == {DoneReason.ATTEMPTS_USED: 100}
    with pytest.raises(InvalidInputError) as failure:
        await simulated(stage, replace(SURE, machine_rate=1.5, machine_seconds=-1.0))
    assert len(failure.value.messages) == 2
