"""A dialer node: lease, gates, permits, claims, calls, and the taking over of dead ones, in the order in which the real
one does them. What it decides it asks of the real one's own functions."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from outdial import rule_data
from outdial.core import breaker, closing
from outdial.core.flow_document import read_flow
from outdial.core.machine import (
    USUAL_TIMINGS,
    AfterVerdict,
    Detection,
    MachineDetection,
    MachineVerdict,
    after_verdict,
)
from outdial.core.model import Attempt, AttemptState, Run, RunState, Trunk
from outdial.core.pacing import LATE_SECONDS, caps, room
from outdial.core.permit import Gate, gate_until, may_dial, silent_after
from outdial.core.screening import Candidate, run_may_dial
from outdial.dialer import outcomes
from outdial.dialer.adoption import may_have_heard
from outdial.dialer.claim import LARGEST_CLAIM, LARGEST_SCREENING, make_plan
from outdial.dialer.flow_player import PlayableFlow
from outdial.dialer.lease import RENEWALS_PER_TTL
from outdial.dialer.outcomes import NORMAL_CLEARING, Known
from outdial.store.attempts import AttemptNews
from outdial.store.reserve import Verdict
from simulation.engine import CALL_BACK, OPT_OUT, TRAVEL, Call, Engine
from simulation.rows import NodeRow
from simulation.timeline import Process, luck

if TYPE_CHECKING:
    from simulation.day import Day

FOREIGN_GRACE = 3.0
"""Times to live, as in ``dialer.adoption``."""

LISTENS = 4.0
"""Seconds until it is known who has answered."""

GREETING = 6.0
"""And until a machine's greeting and beep are over."""


