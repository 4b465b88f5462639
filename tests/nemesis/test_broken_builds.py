"""The suite sees what it is for: outdial with one guard taken out is caught by the same clients, faults and checks."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import pytest

from nemesis import account, broken, plan
from nemesis.checks import check
from nemesis.run import play

pytestmark = pytest.mark.timeout(180)

SEED = 1
CLIENTS = 2
TTL_SECONDS = 2.0
"""So long that a gate is still open after a stop that took its time."""

FROZEN_STOPS = (plan.Fault(0.2, "freeze-over-stop", plan.ALL_DIALERS, 0.0),) * 60
"""All dialers are frozen over a stop and wake up right after the answer, their gates still open."""

SILENT_LINE = tuple(plan.Fault(place * 1.5, "mute-line", plan.LINE, 1.0) for place in range(20))
"""What is asked of the carrier comes late, time and again."""

CUT_LINE = (plan.Fault(5.0, "cut-line", plan.LINE, 0.5),)

KILLED_ENGINES = tuple(plan.Fault(5.0, "kill-asterisk", engine, 0.0) for engine in plan.ENGINES)

KILLED_EARLY = tuple(plan.Fault(2.0, "kill-asterisk", engine, 0.0) for engine in plan.ENGINES)


Stories: TypeAlias = Callable[[int, int], Iterator[plan.Story]]
"""Of a seed and a client."""


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
    yield plan.Story(30, 2, ("180",), (plan.Step("start", 0.0, client), plan.Step("stop", 11.0, client)))


def anew(seed: int, client: int) -> Iterator[plan.Story]:
    """One campaign that is stopped and started again, while whoever was called before is still being rung."""
    del seed
    words = (("start", 0.0), ("stop", 4.0), ("start", 0.5), ("stop", 5.0))
    yield plan.Story(30, 2, ("180",), tuple(plan.Step(word, after, client) for word, after in words))


def over_tcp(stories: Stories) -> Stories:
    """The same campaigns, all of them over TCP."""

    def told(seed: int, client: int) -> Iterator[plan.Story]:
        return (replace(story, line=plan.TCP_LINE) for story in stories(seed, client))

    return told


@dataclass(frozen=True)
class Case:
    """What shows a guard missing, and the rule that is then seen broken."""

    stories: Stories
    faults: tuple[plan.Fault, ...]
    rule: int
    seconds: float = 12.0
    clients: int = CLIENTS
    ttl_seconds: float = TTL_SECONDS


CASES = {
    "skip_quiesce": Case(eager, (), 6, seconds=4.0),
    "double_claim": Case(eager, (), 9, seconds=4.0),
    "skip_fence": Case(eager, FROZEN_STOPS, 1),
    "skip_acknowledgement": Case(eager, FROZEN_STOPS, 6),
    "retry_unknown": Case(patient, KILLED_ENGINES, 5, seconds=13.0),
    "skip_line": Case(over_tcp(plan.stories), SILENT_LINE, 1, seconds=30.0, clients=8, ttl_seconds=1.0),
    "dial_lost": Case(anew, KILLED_EARLY, 2, seconds=13.0),
    "trust_503": Case(over_tcp(patient), CUT_LINE, 2, seconds=13.0),
}
LONG = frozenset(CASES) - {"skip_quiesce", "double_claim"}
"""Left to ``make nemesis-broken``: half a minute each."""


def test_every_broken_build_has_its_case():
    assert set(CASES) == set(broken.GUARDS)


@pytest.mark.parametrize(
    "guard", [pytest.param(guard, marks=[pytest.mark.long] if guard in LONG else []) for guard in CASES]
)
async def test_it_is_caught(stage, guard):
    case = CASES[guard]
    evidence = await play(
        stage,
        seed=SEED,
        seconds=case.seconds,
        faults=case.faults,
        clients=case.clients,
        stories=case.stories,
        command=(sys.executable, "-m", "nemesis.broken", guard),
        ttl_seconds=case.ttl_seconds,
    )
    violations = check(evidence)
    print(account.table(evidence))
    print(account.last_line(evidence, violations), Counter(one.rule for one in violations))
    seen = next((one for one in violations if one.rule == case.rule), None)
    assert seen is not None
    print(account.of(evidence, seen))
