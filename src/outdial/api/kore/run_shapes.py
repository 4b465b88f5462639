"""Starts, stops and the progress of runs as the vendor's surface answers them."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from outdial.api.kore.wire import timestamp
from outdial.core.campaign import wire_word
from outdial.core.model import RunContactState
from outdial.services.campaigns import CampaignStatus
from outdial.services.runs import RunContactPage, RunContactView, StartedRun
from outdial.services.stop import StoppedRun, StoppedSchedule

SESSION_DIGITS: Final = 24
"""Hex digits of the wire's session ids; an attempt's id has 32, so the first 24 of them stand for it."""


class StartedShape(msgspec.Struct, frozen=True, rename="camel"):
    """The answer of a start: flat, and ``status`` is the campaign's."""

    status: str
    message: str
    total_calls_completed: int
    updated_at: str
    campaign_instance_id: str


class StoppedShape(msgspec.Struct, frozen=True, rename="camel"):
    """The answer of a stop: exactly these four."""

    status: str
    message: str
    updated_at: str
    campaign_instance_id: str


class StatusShape(msgspec.Struct, frozen=True):
    """What a campaign does now."""

    id: str
    status: str
    name: str


class RunContactShape(msgspec.Struct, frozen=True, rename="camel"):
    """One contact's progress in the latest run."""

    phone_number: str
    unique_id: str
    dialer_outcome: str
    number_of_attempts_so_far: int
    bot_session_id: str
    agent_disposition_codes: list[str]
    bot_outbound_status: str
    bot_outbound_status_detail: str


class RunContactsShape(msgspec.Struct, frozen=True, rename="camel"):
    """A page of a run's contacts."""

    results: list[RunContactShape]
    page: int
    limit: int
    total_pages: int
    total_results: int


def started(run: StartedRun) -> StartedShape:
    """Return the answer of a start."""
    return StartedShape(
        status="Active",
        message="Campaign Started",
        total_calls_completed=run.calls_completed,
        updated_at=timestamp(run.run.started_at),
        campaign_instance_id=run.run.instance_id,
    )


def stopped(stop: StoppedRun | StoppedSchedule) -> StoppedShape:
    """Return the answer of a stop, the same for each repetition of it.

    Where only a schedule was switched off, the instance is that of the latest run, empty when there never was one.
    """
    instance_id = "" if stop.run is None else stop.run.instance_id
    stopped_at = stop.report.stopped_at if isinstance(stop, StoppedRun) else stop.stopped_at
    return StoppedShape(
        status="Stopped",
        message="Campaign Stopped",
        updated_at=timestamp(stopped_at),
        campaign_instance_id=instance_id,
    )


def status_shape(campaign: CampaignStatus) -> StatusShape:
    """Return what a campaign does now."""
    return StatusShape(id=campaign.id, status=wire_word(campaign.standing), name=campaign.name)


def run_contacts(page: RunContactPage) -> RunContactsShape:
    """Return a page of contacts."""
    return RunContactsShape(
        results=[_run_contact(contact) for contact in page.results],
        page=page.page,
        limit=page.limit,
        total_pages=math.ceil(page.total / page.limit),
        total_results=page.total,
    )


def _run_contact(contact: RunContactView) -> RunContactShape:
    """Return a contact's progress: its outcome is ``completed`` once it is done, the only value documented; the two
    status fields carry the disposition of its last attempt and why it is done, in the words of this project."""
    return RunContactShape(
        phone_number=contact.phone.removeprefix("+"),
        unique_id=contact.unique_id or "",
        dialer_outcome="completed" if contact.state is RunContactState.DONE else "",
        number_of_attempts_so_far=contact.attempts_count,
        bot_session_id=(contact.last_attempt_id or "")[:SESSION_DIGITS],
        agent_disposition_codes=[],
        bot_outbound_status=contact.last_disposition or "",
        bot_outbound_status_detail=contact.done_reason or "",
    )
