"""Campaigns: make, read and delete their definitions. Starting and stopping them is ``services.runs`` and ``stop``."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Final
from uuid import uuid4

from outdial.core import ids
from outdial.core.calling_hours import apart_at_midnight
from outdial.core.errors import BadReferenceError, ConflictError, NotFoundError
from outdial.core.model import LIVE_RUN_STATES, Campaign, DialingMode, DialingRules
from outdial.core.paging import Page
from outdial.services.fields import LONGEST_NAME, name_problems, require
from outdial.store import campaigns as store
from outdial.store import dnc, pre_calls, schedules
from outdial.store.campaigns import CampaignOrder, CampaignSearch, CampaignStatus
from outdial.store.database import Connection, Database

__all__ = [
    "CampaignDraft",
    "CampaignOrder",
    "CampaignSearch",
    "CampaignStatus",
    "clone_campaign",
    "create_campaign",
    "delete_campaign",
    "find_campaign",
    "find_status",
    "get_campaign",
    "list_campaigns",
    "search_campaigns",
    "update_campaign",
]

_COPY: Final = " copy"


@dataclass(frozen=True, slots=True)
class CampaignDraft:
    """A campaign to be made: validated values; lists, flow and DNC list by name, as people know them."""

    name: str
    description: str
    list_names: tuple[str, ...]
    dnc_list_name: str | None
    priority: int
    """1–5, higher is more important."""
    mode: DialingMode
    rules: DialingRules
    flow_name: str | None
    queue_name: str | None
    max_skips: int | None
    api_version: int
    keeps_detection: bool = False
    """An update that says nothing about answering machines: an agentless campaign keeps what it has."""


async def create_campaign(
    database: Database, *, iid: str, account_id: str, draft: CampaignDraft, actor: str
) -> Campaign:
    """Store a campaign, ready to be started.

    Raises BadReferenceError, which names every list, flow and DNC list that does not exist, and NotFoundError when
    the account has no such application. The caller ID is looked up at start: its trunk may be added later.
    """
    async with database.transaction() as connection:
        campaign_id = ids.campaign_id(uuid4())
        row = await _resolve(connection, campaign_id, iid=iid, account_id=account_id, draft=draft)
        if not await store.insert(connection, row, actor=actor):
            raise NotFoundError(f"There is no application {iid} in this account.")
        return await _campaign(connection, iid, row.id)


async def update_campaign(
    database: Database, *, iid: str, campaign_id: str, draft: CampaignDraft, actor: str
) -> Campaign:
    """Give a campaign another definition, whole, and return it; what its runs did stays as it was.

    Raises NotFoundError, ConflictError while a run of it is live, BadReferenceError as :func:`create_campaign`.
    """
    async with database.transaction() as connection:
        # a start locks the row too: it dials either the old definition or the new one
        present = await _campaign(connection, iid, campaign_id, lock=True)
        if present.run is not None and present.run.state in LIVE_RUN_STATES:
            raise ConflictError(
                f"The campaign {present.name!r} cannot be changed while its run is {present.run.state}; stop it first."
            )
        kept = replace(draft, rules=_with_kept(present.rules, draft.rules))
        if draft.keeps_detection and present.mode is DialingMode.AGENTLESS:
            kept = replace(kept, rules=replace(kept.rules, machine_detection=present.rules.machine_detection))
        row = await _resolve(connection, present.id, iid=iid, account_id=present.account_id, draft=kept)
        await store.update(connection, row, changed=_changed(present, row), actor=actor)
        return await _campaign(connection, iid, campaign_id)


def _with_kept(present: DialingRules, wanted: DialingRules) -> DialingRules:
    """Return the new rules with what the vendor's wire cannot say as it was: else an update by somebody who does not
    know of a rule pack would take the law away."""
    old = present.calling_hours
    # the wire splits what goes across midnight: sent back as it was read, it is what it was
    as_read = set(apart_at_midnight(old.windows)) == set(wanted.calling_hours.windows)
    hours = replace(
        wanted.calling_hours,
        windows=old.windows if as_read else wanted.calling_hours.windows,
        exceptions=old.exceptions,
        holidays=old.holidays,
        rule_pack=old.rule_pack,
        at_closing=old.at_closing,
    )
    return replace(wanted, calling_hours=hours, own=present.own)


async def clone_campaign(
    database: Database, *, iid: str, campaign_id: str, name: str | None = None, actor: str
) -> Campaign:
    """Make another campaign of the same definition, ready, without runs and without a schedule; return it.

    Without a name it is called as the first, with "copy" behind. Raises InvalidInputError, NotFoundError.
    """
    if name is not None:
        require(name_problems("name", name))
    async with database.transaction() as connection:
        # locked: what it refers to cannot lose its last campaign meanwhile
        present = await _campaign(connection, iid, campaign_id, lock=True)
        row = store.CampaignRow(**{one.name: getattr(present, one.name) for one in fields(store.CampaignRow)})
        row = replace(row, id=ids.campaign_id(uuid4()), name=_copy_name(present.name) if name is None else name)
        if not await store.insert(connection, row, actor=actor):
            raise NotFoundError(f"There is no application {iid} in this account.")
        await pre_calls.copy(connection, campaign_id, to=row.id)
        await store.copy_courtesy(connection, campaign_id, to=row.id)
        return await _campaign(connection, iid, row.id)


def _copy_name(name: str) -> str:
    return f"{name[: LONGEST_NAME - len(_COPY)]}{_COPY}"


def _changed(present: Campaign, row: store.CampaignRow) -> list[str]:
    """Return the names of what is another now, for the history."""
    return [
        one.name
        for one in fields(row)
        # the version is the wire's that asks, no part of the definition
        if one.name != "api_version" and getattr(present, one.name) != getattr(row, one.name)
    ]


async def _resolve(
    connection: Connection, campaign_id: str, *, iid: str, account_id: str, draft: CampaignDraft
) -> store.CampaignRow:
    lists = await store.contact_lists_named(connection, iid, draft.list_names)
    problems = [f"There is no contact list named {name!r}." for name in draft.list_names if name not in lists]
    flow_id = None
    if draft.flow_name is not None:
        flow_id = await store.flow_named(connection, iid, draft.flow_name)
        if flow_id is None:
            problems.append(f"There is no flow named {draft.flow_name!r}; add it with: outdial flow add.")
    dnc_list_id = None
    if draft.dnc_list_name is not None:
        dnc_list_id = await dnc.dnc_list_id(connection, iid, draft.dnc_list_name)
        if dnc_list_id is None:
            problems.append(f"There is no DNC list named {draft.dnc_list_name!r}; make it with: outdial dnc add.")
    if problems:
        raise BadReferenceError(" ".join(problems))
    return store.CampaignRow(
        id=campaign_id,
        iid=iid,
        account_id=account_id,
        name=draft.name,
        description=draft.description,
        priority=draft.priority,
        mode=draft.mode,
        rules=draft.rules,
        flow_id=flow_id,
        # two spellings of one list are one list
        list_ids=tuple(dict.fromkeys(lists[name] for name in draft.list_names)),
        dnc_list_id=dnc_list_id,
        queue_name=draft.queue_name,
        max_skips=draft.max_skips,
        api_version=draft.api_version,
    )


async def get_campaign(database: Database, iid: str, campaign_id: str) -> Campaign:
    """Return a campaign, whole; raise NotFoundError, alike for unknown and other tenants' ids."""
    async with database.connection() as connection:
        return await _campaign(connection, iid, campaign_id)


