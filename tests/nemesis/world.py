"""The world the suite plays in: PostgreSQL, two Asterisks, three dialer nodes, two API processes, and the carrier.

Two nodes share the managed Asterisk of their data folder, as on one machine; the third has an Asterisk somebody else
runs, behind a relay. Each process reaches the database by a relay of its own. The carrier is reached over UDP as it is,
and over TCP by a relay, the line of one trunk: INVITE, its answers and its CANCEL go by it, while ACK and BYE go where
the carrier's Contact says, past it, so that every conversation can be ended. Some relays listen behind a link that can
lose packets, where this machine lets one be made. Parts, engines and the database have wall clocks of their own, where
there is a C compiler. What ends is started again, as a service manager would.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import asyncpg

import external_postgres
from nemesis.carrier import Carrier
from nemesis.plan import ALL_DIALERS, APIS, DIALERS, ENGINES, LINKED, PROCESSES, TCP_LINE
from outdial.config import Settings
from outdial.core.model import Transport
from outdial.secretbox import SecretBox
from outdial.services import access, flows, trunks
from outdial.services.access import Credentials
from outdial.services.trunks import TrunkDraft
from outdial.store import migrations
from outdial.store.database import Database
from outdial.telephony.managed import ManagedAsterisk
from outdial.telephony.program import find_asterisk
from outdial.tokens import sign
from sounds import tone, wav
from support import clocks
from support.clocks import Clock
from support.link import WELL, Link, NoLinkError
from support.programs import COMMAND, Program, end_all_of, free_port
from support.relay import Relay

TTL_SECONDS = 1.0
LINES = ((15.0, 40), (25.0, 80), (40.0, 120), (25.0, 80))
"""Calls a second and channels of each trunk; the last is the one over TCP (plan.TCP_LINE)."""
CALLERS = 4
"""Caller IDs of each trunk."""
FLOW = "hello"

# A minute between two tries lasts a second here: the wire knows no shorter one.
_FAST_RULES = """
CREATE FUNCTION nemesis_rules() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.rules := jsonb_set(NEW.rules, '{retry_seconds}',
                           to_jsonb(greatest(1, (NEW.rules ->> 'retry_seconds')::integer / 60)));
    RETURN NEW;
END $$;
CREATE TRIGGER nemesis_rules BEFORE INSERT OR UPDATE ON campaigns FOR EACH ROW EXECUTE FUNCTION nemesis_rules();
"""

# When a row of history was written by a clock that nobody steps, in hundredths of a second since boot.
_INSTANTS = """
CREATE TABLE nemesis_instants (history_id bigint NOT NULL, boot numeric NOT NULL);
CREATE FUNCTION nemesis_instant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO nemesis_instants VALUES (NEW.id, split_part(pg_read_file('/proc/uptime'), ' ', 1)::numeric);
    RETURN NULL;
END $$;
CREATE TRIGGER nemesis_instant AFTER INSERT ON history FOR EACH ROW WHEN (NEW.action IN ('run', 'attempt'))
    EXECUTE FUNCTION nemesis_instant();
