"""Playing a flow: what to do next on a call, from what has just happened.

No sound, clock or network: whoever plays does what it is told and tells what came of it. Each thing that takes time has
a *turn*, a number that its end is told with. An end that comes late, of something that is over, says another turn and
changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from outdial.core.flow import (
    LANGUAGE,
    LANGUAGE_TAG,
    TEMPLATE,
    Agent,
    FlowPlan,
    Gather,
    HangUp,
    OptOut,
    OptOutScope,
    Prompt,
    Record,
    SetLanguage,
    SetResult,
    Sound,
    Speech,
    Step,
    Tell,
    Transfer,
    Webhook,
)

MOST_TAKEN: Final = 300
"""Steps of one call: a round through questions that nobody answers ends there."""

END_KEY: Final = "#"

_LONGEST_VALUE: Final = 500
"""Characters of a variable that are spoken or sent."""


# What is to be done


@dataclass(frozen=True, slots=True)
class PlaySound:
    """Play a file of the flow; ``Heard`` or ``Unheard`` follows."""

    turn: int
    file: str


@dataclass(frozen=True, slots=True)
class PlayMeanwhile:
    """Play a file of the flow while something else is waited for; how it ends changes nothing."""

    turn: int
    """``Hush`` names it."""
    file: str


@dataclass(frozen=True, slots=True)
class Speak:
    """Say a text in a language; ``Heard`` or ``Unheard`` follows."""

    turn: int
    text: str
    language: str


@dataclass(frozen=True, slots=True)
class Hush:
    """End what is playing: a key was pressed over it, or what it played for is over."""

    turn: int


@dataclass(frozen=True, slots=True)
class Wait:
    """``TimeUp`` follows after so many seconds."""

    turn: int
    seconds: float


@dataclass(frozen=True, slots=True)
class StartRecording:
    """``Recorded`` or ``Failed`` follows."""

    turn: int
    longest_seconds: float
    silence_seconds: float


@dataclass(frozen=True, slots=True)
class StartTransfer:
    """``Done`` follows when they have talked, ``Failed`` when they have not."""

    turn: int
    to: str
    ring_seconds: int


@dataclass(frozen=True, slots=True)
class StartAgent:
    """``Done`` follows when the agent ends the talk in good order, ``Failed`` when it drops or cannot be reached."""

    turn: int
    url: str
    rate: int
    longest_seconds: float


@dataclass(frozen=True, slots=True)
class Ask:
    """``Answered`` or ``Failed`` follows."""

    turn: int
    url: str
    timeout_seconds: float
    body: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Put the number on the do-not-call list, at once."""

    scope: OptOutScope


@dataclass(frozen=True, slots=True)
class End:
    """Hang up. ``unheard``: why the person heard nothing of it, empty when they did."""

    unheard: str = ""


Action: TypeAlias = (
    PlaySound | PlayMeanwhile | Speak | Hush | Wait | StartRecording | StartTransfer | StartAgent | Ask | Refuse | End
)


# What has happened


@dataclass(frozen=True, slots=True)
class Heard:
    """It was played to its end."""

    turn: int


@dataclass(frozen=True, slots=True)
class Unheard:
    """It could not be played."""

    turn: int
    reason: str


@dataclass(frozen=True, slots=True)
class Key:
    """A key was pressed: one of ``0``–``9``, ``*``, ``#``, ``A``–``D``."""

    key: str


@dataclass(frozen=True, slots=True)
class TimeUp:
    """The wait is over."""

    turn: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """It is kept."""

    turn: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Answered:
    """The other system's answer, its fields as text."""

    turn: int
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Done:
    """A transfer or an agent's talk is over in good order."""

    turn: int


@dataclass(frozen=True, slots=True)
class Failed:
    """It came to nothing."""

    turn: int
    reason: str


Happened: TypeAlias = Heard | Unheard | Key | TimeUp | Recorded | Answered | Done | Failed


@dataclass(frozen=True, slots=True)
class FlowState:
    """Where a call stands in its flow."""

    step: str
    variables: Mapping[str, str]
    language: str
    turn: int = 0
    taken: int = 0
    """Steps so far."""
    tries: int = 0
    """Of the question that is being asked."""
    keyed: str = ""
    speaking: bool = False
    """Something is being heard that a key may end."""
    meanwhile: int = 0
    """Turn of the sound that is heard while something else is waited for; 0 = none."""
    heard: bool = False
    """The person has heard something to its end, or has answered."""
    recording: bool = False
    result: str | None = None
    opted_out: bool = False
    path: tuple[str, ...] = ()
    """Steps in the order in which they were taken."""
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """Where the call stands now, and what is to be done, in order."""

    state: FlowState
    actions: tuple[Action, ...] = field(default=())


