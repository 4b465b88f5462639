"""What the server answers, as frozen values. Fields it may add later are passed over; ``status`` words stay text."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


class Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of what is read from the wire."""


class CallingWindow(msgspec.Struct, frozen=True):
    """One weekly window in which people may be called."""

    day: str
    """``MO TU WE TH FR SA SU``."""
    start: str
    """``9:00 AM``."""
    end: str
    """``6:00 PM``; ``11:59 PM`` means midnight."""


class CallingHours(Answer, frozen=True, kw_only=True):
    """When people may be called, in their own zone where it is known."""

    timezone: str
    """IANA name; for people whose own zone is not known."""
    days: tuple[CallingWindow, ...]
    frequency: str = "WEEKLY"


class CallerId(Answer, frozen=True, kw_only=True):
    """The number people see."""

    phone_number: str


class DialingStrategy(Answer, frozen=True, kw_only=True):
    """How a campaign dials."""

    caller_id: CallerId
    calling_hours: CallingHours
    dialing_order: str
    """``FIFO`` or ``LIFO``."""
    max_attempts_per_record: int
    default_retry_period: int
    """Minutes."""
    max_ring_time: int
    """Seconds."""


class DncList(Answer, frozen=True, kw_only=True):
    """A campaign's do-not-call list."""

    id: str
    name: str


class NumberList(Answer, frozen=True, kw_only=True):
    """A list of numbers that must not be called."""

    id: str
    name: str
    account_wide: bool
    """It counts for every campaign of the account, named or not."""
    numbers_count: int
    created_at: datetime


class AddedNumbers(Answer, frozen=True, kw_only=True):
    """What became of a file of numbers."""

    rows: int
    unreadable_count: int
    """Of them, those of which something could not be read."""
    changed_count: int
    unchanged_count: int
    """On the list already, or twice in the file."""
    problems: tuple[str, ...]
    """A sentence for each row of which something could not be read, the first thousand; and for calls that were placed
    before and may leave yet."""


class ScheduleStanding(Answer, frozen=True, kw_only=True):
    """Whether a campaign will run by itself."""

    is_scheduling_enabled: bool
    is_recurrence_enabled: bool = False


class Campaign(Answer, frozen=True, kw_only=True):
    """A campaign."""

    id: str = msgspec.field(name="_id")
    name: str
    description: str
    priority: str
    """``"1"`` to ``"5"``, the most important."""
    dialing_mode: str
    status: str
    """``Preparing Ready Scheduled Active Paused Stopped Completed``."""
    contact_lists: tuple[str, ...]
    """Their names."""
    created_at: datetime
    updated_at: datetime
    schedule: ScheduleStanding
    campaign_instance_id: str | None = None
    """Its latest run; None when it never ran."""
    dnc_lists: DncList | None = None
    experience_flow: str | None = None
    """Id of its flow."""
    max_skips: int | None = None
    enable_machine_detect: bool | None = None
    connection: str | None = None
    """Name of its queue or flow; in listings only."""
    dialing_strategy: DialingStrategy | None = None
    """None in listings."""


class CampaignStatus(Answer, frozen=True, kw_only=True):
    """What a campaign does now."""

    id: str
    status: str
    name: str


class StartedRun(Answer, frozen=True, kw_only=True):
    """A run that has just begun."""

    status: str
    campaign_instance_id: str
    updated_at: datetime
    total_calls_completed: int
    """Answered calls of the campaign's earlier runs."""


class StoppedRun(Answer, frozen=True, kw_only=True):
    """A run of which no further call can leave."""

    status: str
    campaign_instance_id: str
    """Empty where only a schedule was switched off and the campaign never ran."""
    updated_at: datetime
    """When it was stopped."""


class RunContact(Answer, frozen=True, kw_only=True):
    """One contact's progress in the latest run."""

    phone_number: str
    """Without ``+``."""
    unique_id: str
    dialer_outcome: str
    """``completed`` once it is done, else empty."""
    number_of_attempts_so_far: int
    bot_session_id: str
    bot_outbound_status: str
    """How its last attempt ended."""
    bot_outbound_status_detail: str
    """Why it is done."""
    agent_disposition_codes: tuple[str, ...] = ()


