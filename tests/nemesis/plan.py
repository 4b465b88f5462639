"""What happens when: a pure function of the seed. Real processes then take the time they take.

Two plans are drawn: the faults, with their instants, and for each client one *story* after the other, what it does with
one campaign. A story's instants count from the answer before, since nobody knows how long an answer takes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

DIALERS = ("dialer-1", "dialer-2", "dialer-3")
"""The first two share a managed Asterisk, the third has one that somebody else runs, behind a relay."""
ALL_DIALERS = "dialers"
APIS = ("api-1", "api-2")
ENGINES = ("asterisk-a", "asterisk-b")
PROCESSES = (*DIALERS, *APIS)
"""Each reaches the database by a relay of its own."""
LINKED = ("dialer-3", "api-2")
"""Those two reach the database, and everybody reaches the third node's engine, by a link that can lose packets."""
LINE = "line"
"""What lies between the engines and the carrier over TCP: a relay, which holds up no part and no engine."""

UDP_LINES, TCP_LINE = range(3), 3
"""The trunks, by their place in LINES (nemesis.world)."""
TCP_SHARE = 1 / 6
"""Of the stories: a stop there waits some three seconds for its line to have been seen up."""

CALM_EVERY = 5
CALM_SECONDS = (7.0, 10.0)
"""Every so many faults nothing is disturbed for a while: a stop must be proven then."""

MOST_AT_ONCE = 2


@dataclass(frozen=True)
class Kind:
    """A kind of fault: whom it strikes, and how long, in seconds."""

    name: str
    targets: tuple[str, ...]
    shortest: float
    longest: float
    weight: int


KINDS = (
    Kind("kill-dialer", DIALERS, 0.1, 2.0, 4),
    Kind("kill-api", APIS, 0.1, 1.0, 3),
    Kind("kill-postgres", ("postgres",), 0.05, 1.0, 2),
    Kind("kill-asterisk", ENGINES, 0.0, 0.0, 2),
    Kind("freeze-dialer", DIALERS, 0.05, 4.0, 5),
    Kind("freeze-api", APIS, 0.05, 3.0, 4),
    Kind("freeze-asterisk", ENGINES, 0.05, 3.0, 4),
    Kind("freeze-postgres", ("postgres",), 0.05, 2.5, 3),
    # begins when a client is about to ask for a stop, and ends some time after an answer to one
    Kind("freeze-over-stop", (ALL_DIALERS, *DIALERS, *ENGINES, *APIS), 0.0, 1.0, 6),
    Kind("cut-engine", ("asterisk-b",), 0.0, 2.0, 3),
    Kind("stall-engine", ("asterisk-b",), 0.05, 3.0, 3),
    Kind("slow-engine", ("asterisk-b",), 1.0, 3.0, 2),
    Kind("cut-database", PROCESSES, 0.0, 2.0, 4),
    Kind("stall-database", PROCESSES, 0.05, 3.0, 4),
    Kind("slow-database", PROCESSES, 1.0, 3.0, 2),
    # packets: lost, late, doubled and out of order; none gets there; none comes back
    Kind("lossy-engine", ("asterisk-b",), 0.5, 4.0, 4),
    Kind("mute-engine", ("asterisk-b",), 0.2, 3.0, 2),
    Kind("deaf-engine", ("asterisk-b",), 0.2, 3.0, 2),
    Kind("lossy-database", LINKED, 0.5, 4.0, 4),
    Kind("mute-database", LINKED, 0.2, 3.0, 2),
    Kind("deaf-database", LINKED, 0.2, 3.0, 2),
    # the line of the TCP trunk; it reconnects by itself
    Kind("cut-line", (LINE,), 0.1, 3.0, 4),
    Kind("stall-line", (LINE,), 0.1, 3.0, 3),
    Kind("mute-line", (LINE,), 0.2, 3.0, 2),
    Kind("deaf-line", (LINE,), 0.2, 3.0, 2),
    # one wall clock is stepped, and back to right at the end. An engine's must not be stepped back while it cannot be
    # reached (docs/explanation/stop.md, what remains): whatever strikes its connections has it for a target too, and a
    # target has one fault at a time
    Kind("clock-dialer", DIALERS, 0.2, 5.0, 3),
    Kind("clock-api", APIS, 0.2, 5.0, 2),
    Kind("clock-asterisk", ("asterisk-b",), 0.2, 5.0, 4),
    Kind("clock-postgres", ("postgres",), 0.2, 4.0, 3),
    *(
        Kind(f"carrier-{mode}", ("carrier",), 1.0, 4.0, 1)
        for mode in ("busy", "unavailable", "rings", "silent", "late-ringing", "late-answer", "crossing", "challenge")
    ),
)
KIND = {kind.name: kind for kind in KINDS}

CHEAP = tuple(kind for kind in KINDS if kind.name not in ("kill-postgres", "kill-asterisk"))
"""Those after which all is well again within a second or so."""


@dataclass(frozen=True)
class Fault:
    """One planned fault."""

    at: float
    """Seconds after the beginning."""
    kind: str
    target: str
    seconds: float
    step: float = 0.0
    """By how many seconds a clock is stepped."""


STEPS = (0.1, 6.0)
"""How far, either way. An engine's clock that is off by half a second is not dialed by."""