async def find_status(database: Database, iid: str, campaign_id: str) -> CampaignStatus:
    """Return how a campaign stands; raise NotFoundError as :func:`get_campaign`."""
    async with database.connection() as connection:
        found = await store.status_of(connection, iid, campaign_id)
    if found is None:
        raise _unknown(campaign_id)
    return found


def _unknown(campaign_id: str) -> NotFoundError:
    return NotFoundError(f"There is no campaign with the id {campaign_id}.")


async def _campaign(connection: Connection, iid: str, campaign_id: str, *, lock: bool = False) -> Campaign:
    campaign = await store.whole_by_id(connection, iid, campaign_id, lock=lock)
    if campaign is None:
        raise _unknown(campaign_id)
    return campaign


async def search_campaigns(database: Database, iid: str, search: CampaignSearch) -> Page[Campaign]:
    """Return the application's campaigns that fit, each with its latest run and its schedule."""
    async with database.snapshot() as connection:
        items, total = await store.search(connection, iid, search)
    return Page(items=tuple(items), skip=search.skip, limit=search.limit, total=total)


async def list_campaigns(database: Database, iid: str | None) -> list[Campaign]:
    """Return the campaigns of an application, or of all (None), oldest first, each whole."""
    async with database.connection() as connection:
        return await store.of_application(connection, iid)


async def find_campaign(database: Database, text: str) -> Campaign:
    """Return the campaign with that id or exact name, in any application: for people at the command line.

    Raises NotFoundError, and ConflictError when several bear the name.
    """
    async with database.connection() as connection:
        found = await store.find(connection, text)
        if not found:
            raise NotFoundError(f"There is no campaign with the id or name {text!r}; see: outdial campaign list.")
        if len(found) > 1:
            choices = ", ".join(campaign.id for campaign in found)
            raise ConflictError(f"{len(found)} campaigns are named {text!r}; give the id of one: {choices}.")
        return found[0]


async def delete_campaign(database: Database, *, iid: str, campaign_id: str, actor: str) -> Campaign:
    """Delete a campaign and return it as it was; attempts and history stay as evidence.

    Raises NotFoundError, and ConflictError while a run of it is live or a schedule will start one.
    """
    async with database.transaction() as connection:
        # a start and a schedule lock the row too, so none can slip in between the look and the deletion
        campaign = await _campaign(connection, iid, campaign_id, lock=True)
        run = campaign.run
        if run is not None and run.state in LIVE_RUN_STATES:
            raise ConflictError(
                f"The campaign {campaign.name!r} cannot be deleted while its run is {run.state}; stop it first."
            )
        if campaign.schedule is not None and campaign.schedule.upcoming:
            raise ConflictError(
                f"The campaign {campaign.name!r} cannot be deleted while it is scheduled; switch its schedule off or "
                "stop it first."
            )
        await schedules.switch_off(connection, campaign.id, actor=actor, reason="delete")
        await store.mark_deleted(connection, campaign, actor=actor)
        return campaign
