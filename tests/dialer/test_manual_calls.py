"""Calls by hand: first in the queue and through the same gate, one call however often asked, none after a stop."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dialing import dialing, phones, set_stage, with_rules
from outdial.core.errors import ConflictError, NotFoundError
from outdial.core.ids import dialing_list_id
from outdial.core.manual_call import ManualAnswer
from outdial.core.model import (
    AttemptState,
    CallingHours,
    Disposition,
    DoneReason,
    EngineKind,
    RunContactState,
    RunState,
)
from outdial.dialer.claim import claim
from outdial.services import dnc, manual_calls, runs
from outdial.services.callbacks import CallbackWish, call_contacts_at
from outdial.services.engines import Engines
from outdial.services.stop import stop
from outdial.store import attempts, nodes, reserve
from outdial.store import engines as engines_store
from outdial.store import runs as runs_store
from outdial.store import wide_stops as wide_stops_store
from outdial.store.attempts import AttemptNews, ContactNews
from outdial.store.nodes import NodeRow
from outdial.store.reserve import Reservation, Verdict
from runs import waits_for_a_lock
from waiting import until

NODE = "n1"
NUMBERS = phones(6)
REACHED = ContactNews(RunContactState.DONE, done_reason=DoneReason.REACHED)
RETRY = ContactNews(RunContactState.WAITING, after_seconds=0.0)
LATER = ContactNews(RunContactState.WAITING, after_seconds=3600.0)
PUT_BACK = ContactNews(RunContactState.PENDING, uncounted=True)


class Scene:
    """A run, and who may claim its contacts."""

    def __init__(self, stage, run):
        self.stage, self.run, self.database = stage, run, stage.database

    async def ask(self, contact=NUMBERS[-1], *, actor="cs-supervisor"):
        return await manual_calls.call_now(
            self.database, iid=self.stage.owner.iid, instance_id=self.run.instance_id, contact=contact, actor=actor
        )

    async def allowed(self, contact=NUMBERS[-1], **more):
        found = await self.ask(contact, **more)
        assert (found.answer, found.decided_by) == (ManualAnswer.ALLOWED, None), found
        return found

    async def refused(self, answer, code, contact=NUMBERS[-1]):
        """Check that the answer is that, by that, and that nothing was changed."""
        before = await self.rows()
        found = await self.ask(contact)
        assert (found.answer, found.decided_by.code, found.ahead_count) == (answer, code, None), found
        assert await self.rows() == before
        return found

    async def rows(self):
        return await self.fetch("SELECT * FROM run_contacts WHERE run_id = $1 ORDER BY contact_id", self.run.id)

    async def due(self):
        async with self.database.connection() as connection:
            facts = await reserve.facts(connection, self.run)
            found = await reserve.candidates(connection, self.run, 20, facts.limits, facts.asked)
            return [one.phone for one in found]

    async def take(self, *contact_ids):
        wanted = [(contact_id, uuid.uuid4().hex) for contact_id in contact_ids]
        async with self.database.connection() as connection:
            verdict, made = await reserve.reserve(
                connection, self.run, NODE, Reservation((), (), wanted, (), 10, 10, None)
            )
        assert verdict is Verdict.RESERVED
        return [attempt_id for _, attempt_id in wanted if attempt_id in made]

    async def claim(self, **trunk):
        for _ in range(5):
            found = await claim(
                self.database, self.run, replace(self.stage.trunk, **trunk), NODE, many=True, asked=set()
            )
            # a rate's row is made at its first use, by nobody who has seen it
            if found.verdict is not Verdict.CONFLICT:
                break
        return found

    async def book(self, attempt_id, contact, disposition=Disposition.NO_ANSWER):
        news = AttemptNews(
            id=attempt_id,
            state=AttemptState.ENDED,
            by=NODE,
            disposition=disposition,
            dialed_at=None if contact.uncounted else datetime.now(UTC),
            ended_at=datetime.now(UTC),
            contact=contact,
        )
        async with self.database.connection() as connection:
            assert await attempts.book(connection, [news]) == {attempt_id}

    async def fetch(self, statement, *values):
        async with self.database.connection() as connection:
            return [dict(row) for row in await connection.fetch(statement, *values)]

    async def move(self, before, after, epoch=1):
        async with self.database.transaction() as connection:
            return await runs_store.move_run(
                connection, self.run.id, before=before, epoch=epoch, after=after, actor="t", reason=""
            )

    async def asked(self):
        """Who is asked for now, by number, and who asked."""
        rows = await self.rows()
        return {row["phone"]: row["asked_by"] for row in rows if row["asked_at"] is not None}


async def made_scene(database, secret_box, **rules):
    stage = await set_stage(database, secret_box, NUMBERS, rules=with_rules(**rules))
    async with database.connection() as connection:
        await engines_store.put(
            connection, secret_box, engine_id="e1", kind=EngineKind.SIMULATED, url=None, username=None, password=None
        )
        await nodes.register(connection, NodeRow(NODE, NODE, "h", 1, "app-n1", "e1"), ttl_seconds=600)
    begun = await runs.start(
        stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
    )
    return Scene(stage, begun.run)


@pytest.fixture
async def scene(database, secret_box):
    return await made_scene(database, secret_box)


class TestOrder:
    async def test_it_comes_before_call_backs_and_all_others_in_the_order_of_asking(self, scene):
        called_back = (await scene.rows())[3]["contact_id"]
        wish = CallbackWish(
            dialing_list_id(scene.run.instance_id, called_back), datetime.now(UTC) + timedelta(seconds=0.3)
        )
        (answer,) = await call_contacts_at(
            scene.database, iid=scene.stage.owner.iid, instance_id=scene.run.instance_id, wishes=[wish], actor="agent"
        )
        assert answer.refusal is None
        assert (await scene.allowed(NUMBERS[5])).ahead_count == 0

        async def is_due() -> bool:
            return NUMBERS[3] in await scene.due()

        await until(is_due)
        assert (await scene.allowed(NUMBERS[4])).ahead_count == 1
        assert await scene.due() == [NUMBERS[place] for place in (5, 4, 3, 0, 1, 2)]

    async def test_a_retry_that_is_due_too(self, scene):
        row = (await scene.rows())[-1]
        (attempt_id,) = await scene.take(row["contact_id"])
        await scene.book(attempt_id, RETRY)
        assert (await scene.due())[-1] == NUMBERS[-1]
        await scene.allowed(dialing_list_id(scene.run.instance_id, row["contact_id"]))
        assert await scene.due() == [NUMBERS[-1], *NUMBERS[:-1]]

    async def test_the_next_claim_takes_it(self, scene):
        await scene.allowed()
        found = await scene.claim(max_channels=1)
        assert [place.candidate.phone for place in found.places] == [NUMBERS[-1]]

    async def test_whoever_has_asked_to_be_called_later_is_not_brought_forward(self, scene):
        contact_id = (await scene.rows())[0]["contact_id"]
        wish = CallbackWish(dialing_list_id(scene.run.instance_id, contact_id), datetime.now(UTC) + timedelta(hours=1))
        (answer,) = await call_contacts_at(
            scene.database, iid=scene.stage.owner.iid, instance_id=scene.run.instance_id, wishes=[wish], actor="agent"
        )
        assert answer.refusal is None
        found = await scene.refused(ManualAnswer.PUT_OFF, "retry_period", NUMBERS[0])
        assert found.decided_by.until == answer.wish.at


class TestOneCall:
    async def test_however_often_it_is_asked_for(self, scene):
        await scene.allowed()
        await scene.allowed(actor="cs-another")
        assert await scene.asked() == {NUMBERS[-1]: "cs-supervisor"}
        contact_id = (await scene.rows())[-1]["contact_id"]
        (attempt_id,) = await scene.take(contact_id)
        found = await scene.refused(ManualAnswer.PUT_OFF, "contact_state")
        assert "It is being called" in found.decided_by.sentence
        await scene.book(attempt_id, LATER)
        assert await scene.asked() == {}
        await scene.refused(ManualAnswer.PUT_OFF, "retry_period")
        assert len(await scene.fetch("SELECT FROM attempts")) == 1
        # the wish is over with its call: the retry has the place of any other
        async with scene.database.connection() as connection:
            await connection.execute("UPDATE run_contacts SET not_before = now() WHERE state = 'waiting'")
        assert (await scene.due())[-1] == NUMBERS[-1]

    async def test_by_many_at_once(self, scene):
        found = await asyncio.gather(*(scene.ask(actor=f"cs-{place}") for place in range(5)))
        assert {one.answer for one in found} == {ManualAnswer.ALLOWED}
        first = await scene.claim()
        rows = await scene.fetch("SELECT phone, count(*) AS count FROM attempts GROUP BY phone")
        assert (first.verdict, {row["count"] for row in rows}) == (Verdict.RESERVED, {1})

    async def test_asked_for_as_it_is_claimed(self, scene):
        (answer, *_), claimed = await asyncio.gather(
            asyncio.gather(*(scene.ask(NUMBERS[0]) for _ in range(3))), scene.claim(max_channels=1)
        )
        assert answer.answer in {ManualAnswer.ALLOWED, ManualAnswer.PUT_OFF}
        first = [place.candidate.phone for place in claimed.places]
        assert first == [NUMBERS[0]], "it is the first of the list too"
        assert len(await scene.fetch("SELECT FROM attempts")) == 1

    async def test_one_of_which_nothing_was_sent_comes_first_again(self, scene):
        await scene.allowed()
        (attempt_id,) = await scene.take((await scene.rows())[-1]["contact_id"])
        await scene.book(attempt_id, PUT_BACK, Disposition.CANCELLED)
        assert await scene.asked() == {NUMBERS[-1]: "cs-supervisor"}
        assert (await scene.due())[0] == NUMBERS[-1]

    async def test_who_asked_is_written_down(self, scene):
        await scene.allowed()
        (row,) = await scene.fetch("SELECT * FROM history WHERE action = 'manual_call'")
        contact = (await scene.rows())[-1]
        assert (row["actor"], row["contact_id"], row["account_id"], row["to_state"]) == (
            "cs-supervisor",
            contact["contact_id"],
            scene.stage.owner.account_id,
            "pending",
        )
        assert datetime.fromisoformat(row["detail"]["at"]) == contact["asked_at"]


class TestGate:
    async def test_a_listed_number_is_denied(self, scene):
        await dnc.add_numbers(
            scene.database, account_id=scene.stage.owner.account_id, phones=[NUMBERS[-1]], actor="test"
        )
        found = await scene.refused(ManualAnswer.DENIED, "account_dnc")
        assert found.explanation.next_at is None

    async def test_one_that_is_listed_after_the_answer_is_denied_by_the_claim(self, scene):
        await scene.allowed()
        await dnc.add_numbers(
            scene.database, account_id=scene.stage.owner.account_id, phones=[NUMBERS[-1]], actor="test"
        )
        await scene.claim()
        contact = (await scene.rows())[-1]
        assert (contact["done_reason"], contact["asked_at"]) == ("dnc", None)
        assert await scene.fetch("SELECT FROM attempts WHERE phone = $1", NUMBERS[-1]) == []

    async def test_one_that_is_listed_between_look_and_reservation_is_not_dialed(self, scene):
        await scene.allowed()
        contact_id = (await scene.rows())[-1]["contact_id"]
        await dnc.add_numbers(
            scene.database, account_id=scene.stage.owner.account_id, phones=[NUMBERS[-1]], actor="test"
        )
        assert await scene.take(contact_id) == []

    async def test_a_number_that_is_stopped_is_asked_for_no_more(self, scene):
        await scene.allowed()
        async with scene.database.connection() as connection:
            assert await wide_stops_store.remove_number(
                connection, scene.stage.owner.account_id, NUMBERS[-1], actor="test"
            )
        assert await scene.asked() == {}
        await scene.refused(ManualAnswer.DENIED, "contact_state")

    async def test_calling_hours_put_off_with_their_instant(self, database, secret_box):
        scene = await made_scene(database, secret_box, calling_hours=CallingHours((), "UTC"))
        await scene.refused(ManualAnswer.PUT_OFF, "calling_hours")

    async def test_who_is_put_off_by_the_claim_is_asked_for_no_more(self, scene):
        await scene.allowed()
        contact_id, at = (await scene.rows())[-1]["contact_id"], datetime.now(UTC) + timedelta(hours=1)
        async with scene.database.connection() as connection:
            await reserve.reserve(
                connection, scene.run, NODE, Reservation((), [(contact_id, at)], (), (), 10, 10, None)
            )
        assert await scene.asked() == {}
        found = await scene.refused(ManualAnswer.PUT_OFF, "retry_period")
        assert found.decided_by.until == found.explanation.next_at == at

    async def test_who_is_done_is_not_called_again(self, scene):
        (attempt_id,) = await scene.take((await scene.rows())[-1]["contact_id"])
        await scene.book(attempt_id, REACHED, Disposition.ANSWERED_HUMAN)
        found = await scene.refused(ManualAnswer.DENIED, "contact_state")
        assert "it was reached" in found.decided_by.sentence

    async def test_all_attempts_used(self, database, secret_box):
        scene = await made_scene(database, secret_box, max_attempts=1)
        (attempt_id,) = await scene.take((await scene.rows())[-1]["contact_id"])
        await scene.book(attempt_id, RETRY)
        await scene.refused(ManualAnswer.DENIED, "contact_attempts")

    async def test_no_line_free_is_no_refusal(self, scene):
        async with scene.database.connection() as connection:
            await connection.execute("UPDATE nodes SET engine_up = false")
        found = await scene.allowed()
        assert found.explanation.decided_by == "dialer_nodes"


class TestRun:
    async def test_only_an_active_one_of_the_application(self, scene, secret_box):
        other = await set_stage(scene.database, secret_box, phones(1, area=556), account="Other")
        with pytest.raises(NotFoundError):
            await Scene(other, scene.run).ask()
        with pytest.raises(NotFoundError):
            await scene.ask("+15550199999")
        assert await scene.move(RunState.ACTIVE, RunState.PAUSED)
        with pytest.raises(ConflictError, match="is paused"):
            await scene.ask()
        assert await scene.asked() == {}

    async def test_a_pause_lets_nothing_through_nor_does_a_stop(self, scene):
        await scene.allowed()
        assert await scene.move(RunState.ACTIVE, RunState.PAUSED)
        paused = await scene.claim()
        assert (paused.verdict, paused.places) == (Verdict.MOVED_ON, ())
        engines = Engines(scene.database, scene.stage.secrets, ttl_seconds=1.0)
        try:
            await stop(
                scene.database, engines, iid=scene.stage.owner.iid, campaign_id=scene.stage.campaign_id, actor="t"
            )
        finally:
            await engines.close()
        with pytest.raises(ConflictError, match="is stopped"):
            await scene.ask()
        after = await scene.claim()
        assert (after.verdict, after.places) == (Verdict.MOVED_ON, ())
        assert await scene.fetch("SELECT FROM attempts") == []

    async def test_asking_waits_for_a_stop_under_way_and_finds_it(self, scene):
        async with scene.database.transaction() as connection:
            await runs_store.lock_run(connection, scene.run.id)
            asking = asyncio.create_task(scene.ask())

            async def is_waiting() -> bool:
                return await waits_for_a_lock(scene.database)

            await until(is_waiting)
            await runs_store.move_run(
                connection,
                scene.run.id,
                before=RunState.ACTIVE,
                epoch=1,
                after=RunState.STOPPING,
                actor="t",
                reason="",
            )
        with pytest.raises(ConflictError, match="is stopping"):
            await asking
        assert await scene.asked() == {}


async def test_over_the_simulated_engine_it_is_called_first_and_once(scene, engine, tmp_path):
    async with scene.database.connection() as connection:
        await connection.execute("UPDATE trunks SET max_channels = 1")
    await scene.allowed()
    async with dialing(scene.stage, engine, tmp_path):

        async def is_over() -> bool:
            return all(row["state"] == "done" for row in await scene.rows())

        await until(is_over)
    rows = await scene.fetch("SELECT phone, number FROM attempts ORDER BY dialed_at")
    assert [row["phone"] for row in rows] == [NUMBERS[-1], *NUMBERS[:-1]]
    assert {row["number"] for row in rows} == {1}
