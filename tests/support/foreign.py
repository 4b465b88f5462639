"""Requests of somebody's own application that name another's things: in paths, queries and bodies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from outdial.core.ids import dialing_list_id
from outdial.core.model import Transport
from outdial.services import flows, trunks
from outdial.store.database import Database
from sounds import wav
from support.native import BASE, Native
from support.wire import FLOW, Tenant, ever_open

UNKNOWN: Final = {
    "clientId": "cs-1",
    "dncListId": "cl-1",
    "limitId": "al-1",
    "webhookId": "wh-1",
    "flowId": "cf-1",
    "trunkId": "tr-1",
    "campaignId": "cd-1",
    "contactListId": "cl-1",
    "instanceId": "cid-1",
    "campaignInstanceId": "cid-1",
    "phoneNumber": "+15550100088",
    "importId": "im-1",
    "stopId": "sp-1",
    "erasureId": "er-1",
    "attemptId": "0" * 32,
    "recordingId": "rc-1",
}
"""Ids that nothing has."""

_CALLER_ID: Final = "+15550100055"
_PERSON: Final = "+15550100301"
_NO_NAME: Final = "Nobody has it"
_NOBODY: Final = "+15550100988"
_NOT_THERE: Final = "cdl-11111111-2222-5333-8444-555555555555"


@dataclass(frozen=True)
class Own:
    """A stranger and what it has."""

    tenant: Tenant
    campaign: str
    """Name of the one that has no run, and so may change."""
    idle_campaign_id: str
    live_campaign_id: str
    instance_id: str
    """Of the run under way."""
    contact: str
    """Of that run, by the vendor's id."""
    webhook_id: str
    plan: dict[str, Any]
    """A schedule."""


async def own_things(tenant: Tenant, database: Database, secrets: Any) -> Own:
    """Give a stranger two campaigns, one of them with a live run, and a webhook."""
    names = {one["name"] for one in (await Native(tenant).done("GET", "/flows"))["results"]}
    if FLOW not in names:
        await flows.add_flow(database, tenant.iid, FLOW, wav(bytes(1600), rate=8000))
    trunk = trunks.TrunkDraft(name="own", host="192.0.2.2", transport=Transport.UDP, caller_ids=(_CALLER_ID,))
    await trunks.add_trunk(database, secrets, tenant.iid, trunk)
    await tenant.create_list("Own People")
    await tenant.add_contacts(_PERSON, name="Own People")
    await Native(tenant).done("POST", "/dnc-lists", {"name": "Own Never Call"})
    live = await tenant.create_campaign(_campaign(1, name="Own Live Calls"))
    idle = await tenant.create_campaign(_campaign(1))
    started = await tenant.trigger(live, "play")
    assert started.status_code == 200, started.text
    instance_id = started.json()["campaignInstanceId"]
    async with database.connection() as connection:
        contact_id = await connection.fetchval(
            "SELECT contact_id FROM run_contacts c JOIN runs r ON r.id = c.run_id WHERE r.instance_id = $1", instance_id
        )
    hook = await Native(tenant).done("POST", "/webhooks", {"url": "https://192.0.2.9/own"})
    return Own(
        tenant=tenant,
        campaign="Own Calls",
        idle_campaign_id=idle,
        live_campaign_id=live,
        instance_id=instance_id,
        contact=dialing_list_id(instance_id, contact_id),
        webhook_id=hook["webhook"]["id"],
        plan={"startDateTime": "2040-03-01 09:00:00", "endDateTime": "2040-06-01 00:00:00"},
    )


def _campaign(version: int, **changed: Any) -> dict[str, Any]:
    own: dict[str, Any] = {"name": "Own Calls", "contactLists": ["Own People"]}
    if version == 2:
        own["dncLists"] = {"name": "Own Never Call"}
    body = ever_open(version, **{**own, **changed})
    body["dialingStrategy"]["callerId"] = {"phoneNumber": _CALLER_ID}
    return body


def _nothing(_value: str) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Naming:
    """A request whose path, query or body names a thing."""

    what: str
    method: str
    theirs: str
    """The victim's."""
    unknown: str
    """Nobody's."""
    path: Callable[[str], str]
    body: Callable[[str], Any] = field(default=lambda _value: None)
    query: Callable[[str], dict[str, str]] = _nothing
    status: int = 404


def named_in_bodies(own: Own, ids: dict[str, str]) -> list[Naming]:
    """Return one for every place of a query or a body, or second place of a path, that may name a thing."""
    return [*_vendors(own, ids), *_native(own, ids)]


