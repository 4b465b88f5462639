"""One whole day: the plan's people and lines, its nodes and engines, and all that it lets happen, checked at each step.

day = Day(draw(seed)); day.play()     # raises BrokenPromiseError
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta

from outdial.core.model import Attempt
from simulation.desk import Desk
from simulation.engine import MACHINE, MESSAGE_SECONDS, TRAVEL, Ending, Engine, Invite, by_luck
from simulation.node import Node
from simulation.plan import Act, Plan
from simulation.promises import Promises
from simulation.referee import Referee
from simulation.timeline import Timeline, luck

AFTERWARDS = timedelta(hours=6)
"""How long what is under way at the end gets to end: a frozen process, an engine that is away, a node to be adopted."""


class Day:
    """A day that can be played once."""

    def __init__(self, plan: Plan, ends: Callable[[Attempt], Ending] | None = None) -> None:
        self.plan, self.people = plan, {person.id: person for person in plan.people}
        self.timeline = Timeline(plan.begin)
        self.ids = itertools.count(1)
        self.referee = Referee(plan, self.timeline)
        names = [f"engine{place}" for place in range(plan.engines)]
        self.engines = {
            name: Engine(name, self.timeline, plan.seed, self._left, self._talk_seconds, ends or by_luck(plan.seed))
            for name in names
        }
        self.promises = Promises(plan, self.timeline, self.referee, self.engines)
        self.desk = Desk(self)
        self.nodes = [Node(self, place, self.engines[names[place % len(names)]]) for place in range(plan.nodes)]
        self.referee.listeners.append(self._notify)
        self._armed: list[Act] = []
        for act in plan.acts:
            self.timeline.at(plan.begin + timedelta(seconds=act.at), lambda act=act: self._due(act))

    def play(self) -> None:
        """Play it to its end. Raises BrokenPromiseError."""
        for end in (self.plan.end, self.plan.end + AFTERWARDS):
            if end != self.plan.end:
                self._close()
            while self.timeline.step(end):
                self.promises.rows()
        self.promises.over()

    def _close(self) -> None:
        """Stop what still runs, so that everything comes to an end."""
        self._armed.clear()
        self.desk.do(Act(0.0, "emergency"))

    # Who is told of what

    def uuids(self, count: int) -> Iterator[uuid.UUID]:
        """Return so many ids, told apart by their first digits."""
        return (uuid.UUID(int=next(self.ids) << 104) for _ in range(count))

    def travel(self, *what: object) -> float:
        """Return how long a request takes."""
        return TRAVEL * luck(self.plan.seed, *what, self.timeline.boot())

    def nudge(self) -> None:
        """A call has ended: somebody else may be dialed."""
        for node in self.nodes:
            for worker in node.workers.values():
                worker.wake(0.001)

    def _notify(self) -> None:
        for node in self.nodes:
            node.look_soon(self.travel("notify", node.id))
        self.nudge()

    def _left(self, invite: Invite) -> None:
        self.promises.left(invite)

    def is_machine(self, attempt: Attempt) -> bool:
        """Whether the one who answers is found to be a machine."""
        return luck(self.plan.seed, "machine", attempt.run_id, attempt.contact_id, attempt.number) < MACHINE

    def message_seconds(self, attempt: Attempt) -> float:
        """Return how long a machine's message takes."""
        del attempt
        return MESSAGE_SECONDS

    def _talk_seconds(self, attempt: Attempt) -> float:
        return self.plan.campaigns[int(attempt.campaign_id)].talk_seconds

    # What is planned

    def _due(self, act: Act) -> None:
        if act.point:
            # it waits for somebody to be right there
            self._armed.append(act)
        else:
            self._do(act, self.nodes[act.what] if act.word in {"kill", "freeze"} else None)

    def point(self, node: Node, name: str, contact_id: int) -> None:
        """A node is at a point of calling somebody at which things may be done to it, or to them."""
        for act in [one for one in self._armed if one.point == name]:
            if act.word not in {"kill", "freeze"} or act.what == node.place:
                self._armed.remove(act)
                self._do(act, node, contact_id)

    def _do(self, act: Act, node: Node | None, contact_id: int | None = None) -> None:
        if node is not None and act.word == "kill":
            self.timeline.note(f"{node.id} is killed{f', having {act.point}' if act.point else ''}")
            node.process.alive = False
            self.referee.nodes[node.id].killed = True
            self.replace(node, act.seconds)
        elif node is not None and act.word == "freeze":
            having = f", having {act.point}" if act.point else ""
            self.timeline.note(f"{node.id} is frozen for {act.seconds:.0f} s{having}")
            node.process.frozen_until = self.timeline.now + timedelta(seconds=act.seconds)
        elif act.word in {"engine-dies", "engine-away"}:
            engine = list(self.engines.values())[act.what]
            if engine.reachable:
                (engine.die if act.word == "engine-dies" else engine.go_away)(act.seconds)
        else:
            self.desk.do(act, contact_id)

    def replace(self, node: Node, seconds: float) -> None:
        """Begin another process in the place of one that is over."""

        def begin() -> None:
            self.nodes[node.place] = Node(self, node.place, node.engine)
            self.timeline.note(f"{self.nodes[node.place].id} begins")

        self.timeline.after(seconds, begin)
