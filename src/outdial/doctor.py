"""Looks at everything outdial needs here, and says of each thing that is wrong how to mend it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import aiohttp
import msgspec

from outdial.config import Settings
from outdial.context import Context, open_context
from outdial.core.errors import EngineUnavailableError, OutdialError, StartupError
from outdial.core.model import Transport, Trunk
from outdial.listening import PortTakenError, listen
from outdial.services import trunks
from outdial.services.engines import list_engines
from outdial.store import campaigns as campaigns_store
from outdial.store import migrations
from outdial.store.database import server_time, server_version
from outdial.telephony import dialplan_needs, sip_options
from outdial.telephony.ari import AriHttp
from outdial.telephony.asterisk_control import AsteriskControl
from outdial.telephony.dialplan_needs import Needs
from outdial.telephony.engine_clock import MAX_OFFSET_SECONDS
from outdial.telephony.managed import EngineAddress, ManagedAsterisk
from outdial.telephony.obtain import LEAST_VERSION
from outdial.telephony.resolver import TrunkResolver

LEAST_FREE_BYTES: Final = 1_000_000_000
"""Below this a database may stop in the middle of a run."""

PROBE_SECONDS: Final = 2.0

MACHINES: Final = "answering machines"
"""What the check of their detection is called."""
MACHINES_REMEDY: Final = (
    "Load that module, or put the lines of docs/how-to/answering-machines.md into its extensions.conf and reload its "
    "dialplan. Until then these calls go on as people's, with the verdict `failed`; a verdict that is kept for review "
    "has no recording."
)

ENDS: Final = "ends of calls"
"""What the check is called that looks whether an Asterisk can tell who has ended a call over TCP or TLS."""
ENDS_REMEDY: Final = (
    "Load that module, or put the lines of docs/how-to/use-a-trunk.md into its extensions.conf and reload its "
    "dialplan. Until then every call that such a trunk's carrier answers with 503 counts as `unknown`, and is not "
    "tried again."
)

DIALPLAN: Final = "dialplans"
"""What the check is called where it cannot be found out what they have to have."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen of one thing."""

    check: str
    ok: bool
    detail: str
    remedy: str = ""
    """How to mend it, where it is not ok and the detail does not say so."""


async def examine(settings: Settings, tell: Callable[[Finding], None]) -> None:
    """Look at one thing after the other; what cannot be looked at because another thing is broken is left out."""
    tell(_folder(settings))
    tell(await _port(settings))
    if settings.watchdog_port is not None:
        tell(await _watchdog(settings, settings.watchdog_port))
    async with AsyncExitStack() as stack:
        context: Context | None = None
        try:
            context = await stack.enter_async_context(open_context(settings))
        except OutdialError as error:
            tell(Finding("PostgreSQL", ok=False, detail=error.message))
        else:
            _tell_all(await _database(context), tell)
        if settings.engine == "simulated":
            tell(Finding("engine", ok=True, detail="simulated (OUTDIAL_ENGINE): no real call is placed"))
            return
        # before the trunks: one may lead to the loopback carrier, which is part of it
        found, address = await _asterisk(settings, stack)
        _tell_all(found, tell)
        if context is not None:
            _tell_all(await _dialplans(context, address), tell)
            _tell_all(await _trunks(context), tell)


def _tell_all(findings: Iterable[Finding], tell: Callable[[Finding], None]) -> None:
    for finding in findings:
        tell(finding)


def _folder(settings: Settings) -> Finding:
    folder = settings.data_dir
    try:
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding(
            "data folder",
            ok=False,
            detail=f"{folder} cannot be written: {error.strerror}",
            remedy="Set OUTDIAL_DATA_DIR to a folder this account may write.",
        )
    return Finding(
        "data folder",
        ok=free >= LEAST_FREE_BYTES,
        detail=f"{folder}, {free / 1e9:.1f} GB free",
        remedy="Free some space on its disk, or set OUTDIAL_DATA_DIR to another disk.",
    )


