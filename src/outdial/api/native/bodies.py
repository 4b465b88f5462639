"""Bodies of outdial's own requests. Types are strict, and a field that is not known is an error: here, a right that is
misspelled must not be one that is silently not taken away."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from outdial.api.numbers import Whole
from outdial.api.texts import NAME, PHONE, REGION, line
from outdial.core.machine import USUAL_TIMINGS
from outdial.core.machine_review import LONGEST_SECONDS, NO_REVIEW, Actual
from outdial.core.model import (
    Breaker,
    ConnectedCalls,
    Disposition,
    NumberFormat,
    RetryOrder,
    RingingCalls,
    Scope,
    Transport,
)
from outdial.core.numbers import MOST_NUMBERS
from outdial.core.webhook import WebhookEvent
from outdial.services import caller_ids, dialing_rules, pre_calls, trunks
from outdial.services.access import LARGEST_CONCURRENCY
from outdial.services.clients import LONGEST_OVERLAP_SECONDS
from outdial.services.contact_columns import LONGEST_CELL, MOST_COLUMNS
from outdial.services.fields import LONGEST_DESCRIPTION, LONGEST_URL
from outdial.services.imports import LONGEST_FILE_NAME, LONGEST_SHEET_NAME

_HOST_KINDS: Final = [{"type": "string", "format": kind} for kind in ("hostname", "ipv4", "ipv6")]

LARGEST_DNC_BATCH: Final = 5000
"""Numbers in one request: one transaction's worth."""


_BREAKER: Final = Breaker()


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
def told(**schema: Any) -> Any:
    """Return what the document says of a field beside its type; the service that reads it checks it."""
    return Field(json_schema_extra=schema)


