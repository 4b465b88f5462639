"""Signed reports of stops: made when somebody asks for one or a process finds it missing, once, and kept.

A stop never waits for it. A report is made when it is complete: every call that was live at the stop has its end booked
or goes on as was asked; calls of a node that died are waited for, :data:`SETTLE` at most.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from outdial import clock, signing
from outdial.core.canonical import Json, canonical, instant
from outdial.core.errors import ConflictError, ReportErasedError, StopReportNotReadyError
from outdial.core.history import HistoryRow, Seal
from outdial.core.ids import contact_id
from outdial.core.model import Run, RunState
from outdial.core.stop_proof import KIND, OUTCOMES, PHASES, UNSETTLED, VERSION, first_silent, outcome, signed_bytes
from outdial.secretbox import SecretBox
from outdial.services import sealing, signing_keys
from outdial.services.signing_keys import SigningKey
from outdial.services.stop import StopOptions, StopReport
from outdial.store import runs as runs_store
from outdial.store import seals
from outdial.store import signed_reports as store
from outdial.store import signing_keys as keys_store
from outdial.store import stops as stops_store
from outdial.store.database import Connection, Database
from outdial.store.signed_reports import CallAtStop

SETTLE: Final = timedelta(seconds=30)
"""How long the ends of calls of nodes that died are waited for: others take them over some seconds after the lease."""

TRIES: Final = 20
"""How often the chain is sealed anew because something of the run was written meanwhile."""

LATELY: Final = timedelta(days=7)
"""How old a stop is at most whose report is signed without being asked for."""

IDLE_SECONDS: Final = 2.0
"""How long a signature may fall silent while it holds the run's lock."""

PAGE: Final = 200
"""Seals read at a time."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a report is made of, all of one instant."""

    run: Run
    since: tuple[HistoryRow, ...]
    calls: tuple[CallAtStop, ...]
    contacts: store.ContactCounts
    last: store.LastOriginate | None
    options: Any
    report: Any
    requested_at: datetime
    loaded: bool
    head: Seal
    seals: tuple[dict[str, Json], ...]


async def signed_report(database: Database, secrets: SecretBox, run: Run, *, sealed: bool = False) -> bytes:
    """Return the signed report of a run's stop, always the same bytes.

    ``sealed``: what has happened was sealed a moment ago, which may do. Raises ConflictError when the run was not
    stopped, ReportErasedError, StopReportNotReadyError (ask again), DatabaseUnavailableError.
    """
    async with database.connection() as connection:
        kept = await store.read(connection, run.id)
    if kept == b"":
        raise ReportErasedError(
            f"The signed report of the stop of {run.instance_id} named a number whose person was erased, and went with "
            "it; history keeps the stop."
        )
    if kept is not None:
        return kept
    if run.state is not RunState.STOPPED:
        raise ConflictError(f"The run {run.instance_id} is {run.state}: only a run that was stopped has a report.")
    facts = await _complete(database, run, sealed=sealed)
    while True:
        key = await signing_keys.in_use(database, secrets)
        async with database.connection() as connection:
            private = await keys_store.private_of(connection, secrets, key.id)
        if private is None:
            # replaced this moment
            continue
        document, signed_at = _document(facts), clock.now()
        text = _signed(document, key, private, signed_at)
        async with database.transaction() as connection:
            await runs_store.limit_idle(connection, IDLE_SECONDS)
            # whoever counts late cancels holds it too: what is signed is what is stored, from here on for ever
            await runs_store.lock_run(connection, run.id)
            kept = await store.read(connection, run.id)
            if kept is not None:
                return kept
            if await stops_store.read_report(connection, run.id) == facts.report:
                await stops_store.store_report(connection, run.id, _final_report(facts, document))
                await store.insert(
                    connection, run.id, key_id=key.id, head=facts.head, document=text, signed_at=signed_at
                )
                return text
        # somebody has counted again meanwhile
        facts = await _complete(database, run)


