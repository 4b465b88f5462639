"""Exports of history: each proves itself, tells everything of what was asked for and nothing of others."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from dialing import add_campaign, dialing, phones, set_stage
from engines import TTL_SECONDS, simulated
from outdial.core.errors import NotFoundError
from outdial.core.history_file import check_file
from outdial.services import access, history_export, runs, signed_reports
from outdial.services.engines import Engines
from outdial.services.history_export import HistoryNotWholeError
from outdial.services.stop import stop
from outdial.store import history
from outdial.store import runs as runs_store
from waiting import until

BUSY = "70"


async def lines_of(database, asked) -> list[bytes]:
    text = b"".join([piece async for piece in history_export.export(database, asked)])
    return text.splitlines(keepends=True)


def rows_in(lines: list[bytes]) -> list[dict]:
    documents = [json.loads(line) for line in lines]
    return [one["row"] for one in documents if one["kind"] == "row"]


@pytest.fixture
async def engines(database, secret_box):
    opened = Engines(database, secret_box, ttl_seconds=TTL_SECONDS)
    yield opened
    await opened.close()


@pytest.fixture
async def ran(database, secret_box, engines, tmp_path):
    """Two campaigns of one account that ran, and were stopped."""
    stage = await set_stage(database, secret_box, phones(12, last=BUSY))
    second = await add_campaign(
        database, stage.owner, phones(3, last=BUSY, area=556), list_name="others", name="Summer"
    )
    begun = []
    async with simulated() as engine, dialing(stage, engine, tmp_path, engines=engines, ttl_seconds=TTL_SECONDS):
        for campaign_id in (stage.campaign_id, second):
            started = await runs.start(database, secret_box, iid=stage.owner.iid, campaign_id=campaign_id, actor="anna")
            begun.append(started.run)

        async def all_tried() -> bool:
            async with database.connection() as connection:
                # on a busy machine some are put back and reserved again
                return await connection.fetchval(
                    "SELECT count(*) = 15 FROM attempts WHERE state = 'ended' AND dialed_at IS NOT NULL"
                )

        await until(all_tried)
        for campaign_id in (stage.campaign_id, second):
            await stop(database, engines, iid=stage.owner.iid, campaign_id=campaign_id, actor="berta")
    async with database.connection() as connection:
        found = [await runs_store.by_id(connection, run.id) for run in begun]
    return stage, found


async def ids(database, where: str, *arguments) -> list[int]:
    async with database.connection() as connection:
        rows = await connection.fetch(f"SELECT id FROM history WHERE {where} ORDER BY id", *arguments)
    return [row["id"] for row in rows]


async def test_an_export_has_everything_that_was_asked_for_and_proves_it(database, ran):
    stage, (run, other) = ran
    account = stage.owner.account_id
    for asked, where, argument in (
        (history_export.of_account(account), "account_id = $1 OR run_id IS NOT NULL", account),
        (history_export.of_run(run), "run_id = $1", run.id),
        (history_export.of_run(other), "run_id = $1", other.id),
        (
            await history_export.of_campaign(database, stage.owner.iid, run.campaign_id),
            "campaign_id = $1 OR run_id IN (SELECT id FROM runs WHERE campaign_id = $1)",
            run.campaign_id,
        ),
    ):
        lines = await lines_of(database, asked)
        found = check_file(lines)
        told = rows_in(lines)
        assert found.rows == len(told)
        assert sorted(row["id"] for row in told) == await ids(database, where, argument)


async def test_others_are_in_it_as_digests_only(database, ran):
    _, (run, other) = ran
    text = b"".join(await lines_of(database, history_export.of_run(other)))
    assert run.instance_id.encode() not in text
    assert run.campaign_id.encode() not in text
    assert b"+155500" not in text
    assert b"+155600" in text
    assert b'"kind":"others"' in text


async def test_an_attempts_rows_tell_its_whole_story(database, ran):
    _, (run, _) = ran
    told = rows_in(await lines_of(database, history_export.of_run(run)))
    async with database.connection() as connection:
        attempt = await connection.fetchrow(
            "SELECT * FROM attempts WHERE run_id = $1 AND dialed_at IS NOT NULL LIMIT 1", run.id
        )
    story = [row for row in told if row["attemptId"] == attempt["id"]]
    assert story[0]["from"] is None
    assert story[0]["detail"] == {
        "phone": attempt["phone"],
        "caller_id": attempt["caller_id"],
        "number": 1,
        "trunk_id": attempt["trunk_id"],
        "engine_id": "sim-one",
        "node_id": attempt["node_id"],
        "epoch": 1,
        "callback_at": None,
        "screening": attempt["screening"],
    }
    end = story[-1]
    assert (end["to"], end["detail"]["disposition"]) == ("ended", "busy")
    assert end["detail"]["sip_code"] == attempt["sip_code"]
    assert end["detail"]["permit"] == attempt["permit"]
    assert attempt["permit"].startswith(f"run{run.id}e1k")
    for name in ("dialed_at", "ended_at"):
        assert datetime.fromisoformat(end["detail"][name]) == attempt[name]
    moves = [row for row in told if row["action"] == "run"]
    assert [row["to"] for row in moves] == ["active", "stopping", "stopped"]
    assert {row["detail"]["instance_id"] for row in moves} == {run.instance_id}


async def test_the_database_holds_and_signed_reports_are_held_against_it(database, secret_box, ran, dsn):
    stage, (run, _) = ran
    await signed_reports.signed_report(database, secret_box, run)
    account = stage.owner.account_id
    held = await history_export.verify(database, account)
    assert held.rows == len(await ids(database, "true"))
    async with database.transaction() as connection:
        await connection.execute("ALTER TABLE signed_reports DISABLE TRIGGER USER")
        await connection.execute("UPDATE signed_reports SET head_sha256 = decode(repeat('00', 32), 'hex')")
    with pytest.raises(HistoryNotWholeError, match=f"the signed report of the run {run.instance_id} names another"):
        await history_export.verify(database, account)


async def test_an_export_ends_where_it_was_begun(database, secret_box):
    """What happens while it is written comes into the next one; it never runs after a chain that grows."""
    owner = await access.create_application(database, secret_box, account="Acme", name="one")
    async with database.connection() as connection:
        await history.append(connection, owner.account_id, "test", "before", actor="anna")
    export = history_export.export(database, history_export.of_account(owner.account_id))
    lines = [await anext(export)]
    async with database.connection() as connection:
        await history.append(connection, owner.account_id, "test", "meanwhile", actor="anna")
    lines += [piece async for piece in export]
    first = check_file(b"".join(lines).splitlines(keepends=True))
    again = check_file(await lines_of(database, history_export.of_account(owner.account_id)))
    assert (first.rows, again.rows) == (1, 2)


async def test_what_has_no_history_and_what_there_is_not(database, secret_box):
    owner = await access.create_application(database, secret_box, account="Acme", name="one")
    with pytest.raises(NotFoundError, match="no campaign with the id cd-1"):
        await history_export.of_campaign(database, owner.iid, "cd-1")
    found = check_file(await lines_of(database, history_export.of_account("f" * 24)))
    assert (found.seals, found.rows, found.head) == (0, 0, None)
    assert (await history_export.verify(database, "f" * 24)).head is None