def _vendors(own: Own, ids: dict[str, str]) -> list[Naming]:
    made = []
    at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for version in (1, 2):

        def url(path: str, version: int | str = version) -> Callable[[str], str]:
            return lambda value: own.tenant.url(path.replace("ID", value), version=version)

        for enable, plan in (("true", own.plan), ("false", {})):
            # by the stranger's own name and the victim's id, by the victim's name alone, and by both of the victim
            for what, theirs, unknown, query in (
                ("id", ids["campaignId"], "cd-1", lambda value: {"campaignName": own.campaign, "campaignId": value}),
                ("name", "Product Feedback", _NO_NAME, lambda value: {"campaignName": value}),
                (
                    "name and id",
                    "Product Feedback",
                    _NO_NAME,
                    lambda value: {"campaignName": value, "campaignId": ids["campaignId"]},
                ),
            ):
                made.append(
                    Naming(
                        f"v{version} schedule {enable} by {what}",
                        "POST",
                        theirs,
                        unknown,
                        url("/schedule"),
                        lambda _value, plan=plan: plan,
                        lambda value, query=query, enable=enable: {"enableSchedule": enable, **query(value)},
                    )
                )

        # each contact is answered by itself
        made += [
            Naming(
                f"v{version} call back in one's own run",
                "POST",
                theirs,
                _NOT_THERE,
                url(f"/{own.instance_id}/callContactAt"),
                lambda value: [{"campaignDialingListId": value, "timeToContact": at}],
                status=200,
            )
            for theirs in (ids["dialingListId"], ids["contact"])
        ]
        made += [
            Naming(
                f"v{version} call back in their run",
                "POST",
                ids["instanceId"],
                "cid-1",
                url("/ID/callContactAt"),
                lambda _value, contact=contact: [{"campaignDialingListId": contact, "timeToContact": at}],
            )
            for contact in (own.contact, ids["dialingListId"])
        ]
        for theirs, unknown in (("Their People", _NO_NAME), (ids["theirListId"], "cl-1")):
            made.append(
                Naming(
                    f"v{version} add contacts",
                    "POST",
                    theirs,
                    unknown,
                    url("/contactList/addContacts", "1.1" if version == 1 else 2),
                    lambda value: {"contact_list_name": value, "data": [{"phoneNumber": _PERSON}]},
                    status=400,
                )
            )
            made += _definitions(own, version, "contactLists", theirs, unknown, lambda value: ["Own People", value])
        for theirs, unknown in (("Never Call", _NO_NAME), (ids["dncListId"], "cl-1")):
            made += _definitions(own, version, "dncLists", theirs, unknown, lambda value: {"name": value})
        made += _definitions(own, version, "experienceFlowName", ids["flowId"], "cf-1", lambda value: value)
    return made


def _definitions(
    own: Own, version: int, name: str, theirs: str, unknown: str, holding: Callable[[str], Any]
) -> list[Naming]:
    """A campaign that is made, and one that is changed."""
    return [
        Naming(
            f"v{version} {method} a campaign with {name} {theirs}",
            method,
            theirs,
            unknown,
            lambda _value, below=below: own.tenant.url(below, version=version),
            lambda value: _campaign(version, **{name: holding(value)}),
            lambda _value: {"campaignType": "voice"},
            status=400,
        )
        for method, below in (("POST", ""), ("PUT", f"/{own.idle_campaign_id}"))
    ]


def _native(own: Own, ids: dict[str, str]) -> list[Naming]:
    campaign, limit = ids["campaignId"], {"count": 3, "windowSeconds": 86400, "counts": "attempts"}

    def at(path: str) -> Callable[[str], str]:
        return lambda value: BASE + path.replace("ID", value)

    def by(name: str, **more: Any) -> Callable[[str], dict[str, Any]]:
        return lambda value: {**more, name: value}

    return [
        Naming("reviews", "GET", campaign, "cd-1", at("/machine-reviews"), query=by("campaignId")),
        Naming("table of reviews", "GET", campaign, "cd-1", at("/machine-reviews/table"), query=by("campaignId")),
        Naming("limit", "POST", campaign, "cd-1", at("/attempt-limits"), by("campaignId", **limit), status=400),
        Naming(
            "preset",
            "POST",
            campaign,
            "cd-1",
            at("/attempt-limit-presets"),
            by("campaignId", preset="us-florida"),
            status=400,
        ),
        Naming("stop of a list", "POST", ids["contactListId"], "cl-1", at("/stops/contact-list"), by("contactListId")),
        Naming(
            "replay",
            "POST",
            ids["deliveryId"],
            "4711471102",
            at(f"/webhooks/{own.webhook_id}/replay"),
            by("deliveryId"),
        ),
        Naming(
            "import",
            "POST",
            "Their People",
            _NO_NAME,
            at("/imports"),
            by("listName", fileName="people.csv", createList=False),
        ),
        Naming(
            "courtesy message",
            "PUT",
            ids["flowId"],
            "cf-1",
            at(f"/campaigns/{own.idle_campaign_id}/courtesy-message"),
            by("flow"),
            status=400,
        ),
        *(
            Naming(f"contact, {verb}", method, theirs, unknown, at(f"{below}/contacts/ID/{verb}"))
            for theirs, unknown in ((ids["dialingListId"], _NOT_THERE), (ids["contact"], _NOBODY))
            for method, below, verb in (
                ("POST", f"/runs/{own.instance_id}", "call"),
                ("GET", f"/runs/{own.instance_id}", "explain"),
                ("GET", f"/campaigns/{own.live_campaign_id}", "explain"),
            )
        ),
    ]


def readings(tenant: Tenant) -> list[tuple[str, Any]]:
    """Addresses and bodies of what the vendor's wire answers without an id."""
    today = datetime.now(UTC)
    days = {
        "startDate": f"{today - timedelta(days=1):%Y-%m-%d}",
        "endDate": f"{today + timedelta(days=1):%Y-%m-%d}",
        "timeZoneOffset": 0,
        "selectedFields": ["skills", "customerinfo", "userleveltags", "sessionleveltags", "campaigninfo"],
    }
    calls = f"/agentassist/api/public/analytics/account/{tenant.account_id}/v2"
    return [
        *(
            (tenant.url(path, version=version), body)
            for version in (1, 2)
            for path, body in (("/getAllCampaignDetails", {"type": "voice"}), ("/contactList/getAllListDetails", {}))
        ),
        *((f"{calls}/{name}", days) for name in ("interactionDetails", "calldetails", "callDetails")),
    ]
