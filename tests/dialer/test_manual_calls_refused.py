"""Calls by hand that are refused: who was told what, and by which rule, stands in the history, and nowhere else."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from dialer.test_manual_calls import LATER, NUMBERS, made_scene
from outdial.core.canonical import read_instant
from outdial.core.errors import ConflictError
from outdial.core.ids import dialing_list_id
from outdial.core.manual_call import ManualAnswer
from outdial.core.model import CallingHours, RunState
from outdial.services import dnc, explanations, manual_calls
from outdial.services.explanation_text import explained_document, explained_text, waterfall_document
from outdial.store import manual_calls as store
from outdial.store import runs as runs_store
from runs import waits_for_a_lock
from waiting import until

PERSON = NUMBERS[-1]
REFUSED = {"denied", "put_off"}


@pytest.fixture
async def scene(database, secret_box):
    return await made_scene(database, secret_box)


@pytest.fixture
async def listed(scene):
    """A scene in which the account does not call one of the contacts."""
    await dnc.add_numbers(scene.database, account_id=scene.stage.owner.account_id, phones=[PERSON], actor="test")
    return scene


async def told(scene):
    rows = await scene.fetch("SELECT * FROM history WHERE action = 'manual_call' ORDER BY id")
    return [row for row in rows if row["to_state"] in REFUSED]


class TestWhatIsWritten:
    async def test_a_denial_by_the_gate(self, listed):
        found = await listed.refused(ManualAnswer.DENIED, "account_dnc")
        (row,) = await told(listed)
        owner, run = listed.stage.owner, listed.run
        assert (row["account_id"], row["campaign_id"], row["run_id"], row["contact_id"], row["attempt_id"]) == (
            owner.account_id,
            run.campaign_id,
            run.id,
            found.contact_id,
            None,
        )
        assert (row["from_state"], row["to_state"], row["actor"], row["reason"]) == (
            None,
            "denied",
            "cs-supervisor",
            "",
        )
        decision = row["detail"]
        assert {name: decision[name] for name in ("rule", "sentence", "inputs")} == {
            "rule": "account_dnc",
            "sentence": "The number is on the account's do-not-call list.",
            "inputs": {"listed": True},
        }
        assert read_instant(decision["decidedAt"]) == found.explanation.at <= row["at"]
        assert read_instant(decision["leavesBy"]) > found.explanation.at
        # one number is the contact's own: no row but its attempts' says which
        assert PERSON not in str(decision)

    async def test_a_put_off_with_its_instant_and_the_versions_of_rule_data(self, database, secret_box):
        scene = await made_scene(database, secret_box, calling_hours=CallingHours((), "UTC"))
        found = await scene.refused(ManualAnswer.PUT_OFF, "calling_hours")
        (row,) = await told(scene)
        assert (row["to_state"], row["detail"]["rule"]) == ("put_off", "calling_hours")
        assert read_instant(row["detail"]["until"]) == found.decided_by.until
        assert row["detail"]["versions"] == dict(found.decided_by.versions)
        assert "tzdata" in row["detail"]["versions"]

    async def test_what_is_asked_before_the_gate(self, scene):
        (attempt_id,) = await scene.take((await scene.rows())[-1]["contact_id"])
        await scene.refused(ManualAnswer.PUT_OFF, "contact_state")
        await scene.book(attempt_id, LATER)
        await scene.refused(ManualAnswer.PUT_OFF, "retry_period")
        assert [row["detail"]["rule"] for row in await told(scene)] == ["contact_state", "retry_period"]
        assert (await told(scene))[0]["detail"]["inputs"] == {"state": "claimed", "doneReason": None}

    async def test_one_that_is_in_a_list_and_not_in_the_run(self, scene):
        rows = await scene.fetch(
            """
            INSERT INTO contacts (list_id, phone, dedupe_phone)
            SELECT l.list_id, '+15550100777', '+15550100777' FROM campaign_lists l WHERE l.campaign_id = $1
            RETURNING id
            """,
            scene.run.campaign_id,
        )
        await scene.refused(ManualAnswer.DENIED, "contact_state", "+15550100777")
        (row,) = await told(scene)
        assert (row["contact_id"], row["detail"]["inputs"]["state"]) == (rows[0]["id"], None)

    async def test_what_is_allowed_has_no_decision_of_its_own(self, scene):
        await scene.allowed()
        assert await told(scene) == []

    async def test_a_conflict_decides_nothing(self, listed):
        assert await listed.move(RunState.ACTIVE, RunState.PAUSED)
        with pytest.raises(ConflictError, match="is paused"):
            await listed.ask()
        assert await told(listed) == []


class TestRepeats:
    async def test_the_same_to_the_same_by_the_same_rule_is_written_once_in_a_while(self, listed, monkeypatch):
        for _ in range(3):
            await listed.refused(ManualAnswer.DENIED, "account_dnc")
        assert len(await told(listed)) == 1
        # each who asks is told, and so is each contact
        await listed.ask(actor="cs-another")
        assert [row["actor"] for row in await told(listed)] == ["cs-supervisor", "cs-another"]
        monkeypatch.setattr(manual_calls, "REPEATED", timedelta(0))
        await listed.ask()
        assert len(await told(listed)) == 3

    async def test_another_rule_or_another_contact_is_another_refusal(self, listed):
        await listed.refused(ManualAnswer.DENIED, "account_dnc")
        await dnc.add_numbers(
            listed.database, account_id=listed.stage.owner.account_id, phones=[NUMBERS[0]], actor="test"
        )
        await listed.refused(ManualAnswer.DENIED, "account_dnc", NUMBERS[0])
        await listed.claim()
        await listed.refused(ManualAnswer.DENIED, "contact_state")
        rules = [(row["contact_id"], row["detail"]["rule"]) for row in await told(listed)]
        contacts = [row["contact_id"] for row in await listed.rows()]
        assert rules == [
            (contacts[-1], "account_dnc"),
            (contacts[0], "account_dnc"),
            (contacts[-1], "contact_state"),
        ]


class TestMeanwhile:
    async def test_a_contact_that_changes_between_look_and_row_is_looked_at_again(self, listed, monkeypatch):
        contact_id = (await listed.rows())[-1]["contact_id"]
        writes = store.refused
        tries = []

        async def and_it_changes(connection, seen, **more):
            tries.append(more["decision"]["rule"])
            if len(tries) == 1:
                await connection.execute("DELETE FROM dnc_entries")
                await connection.execute(
                    "UPDATE run_contacts SET state = 'waiting', not_before = now() + interval '1 hour' "
                    "WHERE contact_id = $1",
                    contact_id,
                )
            return await writes(connection, seen, **more)

        monkeypatch.setattr(store, "refused", and_it_changes)
        found = await listed.ask()
        assert (found.answer, tries) == (ManualAnswer.PUT_OFF, ["account_dnc", "retry_period"])
        assert [row["detail"]["rule"] for row in await told(listed)] == ["retry_period"]

    async def test_one_that_keeps_changing_is_told_and_not_written(self, listed, monkeypatch):
        writes = store.refused

        async def and_it_changes(connection, seen, **more):
            await connection.execute("UPDATE run_contacts SET updated_at = clock_timestamp()")
            return await writes(connection, seen, **more)

        monkeypatch.setattr(store, "refused", and_it_changes)
        with pytest.raises(ConflictError, match="keeps changing"):
            await listed.ask()
        assert await told(listed) == []

    async def test_what_is_refused_while_the_run_is_held_is_written_too(self, scene):
        """It was allowed at the first look, and is not when the run is had."""
        async with scene.database.transaction() as connection:
            await runs_store.lock_run(connection, scene.run.id)
            asking = asyncio.create_task(scene.ask())

            async def is_waiting() -> bool:
                return await waits_for_a_lock(scene.database)

            await until(is_waiting)
            await connection.execute(
                "UPDATE run_contacts SET state = 'waiting', not_before = now() + interval '1 hour' WHERE phone = $1",
                PERSON,
            )
        assert (await asking).decided_by.code == "retry_period"
        (row,) = await told(scene)
        assert row["detail"]["rule"] == "retry_period"
        assert await scene.asked() == {}

    async def test_it_waits_for_whoever_writes_the_contact_and_is_not_written_beside_them(self, listed):
        """A reservation that has the contact's row and is not committed yet has no place in what was decided."""
        asking = None
        async with listed.database.transaction() as connection:
            await connection.execute(
                "UPDATE run_contacts SET state = 'waiting', not_before = now() + interval '1 hour' WHERE phone = $1",
                PERSON,
            )
            asking = asyncio.create_task(listed.ask())

            async def is_waiting() -> bool:
                (found,) = await listed.fetch(
                    "SELECT count(*) AS count FROM pg_stat_activity WHERE datname = current_database() "
                    "AND wait_event_type = 'Lock' AND query LIKE '%in_run%'"
                )
                return found["count"] == 1

            await until(is_waiting)
        found = await asking
        (row,) = await told(listed)
        assert found.decided_by.code == row["detail"]["rule"] == "account_dnc"
        # decided anew, by a look after the change
        (moved,) = await listed.fetch("SELECT xmin::text FROM run_contacts WHERE phone = $1", PERSON)
        async with listed.database.snapshot() as connection:
            seen = await store.seen(connection, listed.run.id, found.contact_id, phone=PERSON)
        assert seen.version == moved["xmin"]
        assert found.explanation.steps[3].inputs["state"] == "waiting"


