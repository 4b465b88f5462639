"""Calls that a permit has let through and that no listing shows yet, as an Asterisk has them for some milliseconds.

A stop looks twice for that reason. Both courses of events were found by the model in docs/explanation/stop/.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from dialer.test_node import DEAD_PID, node_at, note, register
from dialing import CALLER_ID, phones, set_stage, with_rules
from engines import TTL_SECONDS, simulated
from outdial import clock
from outdial.config import Settings
from outdial.core.errors import StopNotProvenError
from outdial.core.model import EngineKind
from outdial.dialer import Dialer
from outdial.dialer.adoption import Adoption
from outdial.services import barrier, runs
from outdial.services.engines import Engines
from outdial.services.stop import stop
from outdial.store import nodes, reserve
from outdial.store.reserve import Reservation
from outdial.telephony.engine import CallRecord, LiveCall, OriginateResult, OutgoingCall, Permit, TrunkAddress
from outdial.telephony.simulated import SimulatedEngine
from values import KEY


class LateEngine(SimulatedEngine):
    """Carries a request out just before the first permit is removed; the first listing after that misses its call."""

    kind = EngineKind.ASTERISK

    def __init__(self) -> None:
        super().__init__(engine_id="late", seed=1, speed=1.0)
        self.waiting: OutgoingCall | None = None
        """In the engine's socket: sent by whoever may be gone by now."""
        self._misses = False
        self._hidden = False

    async def _let_through(self) -> None:
        if self.waiting is not None:
            call, self.waiting = self.waiting, None
            assert await super().originate(call) is OriginateResult.ACCEPTED
            self._misses = self._hidden = True

    async def remove_permit(self, run_id: int, epoch: int, key: str) -> None:
        await self._let_through()
        await super().remove_permit(run_id, epoch, key)

    async def fence(self, run_id: int, known: Iterable[tuple[int, str]] = ()) -> None:
        await self._let_through()
        await super().fence(run_id, known)

    async def calls(self, run_id: int | None = None) -> Sequence[LiveCall]:
        self._hidden, self._misses = self._misses, False
        return [] if self._hidden else await super().calls(run_id)

    async def record(self, call_id: str) -> CallRecord | None:
        return None if self._hidden else await super().record(call_id)


@pytest.fixture
async def late():
    opened = LateEngine()
    await opened.start()
    yield opened
    await opened.close()


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, phones(3, last="80"), rules=with_rules(max_attempts=1))


@pytest.fixture
async def run(stage):
    return (
        await runs.start(
            stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
        )
    ).run


async def leave_a_request(database, engine, run, stage, node_id: str) -> str:
    """A node has reserved a contact, put a permit, and sent its request, which the engine has not read; its id."""
    async with database.connection() as connection:
        (person,) = await reserve.candidates(connection, run, 1)
        attempt_id = uuid.uuid4().hex
        wish = Reservation((), (), [(person.contact_id, attempt_id)], (), 50, 50, None)
        await reserve.reserve(connection, run, node_id, wish)
        await note(connection, run, engine, node_id, KEY, seconds=-1.0)
    expires_at = clock.now() + timedelta(minutes=1)
    await engine.put_permit(Permit(run.id, 1, KEY, stage.trunk, TrunkAddress("127.0.0.1", 5060), expires_at))
    engine.waiting = OutgoingCall(attempt_id, run.id, 1, KEY, person.phone, CALLER_ID, 30)
    return attempt_id


async def test_a_contact_does_not_come_back_while_the_call_to_it_does_not_show_yet(
    database, secret_box, late, run, stage, tmp_path
):
    engines = Engines(database, secret_box, ttl_seconds=TTL_SECONDS)
    async with node_at(database, secret_box, late, tmp_path) as node:
        await register(database, secret_box, late.id, "dead", pid=DEAD_PID)
        attempt_id = await leave_a_request(database, late, run, stage, "dead")
        async with database.connection() as connection:
            await connection.execute(
                "UPDATE nodes SET lease_until = clock_timestamp() - interval '1 minute' WHERE id = 'dead'"
            )
        await Adoption(node, engines).look()
        await node.book.flush()
        async with database.connection() as connection:
            state = await connection.fetchval(
                "SELECT rc.state FROM run_contacts rc JOIN attempts a USING (run_id, contact_id) WHERE a.id = $1",
                attempt_id,
            )
    await engines.close()
    assert [call.call_id for call in late.sent] == [attempt_id]
    # or somebody calls them a second time
    assert state != "pending"


def leaving(database, secret_box, engines, engine, folder) -> Dialer:
    return Dialer(
        settings=Settings(_env_file=None, data_dir=folder, permit_ttl_seconds=TTL_SECONDS),
        database=database,
        secrets=secret_box,
        engines=engines,
        engine=engine,
        address=None,
        node_id="leaving",
    )


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_an_engine_is_not_forgotten_while_a_call_of_it_may_wait_for_its_line(
    database, secret_box, run, stage, tmp_path, monkeypatch, transport
):
    """It is hung up and shows in no listing, and leaves when the connection is back."""
    monkeypatch.setattr(barrier, "LINE_SECONDS", 0.1)
    monkeypatch.setattr(barrier, "LINE_PATIENCE_SECONDS", 0.1)
    async with database.connection() as connection:
        await connection.execute("UPDATE trunks SET transport = $1", transport)
    engines = Engines(database, secret_box, ttl_seconds=TTL_SECONDS)
    is_up = False

    async def line_up(_trunk_id: str, _address: TrunkAddress) -> bool:
        return is_up

    asked = {"iid": stage.owner.iid, "campaign_id": stage.campaign_id, "actor": "test"}
    async with simulated("behind-a-line", speed=1.0) as engine:
        engine.kind = EngineKind.ASTERISK
        monkeypatch.setattr(engine, "line_up", line_up)
        with engines.own(engine):
            dialer = leaving(database, secret_box, engines, engine, tmp_path)
            await dialer._register()
            async with database.connection() as connection:
                await nodes.serve(connection, run_id=run.id, node_id="leaving", epoch=run.epoch)
                await note(connection, run, engine, "leaving", KEY, seconds=-1.0)
            with capture_logs() as logs:
                await dialer._say_goodbye()
            (told,) = [each for each in logs if each["event"] == "engine_not_forgotten"]
            assert "line of its trunk is down" in told["reason"]
            with pytest.raises(StopNotProvenError, match="line of the trunk is down"):
                await stop(database, engines, **asked)
            is_up = True
            await dialer._say_goodbye()
            async with database.connection() as connection:
                assert await nodes.permits_of_run(connection, run.id) == {}
            assert (await stop(database, engines, **asked)).report.engines == ()
    await engines.close()


async def test_an_engine_is_not_forgotten_while_a_call_of_it_does_not_show_yet(
    database, secret_box, late, run, stage, tmp_path
):
    engines = Engines(database, secret_box, ttl_seconds=TTL_SECONDS)
    dialer = leaving(database, secret_box, engines, late, tmp_path)
    await dialer._register()
    attempt_id = await leave_a_request(database, late, run, stage, "leaving")
    await dialer._say_goodbye()
    assert [call.call_id for call in late.sent] == [attempt_id]
    with engines.own(late):
        await stop(database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
        # the stop has answered: whatever had been let through has been cancelled
        assert await late.calls(run.id) == []
    await engines.close()
