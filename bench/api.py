"""`make bench-api`: the API's requests a second beside a bare endpoint that sends the same SQL.

The server is `outdial serve --no-dialer` as people run it: tokens, rate limit, request ids, log lines and metrics on.
The yardstick is `bench.bare_api`; it plays back what was recorded here from outdial, so its SQL is the same by
construction. Both are asked with the same bytes by the same client (`bench.load`), one after the other and in turns;
what counts is the median of the ratios.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx
import msgspec
import structlog

from bench.place import end, machine

from dialing import Stage, add_campaign, set_stage  # isort: skip - found through bench.place
from support.programs import environment, free_port  # isort: skip
from waiting import until  # isort: skip

from outdial import clock
from outdial.api.app import ApiParts, create_app
from outdial.config import Settings
from outdial.context import Context, open_context
from outdial.services import runs
from outdial.services.engines import Engines
from outdial.services.stop import stop
from outdial.store import database as database_module
from outdial.store.database import Database, PlainConnection
from outdial.tokens import sign

Row = tuple[str, str, str, str, str]
Statement = tuple[str, str, list[Any]]

CONNECTIONS = 8
"""Clients, each with an account of its own: the requests of one account are counted one after the other."""
REPETITIONS = 7
READS = 600
"""Requests in a repetition."""
STOPS = 60
"""Runs stopped in a repetition, each once."""
WARM_UP = 200
LIMIT = 1_000_000
"""Requests a minute: counted like any others, never refused."""
FIRST_RUN = 1_000_000
"""Runs are numbered from here, so that a run's id is found among the arguments of a statement."""
TO_REACH = "≥ 0.8x"


class Recording(PlainConnection):
    """A connection that notes what it is asked."""

    kept: ClassVar[list[tuple[int, Statement]]] = []

    def _keep(self, method: str, sql: str, arguments: tuple[Any, ...]) -> None:
        self.kept.append((id(self), (method, sql, msgspec.to_builtins(list(arguments)))))

    async def execute(self, query, *args, **options):
        self._keep("execute", query, args)
        return await super().execute(query, *args, **options)

    async def fetch(self, query, *args, **options):
        self._keep("fetch", query, args)
        return await super().fetch(query, *args, **options)

    async def fetchrow(self, query, *args, **options):
        self._keep("fetchrow", query, args)
        return await super().fetchrow(query, *args, **options)

    async def fetchval(self, query, *args, **options):
        self._keep("fetchval", query, args)
        return await super().fetchval(query, *args, **options)


@dataclass(frozen=True)
class Subject:
    """A campaign that is asked about."""

    stage: Stage
    campaign_id: str
    run_id: int
    instance_id: str

    @property
    def names(self) -> tuple[Any, ...]:
        """What differs between the statements about two campaigns."""
        owner = self.stage.owner
        return (
            self.campaign_id,
            self.run_id,
            str(self.run_id),
            self.instance_id,
            owner.iid,
            owner.account_id,
            owner.client_id,
        )

    def request(self, tail: str) -> str:
        owner = self.stage.owner
        token = sign(owner.client_id, owner.client_secret, expires_at=clock.now() + timedelta(hours=6))
        path = f"/campaign/api/v2/public/{owner.iid}/campaign/{self.campaign_id}"
        return (
            f"POST {path}{tail}&accountId={owner.account_id} HTTP/1.1\r\nHost: api\r\nauth: {token}\r\n"
            f"iid: {owner.iid}\r\naccountId: {owner.account_id}\r\nContent-Type: application/json\r\n"
            "Content-Length: 2\r\n\r\n{}"
        )


STATUS = "/status?view=status"
STOP = "?campaignType=voice&trigger=stop"
STOPPED = "stop of a stopped run"
LIVE = "stop of a run without calls"


async def subjects(context: Context, stages: list[Stage], count: int, name: str) -> list[Subject]:
    """Campaigns that have just been started, of one contact each."""
    made = []
    for number in range(count):
        stage = stages[number % len(stages)]
        campaign_id = await add_campaign(
            context.database, stage.owner, ["+15550100001"], list_name=f"{name} {number}", name=f"{name} {number}"
        )
        begun = await runs.start(
            context.database, context.secrets, iid=stage.owner.iid, campaign_id=campaign_id, actor="bench"
        )
        made.append(Subject(stage, campaign_id, begun.run.id, begun.run.instance_id))
    return made