class Worker:
    """One run at one epoch on one node."""

    def __init__(self, node: Node, run: Run, trunk: Trunk) -> None:
        self.node, self.run, self.trunk = node, run, trunk
        self.gate: Gate | None = None
        self.found_active_at: datetime | None = None
        self.key = ""
        """Of a permit that may be used; empty while there is none."""
        self.putting = self.busy = self.closed = self.many = False
        self._turn = 0

    def confirm(self, boot: float, wall: datetime) -> None:
        was_open = self.open()
        self.gate = Gate(self.run.id, self.run.epoch, gate_until(boot, ttl_seconds=self.node.ttl))
        self.found_active_at = wall
        if self.key:
            self.node.request(self._renew())
        elif not self.putting:
            self.putting = True
            self.node.drive(self._put())
        if not was_open:
            self.wake()

    def close(self) -> None:
        self.gate, self.closed = None, True

    def open(self) -> bool:
        node = self.node
        return (
            not self.closed
            and node.sees_engine()
            and bool(self.key)
            and may_dial(self.gate, epoch=self.run.epoch, now=node.day.timeline.boot())
        )

    # The permit

    def _name(self, key: str) -> tuple[int, int, str, str]:
        return self.run.id, self.run.epoch, self.node.id, key

    def _renew(self) -> Callable[[], None]:
        assert self.found_active_at is not None
        key, expires_at = self.key, self.found_active_at + timedelta(seconds=self.node.ttl)

        def arrive() -> None:
            if not self.node.engine.renew_permit(self._name(key), expires_at):
                self.node.day.timeline.after(TRAVEL, self._lost, self.node.process)

        return arrive

    def _lost(self) -> None:
        """The engine has no permit any more: at the next confirmation another is put."""
        self.key = ""

    def _put(self) -> Iterator[float]:
        node, referee = self.node, self.node.day.referee
        key, wall = uuid.UUID(int=next(node.day.ids) << 96).hex, node.day.timeline.now
        yield node.travel("look", key)
        present = referee.runs[self.run.id]
        if not run_may_dial(present.state, present.epoch, self.run.epoch) or referee.nodes[node.id].ended:
            self.putting = False
            return
        note = (self.run.id, node.engine.id, key)
        until = node.day.timeline.now + timedelta(seconds=silent_after(0.0, ttl_seconds=node.ttl))
        referee.making[note] = (node.id, until)
        referee.served.add((self.run.id, node.engine.id))
        yield 0.0
        done: list[bool] = []
        expires_at = wall + timedelta(seconds=node.ttl)

        def arrive() -> None:
            node.engine.put_permit(self._name(key), expires_at)
            done.append(True)

        node.request(arrive)
        while not done:
            if not node.engine.up:
                # its answer never comes
                referee.making.pop(note, None)
                self.putting = False
                return
            yield 2 * TRAVEL
        yield node.travel("made", key)
        self.putting = False
        _, until = referee.making.pop(note, ("", node.day.timeline.begin))
        if node.day.timeline.now < until:
            self.key = key
            self.wake()

    # Claims

    def wake(self, seconds: float = 0.0) -> None:
        """Look for something to dial so many seconds from now; whoever says so last is heard."""
        self._turn += 1
        turn = self._turn
        self.node.day.timeline.after(seconds, lambda: self._look(turn), self.node.process)

    def _look(self, turn: int) -> None:
        if turn == self._turn and not self.busy and self.open():
            self.busy = True
            self.node.drive(self._claim())

    def _claim(self) -> Iterator[float]:
        node, referee = self.node, self.node.day.referee
        yield node.travel("claim", self.run.id)
        facts = referee.facts(self.run)
        free = room(caps(self.run, self.trunk, **facts.counts()), wanted=LARGEST_CLAIM)
        found = referee.candidates(self.run, LARGEST_SCREENING if self.many else free) if free else []
        if not found:
            self.busy = False
            due = referee.next_due(self.run.id)
            if free and due is None:
                node.day.desk.complete(self.run)
            elif free and due is not None:
                self._close_for_the_day()
                self.wake(max((due - facts.now).total_seconds(), 0.05))
            return
        plan = make_plan(self.run, self.trunk, facts, found, iter(node.day.uuids(len(found))), free=free)
        wish = plan.wish
        if not (wish.wanted or wish.denied or wish.deferred):
            self.busy = False
            self.wake(max((plan.next_at - facts.now).total_seconds() - 0.2, 0.001))
            return
        node.day.point(node, "asked", wish.wanted[0][0] if wish.wanted else found[0].contact_id)
        yield node.travel("reserve", self.run.id)
        verdict, reserved = referee.reserve(self.run, node.id, wish)
        node.day.point(node, "reserved", found[0].contact_id)
        yield 0.0
        people = {candidate.contact_id: candidate for candidate in found}
        self.many = not wish.wanted
        if verdict is Verdict.NODE_ENDED:
            node.new_life()
            return
        placed = [
            (people[contact_id], attempt_id, at)
            for (contact_id, attempt_id), at in zip(wish.wanted, plan.instants, strict=True)
            if attempt_id in reserved
        ]
        for candidate, attempt_id, _ in placed:
            node.calls[attempt_id] = Known(attempt_id, candidate.attempts_count + 1, self.run.rules, node.id)
        for candidate, attempt_id, at in placed:
            yield max((at - node.day.timeline.now).total_seconds(), 0.0)
            node.drive(self._originate(candidate, attempt_id, at))
        self.busy = False
        self.wake(0.001 if placed or self.many else 0.005)

    def _close_for_the_day(self) -> None:
        """Pause the run where it pauses itself at closing time."""
        node, run = self.node, self.run
        now = node.day.timeline.now
        timetable = rule_data.timetable(run.rules.calling_hours, now)
        people = node.day.referee.soonest(run)
        if people and closing.pauses(timetable, people, since=run.updated_at, at=now):
            node.day.desk.pause(run.id, "calling hours closed", epoch=run.epoch)

    def _originate(self, candidate: Candidate, attempt_id: str, at: datetime) -> Iterator[float]:
        node = self.node
        now = node.day.timeline.now
        late = (now - at).total_seconds() > LATE_SECONDS
        if late or not node.may_originate(self):
            node.put_back(attempt_id, "its turn came too late" if late else "the gate was closed")
            return
        # the process may be frozen right here, and sends when it wakes up
        node.day.point(node, "checked", candidate.contact_id)
        yield 0.0001
        attempt = node.day.referee.attempts[attempt_id].attempt
        name, answers = self._name(self.key), list[bool]()
        node.in_flight.add(attempt_id)
        node.request(lambda: answers.append(node.engine.originate(attempt, name, node.process, node.hears)))
        node.day.point(node, "written", candidate.contact_id)
        yield 2 * TRAVEL
        if answers:
            node.answered(attempt_id, sent=answers[0])
            if not answers[0]:
                self.key = ""
            return
        # no answer: found out once no permit can let it through any more
        yield node.ttl
        while not node.sees_engine():
            yield node.ttl / 4
        if answers:
            node.answered(attempt_id, sent=answers[0])
        else:
            node.in_flight.discard(attempt_id)
            node.settle(attempt_id, placed=True)