def _final_report(facts: _Facts, document: dict[str, Json]) -> StopReport:
    """Return the report that is stored with the run, its counts those that are signed: at the end of the stop some
    calls were not booked yet. How many conversations went on is of that end and stays."""
    counts = document["counts"]
    return replace(
        msgspec.convert(facts.report, StopReport),
        cancelled_count=counts["cancelled"],
        retries_cancelled_count=counts["contacts"]["retriesCancelled"],
        never_reached_count=counts["contacts"]["neverReached"],
    )


async def sign_missing(database: Database, secrets: SecretBox, *, limit: int = 100) -> list[int]:
    """Seal what has happened and sign the reports that nobody has asked for yet, or whose signing was broken off.

    Returns their runs; those that are not complete yet are left for the next time. Raises DatabaseUnavailableError.
    """
    # once for all of them
    await sealing.seal_some(database)
    async with database.connection() as connection:
        missing = [
            await runs_store.by_id(connection, run_id)
            for run_id in await store.unsigned(connection, within=LATELY, limit=limit)
        ]
    signed = []
    for run in missing:
        try:
            await signed_report(database, secrets, run, sealed=True)
        except StopReportNotReadyError:
            continue
        signed.append(run.id)
    return signed


async def _complete(database: Database, run: Run, *, sealed: bool = False) -> _Facts:
    """Seal what happened and read it all at one instant; raise StopReportNotReadyError when something is missing."""
    for _ in range(TRIES):
        if not sealed:
            await sealing.seal_all(database)
        # where something of the run is in no seal yet, it is sealed all the same
        sealed = False
        async with database.snapshot() as connection:
            facts = await _facts(connection, run.id)
            young = facts is not None and await store.age(connection, run.id) < SETTLE
        if facts is None:
            continue
        unsettled = sum(_outcome(facts, call) == UNSETTLED for call in facts.calls)
        if unsettled and young:
            raise StopReportNotReadyError(
                f"The run is stopped, and its report is not complete yet: how {unsettled} calls ended is still to be "
                "booked. Ask again in some seconds."
            )
        return facts
    raise StopReportNotReadyError("The run is stopped, and what became of its calls is still being written: ask again.")


async def _facts(connection: Connection, run_id: int) -> _Facts | None:
    """Return what a snapshot has; None when something of it is in no seal yet."""
    run = await runs_store.by_id(connection, run_id)
    since = await store.rows_since_stop(connection, run_id)
    needed = {row.id: row for row in since}
    head = await seals.head(connection, run.account_id)
    first = await seals.number_of(connection, run.account_id, since[0].id)
    if head is None or first is None:
        return None
    found, missing = [], set(needed)
    while first <= head.number:
        page = await seals.page(connection, run.account_id, number=first, through=head.number, limit=PAGE)
        for seal, ids in page:
            found.append(await _with_rows(connection, seal, ids, needed))
            missing.difference_update(ids)
        first += len(page)
    if missing:
        return None
    options, report, requested_at, loaded = await store.stop_of(connection, run_id)
    return _Facts(
        run=run,
        since=tuple(since),
        calls=tuple(await store.calls_at_stop(connection, run_id, since)),
        contacts=await store.contact_counts(connection, run_id),
        last=await store.last_originate(connection, run_id),
        options=options,
        report=report,
        requested_at=requested_at,
        loaded=loaded,
        head=head,
        seals=tuple(found),
    )


async def _with_rows(
    connection: Connection, seal: Seal, ids: list[int], needed: dict[int, HistoryRow]
) -> dict[str, Json]:
    """Return a seal with its rows, those of the stop in full and the others as digests; without where it has none."""
    if not any(row_id in needed for row_id in ids):
        return {"seal": seal.document(), "entries": None}
    rows = await seals.rows(connection, ids)
    entries = [row.document() if row.id in needed and row.erased is None else row.digest().hex() for row in rows]
    return {"seal": seal.document(), "entries": entries}


def _outcome(facts: _Facts, call: CallAtStop) -> str:
    wishes = _wishes(facts)
    return outcome(call.attempt.state, ringing=wishes.ringing, connected=wishes.connected)


def _wishes(facts: _Facts) -> StopOptions:
    return StopOptions() if facts.options is None else msgspec.convert(facts.options, StopOptions)


