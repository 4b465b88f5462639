"""Asks the operator's own system about contacts right before they are dialed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import structlog
from yarl import URL

from outdial import clock
from outdial.core.pre_call import (
    FETCH_SECONDS,
    LARGEST_REPLY,
    PreCallAnswer,
    PreCallContact,
    PreCallFetch,
    PreCallProblem,
    no_reply,
    question,
    read_reply,
)
from outdial.public_hosts import PrivateHosts, PublicResolver, private_address

STALL_SECONDS: Final = 0.5
"""An exchange that took so much longer than it may was held up here: that is nobody's answer."""

_log = structlog.get_logger()


class PreCall:
    """Asks for one run. An asynchronous context manager, which keeps connections."""

    def __init__(self, fetch: PreCallFetch, *, private_hosts: Iterable[str]) -> None:
        self._fetch = fetch
        self._url = URL(fetch.url, encoded=True)
        self._private_hosts = PrivateHosts(private_hosts, setting="OUTDIAL_PRE_CALL_PRIVATE_HOSTS")
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # no limit: whoever waited for a connection would have less time left; the run's live calls bound them
            connector=aiohttp.TCPConnector(limit=0, resolver=PublicResolver(self._private_hosts)),
            timeout=aiohttp.ClientTimeout(total=FETCH_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None  # noqa: S101 - entered
        await self._session.close()

    async def ask(self, contact: PreCallContact, dialing_list_id: str) -> PreCallAnswer | None:
        """Return what the operator's system says, within :data:`FETCH_SECONDS`. Whatever goes wrong there is an answer
        too, one that skips the contact; None when this process was stopped meanwhile and cannot tell."""
        began = clock.boottime()
        body = question(self._fetch, contact, dialing_list_id)
        try:
            status, reply = await self._exchange(body)
        except TimeoutError:
            if _since(began) > FETCH_SECONDS + STALL_SECONDS:
                return None
            answer = no_reply(
                PreCallProblem.TIMEOUT, f"no reply within {FETCH_SECONDS:g} seconds", seconds=_since(began)
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # ValueError: a host that no resolver can be asked about; whatever an address is, it ends no node's life
            answer = _unreachable(error, seconds=_since(began))
        else:
            answer = read_reply(contact, status=status, body=reply, seconds=_since(began))
        if answer.problem is not None:
            _log.warning(
                "pre_call_fetch_failed",
                campaign_id=self._fetch.campaign_id,
                dialing_list_id=dialing_list_id,
                problem=answer.problem,
                reason=answer.reason,
            )
        return answer

    async def _exchange(self, body: dict[str, Any]) -> tuple[int, bytes]:
        assert self._session is not None  # noqa: S101 - entered
        # an address is connected to without any resolver
        self._private_hosts.require_allowed(self._url.host or "", [self._url.host or ""])
        async with self._session.post(
            self._url, json=body, headers=dict(self._fetch.headers), allow_redirects=False
        ) as reply:
            return reply.status, await _bounded(reply.content)


async def _bounded(stream: aiohttp.StreamReader) -> bytes:
    """Read no more than one byte too many."""
    data = bytearray()
    async for chunk in stream.iter_any():
        data += chunk
        if len(data) > LARGEST_REPLY:
            break
    return bytes(data)


def _unreachable(error: Exception, *, seconds: float) -> PreCallAnswer:
    refused = private_address(error)
    if refused is not None:
        return no_reply(PreCallProblem.PRIVATE_ADDRESS, str(refused), seconds=seconds)
    return no_reply(PreCallProblem.UNREACHABLE, str(error) or type(error).__name__, seconds=seconds)


def _since(began: float) -> float:
    return round(clock.boottime() - began, 3)


async def unless(event: asyncio.Event, work: Awaitable[PreCallAnswer | None]) -> PreCallAnswer | None:
    """Return what the work returns; None, the work cancelled, as soon as the event is set."""
    asked, over = asyncio.ensure_future(work), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({asked, over}, return_when=asyncio.FIRST_COMPLETED)
        return asked.result() if asked.done() else None
    finally:
        for each in (asked, over):
            each.cancel()
        await asyncio.wait({asked, over})
