"""What a signed report of a stop is, and what must hold in it: checked with nothing but the document.

Who signed it is checked elsewhere (:mod:`outdial.signing`); everything here is arithmetic over what the document says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from outdial.core.canonical import Json, canonical, read_instant
from outdial.core.history import ChainCheck, ChainError, check_row, read_hash, read_seal
from outdial.core.permit import CLOCK_SKEW_SECONDS
from outdial.core.shapes import (
    ShapeError,
    anything,
    at,
    counts,
    fields,
    flag,
    many,
    maybe,
    number,
    one_of,
    sha256,
    text,
    whole,
)

KIND: Final = "outdial stop report"
VERSION: Final = 1

CHECKS: Final = ("shape", "signature", "chain", "run", "barrier", "calls", "instants", "counts")
"""What is checked, in this order."""

PHASES: Final = ("reserved", "dialing", "ringing", "answered")
ENDED, KEPT, UNSETTLED = "ended", "kept", "unsettled"
OUTCOMES: Final = (ENDED, KEPT, UNSETTLED)

SKEW: Final = timedelta(seconds=CLOCK_SKEW_SECONDS)
"""How far instants of different machines may be apart."""

SHAPE: Final = fields(
    {
        "kind": one_of(KIND),
        "version": whole,
        "run": fields(
            {"instanceId": text, "runId": whole, "campaignId": text, "iid": text, "accountId": text, "epoch": whole}
        ),
        "request": fields(
            {
                "by": text,
                "at": at,
                "reason": text,
                "ringing": one_of("cancel", "let_ring"),
                "connected": one_of("keep", "hang_up"),
                "keepSchedule": flag,
            }
        ),
        "engines": many(
            fields(
                {
                    "engineId": text,
                    "fencedAt": maybe(at),
                    "quiescedAt": maybe(at),
                    "cancelled": whole,
                    "hungUp": whole,
                }
            )
        ),
        "nodes": many(
            fields(
                {
                    "nodeId": text,
                    "name": text,
                    "outcome": one_of("acknowledged", "lease_expired", "not_answering"),
                    "at": maybe(at),
                }
            )
        ),
        "barrier": fields(
            {
                "noCallAfter": at,
                "stoppedAt": at,
                "latencySeconds": number,
                "lastOriginateAt": maybe(at),
                "lastOriginateAttemptId": maybe(text),
            }
        ),
        "calls": many(
            fields(
                {
                    "attemptId": text,
                    "contactId": text,
                    "number": whole,
                    "engineId": text,
                    "nodeId": text,
                    "permit": maybe(text),
                    "phase": one_of(*PHASES),
                    "state": one_of(*PHASES, "ended", "unknown"),
                    "outcome": one_of(*OUTCOMES),
                    "disposition": maybe(text),
                    "reason": text,
                    "cause": maybe(whole),
                    "sipCode": maybe(whole),
                    "reservedAt": at,
                    "dialedAt": maybe(at),
                    "ringingAt": maybe(at),
                    "answeredAt": maybe(at),
                    "endedAt": maybe(at),
                }
            )
        ),
        "counts": fields(
            {
                "calls": whole,
                "phases": counts,
                "outcomes": counts,
                "cancelled": whole,
                "contacts": fields(
                    {"total": whole, "neverReached": whole, "retriesCancelled": whole, "inCalls": whole, "done": whole}
                ),
                "listsReadToEnd": flag,
            }
        ),
        "chain": fields(
            {
                "accountId": text,
                "number": whole,
                "head": sha256,
                "seals": many(fields({"seal": anything, "entries": maybe(many(anything))})),
            }
        ),
        "signature": fields(
            {"algorithm": one_of("Ed25519"), "keyId": sha256, "publicKey": text, "signedAt": at, "value": text}
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a report that does not hold."""

    check: str
    """One of :data:`CHECKS`."""
    where: str
    """Where in the document, e.g. ``calls[3].endedAt``."""
    sentence: str


def signed_bytes(document: dict[str, Json]) -> bytes:
    """Return what is signed: the canonical form of everything but the signature's value."""
    signature = {name: value for name, value in document["signature"].items() if name != "value"}
    return canonical({**document, "signature": signature})


