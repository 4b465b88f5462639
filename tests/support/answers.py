"""Answers of a server, for tests of what asks it."""

from __future__ import annotations

STOPPED = {
    "status": "Stopped",
    "message": "Campaign Stopped",
    "updatedAt": "2026-03-01T10:15:00.000Z",
    "campaignInstanceId": "cid-1",
}
STATUS = {"status": "success", "data": {"id": "cd-1", "status": "Active", "name": "Spring"}}
STARTED = {**STOPPED, "status": "Active", "totalCallsCompleted": 0}
RUN_CONTACT = {
    "phoneNumber": "15550100101",
    "uniqueId": "",
    "dialerOutcome": "",
    "numberOfAttemptsSoFar": 0,
    "botSessionId": "",
    "botOutboundStatus": "",
    "botOutboundStatusDetail": "",
}
DNC_LIST = {
    "id": "cl-2",
    "name": "Account",
    "accountWide": True,
    "numbersCount": 2,
    "createdAt": "2026-03-01T10:15:00.000000Z",
}
DNC_FILE = {
    "state": "added",
    "rows": 3,
    "unreadableCount": 1,
    "changedCount": 1,
    "unchangedCount": 1,
    "line": 4,
    "position": 48,
    "size": 48,
    "problems": ["Line 3: 'x': the phone number is not a number."],
    "failure": None,
}
CONTACT_LIST = {
    "_id": "cl-1",
    "name": "Recent Buyers",
    "description": "",
    "source": "passiveApi",
    "status": "completed",
    "totalRecordCount": 3,
    "isListInUse": False,
    "campaignInUse": [{"id": "cd-1", "name": "Spring"}],
    "createdAt": "2026-03-01T10:15:00.000Z",
    "updatedAt": "2026-03-01T10:16:00.000Z",
}
CONTACT = {
    "_id": "cc-1",
    "phoneNumber": "+15550100101",
    "createdAt": "2026-03-01T10:15:00.000Z",
    "updatedAt": "2026-03-01T10:16:00.000Z",
    "firstName": "Ada",
    "shoeSize": 38,
}
CAMPAIGN = {
    "_id": "cd-1",
    "name": "Spring",
    "description": "",
    "priority": "5",
    "dialingMode": "Agentless",
    "status": "Ready",
    "contactLists": ["Recent Buyers"],
    "createdAt": "2026-03-01T10:15:00.000Z",
    "updatedAt": "2026-03-01T10:16:00.000Z",
    "schedule": {"isSchedulingEnabled": False},
}
SCHEDULED = {"id": "cd-1", "message": "Campaign Scheduled"}
CALLED_BACK = {"campaignDialingListId": "cdl-1", "status": "failed", "reason": "dnc"}
MANUAL_CALL = {
    "instanceId": "cid-1",
    "contactId": "cc-1",
    "dialingListId": "cdl-1",
    "phoneNumber": "+15550100101",
    "answer": "allowed",
    "sentence": "It is called as soon as a line is free.",
    "decidedBy": None,
    "inputs": {},
    "versions": {},
    "until": None,
    "nextAt": None,
    "aheadCount": 0,
}
CHANGE = {"kind": "start_run", "sentence": "Start the campaign.", "at": None, "choices": []}
EXPLANATION = {
    "campaignId": "cd-1",
    "instanceId": "cid-1",
    "contactId": "cc-1",
    "dialingListId": "cdl-1",
    "phoneNumber": "+15550100101",
    "now": "2026-03-01T10:15:00.000000Z",
    "at": "2026-03-01T10:15:00.000000Z",
    "dialable": False,
    "decidedBy": "run_state",
    "sentence": "The campaign does not run.",
    "nextAt": None,
    "aheadCount": None,
    "changes": [CHANGE],
    "steps": [
        {
            "code": "run_state",
            "says": "forbids",
            "sentence": "The campaign does not run.",
            "inputs": {"state": "stopped"},
            "versions": {},
            "until": None,
            "changes": [CHANGE],
        }
    ],
    "past": [],
}
WATERFALL = {
    "instanceId": "cid-1",
    "at": "2026-03-01T10:15:00.000000Z",
    "sentence": "Two of three may be dialed now.",
    "blockedBy": None,
    "totalCount": 3,
    "dialableCount": 2,
    "estimate": False,
    "freeLines": 4,
    "liveCalls": 0,
    "steps": [
        {"code": "dnc", "lostCount": 1, "leftCount": 2, "sentence": "One is not to be called.", "estimate": False}
    ],
}


def data(document: object) -> dict[str, object]:
    """An answer whose document is in an envelope."""
    return {"status": "success", "data": document}


def page(*results: object, total: int | None = None) -> dict[str, object]:
    """A page of a listing."""
    return {"data": {"results": list(results), "totalResults": len(results) if total is None else total}}
