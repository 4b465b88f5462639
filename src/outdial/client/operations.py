"""What can be asked of a server, each as a conversation (see ``steps``); both clients have them all as methods."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, islice
from typing import Any, Final, Generic, Literal, TypeVar
from urllib.parse import quote

import msgspec

from outdial.client.answers import (
    AddedContacts,
    AddedNumbers,
    CallBack,
    Campaign,
    CampaignStatus,
    Contact,
    ContactList,
    ContactProblem,
    Explanation,
    ManualCall,
    NumberList,
    RunContact,
    ScheduledCampaign,
    StartedRun,
    StoppedRun,
    Waterfall,
)
from outdial.client.drafts import CampaignDraft, Mode, NewContact, Plan, Status
from outdial.client.errors import AddingBrokenOffError, ClientError, InvalidInputError
from outdial.client.steps import Items, Listing, Request, Site, Steps, ask, insist, last_line, require_id

CONTACTS_PER_REQUEST: Final = 100
"""The most the API takes at once."""

LARGEST_PAGE: Final = 1000
"""Campaigns or contacts in one answer."""

LARGEST_RUN_PAGE: Final = 100
"""Contacts of a run in one answer."""

STOP_SECONDS: Final = 30.0
"""How long a stop is asked for unless told; longer than any proof takes while an engine can be reached."""

FILE_SECONDS: Final = 600.0
"""How long a file of numbers may take unless told; a hundred thousand take a minute at most."""

_VOICE: Final = {"campaignType": "voice"}
_NATIVE: Final = "/api/outdial"
_CONTACT_OF_RUN: Final = re.compile(r"\+[1-9][0-9]{6,14}|cdl-[0-9a-f-]{36}")
_CONTACT: Final = re.compile(r"`data\[([0-9]+)\]")
_ORDERS: Final = {"created_at": "createdAt", "updated_at": "updatedAt", "name": "name"}
_CONTACT_FIELDS: Final = frozenset({"_id", "phoneNumber", "createdAt", "updatedAt"})

Order = Literal["created_at", "updated_at", "name"]
A = TypeVar("A")


def create_contact_list(
    site: Site, name: str, *, description: str = "", allow_duplicates: bool = False
) -> Steps[ContactList]:
    """Create an empty contact list and return it. ``allow_duplicates``: one number may be in it more than once."""
    body = {
        "name": name,
        "description": description,
        "source": "passiveApi",
        "allowDuplicates": allow_duplicates,
    }
    return ask(site, _change(site, "POST", "/contactList/createContactList", body), _data(ContactList))


def add_contacts(site: Site, list_name: str, contacts: Iterable[NewContact]) -> Steps[AddedContacts]:
    """Add people to the list of that name, a hundred a request, and return who was left out and why.

    Contacts are taken from the iterable as they are sent, so it may be longer than memory. A batch that fails as a
    whole raises AddingBrokenOffError when others were added before it.
    """
    source: Iterator[NewContact] = iter(contacts)
    sent, problems = 0, list[ContactProblem]()
    while batch := list(islice(source, CONTACTS_PER_REQUEST)):
        body = {"contact_list_name": list_name, "data": [contact.body() for contact in batch]}
        request = _change(site, "POST", "/contactList/addContacts", body, version="1.1")
        try:
            sentences = yield from ask(site, request, _problems)
        except ClientError as error:
            # a batch of which nobody could be added is refused whole, in the same sentences
            whole = isinstance(error, InvalidInputError) and all(map(_CONTACT.match, error.sentences))
            if not whole:
                if not sent:
                    raise
                raise AddingBrokenOffError(error, AddedContacts(sent, tuple(problems))) from error
            sentences = error.sentences
        problems += [_problem(sentence, sent) for sentence in sentences]
        sent += len(batch)
    return AddedContacts(sent, tuple(problems))


def update_contact_list(
    site: Site,
    list_id: str,
    *,
    name: str | None = None,
    description: str | None = None,
    allow_duplicates: bool | None = None,
) -> Steps[ContactList]:
    """Change what is given and return the list; ``allow_duplicates`` changes while it is empty only."""
    said = {"name": name, "description": description, "allowDuplicates": allow_duplicates}
    body = {field: value for field, value in said.items() if value is not None}
    # the second version of the wire has no word for duplicates
    request = _change(site, "PUT", f"/contactList/{require_id(list_id)}", body, version=1)
    yield from ask(site, request, lambda _document: None)
    return (yield from get_contact_list(site, list_id))


def get_contact_list(site: Site, list_id: str) -> Steps[ContactList]:
    """Return a contact list."""
    return ask(site, _look(site, "GET", f"/contactList/{require_id(list_id)}"), _data(ContactList))


def contact_lists(site: Site) -> Steps[tuple[ContactList, ...]]:
    """Return all contact lists of the application, newest first."""
    request = _look(site, "POST", "/contactList/getAllListDetails", query={"type": "call"})
    return ask(site, request, _data(tuple[ContactList, ...]))


def contacts(site: Site, list_id: str, *, page_size: int = LARGEST_PAGE) -> Listing[Contact]:
    """Go through the people in a contact list, in the order in which they were added."""
    path = f"/contactList/{require_id(list_id)}/getAllContacts"

    def page(_number: int, skip: int) -> Steps[_Page[Contact]]:
        query = {"skip": str(skip), "limit": str(page_size)}
        return ask(site, _look(site, "GET", path, query=query), _page(_contact))

    return _through(page)


def delete_contact_list(site: Site, list_id: str) -> Steps[ContactList]:
    """Delete a contact list that no campaign refers to; return it as it was."""
    return ask(site, _change(site, "DELETE", f"/contactList/{require_id(list_id)}"), _data(ContactList))


def create_campaign(site: Site, draft: CampaignDraft) -> Steps[str]:
    """Create a campaign, ready to be started; return its id."""
    request = _change(site, "POST", "", draft.body(), version=draft.version, query=_VOICE)
    return ask(site, request, _created)


def update_campaign(site: Site, campaign_id: str, draft: CampaignDraft) -> Steps[Campaign]:
    """Give a campaign another definition, whole, while no run of it is live; return it."""
    path, version = f"/{require_id(campaign_id)}", draft.version
    yield from ask(site, _change(site, "PUT", path, draft.body(), version=version, query=_VOICE), _created)
    return (yield from get_campaign(site, campaign_id))


def get_campaign(site: Site, campaign_id: str) -> Steps[Campaign]:
    """Return a campaign."""
    return ask(site, _look(site, "GET", f"/{require_id(campaign_id)}"), _data(Campaign))


def campaigns(
    site: Site,
    *,
    statuses: Iterable[Status] = (),
    priorities: Iterable[int] = (),
    modes: Iterable[Mode] = (),
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    order: Order = "created_at",
    descending: bool = False,
    page_size: int = 200,
) -> Listing[Campaign]:
    """Go through the application's campaigns that fit; empty filters fit all. Both times are included and aware.

    Oldest first unless told, so that what is created meanwhile comes at the end and moves nobody to another page.
    """
    filters = {"status": list(statuses), "priority": list(priorities), "dialingMode": list(modes)}
    body: dict[str, Any] = {
        "type": "voice",
        "limit": page_size,
        "sortBy": {_ORDERS[order]: "desc" if descending else "asc"},
        "filters": {name: values for name, values in filters.items() if values},
    }
    body |= {
        name: _instant(at) for name, at in {"startDate": created_from, "endDate": created_to}.items() if at is not None
    }

    def page(_number: int, skip: int) -> Steps[_Page[Campaign]]:
        request = _look(site, "POST", "/getAllCampaignDetails", {**body, "skip": skip})
        return ask(site, request, _page(_whole(Campaign)))

    return _through(page)


def delete_campaign(site: Site, campaign_id: str) -> Steps[Campaign]:
    """Delete a campaign that neither runs nor is scheduled; return it as it was."""
    return ask(site, _change(site, "DELETE", f"/{require_id(campaign_id)}", query=_VOICE), _data(Campaign))


def start(site: Site, campaign_id: str) -> Steps[StartedRun]:
    """Begin a run of a campaign. Never sent twice unless the server promises to start once (see the client's
    ``idempotent``); after a NoAnswerError, ``status`` tells whether it began."""
    request = _change(site, "POST", f"/{require_id(campaign_id)}", {}, version=1, query={**_VOICE, "trigger": "play"})
    return ask(site, request, _whole(StartedRun))


def stop(
    site: Site,
    campaign_id: str,
    *,
    ringing: Literal["cancel", "let_ring"] = "cancel",
    connected: Literal["keep", "hang_up"] = "keep",
    keep_schedule: bool = False,
    within_seconds: float = STOP_SECONDS,
) -> Steps[StoppedRun]:
    """Stop a campaign: when this returns, no further call of its run can leave, and its schedule is off.

    The first request that arrives commits the stop: from then on no new call is begun. The server answers once that is
    proven, or 503 while it is not, and is asked again, after lost connections too, until ``within_seconds`` have
    passed. Then the last error is raised: UnavailableError means that the stop is committed but not proven yet,
    NoAnswerError and NotSentError that it may not even have arrived.

    ``ringing`` and ``connected``: what becomes of such calls. ``keep_schedule``: end this run only.
    """
    said = {
        "ringing": None if ringing == "cancel" else ringing,
        "connected": None if connected == "keep" else connected,
        "keepSchedule": keep_schedule or None,
    }
    body = {name: value for name, value in said.items() if value is not None}
    # no Idempotency-Key: an answer that it could not be proven must not be given again
    path = site.path(f"/{require_id(campaign_id)}", version=1)
    request = Request("POST", path, {**_VOICE, "trigger": "stop"}, body)
    return insist(request, _stopped, within_seconds=within_seconds)


def status(site: Site, campaign_id: str) -> Steps[CampaignStatus]:
    """Return what a campaign does now."""
    request = _look(site, "POST", f"/{require_id(campaign_id)}/status", {}, query={"view": "status"})
    return ask(site, request, _data(CampaignStatus))


def run_contacts(site: Site, campaign_id: str, *, page_size: int = LARGEST_RUN_PAGE) -> Listing[RunContact]:
    """Go through the contacts of a campaign's latest run, in dialing order; none when it never ran."""
    path = f"/{require_id(campaign_id)}/status"

    def page(number: int, _skip: int) -> Steps[_Page[RunContact]]:
        body = {"page": number, "limit": page_size}
        request = _look(site, "POST", path, body, query={"view": "contacts"})
        return ask(site, request, _page(_whole(RunContact)))

    return _through(page)


