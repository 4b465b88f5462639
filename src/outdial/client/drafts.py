"""What a caller gives: campaigns, contacts and schedules to be made, as frozen values that know their wire form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec

from outdial.client.answers import CallingHours

Mode: TypeAlias = Literal["Agentless", "Progressive", "Preview"]
MachineDetection: TypeAlias = Literal["no", "detect", "disconnect"]
Weekday: TypeAlias = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
Status: TypeAlias = Literal["Active", "Completed", "Ready", "Paused", "Preparing", "Stopped", "Scheduled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignDraft:
    """A campaign to be made, or the whole definition one is to have."""

    name: str
    """At most 48 characters."""
    contact_lists: tuple[str, ...]
    """One to ten, by name."""
    caller_id: str
    """The number people see, ``+15550100001``."""
    calling_hours: CallingHours
    flow: str | None = None
    """Name of the flow that answered calls hear; agentless campaigns need one."""
    description: str = ""
    dnc_list: str | None = None
    """Name of its do-not-call list. The account's own list counts always."""
    priority: int = 5
    """1 to 5, the most important."""
    mode: Mode = "Agentless"
    order: Literal["FIFO", "LIFO"] = "FIFO"
    max_attempts: int = 1
    """Per contact, 1 to 100."""
    retry_minutes: int = 60
    """Between attempts, 1 to 1440."""
    ring_seconds: int = 30
    """5 to 120."""
    machine_detection: MachineDetection = "no"
    queue: str | None = None
    """Progressive and preview campaigns need one."""
    max_skips: int | None = None
    """Preview campaigns need it."""

    @property
    def version(self) -> int:
        """Version of the wire that can say this: the second one insists on a do-not-call list.

        Raises ValueError for what neither can say.
        """
        if self.dnc_list is not None:
            return 2
        if self.machine_detection == "disconnect":
            raise ValueError("machine_detection='disconnect' needs a dnc_list: version 1 of the API cannot say it.")
        return 1

    def body(self) -> dict[str, Any]:
        """Return the body of a create or update."""
        second = self.version > 1
        body: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "contactLists": list(self.contact_lists),
            "priority": str(self.priority),
            "dialingMode": self.mode,
            "dialingStrategy": {
                "callerId": {"phoneNumber": self.caller_id},
                "callingHours": msgspec.to_builtins(self.calling_hours),
                "dialingOrder": self.order,
                "maxAttemptsPerRecord": self.max_attempts,
                "defaultRetryPeriod": self.retry_minutes,
                "maxRingTime": self.ring_seconds,
            },
            "schedule": {"isSchedulingEnabled": False},
            "campaignType": "voice",
        }
        optional = {
            "dncLists": None if self.dnc_list is None else {"name": self.dnc_list},
            "experienceFlowName": self.flow,
            "queue_name": self.queue,
            "maxSkips": self.max_skips,
            "enableMachineDetect": self.machine_detection if second else self.machine_detection == "detect",
        }
        return body | {name: value for name, value in optional.items() if value is not None}


@dataclass(frozen=True, slots=True)
class NewContact:
    """A person to be added to a contact list."""

    phone_number: str
    """``+15550100101``, or as the server's default region writes it."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """All else: ``timeZone``, ``uniqueId`` and ``contactPriority`` have a meaning, other fields are kept."""

    def body(self) -> dict[str, Any]:
        """Return its wire form."""
        return {**self.attributes, "phoneNumber": self.phone_number}


@dataclass(frozen=True, slots=True)
class Once:
    """One run, at its start. Times are the wall clock of the zone of the campaign's calling hours."""

    start: datetime
    end: datetime
    """Exclusive; a run that is still going then is stopped."""

    def __post_init__(self) -> None:
        if self.start.tzinfo is not None or self.end.tzinfo is not None:
            raise ValueError("Times of a schedule are a wall clock: give them without tzinfo.")

    def body(self) -> dict[str, Any]:
        """Return its wire form."""
        times = {"startDateTime": self.start, "endDateTime": self.end}
        return {name: f"{at:%Y-%m-%d %H:%M:%S}" for name, at in times.items()}


@dataclass(frozen=True, slots=True)
class Daily(Once):
    """A run every so many days."""

    every: int = 1

    def body(self) -> dict[str, Any]:
        """Return its wire form."""
        rule = {"recurType": "Daily", "dailyDetails": {"onceEveryNdays": self.every}}
        return {**Once.body(self), "recurrenceObject": rule}


@dataclass(frozen=True, slots=True)
class Weekly(Once):
    """A run on the named weekdays of every so many weeks."""

    days: tuple[Weekday, ...] = ("Mon", "Tue", "Wed", "Thu", "Fri")
    every: int = 1

    def body(self) -> dict[str, Any]:
        """Return its wire form."""
        rule = {
            "recurType": "Weekly",
            "weeklyDetails": {"onceEveryNweeks": self.every, "whichDays": list(self.days)},
        }
        return {**Once.body(self), "recurrenceObject": rule}


Plan: TypeAlias = Once | Daily | Weekly
