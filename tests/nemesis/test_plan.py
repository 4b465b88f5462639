"""The plan is a function of the seed, and keeps its bounds."""

from __future__ import annotations

from itertools import islice, pairwise

from nemesis import plan
from nemesis.clients import numbers
from nemesis.world import LINES


def test_the_same_seed_plans_the_same_and_another_another():
    assert plan.faults(7, 600) == plan.faults(7, 600)
    assert plan.faults(7, 600) != plan.faults(8, 600)
    first, again, other = (list(islice(plan.stories(seed, 3), 50)) for seed in (7, 7, 8))
    assert first == again
    assert first != other
    assert first != list(islice(plan.stories(7, 4), 50))


def test_faults_overlap_by_two_at_most_and_leave_calm_spells():
    for seed in range(30):
        planned = plan.faults(seed, 900)
        assert [one.at for one in planned] == sorted(one.at for one in planned)
        for one in planned:
            active = [other for other in planned if other.at <= one.at < other.at + other.seconds]
            assert len(active) <= plan.MOST_AT_ONCE, (seed, active)
            assert len({other.target for other in active}) == len(active)
        gaps = [after.at - before.at - before.seconds for before, after in pairwise(planned)]
        assert sum(gap >= plan.CALM_SECONDS[0] for gap in gaps) >= len(planned) // (2 * plan.CALM_EVERY)
        kinds = {one.kind for one in planned}
        assert {kind.name for kind in plan.KINDS if not kind.name.startswith("carrier-")} <= kinds


def test_clocks_are_stepped_either_way_and_never_an_engine_that_is_out_of_reach():
    for seed in range(30):
        planned = plan.faults(seed, 900)
        stepped = [one for one in planned if one.kind.startswith("clock-")]
        assert {one.step > 0 for one in stepped} == {True, False}
        assert all(plan.STEPS[0] <= abs(one.step) <= plan.STEPS[1] for one in stepped)
        assert all(one.step == 0.0 for one in planned if one not in stepped)
    # one target has one fault at a time, and whatever keeps an engine from being reached has the engine for a target
    for kind in plan.KINDS:
        if kind.name.endswith(("-engine", "-asterisk")):
            assert set(kind.targets) <= set(plan.ENGINES)


def test_one_of_each_is_one_of_each():
    planned = plan.one_of_each(5, plan.CHEAP, first=1.0, apart=1.0)
    assert sorted(one.kind for one in planned) == sorted(kind.name for kind in plan.CHEAP)
    assert all(one.target in plan.KIND[one.kind].targets for one in planned)


def test_every_story_is_ended_by_a_stop():
    for story in islice(plan.stories(1, 0), 300):
        assert story.steps[-1].word in ("stop", "native-stop", "twin-stops", "hung-up-stop", "start-and-stop")


def test_no_two_clients_have_a_number_in_common():
    own = [set(islice(numbers(client), 60_000)) for client in range(4)]
    assert len(set.union(*own)) == 4 * 60_000


def test_one_story_of_six_or_so_is_of_the_line_that_can_fail_and_no_fault_of_it_strikes_anything_else():
    lines = [story.line for client in range(8) for story in islice(plan.stories(3, client), 150)]
    assert set(lines) == {*plan.UDP_LINES, plan.TCP_LINE} == set(range(len(LINES)))
    assert 1 / 7 < lines.count(plan.TCP_LINE) / len(lines) < 1 / 5
    for kind in plan.KINDS:
        assert (kind.targets == (plan.LINE,)) is kind.name.endswith("-line")
