"""The engine and what lies behind it: permits that expire there, calls, and people with a seed.

Whoever is to be called answers, is busy or lets it ring by luck that hangs on who it is and which try it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeAlias

from outdial.core.model import Attempt
from outdial.telephony.engine import CallRecord
from simulation.timeline import Process, Timeline, luck

ENDINGS = (
    # how often, answered, Q.850 cause, SIP status, seconds until then
    (0.35, True, 16, None, 8.0),
    (0.60, False, 17, 486, 1.0),
    (0.80, False, 19, 480, 25.0),
    (0.86, False, 1, 404, 1.0),
    (0.94, False, 34, 503, 1.0),
    (1.00, False, 21, 603, 4.0),
)
OPT_OUT = 0.15
CALL_BACK = 0.15
MACHINE = 0.4
"""Of those who answer, where that is found out."""
MESSAGE_SECONDS = 12.0
"""How long the message for machines is."""
TRAVEL = 0.02
"""Seconds a request or an event takes at most."""


Ending: TypeAlias = tuple[bool, int, int | None, float]
"""Answered, Q.850 cause, SIP status, seconds until then."""


def by_luck(seed: int) -> Callable[[Attempt], Ending]:
    """Return people who answer or do not by their seed, who they are, and which try it is."""

    def ends(attempt: Attempt) -> Ending:
        lucky = luck(seed, "ends", attempt.run_id, attempt.contact_id, attempt.number)
        return next(one[1:] for one in ENDINGS if lucky < one[0])

    return ends


@dataclass(frozen=True)
class Invite:
    """What the carrier wrote down of a call that reached it."""

    at: datetime
    attempt_id: str
    run_id: int
    epoch: int
    contact_id: int
    phone: str
    engine_id: str


@dataclass(eq=False)
class Call:
    """One call."""

    attempt: Attempt
    owner: Process
    """Who hears of it."""
    hears: Callable[[str, Call], None]
    record: CallRecord
    answered: bool = False
    over: bool = False
    cause: int | None = None
    sip_code: int | None = None


@dataclass(eq=False)
class Engine:
    """One Asterisk, and the carrier behind it."""

    id: str
    timeline: Timeline
    seed: int
    """Of how long events are on their way."""
    heard: Callable[[Invite], None]
    """Told of each call as it leaves."""
    talk_seconds: Callable[[Attempt], float]
    ends: Callable[[Attempt], Ending]
    """How the one who is called takes it."""
    up: bool = True
    reachable: bool = True
    began: int = 0
    """How often it came up or came back: whoever has seen another count has missed something."""
    permits: dict[tuple[int, int, str, str], datetime] = field(default_factory=dict)
    """Run, epoch, node, key → when it expires."""
    calls: dict[str, Call] = field(default_factory=dict)
    records: dict[str, CallRecord] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    """Attempts of which a machine has heard a message, or some of it."""
    buffer: list[Callable[[], None]] = field(default_factory=list)
    """Requests that have come while it was away: it works them off when it is back, as a process that was frozen."""

    def arrive(self, request: Callable[[], None]) -> None:
        """Take a request: carried out now, later, or, where nobody listens, never."""
        if self.reachable:
            request()
        elif self.up:
            self.buffer.append(request)

    # Permits

    def put_permit(self, key: tuple[int, int, str, str], expires_at: datetime) -> None:
        self.permits[key] = expires_at

    def renew_permit(self, key: tuple[int, int, str, str], expires_at: datetime) -> bool:
        """Touch the contact alone; False where there is no permit any more."""
        if key not in self.permits:
            return False
        self.permits[key] = expires_at
        return True

    def fence(self, run_id: int) -> None:
        self.permits = {key: at for key, at in self.permits.items() if key[0] != run_id}

    def remove_permits_of(self, node_id: str) -> None:
        self.permits = {key: at for key, at in self.permits.items() if key[2] != node_id}

    def lets_through(self, key: tuple[int, int, str, str]) -> bool:
        expires_at = self.permits.get(key)
        return expires_at is not None and self.timeline.now < expires_at

    # Calls

    def originate(
        self, attempt: Attempt, permit: tuple[int, int, str, str], owner: Process, hears: Callable[[str, Call], None]
    ) -> bool:
        """Place a call; False when it is refused and nothing left."""
        if not self.lets_through(permit):
            return False
        now = self.timeline.now
        call = Call(attempt, owner, hears, CallRecord(attempt.id, now, None, None, None))
        self.calls[attempt.id], self.records[attempt.id] = call, call.record
        self.timeline.note(f"INVITE for attempt {attempt.id[:6]} of contact {attempt.contact_id} at {self.id}")
        self.heard(Invite(now, attempt.id, attempt.run_id, attempt.epoch, attempt.contact_id, attempt.phone, self.id))
        answers, call.cause, call.sip_code, seconds = self.ends(attempt)
        if seconds > 2:
            self._later(1.0, lambda: self._tell("ringing", call), call)
        self._later(seconds, (lambda: self._answer(call)) if answers else (lambda: self._end(call)), call)
        return True

    def _later(self, seconds: float, what: Callable[[], None], call: Call) -> None:
        self.timeline.after(seconds, lambda: None if call.over else what())

    def _tell(self, word: str, call: Call) -> None:
        travel = TRAVEL * luck(self.seed, "tell", word, call.attempt.id)
        self.timeline.after(travel, lambda: call.hears(word, call), call.owner)

    def _answer(self, call: Call) -> None:
        call.answered = True
        call.record = self.records[call.attempt.id] = replace(call.record, answered_at=self.timeline.now)
        self._tell("answered", call)
        # whoever talks hangs up in the end, should nobody else
        self._later(2 * self.talk_seconds(call.attempt), lambda: self._end(call), call)

    def _end(self, call: Call) -> None:
        call.over = True
        call.record = self.records[call.attempt.id] = replace(call.record, ended_at=self.timeline.now, cause=call.cause)
        self.calls.pop(call.attempt.id, None)
        self._tell("ended", call)

    def hang_up(self, attempt_id: str) -> None:
        """End a call, answered or not, if it is there."""
        call = self.calls.get(attempt_id)
        if call is not None:
            call.cause, call.sip_code = 16, None
            self._end(call)

    def tell(self, attempt_id: str) -> None:
        """Begin to play a machine its message, if the call is there."""
        if attempt_id in self.calls:
            self.told.add(attempt_id)

    def die(self, seconds: float) -> None:
        """Be killed and started again: permits and calls are forgotten, what was written down stays."""
        self.up = self.reachable = False
        self.permits.clear()
        self.buffer.clear()
        for call in self.calls.values():
            call.over = True
        self.calls.clear()
        self.timeline.note(f"{self.id} is killed")
        self.timeline.after(seconds, self._begin)

    def _begin(self) -> None:
        self.up = self.reachable = True
        self.began += 1
        self.timeline.note(f"{self.id} is back")

    def go_away(self, seconds: float) -> None:
        """Be unreachable for whoever asks, and go on with what it was told."""
        self.reachable = False
        self.timeline.note(f"{self.id} cannot be reached")
        self.timeline.after(seconds, self._come_back)

    def _come_back(self) -> None:
        if self.up and not self.reachable:
            self.reachable = True
            self.began += 1
            self.timeline.note(f"{self.id} can be reached again")
            waiting, self.buffer = self.buffer, []
            for request in waiting:
                request()
