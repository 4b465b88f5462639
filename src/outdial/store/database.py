"""Connections to PostgreSQL: one pool for work, one connection that listens.

Every function of the store takes a connection from here first. Pooled connections carry **no session state**: only
transaction-scoped locks (``pg_advisory_xact_lock``) and ``SET LOCAL`` may be used, since releasing a connection sends
no reset query (that round trip would cost as much as the query it follows), unless it was left by an exception.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from datetime import datetime
from types import TracebackType
from typing import Any, Final, TypeAlias, cast

import asyncpg
import msgspec
import structlog
from asyncpg.pool import PoolConnectionProxy

from outdial.core.errors import BusyError, DatabaseUnavailableError, StartupError

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
"""What the store's functions take first."""

OLDEST_SERVER: Final = 15
"""Oldest major version of PostgreSQL that outdial is tested with."""

ACQUIRE_SECONDS: Final = 10.0
"""How long a caller waits for a free connection before the database counts as unavailable."""

CONNECT_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 10.0
HEARTBEAT_SECONDS: Final = 5.0
"""How often the listening connection proves that it is alive: a dead peer says nothing by itself."""

SHORTEST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 2.0
"""Pauses between two tries to get the listening connection back; doubled from the shortest to the longest."""

SERVER_SETTINGS: Final = {
    "timezone": "UTC",
    # a frozen process must not keep row or advisory locks: they would hold up a stop
    "idle_in_transaction_session_timeout": "5s",
    # a query whose client was killed ends by itself
    "client_connection_check_interval": "2s",
    "jit": "off",
}

_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.DiskFullError,
    # no room for more locks: who looks back into many months takes many
    asyncpg.OutOfMemoryError,
    # a server that has become a standby: the writable one is elsewhere now
    asyncpg.ReadOnlySQLTransactionError,
)

_CROSSED = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""Two transactions got into each other's way and this one was undone: the same again will do."""

before_commit: ContextVar[Callable[[Connection], Awaitable[None]] | None] = ContextVar("before_commit", default=None)
"""Called at the end of every transaction of this context, within it; what it raises rolls the transaction back."""

_log = structlog.get_logger()


class PlainConnection(asyncpg.Connection):
    """A connection that is released without a reset query; see the module's rule about session state."""

    _unsettled = False

    def unsettle(self) -> None:
        """Say that whoever used the connection was torn away from it, perhaps between two messages of one statement.

        asyncpg prepares without a Sync: when its caller is cancelled before the execution that brings it, the server
        stays in an implicit transaction, and the next ``BEGIN ISOLATION LEVEL`` on the connection is refused.
        """
        self._unsettled = True

    def get_reset_query(self) -> str:
        # any simple statement ends with the Sync that was owed (an empty one asyncpg cannot digest)
        query, self._unsettled = "SELECT 1" if self._unsettled else "", False
        return query


def _encode_jsonb(value: Any) -> bytes:
    return b"\x01" + msgspec.json.encode(value)


def _decode_jsonb(data: bytes) -> Any:
    # memoryview spares a copy of what may be a large document; byte 0 is the format's version
    return msgspec.json.decode(memoryview(data)[1:])


async def prepare(connection: Connection) -> None:
    """Teach a new connection outdial's codecs. Binary, since COPY speaks nothing else."""
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_encode_jsonb, decoder=_decode_jsonb, format="binary"
    )


async def connect(dsn: str, *, application_name: str = "outdial") -> asyncpg.Connection[asyncpg.Record]:
    """Open one connection outside any pool; the caller closes it.

    Raises DatabaseUnavailableError when the server cannot be reached and StartupError when it refuses or is too old.
    """
    try:
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
            dsn,
            timeout=CONNECT_SECONDS,
            server_settings={**SERVER_SETTINGS, "application_name": application_name},
            connection_class=PlainConnection,
        )
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        raise StartupError(f"PostgreSQL refuses the connection ({error}): check OUTDIAL_DATABASE_URL.") from error
    except (asyncpg.ClientConfigurationError, ValueError) as error:
        raise StartupError(
            f"OUTDIAL_DATABASE_URL cannot be understood ({error}); it looks like postgresql://user:password@host/name."
        ) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise DatabaseUnavailableError(f"PostgreSQL cannot be reached: {_why(error)}") from error
    major = connection.get_server_version().major
    if major < OLDEST_SERVER:
        await connection.close()
        raise StartupError(f"outdial needs PostgreSQL {OLDEST_SERVER} or newer; the server is version {major}.")
    await prepare(connection)
    return connection


def _why(error: BaseException) -> str:
    # only the first line: asyncpg's text goes on with the row's values, which may hold phone numbers
    return str(error).partition("\n")[0] or type(error).__name__