Name = Annotated[str, told(**NAME)]
Reason = Annotated[str, told(**line(LONGEST_DESCRIPTION))]
Phone = Annotated[str, told(**PHONE)]
Base64 = Annotated[str, told(contentEncoding="base64")]
Host = Annotated[str, WithJsonSchema({"anyOf": _HOST_KINDS})]
MappedName = Annotated[str, told(maxLength=LONGEST_CELL)]
FromDomain = Annotated[str, WithJsonSchema({"anyOf": [{"type": "string", "maxLength": 0}, *_HOST_KINDS]})]
HeaderName = Annotated[str, told(pattern="^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]
HeaderValue = Annotated[str, told(pattern="^([!-~]([ -~]*[!-~])?)?$", maxLength=pre_calls.LONGEST_HEADER)]
Credential = Annotated[str, told(**line(trunks.LONGEST_CREDENTIAL))]
WebAddress = Annotated[str, told(format="web-address", maxLength=LONGEST_URL)]
EventName = Annotated[WebhookEvent, Field(strict=False)]
ScopeName = Annotated[Scope, Field(strict=False)]
DispositionName = Annotated[Disposition, Field(strict=False)]
OrderName = Annotated[RetryOrder, Field(strict=False)]
Instant = Annotated[AwareDatetime, Field(strict=False)]


class NoBody(Body):
    """Nothing to say."""


class ApplicationBody(Body):
    """Change an application: what is left out stays."""

    model_config = _changes(name="Reminders", maxConcurrentCalls=30)

    name: Name = ""
    max_concurrent_calls: Annotated[int, told(minimum=1, maximum=LARGEST_CONCURRENCY), Whole] | None = None
    """null: no ceiling."""


class NewClientBody(Body):
    """Make an API client."""

    model_config = example(name="crm", scopes=["campaign_management"], requireJti=False)

    name: Name
    scopes: Annotated[list[ScopeName], Field(min_length=1)]
    require_jti: bool = False


class ClientBody(Body):
    """Change an API client: what is left out stays."""

    model_config = _changes(scopes=["campaign_management", "do_not_call"], requireJti=True)

    name: Name = ""
    scopes: Annotated[list[ScopeName], Field(min_length=1)] = []
    require_jti: bool = False


class RotateBody(Body):
    """Give a client or a webhook a new secret."""

    model_config = example(overlapSeconds=3600)

    overlap_seconds: Annotated[int, Field(ge=0, le=LONGEST_OVERLAP_SECONDS), Whole] = 0
    """How long the old one stays good too."""


class NewWebhookBody(Body):
    """Have an address told of what happens from now on."""

    model_config = example(url="https://crm.example.net/outdial", events=["run.stopped", "attempt.ended"])

    url: WebAddress
    events: Annotated[list[EventName], Field(min_length=1)] = list(WebhookEvent)
    """What it is told of; left out: everything."""


class WebhookBody(Body):
    """Change a webhook: what is left out stays."""

    model_config = _changes(events=["run.stopped"], enabled=True)

    url: WebAddress = ""
    events: Annotated[list[EventName], Field(min_length=1)] = []
    enabled: bool = True
    """Switched off, nothing is sent to it; switched on again it is told what has happened meanwhile."""


class ReplayBody(Body):
    """Send dead messages once more."""

    model_config = example(deliveryId="4711")

    delivery_id: Annotated[str, told(pattern="^[0-9]{1,18}$")] | None = None
    """Only this one; left out: every dead one."""


class PreCallFetchBody(Body):
    """Where contacts are asked about."""

    model_config = example(url="https://crm.example.net/pre-call", headers={"Authorization": "Bearer 9f2c"})

    url: WebAddress
    headers: Annotated[
        dict[HeaderName, HeaderValue], told(maxProperties=pre_calls.MOST_HEADERS, additionalProperties=False)
    ] = {}
    """Sent with each question; kept encrypted, never shown."""


class CourtesyMessageBody(Body):
    """What whoever answers a call hears although it was being cancelled."""

    model_config = example(flow="Sorry")

    flow: Name
    """A flow of the application, by its name or id."""


class RetryRuleBody(Body):
    """What follows an attempt that ended in one way."""

    disposition: DispositionName
    most: Annotated[int, Field(ge=0, le=dialing_rules.MOST_RETRIES), Whole] | None = None
    """Retries after attempts that ended so; null: as many as maxAttemptsPerRecord allows, which they never pass."""
    seconds: Annotated[int, Field(ge=0, le=dialing_rules.LONGEST_RETRY_SECONDS), Whole] | None = None
    """The least time to the next attempt; null: the campaign's own."""
    next_window: bool = False
    """Wait until calling hours have ended and begun again."""
    other_number: bool = False
    """Turn to another number of the contact; who has no other is called at the same again. `invalid_number` can have no
    rule without it, and who has no other number is done then."""


class BreakerBody(Body):
    """When a run pauses itself."""

    attempts: Annotated[int, Field(ge=dialing_rules.FEWEST_ATTEMPTS, le=dialing_rules.MOST_ATTEMPTS), Whole] = (
        _BREAKER.attempts
    )
    """So many that have ended since the run was started or resumed are looked at."""
    share: Annotated[float, Field(ge=dialing_rules.SMALLEST_SHARE, le=1)] = _BREAKER.share
    """From this share of failed ones on."""


def _bounds(name: str) -> Any:
    least, most = dialing_rules.TIMING_BOUNDS[name]
    return Field(ge=least, le=most)


class DetectionBody(Body):
    """By what an answering machine is told from a person, in seconds. What is left out is as usual."""

    decision_seconds: Annotated[float, _bounds("decision_seconds")] = USUAL_TIMINGS.decision_seconds
    """At most so long after the answer: then it is a person's call. Longer than the three that follow."""
    no_speech_seconds: Annotated[float, _bounds("no_speech_seconds")] = USUAL_TIMINGS.no_speech_seconds
    """Nothing is said for so long: a person's call."""
    speech_seconds: Annotated[float, _bounds("speech_seconds")] = USUAL_TIMINGS.speech_seconds
    """So much speech without a pause is a machine's."""
    pause_seconds: Annotated[float, _bounds("pause_seconds")] = USUAL_TIMINGS.pause_seconds
    """So much silence after speech is a person who waits."""
    words: Annotated[int, _bounds("words"), Whole] = USUAL_TIMINGS.words
    """So many words without a pause are a machine's; about one a syllable is counted."""
    silence_level: Annotated[int, _bounds("silence_level"), Whole] = USUAL_TIMINGS.silence_level
    """Sound below it is silence; mean amplitude of 16-bit samples."""
    greeting_seconds: Annotated[float, _bounds("greeting_seconds")] = USUAL_TIMINGS.greeting_seconds
    """So much silence after a machine's greeting and beep: it records."""
    tone_seconds: Annotated[float, _bounds("tone_seconds")] = USUAL_TIMINGS.tone_seconds
    """A greeting that goes on for so long after the verdict is not waited for any longer."""


class ReviewBody(Body):
    """Which share of verdicts about who has answered is kept for review, in percent, by chance. The first seconds of
    those calls are recorded, and nobody is asked whether they may be: see docs/how-to/review-verdicts.md."""

    machines: Annotated[float, Field(ge=0, le=100)] = NO_REVIEW.machines
    """Of calls that are taken for machines'."""
    people: Annotated[float, Field(ge=0, le=100)] = NO_REVIEW.people
    """Of those that are treated as people's."""
    seconds: Annotated[float, Field(ge=dialing_rules.SHORTEST_SAMPLE_SECONDS, le=LONGEST_SECONDS)] = NO_REVIEW.seconds
    """So much of a call is recorded, from the begin of the detection on."""


class DialingRulesBody(Body):
    """A campaign's dialing rules, whole: what is left out is as if it had never been set."""

    model_config = example(
        retryRules=[
            {"disposition": "busy", "most": 2, "seconds": 300},
            {"disposition": "no_answer", "nextWindow": True, "otherNumber": True},
        ],
        retryOrder="when_due",
        breaker={"attempts": 40, "share": 0.8},
    )

    retry_rules: list[RetryRuleBody] = []
    retry_order: OrderName = RetryOrder.AFTER_FIRST_TRIES
    breaker: BreakerBody | None = BreakerBody()
    """null: the run never pauses itself."""
    detection: DetectionBody = DetectionBody()
    """Counts where the campaign's enableMachineDetect is detect or disconnect."""
    review: ReviewBody = ReviewBody()
    """Too."""


class MachineReviewBody(Body):
    """Say who had really answered."""

    model_config = example(actual="person")

    actual: Annotated[Actual, Field(strict=False)]
    """`unclear`: it cannot be told."""


class NewImportBody(Body):
    """Begin an import of contacts."""

    model_config = example(
        listName="March callers",
        fileName="people.csv",
        mapping={"phone": "Telefon", "timeZone": "Zone"},
        defaultRegion="DE",
    )

    list_name: Name
    file_name: Annotated[str, told(**line(LONGEST_FILE_NAME, blank=False))]
    create_list: bool = True
    """Make the list where there is none."""
    sheet: Annotated[str, told(**line(LONGEST_SHEET_NAME))] | None = None
    """Of a workbook; left out: the first."""
    mapping: Annotated[dict[MappedName, MappedName], told(maxProperties=MOST_COLUMNS)] = {}
    """`phone`, `timeZone`, `uniqueId`, `priority`, or an attribute of any name, and the column it is read from;
    `phone2` to `phone5` are other numbers of the contact, in the order in which retry rules turn to them."""
    default_region: Annotated[str, told(**REGION)] | None = None
    """Country of numbers without +, two letters."""


class NewDncListBody(Body):
    """Make a do-not-call list."""

    model_config = example(name="Complaints")

    name: Name


class DncNumbersBody(Body):
    """Put numbers on a list."""

    model_config = example(
        phoneNumbers=["+15550100001", "+15550100002"], reason="asked by phone", expiresAt="2099-01-01T00:00:00Z"
    )

    phone_numbers: Annotated[list[str], Field(min_length=1, max_length=LARGEST_DNC_BATCH)]
    reason: Reason = ""
    expires_at: Instant | None = None
    """null: never."""


class OptOutBody(Body):
    """Put the numbers of one person on a list who wants no more calls."""

    model_config = example(phoneNumbers=["+15550100001"], reason="told Ann on the phone")

    phone_numbers: Annotated[list[str], Field(min_length=1, max_length=MOST_NUMBERS)]
    reason: Reason = ""


class DncRemovalBody(Body):
    """Take numbers off a list."""

    model_config = example(phoneNumbers=["+15550100001"])

    phone_numbers: Annotated[list[str], Field(min_length=1, max_length=LARGEST_DNC_BATCH)]


class TrunkFields(Body):
    """What trunks have in common; meanings as in `outdial trunk add --help`."""

    port: Annotated[int, told(minimum=0, maximum=trunks.LARGEST_PORT), Whole] = 5060
    transport: Annotated[Transport, Field(strict=False)] = Transport.UDP
    username: Credential | None = None
    password: Credential | None = None
    """Never answered; it needs a user name."""
    from_domain: FromDomain | None = None
    number_format: Annotated[NumberFormat, Field(strict=False)] = NumberFormat.E164_PLUS
    number_prefix: Annotated[str, told(pattern="^[0-9*+]{0,16}$")] = ""
    max_channels: Annotated[int, told(minimum=1, maximum=trunks.MOST_CHANNELS), Whole] = 10
    calls_per_second: Annotated[
        float, told(minimum=trunks.LEAST_CALLS_PER_SECOND, maximum=trunks.MOST_CALLS_PER_SECOND)
    ] = 1.0


class NewFlowBody(Body):
    """A flow of several steps."""

    model_config = example(
        name="Reminder",
        document={
            "start": "ask",
            "steps": {
                "ask": {
                    "gather": {"say": "Hello {first_name|there}. Press 1 to confirm, 9 for no more calls.", "tries": 2},
                    "choices": {"1": "confirmed", "9": "leave"},
                },
                "confirmed": {"result": "confirmed"},
                "leave": {"opt_out": "account"},
            },
        },
        sounds={},
    )

    name: Name
    document: dict[str, Any]
    """`start`, `steps` and, where wanted, `language`, `sounds` and `machine_start`; see docs/how-to/write-a-flow.md."""
    sounds: dict[str, Base64] = Field(default_factory=dict)
    """The WAV files that the document names, in base64, by those names."""


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

    name: Name
    host: Host
    caller_ids: Annotated[list[Phone], told(minItems=1)]


class TrunkBody(TrunkFields):
    """Change a trunk: what is left out stays; `null` and `""` take a user name, password or domain away."""

    model_config = _changes(maxChannels=60, callsPerSecond=7.5)

    name: Name = ""
    host: Host = ""


class CallerIdBody(Body):
    """Let a number select a trunk."""

    model_config = example(phoneNumber="+15550100002")

    phone_number: Phone


class CallerCapsBody(Body):
    """How much may be called with a number; null or left out: as much as its trunk takes."""

    model_config = example(maxConcurrentCalls=10, callsPerSecond=2.0, callsPerDay=500)

    max_concurrent_calls: Annotated[int, told(minimum=1, maximum=trunks.MOST_CHANNELS), Whole] | None = None
    calls_per_second: (
        Annotated[float, told(minimum=trunks.LEAST_CALLS_PER_SECOND, maximum=trunks.MOST_CALLS_PER_SECOND)] | None
    ) = None
    calls_per_day: Annotated[int, told(minimum=1, maximum=caller_ids.MOST_CALLS_PER_DAY), Whole] | None = None
    """In any 24 hours."""


class CloneBody(Body):
    """Make another campaign of the same definition."""

    model_config = example(name="Spring, second wave")

    name: Name | None = None
    """Left out: the first one's, with "copy" behind."""


class StopOptionsBody(Body):
    """What a stop does with calls under way, and with the schedule."""

    model_config = example(ringing="cancel", connected="keep", keepSchedule=False)

    ringing: Annotated[RingingCalls, Field(strict=False)] = RingingCalls.CANCEL
    connected: Annotated[ConnectedCalls, Field(strict=False)] = ConnectedCalls.KEEP
    keep_schedule: bool = False
