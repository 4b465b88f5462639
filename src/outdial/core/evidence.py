"""What a history says of decisions and attempts, and how often each number was called in each limit's window.

Read from the rows of an export (``core.history_file``), so that who checks needs nothing that the chain does not vouch
for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from outdial.core.attempt_limits import AttemptLimit, Counted, LimitRule, PastAttempt, instant_of, standing
from outdial.core.canonical import Json, instant, read_instant
from outdial.core.model import Disposition

MANUAL_CALL: Final = "manual_call"
"""The action of rows about calls by hand; those that were refused have their decision."""


@dataclass(frozen=True, slots=True)
class Call:
    """An attempt, as its rows tell it."""

    id: str
    run_id: int
    contact_id: str
    phone: str
    number: int
    reserved_at: datetime
    dialed_at: datetime | None = None
    ended_at: datetime | None = None
    booked_at: datetime | None = None
    """When its end was written down."""
    disposition: Disposition | None = None

    @property
    def past(self) -> PastAttempt | None:
        """What limits count of it; None while it lives, and where nothing was sent."""
        if self.ended_at is None or self.disposition is None:
            return None
        if self.dialed_at is None and self.disposition is Disposition.CANCELLED:
            return None
        return PastAttempt(self.dialed_at or self.reserved_at, self.ended_at, self.disposition)

    def document(self) -> dict[str, Json]:
        """Return it as an archive has it."""
        return {
            "id": self.id,
            "runId": self.run_id,
            "contactId": self.contact_id,
            "phone": self.phone,
            "number": self.number,
            "reservedAt": instant(self.reserved_at),
            "dialedAt": _text(self.dialed_at),
            "endedAt": _text(self.ended_at),
            "bookedAt": _text(self.booked_at),
            "disposition": None if self.disposition is None else self.disposition.value,
        }


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision of the gate, as its row tells it."""

    row_id: int
    at: datetime
    run_id: int
    contact_id: str
    attempt_id: str | None
    """The attempt it let through; None: it denied the contact or put it off."""
    done_reason: str | None
    """Where it denied, and the contact is done for that."""
    decision: dict[str, Json]
    by_hand: str | None = None
    """Where a call by hand was refused: the answer (``core.manual_call.ManualAnswer``)."""
    asked_by: str | None = None
    """Who was refused it."""

    def document(self) -> dict[str, Json]:
        """Return it as an archive has it."""
        # of no other has it these: archives from before refusals by hand were kept have the same lines as ever
        by_hand = {} if self.by_hand is None else {"byHand": self.by_hand, "askedBy": self.asked_by}
        return by_hand | {
            "rowId": self.row_id,
            "at": instant(self.at),
            "runId": self.run_id,
            "contactId": self.contact_id,
            "attemptId": self.attempt_id,
            "doneReason": self.done_reason,
            "decision": self.decision,
        }


