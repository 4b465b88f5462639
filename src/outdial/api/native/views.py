"""What outdial's own surface answers: the project's words, times as ISO 8601 UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from outdial.api.kore.wire import ErrorItem
from outdial.api.native.detection_views import DetectionView, detection_view
from outdial.core.campaign import standing
from outdial.core.ids import contact_id
from outdial.core.model import (
    ApiClient,
    Application,
    Attempt,
    Campaign,
    ConnectedCalls,
    DncEntry,
    DncList,
    Flow,
    RingingCalls,
    Run,
    Trunk,
)
from outdial.services.acknowledging import NodeOutcome
from outdial.services.caller_ids import CallerId
from outdial.services.dnc import DncChange
from outdial.services.run_views import RunMove, RunView
from outdial.services.schedules import ScheduleView
from outdial.services.stop import StoppedRun, StoppedSchedule, StopReport

Item = TypeVar("Item")


class View(msgspec.Struct, frozen=True, rename="camel"):
    """Base of all answers."""


class Failure(View, frozen=True):
    """The answer of every failure."""

    errors: list[ErrorItem]
    """One entry per thing that is wrong."""
    error_code: str
    """Which failure it is; the catalogue lists them."""
    retryable: bool
    """Whether asking again can help; `Retry-After` says when."""
    request_id: str


class All(View, Generic[Item], frozen=True):
    """All of them."""

    results: list[Item]


class Part(View, Generic[Item], frozen=True):
    """Some of many."""

    results: list[Item]
    next: str | None
    """Value of `after` for those that follow; null: these are the last."""


class Some(View, Generic[Item], frozen=True):
    """One page of many."""

    results: list[Item]
    skip: int
    limit: int
    total: int


class ApplicationView(View, frozen=True):
    """An application."""

    iid: str
    name: str
    account_id: str
    account_name: str
    max_concurrent_calls: int | None


class ClientView(View, frozen=True):
    """An API client."""

    id: str
    name: str
    scopes: list[str]
    require_jti: bool
    created_at: datetime
    revoked_at: datetime | None
    previous_secret_valid_until: datetime | None


class ClientSecretView(View, frozen=True):
    """An API client and its new secret, shown once, here."""

    client: ClientView
    secret: str


class DncListView(View, frozen=True):
    """A do-not-call list."""

    id: str
    name: str
    account_wide: bool
    """It counts for every campaign of the account, named or not."""
    numbers_count: int
    created_at: datetime


class DncNumberView(View, frozen=True):
    """A number on a do-not-call list."""

    phone_number: str
    source: str
    """Where the entry comes from: operator, key, agent, stop, or unknown."""
    reason: str
    added_by: str
    added_at: datetime
    expires_at: datetime | None


class DncChangeView(View, frozen=True):
    """What became of the numbers."""

    changed_count: int
    unchanged_count: int
    problems: list[str]
    """A sentence for each number that could not be read, with its place."""


class FlowView(View, frozen=True):
    """A flow."""

    id: str
    name: str
    duration_seconds: float
    """Of all its recordings together; texts that are spoken are not in it."""
    document: dict[str, Any]
    """What its author wrote: its steps, and the sounds they play."""


class TrunkView(View, frozen=True):
    """A trunk, without its password."""

    id: str
    name: str
    host: str
    port: int
    transport: str
    username: str | None
    has_password: bool
    from_domain: str | None
    number_format: str
    number_prefix: str
    caller_ids: list[str]
    max_channels: int
    calls_per_second: float


class CallerIdView(View, frozen=True):
    """A number calls may come from."""

    phone_number: str
    trunk_id: str
    trunk_name: str
    max_concurrent_calls: int | None
    """Calls at once with it; null: as many as its trunk takes."""
    calls_per_second: float | None
    calls_per_day: int | None
    """In any 24 hours."""


class CampaignView(View, frozen=True):
    """A campaign, in short; the vendor's surface has the whole definition."""

    id: str
    name: str
    state: str
    """`preparing`, `ready`, `scheduled`, `active`, `paused`, `stopping`, `stopped` or `completed`."""
    mode: str
    instance_id: str | None
    """Its latest run."""
    created_at: datetime
    updated_at: datetime


class RunSummary(View, frozen=True):
    """A run."""

    instance_id: str
    campaign_id: str
    state: str
    epoch: int
    started_at: datetime
    updated_at: datetime
    ended_at: datetime | None


class MoveView(View, frozen=True):
    """One change of a run."""

    at: datetime
    before: str | None
    after: str
    epoch: int
    actor: str
    reason: str


class EngineStopView(View, frozen=True):
    """What the stop did at one engine."""

    engine_id: str
    fenced_at: datetime | None
    quiesced_at: datetime | None
    cancelled: int
    hung_up: int


