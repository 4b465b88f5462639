"""Flows as values: what an answered call hears and does, step by step.

People write them, see ``core.flow_document``; they are played by ``core.flow_play``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeAlias

LANGUAGE: Final = "language"
"""Variable that chooses the language a call begins in."""

LANGUAGE_TAG: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
"""A language (RFC 5646), as far as it is one: it becomes a word of somebody's command."""

TEMPLATE: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?:\|([^{}]*))?\}")
"""``{name}`` or ``{name|otherwise}`` in a text."""

VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,47}")
"""A name that a text can say."""

MOST_STEPS: Final = 200
"""Steps of one flow."""
MOST_SOUNDS: Final = 200
"""Sounds of one flow, each in as many languages as it has."""
LONGEST_TEXT: Final = 1000
"""Characters that one step may say."""
LONGEST_NAME: Final = 48
"""Characters of the name of a step, a sound, a variable or a result."""
MOST_DIGITS: Final = 32
"""Keys that one step may gather."""


class OptOutScope(StrEnum):
    """Whose calls a person no longer wants."""

    ACCOUNT = "account"
    """Anybody's of the account."""
    CAMPAIGN = "campaign"
    """Those of campaigns with the same do-not-call list; the account's where the campaign names none."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A recorded prompt, by the name the flow gives it; which file it is depends on the language."""

    name: str


@dataclass(frozen=True, slots=True)
class Speech:
    """A text that is spoken; ``{name}`` and ``{name|otherwise}`` stand for what is known of the contact."""

    text: str


Prompt: TypeAlias = Sound | Speech


@dataclass(frozen=True, slots=True)
class Tell:
    """Play or say something, to its end."""

    prompt: Prompt
    next: str | None = None
    """The step that follows; None = hang up. The same for every kind of step."""
    failed: str | None = None
    """Where to go when it cannot be heard; None = end the call, which has then heard nothing."""


@dataclass(frozen=True, slots=True)
class Gather:
    """Ask for keys. A key may be pressed while the question is still heard."""

    prompt: Prompt | None
    digits: int
    """At most so many; ``#`` ends them sooner."""
    choices: Mapping[str, str]
    """What was keyed → step. Empty: anything is taken, and ``next`` follows."""
    timeout_seconds: float
    """From the end of the question to the first key."""
    between_seconds: float
    """From one key to the next."""
    tries: int
    """How often the question is asked."""
    save: str | None = None
    """Variable that keeps what was keyed."""
    no_input: str | None = None
    """After the last try, when nothing was keyed."""
    invalid: str | None = None
    """After the last try, when what was keyed is none of the choices."""
    next: str | None = None
    failed: str | None = None


@dataclass(frozen=True, slots=True)
class SetResult:
    """Note how the call ended, in the campaign's own words."""

    result: str
    next: str | None = None


@dataclass(frozen=True, slots=True)
class SetLanguage:
    """Go on in another language."""

    language: str
    next: str | None = None


@dataclass(frozen=True, slots=True)
class OptOut:
    """Put the number on a do-not-call list, at once."""

    scope: OptOutScope
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """Record the person, who has agreed by a key: without that there is no recording."""

    consent: Prompt
    """Must say that a recording follows, and which key agrees to it."""
    agree: str
    """The key."""
    timeout_seconds: float
    longest_seconds: float
    silence_seconds: float
    """So much silence ends it; so does ``#``."""
    refused: str | None = None
    """Where to go without consent."""
    next: str | None = None
    failed: str | None = None


@dataclass(frozen=True, slots=True)
class Transfer:
    """Connect the person with somebody else; ``next`` follows when they have talked."""

    to: str
    """SIP address at the campaign's trunk, ``sip:agent@host``, or a phone number, which that trunk calls."""
    ring_seconds: int
    next: str | None = None
    failed: str | None = None
    """Busy, not answered, or not placed since the run is over."""