"""


LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)
"""What a server that is struck is heard as; the last but one where it ends a session between two of its messages."""


@dataclass(frozen=True)
class Part:
    """One outdial process: how it is run."""

    name: str
    words: tuple[str, ...]
    settings: dict[str, object]


class World:
    """Made by :func:`world`."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self.folder = folder
        self._command = command
        self.running: dict[str, Program] = {}
        self.kept_down: set[str] = set()
        """Parts that must not be started again yet."""
        self.fell: list[tuple[int, str, int]] = []
        """Instant, name and exit code of every process that ended by itself."""
        self._parts: dict[str, Part] = {}
        self.relays: dict[str, Relay] = {}
        self.engine_relay: Relay
        self.line_relay: Relay
        """The line of the TCP trunk: between both engines and the carrier."""
        self.clocks: dict[str, Clock] = {}
        """Part, engine or the database → its wall clock; empty where there is no C compiler."""
        self.link: Link | None = None
        """What some relays listen behind; None where this machine lets none be made."""
        self.without: list[str] = []
        """What there is not, and what does in its place."""
        self.postgres: external_postgres.Server
        self.carrier: Carrier
        self.foreign: ManagedAsterisk
        """The Asterisk that no outdial process manages."""
        self.owners: list[Credentials] = []
        self.http: aiohttp.ClientSession
        self.tokens: dict[str, str] = {}
        """Application → a token of its client."""

    # What is where

    @property
    def dsn(self) -> str:
        """The database, not by a relay."""
        return self.postgres.address

    def url(self, api: str) -> str:
        return f"http://127.0.0.1:{self._parts[api].settings['http_port']}"

    def caller(self, line: int, place: int) -> str:
        """One of a trunk's caller IDs."""
        return f"+1555019{line}{place % CALLERS:03d}"

    def _managed_state(self) -> dict:
        return json.loads((self.folder / "a" / "asterisk" / "state.json").read_text())

    def engine_pid(self, engine: str) -> int:
        return self._managed_state()["pid"] if engine == "asterisk-a" else self.foreign.pid

    def engine_ports(self) -> dict[str, int]:
        """Engine → port its calls come from."""
        return {"asterisk-a": self._managed_state()["ports"]["sip"], "asterisk-b": self.foreign.sip_address.port}

    def let(self, relay: Relay, how: str) -> None:
        """Have what is said by a relay fare so: see support.link."""
        if self.link is not None and relay.host != "127.0.0.1":
            self.link.let(how, relay.port)
        else:
            relay.trouble = "" if how == WELL else how

    def pids(self, target: str) -> list[int]:
        """The processes of a part, an engine or the database."""
        if target == "postgres":
            return self.postgres.pids()
        if target == ALL_DIALERS:
            return [pid for name in DIALERS for pid in self.pids(name)]
        if target in self.running:
            program = self.running[target]
            return [program.process.pid] if program.running else []
        return [self.engine_pid(target)]

    # Whether it is well

    async def fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.dsn, timeout=5, command_timeout=10)
        try:
            return await connection.fetch(statement, *arguments)
        finally:
            await connection.close()

    async def well(self, *names: str) -> bool:
        """Whether these parts do their work now: APIs answer, dialers hold a lease and their engines are up."""
        with contextlib.suppress(*LOST, aiohttp.ClientError):
            rows = await self.fetch(
                "SELECT DISTINCT name FROM nodes"
                " WHERE ended_at IS NULL AND engine_up AND lease_until > clock_timestamp()"
            )
            if not {name for name in names if name in DIALERS} <= {row["name"] for row in rows}:
                return False
            for name in names:
                if name in APIS:
                    async with self.http.get(
                        f"{self.url(name)}/ready", timeout=aiohttp.ClientTimeout(total=2)
                    ) as answer:
                        if answer.status != 200:
                            return False
            return True
        return False

    async def until_well(self, *names: str, seconds: float) -> bool:
        """Wait for it; False when it takes longer."""
        try:
            async with asyncio.timeout(seconds):
                while not await self.well(*names):  # noqa: ASYNC110 - other processes' states have no event
                    await asyncio.sleep(0.1)
        except TimeoutError:
            return False
        return True

    # Processes

    def start(self, name: str) -> None:
        part = self._parts[name]
        log = self.folder / "logs" / f"{name}.log"
        self.running[name] = Program(*part.words, log=log, command=self._command, **part.settings)

    async def kill(self, name: str) -> None:
        """End a part as a crash would; nobody starts it before it is allowed to."""
        self.kept_down.add(name)
        program = self.running[name]
        if program.running:
            program.send(signal.SIGKILL)
        await asyncio.to_thread(program.end, 20)

    async def _keep(self) -> None:
        """Start again what has ended by itself, for ever."""
        while True:
            for name, program in list(self.running.items()):
                if not program.running and name not in self.kept_down:
                    self.fell.append((time.time_ns(), name, program.end()))
                    self.start(name)
            await asyncio.sleep(0.2)

    # Opening and closing

    async def open(self, stack: contextlib.AsyncExitStack, *, ttl_seconds: float, owners: int) -> None:
        (self.folder / "logs").mkdir(parents=True)
        database = self.folder / "postgres"
        database.mkdir()
        self._make_clocks()
        self.postgres = external_postgres.Server(database, self._with_clock("postgres", database / "bin"))
        await self.postgres.make()
        stack.push_async_callback(self.postgres.stop)
        if not await self.postgres.start():
            raise RuntimeError(self.postgres.said())
        self.http = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=5))
        )
        self.carrier = Carrier()
        stack.callback(self.carrier.close)
        asterisks = await self._asterisks()
        self.foreign = ManagedAsterisk(
            Settings(_env_file=None, data_dir=self.folder / "b", asterisk_command=asterisks["asterisk-b"])
        )
        stack.push_async_callback(self.foreign.stop)
        address = await self.foreign.start()
        listening = self._make_link(stack)
        self.engine_relay = await _relay(stack, address.url, listening.get("asterisk-b"))
        self.line_relay = await _relay(stack, f"tcp://127.0.0.1:{self.carrier.tcp_port}", None)
        for name in PROCESSES:
            self.relays[name] = await _relay(stack, f"tcp://127.0.0.1:{self.postgres.port}", listening.get(name))
        secret = base64.urlsafe_b64encode(os.urandom(32)).decode()
        await self._furnish(SecretBox(secret), owners)
        common = {"secret_key": secret, "permit_ttl_seconds": ttl_seconds, "rate_limit_per_minute": 0}
        if asterisks["asterisk-a"] is not None:
            common["asterisk_command"] = asterisks["asterisk-a"]
        foreign = {"asterisk_url": self.engine_relay.url, "asterisk_user": address.username}
        for name in PROCESSES:
            own: dict[str, object] = {"data_dir": self.folder / "a", "database_url": self._by(self.relays[name])}
            if name in self.clocks:
                own |= self.clocks[name].environment
            if name == DIALERS[-1]:
                own |= {**foreign, "asterisk_password": address.password, "data_dir": self.folder / "c"}
            if name in APIS:
                own |= {"http_port": free_port()}
            words = ("serve", "--no-dialer") if name in APIS else ("dialer",)
            self._parts[name] = Part(name, words, {**common, **own, "node_name": name})
        stack.callback(end_all_of, self.folder)
        stack.push_async_callback(self._end_all)
        for name in PROCESSES:
            self.start(name)
        if not await self.until_well(*PROCESSES, seconds=90):
            raise RuntimeError(f"the world does not start; logs in {self.folder / 'logs'}")
        keeper = asyncio.create_task(self._keep())
        stack.push_async_callback(_cancel, keeper)

    def _by(self, relay: Relay) -> str:
        return self.dsn.replace(f"127.0.0.1:{self.postgres.port}/", f"{relay.host}:{relay.port}/")

    def _make_clocks(self) -> None:
        folder = self.folder / "clocks"
        folder.mkdir()
        library = clocks.build(folder)
        if library is None:
            self.without.append("no C compiler: no clock is stepped")
            return
        for name in (*PROCESSES, *ENGINES, "postgres"):
            self.clocks[name] = Clock(library, folder / name)

    def _with_clock(self, name: str, folder: Path) -> Path | None:
        if name not in self.clocks:
            return None
        return self.clocks[name].wrap(folder / name, (external_postgres.programs() / name,))

    async def _asterisks(self) -> dict[str, Path | None]:
        """Engine → its program, with a clock of its own and not that of the process that starts it."""
        if not self.clocks:
            return dict.fromkeys(ENGINES)
        program = await find_asterisk(Settings(_env_file=None))
        return {name: self.clocks[name].wrap_asterisk(self.folder / "engines" / name, program) for name in ENGINES}

    def _make_link(self, stack: contextlib.AsyncExitStack) -> dict[str, socket.socket]:
        """Whose relay listens behind the link → where."""
        behind = ("asterisk-b", *LINKED)
        try:
            self.link = Link(len(behind))
        except NoLinkError as error:
            self.without.append(f"{error}; relays stall and clump what they hand on in its place")
            return {}
        stack.callback(self.link.close)
        return dict(zip(behind, self.link.sockets, strict=True))

    async def _furnish(self, secrets: SecretBox, owners: int) -> None:
        """Applications, each of an account of its own, with trunks and a flow."""
        await migrations.upgrade(self.dsn)
        database = await Database.open(self.dsn, pool_size=2)
        try:
            for place in range(owners):
                owner = await access.create_application(database, secrets, account=f"Nemesis {place}", name="one")
                for line in range(len(LINES)):
                    await trunks.add_trunk(database, secrets, owner.iid, self._line(line))
                await flows.add_flow(database, owner.iid, FLOW, wav(tone(440, rate=8000, seconds=0.5), rate=8000))
                expires_at = datetime.now(UTC) + timedelta(days=2)
                self.tokens[owner.iid] = sign(owner.client_id, owner.client_secret, expires_at=expires_at)
                self.owners.append(owner)
            async with database.connection() as connection:
                await connection.execute(_FAST_RULES)
                await connection.execute(_INSTANTS)
        finally:
            await database.close()

    def _line(self, line: int) -> TrunkDraft:
        calls_per_second, max_channels = LINES[line]
        return TrunkDraft(
            name=f"line {line}",
            host="127.0.0.1",
            port=self.line_relay.port if line == TCP_LINE else self.carrier.port,
            transport=Transport.TCP if line == TCP_LINE else Transport.UDP,
            caller_ids=tuple(self.caller(line, place) for place in range(CALLERS)),
            max_channels=max_channels,
            calls_per_second=calls_per_second,
            username="user",
            password="secret",
        )

    async def _end_all(self) -> None:
        """End every part in order; what does not is killed."""
        self.kept_down.update(PROCESSES)
        for program in self.running.values():
            if program.running:
                program.send(signal.SIGCONT)
                program.send(signal.SIGTERM)
        for program in self.running.values():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(20):
                    while program.running:  # noqa: ASYNC110 - the thread that waits could not be cancelled
                        await asyncio.sleep(0.05)
            if program.running:
                program.send(signal.SIGKILL)
            await asyncio.to_thread(program.end, 20)


async def _relay(stack: contextlib.AsyncExitStack, url: str, listening: socket.socket | None) -> Relay:
    relay = Relay(url)
    await relay.open(listening)
    stack.push_async_callback(relay.close)
    return relay


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def world(
    folder: Path, *, command: Sequence[str] = COMMAND, ttl_seconds: float = TTL_SECONDS, owners: int = 1
) -> AsyncIterator[World]:
    """Everything up and well while the block runs."""
    async with contextlib.AsyncExitStack() as stack:
        made = World(folder, command)
        await made.open(stack, ttl_seconds=ttl_seconds, owners=owners)
        yield made
