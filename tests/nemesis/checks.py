"""The checker: what must hold, asked of the evidence alone. It knows none of outdial's code.

1. After a stop's 200 no new Call-ID of that run.
2. Never two live calls to one number.
3. Every contact is somewhere, once.
4. Every attempt ends once, with one disposition; none lives on.
5. Whose outcome is unknown is not called again; nobody is called more often than allowed.
6. No 200 that was false, and no 503 while nothing was disturbed.
7. A number on a do-not-call list is not called after the answer that put it there.
8. A paused run places no new call after the answer, until it is resumed.
9. Calls at the carrier and attempts in the database are the same, one to one.
10. No request is answered 500, and no process ends by itself unless its database or its engine had been struck.

The tolerance of 1, 7 and 8 is zero. The kernel stamps an INVITE on the loopback device within the engine's own send
call, so the stamp is the instant at which it left; the client notes the instant after the whole answer was read. A
stamp after that instant is an INVITE that left after the answer was sent, on one machine with one clock. What left
between the server's writing and the client's reading is not seen: the bound is sound, not sharp.

Which run a call is of: the latest attempt to its number, from its caller ID, that was reserved before it. Numbers
belong to one campaign; where a campaign is started again with the same caller ID, a late call of the run before is seen
as a second call of one attempt (rule 9).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

from nemesis.evidence import SECOND, Ask, Call, Evidence
from nemesis.found import (
    DISTURBING,
    ENDED_SLACK,
    FINAL,
    GIVEN_BACK,
    SETTLE,
    STOPS,
    Found,
    Row,
    Violation,
    disturbed,
    struck,
    was_sent,
)
from nemesis.plan import ALL_DIALERS, LINE
from nemesis.ringing import nothing_rings_on, one_live_call_per_number

LOST = ("database", "postgres")
STARTED = 15 * SECOND

FREEZE_SLACK = SECOND // 100
"""By how much later than it was asked to a process may stop."""

NEED_A_CALL = frozenset({"busy", "invalid_number", "rejected"})
"""Dispositions that only a carrier's answer gives."""


def no_new_call_after_a_stop(found: Found) -> Iterator[Violation]:
    for run_id, ask in found.stopped.items():
        for call in found.calls_of_run[run_id]:
            if call.at > ask.received:
                late = (call.at - ask.received) / 1e6
                yield Violation(
                    1,
                    f"a new call left {late:.3f} ms after the 200 of the run's stop",
                    call.at,
                    run_id,
                    call.number,
                    ask.campaign_id,
                )


def every_contact_is_somewhere(found: Found) -> Iterator[Violation]:
    per_run = defaultdict(list)
    for row in found.evidence.run_contacts:
        per_run[row["run_id"]].append(row)
    listed = defaultdict(list)
    for row in found.evidence.contacts:
        listed[row["campaign_id"]].append(row["phone"])
    for run in found.evidence.runs:
        rows, campaign_id = per_run[run["id"]], run["campaign_id"]
        at = run["ended_at"] or run["started_at"]
        allowed = {"stopped": {"pending", "done"}, "completed": {"done"}}.get(run["state"], set())
        wrong = Counter(row["state"] for row in rows if row["state"] not in allowed)
        if wrong:
            yield Violation(
                3,
                f"a run that is {run['state']} has contacts that are {dict(wrong)}",
                at,
                run["id"],
                campaign_id=campaign_id,
            )
        phones = [row["phone"] for row in rows]
        if len(phones) != len(set(phones)):
            yield Violation(3, "a number is twice in a run", at, run["id"], campaign_id=campaign_id)
        if strangers := set(phones) - set(listed[campaign_id]):
            yield Violation(
                3, f"{len(strangers)} contacts of a run are on no list", at, run["id"], campaign_id=campaign_id
            )
        before = {
            phone
            for ask in found.asks_of[campaign_id]
            if ask.word == "add" and ask.ok and ask.received < run["started_at"]
            for phone in ask.phones
        }
        if missing := before - set(phones):
            number = min(missing)
            yield Violation(
                3,
                f"{len(missing)} contacts that were added before the start are not in the run",
                at,
                run["id"],
                number,
                campaign_id,
            )
    for campaign_id, asks in found.asks_of.items():
        added = Counter(phone for ask in asks if ask.word == "add" and ask.ok for phone in set(ask.phones))
        present = Counter(listed[campaign_id])
        for phone in added:
            if campaign_id and present[phone] != 1:
                yield Violation(
                    3,
                    f"a contact that was added is {present[phone]} times on its list",
                    asks[-1].sent,
                    None,
                    phone,
                    campaign_id,
                )


