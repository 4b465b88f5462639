"""Trunk names become addresses here, never in the engine: an engine that waits for DNS sends an INVITE seconds after
its call was cancelled (measured)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

import aiodns
import structlog

from outdial.clock import boottime
from outdial.core.errors import TrunkUnresolvedError
from outdial.core.model import Transport, Trunk
from outdial.telephony.engine import TrunkAddress

SHORTEST_SECONDS: Final = 5.0
LONGEST_SECONDS: Final = 300.0
"""Bounds of how long an answer is used: a record's own time to live decides between them."""

QUERY_SECONDS: Final = 3.0
"""For one question, all tries together."""

DEFAULT_PORTS: Final = {Transport.UDP: 5060, Transport.TCP: 5060, Transport.TLS: 5061}
"""RFC 3261 §19.1.2."""

_SERVICES: Final = {Transport.UDP: "_sip._udp", Transport.TCP: "_sip._tcp", Transport.TLS: "_sips._tcp"}
"""RFC 3263 §4.1."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Answer:
    address: TrunkAddress
    until: float
    """Boot time until which it is used without asking again."""


class TrunkResolver:
    """Resolves the hosts of trunks, and goes on with the last good answer while name servers do not answer."""

    def __init__(self, *, nameservers: Sequence[str] | None = None) -> None:
        self._nameservers = nameservers
        self._dns: aiodns.DNSResolver | None = None
        self._answers: dict[tuple[str, int, Transport], _Answer] = {}
        self._locks: dict[tuple[str, int, Transport], asyncio.Lock] = {}

    async def address(self, trunk: Trunk) -> TrunkAddress:
        """Return where the trunk's calls go now.

        An address is returned at once. A name with a port is looked up (A, then AAAA); port 0 asks for SRV first and
        falls back to the transport's own port (RFC 3263 §4.2). Raises TrunkUnresolvedError when there never was an
        answer.
        """
        literal = _literal(trunk.host)
        if literal is not None:
            return TrunkAddress(literal, trunk.port or DEFAULT_PORTS[trunk.transport])
        key = (trunk.host, trunk.port, trunk.transport)
        known = self._answers.get(key)
        if known is not None and boottime() < known.until:
            return known.address
        async with self._locks.setdefault(key, asyncio.Lock()):
            known = self._answers.get(key)
            if known is None or boottime() >= known.until:
                known = self._answers[key] = await self._ask(trunk, known)
            return known.address

    async def _ask(self, trunk: Trunk, known: _Answer | None) -> _Answer:
        try:
            async with asyncio.timeout(QUERY_SECONDS):
                address, seconds = await self._look_up(trunk)
        except (aiodns.error.DNSError, TimeoutError) as error:
            reason = str(error) or "no answer in time"
            if known is None:
                raise TrunkUnresolvedError(
                    f"The host {trunk.host} of the trunk {trunk.name} cannot be resolved ({reason}): check the "
                    "name, or give the trunk an address."
                ) from error
            _log.warning("trunk_not_resolved_anew", trunk_id=trunk.id, host=trunk.host, reason=reason)
            return _Answer(known.address, boottime() + SHORTEST_SECONDS)
        return _Answer(address, boottime() + min(max(seconds, SHORTEST_SECONDS), LONGEST_SECONDS))

    async def _look_up(self, trunk: Trunk) -> tuple[TrunkAddress, float]:
        host, port, seconds = trunk.host, trunk.port, LONGEST_SECONDS
        if port == 0:
            port = DEFAULT_PORTS[trunk.transport]
            records = await self._query_if_any(f"{_SERVICES[trunk.transport]}.{trunk.host}", "SRV")
            if records:
                # lowest priority value first, then the highest weight: always the same one while it answers
                best = min(records, key=lambda record: (record.data.priority, -record.data.weight))
                host, port, seconds = best.data.target, best.data.port, best.ttl
        found = await self._query_if_any(host, "A") or await self._query(host, "AAAA")
        return TrunkAddress(found[0].data.addr, port), min(seconds, found[0].ttl)

    async def _query_if_any(self, name: str, kind: str) -> list[Any]:
        """Return no record where a name server says that there is none; a server that fails says nothing, and must not
        lead calls elsewhere."""
        try:
            return await self._query(name, kind)
        except aiodns.error.DNSError as error:
            if error.args and error.args[0] in (aiodns.error.ARES_ENOTFOUND, aiodns.error.ARES_ENODATA):
                return []
            raise

    async def _query(self, name: str, kind: str) -> list[Any]:
        if self._dns is None:
            self._dns = aiodns.DNSResolver(nameservers=self._nameservers, timeout=1.0, tries=2)
        answer = await self._dns.query_dns(name, kind)
        # what comes back beside the kind asked for (CNAME) names no address
        found = [record for record in answer.answer if _has(record, kind)]
        if not found:
            raise aiodns.error.DNSError(aiodns.error.ARES_ENODATA, f"no {kind} record")
        return found

    async def close(self) -> None:
        """Release the resolver's sockets."""
        if self._dns is not None:
            await self._dns.close()
            self._dns = None


def _has(record: Any, kind: str) -> bool:
    return hasattr(record.data, "target" if kind == "SRV" else "addr")


def _literal(host: str) -> str | None:
    try:
        return str(ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        return None
