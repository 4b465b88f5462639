"""Plays days, and finds the shortest repeat of one that has broken a promise: with as few acts and people as do it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from outdial.core.errors import OutdialError
from simulation.day import Day
from simulation.plan import Plan

MOST_REPEATS = 400
"""Days that are played to find the shortest one."""

SHOWN = 40
"""Lines of what happened last."""


@dataclass(frozen=True)
class Violation:
    """A day that broke a promise."""

    plan: Plan
    acts: tuple[int, ...]
    """Places of the whole day's acts that are left."""
    people: tuple[int, ...]
    sentence: str
    story: tuple[str, ...]

    def text(self) -> str:
        """Return it for people, with the command that repeats it."""
        acts, people = (",".join(map(str, places)) for places in (self.acts, self.people))
        words = f"--seed {self.plan.seed} --days 1 --acts '{acts}' --people '{people}'"
        return "\n".join(
            [
                f"seed {self.plan.seed}: {self.sentence}",
                *self.story,
                f"repeat: PYTHONPATH=src:tests python -m simulation {words}",
            ]
        )


def played(plan: Plan) -> tuple[Day, str]:
    """Play a day; return it, and what it broke, empty for nothing."""
    day = Day(plan)
    try:
        day.play()
    # a move that no table has is as much of a violation: nobody may ask for one
    except (AssertionError, OutdialError) as error:
        return day, str(error) or repr(error)
    return day, ""


def violation(
    plan: Plan, acts: tuple[int, ...], people: tuple[int, ...], total: Counter[str] | None = None
) -> Violation | None:
    """Play a part of a day; None when it keeps its promises. ``total`` gets what there was to be broken."""
    day, sentence = played(plan.only(acts, people))
    if total is not None:
        total.update(day.promises.kept)
    if not sentence:
        return None
    story = tuple(f"  {at:%d %H:%M:%S.%f} {what}" for at, what in day.timeline.log[-SHOWN:])
    return Violation(plan, acts, people, sentence, story)


def shortest(first: Violation) -> Violation:
    """Return the shortest repeat found: acts are left out first, then people, many at once and then one by one."""
    best, left = first, MOST_REPEATS

    def shorten(places: tuple[int, ...], made: Callable[[tuple[int, ...]], Violation | None]) -> None:
        nonlocal best, left
        size = max(len(places) // 2, 1)
        while left > 0:
            at = 0
            while at < len(places) and left > 0:
                fewer = places[:at] + places[at + size :]
                left -= 1
                found = made(fewer)
                if found is None:
                    at += size
                else:
                    best, places = found, fewer
            if size == 1:
                return
            size = max(size // 2, 1)

    shorten(best.acts, lambda acts: violation(best.plan, acts, best.people))
    shorten(best.people, lambda people: violation(best.plan, best.acts, people))
    return best


def whole(plan: Plan, total: Counter[str] | None = None) -> Violation | None:
    """Play a whole day; None when it keeps its promises."""
    return violation(plan, tuple(range(len(plan.acts))), tuple(range(len(plan.people))), total)
