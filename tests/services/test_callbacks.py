"""Call-backs: promised under the run's lock, kept by one attempt more, dropped by a stop, lost by nothing else."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dialing import phones, set_stage, with_rules
from outdial.core.callback import CallbackRefusal
from outdial.core.errors import ConflictError, NotFoundError
from outdial.core.ids import dialing_list_id
from outdial.core.model import AttemptState, Disposition, DoneReason, EngineKind, RunContactState, RunState
from outdial.services import dnc, runs
from outdial.services.callbacks import CallbackWish, call_contacts_at
from outdial.store import attempts, engines, nodes, reserve, stops
from outdial.store import runs as runs_store
from outdial.store.attempts import AttemptNews, ContactNews
from outdial.store.nodes import NodeRow
from outdial.store.reserve import Reservation, Verdict
from runs import waits_for_a_lock
from waiting import until

SOON = timedelta(seconds=0.3)


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, phones(6), rules=with_rules(max_attempts=1))


@pytest.fixture
async def run(stage):
    return (
        await runs.start(
            stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
        )
    ).run


@pytest.fixture
async def node(database, secret_box) -> str:
    async with database.connection() as connection:
        await engines.put(
            connection, secret_box, engine_id="e1", kind=EngineKind.SIMULATED, url=None, username=None, password=None
        )
        await nodes.register(connection, NodeRow("n1", "n1", "h", 1, "app", "e1"), ttl_seconds=60)
    return "n1"


async def ask(stage, run, *wishes) -> list[CallbackRefusal | None]:
    """Each wish: contact id (or text) and what the instant is from now."""
    made = [
        CallbackWish(who if isinstance(who, str) else dialing_list_id(run.instance_id, who), datetime.now(UTC) + ahead)
        for who, ahead in wishes
    ]
    answers = await call_contacts_at(
        stage.database, iid=stage.owner.iid, instance_id=run.instance_id, wishes=made, actor="agent"
    )
    assert [answer.wish for answer in answers] == made
    return [answer.refusal for answer in answers]


async def due(stage, run, limit=20):
    async with stage.database.connection() as connection:
        return await reserve.candidates(connection, run, limit)


async def take(stage, run, node, *contact_ids) -> list[str]:
    wanted = [(contact_id, uuid.uuid4().hex) for contact_id in contact_ids]
    async with stage.database.connection() as connection:
        verdict, made = await reserve.reserve(connection, run, node, Reservation((), (), wanted, (), 10, 10, None))
    assert verdict is Verdict.RESERVED
    return [attempt_id for _, attempt_id in wanted if attempt_id in made]


async def book(stage, attempt_id, contact, disposition=Disposition.ANSWERED_HUMAN) -> None:
    news = AttemptNews(
        id=attempt_id,
        state=AttemptState.ENDED,
        by="n1",
        disposition=disposition,
        dialed_at=None if contact.uncounted else datetime.now(UTC),
        ended_at=datetime.now(UTC),
        contact=contact,
    )
    async with stage.database.connection() as connection:
        assert await attempts.book(connection, [news]) == {attempt_id}


REACHED = ContactNews(RunContactState.DONE, done_reason=DoneReason.REACHED)
PUT_BACK = ContactNews(RunContactState.PENDING, uncounted=True)


async def row(stage, run, contact_id):
    async with stage.database.connection() as connection:
        return await connection.fetchrow(
            "SELECT state, done_reason, not_before, callback_at, attempts_count FROM run_contacts "
            "WHERE run_id = $1 AND contact_id = $2",
            run.id,
            contact_id,
        )


class TestAsking:
    async def test_each_is_answered_by_itself(self, stage, run):
        first, second, third = [one.contact_id for one in await due(stage, run, 3)]
        await dnc.add_numbers(
            stage.database, account_id=stage.owner.account_id, phones=[(await due(stage, run))[2].phone], actor="test"
        )
        stranger = dialing_list_id("cid-1111111-2222-4333-8444-555555555555", second)
        hour = timedelta(hours=1)
        assert await ask(
            stage,
            run,
            (first, hour),
            (second, -hour),
            (third, hour),
            (second, timedelta(days=400)),
            ("cdl-nobody", hour),
            (stranger, hour),
            (10**9, hour),
        ) == [
            None,
            CallbackRefusal.TIME_IN_PAST,
            CallbackRefusal.DNC,
            CallbackRefusal.TIME_TOO_FAR,
            CallbackRefusal.CONTACT_NOT_FOUND,
            CallbackRefusal.CONTACT_NOT_FOUND,
            CallbackRefusal.CONTACT_NOT_FOUND,
        ]
        assert (await row(stage, run, first))["state"] == "waiting"
        for untouched in (second, third):
            assert dict(await row(stage, run, untouched))["callback_at"] is None

    async def test_who_asks_is_not_dialed_before(self, stage, run):
        contact_id = (await due(stage, run))[0].contact_id
        assert await ask(stage, run, (contact_id, timedelta(hours=1))) == [None]
        assert contact_id not in [one.contact_id for one in await due(stage, run)]

    async def test_a_later_wish_replaces_an_earlier_one(self, stage, run):
        contact_id = (await due(stage, run))[0].contact_id
        assert await ask(stage, run, (contact_id, timedelta(hours=1)), (contact_id, timedelta(hours=2))) == [None, None]
        found = await row(stage, run, contact_id)
        assert found["callback_at"] == found["not_before"]
        assert found["callback_at"] - datetime.now(UTC) > timedelta(hours=1, minutes=59)

    async def test_only_of_a_live_run_of_the_application(self, stage, run, secret_box):
        contact_id = (await due(stage, run))[0].contact_id
        other = await set_stage(stage.database, secret_box, phones(1, area=556), account="Other")
        with pytest.raises(NotFoundError):
            await ask(other, run, (contact_id, timedelta(hours=1)))
        with pytest.raises(NotFoundError):
            await ask(stage, replace(run, instance_id="cid-1"), (contact_id, timedelta(hours=1)))
        async with stage.database.transaction() as connection:
            await runs_store.move_run(
                connection, run.id, before=RunState.ACTIVE, epoch=1, after=RunState.STOPPING, actor="t", reason=""
            )
        with pytest.raises(ConflictError, match="is stopping"):
            await ask(stage, run, (contact_id, timedelta(hours=1)))

    async def test_a_paused_run_takes_wishes(self, stage, run):
        contact_id = (await due(stage, run))[0].contact_id
        async with stage.database.transaction() as connection:
            await runs_store.move_run(
                connection, run.id, before=RunState.ACTIVE, epoch=1, after=RunState.PAUSED, actor="t", reason=""
            )
        assert await ask(stage, run, (contact_id, timedelta(hours=1))) == [None]

    async def test_who_asked_is_written_down(self, stage, run):
        contact_id = (await due(stage, run))[0].contact_id
        await ask(stage, run, (contact_id, timedelta(hours=1)))
        async with stage.database.connection() as connection:
            (found,) = await connection.fetch("SELECT * FROM history WHERE action = 'callback'")
        assert (found["actor"], found["contact_id"], found["account_id"]) == (
            "agent",
            contact_id,
            stage.owner.account_id,
        )
        assert datetime.fromisoformat(found["detail"]["at"]) == (await row(stage, run, contact_id))["callback_at"]


class TestKeeping:
    async def test_it_comes_before_first_tries_and_is_one_attempt_more(self, stage, run, node):
        last = (await due(stage, run))[-1].contact_id
        (attempt_id,) = await take(stage, run, node, last)
        await book(stage, attempt_id, REACHED)
        assert (await row(stage, run, last))["state"] == "done"
        assert await ask(stage, run, (last, SOON)) == [None]

        async def is_due() -> bool:
            return (await due(stage, run))[0].contact_id == last

        await until(is_due)
        found = (await due(stage, run))[0]
        assert (found.is_callback, found.attempts_count) == (True, 1)
        (second,) = await take(stage, run, node, last)
        after = await row(stage, run, last)
        assert (after["state"], after["callback_at"], after["attempts_count"]) == ("claimed", None, 2)
        async with stage.database.connection() as connection:
            assert await connection.fetchval("SELECT callback_at FROM attempts WHERE id = $1", second) is not None
        await book(stage, second, REACHED)
        assert tuple(await row(stage, run, last))[:2] == ("done", "reached")

    @pytest.mark.parametrize(
        "contact",
        [REACHED, ContactNews(RunContactState.WAITING, after_seconds=60.0), PUT_BACK],
        ids=["reached", "retry", "put back"],
    )
    async def test_asked_for_during_the_call_it_comes_instead_of_what_would(self, stage, run, node, contact):
        contact_id = (await due(stage, run))[0].contact_id
        (attempt_id,) = await take(stage, run, node, contact_id)
        assert await ask(stage, run, (contact_id, timedelta(hours=1))) == [None]
        found = await row(stage, run, contact_id)
        assert (found["state"], found["not_before"]) == ("claimed", None)
        progress = AttemptNews(attempt_id, AttemptState.RINGING, by="n1", contact=ContactNews(RunContactState.DIALING))
        async with stage.database.connection() as connection:
            await attempts.book(connection, [progress])
        promised = (await row(stage, run, contact_id))["callback_at"]
        assert promised is not None
        await book(stage, attempt_id, contact)
        found = await row(stage, run, contact_id)
        assert (found["state"], found["not_before"], found["callback_at"]) == ("waiting", promised, promised)

    async def test_an_attempt_of_which_nothing_was_sent_has_not_kept_it(self, stage, run, node):
        contact_id = (await due(stage, run))[0].contact_id
        await ask(stage, run, (contact_id, SOON))

        async def taken() -> list[str]:
            return await take(stage, run, node, contact_id)

        found: list[str] = []

        async def is_taken() -> bool:
            found.extend(await taken())
            return bool(found)

        await until(is_taken)
        await book(stage, found[0], PUT_BACK, Disposition.CANCELLED)
        again = await row(stage, run, contact_id)
        assert (again["state"], again["attempts_count"]) == ("waiting", 0)
        assert again["callback_at"] == again["not_before"]
        assert [one.contact_id for one in await due(stage, run) if one.is_callback] == [contact_id]

    async def test_a_number_listed_meanwhile_is_not_called(self, stage, run, node):
        contact_id = (await due(stage, run))[0].contact_id
        await ask(stage, run, (contact_id, timedelta(hours=1)))
        async with stage.database.connection() as connection:
            verdict, _ = await reserve.reserve(
                connection, run, node, Reservation([(contact_id, DoneReason.DNC)], (), (), (), 10, 10, None)
            )
        assert verdict is Verdict.RESERVED
        found = await row(stage, run, contact_id)
        assert (found["state"], found["done_reason"], found["callback_at"]) == ("done", "dnc", None)

    async def test_a_wish_for_later_outlives_a_look_that_did_not_see_it(self, stage, run, node):
        """Seen outside calling hours, put off until they open; asked meanwhile to be called later than that."""
        contact_id = (await due(stage, run))[0].contact_id
        opens = datetime.now(UTC) + timedelta(hours=1)
        assert await ask(stage, run, (contact_id, timedelta(hours=5))) == [None]
        async with stage.database.connection() as connection:
            verdict, _ = await reserve.reserve(
                connection, run, node, Reservation((), [(contact_id, opens)], (), (), 10, 10, None)
            )
        assert verdict is Verdict.RESERVED
        found = await row(stage, run, contact_id)
        assert found["callback_at"] > opens
        assert found["not_before"] == found["callback_at"]

    async def test_a_wish_waits_for_bookings_under_way(self, stage, run, node):
        """A booking that does not see the wish would write over it."""
        contact_id = (await due(stage, run))[0].contact_id
        async with stage.database.transaction() as booking:
            await runs_store.share_run(booking, run.id)
            asked = asyncio.create_task(ask(stage, run, (contact_id, timedelta(hours=1))))
            await until(lambda: waits_for_a_lock(stage.database))
            assert not asked.done()
        assert await asked == [None]


class TestStops:
    async def test_a_stop_drops_them(self, stage, run, node):
        first, second, third = [one.contact_id for one in await due(stage, run, 3)]
        (attempt_id,) = await take(stage, run, node, first)
        await book(stage, attempt_id, REACHED)
        (talking,) = await take(stage, run, node, third)
        assert await ask(stage, run, *((who, timedelta(hours=1)) for who in (first, second, third))) == [None] * 3
        async with stage.database.transaction() as connection:
            await runs_store.move_run(
                connection, run.id, before=RunState.ACTIVE, epoch=1, after=RunState.STOPPING, actor="t", reason=""
            )
        async with stage.database.connection() as connection:
            assert await stops.drop_retries(connection, run.id, limit=10, actor="t") == 2
        await book(stage, talking, REACHED)
        found = [tuple(await row(stage, run, who)) for who in (first, second, third)]
        assert found == [
            ("done", "retry_cancelled", None, None, 1),
            ("pending", None, None, None, 0),
            ("done", "reached", None, None, 1),
        ]
