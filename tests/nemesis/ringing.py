"""The rules that ask the carrier alone what rang: its record is what became of a call, whatever the tables say."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from nemesis.evidence import Ask, Call
from nemesis.found import ENDED_SLACK, GIVEN_BACK, SETTLE, Found, Violation, struck

CANCELLED = 487
"""A carrier's last word to an INVITE that was cancelled (RFC 3261 section 15.1.2)."""


def one_live_call_per_number(found: Found) -> Iterator[Violation]:
    by_number = defaultdict(list)
    for call in found.evidence.calls:
        by_number[call.number].append(call)
    for number, calls in by_number.items():
        for before, after in pairwise(sorted(calls, key=lambda call: call.at)):
            attempt = found.attempt_of[after.call_id]
            end = _end_of(found, before)
            if (end is None or end > after.at) and not _was_lost_by_another_run(found, before, after):
                yield Violation(
                    2, "a second call began while the first was live", after.at, attempt and attempt["run_id"], number
                )


def _end_of(found: Found, call: Call) -> int | None:
    """When a call was over for whoever is called; None: not while anybody looked."""
    attempt = found.attempt_of[call.call_id]
    given_up = None if attempt is None else found.ended_at(attempt)
    # over TCP the connection may have gone, and with it whatever would have ended the call
    heard_so = not call.tcp or (call.cancelled_at or call.bye_at) is not None
    if given_up is not None and (call.responded_at is None or (call.responded_at > given_up and heard_so)):
        # cancelled before the carrier said a word: it is sent to no phone until it does, and cancelled then (RFC 3261
        # section 9.1); docs/explanation/stop.md says so
        return given_up
    died = found.died(call.source, call.at)
    # what the carrier gives up for a CANCEL is over as that arrives, by the kernel's clock: its own word of it (487)
    # comes when its process gets to it
    cancelled = call.cancelled_at if call.status == CANCELLED else None
    ends = [at for at in (call.ended_at, cancelled, died) if at is not None]
    return min(ends) if ends else None


def _was_lost_by_another_run(found: Found, before: Call, after: Call) -> bool:
    """Whether a call's connection was cut, and somebody has started another run since: the number is not dialed again
    by itself, but by them it is; nobody knows how long the phone rings on."""
    runs = [found.attempt_of[call.call_id] for call in (before, after)]
    started_anew = all(runs) and runs[0]["run_id"] != runs[1]["run_id"]
    return before.tcp and started_anew and _was_cut(found, before, after.at)


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
