"""Runs share lines by weight, whoever asks first; nobody starves, and nothing that somebody could use lies idle."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from outdial.core.shares import LEAST_STEP, LOOK_SECONDS, Turn, after, allowance, begins_at, patience, step, wait

WEIGHTS = st.lists(st.integers(1, 5), min_size=2, max_size=6)


class Line:
    """Runs that take calls in any order, each as many as it may and asks for."""

    def __init__(self, weights: list[int]) -> None:
        self.turns = [Turn(weight, 0.0, wants=True) for weight in weights]
        self.calls = [0] * len(weights)

    def others(self, place: int) -> list[Turn]:
        return [turn for number, turn in enumerate(self.turns) if number != place]

    def placed(self, place: int, step: float = LEAST_STEP) -> Turn:
        own = self.turns[place]
        return replace(own, share=begins_at(own, self.others(place), longest=step))

    def may(self, place: int, step: float = LEAST_STEP) -> int | None:
        return allowance(self.placed(place, step), self.others(place), step=step)

    def take(self, place: int, asked: int, step: float = LEAST_STEP) -> int:
        own, may = self.placed(place, step), self.may(place, step)
        calls = asked if may is None else min(asked, may)
        self.turns[place] = replace(own, share=after(own, self.others(place), calls), wants=True)
        self.calls[place] += calls
        return calls

    def lapse(self, place: int) -> None:
        self.turns[place] = replace(self.turns[place], wants=False)


def ask_in_turn(line: Line, asking: list[tuple[int, int]], step: float = LEAST_STEP) -> None:
    for place, asked in asking:
        line.take(place % len(line.turns), asked, step)


ASKING = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 16)), max_size=200)


@given(WEIGHTS, ASKING, ASKING)
def test_over_any_window_nobody_is_more_than_a_call_ahead_of_what_its_weight_gives_it_beside_another(
    weights, before, window
):
    line = Line(weights)
    ask_in_turn(line, before)
    _check_pairs(weights, line.calls)
    began = list(line.calls)
    ask_in_turn(line, window)
    _check_pairs(weights, line.calls)
    for a, b in _pairs(weights):
        # a window is the difference of two such: one call ahead at its end, one behind at its beginning
        gained = (line.calls[a] - began[a]) / weights[a] - (line.calls[b] - began[b]) / weights[b]
        assert gained <= 1 / weights[a] + 1 / weights[b] + 1e-6


def _pairs(weights: list[int]) -> list[tuple[int, int]]:
    return [(a, b) for a in range(len(weights)) for b in range(len(weights)) if a != b]


def _check_pairs(weights: list[int], calls: list[int]) -> None:
    for a, b in _pairs(weights):
        assert calls[a] - weights[a] * calls[b] / weights[b] <= 1 + 1e-6


@given(WEIGHTS, ASKING, st.floats(1, 40))
def test_with_longer_steps_nobody_is_more_than_a_step_ahead(weights, asking, longest):
    line = Line(weights)
    ask_in_turn(line, asking, step=longest)
    for a, b in _pairs(weights):
        assert line.calls[a] - weights[a] * line.calls[b] / weights[b] <= longest + 1e-6


@given(WEIGHTS, ASKING)
def test_somebody_may_always_go_on_and_it_is_whoever_is_furthest_behind(weights, asking):
    line = Line(weights)
    ask_in_turn(line, asking)
    last = min(range(len(weights)), key=lambda place: line.turns[place].share)
    assert line.may(last) >= 1


@settings(deadline=None)
@given(WEIGHTS, ASKING)
def test_nobody_starves(weights, asking):
    line = Line(weights)
    ask_in_turn(line, asking)
    for place in range(len(weights)):
        # however far ahead it is: once the others have had what is theirs, it goes on
        had = line.calls[place]
        for _ in range(100):
            for other in range(len(weights)):
                line.take(other, 1)
        assert line.calls[place] > had


@given(WEIGHTS, ASKING, st.integers(1, 1000))
def test_who_wants_nothing_lends_its_lines_and_gets_no_credit_for_it(weights, asking, lent):
    line = Line(weights)
    ask_in_turn(line, asking)
    line.turns = [replace(turn, wants=number == 0) for number, turn in enumerate(line.turns)]
    # alone: everything
    assert line.may(0) is None
    assert line.take(0, lent) == lent
    # another comes back: it begins where the first is, however long it was away
    assert begins_at(line.turns[1], line.others(1)) >= line.turns[0].share
    assert line.may(1) <= 1
    line.take(1, 1)
    assert line.may(0) is not None


HISTORY = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5000)), max_size=60)
"""Who asks for how many calls; for none: it wants none any more."""


def live_through(line: Line, history: list[tuple[int, int]], step: float, *, without: int | None = None) -> int:
    """Return how many calls were taken."""
    calls = 0
    for number, asked in history:
        place = number % len(line.turns)
        if place == without:
            continue
        if asked:
            calls += line.take(place, asked, step)
        else:
            line.lapse(place)
    return calls


@settings(deadline=None)
@given(WEIGHTS, HISTORY, HISTORY, st.integers(0, 5), st.sampled_from([1.0, 2.5, 16.0]))
def test_whatever_was_before_a_run_that_wants_gets_a_call_within_a_few_of_the_others(
    weights, before, meanwhile, number, step
):
    line, own = Line(weights), number % len(weights)
    for place in range(len(weights)):
        line.lapse(place)
    live_through(line, before, step)
    line.take(own, 0, step)
    calls = 0
    for event in meanwhile * 5:
        if line.may(own, step) != 0:
            return
        calls += live_through(line, [event], step, without=own)
        # each that wants, once past it, waits for it
        assert calls <= sum(weight / weights[own] * step + step + 1 for weight in weights)


@given(WEIGHTS, HISTORY, st.integers(0, 5))
def test_who_comes_back_begins_no_more_than_a_call_from_where_the_others_are(weights, before, number):
    line, own = Line(weights), number % len(weights)
    live_through(line, before, LEAST_STEP)
    line.lapse(own)
    wanting = [turn.share for turn in line.others(own) if turn.wants]
    share = line.placed(own).share
    if wanting:
        assert min(wanting) <= share <= min(wanting) + 1 / weights[own] + 1e-6
    else:
        assert share == line.turns[own].share


def test_what_nobody_else_wanted_is_not_made_good():
    """One dials through the night while the other's hours have not begun; it comes back when they have."""
    line = Line([1, 5])
    line.lapse(0)
    line.lapse(1)
    for _ in range(5000):
        assert line.take(0, 1) == 1
    line.lapse(0)
    assert line.take(1, 1) == 1
    for _ in range(6):
        line.take(1, 1)
    line.take(0, 0)
    for _ in range(12):
        line.take(1, 1)
        line.take(0, 1)
    assert line.calls[0] >= 5002


