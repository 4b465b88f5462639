"""HTTP requests to addresses that users of this server name: which of them may be asked, and how.

Public addresses only, hosts the operator has named excepted, whatever a name resolves to; no redirect is followed, no
cookie kept, and no more of an answer is read than is wanted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""RFC 6052: a gateway sends what goes there to the IPv4 address in the last 32 bits."""


class PrivateAddressError(OSError):
    """A host that is not allowed to be one is an address of a private network, or of this machine."""


class Outside:
    """Asks systems outside. Made inside a running event loop; keeps connections until it is closed."""

    def __init__(self, private_hosts: Iterable[str]) -> None:
        """``private_hosts``: names and addresses, in lower case, that may be private."""
        self._private_hosts = frozenset(private_hosts)
        self._session = aiohttp.ClientSession(
            # no limit: whoever waited for a connection would have less time left; the live calls bound them
            connector=aiohttp.TCPConnector(limit=0, resolver=_Resolver(self._private_hosts)),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[_never_redirected()],
        )

    async def close(self) -> None:
        """Release the connections."""
        await self._session.close()

    async def post(
        self, url: URL, document: Mapping[str, Any], *, headers: Mapping[str, str], seconds: float, largest_reply: int
    ) -> tuple[int, bytes]:
        """Post a JSON document; return the reply's status, and its body up to one byte more than ``largest_reply``.

        Raises TimeoutError when the whole exchange takes longer than ``seconds``, PrivateAddressError (perhaps as the
        cause of another error, see :func:`private_address`), aiohttp.ClientError, OSError, and ValueError for a host no
        resolver can be asked about.
        """
        # an address is connected to without any resolver
        _require_allowed(url.host or "", [url.host or ""], self._private_hosts)
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
        _require_allowed(url.host or "", [url.host or ""], self._private_hosts)
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


def private_address(error: BaseException) -> PrivateAddressError | None:
    """Return the PrivateAddressError an error was caused by, None when it was not."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, PrivateAddressError):
        cause = cause.__cause__ or getattr(cause, "os_error", None)
    return cause


async def _bounded(stream: aiohttp.StreamReader, largest: int) -> bytes:
    """Read no more than one byte too many."""
    data = bytearray()
    async for chunk in stream.iter_any():
        data += chunk
        if len(data) > largest:
            break
    return bytes(data[: largest + 1])


class _Resolver(AbstractResolver):
    """Finds no private addresses: whoever may name a host must not reach what only this machine can."""

    def __init__(self, private_hosts: frozenset[str]) -> None:
        self._private_hosts = private_hosts
        self._inner = ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        _require_allowed(host, [each["host"] for each in found], self._private_hosts)
        return found

    async def close(self) -> None:
        await self._inner.close()


def _require_allowed(host: str, addresses: Iterable[str], private_hosts: frozenset[str]) -> None:
    """Raise PrivateAddressError for a host of which any address is private; names are looked at by their resolver."""
    if host.lower() in private_hosts:
        return
    for text in addresses:
        try:
            address = ip_address(text.partition("%")[0])
        except ValueError:
            continue
        if not _is_public(address):
            raise PrivateAddressError(
                f"{host} is a private address; name it in OUTDIAL_PRE_CALL_PRIVATE_HOSTS to allow it"
            )


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether it is an address of the Internet, and leads nowhere else by what it carries."""
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast
    if address in _NAT64:
        return _is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    inner = address.ipv4_mapped or address.sixtofour
    if inner is not None:
        return _is_public(inner)
    return address.is_global and not (address.is_multicast or address.is_site_local or int(address) >> 32 == 0)
