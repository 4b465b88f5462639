"""Answers as the document shows them: what the vendor's own samples hold, with ids and times that are nobody's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET

from outdial.api.kore.call_detail_shapes import CallShape, CallsShape, CampaignInfo, CustomerInfo, MetaInfo
from outdial.api.kore.campaign_shapes import (
    CallerIdShape,
    CampaignShape,
    CreatedCampaign,
    CreatedPreviewV1,
    DayShape,
    DncListShape,
    HoursShape,
    ListedCampaign,
    PreviewId,
    ScheduleShape,
    StrategyShape,
    UpdatedAnswer,
    UpdatedCampaign,
)
from outdial.api.kore.contact_list_files import FileShape, MappingShape
from outdial.api.kore.contact_list_shapes import (
    AddedShape,
    ContactListShape,
    CreatedContactList,
    ImportedListShape,
    ListedContactList,
    ListedImportedList,
    SyncShape,
    UpdatedContactList,
    UpdatedFields,
    UsedBy,
)
from outdial.api.kore.run_shapes import RunContactShape, RunContactsShape, StartedShape, StatusShape, StoppedShape
from outdial.api.kore.wire import Found, PageShape, Success, found, success, timestamp

_AT: Final = timestamp(datetime(2026, 3, 1, 10, tzinfo=UTC))
_CAMPAIGN_ID: Final = "cd-1111111-2222-4333-8444-555555555555"
_INSTANCE_ID: Final = "cid-1111111-2222-4333-8444-555555555555"
_LIST_ID: Final = "cl-1111111-2222-4333-8444-555555555555"
_IID: Final = "st-11111111-2222-4333-8444-555555555555"
_USER_ID: Final = "u-22222222-2222-4333-8444-555555555555"
_ORGANIZATION_ID: Final = "o-11111111-2222-5333-8444-555555555555"
_ACCOUNT_ID: Final = "0123456789abcdef01234567"
_SESSION_ID: Final = "0123456789abcdef01234567"
_CALLER_ID: Final = "+15550100001"
_NAME: Final = "Spring Calls"
_LIST_NAME: Final = "March callers"

STARTED: Final = StartedShape("Active", "Campaign Started", 0, _AT, _INSTANCE_ID)
STOPPED: Final = StoppedShape("Stopped", "Campaign Stopped", _AT, _INSTANCE_ID)
STATUS: Final = found(StatusShape(_CAMPAIGN_ID, "Active", _NAME))
RUN_CONTACTS: Final = found(
    RunContactsShape(
        [RunContactShape("15550100101", "", "completed", 1, _SESSION_ID, [], "answered_human", "reached")], 1, 100, 1, 1
    )
)
ADDED: Final = AddedShape("Adding contacts to public list is in progress")
ADDED_SOME: Final = AddedShape(
    ADDED.message, ["`data[1].phoneNumber` cannot be dialed: the phone number has no country."]
)
CREATED_PREVIEW_V1: Final = CreatedPreviewV1(
    "success", f"Campaign {_NAME} creation in progress", _CAMPAIGN_ID, PreviewId(_CAMPAIGN_ID)
)
CONTACTS: Final = success(
    "Contacts retrieved successfully",
    PageShape(
        [
            {
                "_id": "cc-11111111-2222-5333-8444-555555555555",
                "createdAt": _AT,
                "updatedAt": _AT,
                "phoneNumber": "+15550100101",
                "firstName": "Ada",
            }
        ],
        skip=0,
        limit=50,
        has_more=False,
        total_pages=1,
        total_results=1,
    ),
)
CALLS: Final = CallsShape(
    1,
    [
        CallShape(
            conversation_id="c-1111111-2222-4333-8444-555555555555",
            session_id=_SESSION_ID,
            is_voicemail="NO",
            skills=[],
            disconnecting_event="",
            reason="",
            error_details="",
            bot_id=_IID,
            meta_info=MetaInfo(
                campaign_name=_NAME,
                user_id=_USER_ID,
                first_name="Ada",
                last_name="",
                caller=_CALLER_ID,
                callee="15550100101",
                dialed_number=_CALLER_ID,
                end_user_number="15550100101",
                attempt=1,
            ),
            customer_info=CustomerInfo("15550100101", _CALLER_ID, "Ada", "", ""),
            session_start_time="2026-03-01T10:05:00",
            session_end_time="2026-03-01T10:06:10",
            user_id=_USER_ID,
            user_level_tags=[],
            session_level_tags=[],
            campaign_info=CampaignInfo(
                campaign_name=_NAME,
                campaign_id=_CAMPAIGN_ID,
                campaign_instance_id=_INSTANCE_ID,
                campaign_dialing_list_id="cdl-11111111-2222-5333-8444-555555555555",
                attempt=1,
                contact_status="answered",
                campaign_run_date=_AT,
                contact_list_name=[_LIST_NAME],
            ),
            channel_specific_user_id="15550100101",
        )
    ],
)

_NO_SCHEDULE: Final = ScheduleShape(is_scheduling_enabled=False, is_recurrence_enabled=False)


def created_campaign(version: int) -> Success[CreatedCampaign]:
    """Return the answer of a campaign's creation."""
    data = CreatedCampaign(**_campaign(version), status="Preparing", id=_CAMPAIGN_ID)
    return success(f"Campaign {_NAME} creation in progress", data)


