"""Persons with several numbers against PostgreSQL: who asks not to be called, and who is erased, by one of them."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dialing import add_campaign, with_rules
from outdial.core import ids
from outdial.core.attempt_limits import Counted, LimitRule
from outdial.core.callback import CallbackRefusal
from outdial.core.flow import OptOutScope
from outdial.core.model import DncSource, DoneReason
from outdial.dialer.opt_outs import OptOuts
from outdial.services import attempt_limits, dnc, erasures, runs
from outdial.services import callbacks as callback_services
from outdial.services.callbacks import CallbackWish
from outdial.services.engines import Engines
from outdial.store import dnc as dnc_store
from outdial.store import erasures as erasures_store
from outdial.store import run_contacts, wide_stops
from outdial.store.attempts import ContactNews
from outdial.store.reserve import Verdict
from several_numbers import AGAIN, ELSEWHERE, OTHER_RULES, STATE, A, B, C, D, second_run

E, F = "+15550100005", "+15550100006"
OF_PERSON = (DncSource.KEY, DncSource.AGENT, DncSource.ERASURE)


@pytest.fixture
async def engines(database, secret_box):
    made = Engines(database, secret_box, ttl_seconds=1.0)
    yield made
    await made.close()


async def put_on_list(scene, phone, source, *, freeze=True):
    """Put a number on the account's list, as somebody does who then goes on."""
    account_id = scene.stage.owner.account_id
    async with scene.database.transaction() as connection:
        if freeze:
            await dnc_store.freeze(connection, account_id)
        list_id = await dnc_store.account_list(connection, account_id, new_id=f"dl-{uuid.uuid4()}")
        await dnc_store.add(connection, list_id, [phone], reason="", actor="test", source=source)


async def rows_of(scene):
    found = await scene.fetch("SELECT phone, phones, state, done_reason FROM run_contacts ORDER BY run_id, contact_id")
    return [(row["phone"], row["phones"], row["state"], row["done_reason"]) for row in found]


async def asks_not_to_be_called(scene, engines, folder, attempt_id, scope=OptOutScope.ACCOUNT):
    asked = OptOuts(scene.database, engines, folder)
    task = asyncio.create_task(asked.run())
    asked.put(attempt_id, scope)
    await asked.flush()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


class TestKey:
    async def test_all_numbers_are_listed_at_once_and_nobody_turns_to_any(self, scene_of, engines, tmp_path):
        """Listed one after the other, who is called at the first in another campaign would be called at the next."""
        scene = await scene_of((A, B, C))
        await second_run(scene, (B, C, A), (D, A), (E, F))
        ((attempt_id, _),) = (await scene.call()).items()
        await scene.book(attempt_id, AGAIN)
        await asks_not_to_be_called(scene, engines, tmp_path / "opt-outs", attempt_id)
        listed = await scene.fetch("SELECT phone, xmin::text AS made_by, of_person FROM dnc_entries ORDER BY phone")
        assert [(row["phone"], row["of_person"]) for row in listed] == [(A, True), (B, True), (C, True)]
        assert len({row["made_by"] for row in listed}) == 1, "in more than one transaction"
        stops = await scene.fetch("SELECT value, proven_at IS NOT NULL AS proven FROM wide_stops ORDER BY value")
        assert [tuple(row.values()) for row in stops] == [(A, True), (B, True), (C, True)]
        assert await rows_of(scene) == [
            (A, [A, B, C], "done", "dnc"),
            (B, [B, C, A], "done", "dnc"),
            # whoever shares one of them may be the same person
            (D, [D, A], "done", "dnc"),
            (E, [E, F], "pending", None),
        ]

    async def test_on_a_campaigns_list_too(self, scene_of, engines, tmp_path):
        scene = await scene_of((A, B), D)
        owner = scene.stage.owner
        await dnc.add_numbers(
            *(scene.database,), account_id=owner.account_id, iid=owner.iid, list_name="Spring", phones=[F], actor="test"
        )
        await scene.fetch("UPDATE campaigns SET dnc_list_id = (SELECT id FROM dnc_lists WHERE name = 'Spring')")
        await scene.fetch(
            "UPDATE runs SET dnc_list_ids = dnc_list_ids || (SELECT id FROM dnc_lists WHERE name = 'Spring')"
        )
        made = await scene.call()
        attempt_id = next(one for one, phone in made.items() if phone == A)
        for one in made:
            await scene.book(one, ELSEWHERE)
        await asks_not_to_be_called(scene, engines, tmp_path / "opt-outs", attempt_id, OptOutScope.CAMPAIGN)
        rows = await scene.fetch(
            "SELECT phone, xmin::text AS made_by FROM dnc_entries WHERE source = 'key' ORDER BY phone"
        )
        assert [row["phone"] for row in rows] == [A, B]
        assert len({row["made_by"] for row in rows}) == 1
        assert list((await scene.call()).values()) == [D]

    async def test_an_entry_that_was_there_means_the_person_from_then_on(self, scene_of):
        scene = await scene_of((A, B), (C, D))
        await put_on_list(scene, A, DncSource.OPERATOR)
        assert sorted((await scene.plan()).phones.values()) == [(A, B), (C, C)]
        await put_on_list(scene, A, DncSource.KEY)
        wish = await scene.plan()
        assert [contact_id for contact_id, _ in wish.wanted] == [
            (await scene.fetch("SELECT contact_id FROM run_contacts WHERE phone = $1", C))[0]["contact_id"]
        ]
        # and not any more once somebody has taken it off
        await dnc.remove_numbers(scene.database, account_id=scene.stage.owner.account_id, phones=[A], actor="test")
        await put_on_list(scene, A, DncSource.OPERATOR)
        assert sorted((await scene.plan()).phones.values()) == [(A, B), (C, C)]