class NodeStopView(View, frozen=True):
    """How one dialer node was accounted for."""

    node_id: str
    name: str
    outcome: NodeOutcome
    at: datetime | None
    """When it had dropped the run, or its lease or its life ended; null: neither has happened."""


class StopReportView(View, frozen=True):
    """What a stop did, step by step, and what it left."""

    instance_id: str
    campaign_id: str
    requested_at: datetime
    requested_by: str
    stopped_at: datetime
    latency_seconds: float
    ringing: RingingCalls
    connected: ConnectedCalls
    engines: list[EngineStopView]
    nodes: list[NodeStopView]
    cancelled_count: int
    """Calls that were cancelled while they rang."""
    retries_cancelled_count: int
    """Contacts that were attempted before and will not be tried again."""
    never_reached_count: int
    """Contacts that were never attempted."""
    connected_count: int
    """Conversations that go on."""


class StopView(View, frozen=True):
    """What a stop did."""

    instance_id: str | None
    """The run that is stopped; null: the campaign never ran, only its schedule was switched off."""
    state: str
    stopped_at: datetime
    report: StopReportView | None
    """Null where nothing was running."""


class RunDetail(View, frozen=True):
    """A run, whole. Counts are of one instant."""

    run: RunSummary
    contacts: dict[str, int]
    """How many contacts are in which state."""
    done: dict[str, int]
    """How many of those that are done are so for which reason."""
    dispositions: dict[str, int]
    """How many attempts ended how."""
    live_attempts: dict[str, int]
    placed_count: int
    answered_count: int
    held_by: str | None
    """What an active run has waited for in the last three seconds: run, trunk, application, caller_id or caller_id_day,
    or turn, when it is another run's on the same trunk; null: nothing."""
    history: list[MoveView]
    stop_report: StopReportView | None


class AttemptView(View, frozen=True):
    """One try to reach one number."""

    id: str
    contact_id: str
    phone_number: str
    caller_id: str
    number: int
    """1 for the first try of this contact."""
    state: str
    disposition: str | None
    cause: int | None
    sip_code: int | None
    reserved_at: datetime | None
    dialed_at: datetime | None
    ringing_at: datetime | None
    answered_at: datetime | None
    ended_at: datetime | None
    machine_detection: DetectionView | None
    """null: it was not to be found out, or the call ended before."""


class OccurrenceView(View, frozen=True):
    """What became of one occurrence."""

    due_at: datetime
    outcome: str
    instance_id: str | None
    reason: str
    at: datetime


class ScrubView(View, frozen=True):
    """The latest comparison with the do-not-call lists."""

    at: datetime
    contacts_count: int
    dnc_count: int


class CampaignScheduleView(View, frozen=True):
    """A campaign's schedule and what became of it."""

    enabled: bool
    zone: str | None
    start: str | None
    """Wall clock of the zone."""
    end: str | None
    recurrence: str | None
    every: int | None
    weekdays: list[int]
    """0 = Monday … 6 = Sunday."""
    next_at: datetime | None
    stopped_at: datetime | None
    occurrences: list[OccurrenceView]
    scrub: ScrubView | None


def application_view(application: Application) -> ApplicationView:
    """Return an application's view."""
    return ApplicationView(
        iid=application.iid,
        name=application.name,
        account_id=application.account_id,
        account_name=application.account_name,
        max_concurrent_calls=application.max_concurrent_calls,
    )


def client_view(client: ApiClient) -> ClientView:
    """Return a client's view."""
    return ClientView(
        id=client.id,
        name=client.name,
        scopes=sorted(client.scopes),
        require_jti=client.require_jti,
        created_at=client.created_at,
        revoked_at=client.revoked_at,
        previous_secret_valid_until=client.previous_valid_until,
    )


def dnc_list_view(dnc_list: DncList) -> DncListView:
    """Return a list's view."""
    return DncListView(
        id=dnc_list.id,
        name=dnc_list.name,
        account_wide=dnc_list.iid is None,
        numbers_count=dnc_list.numbers_count,
        created_at=dnc_list.created_at,
    )


def dnc_number_view(entry: DncEntry) -> DncNumberView:
    """Return an entry's view."""
    return DncNumberView(
        phone_number=entry.phone,
        source=entry.source,
        reason=entry.reason,
        added_by=entry.added_by,
        added_at=entry.added_at,
        expires_at=entry.expires_at,
    )


def dnc_change_view(change: DncChange) -> DncChangeView:
    """Return a change's view."""
    return DncChangeView(changed_count=change.changed, unchanged_count=change.unchanged, problems=list(change.problems))


def flow_view(flow: Flow) -> FlowView:
    """Return a flow's view."""
    return FlowView(id=flow.id, name=flow.name, duration_seconds=flow.duration_seconds, document=dict(flow.document))