async def recorded(context: Context, settings: Settings, subject: Subject, tail: str) -> list[Statement]:
    """The statements of one request, in order; of those sent meanwhile on another connection, at the end."""
    database_module.PlainConnection = Recording
    database = await Database.open(context.dsn, pool_size=settings.database_pool_size)
    database_module.PlainConnection = PlainConnection
    engines = Engines(database, context.secrets, ttl_seconds=settings.permit_ttl_seconds)
    app = create_app(ApiParts(settings, database, context.secrets, engines))
    head, _, body = subject.request(tail).partition("\r\n\r\n")
    first, *headers = head.split("\r\n")
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client,
    ):
        Recording.kept.clear()
        answer = await client.post(
            first.split()[1], content=body, headers=dict(line.split(": ", 1) for line in headers[1:])
        )
        assert answer.status_code == 200, answer.text
        kept = list(Recording.kept)
    await engines.close()
    await database.close()
    connections = list(dict.fromkeys(connection for connection, _ in kept))
    return [statement for each in connections for connection, statement in kept if connection == each]


def of(value: Any, renamed: dict[Any, Any]) -> Any:
    """The same arguments for another campaign."""
    if isinstance(value, dict):
        return {key: of(item, renamed) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [of(item, renamed) for item in value]
    return renamed.get(value, value)


def played_back(statements: list[Statement], original: Subject, copies: list[Subject]) -> dict[str, list[Statement]]:
    played = {}
    for copy in copies:
        renamed = dict(zip(original.names, copy.names, strict=True))
        played[copy.campaign_id] = [(method, sql, of(arguments, renamed)) for method, sql, arguments in statements]
    return played


def cpu_seconds(pid: int) -> float:
    """Processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    process: asyncio.subprocess.Process
    port: int


@contextlib.asynccontextmanager
async def server(port: int, log: Path, *words: object, **settings: object) -> AsyncIterator[Server]:
    with log.open("w") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *(str(word) for word in words), env=environment(**settings), stderr=errors
        )
    try:

        async def listens() -> bool:
            assert process.returncode is None, f"it ended, see {log}"
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return True
            return False

        await until(listens, seconds=90)
        yield Server(process, port)
    finally:
        await end(process)


async def rested(context: Context) -> None:
    """Wait until outdial has done what it does beside requests: it counts the contacts of the campaigns that were made
    here, and signs the report of each stop, those too that the bare endpoint has written."""

    async def nothing_left() -> bool:
        async with context.database.connection() as connection:
            left: bool = await connection.fetchval(
                """
                SELECT EXISTS (SELECT FROM campaigns c WHERE NOT EXISTS (SELECT FROM scrubs WHERE campaign_id = c.id))
                    OR EXISTS (SELECT FROM runs r WHERE state = 'stopped'
                                  AND NOT EXISTS (SELECT FROM signed_reports WHERE run_id = r.id))
                """
            )
            return not left

    await until(nothing_left, seconds=300)


@dataclass(frozen=True)
class Result:
    per_second: float
    p99: float
    cpu: float
    """Seconds of the server's processor time for a request."""


async def ask(folder: Path, asked: Server, requests: list[str], count: int) -> Result:
    spec = folder / "load.json"
    spec.write_text(json.dumps({"port": asked.port, "requests": requests, "count": count, "connections": CONNECTIONS}))
    before = cpu_seconds(asked.process.pid)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("load.py")), str(spec), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    found = json.loads(said)
    used = (cpu_seconds(asked.process.pid) - before) / count
    return Result(found["per_second"], found["p99"], used)


def row(what: str, pairs: list[tuple[Result, Result]]) -> Row:
    """Ours and the bare one's medians, and the median of the ratios."""

    def told(results: list[Result]) -> str:
        middle = {
            name: statistics.median(getattr(result, name) for result in results)
            for name in ("per_second", "p99", "cpu")
        }
        return (
            f"{middle['per_second']:.0f}/s, p99 {middle['p99'] * 1000:.1f} ms, {middle['cpu'] * 1000:.2f} ms CPU each"
        )

    ratio = statistics.median(ours.per_second / bare.per_second for ours, bare in pairs)
    cpu = statistics.median(bare.cpu / ours.cpu for ours, bare in pairs)
    return (
        what,
        told([ours for ours, _ in pairs]),
        f"{told([bare for _, bare in pairs])}, bare",
        f"{ratio:.2f}x, by CPU {cpu:.2f}x",
        TO_REACH,
    )


