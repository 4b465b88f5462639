"""Calls of dead nodes whose end nobody heard: what is booked of them where their connection may have broken."""

from __future__ import annotations

import pytest

from dialer.test_node import DEAD_PID, fetch, lapse, node, register, reserved, run, stage  # noqa: F401 - fixtures
from outdial import clock
from outdial.dialer.adoption import Adoption
from outdial.telephony.engine import CallRecord, CallState, LiveCall


@pytest.mark.parametrize(("transport", "state"), [("udp", "ended"), ("tcp", "unknown"), ("tls", "unknown")])
async def test_who_ended_a_call_over_a_connection_is_not_in_the_record(
    node,  # noqa: F811
    run,  # noqa: F811
    engine,
    engines,
    database,
    secret_box,
    transport,
    state,
):
    """It may have been the connection."""
    async with database.connection() as connection:
        await connection.execute("UPDATE trunks SET transport = $1", transport)
    await register(database, secret_box, engine.id, "dead", pid=DEAD_PID)
    (attempt_id,) = await reserved(database, run, "dead", count=1)
    engine._records[attempt_id] = CallRecord(attempt_id, clock.now(), None, clock.now(), 34)
    await lapse(database, "dead")
    await Adoption(node, engines).look()
    await node.book.flush()
    assert [row["state"] for row in await fetch(database, "SELECT state FROM attempts")] == [state]


@pytest.mark.parametrize(("had", "outcome"), [(True, ("ended", "cancelled")), (False, ("unknown", "unknown"))])
async def test_only_what_another_engine_had_until_then_was_cancelled_there(
    node,  # noqa: F811
    run,  # noqa: F811
    engines,
    database,
    secret_box,
    monkeypatch,
    had,
    outcome,
):
    """What ended between its listing and the hang-up may have lost its connection."""
    await register(database, secret_box, "far", "dead", pid=DEAD_PID)
    (attempt_id,) = await reserved(database, run, "dead", count=1)

    class Far:
        id = "far"

        async def calls(self, _run_id=None):
            return [LiveCall(attempt_id, run.id, run.epoch, CallState.RINGING)]

        async def hang_up(self, _call_id):
            return had

    async def control(_engine_id):
        return Far()

    monkeypatch.setattr(engines, "control", control)
    await lapse(database, "dead")
    await Adoption(node, engines).look()
    await node.book.flush()
    assert [(row["state"], row["disposition"]) for row in await fetch(database, "SELECT * FROM attempts")] == [outcome]
