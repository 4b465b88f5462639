"""Campaigns as the vendor's surface answers them: the documented keys, in the documented order."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Generic

import msgspec
from msgspec import UNSET, UnsetType

from outdial.api.kore import hours
from outdial.api.kore.wire import Data, timestamp
from outdial.core.calling_hours import apart_at_midnight
from outdial.core.campaign import wire_status
from outdial.core.machine import MachineDetection
from outdial.core.model import Campaign, DialingMode, DialingRules
from outdial.core.schedule import Recurrence

SECONDS_PER_MINUTE: Final = 60
MODES: Final = {
    "Agentless": DialingMode.AGENTLESS,
    "Progressive": DialingMode.PROGRESSIVE,
    "Preview": DialingMode.PREVIEW,
}
"""Dialing modes by their names on the wire."""
_MODE_NAMES: Final = {mode: name for name, mode in MODES.items()}


class DncListShape(msgspec.Struct, frozen=True):
    """A campaign's DNC list."""

    id: str
    name: str


class CallerIdShape(msgspec.Struct, frozen=True, rename="camel"):
    """The number people see."""

    phone_number: str


class DayShape(msgspec.Struct, frozen=True):
    """One window of calling hours."""

    start: str
    end: str
    day: str


class HoursShape(msgspec.Struct, frozen=True):
    """When people may be called."""

    frequency: str
    days: list[DayShape]
    timezone: str


class StrategyShape(msgspec.Struct, frozen=True, rename="camel"):
    """How a campaign dials."""

    caller_id: CallerIdShape
    calling_hours: HoursShape
    dialing_order: str
    max_attempts_per_record: int
    default_retry_period: int
    max_ring_time: int
    use_system_mappings: bool | UnsetType = UNSET


class ScheduleShape(msgspec.Struct, frozen=True, rename="camel"):
    """Whether the campaign will run by itself."""

    is_scheduling_enabled: bool
    is_recurrence_enabled: bool