def call_back(site: Site, instance_id: str, times: Mapping[str, datetime]) -> Steps[tuple[CallBack, ...]]:
    """Have contacts of a live run called at an instant each, and return what became of each wish, in their order.

    ``times``: dialing list id (``cdl-…``, of call details) → an aware time; up to 100 of them. Raises ValueError for a
    time without a zone, NotFoundError, and ConflictError when the run is not live.
    """
    body = [{"campaignDialingListId": who, "timeToContact": _instant(at)} for who, at in times.items()]
    request = _change(site, "POST", f"/{require_id(instance_id)}/callContactAt", body)
    return ask(site, request, _data(tuple[CallBack, ...]))


def call_now(site: Site, instance_id: str, contact: str) -> Steps[ManualCall]:
    """Have a contact of an active run called before all others, where the gate lets it through now, and return what
    became of that.

    ``contact`` is its number, or its id in the run (``cdl-…``). Raises ValueError for a number that is not written in
    E.164, NotFoundError, and ConflictError when the run is not active or several contacts have the number.
    """
    path = f"{_NATIVE}/runs/{require_id(instance_id)}/contacts/{_contact_of_run(contact)}/call"
    return ask(site, Request("POST", path, {}, key=str(uuid.uuid4())), _whole(ManualCall))


def explain(
    site: Site,
    contact: str,
    *,
    campaign_id: str | None = None,
    instance_id: str | None = None,
    at: datetime | None = None,
) -> Steps[Explanation]:
    """Return why a contact is called at an instant (an aware time; None: now), why not, and when next: in a run, or in
    the latest run of a campaign.

    ``contact`` is its number, or its id in the run (``cdl-…``). Raises ValueError for neither or both, and for a number
    that is not written in E.164; NotFoundError, and ConflictError where several contacts have the number.
    """
    if (campaign_id is None) is (instance_id is None):
        raise ValueError("Name either a campaign or a run.")
    named = _contact_of_run(contact)
    of = f"/runs/{require_id(instance_id)}" if instance_id else f"/campaigns/{require_id(campaign_id or '')}"
    query = {} if at is None else {"at": _instant(at)}
    request = Request("GET", f"{_NATIVE}{of}/contacts/{named}/explain", query)
    return ask(site, request, _whole(Explanation))