def begin(plan: FlowPlan, variables: Mapping[str, str], *, machine: bool = False) -> Turn:
    """Begin a flow on a call that was answered, by a machine or not.

    ``variables`` are what is known of the contact; that of the name ``core.flow.LANGUAGE`` chooses the language, where
    the flow has it.
    """
    state = FlowState(plan.start, variables, _language(plan, variables.get(LANGUAGE)))
    return _go(plan, state, plan.machine_start if machine and plan.machine_start is not None else plan.start)


def advance(plan: FlowPlan, state: FlowState, happened: Happened) -> Turn:
    """Return where the call stands after that. What concerns something that is over changes nothing."""
    if state.ended:
        return Turn(state)
    step = plan.steps[state.step]
    if isinstance(happened, Key):
        return _keyed(plan, state, step, happened.key)
    if happened.turn != state.turn:
        return Turn(state)
    gone = _over(plan, replace(state, meanwhile=0), step, happened)
    return Turn(gone.state, (Hush(state.meanwhile), *gone.actions)) if state.meanwhile else gone


def _over(
    plan: FlowPlan,
    state: FlowState,
    step: Step,
    happened: Heard | Unheard | TimeUp | Recorded | Answered | Done | Failed,
) -> Turn:
    """Go on after what the step has waited for."""
    match happened:
        case Heard():
            return _heard(plan, replace(state, heard=True, speaking=False), step)
        case Unheard(reason=reason) | Failed(reason=reason):
            return _failed(plan, state, step, reason)
        case TimeUp():
            return _time_up(plan, state, step)
        case Answered(fields=fields) if isinstance(step, Webhook):
            known = {**state.variables, **{step.prefix + name: value for name, value in fields.items()}}
            return _go(plan, replace(state, variables=known), step.next)
        case _:
            return _go(plan, replace(state, heard=True), step.next)


# One step after the other


def _go(plan: FlowPlan, state: FlowState, name: str | None) -> Turn:
    """Take steps from ``name`` on until one takes time."""
    actions: list[Action] = []
    while name is not None:
        if state.taken >= MOST_TAKEN:
            return _end(state, actions)
        step = plan.steps[name]
        state = replace(
            state,
            step=name,
            turn=state.turn + 1,
            taken=state.taken + 1,
            path=(*state.path, name),
            tries=0,
            keyed="",
            recording=False,
        )
        match step:
            case SetResult(result=result):
                state = replace(state, result=result)
            case SetLanguage(language=language):
                state = replace(state, language=_language(plan, language) or state.language)
            case OptOut(scope=scope):
                state = replace(state, opted_out=True)
                actions.append(Refuse(scope))
            case HangUp():
                break
            case _:
                begun = _begin_step(plan, state, step)
                return Turn(begun.state, (*actions, *begun.actions))
        name = step.next
    return _end(state, actions)


def _end(state: FlowState, actions: list[Action], unheard: str = "") -> Turn:
    return Turn(replace(state, ended=True, speaking=False), (*actions, End(unheard)))


def _begin_step(plan: FlowPlan, state: FlowState, step: Step) -> Turn:
    turn = state.turn
    match step:
        case Tell(prompt=prompt):
            return Turn(replace(state, speaking=True), (_told(plan, state, prompt),))
        case Gather():
            return _ask(plan, state, step)
        case Record(consent=prompt):
            return Turn(replace(state, speaking=True), (_told(plan, state, prompt),))
        case Transfer(to=to, ring_seconds=ring_seconds):
            return Turn(state, (StartTransfer(turn, to, ring_seconds),))
        case Agent(url=url, rate=rate, longest_seconds=longest_seconds):
            return Turn(state, (StartAgent(turn, url, rate, longest_seconds),))
        case Webhook():
            return _question(plan, state, step)
        case _:
            raise TypeError(f"{step} takes no time")


def _question(plan: FlowPlan, state: FlowState, step: Webhook) -> Turn:
    body = {name: state.variables[name][:_LONGEST_VALUE] for name in step.send if name in state.variables}
    if step.meanwhile is None:
        return Turn(state, (Ask(state.turn, step.url, step.timeout_seconds, body),))
    # a turn of its own: the end of the sound is not the end of the waiting
    sound = PlayMeanwhile(state.turn, _file_of(plan, state, step.meanwhile))
    state = replace(state, turn=state.turn + 1, meanwhile=state.turn)
    return Turn(state, (sound, Ask(state.turn, step.url, step.timeout_seconds, body)))


