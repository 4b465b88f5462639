"""Why a contact is called now, why not, and when next: every rule's answer, and what would alter it.

The gate's own table is asked (``core.screening``), rule by rule, also beyond the first that does not allow. What is
decided beside the gate, by the state of the run, of the contact and of the lines, is told from the same facts that the
dialer and the database decide by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from outdial.core.canonical import Json, instant
from outdial.core.changes import Change, ChangeKind, ListedOn, changes_of, clock_text, start_run, wait, zone_of
from outdial.core.model import LIVE_RUN_STATES, AttemptState, DoneReason, RunContactState, RunState
from outdial.core.pacing import HORIZON_SECONDS, Limit, room
from outdial.core.screening import CHECKS, Allow, Candidate, Deny, Moment, Policy, screen

MAY_RING: Final = timedelta(minutes=4)
"""How long a number is left alone after a call to it was given up whose end nobody knows. A proxy waits more than 3
minutes for an answer (Timer C, RFC 3261 section 16.6), and carriers not much longer. The database goes by the same time
(``outdial_may_ring``)."""

MOST_LOOKS: Final = 64
"""How often the gate is asked for the next instant: who never may be called is put off a day at a time."""


class Beside(StrEnum):
    """What decides beside the gate's rules, in the order in which it is asked: the first five before them, the others
    after. The codes are told over the API and never change their meaning."""

    EMERGENCY_STOP = "emergency_stop"
    RUN_STATE = "run_state"
    CALLER_ID = "caller_id"
    CONTACT_STATE = "contact_state"
    LIVE_CALL = "live_call"
    DIALER_NODES = "dialer_nodes"
    FREE_LINES = "free_lines"
    RATE = "rate"


class Says(StrEnum):
    """What one step says."""

    ALLOWS = "allows"
    WAITS = "waits"
    """Not now."""
    FORBIDS = "forbids"
    """Not in this run."""


@dataclass(frozen=True, slots=True)
class LiveCall:
    """The one live call of the account to the number, or the last one whose end nobody knows: its phone may ring on."""

    attempt_id: str | None
    """None: it is another application's, of which nothing more is told."""
    campaign: str | None
    state: AttemptState
    of_contact: bool
    """It is this contact's own, in this run."""
    ended_at: datetime | None = None
    """When a call was given up whose end nobody knows; None: it is live."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known beside what the gate looks at, all of one instant."""

    run_state: RunState | None
    """None: the campaign has never run."""
    moved_by: str = ""
    """Who brought the run to that state."""
    move_reason: str = ""
    emergency: str | None = None
    """Reason of the emergency stop in force."""
    caller_id: str = ""
    trunk_id: str | None = ""
    """The trunk that the caller ID selects; None: no trunk has it."""
    contact_state: RunContactState | None = RunContactState.PENDING
    """None: the contact is in a list of the campaign, and not in the run."""
    done_reason: DoneReason | None = None
    loaded: bool = True
    """The run has read its lists to their end."""
    live_call: LiveCall | None = None
    nodes_ready: bool = True
    """Some dialer node has a live lease and its engine up."""
    caps: tuple[Limit, ...] = ()
    slot_at: datetime | None = None
    """First instant at which the rates of run and trunk let a call leave; None: now."""
    listed: tuple[ListedOn, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """What one rule, or one thing beside them, says."""

    code: str
    """A :class:`~outdial.core.screening.Rule` or a :class:`Beside`."""
    says: Says
    sentence: str
    inputs: Mapping[str, Json] = field(default_factory=dict)
    """What it looked at."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the rule data it read that with."""
    until: datetime | None = None
    """Until when it waits, where that is known."""
    changes: tuple[Change, ...] = ()
    """Each alone would alter its answer, the smallest first."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a contact may be called at an instant, or why not."""

    at: datetime
    dialable: bool
    """Every step allows: it is called as soon as its turn comes."""
    decided_by: str | None
    """Code of the first step that does not allow."""
    sentence: str
    next_at: datetime | None
    """First instant at which the gate lets it through when nothing else changes; None: in this run it never does, or
    nobody can tell."""
    steps: tuple[Step, ...]
    leaves_by: datetime
    """Until when its call leaves, which may be a moment after ``at``."""
    phone: str | None = None
    """The number that the gate was asked about, where the contact has several."""

    @property
    def changes(self) -> tuple[Change, ...]:
        """What alone would alter the answer of the step that decides, the smallest first."""
        return next((step.changes for step in self.steps if step.code == self.decided_by), ())


def explain(
    candidate: Candidate | None,
    policy_at: Callable[[datetime], Policy],
    situation: Situation,
    *,
    at: datetime,
    within: timedelta,
) -> Explanation:
    """Return why a contact may be called at an instant, or why not.

    ``candidate`` None: it is not in the run, so there is nothing to ask the gate. ``policy_at`` gives the run's policy
    around an instant; ``within`` is how long after the look a call may leave (``core.pacing.leaves_within``).
    """
    zone, gate, next_at = "UTC", list[Step](), None
    if candidate is not None:
        policy, moment = policy_at(at), Moment(at, at + within)
        zone = zone_of(candidate, policy, at)
        gate += _gate(candidate, policy, moment, situation.listed)
        if situation.contact_state in {RunContactState.PENDING, RunContactState.WAITING}:
            next_at = next_through(candidate, policy_at, at=at, within=within)
    steps = (*before_gate(situation), *gate, *_after(situation, at=at, zone=zone))
    first = next((step for step in steps if step.says is not Says.ALLOWS), None)
    return Explanation(
        at=at,
        dialable=first is None,
        decided_by=None if first is None else first.code,
        sentence=_sentence(steps, next_at, at, zone),
        next_at=next_at,
        steps=steps,
        leaves_by=at + within,
        phone=candidate.phone if candidate is not None and candidate.numbers else None,
    )


def never_run(situation: Situation, *, at: datetime) -> Explanation:
    """Return why nobody of a campaign that has never run is called."""
    steps = tuple(before_gate(situation))
    first = next(step for step in steps if step.says is not Says.ALLOWS)
    return Explanation(
        at=at,
        dialable=False,
        decided_by=first.code,
        sentence=first.sentence,
        next_at=None,
        steps=steps,
        leaves_by=at,
    )


def next_through(
    candidate: Candidate, policy_at: Callable[[datetime], Policy], *, at: datetime, within: timedelta
) -> datetime | None:
    """Return the first instant from ``at`` on at which the gate lets a contact through, nothing else changing; None
    when it denies it, or no instant is found in :data:`MOST_LOOKS` looks."""
    for _ in range(MOST_LOOKS):
        verdict = screen(candidate, policy_at(at), now=at, until=at + within).verdict
        if isinstance(verdict, Allow):
            return at
        if isinstance(verdict, Deny):
            return None
        at = verdict.at
    return None


def _sentence(steps: Sequence[Step], next_at: datetime | None, at: datetime, zone: str) -> str:
    refusing = [step for step in steps if step.says is not Says.ALLOWS]
    if not refusing:
        return "It may be called now: it is dialed when its turn comes."
    others = len(refusing) - 1
    said = [refusing[0].sentence]
    if next_at is not None and next_at > at:
        said.append(f"The gate lets it through at {clock_text(next_at, zone)}, when nothing else changes.")
    if others:
        said.append(f"{others} more {'steps do' if others > 1 else 'step does'} not allow it.")
    return " ".join(said)


def _gate(candidate: Candidate, policy: Policy, moment: Moment, listed: Sequence[ListedOn]) -> Iterator[Step]:
    """Every rule's own answer, also of those that are not asked once another does not allow."""
    for rule, check in CHECKS.items():
        answer = check(candidate, policy, moment)
        verdict = answer.verdict
        if isinstance(verdict, Allow):
            yield Step(rule.value, Says.ALLOWS, _purpose(check), answer.inputs, answer.versions)
            continue
        denies = isinstance(verdict, Deny)
        yield Step(
            code=rule.value,
            says=Says.FORBIDS if denies else Says.WAITS,
            sentence=verdict.sentence,
            inputs=answer.inputs,
            versions=answer.versions,
            until=None if isinstance(verdict, Deny) else verdict.at,
            changes=changes_of(rule, candidate, policy, moment, listed=listed),
        )


def _purpose(check: object) -> str:
    """Return what a rule is for, in its own words."""
    return " ".join((check.__doc__ or "").split())


def before_gate(situation: Situation) -> Iterator[Step]:
    """Yield what is asked before the gate is."""
    yield from run_steps(situation)
    if situation.run_state is None:
        return
    yield _contact(situation)
    yield _live_call(situation)


def run_steps(situation: Situation) -> Iterator[Step]:
    """Yield what is asked of the run as a whole."""
    yield _emergency(situation)
    yield _run(situation)
    yield _caller_id(situation)


def _emergency(situation: Situation) -> Step:
    code = Beside.EMERGENCY_STOP
    if situation.emergency is None:
        return Step(code, Says.ALLOWS, "No emergency stop is in force.", {"inForce": False})
    lift = Change(
        ChangeKind.LIFT_EMERGENCY_STOP,
        "Lift the emergency stop, then start the campaign: outdial emergency-stop --lift.",
    )
    sentence = f"An emergency stop is in force: {situation.emergency}"
    return Step(code, Says.FORBIDS, sentence, {"inForce": True, "reason": situation.emergency}, changes=(lift,))


_RUN_SENTENCES: Final[Mapping[RunState | None, str]] = MappingProxyType(
    {
        None: "The campaign has never been started",
        RunState.PAUSED: "The run is paused",
        RunState.STOPPING: "The run is being stopped: nothing is dialed any more",
        RunState.STOPPED: "The run was stopped",
        RunState.COMPLETED: "The run is completed: every contact is done",
    }
)


def _run(situation: Situation) -> Step:
    code, state = Beside.RUN_STATE, situation.run_state
    inputs: dict[str, Json] = {"state": None if state is None else state.value}
    if state is RunState.ACTIVE:
        return Step(code, Says.ALLOWS, "The run is active.", inputs)
    inputs |= {"by": situation.moved_by, "reason": situation.move_reason}
    why = f" (by {situation.moved_by}: {situation.move_reason or 'no reason given'})" if situation.moved_by else ""
    if state is RunState.PAUSED:
        change = Change(ChangeKind.RESUME_RUN, "Resume the campaign: outdial campaign resume.")
        return Step(code, Says.WAITS, f"{_RUN_SENTENCES[state]}{why}.", inputs, changes=(change,))
    change = start_run("Start the campaign" if state is None else "Start another run of the campaign")
    return Step(code, Says.FORBIDS, f"{_RUN_SENTENCES[state]}{why}.", inputs, changes=(change,))


def _caller_id(situation: Situation) -> Step:
    """A live run keeps its trunk, which nobody can remove meanwhile; another needs one that has its caller ID."""
    code, live = Beside.CALLER_ID, situation.run_state in LIVE_RUN_STATES
    inputs: dict[str, Json] = {"callerId": situation.caller_id, "trunkId": situation.trunk_id}
    if live or situation.trunk_id is not None:
        return Step(code, Says.ALLOWS, "A trunk has the caller ID.", inputs)
    change = Change(
        ChangeKind.ADD_CALLER_ID,
        f"Give a trunk the caller ID {situation.caller_id}: outdial trunk add --caller-id {situation.caller_id}.",
        choices=(situation.caller_id,),
    )
    sentence = f"No trunk of the application has the caller ID {situation.caller_id}."
    return Step(code, Says.FORBIDS, sentence, inputs, changes=(change,))


_DONE_SENTENCES: Final[Mapping[DoneReason, str]] = MappingProxyType(
    {
        DoneReason.REACHED: "it was reached",
        DoneReason.ATTEMPTS_USED: "its attempts were used without reaching anybody",
        DoneReason.DNC: "its number was on a do-not-call list when it was about to be dialed",
        DoneReason.RETRY_CANCELLED: "the run was stopped while it waited for a retry",
        DoneReason.STOPPED: "its call was cancelled by a stop",
        DoneReason.INVALID_NUMBER: "the carrier says that its number does not exist",
        DoneReason.SKIPPED: "the pre-call fetch said not to call it, or gave no answer that could be used",
        DoneReason.EXPIRED: "its calling hours closed for the day",
        DoneReason.UNKNOWN: "how its last attempt ended cannot be established, so it is not dialed again by itself",
    }
)


def _contact(situation: Situation) -> Step:
    code, state = Beside.CONTACT_STATE, situation.contact_state
    inputs: dict[str, Json] = {
        "state": None if state is None else state.value,
        "doneReason": None if situation.done_reason is None else situation.done_reason.value,
    }
    if state in {RunContactState.PENDING, RunContactState.WAITING}:
        return Step(code, Says.ALLOWS, f"The contact is {state}: it is not done in this run.", inputs)
    if state is None and not situation.loaded:
        change = Change(ChangeKind.WAIT, "Wait until the run has read its contact lists to their end.")
        return Step(code, Says.WAITS, "The run has not read the contact yet.", inputs, changes=(change,))
    if state is None:
        sentence = "The contact is not in the run: it was added after the run had read its lists."
        return Step(code, Says.FORBIDS, sentence, inputs, changes=(start_run("Start another run of the campaign"),))
    if situation.done_reason is None:
        change = Change(ChangeKind.WAIT_FOR_CALL, "Wait until its call has ended.")
        return Step(code, Says.WAITS, f"It is being called: its state is {state}.", inputs, changes=(change,))
    sentence = f"The contact is done in this run: {_DONE_SENTENCES[situation.done_reason]}."
    called_back = Change(ChangeKind.CALL_BACK, "Promise the contact a call-back, if it has asked to be called.")
    live = situation.run_state in {RunState.ACTIVE, RunState.PAUSED} and not situation.listed
    changes = (*((called_back,) if live else ()), start_run("Start another run of the campaign"))
    return Step(code, Says.FORBIDS, sentence, inputs, changes=changes)


def _live_call(situation: Situation) -> Step:
    code, call = Beside.LIVE_CALL, situation.live_call
    if call is None:
        return Step(code, Says.ALLOWS, "No other call of the account goes to the number.", {"attemptId": None})
    inputs: dict[str, Json] = {"attemptId": call.attempt_id, "campaign": call.campaign, "state": call.state.value}
    if call.of_contact:
        whose = "Its call"
    elif call.campaign is None:
        whose = "Another application's call to the number"
    else:
        whose = f"A call of the campaign {call.campaign} to the number"
    if call.ended_at is not None:
        until = instant(call.ended_at + MAY_RING)
        sentence = f"{whose} was lost and cannot be cancelled: the phone may ring until {until}."
        change = Change(ChangeKind.WAIT_FOR_CALL, f"Wait until {until}.")
        return Step(code, Says.WAITS, sentence, inputs | {"endedAt": instant(call.ended_at)}, changes=(change,))
    change = Change(ChangeKind.WAIT_FOR_CALL, "Wait until that call has ended.")
    return Step(code, Says.WAITS, f"{whose} is {call.state}.", inputs, changes=(change,))


def _after(situation: Situation, *, at: datetime, zone: str) -> Iterator[Step]:
    """What is asked of whoever the gate lets through."""
    yield nodes_step(ready=situation.nodes_ready)
    yield lines_step(situation.caps)
    yield rate_step(situation.slot_at, at=at, zone=zone)


def nodes_step(*, ready: bool) -> Step:
    """Return what the dialer nodes say."""
    inputs = {"ready": ready}
    if ready:
        return Step(Beside.DIALER_NODES, Says.ALLOWS, "A dialer node is ready, its engine up.", inputs)
    change = Change(ChangeKind.START_NODE, "Start a dialer node: outdial serve or outdial dialer; see: outdial doctor.")
    return Step(Beside.DIALER_NODES, Says.WAITS, "No dialer node has its engine up.", inputs, changes=(change,))


_COUNTED: Final = {
    "caller_id": "calls with the caller ID live",
    "caller_id_day": "calls with the caller ID in the last 24 hours",
}
_OF: Final = {"caller_id": "caller ID", "caller_id_day": "caller ID a day"}


def lines_step(caps: Sequence[Limit]) -> Step:
    """Return what the caps on live calls say."""
    inputs: dict[str, Json] = {"caps": [{"of": one.name, "most": one.cap, "live": one.live} for one in caps]}
    if room(caps, wanted=1):
        return Step(Beside.FREE_LINES, Says.ALLOWS, "A line is free.", inputs)
    reached = tuple(one.name for one in caps if one.cap is not None and one.live >= one.cap)
    told = ", ".join(
        f"{one.live} {_COUNTED.get(one.name, f'calls of the {one.name} live')}, {one.cap} allowed"
        for one in caps
        if one.name in reached
    )
    changes = (
        Change(ChangeKind.WAIT_FOR_CALL, "Wait until a call has ended."),
        Change(
            ChangeKind.RAISE_CAP,
            f"Allow more calls of the {' and of the '.join(_OF.get(name, name) for name in reached)}.",
            choices=reached,
        ),
    )
    return Step(Beside.FREE_LINES, Says.WAITS, f"No line is free: {told}.", inputs, changes=changes)


def rate_step(slot_at: datetime | None, *, at: datetime, zone: str = "UTC") -> Step:
    """Return what the rates of run and trunk say: calls are reserved a moment ahead of their instants."""
    inputs: dict[str, Json] = {"slotAt": None if slot_at is None else instant(slot_at)}
    if slot_at is None or slot_at <= at + timedelta(seconds=HORIZON_SECONDS):
        return Step(Beside.RATE, Says.ALLOWS, "The rates of run and trunk let a call leave.", inputs)
    until = slot_at - timedelta(seconds=HORIZON_SECONDS)
    sentence = "The rates of run and trunk let no call leave yet."
    return Step(Beside.RATE, Says.WAITS, sentence, inputs, until=until, changes=(wait(until, zone),))
