"""Bodies of outdial's own requests. Types are strict, and a field that is not known is an error: here, a right that is
misspelled must not be one that is silently not taken away."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from outdial.core.model import ConnectedCalls, NumberFormat, RingingCalls, Scope, Transport
from outdial.services.clients import LONGEST_OVERLAP_SECONDS

LARGEST_DNC_BATCH: Final = 5000
"""Numbers in one request: one transaction's worth."""


class Body(BaseModel):
    """Base of all bodies."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, alias_generator=to_camel, validate_by_alias=True
    )


def example(**values: Any) -> ConfigDict:
    """Return the configuration of a body with that example."""
    return ConfigDict(json_schema_extra={"examples": [values]})


def _changes(**values: Any) -> ConfigDict:
    """What is left out of a change stays, so its fields have no defaults."""

    def describe(schema: dict[str, Any]) -> None:
        for field in schema["properties"].values():
            field.pop("default", None)
        schema["examples"] = [values]

    return ConfigDict(json_schema_extra=describe)


# strict mode takes no text for an enumeration or an instant; JSON has nothing else for them
ScopeName = Annotated[Scope, Field(strict=False)]
Instant = Annotated[AwareDatetime, Field(strict=False)]


class NoBody(Body):
    """Nothing to say."""


class ApplicationBody(Body):
    """Change an application: what is left out stays."""

    model_config = _changes(name="Reminders", maxConcurrentCalls=30)

    name: str = ""
    max_concurrent_calls: int | None = None
    """null: no ceiling."""


class NewClientBody(Body):
    """Make an API client."""

    model_config = example(name="crm", scopes=["campaign_management"], requireJti=False)

    name: str
    scopes: Annotated[list[ScopeName], Field(min_length=1)]
    require_jti: bool = False


class ClientBody(Body):
    """Change an API client: what is left out stays."""

    model_config = _changes(scopes=["campaign_management", "do_not_call"], requireJti=True)

    name: str = ""
    scopes: Annotated[list[ScopeName], Field(min_length=1)] = []
    require_jti: bool = False


class RotateBody(Body):
    """Give a client a new secret."""

    model_config = example(overlapSeconds=3600)

    overlap_seconds: Annotated[int, Field(ge=0, le=LONGEST_OVERLAP_SECONDS)] = 0
    """How long the old one stays good too."""


class PreCallFetchBody(Body):
    """Where contacts are asked about."""

    model_config = example(url="https://crm.example.net/pre-call", headers={"Authorization": "Bearer 9f2c"})

    url: str
    headers: dict[str, str] = {}
    """Sent with each question; kept encrypted, never shown."""


class NewImportBody(Body):
    """Begin an import of contacts."""

    model_config = example(
        listName="March callers",
        fileName="people.csv",
        mapping={"phone": "Telefon", "timeZone": "Zone"},
        defaultRegion="DE",
    )

    list_name: str
    file_name: str
    create_list: bool = True
    """Make the list where there is none."""
    sheet: str | None = None
    """Of a workbook; left out: the first."""
    mapping: dict[str, str] = {}
    """`phone`, `timeZone`, `uniqueId`, `priority`, or an attribute of any name, and the column it is read from."""
    default_region: str | None = None
    """Country of numbers without +, two letters."""


class NewDncListBody(Body):
    """Make a do-not-call list."""

    model_config = example(name="Complaints")

    name: str


class DncNumbersBody(Body):
    """Put numbers on a list."""

    model_config = example(
        phoneNumbers=["+15550100001", "+15550100002"], reason="asked by phone", expiresAt="2099-01-01T00:00:00Z"
    )

    phone_numbers: Annotated[list[str], Field(min_length=1, max_length=LARGEST_DNC_BATCH)]
    reason: str = ""
    expires_at: Instant | None = None
    """null: never."""


class DncRemovalBody(Body):
    """Take numbers off a list."""

    model_config = example(phoneNumbers=["+15550100001"])

    phone_numbers: Annotated[list[str], Field(min_length=1, max_length=LARGEST_DNC_BATCH)]


class TrunkFields(Body):
    """What trunks have in common; meanings as in `outdial trunk add --help`."""

    port: int = 5060
    transport: Annotated[Transport, Field(strict=False)] = Transport.UDP
    username: str | None = None
    password: str | None = None
    """Never answered."""
    from_domain: str | None = None
    number_format: Annotated[NumberFormat, Field(strict=False)] = NumberFormat.E164_PLUS
    number_prefix: str = ""
    max_channels: int = 10
    calls_per_second: float = 1.0


class NewTrunkBody(TrunkFields):
    """Add a trunk."""

    model_config = example(
        name="Main",
        host="sip.example.net",
        transport="tls",
        username="acme",
        password="…",  # noqa: S106 - an example
        callerIds=["+15550100001"],
        maxChannels=30,
        callsPerSecond=5,
    )

    name: str
    host: str
    caller_ids: list[str]


class TrunkBody(TrunkFields):
    """Change a trunk: what is left out stays; `null` and `""` take a user name, password or domain away."""

    model_config = _changes(maxChannels=60, callsPerSecond=7.5)

    name: str = ""
    host: str = ""


class CallerIdBody(Body):
    """Let a number select a trunk."""

    model_config = example(phoneNumber="+15550100002")

    phone_number: str


class CloneBody(Body):
    """Make another campaign of the same definition."""

    model_config = example(name="Spring, second wave")

    name: str | None = None
    """Left out: the first one's, with "copy" behind."""


class StopOptionsBody(Body):
    """What a stop does with calls under way, and with the schedule."""

    model_config = example(ringing="cancel", connected="keep", keepSchedule=False)

    ringing: Annotated[RingingCalls, Field(strict=False)] = RingingCalls.CANCEL
    connected: Annotated[ConnectedCalls, Field(strict=False)] = ConnectedCalls.KEEP
    keep_schedule: bool = False