@pytest.mark.parametrize("source", OF_PERSON)
class TestMeant:
    """An entry by which the person is meant, from the instant at which it is there."""

    async def test_who_has_turned_to_another_number_is_taken_no_more(self, scene_of, source):
        scene = await scene_of((A, B))
        await scene.called(ELSEWHERE)
        wish = await scene.plan()
        assert list(wish.phones.values()) == [(B, B)]
        await put_on_list(scene, A, source)
        assert await scene.take(wish) == (Verdict.RESERVED, frozenset())
        assert await scene.call() == {}
        ((phone, _, state, reason),) = await rows_of(scene)
        assert (phone, state, reason) == (B, "done", "dnc")

    @pytest.mark.parametrize("before", [None, DncSource.OPERATOR])
    @pytest.mark.parametrize("news", [AGAIN, ELSEWHERE])
    async def test_who_is_called_at_another_number_is_done_after_it(self, scene_of, source, before, news):
        scene = await scene_of((A, B, C))
        await scene.called(ELSEWHERE)
        ((attempt_id, phone),) = (await scene.call()).items()
        assert phone == B
        await scene.ask_callback()
        if before is not None:
            await put_on_list(scene, A, before)
        await put_on_list(scene, A, source)
        await scene.book(attempt_id, news)
        row = await scene.row()
        assert (row["state"], row["done_reason"], row["phone"]) == ("done", "dnc", B)
        assert (row["callback_at"], row["not_before"]) == (None, None)

    async def test_what_was_reached_stays_so(self, scene_of, source):
        scene = await scene_of((A, B))
        ((attempt_id, _),) = (await scene.call()).items()
        await put_on_list(scene, B, source)
        reached = ContactNews(STATE.DONE, done_reason=DoneReason.REACHED)
        await scene.book(attempt_id, reached)
        assert (await scene.row())["done_reason"] == "reached"

    async def test_whoever_is_read_into_a_run_after_it_is_called_at_no_number(self, scene_of, source):
        scene = await scene_of(F)
        await put_on_list(scene, B, source)
        later = await second_run(scene, (A, B), (C, A), (D, B))
        assert list((await scene.call(later)).values()) == [C]
        rows = await scene.fetch("SELECT phone, done_reason FROM run_contacts WHERE state = 'done' ORDER BY contact_id")
        assert [tuple(row.values()) for row in rows] == [(A, "dnc"), (D, "dnc")]

    async def test_no_run_begins_for_them_and_no_call_back_is_promised(self, scene_of, source):
        scene = await scene_of((A, B))
        await put_on_list(scene, B, source)
        async with scene.database.connection() as connection:
            assert await run_contacts.dialable(connection, scene.run) == (1, 0)
        contact = ids.dialing_list_id(scene.run.instance_id, (await scene.row())["contact_id"])
        (answer,) = await callback_services.call_contacts_at(
            scene.database,
            iid=scene.stage.owner.iid,
            instance_id=scene.run.instance_id,
            wishes=[CallbackWish(contact, datetime.now(UTC) + timedelta(hours=1))],
            actor="test",
        )
        assert answer.refusal is CallbackRefusal.DNC

    async def test_live_calls_of_the_person_are_those_to_any_number(self, scene_of, source):
        scene = await scene_of((A, B), (C, D))
        for attempt_id in await scene.call():
            await scene.book(attempt_id, ELSEWHERE)
        made = {phone: attempt_id for attempt_id, phone in (await scene.call()).items()}
        account_id = scene.stage.owner.account_id
        async with scene.database.connection() as connection:
            assert await wide_stops.calls_to(connection, account_id, A) == []
            (call,) = await wide_stops.calls_to(connection, account_id, A, of_person=True)
            (same,) = await wide_stops.calls_to(connection, account_id, B, of_person=True)
            assert await wide_stops.numbers_with(connection, account_id, [A]) == [A, B]
            assert await wide_stops.numbers_with(connection, account_id, [F]) == [F]
        assert call.attempt_id == same.attempt_id == made[B]


