"""Virtual time: what is to happen, in order; and processes, whose part of it waits while they are frozen and never
happens once they are dead."""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(eq=False)
class Process:
    """Whatever can be killed or frozen as one."""

    name: str
    alive: bool = True
    frozen_until: datetime | None = None


@dataclass(eq=False)
class Timeline:
    """The only clock there is: everybody's wall clock, boot time and the database's."""

    begin: datetime
    now: datetime = field(init=False)
    log: list[tuple[datetime, str]] = field(default_factory=list)
    """What happened, for whoever has to understand a broken promise."""

    def __post_init__(self) -> None:
        self.now = self.begin
        self._order = itertools.count()
        self._next: list[tuple[datetime, int, Callable[[], None], Process | None]] = []

    def at(self, instant: datetime, what: Callable[[], None], of: Process | None = None) -> None:
        """Let something happen at an instant, or now where that is past."""
        heapq.heappush(self._next, (max(instant, self.now), next(self._order), what, of))

    def after(self, seconds: float, what: Callable[[], None], of: Process | None = None) -> None:
        """Let something happen so many seconds from now."""
        self.at(self.now + timedelta(seconds=seconds), what, of)

    def drive(self, steps: Iterator[float], of: Process | None = None) -> None:
        """Let something happen that takes its time: it yields how many seconds pass before it goes on."""

        def go() -> None:
            seconds = next(steps, None)
            if seconds is not None:
                self.after(seconds, go, of)

        self.after(0.0, go, of)

    def step(self, until: datetime) -> bool:
        """Let the next thing happen; False when there is none before ``until``."""
        while self._next and self._next[0][0] < until:
            at, order, what, of = heapq.heappop(self._next)
            self.now = at
            if of is not None:
                if not of.alive:
                    continue
                if of.frozen_until is not None and at < of.frozen_until:
                    # in its turn, once it wakes up
                    heapq.heappush(self._next, (of.frozen_until, order, what, of))
                    continue
            what()
            return True
        return False

    def boot(self, instant: datetime | None = None) -> float:
        """Return an instant, or now, as boot time."""
        return ((self.now if instant is None else instant) - self.begin).total_seconds()

    def note(self, sentence: str) -> None:
        """Write down what happened now."""
        self.log.append((self.now, sentence))


def luck(*key: object) -> float:
    """Return a number from 0 to 1 that depends on the key alone: the same thing has the same luck however much else is
    left out of a day."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=6).digest(), "big") / 2**48
