"""What a signed report looks like on the wire, for the document; what is sent are the bytes that were signed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from outdial.api.native.views import View


class StoppedRunView(View, frozen=True):
    """The run that was stopped."""

    instance_id: str
    run_id: int
    """Its number in the history."""
    campaign_id: str
    iid: str
    account_id: str
    epoch: int


class StopRequestView(View, frozen=True):
    """Who asked for the stop, when, and for which."""

    by: str
    at: str
    """When it was committed: from here on nothing could be claimed. Instants are UTC with microseconds."""
    reason: str
    ringing: str
    connected: str
    keep_schedule: bool


class StopEngineView(View, frozen=True):
    """What was done at one engine."""

    engine_id: str
    fenced_at: str | None
    """From here on it refused every call of the run; null: it had been declared gone, and its permits had expired."""
    quiesced_at: str | None
    """From here on no call showed there that could still start."""
    cancelled: int
    hung_up: int


class StopNodeView(View, frozen=True):
    """How one dialer node was accounted for."""

    node_id: str
    name: str
    outcome: str
    """`acknowledged`, `lease_expired` or `not_answering`: it had not said by then that it has dropped the run, and
    cannot dial, for every engine is fenced."""
    at: str | None
    """When it had dropped the run, or its lease or life ended; null: neither had happened."""


class BarrierView(View, frozen=True):
    """When it was silent."""

    no_call_after: str
    """First instant at which no call of the run could start any more: the last engine was quiet."""
    stopped_at: str
    latency_seconds: float
    """From `request.at` to `stoppedAt`."""
    last_originate_at: str | None
    """When an engine was asked for a call of the run for the last time, by the clock of its node."""
    last_originate_attempt_id: str | None


class StopCallView(View, frozen=True):
    """An attempt that was live when the stop was committed."""

    attempt_id: str
    contact_id: str
    number: int
    engine_id: str
    node_id: str
    permit: str | None
    phase: str
    """Its state at the commit, as far as it was booked."""
    state: str
    """Its state when the report was made."""
    outcome: str
    """`ended`; `kept`: it goes on as was asked; `unsettled`: it is at no engine, and nobody has booked its end."""
    disposition: str | None
    reason: str
    cause: int | None
    sip_code: int | None
    reserved_at: str
    dialed_at: str | None
    ringing_at: str | None
    answered_at: str | None
    ended_at: str | None


class ContactCountsView(View, frozen=True):
    """The contacts of the run; they add up."""

    total: int
    never_reached: int
    retries_cancelled: int
    in_calls: int
    done: int


class StopCountsView(View, frozen=True):
    """Counts of what is listed."""

    calls: int
    phases: dict[str, int]
    outcomes: dict[str, int]
    cancelled: int
    contacts: ContactCountsView
    lists_read_to_end: bool
    """Whether the run's lists had been read to their end; who was not read yet is not counted."""


class SealedView(View, frozen=True):
    """One seal of the account's chain."""

    seal: dict[str, Any]
    entries: list[Any] | None
    """Its rows, those of the stop in full, others as SHA-256; null: none of them is of the stop."""


class ChainView(View, frozen=True):
    """The account's chain of history, from the commit of the stop to the moment of signing."""

    account_id: str
    number: int
    head: str
    """Hash of the last seal."""
    seals: list[SealedView]


class SignatureView(View, frozen=True):
    """Who signed it."""

    algorithm: str
    key_id: str
    """SHA-256 of the public key."""
    public_key: str
    """Base64."""
    signed_at: str
    value: str
    """Signature of the canonical form (RFC 8785) of everything but this value, base64."""


class SignedReportView(View, frozen=True):
    """The signed report of a stop."""

    kind: str
    version: int
    run: StoppedRunView
    request: StopRequestView
    engines: list[StopEngineView]
    nodes: list[StopNodeView]
    barrier: BarrierView
    calls: list[StopCallView]
    counts: StopCountsView
    chain: ChainView
    signature: SignatureView


class SigningKeyView(View, frozen=True):
    """A key reports are signed with, its public half."""

    id: str
    """SHA-256 of the public key."""
    algorithm: str
    public_key: str
    """Base64."""
    pem: str
    created_at: datetime
    retired_at: datetime | None
    """Null: it signs now."""