async def _port(settings: Settings) -> Finding:
    where = f"{settings.http_host} port {settings.http_port}"
    try:
        listen(settings.http_host, settings.http_port).close()
    except PortTakenError as error:
        if await _is_outdial(settings):
            return Finding("API port", ok=True, detail=f"{where}: an outdial server answers")
        return Finding("API port", ok=False, detail=error.message)
    except StartupError as error:
        return Finding("API port", ok=False, detail=error.message)
    return Finding("API port", ok=True, detail=f"{where} is free")


async def _is_outdial(settings: Settings) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.http_host, settings.http_host)  # noqa: S104 - compared
    url = (
        f"http://[{host}]:{settings.http_port}/health" if ":" in host else f"http://{host}:{settings.http_port}/health"
    )
    timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return "version" in await response.json()
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return False


async def _watchdog(settings: Settings, port: int) -> Finding:
    where = f"{settings.watchdog_host} port {port}"
    host = f"[{settings.watchdog_host}]" if ":" in settings.watchdog_host else settings.watchdog_host
    timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"http://{host}:{port}/ready") as response,
        ):
            problems = (await response.json()).get("problems", [])
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return Finding(
            "watchdog",
            ok=False,
            detail=f"nothing answers at {where} (OUTDIAL_WATCHDOG_PORT): what is dialed is not watched",
            remedy="Start it with: outdial watchdog",
        )
    detail = f"{where}: {' '.join(problems) or 'it hears and judges'}"
    return Finding("watchdog", ok=not problems, detail=detail, remedy="See docs/how-to/watch-the-wire.md.")


async def _database(context: Context) -> Sequence[Finding]:
    try:
        async with context.database.connection() as connection:
            sent = time.time()
            at = await server_time(connection)
            received = time.time()
            version = await server_version(connection)
            revision = await migrations.current_revision(connection)
    except OutdialError as error:
        return [Finding("PostgreSQL", ok=False, detail=error.message)]
    where = "in the data folder" if context.settings.database_url is None else "at OUTDIAL_DATABASE_URL"
    milliseconds = (received - sent) * 1000
    detail = f"{version.split()[0]} {where}, schema {revision}, answers in {milliseconds:.1f} ms"
    return [Finding("PostgreSQL", ok=True, detail=detail), _clock("the database's", at, sent, received)]


def _clock(whose: str, at: datetime, sent: float, received: float) -> Finding:
    """Compare a clock that was read between two instants of ours."""
    offset = at.timestamp() - (sent + received) / 2
    return Finding(
        "clock",
        ok=abs(offset) - (received - sent) / 2 <= MAX_OFFSET_SECONDS,
        detail=f"{whose} is {offset * 1000:+.0f} ms from this machine's; at most {MAX_OFFSET_SECONDS:g} s is allowed",
        remedy="Synchronise both machines' clocks (NTP: chrony or systemd-timesyncd).",
    )


class _Ping(msgspec.Struct):
    timestamp: str


async def _asterisk(settings: Settings, stack: AsyncExitStack) -> tuple[Sequence[Finding], EngineAddress | None]:
    """Look at Asterisk; one of our own runs until the stack closes, started if it did not run. Returns how to reach it
    too, where it answers."""
    if settings.asterisk_url is not None:
        password = settings.asterisk_password.get_secret_value()
        address = EngineAddress("doctor", settings.asterisk_url, settings.asterisk_user, password)
        found = await _ari(address, f"at {settings.asterisk_url} (OUTDIAL_ASTERISK_URL)", stack)
        return found, address if found[0].check == "Asterisk" else None
    managed = ManagedAsterisk(settings)
    stack.push_async_callback(managed.stop)
    try:
        address = await managed.start()
    except OutdialError as error:
        return [Finding("Asterisk", ok=False, detail=error.message)], None
    carrier = managed.loopback_trunk_address
    where = f"process {managed.pid} of our own, its loopback carrier at {carrier.host}:{carrier.port}"
    return await _ari(address, where, stack), address