@contextlib.contextmanager
def edge() -> Iterator[None]:
    """Turn the loss of the server, and what is over when it is tried again, into DatabaseUnavailableError."""
    try:
        yield
    except (*_CROSSED, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        raise _unavailable(error, None) or error from error


def _unavailable(error: BaseException, connection: Connection | None) -> DatabaseUnavailableError | None:
    """Return what an error means where it means that the server is lost, or that the same again will do."""
    if isinstance(error, _CROSSED):
        return DatabaseUnavailableError(f"The database undid this for another's sake, try again: {error}")
    if _is_between_states(error):
        # the server's farewell has been read, the end of the stream not yet
        if connection is not None and not _is_closed(connection):
            connection.terminate()
        return DatabaseUnavailableError("The database is not available: the connection was lost.")
    if isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)) and (
        connection is None or isinstance(error, _LOST) or _is_closed(connection)
    ):
        return DatabaseUnavailableError(f"The database is not available: {_why(error)}")
    return None


def _is_between_states(error: BaseException | None) -> bool:
    """Whether asyncpg found itself between two states, or did so before: then the rollback fails as well, in its own
    words, and what is raised is that."""
    while isinstance(error, asyncpg.InterfaceError):
        error = error.__context__
    return isinstance(error, asyncpg.InternalClientError)


