"""The suite in short: every cheap fault once, over real PostgreSQL, Asterisks, nodes and API processes."""

from __future__ import annotations

import os
import random

import pytest

from nemesis import account, plan
from nemesis.checks import check
from nemesis.run import play

pytestmark = pytest.mark.timeout(420)

CLIENTS = 4
APART_SECONDS = 0.5
MOST_SECONDS = 180.0
"""An ordinary machine takes twenty; a busy one needs that for its processes to start again."""


async def test_no_cheap_fault_breaks_the_stop(stage):
    seed = int(os.environ.get("OUTDIAL_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"seed {seed}")
    faults = plan.one_of_each(seed, plan.CHEAP, first=0.5, apart=APART_SECONDS)
    evidence = await play(stage, seed=seed, seconds=MOST_SECONDS, faults=faults, clients=CLIENTS, whole_plan=True)
    violations = check(evidence)
    print(account.table(evidence))
    assert not violations, (
        f"seed {seed}\n{account.of(evidence, violations[0])}\n{account.last_line(evidence, violations)}"
    )
    assert {one.kind for one in evidence.faults} == {kind.name for kind in plan.CHEAP}
    stopped = sum(run["state"] == "stopped" for run in evidence.runs)
    assert stopped > 20
    assert len(evidence.calls) > 100
    # nodes of both engines have dialed
    assert {call.source for call in evidence.calls} == set(evidence.engines.values())
