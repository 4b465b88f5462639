"""A client of the vendor's wire for tests: signs, speaks, and compares answers with the documented shapes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import httpx
import jwt

from outdial.core.model import Transport
from outdial.services import flows, trunks
from outdial.services.access import Credentials
from outdial.store.database import Database
from sounds import wav

CALLER_ID = "+15550100001"
FLOW = "Hello"

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_UUID7 = "[0-9a-f]{7}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
CAMPAIGN_ID = re.compile(f"cd-{_UUID7}")
INSTANCE_ID = re.compile(f"cid-{_UUID7}")
CONVERSATION_ID = re.compile(f"c-{_UUID7}")
LIST_ID = re.compile(f"cl-{_UUID7}")
CONTACT_ID = re.compile("cc-[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
FLOW_ID = re.compile("cf-[0-9a-f-]{36}")
USER_ID = re.compile("u-[0-9a-f-]{36}")
SESSION_ID = FILE_ID = re.compile("[0-9a-f]{24}")

ALL_DAY = [{"day": day, "start": "12:00 AM", "end": "11:59 PM"} for day in ("MO", "TU", "WE", "TH", "FR", "SA", "SU")]


def agentless(version: int, **changed: Any) -> dict[str, Any]:
    """The documented sample of an agentless campaign."""
    body = {
        "name": "Product Feedback",
        "description": "Collects quick feedback.",
        "contactLists": ["Recent Buyers"],
        "priority": "5",
        "dialingMode": "Agentless",
        "dialingStrategy": {
            "callerId": {"phoneNumber": CALLER_ID},
            "callingHours": {
                "frequency": "WEEKLY",
                "timezone": "Asia/Kolkata",
                "days": [
                    {"day": "MO", "start": "9:00 AM", "end": "6:00 PM"},
                    {"day": "TU", "start": "9:00 AM", "end": "12:00 PM"},
                    {"day": "TU", "start": "1:00 PM", "end": "11:59 PM"},
                ],
            },
            "dialingOrder": "FIFO",
            "maxAttemptsPerRecord": 3,
            "defaultRetryPeriod": 10,
            "maxRingTime": 30,
        },
        "schedule": {"isSchedulingEnabled": False},
        "experienceFlowName": FLOW,
        "enableMachineDetect": False if version == 1 else "no",
        "campaignType": "voice",
    }
    if version == 2:
        body["dncLists"] = {"name": "Never Call"}
    return {**body, **changed}


def with_agents(version: int, mode: str, **changed: Any) -> dict[str, Any]:
    """The documented sample of a progressive or preview campaign."""
    body = agentless(version, dialingMode=mode, queue_name="Default Queue")
    del body["experienceFlowName"]
    if version == 2:
        del body["enableMachineDetect"]
    if mode == "Preview":
        body["maxSkips"] = 1
    return {**body, **changed}


def ever_open(version: int, **changed: Any) -> dict[str, Any]:
    """An agentless campaign that may dial at any time."""
    body = agentless(version, **changed)
    body["dialingStrategy"]["callingHours"]["days"] = ALL_DAY
    return body


def differs(expected: Any, actual: Any, path: str = "") -> list[str]:
    """Compare an answer with its documented shape, order of keys included; patterns and types stand for values."""
    if isinstance(expected, dict) and isinstance(actual, dict) and list(expected) == list(actual):
        return [line for key in expected for line in differs(expected[key], actual[key], f"{path}.{key}")]
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        pairs = enumerate(zip(expected, actual, strict=True))
        return [line for index, (one, other) in pairs for line in differs(one, other, f"{path}[{index}]")]
    if isinstance(expected, re.Pattern):
        right = isinstance(actual, str) and expected.fullmatch(actual) is not None
    elif isinstance(expected, type):
        right = type(actual) is expected
    else:
        right = type(actual) is type(expected) and actual == expected and not isinstance(expected, dict)
    return [] if right else [f"{path}: {actual!r} instead of {expected!r}"]


@dataclass(frozen=True)
class Tenant:
    """One application, speaking through a shared HTTP client."""

    http: httpx.AsyncClient
    credentials: Credentials

    @property
    def iid(self) -> str:
        return self.credentials.iid

    @property
    def account_id(self) -> str:
        return self.credentials.account_id

    def token(self, *, key: str | None = None, algorithm: str = "HS256", **claims: Any) -> str:
        payload = {"sub": "somebody", "appId": self.credentials.client_id, **claims}
        return jwt.encode(payload, self.credentials.client_secret if key is None else key, algorithm=algorithm)

    def headers(self, **changed: str | None) -> dict[str, str]:
        headers = {"auth": self.token(), "iid": self.iid, "accountId": self.account_id, **changed}
        return {name: value for name, value in headers.items() if value is not None}

    def url(self, path: str, *, version: int | str = 1, prefix: str = "/campaign") -> str:
        name = version if isinstance(version, str) else f"v{version}"
        return f"{prefix}/api/{name}/public/{self.iid}/campaign{path}"

    async def ask(
        self, method: str, path: str, body: Any = None, *, version: int | str = 1, **query: str
    ) -> httpx.Response:
        """Ask as documented: three headers, for v2 the account in the query too."""
        if version == 2:
            query = {"accountId": self.account_id, **query}
        return await self.http.request(
            method, self.url(path, version=version), json=body, params=query, headers=self.headers()
        )

    async def done(self, method: str, path: str, body: Any = None, **more: Any) -> dict[str, Any]:
        """Ask, expect 200, return the answer."""
        answer = await self.ask(method, path, body, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def create_list(self, name: str = "Recent Buyers", *, version: int = 1, **changed: Any) -> dict[str, Any]:
        body = {"name": name, "description": "d", "source": "passiveApi", **changed}
        return (await self.done("POST", "/contactList/createContactList", body, version=version))["data"]

    async def add_contacts(self, *phones: str, name: str = "Recent Buyers") -> dict[str, Any]:
        body = {"contact_list_name": name, "data": [{"phoneNumber": phone} for phone in phones]}
        return await self.done("POST", "/contactList/addContacts", body, version="1.1")

    async def create_campaign(self, body: dict[str, Any] | None = None, *, version: int = 1) -> str:
        """Create a campaign (an agentless one unless told) and return its id."""
        body = agentless(version) if body is None else body
        created = await self.done("POST", "", body, version=version, campaignType="voice")
        return created["id"] if "id" in created else created["data"]["id"]

    async def trigger(self, campaign_id: str, trigger: str, body: Any = None, *, version: int = 1) -> httpx.Response:
        path = f"/{campaign_id}" if version == 1 else f"/trigger/{campaign_id}"
        return await self.ask(
            "POST", path, {} if body is None else body, version=version, campaignType="voice", trigger=trigger
        )

    async def status(self, campaign_id: str) -> str:
        return (await self.done("POST", f"/{campaign_id}/status", view="status"))["data"]["status"]


async def furnish(database: Database, secrets: Any, iid: str) -> None:
    """Give an application a flow and a trunk with a caller ID."""
    await flows.add_flow(database, iid, FLOW, wav(bytes(1600), rate=8000))
    await trunks.add_trunk(
        database,
        secrets,
        iid,
        trunks.TrunkDraft(name="t", host="192.0.2.1", transport=Transport.UDP, caller_ids=(CALLER_ID,)),
    )


def errors(answer: httpx.Response) -> list[str]:
    """Check that a failure has the documented shape; return its sentences."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert list(body) == ["errors"], body
    assert body["errors"], body
    for error in body["errors"]:
        assert differs({"msg": str, "code": int}, error) == []
    return [error["msg"] for error in body["errors"]]