def trunk_view(trunk: Trunk) -> TrunkView:
    """Return a trunk's view: whether it has a password, never which."""
    return TrunkView(
        id=trunk.id,
        name=trunk.name,
        host=trunk.host,
        port=trunk.port,
        transport=trunk.transport,
        username=trunk.username,
        has_password=trunk.password is not None,
        from_domain=trunk.from_domain,
        number_format=trunk.number_format,
        number_prefix=trunk.number_prefix,
        caller_ids=list(trunk.caller_ids),
        max_channels=trunk.max_channels,
        calls_per_second=trunk.calls_per_second,
    )


def caller_id_view(found: CallerId) -> CallerIdView:
    """Return a caller ID's view."""
    caps = found.caps
    return CallerIdView(
        phone_number=found.phone,
        trunk_id=found.trunk_id,
        trunk_name=found.trunk_name,
        max_concurrent_calls=caps.max_concurrent_calls,
        calls_per_second=caps.calls_per_second,
        calls_per_day=caps.calls_per_day,
    )


def campaign_view(campaign: Campaign) -> CampaignView:
    """Return a campaign's view."""
    return CampaignView(
        id=campaign.id,
        name=campaign.name,
        state=standing(campaign),
        mode=campaign.mode,
        instance_id=None if campaign.run is None else campaign.run.instance_id,
        created_at=campaign.created_at,
        updated_at=campaign.updated_at,
    )


def run_summary(run: Run) -> RunSummary:
    """Return a run's view."""
    return RunSummary(
        instance_id=run.instance_id,
        campaign_id=run.campaign_id,
        state=run.state,
        epoch=run.epoch,
        started_at=run.started_at,
        updated_at=run.updated_at,
        ended_at=run.ended_at,
    )


def run_detail(view: RunView) -> RunDetail:
    """Return a run's view, whole."""
    progress = view.progress
    return RunDetail(
        run=run_summary(progress.run),
        contacts={str(state): count for state, count in progress.contacts.items()},
        done={str(reason): count for reason, count in progress.done.items()},
        dispositions={str(disposition): count for disposition, count in progress.dispositions.items()},
        live_attempts={str(state): count for state, count in progress.live.items()},
        placed_count=progress.placed,
        answered_count=progress.answered,
        held_by=view.held_by,
        history=[_move(move) for move in view.moves],
        stop_report=None if view.report is None else _report(view.report),
    )


def _move(move: RunMove) -> MoveView:
    return MoveView(
        at=move.at, before=move.before, after=move.after, epoch=move.epoch, actor=move.actor, reason=move.reason
    )


def attempt_view(attempt: Attempt) -> AttemptView:
    """Return an attempt's view."""
    return AttemptView(
        id=attempt.id,
        contact_id=contact_id(attempt.contact_id),
        phone_number=attempt.phone,
        caller_id=attempt.caller_id,
        number=attempt.number,
        state=attempt.state,
        disposition=attempt.disposition,
        cause=attempt.cause,
        sip_code=attempt.sip_code,
        reserved_at=attempt.reserved_at,
        dialed_at=attempt.dialed_at,
        ringing_at=attempt.ringing_at,
        answered_at=attempt.answered_at,
        ended_at=attempt.ended_at,
        machine_detection=detection_view(attempt.detection),
    )


def stop_view(stop: StoppedRun | StoppedSchedule) -> StopView:
    """Return a stop's view."""
    instance_id = None if stop.run is None else stop.run.instance_id
    if isinstance(stop, StoppedRun):
        return StopView(instance_id, "stopped", stop.report.stopped_at, _report(stop.report))
    return StopView(instance_id, "stopped", stop.stopped_at, None)


def _report(report: StopReport) -> StopReportView:
    return msgspec.convert(report, StopReportView, from_attributes=True)


def schedule_view(view: ScheduleView) -> CampaignScheduleView:
    """Return a schedule's view."""
    planned = view.campaign.schedule
    schedule = None if planned is None else planned.schedule
    return CampaignScheduleView(
        enabled=planned is not None and planned.enabled,
        zone=None if schedule is None else schedule.zone,
        start=None if schedule is None else schedule.start.isoformat(sep=" "),
        end=None if schedule is None else schedule.end.isoformat(sep=" "),
        recurrence=None if schedule is None else schedule.recurrence,
        every=None if schedule is None else schedule.every,
        weekdays=[] if schedule is None else list(schedule.weekdays),
        next_at=None if planned is None or not planned.enabled else planned.next_at,
        stopped_at=None if planned is None else planned.stopped_at,
        occurrences=[
            OccurrenceView(
                due_at=one.due_at, outcome=one.outcome, instance_id=one.instance_id, reason=one.reason, at=one.at
            )
            for one in view.occurrences
        ],
        scrub=None
        if view.scrub is None
        else ScrubView(at=view.scrub.at, contacts_count=view.scrub.contacts_count, dnc_count=view.scrub.dnc_count),
    )
