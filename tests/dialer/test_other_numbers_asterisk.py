"""Other numbers of a contact at a real Asterisk: what a carrier is sent that says a number is nobody's, or busy."""

from __future__ import annotations

import uuid

import pytest

from dialer.test_run import fetch, press_stop, start
from dialing import dialing, set_stage, with_rules
from outdial.core.ids import stasis_app
from outdial.core.model import Disposition, OwnRules, RetryRule
from outdial.services.engines import Engines
from support.asterisk import connected_engine
from support.asterisk import module_asterisk as asterisk  # noqa: F401 - a fixture
from support.sip_peer import SipPeer
from waiting import until

NOT_FOUND, BUSY, ANSWERS, RINGS = "+15550100404", "+15550100486", "+15550100001", "+15550100180"
TTL = 1.0
TURN = OwnRules(
    tuple(
        RetryRule(how, seconds=0, other_number=True)
        for how in (Disposition.BUSY, Disposition.INVALID_NUMBER, Disposition.CANCELLED)
    ),
    breaker=None,
)

pytestmark = pytest.mark.timeout(240)


async def test_the_carrier_is_sent_one_number_after_the_other_and_none_after_the_stop(
    database,
    secret_box,
    asterisk,  # noqa: F811
    tmp_path,
):
    tmp_path.chmod(0o755)
    peer = await SipPeer.start()
    people = [(NOT_FOUND, BUSY, ANSWERS), (BUSY[:-4] + "1486", RINGS, ANSWERS[:-3] + "002")]
    stage = await set_stage(
        *(database, secret_box, people), rules=with_rules(own=TURN, max_attempts=5, retry_seconds=0), port=peer.port
    )
    engines, node_id = Engines(database, secret_box, ttl_seconds=TTL), uuid.uuid4().hex

    async def is_reached_and_rings() -> bool:
        found = "SELECT phone FROM attempts WHERE disposition = 'answered_human' OR (phone = $1 AND state = 'ringing')"
        return {ANSWERS, RINGS} <= {row["phone"] for row in await fetch(stage, found, RINGS)}

    async def are_done() -> bool:
        return not await fetch(stage, "SELECT FROM run_contacts WHERE state <> 'done'")

    async with (
        connected_engine(asterisk, stasis_app(node_id)) as engine,
        dialing(stage, engine, tmp_path, engines=engines, address=asterisk.address, ttl_seconds=TTL, node_id=node_id),
    ):
        await start(stage)
        await until(is_reached_and_rings, seconds=90)
        await press_stop(stage, engines)
        sent = len(peer.calls)
        await until(are_done, seconds=60)
    await engines.close()
    await peer.close()
    rows = await fetch(stage, "SELECT phone, disposition, sip_code FROM attempts ORDER BY contact_id, number")
    found = [(row["phone"], row["disposition"]) for row in rows]
    assert found == [
        (NOT_FOUND, "invalid_number"),
        (BUSY, "busy"),
        (ANSWERS, "answered_human"),
        (BUSY[:-4] + "1486", "busy"),
        (RINGS, "cancelled"),
    ]
    assert [row["sip_code"] for row in rows[:2]] == [404, 486]
    # by the wire: each number once, in the order of its contact, and the third of the second contact never
    numbers = ["+" + call.number.removeprefix("+") for call in peer.calls.values()]
    assert len(numbers) == sent == len(found)
    assert [one for one in numbers if one in people[0]] == [NOT_FOUND, BUSY, ANSWERS]
    assert [one for one in numbers if one in people[1]] == [BUSY[:-4] + "1486", RINGS]
