"""What a stop needs of an Asterisk, from any process, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from outdial.core.errors import EngineUnavailableError
from outdial.core.ids import parse_permit_name, permit_name
from outdial.core.model import EngineKind, Trunk
from outdial.telephony import permits
from outdial.telephony.ari import NOT_FOUND, AriHttp, ChannelInfo, Reply
from outdial.telephony.engine import CallState, CancelResult, LiveCall, TrunkAddress

QUALIFY_SECONDS: Final = 1
"""Between two OPTIONS on a TCP or TLS trunk: they keep its connection open and tell whether it is."""

_CALL_STATES: Final = {"Up": CallState.ANSWERED, "Ringing": CallState.RINGING}


class _System(msgspec.Struct):
    version: str


class _Info(msgspec.Struct):
    system: _System


class _Endpoint(msgspec.Struct):
    resource: str
    state: str = ""


class AsteriskControl:
    """Permits, calls and hang-ups over HTTP; any number of processes may hold one for the same engine."""

    kind: Final = EngineKind.ASTERISK

    def __init__(self, *, engine_id: str, url: str, username: str, password: str, timeout_seconds: float = 1.0) -> None:
        self._id = engine_id
        self._http = AriHttp(url, username, password, timeout_seconds=timeout_seconds)

    @property
    def id(self) -> str:
        """Stable id of the engine."""
        return self._id

    async def probe(self) -> str:
        """Return Asterisk's version, e.g. ``22.10.1``. Raises EngineUnavailableError."""
        reply = await self._request("GET", "asterisk/info", {"only": "system"})
        return self._expect(reply).decode(_Info).system.version

    async def fence(self, run_id: int, known: Iterable[tuple[int, str]] = ()) -> None:
        """Remove every permit of the run: those ``known`` and those the engine lists."""
        await self._remove_all((run_id, epoch, key) for epoch, key in known)
        await self._remove_all(found for found in await self.permits() if found[0] == run_id)

    async def _remove_all(self, found: Iterable[tuple[int, int, str]]) -> None:
        await _all_of([self.remove_permit(*permit) for permit in set(found)])

    async def permits(self) -> Sequence[tuple[int, int, str]]:
        """Return ``(run_id, epoch, key)`` of every permit object at the engine."""
        reply = await self._request("GET", "endpoints/PJSIP")
        if reply.status == NOT_FOUND:
            return []
        names = (endpoint.resource for endpoint in self._expect(reply).decode(list[_Endpoint]))
        return [found for name in names if (found := parse_permit_name(name)) is not None]

    async def remove_permit(self, run_id: int, epoch: int, key: str) -> None:
        """Remove one permit, its contact first."""
        for path in permits.removal_paths(permit_name(run_id, epoch, key)):
            self._expect(await self._request("DELETE", path), NOT_FOUND)

    async def calls(self, run_id: int | None = None) -> Sequence[LiveCall]:
        """Return the calls placed through permits, of one run or all."""
        reply = self._expect(await self._request("GET", "channels"))
        found = (_live_call(channel) for channel in reply.decode(list[ChannelInfo]))
        return [call for call in found if call is not None and run_id in (None, call.run_id)]

    async def hang_up(self, call_id: str) -> bool:
        """End one call; False when the engine does not have it."""
        return self._expect(await self._request("DELETE", f"channels/{call_id}"), NOT_FOUND).ok

    async def cancel(self, call_id: str) -> CancelResult:
        """End one call, unless Asterisk says that it is up: asked right before, since a DELETE knows no condition."""
        reply = self._expect(await self._request("GET", f"channels/{call_id}"), NOT_FOUND)
        if not reply.ok:
            return CancelResult.GONE
        if _CALL_STATES.get(reply.decode(ChannelInfo).state) is CallState.ANSWERED:
            return CancelResult.ANSWERED
        return CancelResult.CANCELLED if await self.hang_up(call_id) else CancelResult.GONE

    async def line_up(self, trunk_id: str, address: TrunkAddress) -> bool:
        """Whether the line's probe is there and its last OPTIONS was answered."""
        path = f"endpoints/PJSIP/{permits.probe_name(trunk_id, address)}"
        reply = self._expect(await self._request("GET", path), NOT_FOUND)
        return reply.ok and reply.decode(_Endpoint).state == "online"

    async def ask_line(self, trunk: Trunk, address: TrunkAddress) -> None:
        """Put the line's probe, where it is not there: a restarted Asterisk has lost it."""
        path = f"endpoints/PJSIP/{permits.probe_name(trunk.id, address)}"
        if not self._expect(await self._request("GET", path), NOT_FOUND).ok:
            await self._put_probe(trunk, address)

    async def _put_probe(self, trunk: Trunk, address: TrunkAddress) -> None:
        name = permits.probe_name(trunk.id, address)
        await self._put_endpoint(trunk, address, name, qualify_seconds=QUALIFY_SECONDS)
        body = permits.contact_fields(permits.contact_uri(trunk, address), None)
        self._expect(await self._request("PUT", permits.contact_path(name), body=body))

    async def _put_endpoint(self, trunk: Trunk, address: TrunkAddress, name: str, qualify_seconds: int = 0) -> None:
        bodies = {"aor": permits.aor_fields(qualify_seconds=qualify_seconds)}
        if trunk.username:
            bodies["auth"] = permits.auth_fields(trunk)
        bodies["endpoint"] = permits.endpoint_fields(trunk, address, name)
        for kind, body in bodies.items():
            self._expect(await self._request("PUT", permits.object_path(kind, name), body=body))

    async def close(self) -> None:
        """Release connections."""
        await self._http.close()

    async def _request(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None) -> Reply:
        return await self._http.request(method, path, query, body)

    def _expect(self, reply: Reply, *also: int) -> Reply:
        """Return a reply of success, or of a status that is as good here. Raises EngineUnavailableError."""
        if reply.ok or reply.status in also:
            return reply
        raise EngineUnavailableError(f"Asterisk at {self._http.url} answered {reply.status}: {reply.text[:200]}")


def _live_call(channel: ChannelInfo) -> LiveCall | None:
    """Return the call behind a channel named ``PJSIP/<permit>-00000001``, None when it is not one of ours."""
    permit = parse_permit_name(channel.name.removeprefix("PJSIP/").rpartition("-")[0])
    if permit is None or not channel.name.startswith("PJSIP/"):
        return None
    run_id, epoch, _ = permit
    return LiveCall(channel.id, run_id, epoch, _CALL_STATES.get(channel.state, CallState.DIALING))


async def _all_of(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all to their end, then raise the first error: one permit that fails must not spare the others."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