def campaign(version: int, verb: str) -> Success[CampaignShape]:
    """Return the answer of reading or deleting a campaign, as ``verb`` says."""
    return success(f"Campaign {_NAME} {verb} successfully", _whole(version))


def updated_campaign(version: int) -> UpdatedAnswer[UpdatedCampaign] | UpdatedAnswer[CampaignShape]:
    """Return the answer of a campaign's update."""
    message = f"Campaign {_NAME} details updated successfully"
    if version > 1:
        return UpdatedAnswer("success", message, _CAMPAIGN_ID, _whole(version))
    data = UpdatedCampaign(**_campaign(version), status="Ready", id=_CAMPAIGN_ID, schedule=_NO_SCHEDULE)
    return UpdatedAnswer("success", message, _CAMPAIGN_ID, data)


def campaigns(version: int) -> Success[PageShape[ListedCampaign]]:
    """Return the answer of listing campaigns."""
    shared = _campaign(version)
    listed = ListedCampaign(
        **{name: value for name, value in shared.items() if name in ListedCampaign.__struct_fields__},
        id=_CAMPAIGN_ID,
        status="Stopped",
        campaign_instance_updated_at=_AT,
        schedule=_NO_SCHEDULE,
        campaign_instance_id=_INSTANCE_ID,
        connection="Welcome",
    )
    # two spaces, as documented
    return success(
        "Campaign  retrieved successfully",
        PageShape([listed], skip=0, limit=50, has_more=False, total_pages=1, total_results=1),
    )


def created_contact_list(version: int) -> Success[CreatedContactList]:
    """Return the answer of a contact list's creation."""
    data = CreatedContactList(**_contact_list(version), allow_duplicates=False)
    return success(f"Contact list {_LIST_NAME} created successfully", data)


def contact_list(version: int, message: str = "") -> dict[str, Success[Any]]:
    """Return the answers of reading or deleting a contact list, and one that was imported."""
    return {
        "list": success(message, ContactListShape(**_contact_list(version), **_owner(version))),
        "imported": success(message, ImportedListShape(**_imported_list(version), **_owner(version))),
    }


def deleted_contact_list(version: int) -> dict[str, Success[Any]]:
    """Return the answers of a contact list's removal."""
    return contact_list(version, f"Contact list {_LIST_NAME} deleted successfully")


