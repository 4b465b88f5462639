"""Runs share lines by weight, whoever asks first; nobody starves, and nothing that somebody could use lies idle."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from outdial.core.shares import Turn, after, allowance, begins_at, step

WEIGHTS = st.lists(st.integers(1, 5), min_size=2, max_size=6)


class Line:
    """Runs that take calls in any order, each as many as it may and asks for."""

    def __init__(self, weights: list[int]) -> None:
        self.turns = [Turn(weight, 0.0, wants=True) for weight in weights]
        self.calls = [0] * len(weights)

    def others(self, place: int) -> list[Turn]:
        return [turn for number, turn in enumerate(self.turns) if number != place]

    def may(self, place: int, **more: float) -> int | None:
        return allowance(self.turns[place], self.others(place), **more)

    def take(self, place: int, asked: int, **more: float) -> int:
        may = self.may(place, **more)
        calls = asked if may is None else min(asked, may)
        share = after(self.turns[place], self.others(place), calls)
        self.turns[place] = replace(self.turns[place], share=share, wants=True)
        self.calls[place] += calls
        return calls


def ask_in_turn(line: Line, asking: list[tuple[int, int]], **more: float) -> None:
    for place, asked in asking:
        line.take(place % len(line.turns), asked, **more)


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