def every_attempt_ends_once(found: Found) -> Iterator[Violation]:
    if found.evidence.quiesced:
        yield Violation(4, f"the system did not come to rest: {found.evidence.quiesced}", _last_instant(found))
    for attempt in found.evidence.attempts:
        ends = [row for row in found.moves[attempt["id"]] if row["to_state"] in FINAL]
        if attempt["state"] not in FINAL or attempt["disposition"] is None:
            what = f"an attempt is {attempt['state']} for ever"
        elif len(ends) != 1:
            what = f"an attempt ended {len(ends)} times"
        else:
            continue
        yield Violation(4, what, attempt["reserved_at"], attempt["run_id"], attempt["phone"])


def nobody_is_called_too_often(found: Found) -> Iterator[Violation]:
    per_contact = defaultdict(list)
    for attempt in found.evidence.attempts:
        per_contact[attempt["run_id"], attempt["contact_id"]].append(attempt)
    most = found.evidence.max_attempts
    counted = {(row["run_id"], row["contact_id"]): row["attempts_count"] for row in found.evidence.run_contacts}
    for (run_id, contact_id), attempts in per_contact.items():
        attempts.sort(key=lambda row: row["reserved_at"])
        for place, attempt in enumerate(attempts[:-1]):
            if attempt["state"] == "unknown":
                after = attempts[place + 1]
                yield Violation(
                    5, "whose call's outcome is unknown was tried again", after["reserved_at"], run_id, after["phone"]
                )
        sent = [attempt for attempt in attempts if was_sent(attempt)]
        calls = sum(len(found.calls_of[attempt["id"]]) for attempt in attempts)
        last, number = attempts[-1]["reserved_at"], attempts[-1]["phone"]
        if max(len(sent), calls) > most:
            yield Violation(
                5, f"a contact had {len(sent)} attempts and {calls} calls, allowed are {most}", last, run_id, number
            )
        if counted.get((run_id, contact_id)) != len(sent):
            yield Violation(
                5,
                f"a contact counts {counted.get((run_id, contact_id))} attempts and had {len(sent)}",
                last,
                run_id,
                number,
            )


def no_false_answer_to_a_stop(found: Found) -> Iterator[Violation]:
    live = defaultdict(list)
    for attempt in found.evidence.attempts:
        live[attempt["run_id"]].append(attempt)
    for run_id, ask in found.stopped.items():
        moves = found.run_moves[run_id]
        at = next((row["at"] for row in moves if row["to_state"] == "stopped"), None)
        if at is None or at > ask.received or moves[-1]["to_state"] != "stopped":
            yield Violation(
                6, "a 200 was given for a run that was not stopped", ask.received, run_id, campaign_id=ask.campaign_id
            )
            continue
        report = json.loads(found.runs[run_id]["stop_report"] or "{}")
        if report.get("ringing") != "cancel":
            continue
        done = {node["node_id"]: node["name"] for node in report["nodes"] if node["outcome"] == "acknowledged"}
        committed = max((row["at"] for row in moves if row["to_state"] == "stopping"), default=0)
        for name in done.values():
            if _was_frozen(found, name, committed, ask.received):
                what = f"the report says that {name} acknowledged the stop, which was frozen all the while"
                yield Violation(6, what, ask.received, run_id, campaign_id=ask.campaign_id)
        # a reservation whose answer a node never heard is given back seconds later; nothing was sent for it
        if struck(found, ask, ("asterisk", "engine"), settle=GIVEN_BACK):
            # calls died with their engine, and nobody knows yet how
            continue
        lost = struck(found, ask, LOST, settle=GIVEN_BACK)
        open_ = {"dialing", "ringing"} | (set() if lost else {"reserved"})
        for attempt in live[run_id]:
            name, state = done.get(attempt["node_id"]), _state_at(found, attempt, ask.received)
            if name is None or state not in open_ or _could_not_write(found, ask, name):
                continue
            if not _was_over(found, attempt, ask.received):
                what = f"an attempt of a node that had acknowledged the stop was {state} at the 200"
                yield Violation(6, what, ask.received, run_id, attempt["phone"], ask.campaign_id)