class Node:
    """One dialer process and its life."""

    def __init__(self, day: Day, place: int, engine: Engine) -> None:
        self.day, self.place, self.engine = day, place, engine
        self.ttl = day.plan.ttl_seconds
        self.id = f"node{place}-{next(day.ids)}"
        self.process = Process(self.id)
        self.workers: dict[int, Worker] = {}
        self.calls: dict[str, Known] = {}
        self.in_flight: set[str] = set()
        self._missing: set[str] = set()
        self._seen, self.up_since = engine.began, day.timeline.now
        lease = day.timeline.now + timedelta(seconds=self.ttl)
        day.referee.nodes[self.id] = NodeRow(self.id, engine.id, lease)
        self._turn = 0
        self.look_soon()

    # What all of it needs

    def drive(self, steps: Iterator[float]) -> None:
        self.day.timeline.drive(steps, self.process)

    def travel(self, *what: object) -> float:
        return TRAVEL * luck(self.day.plan.seed, self.id, *what, self.day.timeline.boot())

    def request(self, what: Callable[[], None]) -> None:
        """Send something to the engine: what was written arrives whatever becomes of the process."""
        self.day.timeline.after(TRAVEL / 2, lambda: self.engine.arrive(what))

    def sees_engine(self) -> bool:
        if self.engine.reachable and self.engine.began != self._seen:
            # what happened meanwhile was missed
            self._seen, self.up_since = self.engine.began, self.day.timeline.now
        return self.engine.reachable

    def new_life(self) -> None:
        """Whoever finds its row ended by another begins anew."""
        self.process.alive = False
        self.day.replace(self, 1.0)

    # The lease

    def look_soon(self, seconds: float = 0.0) -> None:
        self._turn += 1
        turn = self._turn
        self.day.timeline.after(seconds, lambda: self._begin_look(turn), self.process)

    def _begin_look(self, turn: int) -> None:
        if turn == self._turn:
            self.drive(self._look())

    def _look(self) -> Iterator[float]:
        referee, timeline = self.day.referee, self.day.timeline
        wall, boot = timeline.now, timeline.boot()
        yield self.travel("lease")
        row = referee.nodes[self.id]
        if row.ended:
            self.new_life()
            return
        row.lease_until = timeline.now + timedelta(seconds=self.ttl)
        active = {run.id: run for run in referee.runs.values() if run.state is RunState.ACTIVE}
        yield self.travel("answer")
        for run_id, worker in list(self.workers.items()):
            run = active.get(run_id)
            if run is None or not run_may_dial(run.state, run.epoch, worker.run.epoch):
                worker.close()
                del self.workers[run_id]
        for run_id, run in active.items():
            worker = self.workers.get(run_id) or Worker(self, run, referee.campaign_of[run_id].trunk)
            self.workers[run_id] = worker
            worker.confirm(boot, wall)
            self._break(run)
        self._reconcile()
        self._take_over()
        if active or self.calls or referee.live:
            self.look_soon(self.ttl / RENEWALS_PER_TTL)

    def _break(self, run: Run) -> None:
        rule = run.rules.own.breaker
        if rule is not None:
            reason = breaker.trips(self.day.referee.latest_endings(run, rule.attempts), rule)
            if reason is not None:
                self.day.desk.pause(run.id, reason, epoch=run.epoch)

    # Calls

    def may_originate(self, worker: Worker) -> bool:
        return worker.open()

    def book(self, news: AttemptNews) -> None:
        def write() -> None:
            if self.day.referee.book(news) and news.disposition is not None:
                self.day.nudge()

        self.day.timeline.after(self.travel("book", news.id), write, self.process)

    def put_back(self, attempt_id: str, reason: str) -> None:
        known = self.calls.pop(attempt_id, None)
        if known is not None:
            self.book(outcomes.never_sent(known, at=self.day.timeline.now, reason=reason))

    def answered(self, attempt_id: str, *, sent: bool) -> None:
        """Hear what the engine says to an originate."""
        self.in_flight.discard(attempt_id)
        if not sent:
            self.put_back(attempt_id, "the engine had no permit")
        elif attempt_id in self.calls and self.calls[attempt_id].state is AttemptState.RESERVED:
            known = replace(self.calls[attempt_id], state=AttemptState.DIALING, dialed_at=self.day.timeline.now)
            self.calls[attempt_id] = known
            self.book(outcomes.progress(known))

    def hears(self, word: str, call: Call) -> None:
        """Hear of a call."""
        known = self.calls.get(call.attempt.id)
        if known is None:
            return
        now = self.day.timeline.now
        if known.dialed_at is None:
            known = replace(known, dialed_at=call.record.started_at)
        if word == "ringing":
            self.calls[known.attempt_id] = replace(known, state=AttemptState.RINGING, ringing_at=now)
            self.book(outcomes.progress(self.calls[known.attempt_id]))
        elif word == "answered":
            self.calls[known.attempt_id] = outcomes.answered(known, at=now)
            self.book(outcomes.progress(self.calls[known.attempt_id]))
            self.drive(self._talk(call))
        else:
            self.calls[known.attempt_id] = known
            self.day.point(self, "ended", call.attempt.contact_id)
            self.day.timeline.after(0.0, lambda: self._ended(call), self.process)

    def _talk(self, call: Call) -> Iterator[float]:
        follows = AfterVerdict.PLAY
        if self.calls[call.attempt.id].rules.machine_detection is not MachineDetection.NO:
            yield LISTENS
            if call.over or call.attempt.id not in self.calls:
                return
            follows = self._found(call.attempt)
        if follows is AfterVerdict.PLAY:
            yield from self._converse(call)
            return
        if follows is AfterVerdict.AWAIT_BEEP:
            yield GREETING
            if call.over or call.attempt.id not in self.calls:
                return
            self.calls[call.attempt.id] = replace(self.calls[call.attempt.id], message_left=True)
            self.request(lambda: self.engine.tell(call.attempt.id))
            yield self.day.message_seconds(call.attempt)
        self.request(lambda: self.engine.hang_up(call.attempt.id))

    def _found(self, attempt: Attempt) -> AfterVerdict:
        """Write down who has answered, as ``dialer.calls`` does; return what follows."""
        verdict = MachineVerdict.MACHINE if self.day.is_machine(attempt) else MachineVerdict.HUMAN
        known = replace(self.calls[attempt.id], detection=Detection(verdict, "", LISTENS, USUAL_TIMINGS))
        start = self.day.plan.campaigns[int(attempt.campaign_id)].machine_start
        follows = after_verdict(known.rules.machine_detection, verdict, has_machine_start=start)
        if follows is AfterVerdict.HANG_UP:
            known = replace(known, unheard=outcomes.HUNG_UP_ON)
        self.calls[attempt.id] = known
        self.book(outcomes.progress(known))
        return follows

    def _converse(self, call: Call) -> Iterator[float]:
        talk = self.engine.talk_seconds(call.attempt)
        key = (self.day.plan.seed, call.attempt.run_id, call.attempt.contact_id, call.attempt.number)
        yield talk / 2
        if not call.over and luck("opts out", *key) < OPT_OUT:
            self.day.desk.opt_out(call.attempt)
        if not call.over and luck("calls back", *key) < CALL_BACK:
            self.day.desk.call_back(call.attempt.contact_id, 20 + 7200 * luck("when", *key))
        yield talk / 2
        self.request(lambda: self.engine.hang_up(call.attempt.id))

    def _ended(self, call: Call) -> None:
        known = self.calls.pop(call.attempt.id, None)
        if known is not None:
            ours = call.sip_code is None and call.cause in {None, NORMAL_CLEARING}
            news = outcomes.ended(
                known,
                at=call.record.ended_at or self.day.timeline.now,
                cause=call.cause,
                sip_code=None if known.answered_at is not None else call.sip_code,
                cancelled_by_us=ours,
            )
            self.book(news)

    def settle(self, attempt_id: str, *, placed: bool) -> None:
        """Find out what became of a call that is not at the engine any more."""
        known = self.calls.pop(attempt_id, None)
        if known is not None:
            record = self.engine.records.get(attempt_id)
            self.book(outcomes.from_record(known, record, at=self.day.timeline.now, placed=placed))

    def _reconcile(self) -> None:
        """Settle calls that are missing at the engine now and were at the last look."""
        if not self.sees_engine():
            return
        missing = {
            attempt_id
            for attempt_id, known in self.calls.items()
            if known.dialed_at is not None and attempt_id not in self.in_flight and attempt_id not in self.engine.calls
        }
        for attempt_id in missing & self._missing:
            self.settle(attempt_id, placed=True)
        self._missing = missing - self._missing

    # Dead nodes

    def _take_over(self) -> None:
        referee, now = self.day.referee, self.day.timeline.now
        grace = timedelta(seconds=FOREIGN_GRACE * self.ttl)
        for row in referee.nodes.values():
            patience = timedelta() if row.engine_id == self.engine.id else grace
            if not row.ended and row.id != self.id and row.lease_until + patience < now:
                row.ended, row.adopted_by = True, self.id
                self.day.timeline.note(f"{self.id} takes over {row.id}")
            elif row.ended and row.adopted_by is not None and referee.nodes[row.adopted_by].ended:
                row.adopted_by = self.id
        making = {node_id for node_id, until in referee.making.values() if until > now}
        left = [
            row.attempt
            for row in referee.live.values()
            if row.attempt.id not in self.calls and row.attempt.node_id not in making
            if referee.nodes[row.attempt.node_id].adopted_by == self.id
        ]
        for engine_id in sorted({attempt.engine_id for attempt in left}):
            engine = self.day.engines[engine_id]
            if engine.reachable:
                self.drive(self._settle(engine, [one for one in left if one.engine_id == engine_id]))

    def _settle(self, engine: Engine, attempts: list[Attempt]) -> Iterator[float]:
        referee, own = self.day.referee, engine is self.engine
        for node_id in sorted({attempt.node_id for attempt in attempts}):
            engine.remove_permits_of(node_id)
        # what was let through before shows in one of two listings
        yield TRAVEL
        for attempt in attempts:
            if not referee.attempts[attempt.id].live or attempt.id in self.calls:
                continue
            known = Known(
                attempt.id,
                attempt.number,
                self.day.referee.runs[attempt.run_id].rules,
                self.id,
                attempt.state,
                attempt.dialed_at,
                ringing_at=attempt.ringing_at,
                answered_at=attempt.answered_at,
                detection=attempt.detection,
            )
            known = may_have_heard(known, self._flow_of(attempt))
            call = engine.calls.get(attempt.id)
            if call is None:
                gone = self._never_placed(attempt)
                record = engine.records.get(attempt.id) if own else None
                now = self.day.timeline.now
                self.book(outcomes.from_record(known, record, at=now, placed=not (own and gone)))
                continue
            call.owner, call.hears = self.process, self.hears
            self.calls[attempt.id] = replace(known, dialed_at=known.dialed_at or attempt.reserved_at)
            if call.answered and own:
                if known.answered_at is None:
                    self.calls[attempt.id] = outcomes.answered(self.calls[attempt.id], at=self.day.timeline.now)
                known = self.calls[attempt.id]
                at_once = known.is_machine or known.undecided
                self.drive(self._hang_up_after(call, 0.0 if at_once else self.engine.talk_seconds(attempt)))
            else:
                engine.hang_up(attempt.id)

    def _flow_of(self, attempt: Attempt) -> PlayableFlow:
        steps = {"hello": {"say": "Hello."}}
        start = {"machine_start": "hello"} if self.day.plan.campaigns[int(attempt.campaign_id)].machine_start else {}
        return PlayableFlow("cf", read_flow({"start": "hello", "steps": steps, **start}), {})

    def _hang_up_after(self, call: Call, seconds: float) -> Iterator[float]:
        yield seconds
        call.cause = NORMAL_CLEARING
        self.request(lambda: self.engine.hang_up(call.attempt.id))

    def _never_placed(self, attempt: Attempt) -> bool:
        watched_since = self.up_since if self.sees_engine() else None
        return (
            attempt.state is AttemptState.RESERVED
            and attempt.reserved_at is not None
            and watched_since is not None
            and watched_since < attempt.reserved_at
            and self.day.referee.nodes[attempt.node_id].killed
        )