async def _ari(address: EngineAddress, where: str, stack: AsyncExitStack) -> Sequence[Finding]:
    control = AsteriskControl(
        engine_id=address.engine_id, url=address.url, username=address.username, password=address.password
    )
    stack.push_async_callback(control.close)
    http = AriHttp(address.url, address.username, address.password, timeout_seconds=PROBE_SECONDS)
    stack.push_async_callback(http.close)
    try:
        version = await control.probe()
        sent = time.time()
        reply = await http.request("GET", "asterisk/ping")
        received = time.time()
        at = datetime.fromisoformat(reply.decode(_Ping).timestamp)
    except EngineUnavailableError as error:
        return [Finding("ARI", ok=False, detail=error.message, remedy="Start that Asterisk, or correct its address.")]
    return [
        Finding(
            "Asterisk",
            ok=int(version.partition(".")[0]) >= LEAST_VERSION,
            detail=f"{version}, {where}",
            remedy=f"outdial needs Asterisk {LEAST_VERSION} or newer: install it, or unset OUTDIAL_ASTERISK_URL.",
        ),
        Finding("ARI", ok=True, detail=f"answers in {(received - sent) * 1000:.1f} ms"),
        _clock("Asterisk's", at, sent, received),
    ]


async def _dialplans(context: Context, here: EngineAddress | None) -> Sequence[Finding]:
    """Look whether each Asterisk that dials, this one and those of other nodes, has what it needs beside ARI: to tell
    machines from people, where a campaign has that done; to tell who ended a call, where a trunk is reached over TCP or
    TLS."""
    try:
        async with context.database.connection() as connection:
            detecting, keeping = await campaigns_store.detecting(connection)
        every = await trunks.list_trunks(context.database, context.secrets)
        connected = sorted({trunk.name for trunk in every if trunk.transport is not Transport.UDP})
        if not (detecting or connected):
            return []
        addresses = {} if here is None else {here.url: (here.username, here.password)}
        for engine in await list_engines(context.database):
            if engine.url is not None and engine.node_names and engine.retired_at is None:
                addresses.setdefault(engine.url, (engine.username or "", engine.password(context.secrets)))
    except OutdialError as error:
        return [Finding(DIALPLAN, ok=False, detail=error.message)]
    kept = f", {keeping} keep verdicts for review" if keeping else ""
    found = []
    for url, (username, password) in addresses.items():
        http = AriHttp(url, username, password, timeout_seconds=PROBE_SECONDS)
        try:
            if detecting:
                needs, why = dialplan_needs.detecting(samples=keeping > 0), f"{detecting} campaigns have them detected"
                found.append(await _dialplan(http, needs, MACHINES, why + kept, remedy=MACHINES_REMEDY))
            if connected:
                needs, why = dialplan_needs.telling_ends(), f"TCP or TLS: {', '.join(connected)}"
                found.append(await _dialplan(http, needs, ENDS, why, remedy=ENDS_REMEDY))
        finally:
            await http.close()
    return found


async def _dialplan(http: AriHttp, needs: Needs, check: str, why: str, *, remedy: str) -> Finding:
    try:
        missing = await dialplan_needs.lacking_without_call(http, needs)
    except EngineUnavailableError as error:
        return Finding(check, ok=False, detail=error.message, remedy="Start that Asterisk, or correct its address.")
    return Finding(
        check, ok=not missing, detail=f"{missing or f'Asterisk at {http.url} has what it takes'}; {why}", remedy=remedy
    )


async def _trunks(context: Context) -> Sequence[Finding]:
    try:
        found = await trunks.list_trunks(context.database, context.secrets)
    except OutdialError as error:
        return [Finding("trunks", ok=False, detail=error.message)]
    resolver = TrunkResolver()
    try:
        return await asyncio.gather(*(_trunk(each, resolver) for each in found))
    finally:
        await resolver.close()


async def _trunk(trunk: Trunk, resolver: TrunkResolver) -> Finding:
    check = f"trunk {trunk.name}"
    try:
        address = await resolver.address(trunk)
        answer = await sip_options.ask(address, trunk.transport)
    except OutdialError as error:
        return Finding(
            check,
            ok=False,
            detail=error.message,
            remedy="Check the trunk's host, port and transport, and that no firewall is in between.",
        )
    return Finding(
        check,
        ok=True,
        detail=f"{address.host}:{address.port} over {trunk.transport} answers OPTIONS with {answer.status} "
        f"{answer.reason} in {answer.seconds * 1000:.1f} ms",
    )
