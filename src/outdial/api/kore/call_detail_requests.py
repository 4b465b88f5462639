"""The body of call details: which calls, and which groups of fields.

Days and times are the wall clock of an offset given in minutes, in JavaScript's sense: what is to be added to the local
time to get UTC, so -330 for India and 300 for New York in winter.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Field, WithJsonSchema

from outdial.api import texts
from outdial.api.kore.requests import Wire
from outdial.api.numbers import Whole
from outdial.api.problems import parse
from outdial.core.errors import InvalidInputError
from outdial.services.call_details import LONGEST_WINDOW, CallWindow

Group: TypeAlias = Literal["skills", "customerinfo", "userleveltags", "sessionleveltags", "campaigninfo", "snoozeinfo"]

_MOMENT: Final = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(?:[ T]([0-9]{1,2}):([0-9]{2}):([0-9]{2}))?")
_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)
_FARTHEST_MINUTES: Final = 15 * 60
"""No zone is farther from Greenwich; the farthest in use is 14 hours."""

Moment: TypeAlias = tuple[datetime, timedelta]
"""A wall clock, and how long the day or second is that it names."""


def _moment(value: Any) -> Moment:
    parts = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    problem = f"must be a day like '2026-02-16' or a time like '2026-02-16 07:20:15', not {str(value)[:60]!r}"
    if parts is None:
        raise ValueError(problem)
    try:
        at = datetime(*(int(part or 0) for part in parts.groups()))  # type: ignore[arg-type] # noqa: DTZ001 - a wall clock
    except ValueError:
        raise ValueError(problem) from None
    return at, _DAY if parts[4] is None else _SECOND


def _lower(value: Any) -> Any:
    # the release notes spell one of them campaignInfo
    return value.lower() if isinstance(value, str) else value


def _absent_when_empty(value: Any) -> Any:
    return None if value == "" else value


Day = Annotated[
    tuple[datetime, timedelta],
    BeforeValidator(_moment),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": f"^{texts.DAY}([ T]{texts.TIME})?$",
            "examples": ["2026-02-16", "2026-02-16 07:20:15"],
        }
    ),
]


class CallDetailsBody(Wire):
    """Which calls, and which groups of fields."""

    start_date: Day
    end_date: Day
    time_zone_offset: Annotated[int, Field(ge=-_FARTHEST_MINUTES, le=_FARTHEST_MINUTES), Whole]
    direction: Annotated[
        Literal["Inbound", "Outbound", "Both"] | None,
        BeforeValidator(_absent_when_empty),
        WithJsonSchema({"enum": ["Inbound", "Outbound", "Both", "", None]}),
    ] = None
    selected_fields: list[Annotated[Group, BeforeValidator(_lower)]] | None = None
    channels: list[str] | None = None
    queues: list[str] | None = None

    @property
    def offset(self) -> timedelta:
        """What local time lacks to be UTC."""
        return timedelta(minutes=self.time_zone_offset)

    @property
    def groups(self) -> frozenset[str]:
        """The groups of fields that are wanted."""
        return frozenset(self.selected_fields or ())

    @property
    def none_fits(self) -> bool:
        """Whether no call of ours can be meant: all are outbound, by voice, and of no queue."""
        voice = not self.channels or "voice" in {channel.lower() for channel in self.channels}
        return self.direction == "Inbound" or not voice or bool(self.queues)


def call_details_body(document: Any) -> tuple[CallDetailsBody, CallWindow]:
    """Return what is asked for, and its window. Raises InvalidInputError."""
    body = parse(CallDetailsBody, document)
    (start, _), (end, length) = body.start_date, body.end_date
    # the day that is named belongs to the window, and so does the second
    last = end + length if length == _DAY and end < datetime.max - _DAY else end  # noqa: DTZ901 - a wall clock
    if end < start:
        raise InvalidInputError(["`endDate` must not be before `startDate`."])
    if last - start > LONGEST_WINDOW:
        raise InvalidInputError([f"`startDate` and `endDate` are more than {LONGEST_WINDOW.days} days apart."])
    try:
        return body, CallWindow(
            start=(start + body.offset).replace(tzinfo=UTC),
            end=(end + length + body.offset).replace(tzinfo=UTC),
        )
    except OverflowError:
        raise InvalidInputError(["`startDate` or `endDate` lies outside the years 1 to 9999 in UTC."]) from None
