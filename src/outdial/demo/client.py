"""The demo's API client: what any program that speaks the campaign API would send."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from outdial.core.errors import OutdialError
from outdial.demo.people import CALLER_ID
from outdial.services.access import Credentials

SECONDS_PER_REQUEST: Final = 30.0
"""Longer than any stop may take: a stop that cannot be proven answers 503 before."""

RING_SECONDS: Final = 10
MOST_ATTEMPTS: Final = 2
RETRY_MINUTES: Final = 1

_OK: Final = 200
_DAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


class DemoRequestError(OutdialError):
    """The demo's own server refused one of the demo's requests."""

    code = "demo_request"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API answered."""

    status: int
    body: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        return self.status == _OK

    @property
    def sentence(self) -> str:
        """Why it was refused."""
        problems = [str(problem.get("msg")) for problem in self.body.get("errors", ())]
        return f"HTTP {self.status}: {'; '.join(problems) or self.body}"


class Client:
    """One API client of one application."""

    def __init__(self, url: str, credentials: Credentials, token: str) -> None:
        self._url = url
        self._iid = credentials.iid
        self._headers = {"auth": token, "iid": credentials.iid, "accountId": credentials.account_id}
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS_PER_REQUEST))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def create_campaign(self, *, name: str, contact_list: str, flow: str) -> str:
        """Create the campaign and return its id. Raises DemoRequestError."""
        answer = await self._post(
            f"/agentassist/api/v1/public/{self._iid}/campaign?campaignType=voice",
            {
                "name": name,
                "description": "Loopback phones of every kind",
                "contactLists": [contact_list],
                "priority": "5",
                "dialingMode": "Agentless",
                "dialingStrategy": {
                    "callerId": {"phoneNumber": CALLER_ID},
                    # phones that do not exist may be called at any time
                    "callingHours": {
                        "frequency": "WEEKLY",
                        "timezone": "UTC",
                        "days": [{"day": day, "start": "12:00 AM", "end": "11:59 PM"} for day in _DAYS],
                    },
                    "dialingOrder": "FIFO",
                    "maxAttemptsPerRecord": MOST_ATTEMPTS,
                    "defaultRetryPeriod": RETRY_MINUTES,
                    "maxRingTime": RING_SECONDS,
                },
                "schedule": {"isSchedulingEnabled": False},
                "experienceFlowName": flow,
                "enableMachineDetect": False,
                "campaignType": "voice",
            },
        )
        return str(_accepted(answer).body["data"]["id"])

    async def start(self, campaign_id: str) -> None:
        """Start it. Raises DemoRequestError."""
        _accepted(await self._post(self._trigger(campaign_id, "play"), {}))

    async def stop(self, campaign_id: str) -> Answer:
        """Stop it and return the answer, whatever it is."""
        return await self._post(self._trigger(campaign_id, "stop"), {})

    def stop_curl(self, campaign_id: str) -> str:
        """Return the stop as a command to paste."""
        headers = {**self._headers, "Content-Type": "application/json"}
        return " ".join(
            (
                "curl -X POST",
                shlex.quote(f"{self._url}{self._trigger(campaign_id, 'stop')}"),
                *(f"-H {shlex.quote(f'{name}: {value}')}" for name, value in headers.items()),
                "-d '{}'",
            )
        )

    def _trigger(self, campaign_id: str, trigger: str) -> str:
        return f"/campaign/api/v1/public/{self._iid}/campaign/{campaign_id}?campaignType=voice&trigger={trigger}"

    async def _post(self, path: str, body: Mapping[str, Any]) -> Answer:
        try:
            async with self._session.post(f"{self._url}{path}", json=body, headers=self._headers) as response:
                return Answer(response.status, await response.json(content_type=None))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DemoRequestError(f"The server of the demo did not answer ({type(error).__name__}).") from error


def _accepted(answer: Answer) -> Answer:
    if not answer.ok:
        raise DemoRequestError(f"The demo's own request was refused: {answer.sentence}")
    return answer
