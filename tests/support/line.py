"""A run whose calls real Asterisk places to phones of ours: a database, a dialer node, an engine, and its carrier."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncpg import Record

from dialing import Stage, dialing, set_stage, with_rules
from outdial.secretbox import SecretBox
from outdial.services import flows
from outdial.services.engines import Engines
from outdial.store.database import Database
from outdial.telephony.asterisk import AsteriskEngine
from outdial.telephony.managed import ManagedAsterisk
from support.asterisk import connected_engine
from support.rtp import Handset, handset
from support.sip_peer import SipPeer
from waiting import until

TTL = 1.0
"""Seconds that a permit lives."""


@dataclass
class Line:
    """A stage whose trunk is a peer, with a node that dials it."""

    stage: Stage
    peer: SipPeer
    phones: Handset
    engines: Engines
    engine: AsteriskEngine

    async def flow(self, document: Mapping[str, Any], sounds: Mapping[str, bytes]) -> None:
        """Have the campaign's calls hear this."""
        flow = await flows.add_flow_document(
            self.stage.database, self.stage.owner.iid, uuid.uuid4().hex, document, sounds
        )
        async with self.stage.database.connection() as connection:
            await connection.execute("UPDATE campaigns SET flow_id = $1", flow.id)

    async def one(self, statement: str, *, seconds: float = 60) -> Record:
        """The first row of what is asked for, as soon as there is one."""
        found: list[Record] = []

        async def is_there() -> bool:
            async with self.stage.database.connection() as connection:
                found[:] = await connection.fetch(statement)
            return bool(found)

        await until(is_there, seconds=seconds)
        return found[0]

    async def outcome(self) -> Record:
        """What came of the person's flow, once it is over."""
        return await self.one("SELECT * FROM flow_outcomes")


@contextlib.asynccontextmanager
async def line_to(
    numbers: Sequence[str],
    *,
    database: Database,
    secret_box: SecretBox,
    asterisk: ManagedAsterisk,
    folder: Path,
    speech_command: str = "",
) -> AsyncIterator[Line]:
    """Open one to those numbers; ``folder`` becomes the node's data folder, which the engine may read."""
    folder.chmod(0o755)
    peer = await SipPeer.start()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(peer.close)
        stage = await set_stage(database, secret_box, numbers, rules=with_rules(max_attempts=1), port=peer.port)
        engines = Engines(database, secret_box, ttl_seconds=TTL)
        stack.push_async_callback(engines.close)
        node_id = uuid.uuid4().hex
        engine = await stack.enter_async_context(connected_engine(asterisk, f"outdial-{node_id}"))
        phones = await stack.enter_async_context(handset(peer))
        await stack.enter_async_context(
            dialing(
                *(stage, engine, folder),
                engines=engines,
                address=asterisk.address,
                ttl_seconds=TTL,
                node_id=node_id,
                speech_command=speech_command,
            )
        )
        yield Line(stage, peer, phones, engines, engine)