def _contact_of_run(contact: str) -> str:
    """Return what names a contact, as paths have it."""
    if not _CONTACT_OF_RUN.fullmatch(contact):
        raise ValueError(f"{contact[:60]!r} is neither a number like +15550100001 nor an id like cdl-….")
    return quote(contact)


def waterfall(site: Site, instance_id: str) -> Steps[Waterfall]:
    """Return how many of a run's contacts may be dialed now, step by step, and why nothing is dialing."""
    request = Request("GET", f"{_NATIVE}/runs/{require_id(instance_id)}/waterfall")
    return ask(site, request, _whole(Waterfall))


def dnc_lists(site: Site) -> Steps[tuple[NumberList, ...]]:
    """Return the lists of numbers that must not be called: the account's own first, then the application's."""
    request = Request("GET", f"{_NATIVE}/dnc-lists")
    return ask(site, request, lambda document: msgspec.convert(document["results"], tuple[NumberList, ...]))


def add_dnc_file(
    site: Site,
    list_id: str,
    file: bytes,
    *,
    name: str = "",
    columns: Iterable[str] = (),
    sheet: str | None = None,
    default_region: str | None = None,
    reason: str = "",
    expires_at: datetime | None = None,
    within_seconds: float = FILE_SECONDS,
) -> Steps[AddedNumbers]:
    """Put the numbers of a file on a do-not-call list: when this returns, none of them will be called any more, but for
    what ``problems`` say.

    The file is CSV, an Excel workbook (.xlsx) or a number a line, of at most 64 MB; ``name`` is what sentences call it,
    ``columns`` those that hold numbers, where that is not plain. It is sent again after lost connections, and where the
    server asks for it, until ``within_seconds`` have passed: adding a number twice changes nothing. Then the last error
    is raised. A file that cannot be read from some line on raises InvalidInputError; what came before is on the list.
    """
    del site
    said = {
        "fileName": name,
        "column": tuple(columns),
        "sheet": sheet,
        "defaultRegion": default_region,
        "reason": reason,
        "expiresAt": None if expires_at is None else _instant(expires_at),
    }
    query = {word: value for word, value in said.items() if value}
    request = Request("POST", f"{_NATIVE}/dnc-lists/{require_id(list_id)}/files", query, file=file)
    return insist(request, _added, within_seconds=within_seconds, meant=last_line)


