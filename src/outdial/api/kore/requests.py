"""Bodies of the vendor's requests: shapes and limits.

Types are strict: text is text, a number a number. Unknown fields are ignored, as the vendor does.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, time
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

from outdial.api import texts
from outdial.api.kore import hours
from outdial.api.numbers import Whole, whole
from outdial.core.calling_hours import overlaps
from outdial.core.errors import InvalidInputError
from outdial.core.model import CallingWindow
from outdial.core.phone import parse_phone
from outdial.core.schedule import LONGEST_STEP
from outdial.core.zones import valid_zone
from outdial.services.contact_lists import LARGEST_PRIORITY, LONGEST_UNIQUE_ID

LARGEST_CONTACT_BATCH: Final = 100
"""Contacts in one request, as documented."""

_WALL_CLOCK: Final = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2}) ([0-9]{1,2}):([0-9]{2}):([0-9]{2})")

_CONTROLS: Final = frozenset({"Cc", "Zl", "Zp"})
"""Unicode categories: control characters, line and paragraph separators."""


def international(text: str, region: str | None) -> str:
    """Return E.164; bare digits are international where no region says otherwise, as in the vendor's samples.

    Raises InvalidInputError with the reason.
    """
    bare = text.strip()
    if region is None and bare.isascii() and bare.isdigit():
        bare = f"+{bare}"
    return parse_phone(bare, region)


def _phone(text: str, info: ValidationInfo) -> str:
    region = info.context.get("region") if isinstance(info.context, dict) else None
    try:
        return international(text, region)
    except InvalidInputError as error:
        raise ValueError(f"cannot be dialed: {error.message}") from None


def _zone(name: str) -> str:
    if not valid_zone(name):
        raise ValueError(f"must be a time zone like 'Europe/Paris', not {name[:60]!r}")
    return name


def _one_line(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    # names are shown in terminals, where some of these are commands
    if any(unicodedata.category(sign) in _CONTROLS for sign in text):
        raise ValueError("holds a line break or another control character")
    return text


def _distinct(names: list[str]) -> list[str]:
    if len({name.casefold() for name in names}) < len(names):
        raise ValueError("names one list twice")
    return names


def _numeric(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else whole(value)


def _absent_when_empty(value: Any) -> Any:
    return None if value == "" else value


def instant(value: Any) -> Any:
    """Read an instant, UTC where it has no zone; None when it is empty. For pydantic: raises ValueError."""
    if value is None or value == "":
        return None
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"must be an instant like '2026-03-01T10:00:00.000Z', not {str(value)[:60]!r}") from None
    try:
        # the vendor's own have a Z; without one the instant would be anybody's guess
        return at.astimezone(UTC) if at.tzinfo is not None else at.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError(f"lies outside the years 1 to 9999 in UTC: {value[:60]!r}") from None


def _wall_clock(value: Any) -> datetime:
    # a sample of the vendor's has a day of one digit
    parts = _WALL_CLOCK.fullmatch(value) if isinstance(value, str) else None
    problem = f"must be a time like '2026-03-01 09:30:00', not {str(value)[:60]!r}"
    if parts is None:
        raise ValueError(problem)
    year, month, day, hour, minute, second = map(int, parts.groups())
    try:
        return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - a wall clock
    except ValueError:
        raise ValueError(problem) from None


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _or_empty(schema: dict[str, Any]) -> None:
    """Say that empty text is taken for nothing."""
    schema.setdefault("anyOf", []).append({"type": "string", "maxLength": 0})


def _told(schema: dict[str, Any]) -> Any:
    """What the document says of a field beside its type."""
    return Field(json_schema_extra=schema)


NotBlank = Annotated[str, Field(min_length=1), AfterValidator(_one_line), _told(texts.NOT_BLANK)]
Name = Annotated[str, Field(min_length=1, max_length=48), AfterValidator(_one_line), _told(texts.NAME)]
Description = Annotated[str, Field(max_length=256), _told(texts.DESCRIPTION)]
Phone = Annotated[str, AfterValidator(_phone), _told(texts.PHONE)]
Zone = Annotated[str, AfterValidator(_zone), _told(texts.ZONE)]
Clock = WithJsonSchema(
    {
        "type": "string",
        "pattern": "^(0?[1-9]|1[0-2]):[0-5][0-9] ?[AaPp][Mm]$",
        "examples": ["9:00 AM"],
    }
)
Direction = Annotated[
    Literal["asc", "desc"] | None,
    BeforeValidator(_absent_when_empty),
    WithJsonSchema({"enum": ["asc", "desc", "", None]}),
]
Instant = Annotated[
    AwareDatetime | None,
    BeforeValidator(instant),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "maxLength": 0}, {"type": "null"}],
            "examples": ["2026-03-01T10:00:00.000Z"],
        }
    ),
]
WallClock = Annotated[
    datetime,
    BeforeValidator(_wall_clock),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": f"^{texts.DAY} {texts.TIME}$",
            "examples": ["2026-03-01 09:30:00"],
        }
    ),
]
PriorityFilter = Annotated[
    int,
    Field(ge=1, le=5),
    BeforeValidator(_numeric),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 5}, {"type": "string", "pattern": "^0*[1-5]$"}]}
    ),
]
ContactPriority = Annotated[
    Annotated[int, Field(ge=0, le=LARGEST_PRIORITY), BeforeValidator(_numeric)] | None,
    BeforeValidator(_absent_when_empty),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": LARGEST_PRIORITY},
                {"type": "string", "pattern": f"^(0*({texts.UP_TO_32767}))?$"},
                {"type": "null"},
            ]
        }
    ),
]
UniqueId = Annotated[
    str | None,
    BeforeValidator(_absent_when_empty),
    BeforeValidator(_as_text),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "maxLength": LONGEST_UNIQUE_ID}, {"type": "integer"}, {"type": "null"}]}
    ),
]
Number = TypeVar("Number")
Paging = Annotated[Number | None, BeforeValidator(_absent_when_empty), Field(json_schema_extra=_or_empty)]


class Wire(BaseModel):
    """Base of all bodies."""

    model_config = ConfigDict(
        strict=True, extra="ignore", frozen=True, alias_generator=to_camel, validate_by_alias=True
    )


class Day(Wire):
    """One window of calling hours."""

    day: Literal["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
    start: Annotated[time, BeforeValidator(hours.parse_start), Clock]
    end: Annotated[time, BeforeValidator(hours.parse_end), Clock]

    @model_validator(mode="after")
    def _in_order(self) -> Day:
        if self.end <= self.start:
            start, end = hours.write_time(self.start), hours.write_time(self.end)
            raise ValueError(f"ends at {end}, which is not after its start at {start}")
        return self

    @property
    def window(self) -> CallingWindow:
        """The window it means."""
        return CallingWindow(weekday=hours.DAYS.index(self.day), start=self.start, end=self.end)


def _apart(days: list[Day]) -> list[Day]:
    if pairs := overlaps(day.window for day in days):
        shown = "; ".join(f"{hours.write_window(before)} and {hours.write_window(after)}" for before, after in pairs)
        raise ValueError(f"overlap: {shown}; make one of them")
    return days


class Hours(Wire):
    """When people may be called."""

    frequency: Literal["WEEKLY", "DAILY", "CUSTOM"]
    timezone: Zone
    days: Annotated[
        list[Day],
        Field(min_length=1, max_length=100),
        AfterValidator(_apart),
        _told({"uniqueItems": True, "description": "Windows, of which no two overlap."}),
    ]


class CallerId(Wire):
    """The number people see."""

    phone_number: Phone


class Strategy(Wire):
    """How a campaign dials."""

    caller_id: CallerId
    calling_hours: Hours
    dialing_order: Literal["FIFO", "LIFO"]
    max_attempts_per_record: Annotated[int, Field(ge=1, le=100), Whole]
    default_retry_period: Annotated[int, Field(ge=1, le=1440), Whole]
    max_ring_time: Annotated[int, Field(ge=5, le=120), Whole]


class NamedList(Wire):
    """A DNC list by its name."""

    name: NotBlank


class Schedule(Wire):
    """Whether the campaign runs by itself; when, is said by an endpoint of its own."""

    is_scheduling_enabled: bool | None = None


class CampaignBody(Wire):
    """What every version and mode asks for, and, as optional, what some do."""

    name: Name
    description: Description
    contact_lists: Annotated[
        list[NotBlank], Field(min_length=1, max_length=10), AfterValidator(_distinct), _told({"uniqueItems": True})
    ]
    dnc_lists: NamedList | None = None
    priority: Literal["1", "2", "3", "4", "5"]
    dialing_mode: Literal["Agentless", "Progressive", "Preview"]
    dialing_strategy: Strategy
    schedule: Schedule | None = None
    campaign_type: Literal["voice", "sms"]
    experience_flow_name: Any = None
    queue_name: Any = Field(default=None, alias="queue_name")
    max_skips: Any = None
    enable_machine_detect: Any = None


class AgentlessV1(CampaignBody):
    """Create an agentless campaign, v1."""

    dialing_mode: Literal["Agentless"]
    experience_flow_name: NotBlank
    enable_machine_detect: bool


class QueuedV1(CampaignBody):
    """What the modes with agents ask for, v1."""

    queue_name: NotBlank = Field(alias="queue_name")
    enable_machine_detect: bool


class ProgressiveV1(QueuedV1):
    """Create a progressive campaign, v1."""

    dialing_mode: Literal["Progressive"]


class PreviewV1(QueuedV1):
    """Create a preview campaign, v1."""

    dialing_mode: Literal["Preview"]
    max_skips: Annotated[int, Field(ge=0, le=1000), Whole]


class CampaignBodyV2(CampaignBody):
    """What every mode of v2 asks for."""

    dnc_lists: NamedList


class AgentlessUpdateV2(CampaignBodyV2):
    """Update an agentless campaign, v2: its sample leaves machine detection out, which then stays as it is."""

    dialing_mode: Literal["Agentless"]
    experience_flow_name: NotBlank
    enable_machine_detect: Literal["no", "detect", "disconnect"] | None = None


class AgentlessV2(AgentlessUpdateV2):
    """Create an agentless campaign, v2."""

    enable_machine_detect: Literal["no", "detect", "disconnect"]


class QueuedV2(CampaignBodyV2):
    """What the modes with agents ask for, v2."""

    queue_name: NotBlank = Field(alias="queue_name")


class ProgressiveV2(QueuedV2):
    """Create a progressive campaign, v2."""

    dialing_mode: Literal["Progressive"]


class PreviewV2(QueuedV2):
    """Create a preview campaign, v2."""

    dialing_mode: Literal["Preview"]
    max_skips: Annotated[int, Field(ge=0, le=1000), Whole]


class StopBody(Wire):
    """What a stop does with calls that are under way; an extension, the vendor's body is empty."""

    ringing: Literal["cancel", "let_ring"] = "cancel"
    connected: Literal["keep", "hang_up"] = "keep"
    keep_schedule: bool = False


