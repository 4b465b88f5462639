"""Webhooks: which events there are, what a message says, how it is signed, and when it is sent again.

Messages are those of Standard Webhooks (specification 1.0.0): headers ``webhook-id``, ``webhook-timestamp`` and
``webhook-signature``, a secret that is ``whsec_`` and base64, a body with ``type``, ``timestamp`` and ``data``. The
words of ``data`` are those of outdial's own API.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final

from outdial.core import ids

PREFIX: Final = "whsec_"

LEAST_SECRET_BYTES: Final = 24
MOST_SECRET_BYTES: Final = 64
"""Both as the specification has it."""

SECRET_BYTES: Final = 32
"""Of the secrets outdial draws: as long as the hash."""

ANSWER_SECONDS: Final = 15.0
"""How long a receiver may take to answer; the specification recommends 15 to 30."""

FIRST_PAUSE_SECONDS: Final = 5.0
"""Before the second try."""

PAUSE_FACTOR: Final = 4.0
"""Each further pause is so many times as long."""

LONGEST_PAUSE_SECONDS: Final = 3600.0

RETRIED_FOR: Final = timedelta(hours=24)
"""A message that was not taken for so long is dead: it is kept, and sent again only when somebody asks for it."""

GONE: Final = 410
"""The receiver wants nothing more (RFC 9110 §15.5.11): the webhook is switched off."""

DELIVERED: Final = range(200, 300)

LARGEST_DELTA_DIGITS: Final = 9


class WebhookEvent(StrEnum):
    """What a webhook can be told of."""

    RUN_STARTED = "run.started"
    RUN_PAUSED = "run.paused"
    RUN_RESUMED = "run.resumed"
    RUN_STOPPED = "run.stopped"
    """The stop is proven: nothing more is dialed for the run."""
    RUN_COMPLETED = "run.completed"
    ATTEMPT_ENDED = "attempt.ended"
    """With its disposition, ``unknown`` among them."""
    OPT_OUT_LISTED = "opt_out.listed"
    """A person who asked to be called no more is on a do-not-call list."""
    BREAKER_TRIPPED = "breaker.tripped"
    """A run has paused itself because its calls fail; ``run.paused`` is told too."""


TEST_EVENT: Final = "webhook.test"
"""What somebody sends to try a webhook; it is neither stored nor repeated."""


class DeliveryState(StrEnum):
    """What became of a message."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Happening:
    """One row of the history, with what else a message says of it."""

    event: str
    history_id: int
    at: datetime
    iid: str | None
    """None: of the account, not of one application."""
    campaign_id: str | None
    instance_id: str | None
    before: str | None
    after: str | None
    actor: str
    reason: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    """As the history has it."""
    attempt: Mapping[str, Any] = field(default_factory=dict)
    """The attempt's own row; empty for other events, and where it is not kept any more."""
    attempt_id: str | None = None


def message_id(event: str, history_id: int) -> str:
    """Return what names a message, however often it is sent; without a full stop, as the specification asks."""
    return f"{event.replace('.', '_')}_{history_id}"


def message(happening: Happening) -> dict[str, Any]:
    """Return the body of a message. Made of what never changes, so that each try says the same."""
    match happening.event:
        case WebhookEvent.ATTEMPT_ENDED:
            data = _attempt(happening)
        case WebhookEvent.OPT_OUT_LISTED:
            data = _opt_out(happening)
        case _:
            data = _run(happening)
    return {"type": happening.event, "timestamp": happening.at, "data": data}


def _run(happening: Happening) -> dict[str, Any]:
    return {
        "iid": happening.iid,
        "campaignId": happening.campaign_id,
        "instanceId": happening.instance_id,
        "before": happening.before,
        "after": happening.after,
        "epoch": happening.detail.get("epoch"),
        "actor": happening.actor,
        "reason": happening.reason,
    }


_GONE: Final = dict.fromkeys(
    (
        *("contact_id", "phone", "caller_id", "number", "disposition", "cause", "sip_code", "reserved_at"),
        *("dialed_at", "ringing_at", "answered_at", "ended_at", "detection"),
    )
)
"""Of an attempt that is not kept any more the history tells how it ended."""