def first_silent(document: dict[str, Json]) -> datetime:
    """Return the first instant at which no call of the run could start any more: the last engine was quiet. One that
    was declared gone, and whose permits had run out, is so by the end of the stop only."""
    stopped_at = document["barrier"]["stoppedAt"]
    quiet = [engine["quiescedAt"] or stopped_at for engine in document["engines"]]
    return max(read_instant(one) for one in (document["request"]["at"], *quiet))


def outcome(state: str, *, ringing: str, connected: str) -> str:
    """Return what became of a call that was live when the stop was committed, by its state later on.

    ``kept``: it goes on because the stop was asked to let it. ``unsettled``: nobody has booked its end yet; it is at no
    engine, which of one that is booked as answered the engines' listings alone tell.
    """
    if state in {"ended", "unknown"}:
        return ENDED
    if (state == "answered" and connected == "keep") or (state in {"dialing", "ringing"} and ringing == "let_ring"):
        return KEPT
    return UNSETTLED


def shape_findings(document: Json) -> list[Finding]:
    """Return what is wrong with the document's shape; the other checks rely on it."""
    try:
        SHAPE(document, "")
    except ShapeError as error:
        return [Finding("shape", error.where or "document", error.sentence)]
    if document["version"] != VERSION:
        return [Finding("shape", "version", f"this outdial reads version {VERSION}")]
    return []


def findings(document: dict[str, Json]) -> list[Finding]:
    """Return everything that does not hold in a document of the right shape, but for its signature."""
    rows: list[tuple[str, dict[str, Json]]] = []
    found = [*_chain(document, rows)]
    for check in (_run, _barrier, _calls, _instants, _counts):
        found += check(document, rows)
    return found


Rows = list[tuple[str, dict[str, Json]]]
"""The rows that stand in the document in full, each with its place."""


def _chain(document: dict[str, Json], rows: Rows) -> Iterator[Finding]:
    """Recompute the chain; collect the rows it vouches for."""
    chain, check = document["chain"], ChainCheck()
    try:
        for place, one in enumerate(chain["seals"]):
            where = f"chain.seals[{place}]"
            entries = None if one["entries"] is None else [_entry(entry, where) for entry in one["entries"]]
            check.take(read_seal(one["seal"], f"{where}.seal"), entries, where)
            rows.extend((where, entry) for entry in entries or () if not isinstance(entry, bytes))
    except ChainError as error:
        yield Finding("chain", error.where, error.sentence)
        return
    head = check.head
    if head is None or (head.number, head.sha256.hex()) != (chain["number"], chain["head"]):
        yield Finding("chain", "chain.head", "the head is not the last seal of the document")
    elif not head.account_id == chain["accountId"] == document["run"]["accountId"]:
        yield Finding("chain", "chain.accountId", "the chain is of another account than the run")


def _entry(entry: Json, where: str) -> dict[str, Json] | bytes:
    if isinstance(entry, str):
        return read_hash(entry, where)
    check_row(entry, where)
    found: dict[str, Json] = entry
    return found


def _run(document: dict[str, Json], rows: Rows) -> Iterator[Finding]:
    """What the chain says of the run is what the document says."""
    run, request = document["run"], document["request"]
    moves = [(where, row) for where, row in rows if row["action"] == "run"]
    for where, row in rows:
        if row["runId"] != run["runId"]:
            yield Finding("run", where, f"row {row['id']} is of another run")
    if [row["to"] for _, row in moves] != ["stopping", "stopped"]:
        yield Finding(
            "run", "chain", "it does not hold exactly one commit of a stop and, after it, one end of that stop"
        )
        return
    (_, asked), (_, stopped) = moves
    for row, name in ((asked, "stopping"), (stopped, "stopped")):
        detail = row["detail"] if isinstance(row["detail"], dict) else {}
        said = (row["campaignId"], detail.get("instance_id"), detail.get("epoch"))
        # stops from before the history named its run are told by the run's number alone
        if said not in [(run["campaignId"], known, run["epoch"]) for known in (run["instanceId"], None)]:
            yield Finding("run", f"row {row['id']}", f"the row `{name}` is of another run or epoch than `run` says")
    if asked["actor"] != request["by"] or asked["reason"] != request["reason"]:
        yield Finding("run", "request.by", f"the chain says that {asked['actor']} asked for the stop")
    for row, said, where in (
        (asked, request["at"], "request.at"),
        (stopped, document["barrier"]["stoppedAt"], "barrier.stoppedAt"),
    ):
        # written a moment later, in the same transaction
        if not timedelta() <= read_instant(row["at"]) - read_instant(said) <= SKEW:
            yield Finding("run", where, f"the chain has it at {row['at']}")