class DailyDetails(Wire):
    """Every so many days."""

    once_every_ndays: Annotated[int, Field(ge=1, le=LONGEST_STEP, alias="onceEveryNdays"), Whole] = 1


class WeeklyDetails(Wire):
    """Every so many weeks, on which weekdays."""

    once_every_nweeks: Annotated[int, Field(ge=1, le=LONGEST_STEP, alias="onceEveryNweeks"), Whole] = 1
    which_days: Annotated[
        list[Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]], Field(min_length=1, max_length=7)
    ]


def _needs(recurrence: str) -> dict[str, Any]:
    details = f"{recurrence.lower()}Details"
    return {
        "properties": {"recurType": {"const": recurrence}, details: {"type": "object"}},
        "required": ["recurType", details],
    }


class RecurrenceObject(Wire):
    """How a schedule repeats."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [_needs("Daily"), _needs("Weekly")]})

    recur_type: Literal["Daily", "Weekly"]
    daily_details: DailyDetails | None = None
    weekly_details: WeeklyDetails | None = None

    @model_validator(mode="before")
    @classmethod
    def _mislabelled(cls, value: Any) -> Any:
        # the table of the weekly page calls the object dailyDetails, its sample weeklyDetails
        if (
            isinstance(value, dict)
            and value.get("recurType") == "Weekly"
            and "weeklyDetails" not in value
            and isinstance(value.get("dailyDetails"), dict)
        ):
            return {**value, "weeklyDetails": value["dailyDetails"], "dailyDetails": None}
        return value

    @model_validator(mode="after")
    def _complete(self) -> RecurrenceObject:
        name = f"{self.recur_type.lower()}Details"
        if (self.daily_details if self.recur_type == "Daily" else self.weekly_details) is None:
            raise ValueError(f"needs `{name}`, since `recurType` is {self.recur_type!r}")
        return self


class ScheduleBody(Wire):
    """Enable a schedule: wall-clock times of the campaign's own zone."""

    start_date_time: WallClock
    end_date_time: WallClock
    recurrence_object: RecurrenceObject | None = None


