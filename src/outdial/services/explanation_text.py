"""Explanations and waterfalls as JSON documents, and as text for people made from the same documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from outdial.core import ids
from outdial.core.canonical import Json, instant
from outdial.core.changes import Change
from outdial.core.explanation import Step
from outdial.core.waterfall import Waterfall
from outdial.services.explanations import Explained
from outdial.store.explanations import PastStep

_MARKS: Final = {"allows": "+", "waits": "~", "forbids": "-"}


def explained_document(found: Explained) -> dict[str, Json]:
    """Return an explanation as the API tells it."""
    run, told = found.run, found.explanation
    dialing_list_id = None
    if run is not None and found.contact_id is not None:
        dialing_list_id = ids.dialing_list_id(run.instance_id, found.contact_id)
    return {
        "campaignId": found.campaign_id,
        "instanceId": None if run is None else run.instance_id,
        "contactId": None if found.contact_id is None else ids.contact_id(found.contact_id),
        "dialingListId": dialing_list_id,
        "phoneNumber": found.phone,
        "now": instant(found.now),
        "at": instant(found.at),
        "dialable": None if told is None else told.dialable,
        "decidedBy": None if told is None else told.decided_by,
        "sentence": _PAST_SENTENCE if told is None else told.sentence,
        "nextAt": None if told is None else _instant(told.next_at),
        "aheadCount": found.ahead_count,
        "changes": [] if told is None else [_change(one) for one in told.changes],
        "steps": [] if told is None else [_step(one) for one in told.steps],
        "past": [_past(one) for one in found.past],
    }


_PAST_SENTENCE: Final = "That instant has passed: what was decided up to then stands in the history below."


def waterfall_document(instance_id: str, found: Waterfall) -> dict[str, Json]:
    """Return a waterfall as the API tells it."""
    return {
        "instanceId": instance_id,
        "at": instant(found.at),
        "sentence": found.sentence,
        "blockedBy": found.blocked_by,
        "totalCount": found.falls[0].left + found.falls[0].lost if found.falls else found.dialable,
        "dialableCount": found.dialable,
        "estimate": found.estimate,
        "freeLines": found.free_lines,
        "liveCalls": found.live_calls,
        "steps": [
            {
                "code": str(fall.code),
                "lostCount": fall.lost,
                "leftCount": fall.left,
                "sentence": fall.sentence,
                "estimate": fall.estimate,
            }
            for fall in found.falls
        ],
    }


def _step(step: Step) -> dict[str, Json]:
    return {
        "code": str(step.code),
        "says": step.says.value,
        "sentence": step.sentence,
        "inputs": dict(step.inputs),
        "versions": dict(step.versions),
        "until": _instant(step.until),
        "changes": [_change(one) for one in step.changes],
    }


def _change(change: Change) -> dict[str, Json]:
    return {
        "kind": change.kind.value,
        "sentence": change.sentence,
        "at": _instant(change.at),
        "choices": list(change.choices),
    }


def _past(one: PastStep) -> dict[str, Json]:
    detail = one.detail if isinstance(one.detail, dict) else {}
    decision = detail.get("screening") if one.action == "attempt" else detail if "inputs" in detail else None
    return {
        "at": instant(one.at),
        "action": one.action,
        "from": one.before,
        "to": one.after,
        "by": one.by,
        "reason": one.reason,
        "attemptId": one.attempt_id,
        "phoneNumber": detail.get("phone"),
        "disposition": detail.get("disposition"),
        "decision": decision,
    }


def _instant(at: datetime | None) -> str | None:
    return None if at is None else instant(at)


def explained_text(document: dict[str, Json]) -> str:
    """Return an explanation for people."""
    return "\n".join(_explained_lines(document)) + "\n"


def _explained_lines(document: dict[str, Json]) -> Iterator[str]:
    where = document["instanceId"] or f"campaign {document['campaignId']}, which has no run"
    yield f"{document['phoneNumber']} in {where}, at {document['at']}"
    yield document["sentence"]
    if document["aheadCount"] is not None:
        yield f"{document['aheadCount']} contacts come before it."
    if document["changes"]:
        yield ""
        yield "What alone would alter that, the smallest first:"
        yield from (f"  * {change['sentence']}" for change in document["changes"])
    if document["steps"]:
        yield ""
        yield "Rule by rule (+ allows, ~ not now, - not in this run):"
        for step in document["steps"]:
            yield from _step_lines(step)
    if document["past"]:
        yield ""
        yield "What was decided and done so far:"
        yield from (f"  {_past_text(one)}" for one in document["past"])


def _step_lines(step: dict[str, Json]) -> Iterator[str]:
    yield f"  {_MARKS[step['says']]} {step['code']}: {step['sentence']}"
    if step["inputs"] and step["says"] != "allows":
        yield f"      looked at {_pairs(step['inputs'])}"
        if step["versions"]:
            yield f"      by {_pairs(step['versions'])}"


def _pairs(values: dict[str, Json]) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in values.items())


def _plain(value: Json) -> str:
    if isinstance(value, dict):
        return "(" + _pairs(value) + ")"
    if isinstance(value, list):
        return "[" + ", ".join(_plain(one) for one in value) + "]"
    return "–" if value is None else str(value)


def _past_text(one: dict[str, Json]) -> str:
    moved = f"{one['from']} → {one['to']}" if one["from"] else str(one["to"])
    said = [f"{one['at']} {one['action']} {moved}", f"by {one['by']}"]
    decision = one["decision"]
    if decision and "phone" in decision:
        said.append(f"at {decision['phone']}")
    if one["disposition"]:
        said.append(one["disposition"])
    if decision and "rule" in decision:
        said.append(f"{decision['rule']}: {decision['sentence']}")
    elif decision:
        said.append(f"every rule allowed it ({_pairs(decision.get('versions', {}))})")
    elif one["reason"]:
        said.append(one["reason"])
    return ", ".join(said)


def waterfall_text(document: dict[str, Json]) -> str:
    """Return a waterfall for people."""
    return "\n".join(_waterfall_lines(document)) + "\n"


def _waterfall_lines(document: dict[str, Json]) -> Iterator[str]:
    yield f"Run {document['instanceId']} at {document['at']}"
    yield document["sentence"]
    yield ""
    width = max(len(f"{document['totalCount']:,}"), 1)
    yield f"  {document['totalCount']:>{width},} contacts in the run"
    yield from (_fall_text(step, width) for step in _steps(document))
    about = " (an estimate)" if document["estimate"] else ""
    yield f"  {document['dialableCount']:>{width},} contacts may be dialed now{about}"
    yield f"  {document['freeLines']:>{width},} lines free, {document['liveCalls']:,} calls live"


def _steps(document: dict[str, Json]) -> Sequence[dict[str, Json]]:
    steps: Sequence[dict[str, Json]] = document["steps"]
    return steps


def _fall_text(step: dict[str, Json], width: int) -> str:
    return f"  {step['leftCount']:>{width},} left: {step['sentence']}"