def _barrier(document: dict[str, Json], rows: Rows) -> Iterator[Finding]:
    """No attempt was reserved after the commit, none originated after the barrier."""
    latest = first_silent(document) + SKEW
    for where, row in rows:
        if row["action"] == "attempt" and row["from"] is None:
            yield Finding("barrier", where, f"attempt {row['attemptId']} was reserved after the stop was committed")
    placed = [(f"calls[{place}].dialedAt", call["dialedAt"]) for place, call in enumerate(document["calls"])]
    placed.append(("barrier.lastOriginateAt", document["barrier"]["lastOriginateAt"]))
    for where, dialed_at in placed:
        if dialed_at is not None and read_instant(dialed_at) > latest:
            yield Finding("barrier", where, "a call was originated after the instant from which none could start")
    last = document["barrier"]["lastOriginateAt"]
    if any(one is not None and (last is None or read_instant(one) > read_instant(last)) for _, one in placed):
        yield Finding("barrier", "barrier.lastOriginateAt", "a call that is listed was originated later")
    if (last is None) is not (document["barrier"]["lastOriginateAttemptId"] is None):
        yield Finding("barrier", "barrier.lastOriginateAttemptId", "an attempt without an instant, or the reverse")


def _calls(document: dict[str, Json], rows: Rows) -> Iterator[Finding]:
    """Every call has an end or was kept, and the chain tells the same of it."""
    request, told = document["request"], dict[str, list[dict[str, Json]]]()
    for _, row in rows:
        if row["action"] == "attempt":
            told.setdefault(str(row["attemptId"]), []).append(row)
    listed = {call["attemptId"] for call in document["calls"]}
    if len(listed) != len(document["calls"]):
        yield Finding("calls", "calls", "an attempt is listed twice")
    for attempt_id in sorted(told.keys() - listed):
        yield Finding("calls", "calls", f"attempt {attempt_id} moved after the stop was committed and is not listed")
    for place, call in enumerate(document["calls"]):
        where = f"calls[{place}]"
        over = call["state"] in {"ended", "unknown"}
        if over is not (call["endedAt"] is not None and call["disposition"] is not None):
            yield Finding("calls", where, "it has ended without an instant and a disposition, or the reverse")
        expected = outcome(call["state"], ringing=request["ringing"], connected=request["connected"])
        # a conversation may have been over at the barrier without anybody having told how it ended
        untold = call["outcome"] == UNSETTLED and call["state"] == "answered"
        if call["outcome"] != expected and not (expected == KEPT and untold):
            yield Finding("calls", f"{where}.outcome", "it neither has an end nor was it to be kept, or the reverse")
        moves = told.get(call["attemptId"], [])
        states = [call["phase"], *(row["to"] for row in moves)]
        if [row["from"] for row in moves] != states[:-1] or states[-1] != call["state"]:
            yield Finding("calls", f"{where}.state", f"the chain has it go from {' to '.join(map(str, states))}")
        elif moves:
            yield from _told_alike(call, moves[-1], where)


_DETAILS: Final[tuple[tuple[str, str, Callable[[Any], Any]], ...]] = (
    ("disposition", "disposition", str),
    ("permit", "permit", str),
    ("cause", "cause", int),
    ("sipCode", "sip_code", int),
    ("dialedAt", "dialed_at", datetime.fromisoformat),
    ("ringingAt", "ringing_at", datetime.fromisoformat),
    ("answeredAt", "answered_at", datetime.fromisoformat),
    ("endedAt", "ended_at", datetime.fromisoformat),
)
"""Fields of a call, what the details of its last row call them, and how they read there."""


