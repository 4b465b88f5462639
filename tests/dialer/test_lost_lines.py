"""A run over a TCP trunk at a real Asterisk whose connection breaks while phones ring: nobody is called again."""

from __future__ import annotations

import uuid

import pytest

from dialer.test_run import fetch, start
from dialing import dialing, set_stage, with_rules
from outdial.core.ids import stasis_app
from outdial.dialer.outcomes import LINE_LOST
from outdial.services.engines import Engines
from support.asterisk import connected_engine
from support.asterisk import module_asterisk as asterisk  # noqa: F401 - a fixture
from support.sip_peer import SipPeer
from waiting import until

RINGS, SILENT, REFUSED = "+15550100180", "+15550100100", "+15550100503"
TTL = 1.0

pytestmark = pytest.mark.timeout(240)


async def test_whose_phone_may_ring_on_is_not_called_again_and_whom_the_carrier_refused_is(
    database,
    secret_box,
    asterisk,  # noqa: F811
    tmp_path,
):
    tmp_path.chmod(0o755)
    peer = await SipPeer.start(transport="tcp")
    stage = await set_stage(
        *(database, secret_box, [RINGS, SILENT, REFUSED]),
        rules=with_rules(max_attempts=2, retry_seconds=0, ring_seconds=60),
        port=peer.port,
    )
    async with database.connection() as connection:
        await connection.execute("UPDATE trunks SET transport = 'tcp'")
    engines, node_id = Engines(database, secret_box, ttl_seconds=TTL), uuid.uuid4().hex

    async def others_were_refused() -> bool:
        done = "SELECT FROM attempts WHERE phone = $1 AND state = 'ended'"
        return len(await fetch(stage, done, REFUSED)) == 2

    async def are_done() -> bool:
        return not await fetch(stage, "SELECT FROM run_contacts WHERE state <> 'done'")

    async with (
        connected_engine(asterisk, stasis_app(node_id)) as engine,
        dialing(stage, engine, tmp_path, engines=engines, address=asterisk.address, ttl_seconds=TTL, node_id=node_id),
    ):
        await start(stage)
        await until(others_were_refused, seconds=60)
        await peer.until(lambda: bool(peer.of_number(SILENT) and peer.of_number(RINGS)[0].responded_at))
        await peer.drop_connections()
        await until(are_done, seconds=30)
    await engines.close()
    await peer.close()
    rows = await fetch(
        stage,
        "SELECT a.phone, a.state, a.disposition, a.sip_code, rc.done_reason, h.reason"
        "  FROM attempts a JOIN run_contacts rc USING (run_id, contact_id)"
        "  JOIN history h ON h.attempt_id = a.id AND h.to_state = a.state ORDER BY a.phone, a.number",
    )
    unknown = ("unknown", "unknown", None, "unknown", LINE_LOST)
    refused = ("ended", "congestion", 503, "attempts_used", "")
    assert [tuple(row.values()) for row in rows] == [
        (SILENT, *unknown),
        (RINGS, *unknown),
        (REFUSED, *refused),
        (REFUSED, *refused),
    ]
    # nobody was told to stop ringing, and nobody was rung twice
    assert [(call.number, call.ended_at) for call in peer.calls.values() if call.number != REFUSED] == [
        (call.number, None) for call in peer.calls.values() if call.number != REFUSED
    ]
    assert len(peer.of_number(RINGS)) == len(peer.of_number(SILENT)) == 1