@dataclass(frozen=True, slots=True)
class Agent:
    """Connect the person with a program that listens and talks over a WebSocket."""

    url: str
    rate: int
    """Samples a second, both ways, 16 bit mono."""
    longest_seconds: float
    next: str | None = None
    failed: str | None = None
    """It could not be reached, or dropped the call."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Tell another system, and hear its answer: the fields of a JSON object become variables."""

    url: str
    timeout_seconds: float
    send: tuple[str, ...] = ()
    """Variables that are sent along."""
    prefix: str = ""
    """Put before the names of the fields that come back."""
    next: str | None = None
    failed: str | None = None
    """No answer in time, or none that can be used."""
    meanwhile: Sound | None = None
    """Heard while the answer is waited for, and broken off when it is there; None: silence."""
    """No answer in time, another status than 2xx, or no JSON object."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the call."""

    next: None = None


Step: TypeAlias = Tell | Gather | SetResult | SetLanguage | OptOut | Record | Transfer | Agent | Webhook | HangUp


@dataclass(frozen=True, slots=True)
class FlowPlan:
    """A flow, whole and sound: every step it names exists and can be reached."""

    start: str
    steps: Mapping[str, Step]
    language: str
    """What is spoken where the contact says nothing else."""
    sounds: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Name → language → file, as the author calls it; each has the flow's own language."""
    machine_start: str | None = None
    """Where an answering machine's call begins, after its beep; None = a machine that is known to be one is hung up
    on."""


def targets(step: Step) -> tuple[str, ...]:
    """Return the steps that may follow a step, each once, in the order in which they are written."""
    named: list[str | None] = []
    match step:
        case Gather():
            named += [*step.choices.values(), step.no_input, step.invalid, step.next, step.failed]
        case Record():
            named += [step.refused, step.next, step.failed]
        case Tell() | Transfer() | Agent() | Webhook():
            named += [step.next, step.failed]
        case SetResult() | SetLanguage() | OptOut() | HangUp():
            named.append(step.next)
    return tuple(dict.fromkeys(name for name in named if name is not None))


def message_of(plan: FlowPlan) -> str | None:
    """Return the file of a flow that is one recorded message and nothing else; None of any other."""
    match list(plan.steps.values()):
        case [Tell(prompt=Sound(name=name))]:
            return plan.sounds[name][plan.language]
        case _:
            return None


def fixed_texts(plan: FlowPlan) -> tuple[str, ...]:
    """Return the texts that a flow says to everybody alike."""
    told = (prompt for step in plan.steps.values() for prompt in prompts(step) if isinstance(prompt, Speech))
    return tuple(dict.fromkeys(prompt.text for prompt in told if not TEMPLATE.search(prompt.text)))


def variables_of(plan: FlowPlan) -> frozenset[str]:
    """Return the names of what a flow wants to know of its contact."""
    wanted: set[str] = set()
    for step in plan.steps.values():
        for prompt in prompts(step):
            if isinstance(prompt, Speech):
                wanted.update(found[1] for found in TEMPLATE.finditer(prompt.text))
        if isinstance(step, Webhook):
            wanted.update(step.send)
    if any(len(files) > 1 for files in plan.sounds.values()) or any(
        isinstance(prompt, Speech) for step in plan.steps.values() for prompt in prompts(step)
    ):
        wanted.add(LANGUAGE)
    return frozenset(wanted)


def texts(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return what is known of a contact as the texts a flow can say: of its fields, those that are one value."""
    return {
        name: ("yes" if value else "no") if isinstance(value, bool) else str(value)
        for name, value in fields.items()
        if isinstance(value, str | int | float)
    }


def prompts(step: Step) -> tuple[Prompt, ...]:
    """Return what a step may play or say."""
    match step:
        case Tell(prompt=prompt) | Record(consent=prompt):
            return (prompt,)
        case Gather(prompt=prompt) | Webhook(meanwhile=prompt):
            return () if prompt is None else (prompt,)
        case _:
            return ()
