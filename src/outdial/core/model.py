"""The values outdial works with, one frozen class per thing, in the words of the glossary.

Times end in ``_at`` and are aware UTC ``datetime``; durations end in ``_seconds``; phone numbers are E.164 text
with a leading ``+``. Wire identifiers are text (``core.ids`` holds their shapes); ``run_id`` and ``contact_id``
are the database's own integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from enum import StrEnum
from typing import Any

from outdial.core.machine import USUAL_TIMINGS, Detection, DetectionTimings, MachineDetection
from outdial.core.machine_review import NO_REVIEW, ReviewShares
from outdial.core.schedule import Schedule


class CampaignState(StrEnum):
    """Stored state of a campaign's definition; what its latest run does is the run's state."""

    PREPARING = "preparing"
    """Being built after create; moves to ready in the same request."""
    READY = "ready"
    """Saved, can be started."""


class RunState(StrEnum):
    """Where one execution of a campaign stands. Moves: ``core.campaign.RUN_MOVES``."""

    ACTIVE = "active"
    """Dialing; the only state in which a permit may be made or renewed."""
    PAUSED = "paused"
    """Somebody paused it; no new call, connected calls go on."""
    STOPPING = "stopping"
    """Stop is committed; engines are being fenced and quiesced. Only ``stopped`` can follow."""
    STOPPED = "stopped"
    """Shown to be over: no call of this run can leave any more."""
    COMPLETED = "completed"
    """Every contact is done."""


LIVE_RUN_STATES = frozenset({RunState.ACTIVE, RunState.PAUSED, RunState.STOPPING})


class RunContactState(StrEnum):
    """One contact's progress in one run. Moves: ``core.attempt.RUN_CONTACT_MOVES``."""

    PENDING = "pending"
    """Never attempted in this run, may be claimed."""
    CLAIMED = "claimed"
    """An attempt is reserved for it; nothing has been sent yet as far as is known."""
    DIALING = "dialing"
    """Its attempt has been handed to an engine."""
    WAITING = "waiting"
    """Will be tried again, not before ``not_before``."""
    DONE = "done"
    """Finished in this run, see ``done_reason``."""


class DoneReason(StrEnum):
    """Why a run contact is done."""

    REACHED = "reached"
    """A person or machine answered and the call counts as reached."""
    ATTEMPTS_USED = "attempts_used"
    """All attempts were used without reaching anybody."""
    DNC = "dnc"
    """On a do-not-call list when it was about to be dialed."""
    RETRY_CANCELLED = "retry_cancelled"
    """A retry was due later and the run was stopped."""
    STOPPED = "stopped"
    """Its call was cancelled by a stop."""
    INVALID_NUMBER = "invalid_number"
    """The carrier says the number does not exist; trying again is pointless."""
    SKIPPED = "skipped"
    """The pre-call fetch said not to call, or gave no answer that could be used; see the attempt."""
    EXPIRED = "expired"
    """Its calling hours closed for the day, and the campaign lets contacts expire then (``AtClosing.EXPIRE``)."""
    UNKNOWN = "unknown"
    """Its attempt's outcome cannot be established; a person must decide, never redialed blindly."""


class AttemptState(StrEnum):
    """One try to reach one number. Moves: ``core.attempt.ATTEMPT_MOVES``."""

    RESERVED = "reserved"
    """Durable before anything reaches the engine."""
    DIALING = "dialing"
    """The engine accepted the originate."""
    RINGING = "ringing"
    ANSWERED = "answered"
    ENDED = "ended"
    """Over, with exactly one disposition."""
    UNKNOWN = "unknown"
    """Its node vanished and the engine could not say; disposition ``unknown``."""


LIVE_ATTEMPT_STATES = frozenset(
    {AttemptState.RESERVED, AttemptState.DIALING, AttemptState.RINGING, AttemptState.ANSWERED}
)


