"""Engines, as a stop reaches them from any process; and what people see and say of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from outdial import clock
from outdial.core.errors import EngineUnavailableError, NotFoundError
from outdial.core.model import EngineKind, Trunk
from outdial.secretbox import SecretBox
from outdial.store import engines as store
from outdial.store import trunks as trunks_store
from outdial.store.database import Database
from outdial.store.engines import EngineRow
from outdial.telephony.asterisk_control import AsteriskControl
from outdial.telephony.engine import EngineControl

__all__ = ["EngineRow", "Engines", "list_engines", "retire_engine"]

MOST_FENCED: Final = 10_000
"""Runs, each at one engine, of which it is remembered since when they are fenced."""


class Engines:
    """The engines this process can reach: its own node's, and every Asterisk the database knows the way to."""

    def __init__(self, database: Database, secrets: SecretBox, *, ttl_seconds: float) -> None:
        self.ttl_seconds = ttl_seconds
        """Life of a permit; a stop's longest waits are made of it."""
        self._database = database
        self._secrets = secrets
        self._own: dict[str, EngineControl] = {}
        self._controls: dict[str, tuple[tuple[str, str, str], AsteriskControl]] = {}
        self._fenced: dict[tuple[int, int, str], float] = {}

    def fenced_since(self, run_id: int, epoch: int, engine_id: str) -> float:
        """Return the boot time at which this process first said that a run, at that epoch, is fenced at an engine: now,
        where it never has. The oldest are forgotten, which makes whoever asks wait for longer and never for less."""
        key = (run_id, epoch, engine_id)
        since = self._fenced.setdefault(key, clock.boottime())
        if len(self._fenced) > MOST_FENCED:
            del self._fenced[next(iter(self._fenced))]
        return since

    @contextmanager
    def own(self, engine: EngineControl) -> Iterator[None]:
        """Use the node's own engine object while the block runs: it cancels over its websocket, twice as fast."""
        self._own[engine.id] = engine
        try:
            yield
        finally:
            if self._own.get(engine.id) is engine:
                del self._own[engine.id]

    async def control(self, engine_id: str) -> EngineControl:
        """Return what reaches the engine. Raises EngineUnavailableError when nothing does from this process."""
        own = self._own.get(engine_id)
        if own is not None:
            return own
        async with self._database.connection() as connection:
            found = await store.by_ids(connection, [engine_id])
        if not found or found[0].url is None:
            raise EngineUnavailableError(
                f"The engine {engine_id} lives inside another process; only its dialer node can be asked about it."
            )
        return await self._asterisk(found[0])

    async def _asterisk(self, engine: EngineRow) -> AsteriskControl:
        address = (engine.url or "", engine.username or "", engine.password(self._secrets))
        known = self._controls.get(engine.id)
        if known is not None and known[0] == address:
            return known[1]
        url, username, password = address
        control = AsteriskControl(engine_id=engine.id, url=url, username=username, password=password)
        self._controls[engine.id] = (address, control)
        if known is not None:
            # it has moved or drawn a new password; whoever still asks at the old address gets no answer there
            await known[1].close()
        return control

    async def rows(self, ids: list[str]) -> dict[str, EngineRow]:
        """Return what the database says of those engines, by id."""
        async with self._database.connection() as connection:
            return {row.id: row for row in await store.by_ids(connection, ids)}

    async def trunk(self, trunk_id: str) -> Trunk:
        """Return a trunk, a removed one too, without its credentials: any answer to OPTIONS tells that a line is up."""
        async with self._database.connection() as connection:
            return replace(await trunks_store.by_id(connection, None, trunk_id), username=None)

    async def close(self) -> None:
        """Release connections; engines go on."""
        controls, self._controls = self._controls, {}
        for _, control in controls.values():
            await control.close()


async def list_engines(database: Database) -> list[EngineRow]:
    """Return every engine that ever served, oldest first."""
    async with database.connection() as connection:
        return await store.all_engines(connection)


async def retire_engine(database: Database, engine_id: str, *, actor: str) -> EngineRow:
    """State that an engine is gone for good, so that no stop waits for its answer any more.

    A stop still waits until every permit there must have expired. A node that uses the engine again takes it back
    into service. Raises NotFoundError.
    """
    async with database.connection() as connection:
        retired = await store.retire(connection, engine_id, actor=actor)
    if retired is None:
        raise NotFoundError(f"There is no engine {engine_id}. See them with: outdial engine list")
    return retired


def reachable_from_anywhere(engine: EngineRow) -> bool:
    """Whether any process can ask the engine; an engine inside a process only answers there."""
    return engine.kind is EngineKind.ASTERISK