def _told_alike(call: dict[str, Json], row: dict[str, Json], where: str) -> Iterator[Finding]:
    detail = row["detail"] if isinstance(row["detail"], dict) else {}
    if (row["contactId"], row["reason"]) != (call["contactId"], call["reason"]):
        yield Finding("calls", where, f"row {row['id']} tells another contact or reason")
    for name, told, as_read in _DETAILS:
        said = call[name]
        if name.endswith("At") and said is not None:
            said = read_instant(said)
        if told not in detail and "ended_at" not in detail:
            # rows from before the history told instants
            continue
        if said != _read(detail.get(told), as_read):
            yield Finding("calls", f"{where}.{name}", f"row {row['id']} tells something else")


def _read(value: Json, as_read: Callable[[Any], Any]) -> Any:
    try:
        return None if value is None else as_read(value)
    except (TypeError, ValueError):
        # a row that says something odd: it is not what the call says
        return value


def _instants(document: dict[str, Json], _rows: Rows) -> Iterator[Finding]:
    """Instants follow one another as they must."""
    barrier = document["barrier"]
    asked, stopped = read_instant(document["request"]["at"]), read_instant(barrier["stoppedAt"])
    if stopped < asked:
        yield Finding("instants", "barrier.stoppedAt", "the stop ended before it was asked for")
    if barrier["latencySeconds"] != (stopped - asked).total_seconds():
        yield Finding("instants", "barrier.latencySeconds", "it is not the time from request.at to barrier.stoppedAt")
    if read_instant(barrier["noCallAfter"]) != first_silent(document):
        yield Finding("instants", "barrier.noCallAfter", "it is not the instant at which the last engine was quiet")
    for place, engine in enumerate(document["engines"]):
        yield from _engine(engine, f"engines[{place}]", asked, stopped)
    if read_instant(document["signature"]["signedAt"]) < stopped:
        yield Finding("instants", "signature.signedAt", "it was signed before the stop had ended")
    for place, node in enumerate(document["nodes"]):
        if (node["at"] is not None) and node["outcome"] == "not_answering":
            yield Finding("instants", f"nodes[{place}].at", "a node that does not answer has no instant")


def _engine(engine: dict[str, Json], where: str, asked: datetime, stopped: datetime) -> Iterator[Finding]:
    if engine["quiescedAt"] is not None and engine["fencedAt"] is None:
        yield Finding("instants", f"{where}.quiescedAt", "it was quiet without having been fenced")
    known = [read_instant(engine[name]) for name in ("fencedAt", "quiescedAt") if engine[name] is not None]
    if known != sorted(known):
        yield Finding("instants", f"{where}.quiescedAt", "it was quiet before it was fenced")
    if known and not (asked - SKEW <= min(known) and max(known) <= stopped + SKEW):
        yield Finding(
            "instants",
            where,
            "it was fenced or quiet outside the time of the stop, or the clocks of server and database were more than "
            f"{CLOCK_SKEW_SECONDS} s apart",
        )


def _counts(document: dict[str, Json], _rows: Rows) -> Iterator[Finding]:
    """Counts are those of what is listed, and add up."""
    said, calls = document["counts"], document["calls"]
    contacts = said["contacts"]
    expected = {
        "calls": len(calls),
        "phases": {**dict.fromkeys(PHASES, 0), **Counter(call["phase"] for call in calls)},
        "outcomes": {**dict.fromkeys(OUTCOMES, 0), **Counter(call["outcome"] for call in calls)},
        "cancelled": sum(call["disposition"] == "cancelled" and call["dialedAt"] is not None for call in calls),
    }
    for name, value in expected.items():
        if said[name] != value:
            yield Finding("counts", f"counts.{name}", "it is not the count of the calls that are listed")
    if contacts["total"] != sum(count for name, count in contacts.items() if name != "total"):
        yield Finding("counts", "counts.contacts.total", "the contacts do not add up")
    live = said["outcomes"].get(KEPT, 0) + said["outcomes"].get(UNSETTLED, 0)
    if contacts["inCalls"] != live:
        yield Finding("counts", "counts.contacts.inCalls", "it is not the number of calls that have not ended")
