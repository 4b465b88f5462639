"""What can be asked after what: from a contact list to a campaign, its start, status, stop and removal."""

from __future__ import annotations

from typing import Final

from outdial.api.links import Link

_CAMPAIGN: Final = {"path.campaignId": "$request.path.campaignId"}
_NEW_CAMPAIGN: Final = {"path.campaignId": "$response.body#/data/id"}
_LIST: Final = {"path.contactListId": "$request.path.contactListId"}
_NEW_LIST: Final = {"path.contactListId": "$response.body#/data/_id"}
_VOICE: Final = {"query.campaignType": "voice"}
_PLAY: Final = {**_VOICE, "query.trigger": "play"}
_STOP: Final = {**_VOICE, "query.trigger": "stop"}
_OWN_RUN: Final = {"path.instanceId": "$response.body#/campaignInstanceId"}

SAME_CAMPAIGN: Final = (
    Link("get_campaignId__{version}", "What the campaign is.", _CAMPAIGN),
    Link("post_trigger_campaignId__{version}", "Start the campaign.", {**_CAMPAIGN, **_PLAY}),
    Link("post_trigger_campaignId__{version}", "Stop the campaign.", {**_CAMPAIGN, **_STOP}),
    Link("post_campaignId_status_{version}", "What the campaign does.", {**_CAMPAIGN, "query.view": "status"}),
    Link("delete_campaignId__{version}", "Delete the campaign.", {**_CAMPAIGN, **_VOICE}),
)
"""After an answer about a campaign that the address named."""

AFTER_TRIGGER: Final = (
    Link("post_trigger_campaignId__{version}", "Start the campaign again.", {**_CAMPAIGN, **_PLAY}),
    Link("post_trigger_campaignId__{version}", "Stop what was started.", {**_CAMPAIGN, **_STOP}),
    Link("post_campaignId_status_{version}", "What the campaign does.", {**_CAMPAIGN, "query.view": "status"}),
    Link("post_campaignId_status_{version}", "How its contacts fare.", {**_CAMPAIGN, "query.view": "contacts"}),
    Link("delete_campaignId__{version}", "Delete the campaign, once it is stopped.", {**_CAMPAIGN, **_VOICE}),
    Link("get_runs_instanceId", "The run, whole, with the report of its stop.", _OWN_RUN, elsewhere=True),
    Link("get_runs_instanceId_attempts", "The attempts of the run.", _OWN_RUN, elsewhere=True),
)

AFTER_CREATION: Final = (
    Link("get_campaignId__{version}", "What the campaign is.", _NEW_CAMPAIGN),
    Link("put_campaignId__{version}", "Give it another definition.", {**_NEW_CAMPAIGN, **_VOICE}),
    Link("post_trigger_campaignId__{version}", "Start the campaign.", {**_NEW_CAMPAIGN, **_PLAY}),
    Link("post_campaignId__{version}", "Start the campaign, by v1's address.", {**_NEW_CAMPAIGN, **_PLAY}),
    Link("post_campaignId_status_{version}", "What the campaign does.", {**_NEW_CAMPAIGN, "query.view": "status"}),
    Link(
        "post_schedule_{version}",
        "Let it run by itself.",
        {"query.campaignName": "$response.body#/data/name", "query.campaignId": "$response.body#/data/id"},
    ),
    Link("delete_campaignId__{version}", "Delete the campaign.", {**_NEW_CAMPAIGN, **_VOICE}),
    Link("post_campaigns_campaignId_clone", "Make another like it.", _NEW_CAMPAIGN, elsewhere=True),
)

SAME_LIST: Final = (
    Link("get_contactList_contactListId__{version}", "What the list is.", _LIST),
    Link("get_contactList_contactListId_getAllContacts_{version}", "Its contacts.", _LIST),
    Link("delete_contactList_contactListId__{version}", "Delete the list.", _LIST),
)
"""After an answer about a contact list that the address named."""

AFTER_LIST_CREATION: Final = (
    Link("get_contactList_contactListId__{version}", "What the list is.", _NEW_LIST),
    Link("put_contactList_contactListId__{version}", "Give it another name.", _NEW_LIST),
    Link("get_contactList_contactListId_getAllContacts_{version}", "Its contacts.", _NEW_LIST),
    Link(
        "post_contactList_addContacts_v1_1",
        "Add contacts to the list.",
        body={"contact_list_name": "$response.body#/data/name"},
    ),
    Link("delete_contactList_contactListId__{version}", "Delete the list.", _NEW_LIST),
)

AFTER_ADDING: Final = (
    Link(
        "post_v1", "Create a campaign that dials them.", _VOICE, {"contactLists": ["$request.body#/contact_list_name"]}
    ),
    Link("post_v2", "The same with v2.", _VOICE, {"contactLists": ["$request.body#/contact_list_name"]}),
)
