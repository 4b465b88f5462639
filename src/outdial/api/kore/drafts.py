"""From the vendor's bodies to the project's own values; what is wrong is named, all at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from outdial.api.kore.campaign_shapes import MODES, SECONDS_PER_MINUTE
from outdial.api.kore.door import no_sms
from outdial.api.kore.requests import (
    AddContactsBody,
    AgentlessUpdateV2,
    AgentlessV1,
    AgentlessV2,
    CampaignBody,
    CampaignBodyV2,
    CampaignsBody,
    ContactBody,
    ContactListBody,
    Filters,
    PreviewV1,
    PreviewV2,
    ProgressiveV1,
    ProgressiveV2,
    QueuedV1,
    QueuedV2,
    SortBy,
    Strategy,
)
from outdial.api.problems import parse
from outdial.core.campaign import shown_as
from outdial.core.errors import InvalidInputError
from outdial.core.machine import MachineDetection
from outdial.core.model import CallingHours, DialingOrder, DialingRules
from outdial.services.campaigns import CampaignDraft, CampaignOrder, CampaignSearch
from outdial.services.contact_lists import ContactDraft, checked

_BODIES: Final[Mapping[tuple[int, str], type[CampaignBody]]] = {
    (1, "Agentless"): AgentlessV1,
    (1, "Progressive"): ProgressiveV1,
    (1, "Preview"): PreviewV1,
    (2, "Agentless"): AgentlessV2,
    (2, "Progressive"): ProgressiveV2,
    (2, "Preview"): PreviewV2,
}
_UPDATES: Final[Mapping[tuple[int, str], type[CampaignBody]]] = {**_BODIES, (2, "Agentless"): AgentlessUpdateV2}
DEFAULT_PAGE: Final = 50
"""Campaigns in one answer unless told, as in the vendor's samples."""
_SAY_WHEN: Final = (
    "`schedule.isSchedulingEnabled` cannot be true here, since nothing says when: send false, then set the schedule "
    "with `POST …/campaign/schedule?enableSchedule=true&campaignName=…`."
)
_ORDERS: Final = {
    "name": CampaignOrder.NAME,
    "createdAt": CampaignOrder.CREATED_AT,
    "updatedAt": CampaignOrder.UPDATED_AT,
}


def campaign_draft(document: Any, *, version: int, region: str | None) -> CampaignDraft:
    """Return the campaign that a create asks for.

    Raises InvalidInputError, also for a campaign that wants to be scheduled and does not say when; NotBuiltError for
    SMS.
    """
    return _draft(document, _BODIES, version=version, region=region, scheduled=False)


def updated_draft(document: Any, *, version: int, region: str | None, scheduled: bool) -> CampaignDraft:
    """Return what an update makes of a campaign; ``scheduled``: it has a schedule already. Raises as
    :func:`campaign_draft`."""
    return _draft(document, _UPDATES, version=version, region=region, scheduled=scheduled)


def _draft(
    document: Any,
    bodies: Mapping[tuple[int, str], type[CampaignBody]],
    *,
    version: int,
    region: str | None,
    scheduled: bool,
) -> CampaignDraft:
    if isinstance(document, dict) and document.get("campaignType") == "sms":
        raise no_sms()
    body = parse(_body_of(document, bodies, version), document, context={"region": region})
    if body.schedule is not None and body.schedule.is_scheduling_enabled and not scheduled:
        raise InvalidInputError([_SAY_WHEN])
    return CampaignDraft(
        name=body.name,
        description=body.description,
        list_names=tuple(body.contact_lists),
        dnc_list_name=None if body.dnc_lists is None else body.dnc_lists.name,
        priority=int(body.priority),
        mode=MODES[body.dialing_mode],
        rules=_rules(body.dialing_strategy, _detection(body)),
        flow_name=body.experience_flow_name if isinstance(body, AgentlessV1 | AgentlessUpdateV2) else None,
        queue_name=body.queue_name if isinstance(body, QueuedV1 | QueuedV2) else None,
        max_skips=body.max_skips if isinstance(body, PreviewV1 | PreviewV2) else None,
        api_version=version,
        keeps_detection=isinstance(body, AgentlessUpdateV2) and body.enable_machine_detect is None,
    )


