"""Signed reports of stops as documents: from what is known of a stop to the bytes that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import msgspec

from outdial import signing
from outdial.core.canonical import Json, canonical, instant, joined
from outdial.core.ids import contact_id
from outdial.core.stop_proof import KEPT, KIND, OUTCOMES, PHASES, UNSETTLED, VERSION, first_silent, outcome
from outdial.services.report_facts import Facts
from outdial.services.signing_keys import Signer
from outdial.services.stop import StopOptions, StopReport
from outdial.store.signed_reports import CallAtStop


def unsettled(facts: Facts) -> int:
    """Return how many of its calls have neither ended nor been kept."""
    wishes, untold = _wishes(facts), _report(facts).untold
    return sum(_outcome(wishes, call, untold) == UNSETTLED for call in facts.calls)


def final_report(facts: Facts, document: dict[str, Json]) -> StopReport:
    """Return the report that is stored with the run, its counts those that are signed: at the end of the stop some
    calls were not booked yet. How many conversations went on is of that end and stays."""
    counts = document["counts"]
    return replace(
        _report(facts),
        cancelled_count=counts["cancelled"],
        retries_cancelled_count=counts["contacts"]["retriesCancelled"],
        never_reached_count=counts["contacts"]["neverReached"],
    )


def is_stored(facts: Facts, report: StopReport) -> bool:
    """Whether the report that the facts came with says the same."""
    return _report(facts) == report


def signed(document: dict[str, Json], signer: Signer, signed_at: datetime) -> bytes:
    """Return what is kept: the document with its signature, in its canonical form. What is signed is that form without
    the signature's value (:func:`outdial.core.stop_proof.signed_bytes`), so its parts are written once for both."""
    members = {name: canonical(value) for name, value in document.items()}
    signature = {
        "algorithm": signing.ALGORITHM,
        "keyId": signer.key.id,
        "publicKey": signing.to_text(signer.key.public),
        "signedAt": instant(signed_at),
    }
    value = signer.sign(joined({**members, "signature": canonical(signature)}))
    return joined({**members, "signature": canonical({**signature, "value": signing.to_text(value)})}) + b"\n"


def document_of(facts: Facts) -> dict[str, Json]:
    """Return the report without its signature."""
    stop, asked, wishes, report = facts.stop, facts.since[0], _wishes(facts), _report(facts)
    run = stop.run
    calls = [_call(wishes, call, report.untold) for call in facts.calls]
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
            "at": instant(stop.requested_at),
            "reason": asked.reason,
            "ringing": wishes.ringing.value,
            "connected": wishes.connected.value,
            "keepSchedule": bool((stop.options or {}).get("keep_schedule", False)),
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
            "latencySeconds": (stopped_at - stop.requested_at).total_seconds(),
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
            "listsReadToEnd": run.loaded,
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


def _call(wishes: StopOptions, call: CallAtStop, untold: Sequence[str]) -> dict[str, Json]:
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
        "outcome": _outcome(wishes, call, untold),
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


def _report(facts: Facts) -> StopReport:
    return msgspec.convert(facts.stop.report, StopReport)


def _wishes(facts: Facts) -> StopOptions:
    return StopOptions() if facts.stop.options is None else msgspec.convert(facts.stop.options, StopOptions)


def _outcome(wishes: StopOptions, call: CallAtStop, untold: Sequence[str]) -> str:
    found = outcome(call.attempt.state, ringing=wishes.ringing, connected=wishes.connected)
    # a conversation that no engine had any more was over, whatever is booked of it yet
    return UNSETTLED if found == KEPT and call.attempt.id in untold else found
