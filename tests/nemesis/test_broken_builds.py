"""The suite sees what it is for: outdial with one guard taken out is caught by the same clients, faults and checks."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from nemesis import account, broken, plan
from nemesis.checks import check
from nemesis.run import play

pytestmark = pytest.mark.timeout(180)

SEED = 1
CLIENTS = 2
SECONDS = 12.0

FROZEN_STOPS = (plan.Fault(0.2, "freeze-over-stop", plan.ALL_DIALERS, 0.0),) * 60
"""All dialers are frozen over a stop and wake up right after the answer, their gates still open."""

KILLED_ENGINES = tuple(plan.Fault(2.0, "kill-asterisk", engine, 0.0) for engine in plan.ENGINES)


def eager(seed: int, client: int) -> Iterator[plan.Story]:
    """Campaigns that are stopped in the thick of it, with everything ringing."""
    dice = random.Random(f"{seed} eager {client}")
    while True:
        begin, stop = (plan.Step(word, 0.0, dice.randrange(2)) for word in ("start", "stop"))
        yield plan.Story(
            90, 2, ("180",), (begin, plan.Step("until-dialed", 0.0, 0, count=dice.randrange(10, 40)), stop)
        )


def patient(seed: int, client: int) -> Iterator[plan.Story]:
    """One campaign that is left alone for longer than everybody takes to be tried twice."""
    del seed
    yield plan.Story(30, 2, ("180",), (plan.Step("start", 0.0, client), plan.Step("stop", SECONDS, client)))


CASES = {
    "skip_fence": (eager, FROZEN_STOPS, 1),
    "skip_quiesce": (eager, (), 6),
    "skip_acknowledgement": (eager, FROZEN_STOPS, 6),
    "double_claim": (eager, (), 9),
    "retry_unknown": (patient, KILLED_ENGINES, 5),
}
"""Guard → the stories and faults that show it missing, and the rule that is then seen broken."""


def test_every_broken_build_has_its_case():
    assert set(CASES) == set(broken.GUARDS)


@pytest.mark.parametrize("guard", CASES)
async def test_it_is_caught(stage, guard):
    stories, faults, rule = CASES[guard]
    command = (sys.executable, "-m", "nemesis.broken", guard)
    evidence = await play(
        stage,
        seed=SEED,
        seconds=SECONDS,
        faults=faults,
        clients=CLIENTS,
        stories=stories,
        command=command,
        ttl_seconds=2.0,
    )
    violations = check(evidence)
    print(account.table(evidence))
    print(account.last_line(evidence, violations), Counter(one.rule for one in violations))
    seen = next((one for one in violations if one.rule == rule), None)
    assert seen is not None
    print(account.of(evidence, seen))
