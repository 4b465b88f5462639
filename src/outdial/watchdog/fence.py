"""Takes permits away at an engine: the watchdog's own few requests, apart from those by which a stop does the same."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

import aiohttp
import msgspec

from outdial.clock import boottime
from outdial.core.errors import EngineUnavailableError
from outdial.core.watch import Permission, read_permission
from outdial.store.watch import WatchedEngine

ANSWER_SECONDS: Final = 1.0
"""Patience with one answer."""

REST_SECONDS: Final = 5.0
"""An engine that did not answer is not asked again for so long: many alarms must not wait for it one by one."""

_GONE: Final = frozenset({200, 204, 404})


class _Endpoint(msgspec.Struct):
    resource: str


class Fence:
    """Removes permits at Asterisks, over ARI."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._silent_until: dict[str, float] = {}

    async def close(self) -> None:
        """Close its connections."""
        if self._session is not None:
            await self._session.close()

    async def remove(self, engine: WatchedEngine, wanted: Callable[[Permission], bool], *names: str) -> list[str]:
        """Remove the permits of these names and every other there that is wanted away; return the names of those that
        were there. Raises EngineUnavailableError."""
        if boottime() < self._silent_until.get(engine.id, 0.0):
            raise EngineUnavailableError(f"The Asterisk {engine.id} did not answer a moment ago.")
        # the ones known by name first: a list takes longer the more there are
        removed = [name for name in names if await self._remove(engine, name)]
        for each in await self._listed(engine):
            permission = read_permission(each.resource)
            if permission is not None and wanted(permission) and await self._remove(engine, permission.name):
                removed.append(permission.name)
        return removed

    async def _listed(self, engine: WatchedEngine) -> list[_Endpoint]:
        status, body = await self._ask(engine, "GET", "endpoints/PJSIP")
        if status == 404:  # noqa: PLR2004 - HTTP: not found, as it answers when it has none
            return []
        try:
            return msgspec.json.decode(body, type=list[_Endpoint])
        except msgspec.DecodeError as error:
            raise EngineUnavailableError(
                f"The Asterisk {engine.id} answered {status} to a look at its permits."
            ) from error

    async def _remove(self, engine: WatchedEngine, name: str) -> bool:
        """Remove one permit, its contact first: without it nothing gets through. Return whether it was there."""
        statuses = []
        for kind, object_name in (("contact", f"{name};@1"), ("endpoint", name), ("aor", name), ("auth", name)):
            status, _ = await self._ask(engine, "DELETE", f"asterisk/config/dynamic/res_pjsip/{kind}/{object_name}")
            if status not in _GONE:
                raise EngineUnavailableError(f"The Asterisk {engine.id} answered {status} to the removal of a permit.")
            statuses.append(status)
        return any(status != 404 for status in statuses)  # noqa: PLR2004 - HTTP: not found

    async def _ask(self, engine: WatchedEngine, method: str, path: str) -> tuple[int, bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS))
        url = f"{engine.url.rstrip('/').removesuffix('/ari')}/ari/{path}"
        credentials = base64.b64encode(f"{engine.username}:{engine.password}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}"}
        try:
            async with self._session.request(method, url, headers=headers) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._silent_until[engine.id] = boottime() + REST_SECONDS
            raise EngineUnavailableError(
                f"The Asterisk {engine.id} does not answer ({type(error).__name__})."
            ) from error