class TestErased:
    async def erase(self, scene, engines, folder, phone):
        return await erasures.erase(
            *(scene.database, scene.secrets, engines),
            account_id=scene.stage.owner.account_id,
            phone=phone,
            actor="dora",
            folder=folder,
        )

    async def test_limits_of_other_numbers_count_as_before(self, scene_of, engines, tmp_path):
        """Else whoever shares a number with the person would be called there once more."""
        scene = await scene_of((A, B))
        await attempt_limits.add_limit(
            scene.database,
            LimitRule(2, 3600, Counted.ATTEMPTS),
            account_id=scene.stage.owner.account_id,
            actor="test",
        )
        assert await scene.called(ELSEWHERE) == A
        assert await scene.called(ELSEWHERE) == B
        later = await second_run(scene, (C, B), D, (E, A))
        assert sorted((await scene.call(later)).values()) == sorted([C, D, E])
        for row in await scene.fetch("SELECT id FROM attempts WHERE state = 'reserved'"):
            await scene.book(row["id"], AGAIN)
        done = await self.erase(scene, engines, tmp_path, A)
        assert (done.counts["contacts"], done.counts["attempts"]) == (2, 3)
        rows = await scene.fetch("SELECT phone, screening FROM attempts ORDER BY reserved_at, phone")
        # A of the first, B of the first, then those of the second run; what was said of the erased is gone
        assert sorted(row["phone"] for row in rows) == sorted(["", B, C, D, E])
        assert {row["phone"] for row in rows if row["screening"] is not None} == {C, D}
        wish = await scene.plan(later)
        rows = await scene.fetch("SELECT contact_id FROM run_contacts WHERE run_id = $1 AND phone = $2", later.id, C)
        assert [contact_id for contact_id, _ in wish.deferred] == [rows[0]["contact_id"]]
        # and as it is reserved too
        forced = [(rows[0]["contact_id"], uuid.uuid4().hex)]
        assert await scene.take(replace(wish, deferred=(), wanted=forced), later) == (
            Verdict.RESERVED,
            frozenset(),
        )

    async def test_whoever_is_read_in_while_it_goes_on_is_not_called_and_goes_too(
        self,
        scene_of,
        engines,
        tmp_path,
        monkeypatch,
    ):
        scene = await scene_of(F)
        stops = erasures.wide_stops.stop_number
        seen = []

        async def and_somebody_is_read_in(*asked, **more):
            stopped = await stops(*asked, **more)
            campaign = await add_campaign(
                scene.database,
                scene.stage.owner,
                [(A, B), (C, D)],
                rules=with_rules(max_attempts=9, own=OTHER_RULES),
                list_name="late",
                name="Late",
            )
            begun = await runs.start(
                scene.database, scene.secrets, iid=scene.stage.owner.iid, campaign_id=campaign, actor="test"
            )
            # one that was read in a moment before its number was listed would be next to be called at the other
            await scene.fetch("UPDATE run_contacts SET phone = $1 WHERE phones = $2", B, [A, B])
            seen.append(begun.run)
            seen.append(list((await scene.call(begun.run)).values()))
            # as it was before the look
            await scene.fetch(
                "UPDATE run_contacts SET state = 'waiting', not_before = now(), done_reason = NULL WHERE phones = $1",
                [A, B],
            )
            return stopped

        monkeypatch.setattr(erasures.wide_stops, "stop_number", and_somebody_is_read_in)
        await self.erase(scene, engines, tmp_path, A)
        run, called = seen
        assert called == [C]
        rows = await scene.fetch("SELECT phone, phones, state, done_reason FROM run_contacts WHERE run_id = $1", run.id)
        assert sorted(tuple(row.values()) for row in rows if row["phone"] == "") == [("", None, "done", "dnc")]
        assert await scene.fetch("SELECT FROM contacts WHERE $1 = ANY (phone || other_phones)", A) == []


class Noting:
    """A connection that notes what it is asked."""

    def __init__(self, connection):
        self._connection = connection
        self.said = []

    def __getattr__(self, name):
        async def ask(statement, *values):
            self.said.append((statement, values))
            return await getattr(self._connection, name)(statement, *values)

        return ask


async def test_who_has_a_number_among_others_is_found_by_its_index(scene_of, database):
    """An erasure and a key hold up the dialing of an account meanwhile."""
    scene = await scene_of((A, B))
    account_id = scene.stage.owner.account_id
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO run_contacts (run_id, contact_id, phone, phones, dedupe_key, sort_key) "
            "SELECT $1, 1000000 + n, p, ARRAY[p, q], p, n FROM generate_series(1, 20000) AS n, "
            "LATERAL (SELECT '+1' || (2000000000 + n)::text AS p, '+1' || (3000000000 + n)::text AS q) x",
            scene.run.id,
        )
        await connection.execute("ANALYZE run_contacts")
        noting = Noting(connection)
        await erasures_store.find(noting, account_id, B)
        await wide_stops.numbers_with(noting, account_id, [B])
        asked = [
            (said, values)
            for said, values in noting.said
            if ("rc.phones @>" in said or "rc.phones &&" in said) and "JOIN all_attempts" not in said
        ]
        assert len(asked) == 2
        for statement, values in asked:
            plan = await connection.fetch(f"EXPLAIN {statement}", *values)
            text = "\n".join(row[0] for row in plan)
            assert "run_contacts_phones" in text, text
