"""What people ask for: starts, pauses, resumes, stops of every scope, numbers not to be called, call-backs, calls by
hand; each with
the barrier behind it, step by step, and the instant at which it is answered 200."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from outdial.core.callback import callback_refusal
from outdial.core.campaign import RUN_MOVES, RunAction
from outdial.core.explanation import explain
from outdial.core.manual_call import ManualAnswer, manual_answer
from outdial.core.model import LIVE_RUN_STATES, Attempt, AttemptState, Run, RunState
from outdial.dialer import outcomes
from outdial.dialer.outcomes import Known
from outdial.services.gate import policy_of
from simulation.plan import Act

if TYPE_CHECKING:
    from simulation.day import Day

BETWEEN_LISTINGS = 0.02
GRACE = 0.1
"""Seconds nodes get to acknowledge."""
LOOK_EVERY = 0.5
UNANSWERED = frozenset({AttemptState.RESERVED, AttemptState.DIALING, AttemptState.RINGING})


class Desk:
    """Whoever presses buttons, and the API processes that do it."""

    def __init__(self, day: Day) -> None:
        self.day = day

    def do(self, act: Act, contact_id: int | None = None) -> None:
        """Do what was planned, as far as it can be done now; to that contact, where one is being called just then."""
        day, word = self.day, act.word
        if word == "stop-number" or word in {"dnc", "campaign-dnc", "call-back", "call-now"}:
            person = day.people.get(act.what if contact_id is None else contact_id)
            if person is None:
                return
            if word == "call-back":
                self.call_back(person.id, act.seconds)
            elif word == "call-now":
                self.call_now(person.id)
            else:
                campaign = person.campaign if word == "campaign-dnc" else None
                day.timeline.drive(self._not_to_be_called(person.phone, campaign))
        elif word == "emergency":
            self._emergency()
        elif word == "lift":
            day.referee.emergency = False
            day.promises.lifted()
            day.timeline.note("the emergency stop is lifted")
        elif word == "start":
            run = day.referee.start(day.plan.campaigns[act.what])
            if run is not None:
                day.timeline.note(f"run {run.id} of campaign {act.what} is started")
        else:
            self._runs(word, act.what)

    def _runs(self, word: str, campaign_id: int) -> None:
        day = self.day
        campaign = day.plan.campaigns[campaign_id]
        live = [run for run in day.referee.runs.values() if run.state in LIVE_RUN_STATES]
        of = {
            "stop-caller-id": lambda run: run.rules.caller_id == campaign.rules.caller_id and run.iid == campaign.iid,
            "stop-account": lambda run: True,
        }.get(word, lambda run: run.campaign_id == str(campaign_id))
        for run in filter(of, live):
            if word == "pause":
                self.pause(run.id, "asked for", epoch=run.epoch)
            elif word == "resume":
                self._resume(run)
            else:
                self._stop([run])

    # Runs

    def _resume(self, run: Run) -> None:
        if (run.state, RunAction.RESUME) in RUN_MOVES and not self.day.referee.emergency:
            self.day.referee.move(run.id, RunAction.RESUME)
            self.day.promises.resumed(run.id)

    def complete(self, run: Run) -> None:
        """End a run whose contacts are all done."""
        present = self.day.referee.runs[run.id]
        if (present.state, RunAction.COMPLETE) in RUN_MOVES and self.day.referee.all_done(run.id):
            self.day.referee.move(run.id, RunAction.COMPLETE)

    def pause(self, run_id: int, reason: str, *, epoch: int) -> None:
        """Pause a run, if it is still as it was looked at."""
        run = self.day.referee.runs[run_id]
        if (run.state, RunAction.PAUSE) not in RUN_MOVES or run.epoch != epoch:
            return
        self.day.timeline.note(f"run {run_id} is to pause: {reason}")
        moved = self.day.referee.move(run_id, RunAction.PAUSE)
        self.day.timeline.drive(self._paused(moved))

    def _paused(self, run: Run) -> Iterator[float]:
        yield from self.silence(run, cancel=False)
        present = self.day.referee.runs[run.id]
        if present.epoch == run.epoch:
            self.day.promises.paused(run.id)

    def _stop(self, runs: Iterable[Run], then: Callable[[], None] | None = None) -> None:
        """Commit all of them first, then prove each."""
        runs = list(runs)
        for run in runs:
            if (run.state, RunAction.STOP) in RUN_MOVES:
                moved = self.day.referee.move(run.id, RunAction.STOP)
                self.day.timeline.drive(self._prove(moved))
        if then is not None:
            # those that somebody else is stopping are waited for too
            self.day.timeline.drive(self._when_stopped([run.id for run in runs], then))

    def _when_stopped(self, run_ids: list[int], then: Callable[[], None]) -> Iterator[float]:
        while any(self.day.referee.runs[run_id].state is RunState.STOPPING for run_id in run_ids):
            yield LOOK_EVERY
        then()

    def _prove(self, run: Run) -> Iterator[float]:
        yield from self.silence(run, cancel=True)
        yield GRACE
        self._book_what_was_cancelled(run)
        self.day.referee.move(run.id, RunAction.CONFIRM_STOPPED)
        self.day.referee.drop_retries(run.id)
        self.day.promises.stopped(run.id)

    def silence(self, run: Run, *, cancel: bool) -> Iterator[float]:
        """Fence and quiesce a run at every engine that may hold a permit of it."""
        day = self.day
        yield day.travel("fence", run.id)
        for engine_id in sorted(engine for run_id, engine in day.referee.served if run_id == run.id):
            engine = day.engines[engine_id]
            while True:
                while not engine.reachable:
                    yield LOOK_EVERY
                # asked before the fence
                being_made = self.being_made(run.id, engine_id)
                engine.fence(run.id)
                yield day.travel("quiesce", run.id)
                yield from self.quiesce(run.id, engine_id, cancel=cancel)
                if not being_made:
                    break
                yield LOOK_EVERY

    def being_made(self, run_id: int, engine_id: str) -> bool:
        """Whether a permit is being put there now."""
        notes = self.day.referee.making.items()
        now = self.day.timeline.now
        return any(key[:2] == (run_id, engine_id) and until > now for key, (_, until) in notes)

    def quiesce(self, run_id: int, engine_id: str, *, cancel: bool) -> Iterator[float]:
        """List what is not answered and cancel it, until two listings in a row show nothing."""
        engine, empty = self.day.engines[engine_id], 0
        while empty < 2:
            found = [
                call.attempt.id
                for call in engine.calls.values()
                if call.attempt.run_id == run_id and not call.answered and cancel
            ]
            for attempt_id in found:
                engine.hang_up(attempt_id)
            empty = 0 if found else empty + 1
            yield BETWEEN_LISTINGS

    def _book_what_was_cancelled(self, run: Run) -> None:
        """Write down for nodes that do not answer what the stop itself has done at their engines."""
        for row in list(self.day.referee.live.values()):
            one = row.attempt
            record = self.day.engines[one.engine_id].records.get(one.id)
            if one.run_id == run.id and record is not None and record.answered_at is None:
                if record.ended_at is None or record.cause != outcomes.NORMAL_CLEARING:
                    continue
                known = Known(one.id, one.number, run.rules, "stop", one.state, record.started_at)
                self.day.referee.book(
                    outcomes.ended(known, at=record.ended_at, cause=16, sip_code=None, cancelled_by_us=True)
                )

    # Wider

    def _emergency(self) -> None:
        referee = self.day.referee
        if referee.emergency:
            return
        referee.emergency = True
        self.day.timeline.note("an emergency stop is asked for")
        live = [run for run in referee.runs.values() if run.state in LIVE_RUN_STATES]
        self._stop(live, lambda: self.day.promises.emergency(in_force=referee.emergency))

    def opt_out(self, attempt: Attempt) -> None:
        """Let somebody who is talking never be called again."""
        self.day.timeline.note(f"contact {attempt.contact_id} asks not to be called again")
        phones = self.day.people[attempt.contact_id].phones
        # all of them in one instant, and by each the person is meant
        self.day.referee.account_dnc.update(phones)
        self.day.referee.meant[None].update(phones)
        for phone in phones:
            self.day.timeline.drive(self._not_to_be_called(phone, None, of_person=True))

    def _not_to_be_called(self, phone: str, campaign_id: int | None, *, of_person: bool = False) -> Iterator[float]:
        """Put a number on a list, and answer when no call to it can leave any more; ``of_person``: nor one to another
        number of whoever has it."""
        day = self.day
        listed = day.referee.account_dnc if campaign_id is None else day.referee.campaign_dnc[campaign_id]
        listed.add(phone)
        whose = "the account's" if campaign_id is None else f"campaign {campaign_id}'s"
        day.timeline.note(f"{phone} is put on {whose} list")
        yield day.travel("number", phone)
        yield from self.settle_number(phone, campaign_id, of_person=of_person)
        day.promises.not_to_be_called(phone, campaign_id, of_person=of_person)

    def settle_number(self, phone: str, campaign_id: int | None, *, of_person: bool) -> Iterator[float]:
        """Cancel what was claimed before, until nothing of it can leave."""
        day = self.day
        while True:
            open_calls = [
                row.attempt
                for row in day.referee.live.values()
                if row.attempt.phone == phone or (of_person and phone in day.people[row.attempt.contact_id].phones)
                if row.attempt.state in UNANSWERED
                if campaign_id is None or row.attempt.campaign_id == str(campaign_id)
            ]
            if not open_calls:
                return
            for attempt in open_calls:
                engine = day.engines[attempt.engine_id]
                call = engine.calls.get(attempt.id)
                if engine.reachable and call is not None and not call.answered:
                    engine.hang_up(attempt.id)
            yield LOOK_EVERY

    def call_back(self, contact_id: int, seconds: float) -> None:
        """Promise somebody a call, if the core lets that be promised."""
        referee, now = self.day.referee, self.day.timeline.now
        at = now + timedelta(seconds=seconds)
        for run in referee.runs.values():
            if run.state not in {RunState.ACTIVE, RunState.PAUSED}:
                continue
            contact = referee.callback_contact(run.id, contact_id)
            if callback_refusal(contact, at=at, now=now) is None:
                referee.ask_callback(run.id, contact_id, at)
                self.day.promises.call_back(run.id, contact_id)
                self.day.timeline.note(f"contact {contact_id} asks to be called at {at:%H:%M:%S}")

    def call_now(self, contact_id: int) -> None:
        """Let somebody come first in the queue of a run, if the core says that it may be called now."""
        referee, now = self.day.referee, self.day.timeline.now
        for run in referee.runs.values():
            found = referee.standing(run, contact_id) if run.state is RunState.ACTIVE else None
            if found is None:
                continue
            limits = referee.limits_of(run)
            told = explain(
                *(found[0], lambda at, run=run, limits=limits: policy_of(run, limits, at), found[1]),
                at=now,
                within=timedelta(),
            )
            answer, step = manual_answer(told)
            self.day.promises.asked_now(answer)
            if answer is ManualAnswer.ALLOWED:
                referee.ask_now(run.id, contact_id)
            self.day.timeline.note(f"contact {contact_id} is wanted now: {answer} {'' if step is None else step.code}")
