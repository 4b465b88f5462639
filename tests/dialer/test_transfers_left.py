"""Transfers whose node has died, is frozen, or leaves: nobody is left on the line, and no row stays open."""

from __future__ import annotations

from datetime import timedelta

import pytest

import outdial.dialer as dialer_module
from dialer.test_node import DEAD_PID, node_at, note, register
from dialer.test_run import fetch, press_stop, start
from dialer.test_transfer_numbers import LISTENS, RINGS, attempt_of, flow
from dialing import dialing, phones, set_stage, with_rules
from engines import simulated
from outdial import clock
from outdial.core.errors import EngineUnavailableError
from outdial.core.model import AttemptState, Disposition
from outdial.core.transfer import attempt_of_leg, leg_id
from outdial.dialer.adoption import Adoption
from outdial.services.engines import Engines
from outdial.store import attempts, nodes, transfers
from outdial.store.attempts import AttemptNews
from outdial.store.transfers import Transfer
from outdial.telephony.engine import OriginateResult, OutgoingCall, Permit, TrunkAddress
from values import KEY
from waiting import until


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, phones(1), rules=with_rules(max_attempts=1))


async def rings(stage, engine, run, node_id: str) -> str:
    """Have an attempt of a node and the second call it asked for, which rings; return that one's id."""
    database = stage.database
    attempt_id = await attempt_of(database, run, node_id)
    leg = leg_id(attempt_id, 1)
    async with database.transaction() as connection:
        assert not await transfers.reserve(
            connection, Transfer(leg, attempt_id, run.id, run.account_id, 1, engine.id, RINGS, RINGS)
        )
        await note(connection, run, engine, node_id, KEY, seconds=-1.0)
    address = TrunkAddress("127.0.0.1", 5060)
    await engine.put_permit(Permit(run.id, 1, KEY, stage.trunk, address, clock.now() + timedelta(minutes=1)))
    placed = await engine.originate(OutgoingCall(leg, run.id, 1, KEY, RINGS, "+15550100999", 120))
    assert placed is OriginateResult.ACCEPTED
    return leg


@pytest.mark.parametrize("call_is_booked", [False, True])
@pytest.mark.parametrize("foreign", [False, True])
async def test_a_dead_node_s_leg_is_ended_and_so_is_its_row(
    database, secret_box, stage, engine, engines, tmp_path, monkeypatch, foreign, call_is_booked
):
    """At the adopter's engine and at one that has no live node; also where the call itself is booked and its node has
    said goodbye."""
    async with node_at(database, secret_box, engine, tmp_path) as node, simulated("sim-two") as second:
        its = second if foreign else engine

        async def control(_self, engine_id):
            assert engine_id == its.id
            return its

        monkeypatch.setattr(Engines, "control", control)
        await register(database, secret_box, its.id, "dead", pid=DEAD_PID)
        leg = await rings(stage, its, await start(stage), "dead")
        async with database.connection() as connection:
            if call_is_booked:
                over = AttemptNews(
                    attempt_of_leg(leg),
                    AttemptState.ENDED,
                    by="dead",
                    disposition=Disposition.ANSWERED_HUMAN,
                    dialed_at=clock.now(),
                    ended_at=clock.now(),
                )
                await attempts.book(connection, [over])
                await nodes.end(connection, "dead")
            await connection.execute("UPDATE nodes SET lease_until = now() - interval '1 minute' WHERE id = 'dead'")
        adoption = Adoption(node, engines)
        await adoption.look()
        assert leg not in its._calls
        await adoption.look()
        await node.book.flush()
    (row,) = await fetch(stage, "SELECT * FROM transfers")
    assert row["ended_at"] is not None
    assert (row["answered"], row["outcome"]) == (None, "unknown")


async def test_a_stop_ends_the_row_of_a_leg_that_it_cancels_of_a_frozen_node(
    database, secret_box, stage, engine, engines, monkeypatch
):
    async def control(_self, _engine_id):
        return engine

    monkeypatch.setattr(Engines, "control", control)
    await register(database, secret_box, engine.id, "frozen")
    leg = await rings(stage, engine, await start(stage), "frozen")
    await press_stop(stage, engines)
    assert leg not in engine._calls
    (row,) = await fetch(stage, "SELECT * FROM transfers")
    assert row["ended_at"] is not None
    assert row["outcome"] == "cancelled"


async def test_a_node_that_leaves_waits_until_its_legs_are_ended(stage, engine, engines, tmp_path, monkeypatch):
    monkeypatch.setattr(dialer_module, "GOODBYE_SECONDS", 0.1)
    await flow(stage, LISTENS)
    hangs_up, asked = engine.hang_up, []

    async def late(call_id):
        if attempt_of_leg(call_id) is not None:
            asked.append(clock.boottime())
            if clock.boottime() - asked[0] < 1.0:
                raise EngineUnavailableError("No answer.")
        return await hangs_up(call_id)

    async with dialing(stage, engine, tmp_path, engines=engines):
        await start(stage)
        await until(lambda: bool(engine.connected))
        monkeypatch.setattr(engine, "hang_up", late)
    assert engine._calls == {}
    (row,) = await fetch(stage, "SELECT * FROM transfers")
    assert row["ended_at"] is not None
