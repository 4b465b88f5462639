"""What is mended in a generated request before it is sent: ids and names of things that are there, and what a schema
cannot say (that an end comes after its start). A part that is wrong on purpose stays as it is."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final
from zlib import crc32

import schemathesis
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.core import NotSet
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.transport import Response
from schemathesis.generation.meta import StatefulPhaseData

from generated.server import DNC_LIST
from generated.things import LIST, RECORDING, Things
from outdial.api.kore.hours import DAYS, parse_end, parse_start
from outdial.core.calling_hours import overlaps
from outdial.core.model import CallingWindow
from outdial.core.retry import ELSEWHERE_DISPOSITIONS, FINAL_DISPOSITIONS
from support.wire import CALLER_ID, FLOW

_TAKES_AWAY: Final = re.compile(r"^DELETE |/(revoke|rotate|finish|cancel)$|^PATCH .*/clients/|^PUT .*/contactList/")
"""Operations that leave the thing in another state than they found it."""
_ID: Final = re.compile("[a-z]{2,3}-[0-9a-f]{7,8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_ONE_IN: Final = 8
"""So many requests keep the ids that were generated, which nobody has; half of them somebody else's application too."""
_FLOW: Final = {"start": "hello", "steps": {"hello": {"say": "Hello {first_name|there}."}}}
_EMERGENCY: Final = "/api/outdial/emergency-stop"
_FILES: Final = "/files"
_NUMBERS: Final = b"phone\n+12125550100\n"
_OF_THE_CONNECTION: Final = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Headers by which client and server understand each other's bytes (RFC 9110 section 7.6.1, RFC 9112): a server that
cannot refuses before anything of ours is asked."""


def register_formats() -> None:
    """Say what is generated for the formats that only this document has."""
    phones = st.integers(0, 9_999_999).map(lambda number: f"+1212{number:07d}")
    schemathesis.openapi.format("phone-number", phones)
    schemathesis.openapi.format("time-zone", st.sampled_from(("Europe/Paris", "Asia/Kolkata", "America/New_York")))
    schemathesis.openapi.format("country-code", st.sampled_from(("US", "DE", "IN")))
    schemathesis.openapi.format("web-address", st.integers(1, 999).map(lambda place: f"https://192.0.2.9/{place}"))
    schemathesis.openapi.media_type("audio/wav", st.just(RECORDING))


class Mender:
    """Mends requests; ``things`` are those that are there, and ``operator`` says that the operator asks."""

    def __init__(self, things: Things, *, operator: bool = False) -> None:
        self._things = things
        self._operator = operator
        self._turns = count(1)
        self._owner = things.server.owner
        self._answered: set[str] = set()
        """Ids and names of lists in answers so far: a link may have brought them into a request."""

    def note(self, answer: Response) -> None:
        """Remember what is there now."""
        if answer.content.startswith(b"RIFF"):
            # a recording names nothing
            return
        self._answered.update(_ID.findall(answer.text))
        if "/createContactList" in answer.request.url and answer.status_code == 200:
            self._answered.add(answer.json()["data"]["name"])

    def mend(self, case: Case) -> None:
        """Mend what is not wrong on purpose."""
        # what a link has brought is the answer of an earlier request
        linked = case.meta is not None and isinstance(case.meta.phase.data, StatefulPhaseData)
        body = "" if isinstance(case.body, NotSet) else case.body
        drawn = f"{case.operation.label} {case.path_parameters} {case.query} {body}"
        share, stays = divmod(crc32(drawn.encode(errors="replace")), _ONE_IN)
        own = not linked and stays == 0
        # where the body is wrong too, the credentials would be all that is ever refused
        further = _is_wrong(case, ParameterLocation.BODY)
        if further or not _is_wrong(case, ParameterLocation.PATH):
            if not own or share % 2:
                self._application(case)
            if not own:
                self._path(case, linked=linked)
        for name in [name for name in case.headers if name.lower() in _OF_THE_CONNECTION]:
            del case.headers[name]
        if further or not _is_wrong(case, ParameterLocation.HEADER):
            self._headers(case)
        if not _is_wrong(case, ParameterLocation.QUERY):
            self._query(case, own=own or linked)
            if linked and "campaignType" in case.query:
                case.query["campaignType"] = "voice"
        if _is_wrong(case, ParameterLocation.BODY):
            self._let_the_body_be_read(case)
        else:
            self._body(case, own=own, linked=linked)
        if self._operator and case.path.startswith(_EMERGENCY):
            self._emergency(case)

    def _emergency(self, case: Case) -> None:
        """Let three of four find something to do: a run to stop, an emergency stop to lift; the others find it done."""
        lifts = case.path.endswith("/lift")
        in_force = lifts is (next(self._turns) % 4 > 0)
        self._things.emergency(in_force=in_force)
        if not in_force and not lifts:
            self._things.dialed_list()

    def _application(self, case: Case) -> None:
        known = {"iid": self._owner.iid, "accountId": self._owner.account_id}
        case.path_parameters.update({name: known[name] for name in known if name in case.path_parameters})

    def _path(self, case: Case, *, linked: bool) -> None:
        takes_away = _TAKES_AWAY.search(case.operation.label) is not None
        for name in case.path_parameters:
            if name in {"iid", "accountId"}:
                continue
            if case.operation.label.endswith("/events"):
                # nobody runs imports here, so one that has not ended would be followed for an hour
                case.path_parameters[name] = self._things.known("endedImportId")
            elif not linked and (verb := _verb(case)):
                case.path_parameters[name] = self._things.campaign_to(verb)
            elif case.operation.label.startswith("DELETE ") and case.path.endswith("/pre-call-fetch"):
                case.path_parameters[name] = self._things.fetching_campaign()
            elif case.path.endswith(("/call", "/callContactAt")) and name != "contact" and not linked:
                case.path_parameters[name] = self._things.dialed_run()
            elif case.path.endswith("/courtesy-message") and not case.operation.label.startswith("PUT "):
                case.path_parameters[name] = self._things.courteous_campaign()
            elif not linked or case.path_parameters[name] not in self._answered:
                case.path_parameters[name] = self._things.fresh(name) if takes_away else self._things.known(name)

    def _headers(self, case: Case) -> None:
        for name, value in (("iid", self._owner.iid), ("accountId", self._owner.account_id)):
            if name in case.headers:
                case.headers[name] = value
        if "Idempotency-Key" in case.headers:
            # one that was drawn before would be another request's
            case.headers["Idempotency-Key"] = self._things.unused("generated")

    def _query(self, case: Case, *, own: bool) -> None:
        if "at" in case.query:
            # explanations know the years since 2000
            case.query["at"] = "2026-03-01T10:00:00Z"
        if "accountId" in case.query:
            case.query["accountId"] = self._owner.account_id
        if "campaignType" in case.query and not own:
            # what is not built would be all that is ever said
            case.query["campaignType"] = "voice"
        if "campaignId" in case.query and not own:
            case.query["campaignId"] = self._things.known("campaignId")
        if case.path.endswith("/machine-reviews/table"):
            # any two instants would be years apart
            case.query |= {"begin": "2026-03-01T10:00:00Z", "end": "2026-03-31T10:00:00Z"}
        if case.path.endswith(_FILES):
            # what the file has, which is no workbook, and an instant to come
            case.query.pop("sheet", None)
            case.query |= {"column": ["phone"]} if "column" in case.query else {}
            case.query |= {"expiresAt": "2099-01-01T00:00:00Z"} if "expiresAt" in case.query else {}
        if "campaignName" in case.query and not own:
            case.query["campaignName"] = name = self._things.unused("Scheduled")
            case.query["campaignId"] = self._things.campaign(name)

    def _let_the_body_be_read(self, case: Case) -> None:
        """Ask for what reads the body, where that depends on the query, and let it be no blank one, which is none."""
        if isinstance(case.body, bytes) and not case.body.removeprefix(BOM_UTF8).strip():
            case.body = b"{"
        if "/status" in case.path:
            case.query["view"] = "contacts"
        if "trigger" in case.query:
            case.query["trigger"] = "stop"
        if "enableSchedule" in case.query:
            case.query["enableSchedule"] = "true"

    def _body(self, case: Case, *, own: bool, linked: bool) -> None:
        if "enableSchedule" in case.query and not _is_wrong(case, ParameterLocation.QUERY):
            sets = isinstance(case.body, dict) and "startDateTime" in case.body
            case.query["enableSchedule"] = "true" if sets else "false"
        if case.path.endswith("/callContactAt") and isinstance(case.body, list):
            at = datetime.now(UTC) + timedelta(hours=1)
            case.body = [{**one, "timeToContact": at.isoformat()} for one in case.body]
        if case.path.endswith(_FILES):
            case.body = _NUMBERS
        if isinstance(case.body, NotSet) or not isinstance(case.body, dict):
            return
        body = {**case.body}
        if "dialingStrategy" in body:
            _campaign(body, voice=linked)
            if not linked or not self._answered.issuperset(body["contactLists"]):
                body["contactLists"] = [LIST]
        if "contact_list_name" in body and not (linked and body["contact_list_name"] in self._answered):
            body["contact_list_name"] = LIST
        if linked and "name" in body:
            # a name that is taken would end the walk
            body["name"] = self._things.unused("Walked")
        if "/stops/" in case.path and not own:
            # something is under way that it stops
            dialed = self._things.dialed_list()
            body |= {name: value for name, value in dialed.items() if name in body}
        if "startDateTime" in body:
            body |= {"startDateTime": "2040-03-01 09:00:00", "endDateTime": "2199-06-01 00:00:00"}
        for name in ("startDate", "endDate"):
            # with its offset it would lie outside the years there are
            if str(body.get(name)).startswith(("0001-", "9999-")):
                body[name] = "2026-02-16T00:00:00Z"
        if "timeZoneOffset" in body:
            body |= {"startDate": "2026-02-16", "endDate": "2026-02-22"}
        if body.get("expiresAt"):
            body["expiresAt"] = "2099-01-01T00:00:00Z"
        if body.get("password") and not body.get("username"):
            body["username"] = "acme"
        if body.get("port") == 0:
            body["port"] = 5060
        if "headers" in body and isinstance(body["headers"], dict):
            # names that differ in case only are one name
            body["headers"] = {name: body["headers"][name] for name in {n.lower(): n for n in body["headers"]}.values()}
        if isinstance(body.get("mapping"), dict):
            body["mapping"] = {column: word for word, column in {v: k for k, v in body["mapping"].items()}.items()}
        if body.get("createList") is False:
            body["listName"] = LIST
        if case.path.endswith("/calling-hours"):
            _hours(body)
        if case.path.endswith("/dialing-rules"):
            # one for each way to end after which somebody is tried again
            ends = {one["disposition"]: one for one in body.get("retryRules", ())}
            elsewhere = {end for end, one in ends.items() if one.get("otherNumber")} & ELSEWHERE_DISPOSITIONS
            body["retryRules"] = [one for end, one in ends.items() if end in elsewhere or end not in FINAL_DISPOSITIONS]
            if isinstance(body.get("detection"), dict):
                # the longest: each of the others must be shorter
                body["detection"]["decisionSeconds"] = 30
        if case.path.endswith("/courtesy-message"):
            body["flow"] = FLOW
        if case.path.endswith("/erasures"):
            # nobody of these: everything else that is generated needs its contacts
            body["phoneNumber"] = f"+1212{next(self._turns):07d}"
        if case.path.endswith("/simulations"):
            # shares that together are more than all calls would be all that is ever said
            body |= {"startAt": None, "busyRate": None, "noAnswerRate": None, "invalidRate": None}
        if case.path.endswith("/flows/documents"):
            body |= {"document": _FLOW, "sounds": {}}
        if case.path.endswith("/attempt-limits"):
            body["campaignId"] = None
        if case.path.endswith("/attempt-limit-presets"):
            body |= {"preset": "us-florida", "matter": None, "campaignId": None}
        if case.path.endswith("/replay"):
            # nothing has happened that a webhook was told of
            body["deliveryId"] = None
        case.body = body


def _is_wrong(case: Case, location: ParameterLocation) -> bool:
    return case.meta is not None and case.meta.is_negative_at(location)


def _verb(case: Case) -> str:
    """Return what is asked of a campaign: to start (``play``), ``stop``, ``pause`` or ``resume``; or nothing."""
    if case.operation.method.upper() != "POST" or "{campaignId}" not in case.path:
        return ""
    verb = case.query.get("trigger") if "trigger" in case.query else case.path.rpartition("/")[2]
    return verb if isinstance(verb, str) and verb in {"play", "stop", "pause", "resume"} else ""


def _hours(body: dict[str, Any]) -> None:
    """Let windows neither be empty nor overlap, dates come once, and calendars be ones that there are."""
    window = {"start": "09:00", "end": "18:00"}
    body["windows"] = [{**body["windows"][0], "days": None, **window}] if body["windows"] else [window]
    dates = {one["date"]: {**one, "windows": [window]} for one in body.get("exceptions", ())}
    body["exceptions"] = list(dates.values())
    body["holidays"] = ["US" for _ in body.get("holidays", ())]


def _campaign(body: dict[str, Any], *, voice: bool) -> None:
    """Let a campaign refer to what is there, and its days end after they begin; ``voice``: let it be one that can be
    started."""
    if voice:
        body["campaignType"] = "voice"
    if "dncLists" in body:
        body["dncLists"] = {"name": DNC_LIST}
    if body["dialingMode"] == "Agentless":
        body["experienceFlowName"] = FLOW
    if body.get("schedule"):
        body["schedule"] = {"isSchedulingEnabled": False}
    strategy = {**body["dialingStrategy"], "callerId": {"phoneNumber": CALLER_ID}}
    hours = strategy["callingHours"]
    days: list[dict[str, Any]] = []
    for day in hours["days"]:
        ordered = parse_start(day["start"]) < parse_end(day["end"])
        more = [*days, day if ordered else {**day, "start": "9:00 AM", "end": "6:00 PM"}]
        # windows overlap by chance: the first one stays
        days = days if overlaps(map(_window, more)) else more
    strategy["callingHours"] = {**hours, "days": days}
    body["dialingStrategy"] = strategy


def _window(day: dict[str, Any]) -> CallingWindow:
    return CallingWindow(DAYS.index(day["day"]), parse_start(day["start"]), parse_end(day["end"]))