class TestWhoReads:
    async def test_an_explanation_tells_it_and_says_what_it_said_before(self, listed):
        async def explained():
            found = await explanations.explain_in_run(
                listed.database, iid=listed.stage.owner.iid, instance_id=listed.run.instance_id, contact=PERSON
            )
            return explained_document(found)

        async def waterfall():
            found = waterfall_document("", await explanations.waterfall_of(listed.database, listed.run))
            return {name: value for name, value in found.items() if name != "at"}

        before, fallen = await explained(), await waterfall()
        await listed.ask()
        after = await explained()
        (step,) = after["past"]
        assert (step["action"], step["to"], step["by"]) == ("manual_call", "denied", "cs-supervisor")
        assert step["decision"]["rule"] == "account_dnc"
        assert "manual_call denied, by cs-supervisor, account_dnc: The number is on" in explained_text(after)
        changing = {"now", "at", "past", "steps"}
        assert {name: value for name, value in after.items() if name not in changing} == {
            name: value for name, value in before.items() if name not in changing
        }
        assert await waterfall() == fallen

    async def test_whoever_was_promised_a_call_keeps_it(self, scene):
        """A refusal ends no wish that was allowed before."""
        await scene.allowed()
        asked = await scene.asked()
        await dnc.add_numbers(scene.database, account_id=scene.stage.owner.account_id, phones=[PERSON], actor="test")
        contact_id = (await scene.rows())[-1]["contact_id"]
        await scene.refused(ManualAnswer.DENIED, "account_dnc", dialing_list_id(scene.run.instance_id, contact_id))
        assert await scene.asked() == asked