def enable_schedule(site: Site, campaign_id: str, plan: Plan) -> Steps[ScheduledCampaign]:
    """Let a campaign run by itself."""
    return _schedule(site, campaign_id, "true", plan.body())


def disable_schedule(site: Site, campaign_id: str) -> Steps[ScheduledCampaign]:
    """Let a campaign run by itself no longer; a run that is live goes on."""
    return _schedule(site, campaign_id, "false", {})


def _schedule(site: Site, campaign_id: str, enable: str, body: dict[str, Any]) -> Steps[ScheduledCampaign]:
    # the wire wants the name, which need not be unique, and takes the id beside it
    name = (yield from get_campaign(site, campaign_id)).name
    query = {"enableSchedule": enable, "campaignName": name, "campaignId": campaign_id}
    return (yield from ask(site, _change(site, "POST", "/schedule", body, query=query), _whole(ScheduledCampaign)))


def _look(site: Site, method: str, path: str, body: Any = None, *, query: Mapping[str, str] | None = None) -> Request:
    """Return a request that changes nothing."""
    return Request(method, site.path(path, version=2), query or {}, body)


def _change(
    site: Site,
    method: str,
    path: str,
    body: Any = None,
    *,
    version: int | str = 2,
    query: Mapping[str, str] | None = None,
) -> Request:
    """Return a request that changes something, with a key of its own."""
    return Request(method, site.path(path, version=version), query or {}, body, key=str(uuid.uuid4()))


