"""Answers of failures as OpenAPI describes them: one for each status, with an example of each code that has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from outdial.api.error_catalogue import catalogue

_JSON: Final = "application/json"
_REQUEST_ID: Final = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"

SENTENCES: Final[Mapping[str, str]] = {
    "answer_lost": "The request with this Idempotency-Key was carried out, but outdial was interrupted before it could "
    "answer. Look at what it did; to do it once more, use a new key.",
    "archive_too_large": "The evidence is of more than 100000 rows of history, which is the most that the API makes an "
    "archive of; make it on the server: outdial compliance export.",
    "attempts_kept_too_briefly": "`attemptsDays` is 60, and an attempt limit counts over 90 days: it would count too "
    "few. Keep attempts for as long at least, or choose a limit over fewer days.",
    "bad_reference": "There is no contact list named March callers.",
    "bad_request": "`trigger` must be `play` or `stop`, not 'halt'.",
    "busy": "This server makes 2 explanations at a time, for others now; ask again.",
    "conflict": "There is already a trunk named Main; remove it first or choose another name.",
    "database_unavailable": "The database did not count this request in time; ask again.",
    "emergency_stop": "An emergency stop is in force; nothing can be started before it is lifted.",
    "engine_unavailable": "The engine asterisk does not answer.",
    "file": "The file of import im-11111111-2222-4333-8444-555555555555 cannot be written: No space left on device.",
    "file_elsewhere": "The file of import im-11111111-2222-4333-8444-555555555555 is not whole at this server: it was "
    "sent to one with another data folder. Send the rest to that one, or begin a new import.",
    "forbidden": "A client can give only scopes that it has itself; this one has no configuration.",
    "illegal_move": "The campaign is active; it can be paused or stopped.",
    "import_busy": "Another process runs this import; ask again.",
    "in_use": "The contact list March callers is in use by a campaign; delete the campaign first.",
    "internal": "outdial failed to answer this; its log says why.",
    "invalid_input": "`dialingStrategy.maxRingTime` must be at most 120, not the number 300.",
    "key_busy": "A request with this Idempotency-Key is being carried out; ask again for its answer.",
    "key_reused": "This Idempotency-Key has served for another request within 24 hours; a new request needs a new key.",
    "limit_reached": "The account holds 1000 contact lists already, as many as it may.",
    "not_built": "SMS campaigns are not offered: outdial runs voice campaigns, `campaignType=voice`.",
    "not_found": "There is no campaign with the id cd-1111111-2222-4333-8444-555555555555.",
    "nothing_to_dial": "No contact can be dialed: all 3 are on a do-not-call list.",
    "pause_not_proven": "The run is paused, but a call that was under way before may leave yet: the engine asterisk "
    "does not answer; ask again.",
    "person_on_call": "Somebody is talking with +*******0001; ask again when that is over, or have it ended with "
    "`connected`: `hang_up`. Nobody else calls the number meanwhile.",
    "rate_limited": "You've exceeded the per-minute rate limit. Please wait for sometime before retrying.",
    "report_erased": "The signed report of the stop of cid-11111111-2222-4333-8444-555555555555 named a number whose "
    "person was erased, and went with it; history keeps the stop.",
    "rule_pack": "There is no rule pack 'uk'. This outdial has: au, ca, de, fr, gb, in, international, us; see: "
    "outdial rules list.",
    "simulation_busy": "Another simulation is under way here; ask again in some seconds.",
    "simulation_ended": "The simulation was ended before it was over; ask again.",
    "simulation_too_long": "The simulation takes more than 2,000,000 steps, as many as are played here. Give it fewer "
    "days, attempts or attempt limits, or play it with the command `outdial simulate`, which takes the time it needs.",
    "speech_unavailable": "espeak-ng cannot be run (No such file or directory): install it, or set "
    "OUTDIAL_SPEECH_COMMAND.",
    "stop_not_proven": "The stop is not proven yet: the engine asterisk does not answer; ask again.",
    "stop_report_not_ready": "The run is stopped, and its report is not complete yet: how 2 calls ended is still to be "
    "booked. Ask again in some seconds.",
    "too_large": "The body is larger than 1 MB; send it in parts.",
    "trunk_unresolved": "The host sip.example.net of the trunk Main cannot be resolved.",
    "unauthorized": "Invalid JWT token",
    "wrong_offset": "The file has 48211 bytes so far; this piece must begin there.",
}
"""A sentence of each code that an answer of the API can name."""

_WAITS: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""Statuses that always say when to ask again."""

HEADERS: Final[dict[str, Any]] = {
    "RequestId": {
        "description": "The request's id: the client's own where it sent one that can be taken, else a new one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
        "example": _REQUEST_ID,
    },
    "RetryAfter": {
        "description": "After how many seconds asking again can help.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
        "example": 1,
    },
    "RetryAfterMaybe": {
        "description": "After how many seconds asking again can help; absent where it cannot.",
        "required": False,
        "schema": {"type": "integer", "minimum": 1},
        "example": 1,
    },
    "IdempotentReplay": {
        "description": "There when this is the answer of an earlier request with the same `Idempotency-Key`.",
        "required": False,
        "schema": {"type": "string", "enum": ["true"]},
        "example": "true",
    },
    "Ignored": {
        "description": "Paths of the fields of the body that nobody reads; the first twenty.",
        "required": False,
        "schema": {"type": "string"},
        "example": "dialingStrategy.ringTime",
    },
}
"""Headers of answers, by the names under which answers refer to them."""


def header(name: str) -> dict[str, Any]:
    """Return the reference to one of :data:`HEADERS`."""
    return {"$ref": f"#/components/headers/{name}"}


class Refusals:
    """The failures of one surface: ``schema`` is their body's, ``full`` whether they name code, retry and request."""

    def __init__(self, prefix: str, schema: dict[str, Any], *, full: bool) -> None:
        self._prefix = prefix
        self._schema = schema
        self._full = full

    def references(self, statuses: Iterable[int]) -> dict[str, dict[str, Any]]:
        """Return an operation's references to the answers with these statuses."""
        return {str(status): {"$ref": f"#/components/responses/{self._prefix}{status}"} for status in sorted(statuses)}

    def responses(self) -> dict[str, dict[str, Any]]:
        """Return all answers, by the names that :meth:`references` uses."""
        by_status: dict[int, list[dict[str, Any]]] = {}
        for entry in catalogue():
            if entry["errorCode"] in SENTENCES:
                by_status.setdefault(entry["status"], []).append(entry)
        return {f"{self._prefix}{status}": self._response(status, entries) for status, entries in by_status.items()}

    def _response(self, status: int, entries: list[dict[str, Any]]) -> dict[str, Any]:
        headers = {"X-Request-Id": header("RequestId")}
        if status in _WAITS:
            headers["Retry-After"] = header("RetryAfter")
        elif any(entry["retryable"] for entry in entries):
            headers["Retry-After"] = header("RetryAfterMaybe")
        examples = {entry["errorCode"]: {"summary": entry["meaning"], "value": self._body(entry)} for entry in entries}
        return {
            "description": f"{HTTPStatus(status).phrase}: {' '.join(entry['meaning'] for entry in entries)}",
            "headers": headers,
            "content": {_JSON: {"schema": self._schema, "examples": examples}},
        }

    def _body(self, entry: dict[str, Any]) -> dict[str, Any]:
        body: dict[str, Any] = {"errors": [{"msg": SENTENCES[entry["errorCode"]], "code": entry["code"]}]}
        if self._full:
            body |= {"errorCode": entry["errorCode"], "retryable": entry["retryable"], "requestId": _REQUEST_ID}
        return body