def _document(facts: _Facts) -> dict[str, Json]:
    """Return the report without its signature."""
    run, asked, wishes = facts.run, facts.since[0], _wishes(facts)
    report = msgspec.convert(facts.report, StopReport)
    calls = [_call(facts, call) for call in facts.calls]
    stopped_at = report.stopped_at.astimezone(UTC)
    contacts = facts.contacts
    document: dict[str, Json] = {
        "kind": KIND,
        "version": VERSION,
        "run": {
            "instanceId": run.instance_id,
            "runId": run.id,
            "campaignId": run.campaign_id,
            "iid": run.iid,
            "accountId": run.account_id,
            "epoch": run.epoch,
        },
        "request": {
            "by": asked.actor,
            "at": instant(facts.requested_at),
            "reason": asked.reason,
            "ringing": wishes.ringing.value,
            "connected": wishes.connected.value,
            "keepSchedule": bool((facts.options or {}).get("keep_schedule", False)),
        },
        "engines": [
            {
                "engineId": one.engine_id,
                "fencedAt": _at(one.fenced_at),
                "quiescedAt": _at(one.quiesced_at),
                "cancelled": one.cancelled,
                "hungUp": one.hung_up,
            }
            for one in report.engines
        ],
        "nodes": [
            {"nodeId": one.node_id, "name": one.name, "outcome": one.outcome.value, "at": _at(one.at)}
            for one in report.nodes
        ],
        "barrier": {
            "noCallAfter": "",
            "stoppedAt": instant(stopped_at),
            "latencySeconds": (stopped_at - facts.requested_at).total_seconds(),
            "lastOriginateAt": None if facts.last is None else instant(facts.last.at),
            "lastOriginateAttemptId": None if facts.last is None else facts.last.attempt_id,
        },
        "calls": calls,
        "counts": {
            "calls": len(calls),
            "phases": {phase: sum(call["phase"] == phase for call in calls) for phase in PHASES},
            "outcomes": {word: sum(call["outcome"] == word for call in calls) for word in OUTCOMES},
            "cancelled": sum(call["disposition"] == "cancelled" and call["dialedAt"] is not None for call in calls),
            "contacts": {
                "total": contacts.total,
                "neverReached": contacts.never_reached,
                "retriesCancelled": contacts.retries_cancelled,
                "inCalls": contacts.in_calls,
                "done": contacts.done,
            },
            "listsReadToEnd": facts.loaded,
        },
        "chain": {
            "accountId": run.account_id,
            "number": facts.head.number,
            "head": facts.head.sha256.hex(),
            "seals": list(facts.seals),
        },
    }
    document["barrier"]["noCallAfter"] = instant(first_silent(document))
    return document


def _call(facts: _Facts, call: CallAtStop) -> dict[str, Json]:
    attempt = call.attempt
    return {
        "attemptId": attempt.id,
        "contactId": contact_id(attempt.contact_id),
        "number": attempt.number,
        "engineId": attempt.engine_id,
        "nodeId": attempt.node_id,
        "permit": call.permit,
        "phase": call.phase,
        "state": attempt.state.value,
        "outcome": _outcome(facts, call),
        "disposition": attempt.disposition,
        "reason": call.reason,
        "cause": attempt.cause,
        "sipCode": attempt.sip_code,
        "reservedAt": _at(attempt.reserved_at),
        "dialedAt": _at(attempt.dialed_at),
        "ringingAt": _at(attempt.ringing_at),
        "answeredAt": _at(attempt.answered_at),
        "endedAt": _at(attempt.ended_at),
    }


def _at(at: datetime | None) -> str | None:
    return None if at is None else instant(at)


def _signed(document: dict[str, Json], key: SigningKey, private: str, signed_at: datetime) -> bytes:
    signature = {
        "algorithm": signing.ALGORITHM,
        "keyId": key.id,
        "publicKey": signing.to_text(key.public),
        "signedAt": instant(signed_at),
        "value": "",
    }
    whole = {**document, "signature": signature}
    signature["value"] = signing.to_text(signing.sign(private, signed_bytes(whole)))
    return canonical(whole) + b"\n"