def _is_closed(connection: Connection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        # the pool has taken it back already, as it does when the server ends a session
        return True


async def server_time(connection: Connection) -> datetime:
    """Return the server's clock, aware UTC."""
    at: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return at


async def server_version(connection: Connection) -> str:
    """Return the server's version, e.g. ``18.1``."""
    version: str = await connection.fetchval("SHOW server_version")
    return version


class Database:
    """A pool of connections and the listening connection of one process."""

    def __init__(self, dsn: str, pool: asyncpg.Pool[asyncpg.Record], application_name: str) -> None:
        self._dsn = dsn
        self._pool = pool
        self._listener = _Listener(dsn, f"{application_name} listen")
        self._idle: list[PoolConnectionProxy[asyncpg.Record]] = []
        """Connections that nobody uses, kept for the next: giving one back to the pool is a task of its own each time.
        Empty while somebody waits for the pool."""
        self._waiting = 0
        self._closing = False

    @classmethod
    async def open(cls, dsn: str, *, pool_size: int, application_name: str = "outdial") -> Database:
        """Connect. Raises StartupError or DatabaseUnavailableError, see :func:`connect`."""
        # the first connection outside the pool tells what is wrong in a sentence
        probe = await connect(dsn, application_name=application_name)
        await probe.close()
        with edge():
            pool = await asyncpg.create_pool(
                dsn,
                # connections are made when needed and then kept; a floor would be restored with a traceback in
                # the log for every try while the server is away
                min_size=0,
                max_inactive_connection_lifetime=0,
                max_size=pool_size,
                timeout=CONNECT_SECONDS,
                server_settings={**SERVER_SETTINGS, "application_name": application_name},
                connection_class=PlainConnection,
                init=prepare,
            )
        return cls(dsn, pool, application_name)

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection; each statement is its own transaction.

        Raises DatabaseUnavailableError when none can be had or the server is lost meanwhile.
        """
        return _Lent(self._lend, self._take_back)

    async def _take_back(self, connection: PoolConnectionProxy[asyncpg.Record], *, sound: bool) -> None:
        wanted = sound and not self._waiting and not self._closing
        # one that was left within a transaction is the pool's to put right
        if wanted and not _is_closed(connection) and not connection.is_in_transaction():
            self._idle.append(connection)
        else:
            await self._release(connection)

    async def _release(self, connection: PoolConnectionProxy[asyncpg.Record]) -> None:
        """Give a connection back to the pool, which puts it right or does away with it.

        One that is lost in that moment says nothing about what was done with it before: that stands, or has failed by
        itself, and whoever did it must hear of that and nothing else.
        """
        try:
            await self._pool.release(connection)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            _log.info("database_connection_lost_as_it_was_given_back", reason=_why(error))

    async def _lend(self) -> PoolConnectionProxy[asyncpg.Record]:
        while self._idle:
            connection = self._idle.pop()
            if not _is_closed(connection):
                return connection
            # lost while nobody used it
            await self._release(connection)
        self._waiting += 1
        try:
            with edge():
                try:
                    # not the pool's own time limit: before Python 3.12 that is a task of its own too
                    async with asyncio.timeout(ACQUIRE_SECONDS):
                        return await self._pool.acquire()
                except TimeoutError as error:
                    raise DatabaseUnavailableError(
                        f"No database connection became free within {ACQUIRE_SECONDS:.0f} seconds."
                    ) from error
        finally:
            self._waiting -= 1

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection inside one transaction (read committed); any exception rolls it back.

        When DatabaseUnavailableError is raised on leaving, the commit may or may not have happened.
        """
        async with self.connection() as connection, connection.transaction():
            yield connection
            hook = before_commit.get()
            if hook is not None:
                await hook(connection)

    @contextlib.asynccontextmanager
    async def snapshot(self, *, statement_seconds: float | None = None) -> AsyncIterator[Connection]:
        """Lend a connection whose statements all see the database as it is at the first of them; it only reads.

        Raises BusyError when one of them takes longer than ``statement_seconds`` (None: however long).
        """
        async with self.connection() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            if statement_seconds is None:
                yield connection
                return
            await connection.execute(f"SET LOCAL statement_timeout = {int(statement_seconds * 1000)}")
            try:
                yield connection
            except asyncpg.QueryCanceledError as error:
                sentence = f"The database did not answer within {statement_seconds:g} seconds; ask again later."
                raise BusyError(sentence) from error

    async def listen(self, channel: str, callback: Callable[[str], None]) -> None:
        """Call back with the payload of each NOTIFY on the channel, from the event loop.

        NOTIFY is lossy: after each reconnect the callback gets ``""``, which means "look for yourself". Raises
        DatabaseUnavailableError when the first LISTEN does not succeed; later losses are mended silently.
        """
        await self._listener.add(channel, callback)

    async def close(self) -> None:
        """Give every connection back; those still lent after ten seconds are cut."""
        await self._listener.close()
        self._closing = True
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                while self._idle:
                    await self._release(self._idle.pop())
                await self._pool.close()
        except TimeoutError:
            _log.warning("database_connections_still_lent", seconds=CLOSE_SECONDS)
            self._pool.terminate()


class _Lent:
    """A connection while it is lent. A class, since every request does this: a generator costs twice as much."""

    __slots__ = ("_cancelling", "_connection", "_lend", "_take_back")

    def __init__(
        self,
        lend: Callable[[], Awaitable[PoolConnectionProxy[asyncpg.Record]]],
        take_back: Callable[..., Awaitable[None]],
    ) -> None:
        self._lend = lend
        self._take_back = take_back

    async def __aenter__(self) -> Connection:
        self._cancelling = _cancelling()
        self._connection = await self._lend()
        return self._connection

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        connection = self._connection
        if error is None:
            await self._take_back(connection, sound=True)
            return
        try:
            unavailable = _unavailable(error, connection)
            if not _is_closed(connection):
                # the pool's proxy hands on what it does not know itself
                cast("PlainConnection", connection).unsettle()
        finally:
            await self._take_back(connection, sound=False)
        if unavailable is not None:
            if _cancelling() > self._cancelling:
                # asyncpg could not roll back, and told that in place of it: whoever tries again would never end
                raise asyncio.CancelledError from error
            raise unavailable from error


def _cancelling() -> int:
    """How many times the task was asked to end that has not ended yet."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


class _Listener:
    """Keeps one connection listening to all channels, and gets it back when it is lost."""

    def __init__(self, dsn: str, application_name: str) -> None:
        self._dsn = dsn
        self._application_name = application_name
        self._callbacks: dict[str, list[Callable[[str], None]]] = {}
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def add(self, channel: str, callback: Callable[[str], None]) -> None:
        async with self._lock:
            present = self._connection
            if present is None or present.is_closed():
                present = self._connection = await self._connect()
            if channel not in self._callbacks:
                try:
                    with edge():
                        await present.add_listener(channel, self._notified)
                except DatabaseUnavailableError:
                    if not present.is_closed():
                        raise
                    # it had been lost before, which only this attempt has shown
                    present = self._connection = await self._connect()
                    with edge():
                        await present.add_listener(channel, self._notified)
            self._callbacks.setdefault(channel, []).append(callback)
            if self._task is None:
                self._task = asyncio.create_task(self._keep(present), name="database listener")

    async def _connect(self) -> asyncpg.Connection[asyncpg.Record]:
        """Return a connection that listens to every channel asked for so far."""
        connection = await connect(self._dsn, application_name=self._application_name)
        try:
            with edge():
                for channel in self._callbacks:
                    await connection.add_listener(channel, self._notified)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _notified(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        self._tell(channel, str(payload))

    def _tell(self, channel: str, payload: str) -> None:
        for callback in self._callbacks.get(channel, ()):
            callback(payload)

    async def _keep(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        while True:
            await self._until_lost(connection)
            _log.warning("database_listener_lost")
            connection = await self._reconnect()
            _log.info("database_listener_back")
            for channel in list(self._callbacks):
                self._tell(channel, "")

    async def _reconnect(self) -> asyncpg.Connection[asyncpg.Record]:
        pause = SHORTEST_PAUSE_SECONDS
        while True:
            try:
                async with self._lock:
                    if self._connection is None or self._connection.is_closed():
                        self._connection = await self._connect()
                    return self._connection
            except (DatabaseUnavailableError, StartupError) as error:
                _log.info("database_listener_waits", reason=error.message, seconds=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    @staticmethod
    async def _until_lost(connection: asyncpg.Connection[asyncpg.Record]) -> None:
        """Return once the connection is closed or a heartbeat stays unanswered."""
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _connection: lost.set())
        while not connection.is_closed():
            try:
                # not wait_for: before Python 3.12 it forgets a cancellation that comes together with the result
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await lost.wait()
            except TimeoutError:
                try:
                    await connection.execute("SELECT 1", timeout=HEARTBEAT_SECONDS)
                except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                    _log.info("database_listener_silent", reason=_why(error))
                    connection.terminate()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