def contact_lists(version: int) -> Success[list[ListedContactList | ListedImportedList]]:
    """Return the answer of listing contact lists."""
    return success(
        "",
        [
            ListedContactList(**_named(ListedContactList, _contact_list(version))),
            ListedImportedList(**_named(ListedImportedList, _imported_list(version))),
        ],
    )


def _named(shape: type[msgspec.Struct], fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in shape.__struct_fields__}


def _owner(version: int) -> dict[str, Any]:
    if version > 1:
        return {"allow_duplicates": False}
    return {"org_id": _ORGANIZATION_ID, "lname": _LIST_NAME.lower(), "iid": _IID, "account_id": _ACCOUNT_ID}


def updated_contact_list(version: int) -> Success[UpdatedContactList]:
    """Return the answer of a contact list's update."""
    body = UpdatedFields(
        name=_LIST_NAME,
        description="Who called in March",
        scope=["campaign_management"] if version > 1 else UNSET,
        org_id=_ORGANIZATION_ID,
        iid=_IID,
        account_id=_ACCOUNT_ID,
        updated_by=_USER_ID,
    )
    return success(f"Contact list {_LIST_NAME} updated successfully", UpdatedContactList(_LIST_ID, body))


def status_answers() -> dict[str, Found[Any]]:
    """Return the answers of both views of the status."""
    return {"status": STATUS, "contacts": RUN_CONTACTS}


def _whole(version: int) -> CampaignShape:
    return CampaignShape(**_campaign(version), status="Ready", id=_CAMPAIGN_ID, schedule=_NO_SCHEDULE)


def _campaign(version: int) -> dict[str, Any]:
    second = version > 1
    return {
        "name": _NAME,
        "lname": _NAME.lower(),
        "description": "Tells customers that spring is here",
        "dnc_lists": DncListShape("cl-2222222-2222-4333-8444-555555555555", "Blocked A") if second else UNSET,
        "priority": "5",
        "dialing_mode": "Agentless",
        "dialing_strategy": StrategyShape(
            caller_id=CallerIdShape(_CALLER_ID),
            calling_hours=HoursShape("WEEKLY", [DayShape("9:00 AM", "6:00 PM", "MO")], "Europe/Paris"),
            dialing_order="FIFO",
            max_attempts_per_record=3,
            default_retry_period=10,
            max_ring_time=30,
            use_system_mappings=False if second else UNSET,
        ),
        "experience_flow": "cf-11111111-2222-4333-8444-555555555555",
        "is_filters_enabled": False if second else UNSET,
        "created_at": _AT,
        "updated_at": _AT,
        "contact_lists": [_LIST_NAME],
        "enable_machine_detect": False,
    }


def _contact_list(version: int) -> dict[str, Any]:
    second = version > 1
    return {
        "id": _LIST_ID,
        "name": _LIST_NAME,
        "description": "Who called in March",
        "total_record_count": 0,
        "created_by": _USER_ID,
        "updated_by": _USER_ID,
        "mapping": MappingShape(contact_priority="contactPriority" if second else UNSET),
        "is_list_in_use": False,
        "is_global_dnc": False if second else UNSET,
        "is_default": False if second else UNSET,
        "campaign_in_use": [UsedBy(_CAMPAIGN_ID, _NAME)],
        "source": "passiveApi",
        "api_configurations": SyncShape("dontAllowDuplicates"),
        "columns": [] if second else UNSET,
        "created_at": _AT,
        "updated_at": _AT,
    }


def _imported_list(version: int) -> dict[str, Any]:
    fields, second = _contact_list(version), version > 1
    del fields["api_configurations"]
    return {
        **fields,
        "files": [FileShape("0123456789abcdef01234567", "march.csv")],
        "total_record_count": 2,
        "status": "Validated",
        "mapping": MappingShape(
            last_name="",
            phone_number="Phone",
            time_zone="",
            unique_id="",
            contact_priority="" if second else UNSET,
        ),
        "source": "localDrive",
        "columns": ["Phone", "firstName"] if second else UNSET,
    }
