"""An Asterisk of our own: started when nobody runs it, joined when somebody does, stopped by the last who leaves.

It is a process in a session of its own: Ctrl-C in a terminal does not reach it, and ``kill -9`` of outdial leaves it
running, calls and all, for the next outdial process of the same data folder to take over. Three files in
``DATA_DIR/asterisk``, locked with flock, say who is there:

``start.lock``   held alone while somebody starts or stops Asterisk
``users.lock``   shared by every process that uses it
``server.lock``  inherited by Asterisk: as long as it lives nobody else gets it

Every user watches it; whoever first sees it gone starts it again, on the same ports and with the same password, with
growing pauses. Until it answers again nothing is dialed: permits died with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import socket
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import structlog

from outdial.clock import boottime
from outdial.config import Settings
from outdial.core.errors import EngineUnavailableError, StartupError
from outdial.locks import FileLock
from outdial.secretbox import hep_key, load_secret_box
from outdial.telephony import managed_config, managed_files
from outdial.telephony.ari import AriHttp
from outdial.telephony.call_records import count_started, find_record
from outdial.telephony.engine import CallRecord, TrunkAddress
from outdial.telephony.managed_config import ARI_USER, CARRIER_HOST, Layout, Ports, Watchdog
from outdial.telephony.program import find_asterisk

_log = structlog.get_logger()

START_SECONDS: Final = 60.0
"""Patience with a start (measured 0.5 s; a busy small machine takes longer)."""

STOP_SECONDS: Final = 10.0
"""Patience with SIGTERM before SIGKILL."""

ADOPT_SECONDS: Final = 5.0
"""A running Asterisk that does not answer for this long when it is to be joined is replaced."""

LOCK_SECONDS: Final = 0.5
"""Somebody who looks whether Asterisk lives holds its lock for an instant."""

WATCH_SECONDS: Final = 0.25
HANG_SECONDS: Final = 30.0
"""An Asterisk that answers nothing for this long is killed and started again."""

RESTART_SECONDS: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses before restarts that follow one another within a minute."""

_CALM_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.02
_TRIES: Final = 3
_PLAIN_PATH: Final = re.compile(r"[\w./+@%=:~-]+")
"""Asterisk's configuration has no quoting: ``;`` starts a comment, ``,`` splits a list of media."""


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """How to reach an engine."""

    engine_id: str
    url: str
    username: str
    password: str

    def __repr__(self) -> str:
        return f"EngineAddress(engine_id={self.engine_id!r}, url={self.url!r}, username={self.username!r})"


@dataclass(frozen=True, slots=True)
class _Running:
    """What ``state.json`` says of the Asterisk that runs."""

    pid: int
    password: str
    ports: Ports
    version: str
    digest: str
    """Of the configuration: another one wanted means another Asterisk."""


