"""A typed client of the campaign API, for programs; see docs/how-to/use-the-python-client.md.

    with Client("https://outdial.example.net", iid="st-…", client_id="cs-…", client_secret="…") as client:
        client.stop(campaign_id)

It knows the server by its wire only: nothing else of outdial is imported, and it needs no database and no settings.
"""

from __future__ import annotations

from outdial.client.answers import (
    AddedContacts,
    CallBack,
    CallerId,
    CallingHours,
    CallingWindow,
    Campaign,
    CampaignStatus,
    Contact,
    ContactList,
    ContactProblem,
    DialingStrategy,
    DncList,
    RunContact,
    ScheduledCampaign,
    ScheduleStanding,
    StartedRun,
    StoppedRun,
    UsedBy,
)
from outdial.client.clients import AsyncClient, Client
from outdial.client.drafts import CampaignDraft, Daily, NewContact, Once, Weekly
from outdial.client.errors import (
    AddingBrokenOffError,
    BadRequestError,
    ClientError,
    ConflictError,
    InvalidInputError,
    NoAnswerError,
    NotBuiltError,
    NotFoundError,
    NotSentError,
    NotUnderstoodError,
    RateLimitedError,
    RefusedError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
)

__all__ = [
    "AddedContacts",
    "AddingBrokenOffError",
    "AsyncClient",
    "BadRequestError",
    "CallBack",
    "CallerId",
    "CallingHours",
    "CallingWindow",
    "Campaign",
    "CampaignDraft",
    "CampaignStatus",
    "Client",
    "ClientError",
    "ConflictError",
    "Contact",
    "ContactList",
    "ContactProblem",
    "Daily",
    "DialingStrategy",
    "DncList",
    "InvalidInputError",
    "NewContact",
    "NoAnswerError",
    "NotBuiltError",
    "NotFoundError",
    "NotSentError",
    "NotUnderstoodError",
    "Once",
    "RateLimitedError",
    "RefusedError",
    "RunContact",
    "ScheduleStanding",
    "ScheduledCampaign",
    "StartedRun",
    "StoppedRun",
    "TooLargeError",
    "UnauthorizedError",
    "UnavailableError",
    "UsedBy",
    "Weekly",
]