@dataclass(frozen=True, slots=True)
class _Page(Generic[A]):
    items: tuple[A, ...]
    total: int


def _through(page: Callable[[int, int], Steps[_Page[A]]]) -> Listing[A]:
    """Go through pages, each asked for by its number and by how many items were before it."""
    skip = 0
    for number in count(1):
        found = yield from page(number, skip)
        if found.items:
            yield Items(found.items)
        skip += len(found.items)
        if not found.items or skip >= found.total:
            return


def _page(read: Callable[[Any], A]) -> Callable[[Any], _Page[A]]:
    def whole(document: Any) -> _Page[A]:
        data = document["data"]
        return _Page(tuple(map(read, data["results"])), msgspec.convert(data["totalResults"], int))

    return whole


def _whole(kind: type[A]) -> Callable[[Any], A]:
    return lambda document: msgspec.convert(document, kind)


def _data(kind: type[A]) -> Callable[[Any], A]:
    return lambda document: msgspec.convert(document["data"], kind)


def _created(document: Any) -> str:
    # the id's name changes with version and mode
    data = document["data"]
    found = [data[name] for name in ("id", "_id", "campId") if name in data]
    return require_id(msgspec.convert(found[0], str))


def _stopped(document: Any) -> StoppedRun:
    stopped = msgspec.convert(document, StoppedRun)
    # whatever else answers 200, a captive portal's page or a cache, is no proof
    if stopped.status != "Stopped":
        raise TypeError(f"a stop was answered with {stopped.status!r}")
    return stopped


def _added(document: Any) -> AddedNumbers:
    # as for a stop
    if document["state"] != "added":
        raise TypeError(f"a file was answered with {document['state']!r}")
    return msgspec.convert(document, AddedNumbers)


def _problems(document: Any) -> tuple[str, ...]:
    if not isinstance(document["message"], str):
        raise TypeError("no message")
    return msgspec.convert(document.get("problems", ()), tuple[str, ...])


def _problem(sentence: str, sent: int) -> ContactProblem:
    """Return a problem of one batch as one of all that was given."""
    found = _CONTACT.match(sentence)
    if found is None:
        return ContactProblem(sent, sentence)
    index = sent + int(found[1])
    return ContactProblem(index, f"`data[{index}]{sentence[found.end() :]}")


def _contact(item: dict[str, Any]) -> Contact:
    return Contact(
        id=item["_id"],
        phone_number=item["phoneNumber"],
        created_at=msgspec.convert(item["createdAt"], datetime),
        updated_at=msgspec.convert(item["updatedAt"], datetime),
        attributes={name: value for name, value in item.items() if name not in _CONTACT_FIELDS},
    )


def _instant(at: datetime) -> str:
    if at.tzinfo is None:
        raise ValueError("Times must be aware: datetime(…, tzinfo=UTC).")
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
