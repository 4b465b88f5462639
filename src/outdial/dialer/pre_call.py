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
from outdial.dialer.outside import Outside
from outdial.public_hosts import private_address

STALL_SECONDS: Final = 0.5
"""An exchange that took so much longer than it may was held up here: that is nobody's answer."""

_log = structlog.get_logger()


class PreCall:
    """Asks for one run. An asynchronous context manager, which keeps connections."""

    def __init__(self, fetch: PreCallFetch, *, private_hosts: Iterable[str]) -> None:
        self._fetch = fetch
        self._url = URL(fetch.url, encoded=True)
        self._private_hosts = frozenset(private_hosts)
        self._outside: Outside | None = None

    async def __aenter__(self) -> Self:
        self._outside = Outside(self._private_hosts)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._outside is not None  # noqa: S101 - entered
        await self._outside.close()

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
        assert self._outside is not None  # noqa: S101 - entered
        return await self._outside.post(
            self._url, body, headers=self._fetch.headers, seconds=FETCH_SECONDS, largest_reply=LARGEST_REPLY
        )


def _unreachable(error: Exception, *, seconds: float) -> PreCallAnswer:
    private = private_address(error)
    if private is not None:
        return no_reply(PreCallProblem.PRIVATE_ADDRESS, str(private), seconds=seconds)
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