def _ask(plan: FlowPlan, state: FlowState, step: Gather) -> Turn:
    """Ask the question, once more perhaps; a key that is pressed from now on is an answer to it."""
    state = replace(state, tries=state.tries + 1, keyed="")
    if step.prompt is None:
        return Turn(state, (Wait(state.turn, step.timeout_seconds),))
    return Turn(replace(state, speaking=True), (_told(plan, state, step.prompt),))


def _told(plan: FlowPlan, state: FlowState, prompt: Prompt) -> Action:
    match prompt:
        case Sound():
            return PlaySound(state.turn, _file_of(plan, state, prompt))
        case Speech(text=text):
            return Speak(state.turn, filled(text, state.variables), state.language)


def _file_of(plan: FlowPlan, state: FlowState, sound: Sound) -> str:
    files = plan.sounds[sound.name]
    return files.get(state.language) or files[plan.language]


def filled(text: str, variables: Mapping[str, str]) -> str:
    """Return a text with its variables filled in: ``{name|otherwise}`` is ``otherwise`` where the name is unknown or
    empty, ``{name}`` nothing."""

    def value(found: re.Match[str]) -> str:
        return variables.get(found[1], "").strip()[:_LONGEST_VALUE] or found[2] or ""

    return TEMPLATE.sub(value, text)


def _language(plan: FlowPlan, wanted: str | None) -> str:
    """Return the language to speak: the wanted one, unless it is none or a sound of the flow lacks it."""
    if (
        wanted is None
        or not LANGUAGE_TAG.fullmatch(wanted)
        or (plan.sounds and not all(wanted in files for files in plan.sounds.values()))
    ):
        return plan.language
    return wanted


def _heard(plan: FlowPlan, state: FlowState, step: Step) -> Turn:
    match step:
        case Gather(timeout_seconds=seconds) | Record(timeout_seconds=seconds):
            state = replace(state, turn=state.turn + 1)
            return Turn(state, (Wait(state.turn, seconds),))
        case _:
            return _go(plan, state, step.next)


def _failed(plan: FlowPlan, state: FlowState, step: Step, reason: str) -> Turn:
    branch = getattr(step, "failed", None)
    if branch is None:
        return _end(state, [], "" if state.heard else reason)
    return _go(plan, replace(state, speaking=False), branch)


# Keys


def _keyed(plan: FlowPlan, state: FlowState, step: Step, key: str) -> Turn:
    match step:
        case Gather():
            return _gathered(plan, state, step, key)
        case Record() if not state.recording:
            return _consented(plan, state, step, key)
        case _:
            return Turn(state)


def _gathered(plan: FlowPlan, state: FlowState, step: Gather, key: str) -> Turn:
    hush: tuple[Action, ...] = (Hush(state.turn),) if state.speaking else ()
    # the end of what was heard, and of the wait before this key, change nothing any more
    state = replace(state, turn=state.turn + 1, speaking=False, heard=True)
    if key == END_KEY:
        decided = _decide(plan, state, step)
        return Turn(decided.state, (*hush, *decided.actions))
    state = replace(state, keyed=state.keyed + key)
    longer = any(choice != state.keyed and choice.startswith(state.keyed) for choice in step.choices)
    complete = len(state.keyed) >= step.digits or (bool(step.choices) and not longer)
    if complete:
        decided = _decide(plan, state, step)
        return Turn(decided.state, (*hush, *decided.actions))
    return Turn(state, (*hush, Wait(state.turn, step.between_seconds)))


def _decide(plan: FlowPlan, state: FlowState, step: Gather) -> Turn:
    """Go where what was keyed leads; ask again when it leads nowhere."""
    keyed = state.keyed
    valid = keyed in step.choices if step.choices else bool(keyed)
    if not valid:
        if state.tries < step.tries:
            return _ask(plan, replace(state, turn=state.turn + 1), step)
        return _go(plan, state, step.invalid if keyed else step.no_input)
    if step.save is not None:
        state = replace(state, variables={**state.variables, step.save: keyed})
    return _go(plan, state, step.choices[keyed] if step.choices else step.next)


def _consented(plan: FlowPlan, state: FlowState, step: Record, key: str) -> Turn:
    hush: tuple[Action, ...] = (Hush(state.turn),) if state.speaking else ()
    state = replace(state, turn=state.turn + 1, speaking=False, heard=True)
    if key != step.agree:
        gone = _go(plan, state, step.refused)
        return Turn(gone.state, (*hush, *gone.actions))
    state = replace(state, recording=True)
    return Turn(state, (*hush, StartRecording(state.turn, step.longest_seconds, step.silence_seconds)))


def _time_up(plan: FlowPlan, state: FlowState, step: Step) -> Turn:
    match step:
        case Gather():
            return _decide(plan, state, step)
        case Record():
            return _go(plan, state, step.refused)
        case _:
            return Turn(state)
