"""Whole campaign days by the production rules: a virtual clock, seeded people, lines, stops and faults; every promise
is looked at after every step."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter

import pytest

from simulation.__main__ import main
from simulation.broken import NAMES, without
from simulation.day import Day
from simulation.plan import draw
from simulation.shortest import played, shortest, violation, whole

pytestmark = pytest.mark.timeout(600)

SEED = int(os.environ.get("OUTDIAL_TEST_SEED", "20261126"))
DAYS = 16
"""Enough for each thing that may happen to happen; `make simulate` plays a thousand."""


def test_random_days_keep_every_promise():
    total: Counter[str] = Counter()
    for seed in range(SEED, SEED + DAYS):
        found = whole(draw(seed), total)
        assert found is None, found.text()
    print(dict(total))
    # or nothing was tried
    assert total["calls"] > 5 * DAYS
    assert total["stops"] > DAYS
    kinds = ("retries", "machines", "numbers", "call-backs", "by hand", "pauses", "limits")
    assert min(total[what] for what in kinds) > DAYS // 5
    assert total["other numbers"]


def test_the_same_seed_is_the_same_day():
    first, second = Day(draw(SEED)), Day(draw(SEED))
    for day in (first, second):
        day.play()
    assert first.timeline.log == second.timeline.log
    assert first.promises.invites == second.promises.invites


FOUND = {
    "screening": 1000,
    "permit": 1019,
    "quiesce": 1017,
    "one_call_to_a_number": 1007,
    "limit": 1001,
    "unknown_is_final": 1074,
    "message_is_final": 1025,
    "attempts": 1001,
    "turning": 1001,
    "limits_of_a_person": 1001,
    "emergency": 1019,
}
"""A day that shows each guard missing; should the plan have changed since, one of the next does."""


def broken_day(name: str):
    for seed in range(FOUND.get(name, 1000), FOUND.get(name, 1000) + 100):
        _, sentence = played(draw(seed))
        if sentence:
            return draw(seed), sentence
    return None


@pytest.mark.parametrize("name", NAMES)
def test_without_one_guard_a_promise_is_broken(name):
    with without(name):
        found = broken_day(name)
    assert found is not None
    plan, sentence = found
    print(f"{name}: seed {plan.seed}: {sentence}")
    # the guard is back, and so is the promise
    assert played(plan)[1] == ""


def test_a_violation_is_told_by_its_shortest_repeat(capsys):
    with without("screening"):
        plan = draw(FOUND["screening"])
        found = whole(plan)
        assert found is not None
        short = shortest(found)
        assert len(short.acts) < len(plan.acts)
        assert len(short.people) <= len(plan.people)
        assert violation(plan, short.acts, short.people).sentence == short.sentence
        command = re.search(r"repeat: .* -m simulation (.*)", short.text())[1]
        assert main(shlex.split(command)) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "days=1 violations=1"


def test_the_command_ends_well_when_nothing_was_broken(capsys):
    assert main(["--days", "2", "--seed", str(SEED)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "days=2 violations=0"
