"""The rules that ask the carrier alone what rang: its record is what became of a call, whatever the tables say."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from nemesis.evidence import SECOND, Ask, Call
from nemesis.found import ENDED_SLACK, GIVEN_BACK, SETTLE, Found, Violation, struck
from nemesis.plan import STEPS

CANCELLED = 487
"""A carrier's last word to an INVITE that was cancelled (RFC 3261 section 15.1.2)."""

RINGS_ON = 240 * SECOND
"""How long a phone may ring that nobody can cancel any more: proxies wait more than 3 minutes for an answer (Timer C,
RFC 3261 section 16.6). No other call may be sent to it before."""

APART = 2 * int(max(STEPS) * SECOND)
"""How far two clocks can be apart while one is stepped, either way."""


def one_live_call_per_number(found: Found) -> Iterator[Violation]:
    by_number = defaultdict(list)
    for call in found.evidence.calls:
        by_number[call.number].append(call)
    for number, calls in by_number.items():
        for before, after in pairwise(sorted(calls, key=lambda call: call.at)):
            attempt = found.attempt_of[after.call_id]
            end = _end_of(found, before, after.at)
            if end is None or end > after.at:
                yield Violation(
                    2, "a second call began while the first was live", after.at, attempt and attempt["run_id"], number
                )


def _end_of(found: Found, call: Call, until: int) -> int | None:
    """When a call was over for whoever is called, as far as ``until``; None: not while anybody looked."""
    attempt = found.attempt_of[call.call_id]
    given_up = None if attempt is None else found.ended_at(attempt)
    if given_up is not None and (call.responded_at is None or _was_to_be_cancelled(found, call, given_up)):
        # cancelled before the carrier said a word: it is sent to no phone until it does, and cancelled then (RFC 3261
        # section 9.1); docs/explanation/stop.md says so
        return given_up
    # what the carrier gives up for a CANCEL is over as that arrives, by the kernel's clock: its own word of it (487)
    # comes when its process gets to it
    cancelled = call.cancelled_at if call.status == CANCELLED else None
    ends = [at for at in (call.ended_at, cancelled, _lost_until(found, call, until)) if at is not None]
    return min(ends) if ends else None


def _was_to_be_cancelled(found: Found, call: Call, given_up: int) -> bool:
    """Whether a call was cancelled before the carrier's first word, by whoever could. Where what it came by was lost
    in between, the CANCEL that waited for that word was never sent, and nobody knows (docs/explanation/stop.md)."""
    if call.responded_at <= given_up:
        return False
    if (call.cancelled_at or call.bye_at) is not None:
        return True
    lost = _lost_at(found, call, call.responded_at)
    # over TCP nobody knows where what was sent into a connection has got to
    return given_up <= lost if lost is not None else not call.tcp


def _lost_at(found: Found, call: Call, until: int) -> int | None:
    """When a call's engine died or its connection was cut, before an instant; None: neither was."""
    cuts = [max(one.begin, call.at) for one in found.faults_between(call.at, until) if one.kind == "cut-line"]
    died = found.died(call.source, call.at)
    losses = [*([died] if died is not None and died < until else []), *(cuts if call.tcp else [])]
    return min(losses) if losses else None


def _lost_until(found: Found, call: Call, until: int) -> int | None:
    """When a call was over that was lost; None: it was not."""
    lost = _lost_at(found, call, until)
    if lost is None:
        return None
    # who has answered hears nothing any more, and hangs up
    rings = call.answered_at is None or call.answered_at > lost
    # how long its number is left alone is told by the clocks of those who note and who ask
    stepped = any(one.kind.startswith("clock-") for one in found.faults_between(lost, until))
    return lost + (RINGS_ON - (APART if stepped else 0) if rings else 0)


def _was_cut(found: Found, call: Call, until: int) -> bool:
    return any(one.kind == "cut-line" for one in found.faults_between(call.at, until))


def nothing_rings_on(found: Found) -> Iterator[Violation]:
    """The carrier's own word: of a stopped run's calls none that it had said to be ringing rang on after the 200."""
    for run_id, ask in found.stopped.items():
        report = json.loads(found.runs[run_id]["stop_report"] or "{}")
        # the calls of an engine that was killed ring until the carrier gives them up; it has nobody to cancel them
        if report.get("ringing") != "cancel" or struck(found, ask, ("asterisk", "engine"), settle=GIVEN_BACK):
            continue
        for call in found.calls_of_run[run_id]:
            # a CANCEL waits for the first answer of the carrier (RFC 3261 section 9.1)
            rang = call.responded_at is not None and call.responded_at + ENDED_SLACK < ask.received
            ends = [at for at in (call.answered_at, call.cancelled_at, call.ended_at) if at is not None]
            late = not ends or min(ends) > ask.received + ENDED_SLACK
            if rang and late and not _is_orphan(found, call, ask.received) and not _machine_slow(found, ask):
                yield Violation(6, "a call rang on after the 200 of its run's stop", ask.received, run_id, call.number)


def _is_orphan(found: Found, call: Call, until: int) -> bool:
    """Whether nobody was left who could cancel a call that rang: its engine was killed as it did, however long before
    the stop could be proven, or its connection was cut. Asterisk ends such a call by itself (cause 34, SIP 503), sends
    no CANCEL after it, and the carrier, which has had the INVITE, rings on."""
    killed = any(one.kind == "kill-asterisk" for one in found.faults_between(call.responded_at, until))
    # its connection is the one it came by, whether or not it rang yet
    return killed or (call.tcp and _was_cut(found, call, until))


def _machine_slow(found: Found, ask: Ask) -> bool:
    """Whether the carrier's process may have noted late what it saw."""
    until = ask.received or ask.sent
    return any(begin < until + SETTLE and end + SETTLE > ask.sent for begin, end in found.evidence.starved)
