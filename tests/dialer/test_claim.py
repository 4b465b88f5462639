"""What is reserved, and when each call may leave: decided without IO."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

import values
from dialing import ALWAYS, with_rules
from outdial.core.model import DoneReason
from outdial.core.screening import Candidate
from outdial.dialer import worker
from outdial.dialer.chores import Chores
from outdial.dialer.claim import HORIZON_SECONDS, Claim, make_plan
from outdial.dialer.node import Node
from outdial.store.reserve import Facts, Verdict
from values import TRUNK

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
RULES = with_rules(calling_hours=ALWAYS, max_attempts=2)
RUN = replace(values.RUN, id=7, rules=RULES)
FACTS = Facts(
    now=NOW,
    application_cap=None,
    run_live=0,
    trunk_live=0,
    application_live=0,
    run_next_at=None,
    trunk_next_at=None,
)


def somebody(contact_id, **more):
    values = {
        "contact_id": contact_id,
        "phone": f"+1555010{contact_id:04d}",
        "contact_zone": None,
        "number_zones": (),
        "attempts_count": 0,
        "not_before": None,
        "on_account_dnc": False,
        "on_campaign_dnc": False,
    }
    return Candidate(**{**values, **more})


def plan(found, *, facts=FACTS, run=RUN, trunk=TRUNK, free=16):
    return make_plan(run, trunk, facts, found, (uuid.uuid4() for _ in found), free=free)


def test_calls_leave_evenly_at_the_trunks_rate():
    made = plan([somebody(number) for number in range(5)])
    assert [at - NOW for at in made.instants] == [timedelta(seconds=0.1 * place) for place in range(3)]
    assert [contact_id for contact_id, _ in made.wish.wanted] == [0, 1, 2]


def test_a_carrier_that_has_refused_calls_gets_them_at_the_slowed_rate():
    refused = replace(FACTS, refused_at=(NOW,))
    made = plan([somebody(number) for number in range(5)], facts=refused)
    # half of ten a second, and so much later for whoever comes next
    assert [at - NOW for at in made.instants] == [timedelta(0), timedelta(seconds=0.2)]
    _, trunk_budget = made.wish.budgets
    assert trunk_budget.next_at == made.next_at == NOW + timedelta(seconds=0.4)
    # two that lie further apart than a second halve it twice
    twice = replace(FACTS, refused_at=(NOW - timedelta(seconds=2), NOW))
    assert plan([somebody(1)], facts=twice).wish.budgets[1].next_at == NOW + timedelta(seconds=0.4)


def test_the_slower_of_run_and_trunk_decides():
    made = plan([somebody(number) for number in range(5)], run=replace(RUN, calls_per_second=5.0))
    assert [at - NOW for at in made.instants] == [timedelta(0), timedelta(seconds=0.2)]


def test_budgets_are_left_one_interval_after_the_last_call():
    made = plan([somebody(1)], run=replace(RUN, calls_per_second=5.0))
    run_budget, trunk_budget = made.wish.budgets
    assert (run_budget.key, run_budget.next_at) == ("run:7", NOW + timedelta(seconds=0.2))
    assert (trunk_budget.key, trunk_budget.next_at) == ("trunk:tr-1", NOW + timedelta(seconds=0.1))
    assert (run_budget.seen, trunk_budget.seen) == (None, None)


def test_a_trunk_another_run_has_used_up_gives_no_slot():
    later = NOW + timedelta(seconds=3)
    made = plan([somebody(1)], facts=replace(FACTS, trunk_next_at=later))
    assert (made.wish.wanted, made.wish.budgets, made.next_at) == ([], [], later)


def test_an_application_with_a_cap_is_counted_one_reservation_at_a_time():
    made = plan([somebody(1)], facts=replace(FACTS, application_cap=3))
    assert made.wish.budgets[-1].key == "app:st-1"
    assert made.wish.application_cap == 3


def test_denied_and_deferred_take_no_slot():
    found = [
        somebody(1, on_account_dnc=True),
        somebody(2, contact_zone="Nowhere"),
        somebody(3),
        somebody(4, attempts_count=2),
    ]
    made = plan(found)
    assert made.wish.denied == [(1, DoneReason.DNC), (4, DoneReason.ATTEMPTS_USED)]
    assert [contact_id for contact_id, _ in made.wish.deferred] == [2]
    assert [contact_id for contact_id, _ in made.wish.wanted] == [3]


@given(
    count=st.integers(0, 30),
    free=st.integers(0, 16),
    rate=st.floats(0.5, 300),
    ahead=st.integers(-2000, 2000),
)
def test_never_more_than_there_is_room_for_nor_beyond_the_horizon(count, free, rate, ahead):
    facts = replace(FACTS, trunk_next_at=NOW + timedelta(milliseconds=ahead))
    made = plan(
        [somebody(number) for number in range(count)],
        facts=facts,
        trunk=replace(TRUNK, calls_per_second=rate),
        free=free,
    )
    assert len(made.instants) == len(made.wish.wanted) <= min(count, free)
    assert len({attempt_id for _, attempt_id in made.wish.wanted}) == len(made.wish.wanted)
    for at in made.instants:
        assert max(NOW, facts.trunk_next_at) <= at <= NOW + timedelta(seconds=HORIZON_SECONDS)


async def test_claims_of_several_runs_at_once_are_told_apart(monkeypatch):
    # both have asked for nothing yet when the second one ends: what the first asks for then must be known as asked for
    go_on, ended = asyncio.Event(), asyncio.Event()

    async def asks(database, run, trunk, node_id, *, many, asked, lead, secrets):
        if many:
            await ended.wait()
            asked.add("a1")
            go_on.set()
            await asyncio.sleep(0)
        return Claim(Verdict.RESERVED)

    monkeypatch.setattr(worker, "claim", asks)
    asked_for = Node.__dataclass_fields__["asked_for"].default_factory()
    node = SimpleNamespace(id="n1", database=None, secrets=None, calls={}, book={}, asked_for=asked_for)
    dialing = SimpleNamespace(_node=node, _run=RUN, _trunk=TRUNK, _lead=None)
    first = asyncio.create_task(worker.Worker._claim(dialing, many=True))
    await asyncio.sleep(0)
    await worker.Worker._claim(dialing, many=False)
    ended.set()
    await go_on.wait()
    assert Chores(node, None)._is_known("a1")
    assert (await first).verdict is Verdict.RESERVED
    assert not Chores(node, None)._is_known("a1")