def campaign_search(document: Any) -> CampaignSearch:
    """Return which campaigns a listing asks for; raise InvalidInputError, and NotBuiltError for SMS."""
    body = parse(CampaignsBody, document)
    if body.type == "sms":
        raise no_sms()
    limit = DEFAULT_PAGE if body.limit is None else body.limit
    filters = body.filters or Filters()
    return CampaignSearch(
        # the samples send a skip of 0 and a page
        skip=body.skip or ((body.page or 1) - 1) * limit,
        limit=limit,
        created_from=body.start_date,
        created_to=body.end_date,
        standings=frozenset().union(*map(shown_as, filters.status)) if filters.status else None,
        priorities=frozenset(filters.priority) if filters.priority else None,
        modes=frozenset(MODES[mode] for mode in filters.dialing_mode) if filters.dialing_mode else None,
        order=_order(document, body.sort_by),
    )


def _order(document: Any, sort_by: SortBy | None) -> tuple[tuple[CampaignOrder, bool], ...]:
    """Return the keys to sort by, in the order in which the request has them."""
    if sort_by is None:
        return ()
    directions = {"name": sort_by.name, "createdAt": sort_by.created_at, "updatedAt": sort_by.updated_at}
    return tuple(
        (_ORDERS[key], directions[key] == "desc") for key in document["sortBy"] if directions.get(key) is not None
    )


def _body_of(document: Any, bodies: Mapping[tuple[int, str], type[CampaignBody]], version: int) -> type[CampaignBody]:
    """Return the model for the document's dialing mode, since each mode requires other fields."""
    mode = document.get("dialingMode") if isinstance(document, dict) else None
    # without a mode that exists, whatever else is wrong is still named
    fallback = CampaignBody if version == 1 else CampaignBodyV2
    return bodies.get((version, mode), fallback) if isinstance(mode, str) else fallback


def _detection(body: CampaignBody) -> MachineDetection:
    if isinstance(body, AgentlessUpdateV2):
        return MachineDetection(body.enable_machine_detect or "no")
    if isinstance(body, AgentlessV1 | QueuedV1) and body.enable_machine_detect:
        return MachineDetection.DETECT
    return MachineDetection.NO


def _rules(strategy: Strategy, detection: MachineDetection) -> DialingRules:
    hours = strategy.calling_hours
    return DialingRules(
        caller_id=strategy.caller_id.phone_number,
        calling_hours=CallingHours(
            windows=tuple(day.window for day in hours.days), zone=hours.timezone, frequency=hours.frequency
        ),
        order=DialingOrder(strategy.dialing_order.lower()),
        max_attempts=strategy.max_attempts_per_record,
        retry_seconds=strategy.default_retry_period * SECONDS_PER_MINUTE,
        ring_seconds=strategy.max_ring_time,
        machine_detection=detection,
    )


def contact_list_body(document: Any, *, version: int) -> ContactListBody:
    """Return what a contact list's creation asks for; raise InvalidInputError.

    The sample of v1 writes ``name1`` where its table says ``name``: v1 takes either.
    """
    if version == 1 and isinstance(document, dict) and "name" not in document and "name1" in document:
        document = {**document, "name": document["name1"]}
    return parse(ContactListBody, document)


@dataclass(frozen=True, slots=True)
class ContactBatch:
    """Contacts to add to a list, and why others in the same request cannot be."""

    list_name: str
    drafts: tuple[ContactDraft, ...]
    problems: tuple[str, ...]


def contact_batch(document: Any, *, region: str | None) -> ContactBatch:
    """Return the contacts of a request, the good ones and what is wrong with the others.

    Raises InvalidInputError when the request itself is wrong or none of its contacts is any good.
    """
    body = parse(AddContactsBody, document)
    drafts: list[ContactDraft] = []
    problems: list[str] = []
    for index, item in enumerate(body.data):
        try:
            drafts.append(_contact_draft(item, index, region))
        except InvalidInputError as error:
            problems += error.problems
    if not drafts:
        raise InvalidInputError(problems)
    return ContactBatch(list_name=body.contact_list_name, drafts=tuple(drafts), problems=tuple(problems))


def _contact_draft(item: Any, index: int, region: str | None) -> ContactDraft:
    body = parse(ContactBody, item, context={"region": region}, at=f"data[{index}]")
    draft = ContactDraft(
        phone=body.phone_number,
        time_zone=body.time_zone,
        unique_id=body.unique_id,
        priority=body.contact_priority or 0,
        attributes=body.model_extra or {},
    )
    try:
        # asked here too, where the place in the request is known
        checked(draft, default_region=region)
    except InvalidInputError as error:
        raise InvalidInputError(
            [f"`data[{index}]` cannot be stored: {problem}." for problem in error.problems]
        ) from None
    return draft