def _was_frozen(found: Found, node: str, begin: int, end: int) -> bool:
    """Whether a node did nothing at all from one instant to another, and from a moment before."""
    near = found.faults_between(begin, end)
    return any(
        one.target in {node, ALL_DIALERS}
        and one.begin + FREEZE_SLACK < begin
        and one.thawed is not None
        and one.thawed > end
        for one in near
    )


def _could_not_write(found: Found, ask: Ask, node: str) -> bool:
    """Whether the node, or the way to its database, was struck around the stop: what became of its calls it alone
    knows, and writes down when it can. Whether they are over the carrier's record tells (:func:`nothing_rings_on`)."""
    near = found.faults_between(ask.sent - DISTURBING[1][1], ask.received or ask.sent)
    return any(one.target in {node, ALL_DIALERS, "postgres"} and not one.kind.startswith("clock-") for one in near)


def no_503_for_nothing(found: Found) -> Iterator[Violation]:
    for ask in found.evidence.asks:
        if ask.word in STOPS and ask.status == 503 and not disturbed(found, ask):
            yield Violation(
                6,
                f"a stop was answered 503 while nothing was disturbed: {ask.body}",
                ask.received,
                campaign_id=ask.campaign_id,
            )


def _was_over(found: Found, attempt: Row, at: int) -> bool:
    """Whether an attempt's call had ended by then, though that was written down a moment later: of two stops at once
    the one that answers first may not know of what the other has cancelled."""
    if attempt["ended_at"] is None:
        return False
    # the carrier's word alone where the node's, the engine's or the database's may have been written by a wrong clock
    stepped = struck(found, Ask(0, "", "", "", at), ("clock",), settle=SETTLE)
    if attempt["ended_at"] > at and not stepped:
        return False
    calls = found.calls_of[attempt["id"]]
    return bool(calls) and all(call.responded_at is None or (call.ended_at or at + 1) <= at for call in calls)


def _state_at(found: Found, attempt: Row, at: int) -> str | None:
    moves = [row for row in found.moves[attempt["id"]] if row["at"] <= at]
    return moves[-1]["to_state"] if moves else None


def do_not_call_is_obeyed(found: Found) -> Iterator[Violation]:
    listed: dict[str, int] = {}
    for ask in found.evidence.asks:
        # an answer with problems says itself that a call may still be leaving
        if ask.word == "dnc" and ask.ok and not ask.body.get("problems"):
            for phone in ask.phones:
                listed[phone] = min(listed.get(phone, ask.received), ask.received)
    for call in found.evidence.calls:
        since = listed.get(call.number)
        if since is not None and call.at > since:
            attempt = found.attempt_of[call.call_id]
            what = f"a call left {(call.at - since) / 1e6:.3f} ms after its number was on the do-not-call list"
            yield Violation(7, what, call.at, attempt and attempt["run_id"], call.number)


