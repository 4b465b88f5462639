"""HTTP requests to addresses that users of this server name: which of them may be asked, and how.

Public addresses only, hosts the operator has named excepted, whatever a name resolves to; no redirect is followed, no
cookie kept, and no more of an answer is read than is wanted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

import aiohttp
from yarl import URL

from outdial.public_hosts import PrivateHosts, PublicResolver

SETTING: Final = "OUTDIAL_PRE_CALL_PRIVATE_HOSTS"


class Outside:
    """Asks systems outside. Made inside a running event loop; keeps connections until it is closed."""

    def __init__(self, private_hosts: Iterable[str]) -> None:
        """``private_hosts``: names and addresses, in lower case, that may be private."""
        self._private_hosts = PrivateHosts(private_hosts, setting=SETTING)
        self._resolver = PublicResolver(self._private_hosts)
        self._session = aiohttp.ClientSession(
            # no limit: whoever waited for a connection would have less time left; the live calls bound them
            connector=aiohttp.TCPConnector(limit=0, resolver=self._resolver),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[_never_redirected()],
        )

    async def close(self) -> None:
        """Release the connections."""
        await self._session.close()
        await self._resolver.close()

    async def post(
        self, url: URL, document: Mapping[str, Any], *, headers: Mapping[str, str], seconds: float, largest_reply: int
    ) -> tuple[int, bytes]:
        """Post a JSON document; return the reply's status, and its body up to one byte more than ``largest_reply``.

        Raises TimeoutError when the whole exchange takes longer than ``seconds``, PrivateAddressError (perhaps as the
        cause of another error, see ``public_hosts.private_address``), aiohttp.ClientError, OSError, and ValueError for
        a host that no resolver can be asked about.
        """
        # an address is connected to without any resolver
        self._private_hosts.require_allowed(url.host or "", [url.host or ""])
        async with self._session.post(
            url,
            json=document,
            headers=dict(headers),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=seconds),
        ) as reply:
            return reply.status, await _bounded(reply.content, largest_reply)

    async def websocket(
        self, url: URL, *, seconds: float, heartbeat_seconds: float, largest_message: int
    ) -> aiohttp.ClientWebSocketResponse[bool]:
        """Open a websocket. Raises what :meth:`post` raises, TimeoutError when it is not open within ``seconds``."""
        self._private_hosts.require_allowed(url.host or "", [url.host or ""])
        async with asyncio.timeout(seconds):
            return await self._session.ws_connect(url, heartbeat=heartbeat_seconds, max_msg_size=largest_message)


def _never_redirected() -> aiohttp.TraceConfig:
    """Return what ends every request that is redirected: aiohttp follows where a websocket is asked for, also to an
    address that nobody has looked at."""

    async def refuse(_session: aiohttp.ClientSession, _context: object, _: aiohttp.TraceRequestRedirectParams) -> None:
        raise aiohttp.ClientError("redirects are not followed")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    return trace


async def _bounded(stream: aiohttp.StreamReader, largest: int) -> bytes:
    """Read no more than one byte too many."""
    data = bytearray()
    async for chunk in stream.iter_any():
        data += chunk
        if len(data) > largest:
            break
    return bytes(data[: largest + 1])