class Disposition(StrEnum):
    """How an attempt ended."""

    ANSWERED_HUMAN = "answered_human"
    ANSWERED_MACHINE = "answered_machine"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    REJECTED = "rejected"
    INVALID_NUMBER = "invalid_number"
    CONGESTION = "congestion"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"
    """Answered, and heard nothing: its flow could not be played, nobody heard of the answer, or the call ended before
    it was known whether a person or a machine had answered."""
    FAILED = "failed"
    UNKNOWN = "unknown"


class DialingMode(StrEnum):
    """How calls are paced against agents; only agentless can be started yet."""

    AGENTLESS = "agentless"
    PROGRESSIVE = "progressive"
    PREVIEW = "preview"


class DialingOrder(StrEnum):
    """Which contact of a list comes first."""

    FIFO = "fifo"
    LIFO = "lifo"


class Transport(StrEnum):
    """SIP transport of a trunk."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"


class NumberFormat(StrEnum):
    """How a trunk wants called numbers written."""

    E164_PLUS = "e164_plus"
    """+15550100001"""
    E164 = "e164"
    """15550100001"""


class EngineKind(StrEnum):
    """What places the calls."""

    ASTERISK = "asterisk"
    SIMULATED = "simulated"


class RingingCalls(StrEnum):
    """What a stop does with calls that ring."""

    CANCEL = "cancel"
    LET_RING = "let_ring"


class ConnectedCalls(StrEnum):
    """What a stop does with calls that are connected."""

    KEEP = "keep"
    HANG_UP = "hang_up"


@dataclass(frozen=True, slots=True)
class Application:
    """A tenant's application: every campaign, list and trunk belongs to one."""

    iid: str
    """``st-`` + UUID; the wire's ``iid``/``streamId``."""
    account_id: str
    """24 hex digits."""
    name: str
    account_name: str
    max_concurrent_calls: int | None
    """Ceiling over all runs of the application; None = only the trunks' own."""


class Scope(StrEnum):
    """What an API client may do."""

    CAMPAIGN_MANAGEMENT = "campaign_management"
    """Campaigns, their runs and contact lists; all of the vendor's surface."""
    CONFIGURATION = "configuration"
    """The application, its clients, flows, trunks and caller IDs."""
    DO_NOT_CALL = "do_not_call"
    """Do-not-call lists and attempt limits, the account's own too, and stopping one number."""
    ACCOUNT_STOP = "account_stop"
    """Stopping every campaign of the account, of its other applications too."""
    PERSONAL_DATA = "personal_data"
    """Erasing a person from the account, and how long it keeps recordings and contacts' attributes."""


@dataclass(frozen=True, slots=True)
class ApiClient:
    """An API client of an application, without its secret."""

    id: str
    iid: str
    account_id: str
    name: str
    scopes: frozenset[str]
    require_jti: bool
    """Each of its tokens serves one request."""
    created_at: datetime
    revoked_at: datetime | None
    previous_valid_until: datetime | None
    """Until when the secret before the last rotation is good too; None when it no longer is."""


@dataclass(frozen=True, slots=True)
class CallingWindow:
    """One weekly window in which a person may be called, in the person's own zone."""

    weekday: int
    """0 = Monday … 6 = Sunday, as ``datetime.weekday``."""
    start: time
    """Inclusive."""
    end: time
    """Exclusive; ``time.max`` stands for midnight at the end of the day. Before ``start``: on the next day."""


@dataclass(frozen=True, slots=True)
class DayWindow:
    """One window of a single date, ends as those of a :class:`CallingWindow`."""

    start: time
    end: time


@dataclass(frozen=True, slots=True)
class DateException:
    """What holds on one calendar date instead of the weekly windows; it overrules the campaign's holidays too.

    Nothing else reaches into the date: a window of the evening before ends at midnight.
    """

    on: date
    windows: tuple[DayWindow, ...] = ()
    """None = closed."""
    note: str = ""


class AtClosing(StrEnum):
    """What becomes of people who could not be reached when calling hours close for the day."""

    HOLD = "hold"
    """They wait for the next opening."""
    PAUSE = "pause"
    """The run pauses by itself once hours are closed for everybody who is due; a person resumes it."""
    EXPIRE = "expire"
    """They are done."""