def _fault(dice: random.Random, at: float, kind: str, target: str, seconds: float) -> Fault:
    step = dice.choice((-1, 1)) * dice.uniform(*STEPS) if kind.startswith("clock-") else 0.0
    return Fault(round(at, 3), kind, target, round(seconds, 3), round(step, 3))


def faults(seed: int, seconds: float, kinds: tuple[Kind, ...] = KINDS) -> tuple[Fault, ...]:
    """What strikes within so many seconds: at most two at a time, at most one per target."""
    dice = random.Random(f"{seed} faults")
    planned: list[Fault] = []
    at = 1.5
    while at < seconds:
        at += dice.choice((0.05, 0.3, 1.0, 2.0)) * dice.random() * 2
        if len(planned) % CALM_EVERY == CALM_EVERY - 1:
            at = max([at, *(one.at + one.seconds for one in planned)]) + dice.uniform(*CALM_SECONDS)
        kind = dice.choices(kinds, [one.weight for one in kinds])[0]
        target = dice.choice(kind.targets)
        # as many short ones as long ones, by magnitude
        length = kind.shortest + (kind.longest - kind.shortest) * dice.random() ** 2
        while active := [one for one in planned if one.at + one.seconds + 0.5 > at]:
            if len(active) < MOST_AT_ONCE and all(one.target != target for one in active):
                break
            at = min(one.at + one.seconds for one in active) + 0.501
        planned.append(_fault(dice, at, kind.name, target, length))
    return tuple(one for one in planned if one.at < seconds)


def one_of_each(seed: int, kinds: tuple[Kind, ...], *, first: float, apart: float) -> tuple[Fault, ...]:
    """Every kind once, in an order of the seed, for a short run."""
    dice = random.Random(f"{seed} one of each")
    order = dice.sample(kinds, len(kinds))
    return tuple(
        _fault(dice, first + place * apart, kind.name, dice.choice(kind.targets), min(kind.longest, 0.8))
        for place, kind in enumerate(order)
    )


@dataclass(frozen=True)
class Step:
    """One thing a client does."""

    word: str
    """start, pause, resume, add, import, dnc, edit, wait, until-dialed; stop, native-stop, twin-stops, start-and-stop,
    hung-up-stop."""
    after: float
    """Seconds to wait before."""
    api: int
    """Which API process is asked, as a number to be reduced."""
    count: int = 0
    """Contacts added, numbers put on the do-not-call list, attempts waited for."""
    ringing: str = "cancel"
    connected: str = "keep"


@dataclass(frozen=True)
class Story:
    """One campaign's life."""

    contacts: int
    line: int
    """Which trunk dials it: they differ in rate and channels."""
    endings: tuple[str, ...]
    """Last digits of the numbers in turn: what the carrier does with them, see support.sip_peer."""
    steps: tuple[Step, ...]


ENDINGS = (
    "001",
    "002",
    "003",
    "004",
    "180",
    "180",
    "180",
    "486",
    "404",
    "401",
    "201",
    "487",
    "503",
    "181",
    "202",
    "100",
)
"""Answer, ring for ever, busy, unknown, challenge, answer across the CANCEL, hang up, no circuit, late, silent."""


def stories(seed: int, client: int) -> Iterator[Story]:
    """What one client does, for ever."""
    place = 0
    while True:
        yield _story(random.Random(f"{seed} client {client} story {place}"))
        place += 1


def _story(dice: random.Random) -> Story:
    contacts = dice.choice((2, 6, 12, 12, 20, 30))
    endings = tuple(dice.choice(ENDINGS) for _ in range(8))
    steps: list[Step] = []
    for round_ in range(dice.choice((1, 1, 1, 2, 3))):
        if round_ and dice.random() < 0.5:
            steps.append(_step(dice, "edit", 0.0))
        if dice.random() < 0.1:
            steps.append(_step(dice, "start-and-stop", 0.0))
            continue
        steps.append(_step(dice, "start", 0.0))
        for _ in range(dice.choice((0, 0, 1, 1, 2))):
            word = dice.choice(("add", "dnc", "pause", "start", "edit"))
            steps.append(_step(dice, word, dice.random() * 0.5))
            if word == "pause" and dice.random() < 0.7:
                steps.append(_step(dice, "resume", dice.random() * 0.6))
        if dice.random() < 0.06:
            steps.append(_step(dice, "import", 0.0))
        if round_ == 0 and dice.random() < 0.04:
            # it may complete by itself
            steps.append(_step(dice, "wait", 3.0))
        word = dice.choice(("stop", "stop", "stop", "native-stop", "native-stop", "twin-stops", "hung-up-stop"))
        # from nothing dialed yet to the thick of it
        steps.append(_step(dice, word, dice.choice((0.0, 0.1, 0.4, 1.0, 1.6)) * dice.random()))
    line = TCP_LINE if dice.random() < TCP_SHARE else dice.choice(UDP_LINES)
    return Story(contacts, line, endings, tuple(steps))


def _step(dice: random.Random, word: str, after: float) -> Step:
    return Step(
        word,
        round(after, 3),
        dice.randrange(1 << 16),
        count=dice.choice((1, 3, 6)),
        ringing=dice.choice(("cancel", "cancel", "cancel", "let_ring")),
        connected=dice.choice(("keep", "keep", "hang_up")),
    )
