"""Requests to addresses that others have named reach the Internet, and nothing that only this machine can reach.

Whoever may set a webhook or a pre-call fetch must not be able to ask a database, a router or a cloud's metadata in
outdial's name. A host that is meant to be private is named in the settings.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

NAMES_AT_ONCE: Final = 32
"""Names that one resolver looks up at once. Each takes a thread for as long as its name servers take to answer: 10 to
30 seconds, with the usual settings of the system, when they do not."""

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""RFC 6052: a gateway sends what goes there to the IPv4 address in the last 32 bits."""


class PrivateAddressError(OSError):
    """A host that is not allowed to be one is an address of a private network, or of this machine."""


class PrivateHosts:
    """The hosts that may be private; ``setting`` is the variable that names them."""

    def __init__(self, hosts: Iterable[str], *, setting: str) -> None:
        self._hosts = frozenset(hosts)
        self._setting = setting

    def require_allowed(self, host: str, addresses: Iterable[str]) -> None:
        """Raise PrivateAddressError for a host of which any address is private; names are looked at by their resolver,
        but an address is connected to without any: check it first."""
        if host.lower() in self._hosts:
            return
        for text in addresses:
            try:
                address = ip_address(text.partition("%")[0])
            except ValueError:
                continue
            if not _is_public(address):
                raise PrivateAddressError(f"{host} is a private address; name it in {self._setting} to allow it")


class PublicResolver(AbstractResolver):
    """Finds no private addresses, save those of hosts that may have them.

    Names are looked up in threads of its own, at most ``NAMES_AT_ONCE`` at a time: whoever names hosts whose name
    servers are slow keeps neither the event loop's own threads nor those of another resolver. What is left: all who use
    the same resolver share its threads, so that many slow names at once keep other names waiting, though not
    connections that are kept open. Whoever makes it closes it: an HTTP client does not.
    """

    def __init__(self, private_hosts: PrivateHosts) -> None:
        self._private_hosts = private_hosts
        self._threads = ThreadPoolExecutor(NAMES_AT_ONCE, thread_name_prefix="names")

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port, family)
        self._private_hosts.require_allowed(host, [each["host"] for each in found])
        return found

    async def close(self) -> None:
        # a look-up that has begun ends by itself
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int, family: int) -> list[ResolveResult]:
    """Ask the system for a host's addresses; takes as long as that takes."""
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    found: list[ResolveResult] = []
    for kind, _, protocol, _, address in socket.getaddrinfo(
        host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    ):
        # numeric, with the zone of a link-local address
        text, _ = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
        found.append(ResolveResult(hostname=host, host=text, port=port, family=kind, proto=protocol, flags=flags))
    return found


def private_address(error: BaseException) -> PrivateAddressError | None:
    """Return what refused a private address, behind whatever the HTTP client made of it; None where none did."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, PrivateAddressError):
        cause = cause.__cause__ or getattr(cause, "os_error", None)
    return cause


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