def test_two_that_began_in_the_same_instant_are_put_right():
    ahead, behind = Turn(1, 5000.0, wants=True), Turn(5, 0.0, wants=True)
    assert begins_at(ahead, [behind]) == 1.0
    assert begins_at(behind, [ahead]) == 0.0


def test_shares_are_those_of_the_vendors_example():
    """Priorities 5 and 3: 62.5 and 37.5 of a hundred."""
    line = Line([5, 3])
    while sum(line.calls) < 800:
        for place in (0, 1):
            line.take(place, 1)
    assert abs(line.calls[0] - 500) <= 1
    assert abs(line.calls[1] - 300) <= 1


def test_a_step_is_a_part_of_the_lines_there_are_and_one_call_at_least():
    own, other = Turn(5, 0.0, wants=True), Turn(3, 0.0, wants=True)
    assert step(own, [other], lines=20) == 12.5
    assert step(own, [replace(other, wants=False)], lines=20) == 20.0
    assert step(other, [own], lines=1) == 1.0


def test_the_more_wait_the_more_seldom_each_looks_and_never_before_there_is_a_slot():
    wanting, idle = Turn(1, 0.0, wants=True), Turn(1, 0.0, wants=False)
    assert wait([wanting, idle], each=0.05, slot_seconds=0.0) == 0.05
    assert wait([wanting] * 10 + [idle], each=0.05, slot_seconds=0.0) == 0.5
    assert wait([wanting], each=0.05, slot_seconds=0.7) == 0.7
    assert wait([wanting] * 100, each=0.05, slot_seconds=0.0) == 1.0
    assert wait([wanting], each=0.05, slot_seconds=40.0) == 1.0
    assert wait([idle], each=0.05, slot_seconds=-1.0) == 0.05


def test_the_others_are_patient_for_longer_than_a_run_waits_before_it_looks():
    for wanting in (1, 2, 10, 1000):
        others = [Turn(1, 0.0, wants=True)] * wanting
        assert patience(wanting) >= wait(others, each=LOOK_SECONDS, slot_seconds=0.0) + 0.5