class CreatedCampaign(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A campaign in the answer of its creation."""

    name: str
    lname: str
    description: str
    dnc_lists: DncListShape | UnsetType = UNSET
    priority: str
    dialing_mode: str
    dialing_strategy: StrategyShape
    experience_flow: str | UnsetType = UNSET
    status: str
    max_skips: int | UnsetType = UNSET
    is_filters_enabled: bool | UnsetType = UNSET
    created_at: str
    updated_at: str
    id: str
    contact_lists: list[str]
    enable_machine_detect: bool | UnsetType = UNSET


class CampaignShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A campaign in the answers of get and delete."""

    id: str = msgspec.field(name="_id")
    name: str
    lname: str
    description: str
    dnc_lists: DncListShape | UnsetType = UNSET
    priority: str
    dialing_mode: str
    dialing_strategy: StrategyShape
    experience_flow: str | UnsetType = UNSET
    status: str
    max_skips: int | UnsetType = UNSET
    is_filters_enabled: bool | UnsetType = UNSET
    created_at: str
    updated_at: str
    schedule: ScheduleShape
    campaign_instance_id: str | UnsetType = UNSET
    contact_lists: list[str]
    enable_machine_detect: bool | UnsetType = UNSET


class UpdatedCampaign(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A campaign in the answer of its update, v1."""

    name: str
    lname: str
    description: str
    dnc_lists: DncListShape | UnsetType = UNSET
    priority: str
    dialing_mode: str
    dialing_strategy: StrategyShape
    experience_flow: str | UnsetType = UNSET
    status: str
    max_skips: int | UnsetType = UNSET
    is_filters_enabled: bool | UnsetType = UNSET
    created_at: str
    updated_at: str
    schedule: ScheduleShape
    id: str
    contact_lists: list[str]
    enable_machine_detect: bool | UnsetType = UNSET


class UpdatedAnswer(msgspec.Struct, Generic[Data], frozen=True):
    """The envelope of an update: its id stands beside the campaign too."""

    status: str
    message: str
    id: str
    data: Data


class ListedCampaign(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A campaign among others."""

    id: str = msgspec.field(name="_id")
    name: str
    description: str
    dnc_lists: DncListShape | UnsetType = UNSET
    priority: str
    dialing_mode: str
    experience_flow: str | UnsetType = UNSET
    status: str
    is_filters_enabled: bool | UnsetType = UNSET
    created_at: str
    updated_at: str
    campaign_instance_updated_at: str
    schedule: ScheduleShape
    campaign_instance_id: str | UnsetType = UNSET
    connection: str
    contact_lists: list[str]


class PreviewId(msgspec.Struct, frozen=True, rename="camel"):
    """The id of a new preview campaign, v1."""

    camp_id: str


class CreatedPreviewV1(msgspec.Struct, frozen=True):
    """The answer of creating a preview campaign with v1, which is unlike all others."""

    status: str
    message: str
    id: str
    data: PreviewId


def created_campaign(campaign: Campaign, version: int) -> CreatedCampaign:
    """Return a new campaign; the vendor goes on building it after the answer, so clients know it as Preparing."""
    return CreatedCampaign(**_fields(campaign, version), status="Preparing", id=campaign.id)


def campaign_shape(campaign: Campaign, version: int) -> CampaignShape:
    """Return a campaign with the status of its latest run."""
    return CampaignShape(
        **_fields(campaign, version),
        status=wire_status(campaign),
        id=campaign.id,
        schedule=_schedule(campaign),
        campaign_instance_id=UNSET if campaign.run is None else campaign.run.instance_id,
    )


def updated_campaign(campaign: Campaign, version: int) -> UpdatedAnswer[UpdatedCampaign] | UpdatedAnswer[CampaignShape]:
    """Return the answer of an update: v1 calls the id ``id`` within the campaign, v2 ``_id``."""
    message = f"Campaign {campaign.name} details updated successfully"
    if version > 1:
        return UpdatedAnswer("success", message, campaign.id, campaign_shape(campaign, version))
    updated = UpdatedCampaign(
        **_fields(campaign, version),
        status=wire_status(campaign),
        id=campaign.id,
        schedule=_schedule(campaign),
    )
    return UpdatedAnswer("success", message, campaign.id, updated)


def listed_campaign(campaign: Campaign, version: int) -> ListedCampaign:
    """Return a campaign as one of many."""
    run, shared = campaign.run, _fields(campaign, version)
    return ListedCampaign(
        **{name: value for name, value in shared.items() if name in ListedCampaign.__struct_fields__},
        id=campaign.id,
        status=wire_status(campaign),
        campaign_instance_updated_at=timestamp(campaign.updated_at if run is None else run.updated_at),
        schedule=_schedule(campaign),
        campaign_instance_id=UNSET if run is None else run.instance_id,
        connection=campaign.queue_name or campaign.flow_name or "",
    )


def _fields(campaign: Campaign, version: int) -> dict[str, Any]:
    """Return what every answer about a campaign holds; what its version or mode does not have is unset."""
    second, agentless = version > 1, campaign.mode is DialingMode.AGENTLESS
    detects = campaign.rules.machine_detection is not MachineDetection.NO
    return {
        "name": campaign.name,
        "lname": campaign.name.lower(),
        "description": campaign.description,
        "dnc_lists": _dnc_list(campaign),
        "priority": str(campaign.priority),
        "dialing_mode": _MODE_NAMES[campaign.mode],
        "dialing_strategy": _strategy(campaign.rules, second=second),
        "experience_flow": UNSET if campaign.flow_id is None else campaign.flow_id,
        "max_skips": UNSET if campaign.max_skips is None else campaign.max_skips,
        "is_filters_enabled": False if second else UNSET,
        "created_at": timestamp(campaign.created_at),
        "updated_at": timestamp(_updated_at(campaign)),
        "contact_lists": list(campaign.list_names),
        "enable_machine_detect": detects if agentless or not second else UNSET,
    }


def _schedule(campaign: Campaign) -> ScheduleShape:
    schedule = campaign.schedule
    if schedule is None or not schedule.upcoming:
        return ScheduleShape(is_scheduling_enabled=False, is_recurrence_enabled=False)
    recurs = schedule.schedule.recurrence is not Recurrence.ONCE
    return ScheduleShape(is_scheduling_enabled=True, is_recurrence_enabled=recurs)


def _updated_at(campaign: Campaign) -> datetime:
    """Return when the campaign, its latest run or its schedule changed last."""
    parts = (campaign, campaign.run, campaign.schedule)
    return max(part.updated_at for part in parts if part is not None)


def _dnc_list(campaign: Campaign) -> DncListShape | UnsetType:
    if campaign.dnc_list_id is None or campaign.dnc_list_name is None:
        return UNSET
    return DncListShape(campaign.dnc_list_id, campaign.dnc_list_name)


def _strategy(rules: DialingRules, *, second: bool) -> StrategyShape:
    return StrategyShape(
        caller_id=CallerIdShape(rules.caller_id),
        calling_hours=HoursShape(
            frequency=rules.calling_hours.frequency,
            days=[
                DayShape(hours.write_time(window.start), hours.write_time(window.end), hours.DAYS[window.weekday])
                for window in apart_at_midnight(rules.calling_hours.windows)
            ],
            timezone=rules.calling_hours.zone,
        ),
        dialing_order=rules.order.value.upper(),
        max_attempts_per_record=rules.max_attempts,
        default_retry_period=rules.retry_seconds // SECONDS_PER_MINUTE,
        max_ring_time=rules.ring_seconds,
        use_system_mappings=False if second else UNSET,
    )