async def api(context: Context, folder: Path) -> AsyncIterator[Row]:
    settings = context.settings.model_copy(update={"rate_limit_per_minute": LIMIT})
    async with context.database.connection() as connection:
        await connection.execute(f"ALTER TABLE runs ALTER COLUMN id RESTART WITH {FIRST_RUN}")
    stages = [
        await set_stage(context.database, context.secrets, [], name="api", account=f"Account {number}")
        for number in range(CONNECTIONS)
    ]
    active = await subjects(context, stages, CONNECTIONS, "active")
    stopped = await subjects(context, stages, CONNECTIONS, "stopped")
    engines = Engines(context.database, context.secrets, ttl_seconds=settings.permit_ttl_seconds)
    for each in stopped:
        await stop(context.database, engines, iid=each.stage.owner.iid, campaign_id=each.campaign_id, actor="bench")
    await engines.close()
    ours = await subjects(context, stages, 1 + STOPS * (REPETITIONS + 1), "ours")
    theirs = await subjects(context, stages, STOPS * (REPETITIONS + 1), "theirs")
    sample, *ours = ours
    scripts = {}
    for what, tail, original, copies in (
        ("status", STATUS, active[0], active),
        (STOPPED, STOP, stopped[0], stopped),
        (LIVE, STOP, sample, theirs),
    ):
        scripts[what] = await recorded(context, settings, original, tail), original, copies
    statements: dict[str, list[Statement]] = {}
    for script in scripts.values():
        statements |= played_back(*script)
    spec, port, bare_port = folder / "bare.json", free_port(), free_port()
    spec.write_text(
        json.dumps(
            {
                "dsn": context.dsn,
                "pool_size": settings.database_pool_size,
                "port": bare_port,
                "statements": statements,
            }
        )
    )
    async with AsyncExitStack() as stack:
        outdial = await stack.enter_async_context(
            server(
                port,
                folder / "outdial.log",
                *("-m", "outdial", "serve", "--no-dialer"),
                data_dir=settings.data_dir,
                http_port=port,
                rate_limit_per_minute=LIMIT,
            )
        )
        bare = await stack.enter_async_context(
            server(bare_port, folder / "bare.log", "-m", "bench.bare_api", spec, data_dir=settings.data_dir)
        )
        for what, script, tail, mine, others, count, tokens in (
            ("status", "status", STATUS, active, active, READS, 1),
            ("status, a new token each time", "status", STATUS, active, active, READS, READS // CONNECTIONS),
            (STOPPED, STOPPED, STOP, stopped, stopped, READS, 1),
            (LIVE, LIVE, STOP, ours, theirs, STOPS, 1),
        ):
            once = len(mine) > CONNECTIONS
            pairs = []
            for repetition in range(REPETITIONS + 1):
                lot = slice(repetition * count, (repetition + 1) * count) if once else slice(None)
                asked = [(outdial, mine), (bare, others)]
                found = {}
                for asked_server, asked_about in asked if repetition % 2 else asked[::-1]:
                    requests = [subject.request(tail) for _ in range(tokens) for subject in asked_about[lot]]
                    number = count if once or repetition else WARM_UP
                    await rested(context)
                    found[asked_server] = await ask(folder, asked_server, requests, number)
                # the first only warms up
                if repetition:
                    pairs.append((found[outdial], found[bare]))
            yield row(f"API, {what} ({len(scripts[script][0])} statements)", pairs)


async def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    print(
        f"Measured {clock.now():%Y-%m-%d %H:%M} UTC on {machine()}, load {os.getloadavg()[0]:.1f}, "
        f"by {CONNECTIONS} connections\n"
    )
    print("| what | measured | yardstick | ratio | to reach |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="outdial-bench-") as temporary:
        folder = Path(temporary)
        async with open_context(Settings(_env_file=None, data_dir=folder / "data"), migrate=True) as context:
            async for each in api(context, folder):
                print("| " + " | ".join(each) + " |", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
