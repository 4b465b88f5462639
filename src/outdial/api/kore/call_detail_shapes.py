"""Calls as the vendor's call details answer them: the documented keys, in the order of its sample of such a call."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from outdial.api.kore.run_shapes import SESSION_DIGITS
from outdial.api.kore.wire import customer_id, timestamp
from outdial.core import ids
from outdial.core.model import Attempt, Disposition
from outdial.services.call_details import CallDetail

_CONTACT_STATUS: Final[Mapping[Disposition, str]] = {
    Disposition.ANSWERED_HUMAN: "answered",
    Disposition.ANSWERED_MACHINE: "answered",
    Disposition.ABANDONED: "answered",
    Disposition.BUSY: "busy",
    Disposition.NO_ANSWER: "no-answer",
}
"""All others are ``failed``: the four are the only ones documented."""


class MetaInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who called whom, and why."""

    campaign_name: str
    user_id: str
    first_name: str
    last_name: str
    caller: str
    callee: str
    initiation: str = msgspec.field(name="Initiation", default="Campaign")
    dialed_number: str
    end_user_number: str
    attempt: int


class CustomerInfo(msgspec.Struct, frozen=True, rename="pascal"):
    """The person who was called."""

    customer_phone: str
    center_phone: str
    customer_first_name: str
    customer_last_name: str
    customer_email: str


class Tag(msgspec.Struct, frozen=True):
    """A name and its value."""

    name: str
    value: str


class CampaignInfo(msgspec.Struct, frozen=True, rename="camel"):
    """The campaign, its run, and the contact within it."""

    campaign_name: str
    campaign_id: str
    campaign_instance_id: str
    campaign_dialing_list_id: str
    attempt: int
    contact_status: str
    campaign_run_date: str
    contact_list_name: list[str]


class CallShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One call."""

    conversation_id: str
    session_id: str
    channel: str = "Voice"
    is_voicemail: str
    direction: str = msgspec.field(name="Direction", default="Outbound")
    skills: list[str] | UnsetType = UNSET
    final_status: str = "CLOSED"
    disconnecting_event: str
    smart_status: str = "CLOSED"
    reason: str
    error_details: str
    bot_id: str
    dispositions: list[str] = []
    disposition_remarks: list[str] = []
    meta_info: MetaInfo
    customer_info: CustomerInfo | UnsetType = msgspec.field(name="customerinfo", default=UNSET)
    session_start_time: str
    session_end_time: str
    user_id: str
    destinations: list[Tag] = []
    user_level_tags: list[Tag] | UnsetType = msgspec.field(name="userleveltags", default=UNSET)
    session_level_tags: list[Tag] | UnsetType = msgspec.field(name="sessionleveltags", default=UNSET)
    campaign_info: CampaignInfo | UnsetType = msgspec.field(name="campaigninfo", default=UNSET)
    channel_specific_user_id: str


class CallsShape(msgspec.Struct, frozen=True, rename="camel"):
    """A page of calls."""

    num_results: int
    data: list[CallShape]


def calls_shape(calls: list[CallDetail], *, iid: str, groups: frozenset[str], offset: timedelta) -> CallsShape:
    """Return a page of calls with the groups of fields that were asked for, in local time."""
    return CallsShape(len(calls), [_call(call, iid, groups, offset) for call in calls])


def _call(call: CallDetail, iid: str, groups: frozenset[str], offset: timedelta) -> CallShape:
    attempt = call.attempt
    number = attempt.phone.removeprefix("+")
    person = customer_id(attempt.account_id, attempt.phone)
    answered = _contact_status(attempt) == "answered"
    return CallShape(
        conversation_id=ids.conversation_id(attempt.id),
        session_id=attempt.id[:SESSION_DIGITS],
        is_voicemail="YES" if attempt.disposition is Disposition.ANSWERED_MACHINE else "NO",
        skills=[] if "skills" in groups else UNSET,
        # who hung up an answered call is not recorded
        disconnecting_event="System Hangup" if attempt.disposition is Disposition.CANCELLED else "",
        reason="" if answered or attempt.disposition is None else attempt.disposition,
        error_details=_error_details(attempt),
        bot_id=iid,
        meta_info=MetaInfo(
            campaign_name=call.campaign_name,
            user_id=person,
            first_name=_text(call, "firstName"),
            last_name=_text(call, "lastName"),
            caller=attempt.caller_id,
            callee=number,
            dialed_number=attempt.caller_id,
            end_user_number=number,
            attempt=attempt.number,
        ),
        customer_info=_customer(call, number) if "customerinfo" in groups else UNSET,
        session_start_time=_local(call.dialed_at, offset),
        session_end_time=_local(call.ended_at, offset),
        user_id=person,
        user_level_tags=[] if "userleveltags" in groups else UNSET,
        session_level_tags=[] if "sessionleveltags" in groups else UNSET,
        campaign_info=_campaign(call) if "campaigninfo" in groups else UNSET,
        channel_specific_user_id=number,
    )


def _customer(call: CallDetail, number: str) -> CustomerInfo:
    return CustomerInfo(
        number, call.attempt.caller_id, _text(call, "firstName"), _text(call, "lastName"), _text(call, "email")
    )


def _campaign(call: CallDetail) -> CampaignInfo:
    attempt = call.attempt
    return CampaignInfo(
        campaign_name=call.campaign_name,
        campaign_id=attempt.campaign_id,
        campaign_instance_id=call.instance_id,
        campaign_dialing_list_id=ids.dialing_list_id(call.instance_id, attempt.contact_id),
        attempt=attempt.number,
        contact_status=_contact_status(attempt),
        campaign_run_date=timestamp(call.run_started_at),
        contact_list_name=list(call.list_names),
    )


def _contact_status(attempt: Attempt) -> str:
    return "failed" if attempt.disposition is None else _CONTACT_STATUS.get(attempt.disposition, "failed")


def _error_details(attempt: Attempt) -> str:
    """Return what the line said about a call that failed."""
    if _contact_status(attempt) != "failed" or attempt.disposition is Disposition.CANCELLED:
        return ""
    if attempt.sip_code is not None:
        return f"SIP {attempt.sip_code}"
    return "" if attempt.cause is None else f"Q.850 cause {attempt.cause}"


def _text(call: CallDetail, name: str) -> str:
    value: Any = call.attributes.get(name)
    return value if isinstance(value, str) else ""


def _local(at: datetime, offset: timedelta) -> str:
    return f"{at - offset:%Y-%m-%dT%H:%M:%S}"