def _attempt(happening: Happening) -> dict[str, Any]:
    row = happening.attempt or _GONE | dict(happening.detail) | {"id": happening.attempt_id}
    return {
        "iid": happening.iid,
        "campaignId": happening.campaign_id,
        "instanceId": happening.instance_id,
        "id": row["id"],
        "contactId": None if row["contact_id"] is None else ids.contact_id(row["contact_id"]),
        "phoneNumber": row["phone"],
        "callerId": row["caller_id"],
        "number": row["number"],
        "state": happening.after,
        "disposition": row["disposition"],
        "cause": row["cause"],
        "sipCode": row["sip_code"],
        "reservedAt": row["reserved_at"],
        "dialedAt": row["dialed_at"],
        "ringingAt": row["ringing_at"],
        "answeredAt": row["answered_at"],
        "endedAt": row["ended_at"],
        "machineDetection": _detection(row["detection"]),
        "reason": happening.reason,
    }


def _detection(stored: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return who had answered (``core.machine.Detection``), as the API shows it."""
    if stored is None:
        return None
    timings = {_camel(name): value for name, value in stored["timings"].items()}
    told = {name: stored[name] for name in ("verdict", "cause", "seconds")}
    return told | {"timings": timings, "keptForReview": stored.get("sample") is not None}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.title() for other in others)


def _opt_out(happening: Happening) -> dict[str, Any]:
    detail = happening.detail
    return {
        "phoneNumber": detail.get("phone"),
        "dncListId": detail.get("dnc_list_id"),
        "source": detail.get("source"),
        "actor": happening.actor,
        "reason": detail.get("reason", ""),
    }


def secret_text(drawn: bytes) -> str:
    """Return a secret as people are shown it."""
    return PREFIX + base64.b64encode(drawn).decode()


def secret_bytes(text: str) -> bytes | None:
    """Return the bytes of a secret; None when it is none, or has not as many as the specification asks for."""
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True) if text.startswith(PREFIX) else b""
    except binascii.Error:
        return None
    return secret if LEAST_SECRET_BYTES <= len(secret) <= MOST_SECRET_BYTES else None


def sign(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return one signature; ``timestamp`` is that of the try, in seconds since 1970."""
    signed = hmac.new(secret, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


def headers(secrets: Iterable[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of a try, signed with each secret that is good at the time."""
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(sign(secret, message_id, timestamp, body) for secret in secrets),
    }


def pause_seconds(tries: int, *, asked: float | None, draw: float) -> float:
    """Return how long to wait after so many tries that failed, 1 or more.

    Exponential up to an hour; ``draw``, from 0 to 1, takes up to half of it off, so that those who failed together do
    not come back together. ``asked`` is what the receiver asked for (``Retry-After``): it is never waited for less
    long than that, nor longer than a day for it.
    """
    # the exponent is bounded, so that no number of tries is too large for a float
    longest = min(FIRST_PAUSE_SECONDS * PAUSE_FACTOR ** min(tries - 1, 20), LONGEST_PAUSE_SECONDS)
    own = longest * (1 - draw / 2)
    return own if asked is None else max(own, min(asked, RETRIED_FOR.total_seconds()))


def retry_after_seconds(text: str | None, *, now: datetime) -> float | None:
    """Read ``Retry-After`` (RFC 9110 §10.2.3): seconds or an instant; None where it is missing or unreadable."""
    text = (text or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text) if len(text) <= LARGEST_DELTA_DIGITS else RETRIED_FOR.total_seconds()
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    # RFC 5322's -0000: in UTC, and nothing said of the zone
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())


def is_dead(waiting_since: datetime, *, now: datetime) -> bool:
    """Whether a message whose try has just failed is given up."""
    return now - waiting_since >= RETRIED_FOR


def read_events(names: Sequence[str]) -> tuple[list[WebhookEvent], list[str]]:
    """Return the events of those names, each once and in the order of the enumeration, and the names that are none."""
    known = {event.value for event in WebhookEvent}
    return [event for event in WebhookEvent if event in names], sorted({name for name in names if name not in known})
