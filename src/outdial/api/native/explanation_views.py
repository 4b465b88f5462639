"""What explanations and waterfalls look like on the wire, for the document; they are made elsewhere
(``services.explanation_text``)."""

from __future__ import annotations

from typing import Any

import msgspec

from outdial.api.native.views import View


class ChangeView(View, frozen=True):
    """One thing that alone would alter the answer of a step."""

    kind: str
    """`wait`, `add_time_zone`, `add_state`, `take_off_list`, `remove_limit`, `call_back`, `raise_attempts`,
    `change_retry_rule`, `change_hours`, `start_run`, `resume_run`, `lift_emergency_stop`, `wait_for_call`,
    `start_node`, `raise_cap`, `add_caller_id`."""
    sentence: str
    at: str | None
    """Until when to wait."""
    choices: list[str]
    """Zones, states, lists, limits … with which it would do."""


class ExplanationStepView(View, frozen=True):
    """What one rule, or one thing beside the rules, says."""

    code: str
    """A rule of the gate, or `emergency_stop`, `run_state`, `caller_id`, `contact_state`, `live_call`, `dialer_nodes`,
    `free_lines`, `rate`."""
    says: str
    """`allows`; `waits`: not now; `forbids`: not in this run."""
    sentence: str
    inputs: dict[str, Any]
    """What it looked at."""
    versions: dict[str, str]
    """Of the rule data it read that with."""
    until: str | None
    changes: list[ChangeView]
    """Each alone would alter its answer, the smallest first."""


class PastStepView(View, frozen=True):
    """A row of the contact's history in the run."""

    at: str
    action: str
    before: str | None = msgspec.field(name="from")
    after: str | None = msgspec.field(name="to")
    by: str
    reason: str
    attempt_id: str | None
    phone_number: str | None
    """The number that was called, as the attempt begins, or, of a contact with several, that was decided about."""
    disposition: str | None
    decision: dict[str, Any] | None
    """What the gate said then, with its inputs and versions; an attempt's has the inputs of every rule."""


class ExplanationView(View, frozen=True):
    """Why a contact is called at an instant, why not, and when next."""

    campaign_id: str
    instance_id: str | None
    """null: the campaign has never run."""
    contact_id: str | None
    """null: the contact is not in the run."""
    dialing_list_id: str | None
    phone_number: str
    """Of a contact with several the one that is dialed next."""
    now: str
    """By the database's clock. Instants are UTC with microseconds."""
    at: str
    dialable: bool | None
    """Whether it may be called at `at`; null: that instant has passed."""
    decided_by: str | None
    """Code of the first step that does not allow."""
    sentence: str
    next_at: str | None
    """First instant at which the gate lets it through when nothing else changes; null: never in this run, or nobody can
    tell."""
    ahead_count: int | None
    """Contacts that come before it."""
    changes: list[ChangeView]
    """Of the step that decides."""
    steps: list[ExplanationStepView]
    past: list[PastStepView]
    """Up to `at`, the last 200, oldest first."""


class FallView(View, frozen=True):
    """One step of a waterfall."""

    code: str
    lost_count: int
    left_count: int
    sentence: str
    estimate: bool
    """It was asked of a part of those that are due, and scaled up."""


class WaterfallView(View, frozen=True):
    """From everybody in a run to whoever may be dialed now."""

    instance_id: str
    at: str
    sentence: str
    blocked_by: str | None
    """Code of what keeps calls from leaving; null: they may."""
    total_count: int
    dialable_count: int
    estimate: bool
    free_lines: int
    live_calls: int
    steps: list[FallView]