@dataclass(slots=True)
class Evidence:
    """What rows have told so far."""

    calls: dict[str, Call] = field(default_factory=dict)
    decisions: list[Decided] = field(default_factory=list)
    run_ids: set[int] = field(default_factory=set)
    """Runs of which something has happened."""

    def take(self, row: Mapping[str, Json]) -> None:
        """Read one more row, in the order of the chain. Raises ValueError for one that no outdial has written."""
        detail = row["detail"] if isinstance(row["detail"], dict) else {}
        if row["runId"] is not None:
            self.run_ids.add(row["runId"])
        try:
            if row["action"] == "attempt" and row["from"] is None:
                self._reserved(row, detail)
            elif row["action"] == "attempt" and "ended_at" in detail:
                self._ended(row, detail)
            elif row["action"] == "run_contact" and "inputs" in detail:
                self._decided(row, detail)
            elif row["action"] == MANUAL_CALL and "inputs" in detail:
                self._decided(row, detail, by_hand=row["to"], asked_by=row["actor"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"row {row['id']} lacks {error}") from error

    def _reserved(self, row: Mapping[str, Json], detail: dict[str, Json]) -> None:
        call = Call(
            id=row["attemptId"],
            run_id=row["runId"],
            contact_id=row["contactId"],
            phone=detail["phone"],
            number=detail["number"],
            reserved_at=read_instant(row["at"]),
        )
        self.calls[call.id] = call
        if detail.get("screening") is not None:
            self._decided(row, detail["screening"])

    def _ended(self, row: Mapping[str, Json], detail: dict[str, Json]) -> None:
        call = self.calls.get(row["attemptId"])
        if call is None:
            raise ValueError(f"row {row['id']} ends an attempt that no row has begun")
        self.calls[call.id] = replace(
            call,
            dialed_at=_read(detail.get("dialed_at")),
            ended_at=_read(detail["ended_at"]),
            booked_at=read_instant(row["at"]),
            disposition=Disposition(detail["disposition"]),
        )

    def _decided(
        self,
        row: Mapping[str, Json],
        decision: dict[str, Json],
        *,
        by_hand: str | None = None,
        asked_by: str | None = None,
    ) -> None:
        self.decisions.append(
            Decided(
                row_id=row["id"],
                at=read_instant(row["at"]),
                run_id=row["runId"],
                contact_id=row["contactId"],
                attempt_id=row["attemptId"],
                done_reason=row["reason"] if row["to"] == "done" else None,
                decision=decision,
                by_hand=by_hand,
                asked_by=asked_by,
            )
        )


def rates(calls: Iterable[Call], limits: Sequence[AttemptLimit]) -> Iterator[dict[str, Json]]:
    """Yield how often each number was called at most within each limit's window, and when that was reached; in the
    order of numbers and limits. Calls count whatever they were about: what is known of that is no part of history."""
    by_number: dict[str, list[PastAttempt]] = {}
    for call in calls:
        if (past := call.past) is not None:
            by_number.setdefault(call.phone, []).append(past)
    for phone in sorted(by_number):
        for limit in limits:
            counted, reached = _most(replace(limit.rule, matter=None), by_number[phone])
            if reached is not None:
                yield {
                    "phone": phone,
                    "limit": limit.id,
                    "counted": counted,
                    "most": limit.rule.count,
                    "reachedAt": instant(reached),
                }


def _most(rule: LimitRule, past: Sequence[PastAttempt]) -> tuple[int, datetime | None]:
    most, reached = 0, None
    for at in sorted({instant_of(rule, one) for one in past}):
        until = [one for one in past if instant_of(rule, one) <= at]
        counted = standing(rule, until, {}, at).counted
        if counted > most:
            most, reached = counted, at
    return most, reached


def limit_document(limit: AttemptLimit, removed_at: datetime | None) -> dict[str, Json]:
    """Return a limit as an archive has it."""
    return {
        "id": limit.id,
        "accountId": limit.account_id,
        "iid": limit.iid,
        "campaignId": limit.campaign_id,
        "count": limit.rule.count,
        "windowSeconds": limit.rule.window_seconds,
        "counts": limit.rule.counts.value,
        "matter": limit.rule.matter,
        "preset": limit.preset,
        "createdAt": instant(limit.created_at),
        "createdBy": limit.created_by,
        "removedAt": _text(removed_at),
    }


def read_limit(document: Mapping[str, Any]) -> AttemptLimit:
    """Return the limit of a document that :func:`limit_document` made. Raises KeyError, TypeError, ValueError."""
    return AttemptLimit(
        id=document["id"],
        account_id=document["accountId"],
        iid=document["iid"],
        campaign_id=document["campaignId"],
        rule=LimitRule(document["count"], document["windowSeconds"], Counted(document["counts"]), document["matter"]),
        preset=document["preset"],
        created_at=read_instant(document["createdAt"]),
        created_by=document["createdBy"],
    )


def _read(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _text(at: datetime | None) -> str | None:
    return None if at is None else instant(at)
