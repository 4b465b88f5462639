"""``python -m simulation``: plays random days by the production rules, and says whether a promise was broken.

The last line is ``days=N violations=N``; exit code 1 on a violation, which is told with its seed and shortest repeat.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter

from simulation.plan import draw
from simulation.shortest import shortest, violation

EVERY_SECONDS = 10.0
MOST_TOLD = 3
"""Violations whose shortest repeat is looked for."""


def main(words: list[str] | None = None) -> int:
    """Run it."""
    told = argparse.ArgumentParser(prog="simulation", description="Plays random days by the production rules.")
    told.add_argument("--days", type=int, default=1000)
    told.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32), help="of the first day")
    told.add_argument("--acts", type=_places, help="only these of the day's acts, as a repeat names them")
    told.add_argument("--people", type=_places, help="only these of its people")
    given = told.parse_args(words)
    print(f"seed {given.seed}, {given.days} days", flush=True)
    total, broken, since = Counter[str](), 0, time.monotonic()
    for place in range(given.days):
        plan = draw(given.seed + place)
        acts = tuple(range(len(plan.acts))) if given.acts is None else given.acts
        people = tuple(range(len(plan.people))) if given.people is None else given.people
        found = violation(plan, acts, people, total)
        if found is not None:
            broken += 1
            if broken <= MOST_TOLD:
                print(shortest(found).text(), flush=True)
        if time.monotonic() - since > EVERY_SECONDS:
            since = time.monotonic()
            print(f"{place + 1} days, {_text(total)}, {broken} violations", flush=True)
    print(_text(total))
    print(f"days={given.days} violations={broken}")
    return 1 if broken else 0


def _places(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(",") if word)


def _text(total: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(total.items()))


if __name__ == "__main__":
    sys.exit(main())