class UsedBy(Answer, frozen=True, kw_only=True):
    """A campaign that refers to a list."""

    id: str
    name: str


class ContactList(Answer, frozen=True, kw_only=True):
    """A contact list."""

    id: str = msgspec.field(name="_id")
    name: str
    description: str
    source: str
    status: str
    total_record_count: int
    is_list_in_use: bool
    """Whether a live run dials from it."""
    campaign_in_use: tuple[UsedBy, ...]
    updated_at: datetime
    created_at: datetime | None = None
    """None in listings."""


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """A person in a contact list."""

    id: str
    phone_number: str
    created_at: datetime
    updated_at: datetime
    attributes: dict[str, Any]
    """All other fields, as they were added."""


class ContactProblem(msgspec.Struct, frozen=True):
    """Why one contact was left out."""

    index: int
    """Which of those given, from 0."""
    sentence: str


class AddedContacts(msgspec.Struct, frozen=True):
    """What became of contacts that were added."""

    sent_count: int
    problems: tuple[ContactProblem, ...]
    """One or more for each contact that was left out. Numbers the list had already are passed over silently."""


class CallBack(Answer, frozen=True, kw_only=True):
    """What became of one call-back that was asked for."""

    campaign_dialing_list_id: str
    status: str
    """``success`` or ``failed``."""
    reason: str = ""
    """Of one that failed: ``time_in_past``, ``time_too_far``, ``contact_not_found``, ``dnc``."""


class ScheduledCampaign(Answer, frozen=True, kw_only=True):
    """A campaign whose schedule has been set or switched off."""

    id: str
    message: str


class Change(Answer, frozen=True, kw_only=True):
    """One thing that alone would alter why a contact is not called."""

    kind: str
    sentence: str
    at: str | None
    """Until when to wait."""
    choices: tuple[str, ...]


class ExplanationStep(Answer, frozen=True, kw_only=True):
    """What one rule, or one thing beside the rules, says of a contact."""

    code: str
    says: str
    """``allows``; ``waits``: not now; ``forbids``: not in this run."""
    sentence: str
    inputs: dict[str, Any]
    versions: dict[str, str]
    until: str | None
    changes: tuple[Change, ...]


class Explanation(Answer, frozen=True, kw_only=True):
    """Why a contact is called at an instant, why not, and when next. Instants are text, UTC with microseconds."""

    campaign_id: str
    instance_id: str | None
    contact_id: str | None
    dialing_list_id: str | None
    phone_number: str
    now: str
    at: str
    dialable: bool | None
    """None: the instant has passed, and ``past`` has what was decided then."""
    decided_by: str | None
    sentence: str
    next_at: str | None
    ahead_count: int | None
    changes: tuple[Change, ...]
    """Each alone would alter it, the smallest first."""
    steps: tuple[ExplanationStep, ...]
    past: tuple[dict[str, Any], ...]
    """What was decided and done before, oldest first."""


class ManualCall(Answer, frozen=True, kw_only=True):
    """What became of the wish to have a contact called now. Instants are text, UTC with microseconds."""

    instance_id: str
    contact_id: str | None
    dialing_list_id: str | None
    phone_number: str
    answer: str
    """``allowed``: it is called as soon as a line is free, before all others; ``put_off``; ``denied``. The last two
    leave the contact as it is, and stand in the history."""
    sentence: str
    decided_by: str | None
    """Code of what does not allow it."""
    inputs: dict[str, Any]
    versions: dict[str, str]
    until: str | None
    next_at: str | None
    """First instant at which the gate lets it through, as far as can be told."""
    ahead_count: int | None


class Fall(Answer, frozen=True, kw_only=True):
    """One step of a waterfall."""

    code: str
    lost_count: int
    left_count: int
    sentence: str
    estimate: bool


class Waterfall(Answer, frozen=True, kw_only=True):
    """From everybody in a run to whoever may be dialed now."""

    instance_id: str
    at: str
    sentence: str
    blocked_by: str | None
    """None: calls may leave."""
    total_count: int
    dialable_count: int
    estimate: bool
    free_lines: int
    live_calls: int
    steps: tuple[Fall, ...]
