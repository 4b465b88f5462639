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