def a_paused_run_is_silent(found: Found) -> Iterator[Violation]:
    for campaign_id, asks in found.asks_of.items():
        for place, ask in enumerate(asks):
            run = found.run_named(ask)
            if ask.word != "pause" or not ask.ok or run is None:
                continue
            if any(one.word == "resume" and one.received is None for one in asks[:place]):
                # it may be carried out at any time
                continue
            until = min((one.sent for one in asks[place:] if one.word == "resume"), default=None)
            for call in found.calls_of_run[run["id"]]:
                if call.at > ask.received and (until is None or call.at < until):
                    late = (call.at - ask.received) / 1e6
                    what = f"a new call left {late:.3f} ms after the 200 of the run's pause"
                    yield Violation(8, what, call.at, run["id"], call.number, campaign_id)


def calls_are_attempts(found: Found) -> Iterator[Violation]:
    for call in found.evidence.calls:
        attempt = found.attempt_of[call.call_id]
        if attempt is None:
            yield Violation(9, "a call without an attempt", call.at, None, call.number)
            continue
        if not was_sent(attempt):
            yield Violation(
                9, "a call of an attempt that says nothing was sent", call.at, attempt["run_id"], call.number
            )
        ended = found.ended_at(attempt)
        if ended is not None and call.at > ended + ENDED_SLACK and not _waited_for_its_line(found, call, attempt):
            late = (call.at - ended) / 1e6
            yield Violation(
                9, f"a call began {late:.0f} ms after its attempt was over", call.at, attempt["run_id"], call.number
            )
    for attempt in found.evidence.attempts:
        calls = found.calls_of[attempt["id"]]
        if len(calls) > 1:
            yield Violation(9, f"{len(calls)} calls of one attempt", calls[-1].at, attempt["run_id"], attempt["phone"])
        heard = attempt["ringing_at"] or attempt["answered_at"] or attempt["disposition"] in NEED_A_CALL
        if heard and not calls:
            yield Violation(
                9,
                "an attempt that says it was heard without a call",
                attempt["reserved_at"],
                attempt["run_id"],
                attempt["phone"],
            )


def _waited_for_its_line(found: Found, call: Call, attempt: Row) -> bool:
    """Whether an INVITE was held up on its way: over TCP it leaves as its connection comes up, cancelled or not,
    and arrives as the network hands it on. No stop's 200 may come before that: other rules say so (1, 7, 8)."""
    return call.tcp and any(one.target == LINE for one in found.faults_between(attempt["reserved_at"], call.at))


def nothing_fails_inside(found: Found) -> Iterator[Violation]:
    for ask in found.evidence.asks:
        if ask.status == 500:
            yield Violation(10, f"{ask.word} was answered 500: {ask.body}", ask.received, campaign_id=ask.campaign_id)
    for at, name, code in found.evidence.fell:
        # one that is being started while its database or its engine is away says so and ends
        if not struck(found, Ask(0, "", "", name, at), (*LOST, "asterisk", "engine"), settle=STARTED):
            yield Violation(10, f"{name} ended by itself with {code}", at)


CHECKS: tuple[Callable[[Found], Iterator[Violation]], ...] = (
    no_new_call_after_a_stop,
    one_live_call_per_number,
    every_contact_is_somewhere,
    every_attempt_ends_once,
    nobody_is_called_too_often,
    no_false_answer_to_a_stop,
    nothing_rings_on,
    no_503_for_nothing,
    do_not_call_is_obeyed,
    a_paused_run_is_silent,
    calls_are_attempts,
    nothing_fails_inside,
)


def check(evidence: Evidence) -> list[Violation]:
    """Everything that is wrong, in the order in which it happened."""
    found = Found(evidence)
    return sorted((one for rule in CHECKS for one in rule(found)), key=lambda one: one.at)


def _last_instant(found: Found) -> int:
    return max([0, *(ask.received or ask.sent for ask in found.evidence.asks)])
