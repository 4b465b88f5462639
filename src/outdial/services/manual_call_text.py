"""What became of a call by hand, as a JSON document, and as text for people made from the same document."""

from __future__ import annotations

from typing import Final

from outdial.core import ids
from outdial.core.canonical import Json, instant
from outdial.core.manual_call import ManualAnswer
from outdial.services.manual_calls import ManualCall

_ALLOWED: Final = "It is called as soon as a line is free, before all others."


def manual_call_document(found: ManualCall) -> dict[str, Json]:
    """Return it as the API tells it."""
    run, step, told = found.run, found.decided_by, found.explanation
    contact_id = found.contact_id
    until = None if step is None else step.until
    return {
        "instanceId": run.instance_id,
        "contactId": None if contact_id is None else ids.contact_id(contact_id),
        "dialingListId": None if contact_id is None else ids.dialing_list_id(run.instance_id, contact_id),
        "phoneNumber": found.phone,
        "answer": found.answer.value,
        "sentence": _ALLOWED if step is None else step.sentence,
        "decidedBy": None if step is None else str(step.code),
        "inputs": {} if step is None else dict(step.inputs),
        "versions": {} if step is None else dict(step.versions),
        "until": None if until is None else instant(until),
        "nextAt": None if told.next_at is None else instant(told.next_at),
        "aheadCount": found.ahead_count,
    }


_WORDS: Final = {
    ManualAnswer.ALLOWED: "will be called",
    ManualAnswer.PUT_OFF: "is not called now",
    ManualAnswer.DENIED: "is not called in this run",
}


def manual_call_text(document: dict[str, Json]) -> str:
    """Return it for people."""
    said = [f"{document['phoneNumber']} {_WORDS[ManualAnswer(document['answer'])]}. {document['sentence']}"]
    if document["aheadCount"]:
        said.append(f"{document['aheadCount']} that were asked for earlier come before it.")
    if document["decidedBy"] is not None and document["nextAt"] is not None:
        said.append(f"The gate lets it through at {document['nextAt']}, when nothing else changes.")
    return " ".join(said)
