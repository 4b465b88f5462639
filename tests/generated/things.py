"""Things that are there: generated requests would otherwise ask for ids nobody has, and learn nothing but 404."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final

import httpx

from generated.server import OPERATOR, Server
from outdial.tokens import sign
from sounds import wav
from support.wire import CALLER_ID, FLOW, ever_open

LIST: Final = "Recent Buyers"
RECORDING: Final = wav(bytes(1600), rate=8000)
CONTACT: Final = "+15550100101"
"""In every list, and so in every run."""
_KEPT: Final = 6
"""How many of a kind are there at a time."""


def token(server: Server) -> str:
    """A token of the client that may do everything."""
    owner = server.owner
    return sign(owner.client_id, owner.client_secret, expires_at=datetime.now(UTC) + timedelta(hours=12))


class Things:
    """Makes campaigns, lists, runs … through the API, and hands out their ids in turn."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._http = httpx.Client(base_url=server.url, headers={"auth": token(server)}, timeout=30)
        self._numbers = count(1)
        self._made: dict[str, deque[str]] = defaultdict(deque)
        self._make: dict[str, Callable[[], str]] = {
            "campaignId": self.campaign,
            "contactListId": self.contact_list,
            "campaignInstanceId": self.run,
            "instanceId": self.run,
            "clientId": self.client,
            "flowId": self.flow,
            "trunkId": self.trunk,
            "phoneNumber": self.caller_id,
            "contact": lambda: CONTACT,
            "dncListId": self.dnc_list,
            "limitId": self.attempt_limit,
            "webhookId": self.webhook,
            "importId": self.open_import,
            "stopId": self.stop,
            "erasureId": self.erasure,
            "attemptId": lambda: self.recorded()[0],
            "recordingId": lambda: self.recorded()[1],
            "endedImportId": self.ended_import,
        }
        self.campaigns_below = f"/campaign/api/v1/public/{server.owner.iid}/campaign"
        self._done("POST", f"{self.campaigns_below}/contactList/createContactList", json=_list_body(LIST))
        self._add_contact(LIST)
        self._recorded_run: str | None = None
        self._dialed: tuple[str, str] | None = None
        """A campaign and its list, which is started whenever a run is needed."""

    def known(self, kind: str) -> str:
        """Return the id of one that is there, made earlier where enough are."""
        kept = self._made[kind]
        if len(kept) < _KEPT:
            kept.append(self._make[kind]())
        kept.rotate(1)
        return kept[0]

    def fresh(self, kind: str) -> str:
        """Return the id of one that nobody else will ask for: its request takes it away."""
        return self._make[kind]()

    def tidy(self) -> None:
        """Delete the contact lists that generated requests have made and no campaign has: an account may have 1,000."""
        path = f"{self.campaigns_below}/contactList"
        for found in self._done("POST", f"{path}/getAllListDetails", params={"type": "call"})["data"]:
            if found["name"] != LIST and found["_id"] not in self._made["contactListId"]:
                answer = self._http.delete(f"{path}/{found['_id']}")
                # 409: a campaign has it
                assert answer.status_code in {200, 409}, f"DELETE {path}: {answer.status_code} {answer.text}"

    def close(self) -> None:
        self._http.close()

    def unused(self, word: str) -> str:
        """Return a name that nothing has."""
        return f"{word} {next(self._numbers)}"

    def campaign(self, name: str | None = None, contact_list: str = LIST) -> str:
        body = ever_open(1, name=name or self.unused("Campaign"), contactLists=[contact_list])
        made = self._done("POST", f"{self.campaigns_below}?campaignType=voice", json=body)
        return made["data"]["id"]

    def contact_list(self) -> str:
        path = f"{self.campaigns_below}/contactList/createContactList"
        return self._done("POST", path, json=_list_body(self.unused("List")))["data"]["_id"]

    def run(self) -> str:
        """A run that was stopped, of a list of its own, since no two campaigns may dial one at once."""
        name = self.unused("List of a run")
        self._done("POST", f"{self.campaigns_below}/contactList/createContactList", json=_list_body(name))
        self._add_contact(name)
        campaign_id = self.campaign(contact_list=name)
        for trigger in ("play", "stop"):
            said = self._done(
                "POST", f"{self.campaigns_below}/trigger/{campaign_id}?campaignType=voice&trigger={trigger}", json={}
            )
        return said["campaignInstanceId"]

    def recorded(self) -> tuple[str, str]:
        """An attempt and its recording, of a run that nothing else is asked of: what is made here was no call."""
        if self._recorded_run is None:
            self._recorded_run = self.run()
        return self.server.record(self._recorded_run)

    def dialed_run(self) -> str:
        """A run that is under way."""
        self.dialed_list()
        assert self._dialed is not None
        campaign_id, _ = self._dialed
        # who generates requests may have started it
        found = self._done("GET", f"/api/outdial/campaigns/{campaign_id}/runs", params={"limit": 1})
        return found["results"][0]["instanceId"]

    def dialed_list(self) -> dict[str, str]:
        """Have a run that is under way; return how a stop may name it, by the fields of the bodies of stops."""
        if self._dialed is None:
            name = self.unused("List that is dialed")
            path = f"{self.campaigns_below}/contactList/createContactList"
            list_id = self._done("POST", path, json=_list_body(name))["data"]["_id"]
            self._add_contact(name)
            self._dialed = self.campaign(contact_list=name), list_id
        campaign_id, list_id = self._dialed
        path = f"{self.campaigns_below}/trigger/{campaign_id}"
        answer = self._http.post(path, params={"campaignType": "voice", "trigger": "play"}, json={})
        # 409: nothing has stopped it since
        assert answer.status_code in {200, 409}, f"POST {path}: {answer.status_code} {answer.text}"
        return {"contactListId": list_id, "callerId": CALLER_ID}

    def campaign_to(self, verb: str) -> str:
        """Return a campaign that can do so now: start (``play``), ``stop``, ``pause`` or ``resume``."""
        self.dialed_list()
        assert self._dialed is not None
        campaign_id, _ = self._dialed
        below = f"/api/outdial/campaigns/{campaign_id}"
        # it may have been paused since
        self._done("POST", f"{below}/stop", json={})
        if verb != "play":
            self.dialed_list()
        if verb == "resume":
            self._done("POST", f"{below}/pause", json={})
        return campaign_id

    def fetching_campaign(self) -> str:
        """A campaign that asks before each call."""
        campaign_id = self.campaign()
        path = f"/api/outdial/campaigns/{campaign_id}/pre-call-fetch"
        self._done("PUT", path, json={"url": "https://192.0.2.9/before"})
        return campaign_id

    def courteous_campaign(self) -> str:
        """A campaign with a courtesy message."""
        campaign_id = self.campaign()
        self._done("PUT", f"/api/outdial/campaigns/{campaign_id}/courtesy-message", json={"flow": FLOW})
        return campaign_id

    def emergency(self, *, in_force: bool) -> None:
        """Have an emergency stop in force, or none."""
        if self._as_operator("GET", "")["inForce"] and not in_force:
            self._as_operator("POST", "/lift", json={"reason": "over"})
        elif in_force:
            # one that is in force is joined
            self._as_operator("POST", "", json={"reason": "drill"})

    def client(self) -> str:
        body = {"name": self.unused("client"), "scopes": ["campaign_management"]}
        return self._done("POST", "/api/outdial/clients", json=body)["client"]["id"]

    def flow(self) -> str:
        params = {"name": self.unused("Flow")}
        return self._done("POST", "/api/outdial/flows", params=params, content=RECORDING)["id"]

    def trunk(self) -> str:
        return self._trunk(next(self._numbers))

    def caller_id(self) -> str:
        place = next(self._numbers)
        self._trunk(place)
        return _phone(place)

    def dnc_list(self) -> str:
        return self._done("POST", "/api/outdial/dnc-lists", json={"name": self.unused("DNC")})["id"]

    def attempt_limit(self) -> str:
        path = "/api/outdial/attempt-limits"
        for found in self._done("GET", path)["results"]:
            # generated requests have made them: an account may have 20
            if found["id"] not in self._made["limitId"]:
                self._done("DELETE", f"{path}/{found['id']}")
        return self._done("POST", path, json={"count": 100, "windowSeconds": 60, "counts": "abandoned"})["id"]

    def webhook(self) -> str:
        path = "/api/outdial/webhooks"
        for found in self._done("GET", path)["results"]:
            # generated requests have made them: an account may have 20
            if found["id"] not in self._made["webhookId"]:
                self._done("DELETE", f"{path}/{found['id']}")
        # its test messages are refused at once: nobody listens there, and it is this machine
        return self._done("POST", path, json={"url": "http://127.0.0.1:9/told"})["webhook"]["id"]

    def open_import(self) -> str:
        body = {"listName": LIST, "fileName": "people.csv"}
        return self._done("POST", "/api/outdial/imports", json=body)["id"]

    def stop(self) -> str:
        """A stop of what calls from a number nobody calls from."""
        return self._done("POST", "/api/outdial/stops/caller-id", json={"callerId": "+15550100888"})["id"]

    def erasure(self) -> str:
        """The erasure of somebody whom nobody knows."""
        return self._done("POST", "/api/outdial/erasures", json={"phoneNumber": _phone(next(self._numbers))})["id"]

    def ended_import(self) -> str:
        import_id = self.open_import()
        self._done("POST", f"/api/outdial/imports/{import_id}/cancel", json={})
        return import_id

    def _trunk(self, place: int) -> str:
        body = {"name": self.unused("Trunk"), "host": "192.0.2.9", "callerIds": [_phone(place)]}
        return self._done("POST", "/api/outdial/trunks", json=body)["id"]

    def _add_contact(self, list_name: str) -> None:
        body = {"contact_list_name": list_name, "data": [{"phoneNumber": CONTACT}]}
        self._done("POST", f"/api/1.1/public/{self.server.owner.iid}/campaign/contactList/addContacts", json=body)

    def _as_operator(self, method: str, below: str, **more: Any) -> dict[str, Any]:
        return self._done(method, f"/api/outdial/emergency-stop{below}", headers={"auth": OPERATOR}, **more)

    def _done(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        answer = self._http.request(method, path, **more)
        if answer.status_code == 503:
            # a machine so busy that a transaction fell silent; "ask again", it says
            answer = self._http.request(method, path, **more)
        assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()


def _list_body(name: str) -> dict[str, Any]:
    return {"name": name, "description": "d", "source": "passiveApi"}


def _phone(place: int) -> str:
    return f"+1555{2_000_000 + place:07d}"
