"""Other numbers of a contact, dialed: the second after a busy first, nothing after a stop, the person everywhere."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from dialing import dialing, set_stage, with_rules
from outdial.core.errors import PersonOnCallError
from outdial.core.flow import OptOutScope
from outdial.core.history_file import Asked
from outdial.core.model import (
    ConnectedCalls,
    Disposition,
    DncSource,
    DoneReason,
    OwnRules,
    RetryRule,
    RunContactState,
    RunState,
)
from outdial.dialer.opt_outs import OptOuts
from outdial.services import dnc, erasures, evidence_archive, explanations, runs, wide_stops
from outdial.services.archive_check import verify_archive
from outdial.services.explanation_text import explained_document, explained_text
from outdial.services.opt_out import opt_out
from outdial.services.stop import stop
from persons import places_of
from waiting import until

# the simulated phones: 10 answers, 70 is busy, 80 rings for ever, 93 is nobody's
ANSWERS, BUSY, RINGS, NOBODYS = "+15550000110", "+15550000170", "+15550000180", "+15550000193"
TURN = OwnRules(
    (
        RetryRule(Disposition.BUSY, seconds=0, other_number=True),
        RetryRule(Disposition.INVALID_NUMBER, seconds=0, other_number=True),
    ),
    breaker=None,
)


async def start(stage):
    begun = await runs.start(
        stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
    )
    return begun.run


async def is_over(stage, run) -> bool:
    return (await runs.progress(stage.database, run.id)).run.state is RunState.COMPLETED


async def fetch(stage, statement, *values):
    async with stage.database.connection() as connection:
        return [dict(row) for row in await connection.fetch(statement, *values)]


async def is_waiting(stage) -> bool:
    rows = await fetch(stage, "SELECT state FROM run_contacts")
    return [row["state"] for row in rows] == ["waiting"]


@pytest.fixture
def staged(database, secret_box):
    async def made(*people, own=TURN, **rules):
        return await set_stage(database, secret_box, people, rules=with_rules(own=own, max_attempts=4, **rules))

    return made


async def test_a_busy_first_number_leads_to_a_call_of_the_second(staged, engine, engines, tmp_path):
    stage = await staged((BUSY, ANSWERS), (NOBODYS, BUSY, ANSWERS[:-3] + "210"), NOBODYS[:-3] + "293")
    async with dialing(stage, engine, tmp_path, engines=engines):
        run = await start(stage)
        await until(lambda: is_over(stage, run))
        progress = await runs.progress(stage.database, run.id)
    rows = await fetch(stage, "SELECT contact_id, phone, number, screening FROM attempts ORDER BY contact_id, number")
    by_contact: dict[int, list[str]] = {}
    for row in rows:
        by_contact.setdefault(row["contact_id"], []).append(row["phone"])
    assert list(by_contact.values()) == [
        [BUSY, ANSWERS],
        [NOBODYS, BUSY, ANSWERS[:-3] + "210"],
        [NOBODYS[:-3] + "293"],
    ]
    assert progress.contacts == {RunContactState.DONE: 3}
    assert progress.done == {DoneReason.REACHED: 2, DoneReason.INVALID_NUMBER: 1}
    assert Counter(call.number for call in engine.sent) == Counter(row["phone"] for row in rows)
    # the gate was asked about each number that was called
    asked = [row["screening"].get("phone") for row in rows]
    assert asked == [*(row["phone"] for row in rows[:-1]), None]


async def test_a_stop_between_proves_that_no_second_call_leaves(staged, engine, engines, tmp_path):
    own = OwnRules((RetryRule(Disposition.BUSY, seconds=2, other_number=True),), breaker=None)
    stage = await staged((BUSY, ANSWERS), own=own)
    async with dialing(stage, engine, tmp_path, engines=engines):
        run = await start(stage)
        await until(lambda: is_waiting(stage))
        (row,) = await fetch(stage, "SELECT phone, not_before FROM run_contacts")
        assert row["phone"] == ANSWERS, "its other number is next"
        stopped = await stop(
            stage.database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="supervisor"
        )
        assert stopped.report.retries_cancelled_count == 1
        # past the instant at which it would have been called
        due = "SELECT clock_timestamp() > $1::timestamptz + interval '1 second' AS past"
        await until(lambda: _past(stage, due, row["not_before"]))
    assert [call.number for call in engine.sent] == [BUSY]
    (row,) = await fetch(stage, "SELECT state, done_reason FROM run_contacts WHERE run_id = $1", run.id)
    assert (row["state"], row["done_reason"]) == ("done", "retry_cancelled")


async def _past(stage, statement, at) -> bool:
    (row,) = await fetch(stage, statement, at)
    return row["past"]


async def test_a_stop_of_the_number_that_rings_goes_on_with_the_other(staged, engine, engines, tmp_path):
    stage = await staged((RINGS, ANSWERS), retry_seconds=0)
    async with dialing(stage, engine, tmp_path, engines=engines):
        run = await start(stage)
        await until(lambda: len(engine.sent) == 1)
        await wide_stops.stop_number(
            stage.database, engines, account_id=stage.owner.account_id, phone=RINGS, actor="supervisor"
        )
        await until(lambda: is_over(stage, run))
    assert [call.number for call in engine.sent] == [RINGS, ANSWERS]


async def test_who_asks_not_to_be_called_is_called_at_no_number(staged, engine, engines, tmp_path):
    stage = await staged((BUSY, ANSWERS), own=OwnRules(breaker=None), retry_seconds=0)
    async with dialing(stage, engine, tmp_path, engines=engines):
        run = await start(stage)
        await until(lambda: is_waiting(stage))
        (row, *_) = await fetch(stage, "SELECT id FROM attempts")
        asked = OptOuts(stage.database, engines, tmp_path / "opt-outs")
        task = asyncio.create_task(asked.run())
        asked.put(row["id"], OptOutScope.ACCOUNT)
        await asked.flush()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: is_over(stage, run))
    entries = await dnc.list_numbers(stage.database, account_id=stage.owner.account_id)
    assert {entry.phone for entry in entries} == {BUSY, ANSWERS}
    assert ANSWERS not in {call.number for call in engine.sent}


async def is_ringing(stage, phone) -> bool:
    rows = await fetch(stage, "SELECT phone FROM attempts WHERE state = 'ringing'")
    return [row["phone"] for row in rows] == [phone]


@pytest.mark.parametrize("source", [DncSource.KEY, DncSource.AGENT])
async def test_who_opts_out_at_one_number_is_not_rung_at_another(staged, engine, engines, tmp_path, source):
    """It is the same person who is called: by another campaign, say, at the moment in which they say so."""
    stage = await staged((BUSY, RINGS, ANSWERS), retry_seconds=0)
    async with dialing(stage, engine, tmp_path, engines=engines):
        run = await start(stage)
        await until(lambda: is_ringing(stage, RINGS))
        await opt_out(
            *(stage.database, engines),
            account_id=stage.owner.account_id,
            phone=BUSY,
            source=source,
            actor="test",
        )
        await until(lambda: is_over(stage, run))
    assert [call.number for call in engine.sent] == [BUSY, RINGS]
    (row,) = await fetch(stage, "SELECT state, done_reason FROM run_contacts")
    assert (row["state"], row["done_reason"]) == ("done", "dnc")


class TestErasedWhileCalled:
    async def erase(self, stage, engines, folder, phone, **more):
        return await erasures.erase(
            *(stage.database, stage.secrets, engines),
            account_id=stage.owner.account_id,
            phone=phone,
            actor="dora",
            folder=folder / "recordings",
            **more,
        )

    async def test_what_rings_at_another_number_is_cancelled(self, staged, engine, engines, tmp_path):
        stage = await staged((BUSY, RINGS, ANSWERS), retry_seconds=0)
        async with dialing(stage, engine, tmp_path, engines=engines):
            run = await start(stage)
            await until(lambda: is_ringing(stage, RINGS))
            done = await self.erase(stage, engines, tmp_path, BUSY)
            await until(lambda: is_over(stage, run))
        assert done.counts["contacts"] == 1
        assert [call.number for call in engine.sent] == [BUSY, RINGS]
        rows = await fetch(stage, "SELECT phone, disposition FROM attempts ORDER BY number")
        assert [tuple(row.values()) for row in rows] == [("", "busy"), (RINGS, "cancelled")]
        (row,) = await fetch(stage, "SELECT phone, phones, done_reason FROM run_contacts")
        assert tuple(row.values()) == ("", None, "dnc")

    async def test_who_talks_at_another_number_is_let_talk(self, database, secret_box, engine, engines, tmp_path):
        stage = await set_stage(
            *(database, secret_box, [(BUSY, ANSWERS)]), rules=with_rules(own=TURN, max_attempts=4), seconds=60.0
        )

        async def is_talking() -> bool:
            return bool(await fetch(stage, "SELECT FROM attempts WHERE state = 'answered'"))

        async with dialing(stage, engine, tmp_path, engines=engines):
            run = await start(stage)
            await until(is_talking)
            with pytest.raises(PersonOnCallError):
                await self.erase(stage, engines, tmp_path, BUSY)
            assert await is_talking()
            # and once more, as a server goes on with it
            with pytest.raises(PersonOnCallError):
                await erasures.go_on(stage.database, stage.secrets, engines, tmp_path, older_than=timedelta())
            assert await is_talking()
            done = await self.erase(stage, engines, tmp_path, BUSY, connected=ConnectedCalls.HANG_UP)
            await until(lambda: is_over(stage, run))
        assert (done.erased_at is not None, done.counts["contacts"]) == (True, 1)
        assert [call.number for call in engine.sent] == [BUSY, ANSWERS]


@pytest.fixture
async def ran(staged, engine, engines, tmp_path):
    """A run in which somebody was called at two numbers, somebody else at one of them too."""
    stage = await staged((BUSY, ANSWERS), ("+15550000210", BUSY))
    async with dialing(stage, engine, tmp_path, engines=engines):
        run = await start(stage)
        await until(lambda: is_over(stage, run))
    return stage, run


async def test_it_is_explained_by_any_of_the_numbers_and_by_the_one_that_was_called(ran):
    stage, run = ran
    found = await explanations.explain_in_run(
        stage.database, iid=stage.owner.iid, instance_id=run.instance_id, contact=ANSWERS
    )
    document = explained_document(found)
    assert document["phoneNumber"] == ANSWERS
    called = [one["phoneNumber"] for one in document["past"] if one["to"] == "reserved"]
    assert called == [BUSY, ANSWERS]
    assert f"at {BUSY}" in explained_text(document)
    # who has it as the first number comes before who has it beside
    several = await fetch(stage, "SELECT contact_id FROM run_contacts ORDER BY sort_key")
    async with stage.database.connection() as connection:
        found = await explanations.store.contact_ids(connection, run.id, BUSY, limit=9)
    assert found == [row["contact_id"] for row in several]


async def test_the_evidence_names_the_number_of_each_call_and_is_made_again(ran, secret_box, tmp_path):
    stage, _ = ran
    path = tmp_path / "evidence.tar"
    with path.open("wb") as out:
        await evidence_archive.write(stage.database, secret_box, Asked(stage.owner.account_id), out)
    with path.open("rb") as file:
        verdict = verify_archive(file)
    assert verdict.valid, verdict.difference
    assert verdict.decisions["allow"] == 3
    assert f'"numbers":["{BUSY}","{ANSWERS}"]'.encode() in path.read_bytes()


async def test_erasing_one_number_erases_the_person(ran, engines, secret_box, tmp_path):
    stage, _ = ran
    done = await erasures.erase(
        *(stage.database, secret_box, engines),
        account_id=stage.owner.account_id,
        phone=ANSWERS,
        actor="dora",
        folder=tmp_path / "recordings",
    )
    assert (done.counts["contacts"], done.counts["run_contacts"], done.counts["attempts"]) == (1, 1, 2)
    assert await places_of(stage.database, ANSWERS) == []
    # calls to the other number count for whoever else has it
    # somebody else has the other number too, and stays
    rows = await fetch(stage, "SELECT phone, phones FROM run_contacts ORDER BY contact_id")
    assert [(row["phone"], row["phones"]) for row in rows] == [
        ("", None),
        ("+15550000210", ["+15550000210", BUSY]),
    ]
    rows = await fetch(stage, "SELECT phone, screening FROM attempts ORDER BY contact_id, number")
    assert [(row["phone"], row["screening"] is None) for row in rows] == [
        (BUSY, True),
        ("", True),
        ("+15550000210", False),
    ]