@dataclass(frozen=True, slots=True)
class CallingHours:
    """When people may be called. No window = never (fail closed)."""

    windows: tuple[CallingWindow, ...]
    zone: str
    """IANA zone of the campaign: used where neither the contact nor its number says one."""
    frequency: str = "WEEKLY"
    """As sent (``WEEKLY``/``DAILY``/``CUSTOM``); windows always apply on their own weekday, the strictest reading."""
    exceptions: tuple[DateException, ...] = ()
    """At most one a date."""
    holidays: tuple[str, ...] = ()
    """Calendars, e.g. ``US`` or ``DE-BY``, on whose dates nobody is called."""
    rule_pack: str | None = None
    """``us``, or ``us@2026-11`` once a run has begun; None = nothing but these hours."""
    at_closing: AtClosing = AtClosing.HOLD


class RetryOrder(StrEnum):
    """Who comes first where first tries and retries are due."""

    AFTER_FIRST_TRIES = "after_first_tries"
    """Nobody is tried again while somebody who was never tried may be dialed."""
    WHEN_DUE = "when_due"
    """A retry that is due comes before first tries."""


@dataclass(frozen=True, slots=True)
class RetryRule:
    """What follows an attempt that ended in one way, instead of what the campaign says for all."""

    disposition: Disposition
    most: int | None = None
    """Retries of a contact after attempts that ended so, 0 = none; None: as many as its attempts allow, which is never
    passed."""
    seconds: int | None = None
    """The least time to the next attempt; None: the campaign's, or none where the next window is waited for."""
    next_window: bool = False
    """Wait until calling hours have ended and begun again."""
    other_number: bool = False
    """Turn to another number of the contact; who has no other is called at the same again."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """When a run pauses itself: so large a share of its last attempts has failed."""

    attempts: int = 40
    """Of this many that have ended since the run was started or resumed."""
    share: float = 0.8
    """More than 0, at most 1."""


@dataclass(frozen=True, slots=True)
class OwnRules:
    """Dialing rules that the vendor's wire has no words for; a change by that wire leaves them as they are."""

    retry_rules: tuple[RetryRule, ...] = ()
    """At most one of each disposition."""
    retry_order: RetryOrder = RetryOrder.AFTER_FIRST_TRIES
    breaker: Breaker | None = Breaker()
    """None: the run never pauses itself."""
    detection: DetectionTimings = USUAL_TIMINGS
    """Counts where answering machines are detected."""
    review: ReviewShares = NO_REVIEW
    """Too."""

    def after(self, disposition: Disposition) -> RetryRule | None:
        """Return the rule for attempts that ended so; None: there is none, the campaign's own holds."""
        return next((rule for rule in self.retry_rules if rule.disposition is disposition), None)


@dataclass(frozen=True, slots=True)
class DialingRules:
    """What a run dials by; a snapshot of the campaign taken at start, so retries equal first tries."""

    caller_id: str
    """E.164; selects the trunk."""
    calling_hours: CallingHours
    order: DialingOrder
    max_attempts: int
    """1–100 per contact."""
    retry_seconds: int
    """Between attempts of one contact."""
    ring_seconds: int
    """5–120."""
    machine_detection: MachineDetection = MachineDetection.NO
    own: OwnRules = OwnRules()


@dataclass(frozen=True, slots=True)
class Trunk:
    """A SIP trunk of an application."""

    id: str
    iid: str
    name: str
    host: str
    port: int
    """0 = ask DNS for it (SRV, RFC 3263)."""
    transport: Transport
    username: str | None
    password: str | None = field(repr=False)
    from_domain: str | None
    number_format: NumberFormat
    number_prefix: str
    """Put before the written number, e.g. ``9``."""
    caller_ids: tuple[str, ...]
    max_channels: int
    calls_per_second: float


@dataclass(frozen=True, slots=True)
class Flow:
    """What an answered call hears."""

    id: str
    iid: str
    name: str
    duration_seconds: float
    """Of all its recordings together; texts that are spoken are not in it."""
    document: Mapping[str, Any]
    """As its author wrote it, see ``core.flow_document``."""