class EmptyBody(Wire):
    """Nothing."""


class RunContactsBody(Wire):
    """Which page of a run's contacts."""

    page: Annotated[int, Field(ge=1, le=1_000_000_000), Whole] = 1
    limit: Annotated[int, Field(ge=1, le=100), Whole] = 100


class SortBy(Wire):
    """In which order campaigns are listed; the first field counts most."""

    name: Direction = None
    created_at: Direction = None
    updated_at: Direction = None


class Filters(Wire):
    """Which campaigns are listed; an empty list is no filter."""

    status: (
        list[Literal["Active", "Completed", "Ready", "Paused", "Preparing", "Stopped", "Scheduled", "Rescheduled"]]
        | None
    ) = None
    priority: list[PriorityFilter] | None = None
    dialing_mode: list[Literal["Agentless", "Progressive", "Preview"]] | None = None


class CampaignsBody(Wire):
    """Which campaigns, and in which order."""

    type: Literal["voice", "sms"]
    skip: Paging[Annotated[int, Field(ge=0, le=1_000_000_000), Whole]] = None
    page: Paging[Annotated[int, Field(ge=1, le=1_000_000_000), Whole]] = None
    limit: Paging[Annotated[int, Field(ge=1, le=1000), Whole]] = None
    start_date: Instant = None
    end_date: Instant = None
    sort_by: SortBy | None = None
    filters: Filters | None = None


class ContactListUpdateBody(Wire):
    """Update a contact list: what is left out stays."""

    name: Name | None = None
    description: Description | None = None
    allow_duplicates: bool | None = None


class ContactListBody(Wire):
    """Create a contact list."""

    name: Name
    description: Description
    source: Literal["passiveApi", "passiveApiIntegration"]
    allow_duplicates: bool | None = None


class ContactBody(Wire):
    """One contact; fields that are not named here are kept as they come."""

    model_config = ConfigDict(extra="allow")

    phone_number: Phone
    time_zone: Annotated[Zone | None, BeforeValidator(_absent_when_empty), Field(json_schema_extra=_or_empty)] = None
    unique_id: UniqueId = None
    contact_priority: ContactPriority = None


class AddContactsBody(Wire):
    """Add contacts to a list. Each entry is read by itself, so that one that is wrong does not keep the others out."""

    contact_list_name: NotBlank = Field(alias="contact_list_name")
    data: Annotated[
        list[Annotated[Any, WithJsonSchema(ContactBody.model_json_schema())]],
        Field(min_length=1, max_length=LARGEST_CONTACT_BATCH),
    ]
