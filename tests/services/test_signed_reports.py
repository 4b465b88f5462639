"""Signed reports of real stops over the simulated engine: whole, true, made once, and never in the stop's way."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest

from dialing import add_campaign, dialing, phones, set_stage
from engines import TTL_SECONDS, simulated
from outdial import signing
from outdial.core.canonical import read
from outdial.core.errors import ConflictError, StopReportNotReadyError
from outdial.core.model import ConnectedCalls, RingingCalls
from outdial.core.stop_proof import findings, shape_findings, signed_bytes
from outdial.services import runs, sealing, signed_reports, signing_keys
from outdial.services.engines import Engines
from outdial.services.stop import StopOptions, stop
from outdial.store import runs as runs_store
from waiting import until

RINGS, ANSWERS = "80", "10"


@pytest.fixture
async def engines(database, secret_box):
    opened = Engines(database, secret_box, ttl_seconds=TTL_SECONDS)
    yield opened
    await opened.close()


async def begin(stage):
    return (
        await runs.start(
            stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="anna"
        )
    ).run


async def live(database, state: str) -> int:
    async with database.connection() as connection:
        return await connection.fetchval("SELECT count(*) FROM attempts WHERE state = $1", state)


async def stopped_run(database, run):
    async with database.connection() as connection:
        return await runs_store.by_id(connection, run.id)


async def report_of(database, secret_box, run) -> dict:
    return read(await signed_reports.signed_report(database, secret_box, await stopped_run(database, run)))


def check(document: dict) -> None:
    assert shape_findings(document) == []
    assert findings(document) == []
    signature = document["signature"]
    public = signing.from_text(signature["publicKey"])
    assert signing.key_id(public) == signature["keyId"]
    assert signing.verifies(public, signing.from_text(signature["value"]), signed_bytes(document))


@pytest.mark.parametrize("ringing", list(RingingCalls))
async def test_calls_that_ring_are_cancelled_or_kept_and_the_report_says_which(
    database, secret_box, engines, tmp_path, ringing
):
    stage = await set_stage(database, secret_box, phones(60, last=RINGS), max_channels=20)
    async with simulated(speed=1.0) as engine:
        run = await begin(stage)
        async with dialing(stage, engine, tmp_path, engines=engines, ttl_seconds=TTL_SECONDS):
            await until(lambda: _is(live(database, "ringing"), 20))
            done = await stop(
                database,
                engines,
                iid=stage.owner.iid,
                campaign_id=stage.campaign_id,
                actor="berta",
                options=StopOptions(ringing=ringing),
                keep_schedule=True,
            )
            document = await report_of(database, secret_box, run)
            again = await report_of(database, secret_box, run)
    check(document)
    assert again == document
    assert document["request"] == {
        "by": "berta",
        "at": document["request"]["at"],
        "reason": "stop",
        "ringing": ringing,
        "connected": "keep",
        "keepSchedule": True,
    }
    assert document["counts"]["calls"] == 20
    assert document["counts"]["phases"]["ringing"] == 20
    word = "ended" if ringing is RingingCalls.CANCEL else "kept"
    assert document["counts"]["outcomes"][word] == 20
    assert document["counts"]["contacts"]["neverReached"] == 40
    assert document["counts"]["contacts"]["total"] == 60
    (node,) = document["nodes"]
    # on a busy machine it may take longer to answer than a stop waits for it
    assert node["outcome"] in {"acknowledged", "not_answering"}
    assert (node["at"] is not None) is (node["outcome"] == "acknowledged")
    assert node["at"] is None or document["request"]["at"] < node["at"] < document["barrier"]["stoppedAt"]
    (told,) = document["engines"]
    assert told["engineId"] == "sim-one"
    # some may have been cancelled by their node before the stop came to it
    assert document["counts"]["cancelled"] == (20 if word == "ended" else 0) >= told["cancelled"]
    assert document["barrier"]["latencySeconds"] == done.report.latency_seconds
    assert document["barrier"]["lastOriginateAt"] < document["barrier"]["noCallAfter"]
    assert all(call["permit"].startswith(f"run{run.id}e1k") for call in document["calls"])
    # nobody's number is in it
    assert "+1555" not in json.dumps(document)


async def _is(question, answer) -> bool:
    return await question == answer


@pytest.mark.parametrize("connected", list(ConnectedCalls))
async def test_conversations_go_on_or_are_hung_up(database, secret_box, engines, tmp_path, connected):
    stage = await set_stage(database, secret_box, phones(8, last=ANSWERS), max_channels=4, seconds=60)
    async with simulated(speed=1.0) as engine:
        run = await begin(stage)
        async with dialing(stage, engine, tmp_path, engines=engines, ttl_seconds=TTL_SECONDS):
            await until(lambda: _is(live(database, "answered"), 4))
            await stop(
                database,
                engines,
                iid=stage.owner.iid,
                campaign_id=stage.campaign_id,
                actor="berta",
                options=StopOptions(connected=connected),
            )
            document = await report_of(database, secret_box, run)
    check(document)
    word = "kept" if connected is ConnectedCalls.KEEP else "ended"
    assert {call["outcome"] for call in document["calls"]} == {word}
    assert document["counts"]["contacts"]["inCalls"] == (4 if word == "kept" else 0)


async def test_a_run_that_never_dialed_has_a_report_too(database, secret_box, engines):
    stage = await set_stage(database, secret_box, phones(3))
    run = await begin(stage)
    with pytest.raises(ConflictError, match="only a run that was stopped has a report"):
        await signed_reports.signed_report(database, secret_box, run)
    await stop(database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="berta")
    document = await report_of(database, secret_box, run)
    check(document)
    assert (document["calls"], document["engines"], document["nodes"]) == ([], [], [])
    assert document["barrier"]["noCallAfter"] == document["request"]["at"]
    assert document["barrier"]["lastOriginateAt"] is None


async def test_another_runs_rows_are_in_it_as_digests_only(database, secret_box, engines, tmp_path):
    stage = await set_stage(database, secret_box, phones(4, last=RINGS))
    await add_campaign(database, stage.owner, phones(2, area=556), list_name="others", name="Summer")
    await sealing.seal_all(database)
    run = await begin(stage)
    await stop(database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="berta")
    await add_campaign(database, stage.owner, phones(2, area=557), list_name="more", name="Autumn")
    document = await report_of(database, secret_box, run)
    check(document)
    (last,) = document["chain"]["seals"]
    entries = last["entries"]
    assert [entry["to"] for entry in entries if isinstance(entry, dict)] == ["stopping", "stopped"]
    assert sum(isinstance(entry, str) for entry in entries) >= 2


async def test_the_stop_signs_nothing_itself_and_the_keeper_signs_what_nobody_asks_for(database, secret_box, engines):
    stage = await set_stage(database, secret_box, phones(3))
    run = await begin(stage)
    await stop(database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="berta")
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM signed_reports") == 0
        assert await connection.fetchval("SELECT count(*) FROM signing_keys") == 0
    assert await signed_reports.sign_missing(database, secret_box) == [run.id]
    assert await signed_reports.sign_missing(database, secret_box) == []
    check(await report_of(database, secret_box, run))


async def test_a_stop_of_long_ago_is_signed_when_somebody_asks(database, secret_box, engines):
    stage = await set_stage(database, secret_box, phones(3))
    run = await begin(stage)
    await stop(database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="berta")
    async with database.connection() as connection:
        await connection.execute("UPDATE runs SET ended_at = ended_at - interval '8 days'")
    assert await signed_reports.sign_missing(database, secret_box) == []
    check(await report_of(database, secret_box, run))


async def test_many_at_once_get_the_same_signed_bytes(database, secret_box, engines):
    stage = await set_stage(database, secret_box, phones(3))
    run = await begin(stage)
    await stop(database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="berta")
    stopped = await stopped_run(database, run)
    asked = (signed_reports.signed_report(database, secret_box, stopped) for _ in range(5))
    assert len(set(await asyncio.gather(*asked))) == 1
    assert len(await signing_keys.every(database, secret_box)) == 1


async def test_calls_of_a_node_that_died_are_waited_for_and_told_when_that_takes_too_long(
    database, secret_box, engines, tmp_path, monkeypatch
):
    stage = await set_stage(database, secret_box, phones(6, last=RINGS), max_channels=6)
    run = await begin(stage)
    await stop(database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="berta")
    async with database.connection() as connection:
        # as when a node dies between the carrier's answer and its booking: the engine has nothing, nobody says so
        contact = await connection.fetchval("SELECT min(contact_id) FROM run_contacts WHERE run_id = $1", run.id)
        await connection.execute(
            "UPDATE run_contacts SET state = 'claimed', attempts_count = 1 WHERE contact_id = $1", contact
        )
        await connection.execute(
            """
            INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                  engine_id, node_id, epoch, number, state, changed_by)
            SELECT repeat('a', 32), r.id, r.campaign_id, r.account_id, $2, '+15550100980', '+1', r.trunk_id, 'e', 'n',
                   1, 1, 'reserved', 'n' FROM runs r WHERE r.id = $1
            """,
            run.id,
            contact,
        )
    with pytest.raises(StopReportNotReadyError, match="how 1 calls ended is still to be booked"):
        await report_of(database, secret_box, run)
    assert await signed_reports.sign_missing(database, secret_box) == []
    monkeypatch.setattr(signed_reports, "SETTLE", timedelta())
    document = await report_of(database, secret_box, run)
    assert document["counts"]["outcomes"] == {"ended": 0, "kept": 0, "unsettled": 1}


async def test_keys_turn_over_and_what_the_old_one_signed_stays_good(database, secret_box, engines):
    stage = await set_stage(database, secret_box, phones(3))
    first = await signing_keys.in_use(database, secret_box)
    assert await signing_keys.in_use(database, secret_box) == first
    run = await begin(stage)
    await stop(database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="berta")
    old = await report_of(database, secret_box, run)
    second = await signing_keys.rotate(database, secret_box, actor="carla")
    keys = await signing_keys.every(database, secret_box)
    assert [key.id for key in keys] == [second.id, first.id]
    assert (keys[0].retired_at, keys[1].retired_at is None) == (None, False)
    await runs.start(database, secret_box, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="anna")
    await stop(database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="berta")
    await signed_reports.sign_missing(database, secret_box)
    async with database.connection() as connection:
        texts = [
            bytes(row["document"])
            for row in await connection.fetch("SELECT document FROM signed_reports ORDER BY run_id")
        ]
        assert (
            await connection.fetchval("SELECT count(*) FROM signing_keys WHERE private_key_encrypted IS NOT NULL") == 1
        )
    documents = [read(text) for text in texts]
    assert documents[0] == old
    assert [document["signature"]["keyId"] for document in documents] == [first.id, second.id]
    for document in documents:
        check(document)
