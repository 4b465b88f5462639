"""Opt-outs: on the list at once, with where they come from, and no call that was claimed already is answered."""

from __future__ import annotations

import pytest

from dialing import add_campaign, dialing, phones, set_stage, with_rules
from engines import TTL_SECONDS, simulated
from outdial.core.errors import InvalidInputError, NotFoundError
from outdial.core.model import Disposition, DncSource, DoneReason
from outdial.services import dnc, runs
from outdial.services.engines import Engines
from outdial.services.opt_out import opt_out
from waiting import until


@pytest.fixture
async def engines(database, secret_box):
    opened = Engines(database, secret_box, ttl_seconds=TTL_SECONDS)
    yield opened
    await opened.close()


async def start(stage, campaign_id=None):
    return (
        await runs.start(
            stage.database,
            stage.secrets,
            iid=stage.owner.iid,
            campaign_id=campaign_id or stage.campaign_id,
            actor="test",
        )
    ).run


async def fetch(database, statement, *arguments):
    async with database.connection() as connection:
        return await connection.fetch(statement, *arguments)


@pytest.mark.parametrize("source", [DncSource.KEY, DncSource.AGENT])
async def test_it_is_on_the_list_with_its_source_and_in_the_history(database, secret_box, engines, source):
    stage = await set_stage(database, secret_box, phones(2))
    account_id = stage.owner.account_id
    await opt_out(
        database,
        engines,
        account_id=account_id,
        phone="+1 555 000 0010",
        source=source,
        actor="flow",
        reason="pressed 9",
    )
    (entry,) = await dnc.list_numbers(database, account_id=account_id)
    assert (entry.phone, entry.source, entry.reason, entry.added_by) == ("+15550000010", source, "pressed 9", "flow")
    (row,) = await fetch(database, "SELECT detail, actor FROM history WHERE action = 'opt_out'")
    assert (row["detail"]["phone"], row["detail"]["source"], row["actor"]) == (entry.phone, source, "flow")
    await dnc.remove_numbers(database, account_id=account_id, phones=[entry.phone], actor="test")
    (gone,) = await fetch(database, "SELECT detail FROM history WHERE action = 'dnc'")
    assert gone["detail"]["source"] == source


async def test_entries_that_are_no_opt_out_have_a_source_too(database, secret_box):
    stage = await set_stage(database, secret_box, phones(2))
    await dnc.add_numbers(database, account_id=stage.owner.account_id, phones=phones(1), actor="test")
    (entry,) = await dnc.list_numbers(database, account_id=stage.owner.account_id)
    assert entry.source is DncSource.OPERATOR
    assert await fetch(database, "SELECT FROM history WHERE action = 'opt_out'") == []


async def test_a_call_that_was_claimed_already_is_cancelled(database, secret_box, engines, tmp_path):
    numbers = phones(3, last="80")
    stage = await set_stage(database, secret_box, numbers, rules=with_rules(max_attempts=3, retry_seconds=60))
    async with simulated() as engine, dialing(stage, engine, tmp_path, engines=engines):
        run = await start(stage)
        await until(lambda: len(engine.sent) == 3)
        await opt_out(
            database,
            engines,
            account_id=stage.owner.account_id,
            phone=numbers[0],
            source=DncSource.AGENT,
            actor="agent 7",
        )
        ended = await fetch(database, "SELECT disposition FROM attempts WHERE phone = $1", numbers[0])
        assert [row["disposition"] for row in ended] == [Disposition.CANCELLED]

        async def done() -> bool:
            rows = await fetch(
                database,
                "SELECT done_reason FROM run_contacts WHERE run_id = $1 AND phone = $2 AND state = 'done'",
                run.id,
                numbers[0],
            )
            return [row["done_reason"] for row in rows] == [DoneReason.DNC]

        await until(done)
        others = await fetch(database, "SELECT FROM attempts WHERE phone <> $1 AND ended_at IS NULL", numbers[0])
        assert len(others) == 2


async def test_of_a_campaigns_list_only_its_campaigns_are_held_back(database, secret_box, engines, tmp_path):
    numbers = phones(2)
    stage = await set_stage(database, secret_box, numbers, rules=with_rules(max_attempts=1))
    names = {"account_id": stage.owner.account_id, "iid": stage.owner.iid, "list_name": "Spring only"}
    await opt_out(database, engines, phone=numbers[0], source=DncSource.KEY, actor="flow", **names)
    held = await add_campaign(
        database,
        stage.owner,
        numbers,
        list_name="again",
        name="Again",
        rules=with_rules(max_attempts=1),
        dnc_list_name="Spring only",
    )
    async with simulated() as engine, dialing(stage, engine, tmp_path, engines=engines):
        await start(stage)
        await until(lambda: len(engine.sent) == 2)
        run = await start(stage, held)

        async def over() -> bool:
            return (await runs.progress(database, run.id)).run.ended_at is not None

        await until(over)
        assert sorted(call.number for call in engine.sent) == sorted([*numbers, numbers[1]])


async def test_what_cannot_be_one_is_refused(database, secret_box, engines):
    stage = await set_stage(database, secret_box, phones(1))
    for wrong, error in (
        ({"phone": "nobody"}, InvalidInputError),
        ({"account_id": "0" * 24}, NotFoundError),
        ({"list_name": "x", "iid": "st-1"}, NotFoundError),
    ):
        asked = {"account_id": stage.owner.account_id, "phone": phones(1)[0], "source": DncSource.KEY, "actor": "t"}
        with pytest.raises(error):
            await opt_out(database, engines, **{**asked, **wrong})
