"""A number put on a do-not-call list while calls are being placed: never dialed after the commit, whatever crosses."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from dialing import dialing, phones, set_stage, with_rules
from engines import simulated
from outdial import clock
from outdial.core.model import DoneReason, RunState
from outdial.services import dnc, runs
from waiting import until


async def start(stage):
    return (
        await runs.start(
            stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
        )
    ).run


async def is_over(stage, run) -> bool:
    return (await runs.progress(stage.database, run.id)).run.state is RunState.COMPLETED


@pytest.mark.parametrize("seed", range(3))
async def test_one_after_the_other_in_the_middle_of_a_run(database, secret_box, engines, tmp_path, seed):
    dice = random.Random(seed)
    numbers = phones(120)
    stage = await set_stage(database, secret_box, numbers, rules=with_rules(max_attempts=1), calls_per_second=60.0)
    listed = {}
    async with simulated(speed=20.0) as engine, dialing(stage, engine, tmp_path, engines=engines):
        run = await start(stage)
        for number in dice.sample(numbers, 25):
            change = await dnc.add_numbers(database, account_id=stage.owner.account_id, phones=[number], actor="test")
            assert (change.changed, change.problems) == (1, ())
            listed[number] = clock.now()
            await asyncio.sleep(dice.random() * 0.05)
        await until(lambda: is_over(stage, run), seconds=40)
        progress = await runs.progress(database, run.id)
        late = [call for call in engine.sent if call.number in listed and call.at > listed[call.number]]
        assert late == [], f"seed {seed}"
        never = set(listed) - {call.number for call in engine.sent}
        assert progress.done.get(DoneReason.DNC, 0) == len(never)
        assert sum(progress.contacts.values()) == 120
        assert max(Counter(call.number for call in engine.sent).values()) == 1


async def test_many_at_once_by_several_people(database, secret_box, engines, tmp_path):
    numbers = phones(200)
    stage = await set_stage(database, secret_box, numbers, rules=with_rules(max_attempts=1), calls_per_second=100.0)
    async with simulated(speed=20.0) as engine, dialing(stage, engine, tmp_path, engines=engines):
        run = await start(stage)
        await until(lambda: len(engine.sent) > 10)
        await asyncio.gather(
            *(
                dnc.add_numbers(
                    database, account_id=stage.owner.account_id, phones=numbers[place::4], actor=f"person {place}"
                )
                for place in range(4)
            )
        )
        sent = len(engine.sent)
        await until(lambda: is_over(stage, run))
        assert len(engine.sent) == sent < 200


async def test_taken_off_again_it_may_be_dialed_in_the_next_run(database, secret_box, engines, tmp_path):
    numbers = phones(5)
    stage = await set_stage(database, secret_box, numbers, rules=with_rules(max_attempts=1))
    names = {"account_id": stage.owner.account_id, "phones": numbers[:2], "actor": "test"}
    async with simulated(speed=20.0) as engine, dialing(stage, engine, tmp_path, engines=engines):
        await dnc.add_numbers(database, **names)
        run = await start(stage)
        await until(lambda: is_over(stage, run))
        assert {call.number for call in engine.sent} == set(numbers[2:])
        await dnc.remove_numbers(database, **names)
        run = await start(stage)
        await until(lambda: is_over(stage, run))
        assert Counter(call.number for call in engine.sent) == Counter([*numbers, *numbers[2:]])


async def test_another_accounts_list_changes_nothing(database, secret_box, engines, tmp_path):
    numbers = phones(5)
    stage = await set_stage(database, secret_box, numbers, rules=with_rules(max_attempts=1))
    other = await set_stage(database, secret_box, phones(1, area=556), name="other", account="Other")
    await dnc.add_numbers(database, account_id=other.owner.account_id, phones=numbers, actor="test")
    async with simulated(speed=20.0) as engine, dialing(stage, engine, tmp_path, engines=engines):
        run = await start(stage)
        await until(lambda: is_over(stage, run))
        assert Counter(call.number for call in engine.sent) == Counter(numbers)
