"""Signed reports made by hand, whole or wrong in one place, to be checked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from outdial import signing
from outdial.core.canonical import canonical, instant
from outdial.core.history import HistoryRow, make_seal, row_digest
from outdial.core.ids import contact_id
from outdial.core.stop_proof import signed_bytes

PRIVATE, PUBLIC = signing.new_key()
START = datetime(2026, 3, 1, 10, tzinfo=UTC)
ACCOUNT, CAMPAIGN, INSTANCE, RUN = "a" * 24, "cd-1", "cid-1", 7
CANCELLED, KEPT = "1" * 32, "2" * 32
PERMIT = f"run{RUN}e1k{'0' * 32}"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def told(seconds: float) -> str:
    """As PostgreSQL writes an instant into JSON."""
    return at(seconds).isoformat()


def row(row_id: int, seconds: float, **more: Any) -> HistoryRow:
    fields = {
        "id": row_id,
        "at": at(seconds),
        "account_id": ACCOUNT,
        "campaign_id": CAMPAIGN,
        "run_id": RUN,
        "contact_id": None,
        "attempt_id": None,
        "action": "run",
        "before": "active",
        "after": "stopping",
        "actor": "anna",
        "reason": "stop",
        "detail": {"epoch": 2, "instance_id": INSTANCE},
    }
    return HistoryRow(**fields | more)


def rows() -> list[HistoryRow]:
    """A stop that cancels one call and lets another go on, and somebody else's row between."""
    return [
        row(11, 0.0001),
        row(12, 0.01, run_id=8, action="attempt", before=None, after="reserved", detail=None),
        row(
            13,
            0.05,
            action="attempt",
            attempt_id=CANCELLED,
            contact_id=1,
            before="ringing",
            after="ended",
            actor="node",
            reason="",
            detail={
                "permit": PERMIT,
                "dialed_at": told(-2),
                "ringing_at": told(-1),
                "ended_at": told(0.04),
                "disposition": "cancelled",
                "cause": 16,
            },
        ),
        row(15, 0.1002, before="stopping", after="stopped", reason="stopped"),
    ]


def call(attempt_id: str, contact: int, **more: Any) -> dict[str, Any]:
    fields = {
        "attemptId": attempt_id,
        "contactId": contact_id(contact),
        "number": 1,
        "engineId": "asterisk",
        "nodeId": "node",
        "permit": PERMIT,
        "phase": "ringing",
        "state": "ended",
        "outcome": "ended",
        "disposition": "cancelled",
        "reason": "",
        "cause": 16,
        "sipCode": None,
        "reservedAt": instant(at(-3)),
        "dialedAt": instant(at(-2)),
        "ringingAt": instant(at(-1)),
        "answeredAt": None,
        "endedAt": instant(at(0.04)),
    }
    return fields | more


def document(made: list[HistoryRow] | None = None) -> dict[str, Any]:
    """A report without its signature."""
    made = rows() if made is None else made
    first = make_seal(ACCOUNT, after=None, rows=[row(1, -60)], sealed_at=at(-59))
    split = len(made) // 2
    second = make_seal(ACCOUNT, after=first, rows=made[:split], sealed_at=at(0.02))
    third = make_seal(ACCOUNT, after=second, rows=made[split:], sealed_at=at(0.2))
    last = make_seal(ACCOUNT, after=third, rows=[row(20, 0.3, run_id=8)], sealed_at=at(0.4))

    def entries(lot: list[HistoryRow]) -> list[Any]:
        return [one.document() if one.run_id == RUN else row_digest(one.document()).hex() for one in lot]

    return {
        "kind": "outdial stop report",
        "version": 1,
        "run": {
            "instanceId": INSTANCE,
            "runId": RUN,
            "campaignId": CAMPAIGN,
            "iid": "st-1",
            "accountId": ACCOUNT,
            "epoch": 2,
        },
        "request": {
            "by": "anna",
            "at": instant(at(0)),
            "reason": "stop",
            "ringing": "cancel",
            "connected": "keep",
            "keepSchedule": False,
        },
        "engines": [
            {
                "engineId": "asterisk",
                "fencedAt": instant(at(0.01)),
                "quiescedAt": instant(at(0.06)),
                "cancelled": 1,
                "hungUp": 0,
            }
        ],
        "nodes": [{"nodeId": "node", "name": "dialer-1", "outcome": "acknowledged", "at": instant(at(0.02))}],
        "barrier": {
            "noCallAfter": instant(at(0.06)),
            "stoppedAt": instant(at(0.1)),
            "latencySeconds": 0.1,
            "lastOriginateAt": instant(at(-1.5)),
            "lastOriginateAttemptId": KEPT,
        },
        "calls": [
            call(CANCELLED, 1),
            call(
                KEPT,
                2,
                phase="answered",
                state="answered",
                outcome="kept",
                disposition=None,
                cause=None,
                dialedAt=instant(at(-1.5)),
                answeredAt=instant(at(-0.5)),
                endedAt=None,
            ),
        ],
        "counts": {
            "calls": 2,
            "phases": {"reserved": 0, "dialing": 0, "ringing": 1, "answered": 1},
            "outcomes": {"ended": 1, "kept": 1, "unsettled": 0},
            "cancelled": 1,
            "contacts": {"total": 1000, "neverReached": 931, "retriesCancelled": 40, "inCalls": 1, "done": 28},
            "listsReadToEnd": True,
        },
        "chain": {
            "accountId": ACCOUNT,
            "number": 4,
            "head": last.sha256.hex(),
            "seals": [
                {"seal": second.document(), "entries": entries(made[:split])},
                {"seal": third.document(), "entries": entries(made[split:])},
                {"seal": last.document(), "entries": None},
            ],
        },
    }


def signed(
    made: dict[str, Any], private: str = PRIVATE, public: bytes = PUBLIC, *, seconds: float = 1.0
) -> dict[str, Any]:
    """Sign it, whatever it says."""
    signature = {
        "algorithm": "Ed25519",
        "keyId": signing.key_id(public),
        "publicKey": signing.to_text(public),
        "signedAt": instant(at(seconds)),
        "value": "",
    }
    whole = {**made, "signature": signature}
    signature["value"] = signing.to_text(signing.sign(private, signed_bytes(whole)))
    return whole


def changed(change: Callable[[dict[str, Any]], Any], made: list[HistoryRow] | None = None) -> bytes:
    """A report that says something else, signed all the same."""
    one = document(made)
    change(one)
    return canonical(signed(one))