@dataclass(frozen=True, slots=True)
class DncList:
    """A do-not-call list."""

    id: str
    iid: str | None
    """The application whose campaigns may name it; None = the account's own, which counts for all of them."""
    name: str
    numbers_count: int
    created_at: datetime


class DncSource(StrEnum):
    """Where an entry of a do-not-call list comes from."""

    OPERATOR = "operator"
    """Somebody put it there, by a command or the API."""
    KEY = "key"
    """The called person pressed a key."""
    AGENT = "agent"
    """The called person told an agent."""
    STOP = "stop"
    """Somebody stopped the number."""
    ERASURE = "erasure"
    """The person of the number is being erased; where a hash stands in place of the number: whoever had it erased asked
    that it is never called."""
    UNKNOWN = "unknown"
    """It was there before sources were written down."""


OPT_OUTS = frozenset({DncSource.KEY, DncSource.AGENT})
"""Sources that are the called person's own word."""


@dataclass(frozen=True, slots=True)
class DncEntry:
    """A number that must not be called."""

    phone: str
    source: DncSource
    reason: str
    added_by: str
    added_at: datetime
    expires_at: datetime | None
    """None = never."""


@dataclass(frozen=True, slots=True)
class CampaignSchedule:
    """A campaign's schedule, and where it stands."""

    schedule: Schedule
    enabled: bool
    version: int
    """Raised by every change."""
    next_at: datetime | None
    """Its next occurrence; None when none is left or it is off."""
    ends_at: datetime
    stopped_at: datetime | None
    """When a stop switched it off, as long as nothing has been started since."""
    updated_at: datetime

    @property
    def upcoming(self) -> bool:
        """Whether it will start the campaign again."""
        return self.enabled and self.next_at is not None


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign's definition, with its latest run if it ever ran, and its schedule if it ever had one."""

    id: str
    iid: str
    account_id: str
    name: str
    description: str
    priority: int
    """1–5, higher is more important."""
    mode: DialingMode
    rules: DialingRules
    flow_id: str | None
    flow_name: str | None
    list_ids: tuple[str, ...]
    list_names: tuple[str, ...]
    dnc_list_id: str | None
    dnc_list_name: str | None
    state: CampaignState
    api_version: int
    """Version of the wire that created it (1 or 2); answers keep its shape."""
    queue_name: str | None
    max_skips: int | None
    created_at: datetime
    updated_at: datetime
    run: Run | None = None
    """Latest run."""
    schedule: CampaignSchedule | None = None
    courtesy_flow_id: str | None = None
    """What whoever answers a call hears that we have cancelled; None: they are hung up on at once."""
    courtesy_flow_name: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a campaign."""

    id: int
    instance_id: str
    """``cid-…``; the wire's ``campaignInstanceId``."""
    campaign_id: str
    account_id: str
    iid: str
    state: RunState
    epoch: int
    """Raised by every start, pause, resume and stop; a permit serves one epoch only."""
    rules: DialingRules
    trunk_id: str
    flow_id: str | None
    max_concurrent_calls: int | None
    calls_per_second: float | None
    started_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    loaded: bool
    """All contacts of its lists are run contacts; before that the run cannot complete."""
    courtesy_flow_id: str | None = None
    """The campaign's, as it was at the start."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to reach one number."""

    id: str
    """uuid4 hex, lower case: the engine's channel id. Fixed length, since Asterisk's uniqueness test is a
    case-insensitive prefix test (measured on 22.10.1)."""
    run_id: int
    campaign_id: str
    account_id: str
    contact_id: int
    phone: str
    caller_id: str
    trunk_id: str
    engine_id: str
    node_id: str
    epoch: int
    number: int
    """1 for the first try of this run contact."""
    state: AttemptState
    disposition: Disposition | None = None
    cause: int | None = None
    """Q.850 cause."""
    sip_code: int | None = None
    """Final SIP status, in full."""
    reserved_at: datetime | None = None
    dialed_at: datetime | None = None
    ringing_at: datetime | None = None
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    detection: Detection | None = None
    """Who had answered, where that was to be found out."""