class ManagedAsterisk:
    """One process's share in the Asterisk of a data folder."""

    def __init__(self, settings: Settings, *, on_restart: Callable[[EngineAddress], None] | None = None) -> None:
        self._settings = settings
        self._on_restart = on_restart
        self._folder = settings.data_dir.resolve() / "asterisk"
        self._engine_id = ""
        self._state: _Running | None = None
        self._users: FileLock | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._alive = False

    @property
    def running(self) -> bool:
        """Whether Asterisk ran when it was last looked at (every 0.25 s)."""
        return self._alive

    @property
    def pid(self) -> int:
        """Process id of Asterisk. Raises EngineUnavailableError before ``start``."""
        return self._now().pid

    @property
    def version(self) -> str:
        """Asterisk's own version line."""
        return self._now().version

    @property
    def sip_address(self) -> TrunkAddress:
        """Where its calls come from: the address a carrier sees, unless translated on the way."""
        return TrunkAddress(self._settings.sip_host, self._now().ports.sip)

    @property
    def loopback_trunk_address(self) -> TrunkAddress:
        """The loopback carrier's address, for a trunk to try things out; stable as long as its port stays free."""
        return TrunkAddress(CARRIER_HOST, self._now().ports.carrier)

    @property
    def console_log(self) -> Path:
        """What Asterisk says."""
        return self._folder / "log" / "console"

    def _now(self) -> _Running:
        if self._state is None:
            raise EngineUnavailableError("The managed Asterisk has not been started.")
        return self._state

    async def start(self) -> EngineAddress:
        """Start Asterisk or join the running one; return once it answers. Raises StartupError."""
        self._prepare_folder()
        start = FileLock(self._folder / "start.lock")
        try:
            if not await start.exclusive(START_SECONDS):
                raise StartupError(
                    f"Another outdial process has been starting Asterisk in {self._folder} for too long."
                )
            self._users = FileLock(self._folder / "users.lock")
            alone = self._users.try_exclusive()
            self._users.try_shared()
            try:
                await self._join_or_launch(alone=alone)
            except BaseException as error:
                # whoever gives up while it starts is the one to end it; what fails has ended what it began
                if not isinstance(error, Exception) and self._users.try_exclusive():
                    await self._terminate()
                    managed_files.clear_run_folder(self._folder)
                self._users.close()
                self._users = None
                raise
        finally:
            start.close()
        self._alive = True
        self._watcher = asyncio.create_task(self._watch(), name="asterisk-watcher")
        return self.address

    async def stop(self) -> None:
        """Leave; the last one to leave stops Asterisk."""
        if self._watcher is not None and not self._watcher.done():
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        self._watcher = None
        if self._users is None:
            return
        self._users.close()
        self._users = None
        self._alive = False
        start, users = FileLock(self._folder / "start.lock"), FileLock(self._folder / "users.lock")
        try:
            if await start.exclusive(START_SECONDS) and users.try_exclusive():
                await self._terminate()
                managed_files.clear_run_folder(self._folder)
        finally:
            users.close()
            start.close()

    async def call_record(self, call_id: str) -> CallRecord | None:
        """Return what Asterisk wrote down about a call, None when nothing is known of it."""
        return await asyncio.to_thread(find_record, self._folder / "log" / "cel-custom", call_id)

    async def count_started(self, after: datetime) -> int:
        """Return how many channels have started after an instant, by what Asterisk wrote down: the dialer's and the
        loopback carrier's, so a call over the carrier counts twice."""
        return await asyncio.to_thread(count_started, self._folder / "log" / "cel-custom", after)

    @property
    def address(self) -> EngineAddress:
        """How to reach it."""
        state = self._now()
        return EngineAddress(self._engine_id, f"http://127.0.0.1:{state.ports.http}", ARI_USER, state.password)

    # Starting

    def _prepare_folder(self) -> None:
        if not _PLAIN_PATH.fullmatch(str(self._folder)):
            raise StartupError(
                f"Asterisk cannot work in {self._folder}: set OUTDIAL_DATA_DIR to a path of letters, digits and . _ - /"
            )
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._folder / "engine_id"
            if not path.exists():
                managed_files.write_private(path, f"ast-{uuid4()}\n")
            self._engine_id = path.read_text().strip()
        except OSError as error:
            raise StartupError(f"Asterisk's folder {self._folder} cannot be written: {error.strerror}.") from error

    async def _join_or_launch(self, *, alone: bool) -> None:
        self._state = self._read_state()
        if self._state is None or self._is_gone():
            await self._launch(fresh=True)
            return
        answers = await self._answers(ADOPT_SECONDS)
        if answers and (not alone or await self._is_as_wanted()):
            _log.info("asterisk_joined", pid=self._now().pid, engine_id=self._engine_id)
            return
        _log.warning("asterisk_replaced", reason="another configuration is wanted" if answers else "does not answer")
        await self._terminate()
        await self._launch(fresh=True)

    async def _is_as_wanted(self) -> bool:
        state = self._now()
        if self._settings.sip_port not in (0, state.ports.sip):
            return False
        return state.digest == self._digest(await self._layout(state.ports, state.password))

    async def _launch(self, *, fresh: bool) -> None:
        """Start Asterisk, under the start lock. ``fresh`` draws a new password; a restart keeps password and ports, so
        that every node that uses it finds it again. Raises StartupError."""
        previous = self._state
        for attempt in range(1, _TRIES + 1):
            problem = await self._launch_once(previous, fresh=fresh)
            if problem is None:
                _log.info("asterisk_started", pid=self._now().pid, engine_id=self._engine_id)
                return
            if attempt == _TRIES or "in use" not in problem:
                raise StartupError(f"Asterisk does not start: {problem} (log: {self.console_log})")
            # somebody took a port between our look and Asterisk's
            previous = previous if not fresh else None

    async def _launch_once(self, previous: _Running | None, *, fresh: bool) -> str | None:
        server = FileLock(self._folder / "server.lock")
        reservation: socket.socket | None = None
        try:
            if not await server.exclusive(LOCK_SECONDS):
                raise StartupError(f"An Asterisk that cannot be ended holds {server.path}.")
            ports, reservation = self._choose_ports(previous.ports if previous is not None else None, keep=not fresh)
            password = secrets.token_urlsafe(32) if fresh or previous is None else previous.password
            layout = await self._layout(ports, password)
            managed_files.write_all(layout)
            begin = await _to_its_end(self._run(layout, keep=(server.descriptor, reservation.fileno())))
        finally:
            # Asterisk has inherited both and holds on to them
            server.close()
            if reservation is not None:
                reservation.close()
        return await self._until_ready(begin)

    async def _layout(self, ports: Ports, password: str) -> Layout:
        return Layout(
            folder=self._folder,
            run=managed_files.run_folder(self._folder),
            program=await find_asterisk(self._settings),
            entity_id=managed_files.entity_id(self._engine_id),
            sip_host=self._settings.sip_host,
            ports=ports,
            password=password,
            max_files=managed_files.max_files(),
            watchdog=self._watchdog(),
        )

    def _watchdog(self) -> Watchdog | None:
        """Return where SIP traffic is to be told, None where nobody watches. Raises StartupError."""
        settings = self._settings
        if settings.watchdog_port is None:
            return None
        try:
            host = ip_address(settings.watchdog_host)
        except ValueError:
            raise StartupError(
                f"OUTDIAL_WATCHDOG_HOST must be an IP address, not {settings.watchdog_host!r}."
            ) from None
        key = hep_key(settings, load_secret_box(settings))
        return Watchdog(str(host), settings.watchdog_port, key, self._engine_id)

    def _digest(self, layout: Layout) -> str:
        files = managed_config.render(replace(layout, password=""))
        return sha256(json.dumps([files, layout.program.version], sort_keys=True).encode()).hexdigest()

    def _choose_ports(self, wanted: Ports | None, *, keep: bool) -> tuple[Ports, socket.socket]:
        """Return free ports, those of last time where they still are, and the socket that reserves the RTP range.

        With ``keep`` the ports are taken as they were: those who use them know no others.
        """
        first, reservation = managed_files.reserve_rtp(wanted.rtp_first if wanted else None)
        rtp = {"rtp_first": first, "rtp_last": first + managed_files.RTP_PORTS - 4}
        if keep and wanted is not None:
            return replace(wanted, **rtp), reservation
        host, fixed = self._settings.sip_host, self._settings.sip_port
        try:
            sip = managed_files.free_port(host, fixed or (wanted.sip if wanted else 0), fixed=fixed != 0)
            return Ports(
                http=managed_files.free_port("127.0.0.1", wanted.http if wanted else 0),
                sip=sip,
                tls=managed_files.free_port(host, wanted.tls if wanted else 0),
                carrier=managed_files.free_port(CARRIER_HOST, wanted.carrier if wanted else 0),
                **rtp,
            ), reservation
        except BaseException:
            reservation.close()
            raise

    async def _run(self, layout: Layout, *, keep: tuple[int, ...]) -> int:
        """Run Asterisk with the descriptors ``keep``; return where in the log its words begin."""
        log = os.open(self.console_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        begin = os.fstat(log).st_size
        # a pipe of our own: uvloop's stays open as long as Asterisk runs
        told, tell = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                # the shell leaves at once, so that Asterisk is nobody's child: it outlives us and init reaps it
                *("/bin/sh", "-c", 'umask 077; "$@" 2>&1 & echo $! >&2', "sh"),
                *(*layout.program.command, "-f", "-C", str(layout.conf / "asterisk.conf")),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=tell,
                pass_fds=keep,
                cwd=self._folder,
                start_new_session=True,
            )
            await process.wait()
        finally:
            os.close(tell)
            output = os.read(told, 64)
            os.close(told)
            os.close(log)
        if not output.strip().isdigit():
            said = output.decode(errors="replace").strip() or "nothing"
            raise StartupError(f"Asterisk does not start: the shell that was to start it said {said}.")
        self._state = _Running(int(output), layout.password, layout.ports, layout.program.version, self._digest(layout))
        managed_files.write_private(self._folder / "state.json", json.dumps(asdict(self._state)))
        return begin

    async def _until_ready(self, begin: int) -> str | None:
        """Wait until Asterisk is ready; return what went wrong, None when nothing did."""
        deadline = boottime() + START_SECONDS
        while boottime() < deadline:
            text = managed_files.read_from(self.console_log, begin)
            if self._is_gone():
                return managed_files.explain(text) or "it ended at once"
            if "Asterisk Ready." in text and await self._answers(0.0):
                problem = managed_files.explain(managed_files.read_from(self.console_log, begin))
                if problem is not None:
                    await self._terminate()
                return problem
            await asyncio.sleep(_POLL_SECONDS)
        await self._terminate()
        return f"it was not ready within {START_SECONDS:.0f} s"

    async def _answers(self, seconds: float) -> bool:
        """Whether ARI answers now, or within ``seconds``."""
        address = self.address
        ari = AriHttp(address.url, address.username, address.password, timeout_seconds=1.0)
        deadline = boottime() + seconds
        try:
            while True:
                with contextlib.suppress(EngineUnavailableError):
                    if (await ari.request("GET", "channels")).ok:
                        return True
                if boottime() >= deadline or self._is_gone():
                    return False
                await asyncio.sleep(_POLL_SECONDS)
        finally:
            await ari.close()

    # Looking after it

    async def _watch(self) -> None:
        restarts: list[float] = []
        heard = looked = boottime()
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._is_gone():
                self._alive = False
                restarts = [at for at in restarts if boottime() - at < _CALM_SECONDS]
                pause = RESTART_SECONDS[min(len(restarts), len(RESTART_SECONDS) - 1)]
                restarts.append(boottime())
                _log.error("asterisk_gone", pid=self._now().pid, restart_in_seconds=pause)
                await asyncio.sleep(pause)
                self._alive = await self._restart()
                heard = looked = boottime()
            elif boottime() - looked > 1.0:
                looked = boottime()
                if await self._answers(0.0):
                    heard = boottime()
                elif boottime() - heard > HANG_SECONDS:
                    _log.error("asterisk_hangs", pid=self._now().pid, silent_seconds=HANG_SECONDS)
                    self._kill(signal.SIGKILL)

    async def _restart(self) -> bool:
        start = FileLock(self._folder / "start.lock")
        try:
            if not await start.exclusive(START_SECONDS):
                return False
            self._state = self._read_state() or self._state
            if self._is_gone():
                await self._launch(fresh=False)
        except (StartupError, OSError) as error:
            _log.error("asterisk_restart_failed", error=str(error))
            return False
        finally:
            start.close()
        if self._on_restart is not None:
            self._on_restart(self.address)
        return True

    def _is_gone(self) -> bool:
        server = FileLock(self._folder / "server.lock")
        try:
            return server.try_exclusive()
        finally:
            server.close()

    async def _terminate(self) -> None:
        server = FileLock(self._folder / "server.lock")
        try:
            if server.try_exclusive():
                return
            for what in (signal.SIGTERM, signal.SIGKILL):
                self._kill(what)
                if await server.exclusive(STOP_SECONDS):
                    return
        finally:
            server.close()

    def _kill(self, what: signal.Signals) -> None:
        """Signal Asterisk, if the process of that number still is ours."""
        self._state = self._read_state() or self._state
        if self._state is None:
            return
        with contextlib.suppress(OSError):
            if str(self._folder).encode() in Path(f"/proc/{self._state.pid}/cmdline").read_bytes():
                os.kill(self._state.pid, what)
                if what is signal.SIGTERM:
                    # a stopped process would not hear it
                    os.kill(self._state.pid, signal.SIGCONT)

    def _read_state(self) -> _Running | None:
        try:
            values = json.loads((self._folder / "state.json").read_text())
            return _Running(**{**values, "ports": Ports(**values["ports"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None


async def _to_its_end(work: Coroutine[Any, Any, int]) -> int:
    """Finish it even when cancelled meanwhile: a process that was started must also become known."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
