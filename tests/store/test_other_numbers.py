"""Other numbers of a contact against PostgreSQL: which is dialed next, who may take one, and what counts for all."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from outdial.core.attempt_limits import Counted, LimitRule
from outdial.core.campaign import RunAction
from outdial.core.model import (
    DialingOrder,
    Disposition,
    DncSource,
    DoneReason,
)
from outdial.core.numbers import after
from outdial.dialer.claim import claim
from outdial.services import attempt_limits, dnc, runs
from outdial.store import dnc as dnc_store
from outdial.store import (
    dnc_hashes,
    reserve,
    run_contacts,
    wide_stops,
)
from outdial.store import runs as runs_store
from outdial.store.attempts import ContactNews
from outdial.store.reserve import Verdict
from runs import waits_for_a_lock
from several_numbers import AGAIN, ELSEWHERE, NOBODY, NOBODYS, STATE, A, B, C, D, second_run


@pytest.mark.parametrize("order", DialingOrder)
async def test_all_of_them_are_read_into_a_run_and_none_where_there_is_one(scene_of, order):
    scene = await scene_of((A, B, C), D, order=order)
    rows = await scene.fetch("SELECT phone, phones FROM run_contacts ORDER BY contact_id")
    assert [(row["phone"], row["phones"]) for row in rows] == [(A, [A, B, C]), (D, None)]


async def test_the_database_finds_the_number_after_another_as_the_rule_does(database):
    dice = random.Random(7)
    async with database.connection() as connection:
        for _ in range(60):
            phones = dice.sample([A, B, C, D], dice.randrange(1, 5))
            phone = dice.choice(phones)
            found = await connection.fetchval("SELECT outdial_phone_after(1, 1, $1, $2)", phone, phones)
            assert found == after(phones, phone)


class TestBook:
    async def test_it_turns_where_it_is_told_to_and_goes_round(self, scene_of):
        scene = await scene_of((A, B, C))
        assert [await scene.called(ELSEWHERE) for _ in range(4)] == [A, B, C, A]
        assert (await scene.row())["attempts_count"] == 4

    async def test_nothing_else_turns(self, scene_of):
        scene = await scene_of((A, B))
        back = ContactNews(STATE.PENDING, uncounted=True)
        assert [await scene.called(AGAIN), await scene.called(AGAIN, Disposition.CANCELLED)] == [A, A]
        assert await scene.called(back, Disposition.CANCELLED) == A
        assert await scene.called(ELSEWHERE) == A
        assert await scene.called(AGAIN) == await scene.called(AGAIN) == B

    async def test_a_number_that_nobody_has_is_not_called_again_and_without_another_the_contact_is_done(self, scene_of):
        scene = await scene_of((A, B, C))
        assert await scene.called(NOBODY, Disposition.INVALID_NUMBER) == A
        assert [await scene.called(ELSEWHERE) for _ in range(3)] == [B, C, B]
        assert await scene.called(NOBODY, Disposition.INVALID_NUMBER) == C
        assert await scene.called(ELSEWHERE) == await scene.called(ELSEWHERE) == B
        assert await scene.called(NOBODY, Disposition.INVALID_NUMBER) == B
        row = await scene.row()
        assert (row["state"], row["done_reason"], row["attempts_count"]) == ("done", "invalid_number", 8)

    async def test_who_has_one_number_is_called_there_again_or_done(self, scene_of):
        scene = await scene_of(A)
        assert await scene.called(ELSEWHERE) == await scene.called(ELSEWHERE) == A
        await scene.called(NOBODY, Disposition.INVALID_NUMBER)
        row = await scene.row()
        assert (row["state"], row["done_reason"]) == ("done", "invalid_number")

    @pytest.mark.parametrize(
        ("news", "how", "reason"),
        [
            (ELSEWHERE, Disposition.BUSY, "retry_cancelled"),
            (ELSEWHERE, Disposition.CANCELLED, "stopped"),
            (NOBODY, Disposition.INVALID_NUMBER, "retry_cancelled"),
        ],
    )
    async def test_after_a_stop_nothing_turns_and_nobody_waits(self, scene_of, news, how, reason):
        scene = await scene_of((A, B))
        ((attempt_id, _),) = (await scene.call()).items()
        async with scene.database.transaction() as connection:
            await runs_store.lock_run(connection, scene.run.id)
            await runs.move_locked(connection, scene.run, RunAction.STOP, "test")
        await scene.book(attempt_id, news, how)
        row = await scene.row()
        assert (row["state"], row["done_reason"], row["phone"]) == ("done", reason, A)
        assert (await scene.take(await scene.plan()))[0] is Verdict.MOVED_ON

    async def test_a_call_back_that_is_promised_stays_at_its_number_unless_nobody_has_it(self, scene_of):
        scene = await scene_of((A, B))
        for news, how, phone in ((ELSEWHERE, Disposition.BUSY, A), (NOBODY, Disposition.INVALID_NUMBER, B)):
            ((attempt_id, _),) = (await scene.call()).items()
            await scene.ask_callback()
            await scene.book(attempt_id, news, how)
            row = await scene.row()
            assert (row["state"], row["phone"], row["callback_at"] is not None) == ("waiting", phone, True)

    async def test_a_call_back_is_promised_at_no_number_that_nobody_has(self, scene_of):
        """Neither where it is promised during the last call of all, nor where it is promised afterwards."""
        scene = await scene_of((A, B))
        assert await scene.called(NOBODY, Disposition.INVALID_NUMBER) == A
        ((attempt_id, phone),) = (await scene.call()).items()
        assert phone == B
        await scene.ask_callback()
        await scene.book(attempt_id, NOBODY, Disposition.INVALID_NUMBER)
        row = await scene.row()
        assert (row["state"], row["done_reason"], row["callback_at"]) == ("done", "invalid_number", None)
        await scene.ask_callback()
        assert await scene.call() == {}
        row = await scene.row()
        assert (row["state"], row["done_reason"]) == ("done", "invalid_number")
        assert row["screening"]["inputs"]["invalid"] is True

    async def test_nor_one_that_nobody_has_where_the_others_are_listed(self, scene_of):
        scene = await scene_of((A, B))
        assert await scene.called(ContactNews(STATE.DONE, done_reason=DoneReason.INVALID_NUMBER), NOBODYS) == A
        await scene.ask_callback()
        await scene.list(B)
        assert await scene.call() == {}
        assert (await scene.row())["done_reason"] == "dnc"

    async def test_what_nobody_knows_the_outcome_of_is_called_at_no_number(self, scene_of):
        scene = await scene_of((A, B))
        ((attempt_id, _),) = (await scene.call()).items()
        await scene.book(attempt_id, ContactNews(STATE.DONE, done_reason=DoneReason.UNKNOWN), Disposition.UNKNOWN)
        assert await scene.call() == {}
        assert (await scene.row())["done_reason"] == "unknown"


class TestListed:
    async def test_the_gate_is_asked_about_the_next_that_may_be_called(self, scene_of):
        scene = await scene_of((A, B, C))
        await scene.list(A, B)
        wish = await scene.plan()
        assert list(wish.phones.values()) == [(A, C)]
        assert {one["phone"] for one in wish.decisions.values()} == {C}
        _, made = await scene.take(wish)
        (row,) = await scene.fetch("SELECT phone, screening FROM attempts WHERE id = ANY ($1::text[])", list(made))
        assert (row["phone"], row["screening"]["phone"]) == (C, C)
        assert (await scene.row())["phone"] == C

    async def test_one_that_is_listed_after_the_look_is_not_called(self, scene_of):
        scene = await scene_of((A, B))
        wish = await scene.plan()
        await scene.list(A)
        assert await scene.take(wish) == (Verdict.RESERVED, frozenset())
        assert list((await scene.call()).values()) == [B]

    async def test_with_all_of_them_listed_the_contact_is_done(self, scene_of):
        scene = await scene_of((A, B), D)
        await scene.list(A, B)
        assert list((await scene.call()).values()) == [D]
        rows = await scene.fetch("SELECT phone, done_reason FROM run_contacts WHERE state = 'done'")
        assert [(row["phone"], row["done_reason"]) for row in rows] == [(A, "dnc")]

    async def test_a_run_begins_where_one_other_number_may_be_called(self, scene_of, database):
        scene = await scene_of((A, B))
        await scene.list(A)
        async with database.connection() as connection:
            assert await run_contacts.dialable(connection, scene.run) == (1, 1)
        await scene.list(B)
        async with database.connection() as connection:
            assert await run_contacts.dialable(connection, scene.run) == (1, 0)

    async def test_the_stop_of_a_number_leaves_the_others(self, scene_of):
        scene = await scene_of((A, B, C), (D, A))
        await scene.list(B)
        assert await scene.stop_number(A) == 0
        rows = await scene.fetch("SELECT phone, state FROM run_contacts ORDER BY contact_id")
        assert [tuple(row.values()) for row in rows] == [(C, "pending"), (D, "pending")]
        # who has none left is done
        assert await scene.stop_number(C) == 1
        rows = await scene.fetch("SELECT phone, state, done_reason FROM run_contacts ORDER BY contact_id")
        assert [tuple(row.values()) for row in rows] == [(C, "done", "dnc"), (D, "pending", None)]

    async def test_who_turns_to_it_in_that_moment_is_left_to_the_gate(self, scene_of):
        scene = await scene_of((B, A))
        ((attempt_id, phone),) = (await scene.call()).items()
        assert phone == B
        await scene.list(A)

        class Turning:
            """Books a call between the two statements."""

            def __init__(self, connection):
                self.fetch, self._connection = connection.fetch, connection

            async def execute(self, *asked):
                await self._connection.execute(*asked)
                await scene.book(attempt_id, ELSEWHERE)

        async with scene.database.connection() as connection:
            removed = await wide_stops.remove_number(Turning(connection), scene.stage.owner.account_id, A, actor="test")
        row = await scene.row()
        assert (removed, row["phone"], row["state"]) == (0, A, "waiting")
        assert list((await scene.call()).values()) == [B]

    @pytest.mark.parametrize("listed", ["everybody's", "the campaign's"])
    async def test_a_key_waits_for_calls_to_the_other_numbers_of_whoever_has_the_number(
        self, scene_of, monkeypatch, listed
    ):
        scene = await scene_of((C, B))
        owner, names = scene.stage.owner, {}
        if listed == "the campaign's":
            names = {"iid": owner.iid, "list_name": "Spring"}
            await dnc.add_numbers(scene.database, account_id=owner.account_id, phones=[D], actor="test", **names)
            await scene.fetch(
                "UPDATE runs r SET dnc_list_ids = dnc_list_ids || l.id FROM dnc_lists l WHERE l.name = 'Spring'"
            )
        ((attempt_id, phone),) = (await scene.call()).items()
        assert phone == C
        look, seen = dnc_store.reserved_count, []

        async def looked(*asked):
            seen.append(await look(*asked))
            if len(seen) == 1:
                await scene.book(attempt_id, AGAIN)
            return seen[-1]

        monkeypatch.setattr(dnc_store, "reserved_count", looked)
        added = await dnc.add_numbers(
            *(scene.database,), account_id=owner.account_id, phones=[B], source=DncSource.KEY, actor="test", **names
        )
        assert added.problems == ()
        assert seen == [1, 0]

    async def test_of_who_is_to_be_erased_no_number_is_left(self, scene_of):
        scene = await scene_of((A, B), (C, A), D)
        assert await scene.stop_number(A, of_person=True) == 2
        assert list((await scene.call()).values()) == [D]


class TestReserve:
    async def test_whoever_has_turned_since_the_look_is_not_taken(self, scene_of):
        """Else a number would be dialed of which the gate has never heard."""
        scene = await scene_of((A, B))
        stale = await scene.plan()
        await scene.called(ELSEWHERE)
        assert await scene.take(stale) == (Verdict.RESERVED, frozenset())
        later = replace(stale, wanted=(), deferred=[(stale.wanted[0][0], datetime.now(UTC) + timedelta(hours=1))])
        await scene.take(later)
        row = await scene.row()
        assert (row["phone"], row["not_before"] < datetime.now(UTC)) == (B, True)

    async def test_what_was_denied_of_one_number_ends_nobody_who_has_turned_to_another(self, scene_of):
        scene = await scene_of((A, B))
        stale = await scene.plan()
        await scene.called(ELSEWHERE)
        ended = [(stale.wanted[0][0], DoneReason.EXPIRED)]
        await scene.take(replace(stale, wanted=(), denied=ended))
        assert (await scene.row())["state"] == "waiting"
        # nor who is asked about without a word of the number
        await scene.take(replace(stale, wanted=(), denied=ended, phones={}))
        assert list((await scene.call()).values()) == [B]

    @pytest.mark.parametrize("phones", [{}, "of others"])
    async def test_nobody_is_taken_whose_number_was_not_asked_about(self, scene_of, phones):
        scene = await scene_of((A, B))
        wish = await scene.plan()
        (contact_id,) = wish.phones
        asked = {contact_id: (A, D)} if phones else {}
        assert await scene.take(replace(wish, phones=asked)) == (Verdict.RESERVED, frozenset())

    async def test_who_is_put_off_is_called_at_the_number_that_was_asked_about(self, scene_of):
        scene = await scene_of((A, B))
        await scene.list(A)
        wish = await scene.plan()
        soon = [(wish.wanted[0][0], datetime.now(UTC))]
        await scene.take(replace(wish, wanted=(), deferred=soon))
        row = await scene.row()
        assert (row["state"], row["phone"]) == ("waiting", B)

    async def test_of_two_with_a_number_in_common_one_at_a_time(self, scene_of):
        scene = await scene_of((A, B), (C, B), D)
        assert set((await scene.call()).values()) == {A, D}
        # what they have in common is in no call
        assert list((await scene.call()).values()) == [C]

    async def test_a_number_in_a_call_of_another_campaign_keeps_the_person_waiting(self, scene_of):
        scene = await scene_of((A, B))
        wish = await scene.plan()
        other = await second_run(scene, (B, A))
        assert list((await scene.call(other)).values()) == [B]
        assert await scene.take(wish) == (Verdict.RESERVED, frozenset())
        assert (await scene.look())[1] == []

    async def test_limits_count_calls_to_every_number_of_a_person(self, scene_of):
        scene = await scene_of((A, B), D)
        await attempt_limits.add_limit(
            scene.database,
            LimitRule(2, 3600, Counted.ATTEMPTS),
            account_id=scene.stage.owner.account_id,
            actor="test",
        )
        for _ in range(2):
            for attempt_id in await scene.call():
                await scene.book(attempt_id, ELSEWHERE)
        wish = await scene.plan()
        assert (wish.wanted, len(wish.deferred)) == ([], 2)
        numbers = [one["inputs"].get("numbers") for one in wish.decisions.values()]
        assert sorted(numbers, key=str) == sorted([[A, B], None], key=str)
        # and whoever does not ask the gate is refused too
        forced = [(contact_id, uuid.uuid4().hex) for contact_id, _ in wish.deferred]
        assert await scene.take(replace(wish, deferred=(), wanted=forced)) == (Verdict.RESERVED, frozenset())

    async def test_two_campaigns_that_race_for_numbers_of_one_person_never_pass_a_limit(self, scene_of):
        """Each wants another number of the same person at the same instant, again and again."""
        people = [(f"+1555011{place:04}", f"+1555012{place:04}") for place in range(12)]
        scene = await scene_of(*people)
        other = await second_run(scene, *[(second, first) for first, second in people])
        await attempt_limits.add_limit(
            scene.database,
            LimitRule(1, 3600, Counted.ATTEMPTS),
            account_id=scene.stage.owner.account_id,
            actor="test",
        )
        wishes = [(run, await scene.plan(run), node) for run, node in ((scene.run, "n1"), (other, "n2"))]
        assert [len(wish.wanted) for _, wish, _ in wishes] == [12, 12]
        answers = await asyncio.gather(*(scene.take(wish, run, node) for run, wish, node in wishes))
        made = {attempt_id for _, reserved in answers for attempt_id in reserved}
        rows = await scene.fetch("SELECT id, phone FROM attempts")
        assert {row["id"] for row in rows} == made
        person = {phone: place for place, phones in enumerate(people) for phone in phones}
        assert Counter(person[row["phone"]] for row in rows) == dict.fromkeys(range(12), 1)

    async def test_whoever_finds_a_person_taken_waits_for_nobody_and_looks_again(self, scene_of, database):
        """The lock of a person's numbers is held until the reservation before is committed, and seen by the next: who
        waited for it would hold up a stop of its run."""
        scene = await scene_of((A, B))
        other = await second_run(scene, (B, A))
        wishes = await scene.plan(), await scene.plan(other)
        async with database.connection() as holding:
            transaction = holding.transaction()
            await transaction.start()
            assert len((await reserve.reserve(holding, scene.run, "n1", replace(wishes[0], budgets=())))[1]) == 1
            async with asyncio.timeout(20):
                assert await scene.take(wishes[1], other, "n2") == (Verdict.CONFLICT, frozenset())
                assert not await waits_for_a_lock(database)
                async with database.transaction() as connection:
                    await runs_store.lock_run(connection, other.id)
            await transaction.commit()
        assert await scene.take(wishes[1], other, "n2") == (Verdict.RESERVED, frozenset())

    async def test_whose_person_is_free_is_taken_beside_one_who_is_not(self, scene_of, database):
        scene = await scene_of((A, B))
        other = await second_run(scene, (B, A), (C, D))
        wishes = await scene.plan(), await scene.plan(other)
        async with database.connection() as holding:
            transaction = holding.transaction()
            await transaction.start()
            assert len((await reserve.reserve(holding, scene.run, "n1", replace(wishes[0], budgets=())))[1]) == 1
            verdict, made = await scene.take(wishes[1], other, "n2")
            await transaction.rollback()
        assert verdict is Verdict.RESERVED
        assert [row["phone"] for row in await scene.fetch("SELECT phone FROM attempts")] == [C]
        assert list((await scene.call(other)).values()) == [B]
        assert len(made) == 1


async def test_a_number_that_is_listed_as_a_hash_is_passed_over_too(scene_of):
    scene = await scene_of((A, B))
    async with scene.database.transaction() as connection:
        account_id = scene.stage.owner.account_id
        list_id = await dnc_store.account_list(connection, account_id, new_id=f"dl-{uuid.uuid4()}")
        (number_hmac,) = await dnc_hashes.hashes(connection, scene.secrets, account_id, [A])
        await dnc_hashes.add(connection, list_id, number_hmac)
    for _ in range(5):
        found = await claim(
            scene.database, scene.run, scene.stage.trunk, "n1", many=True, asked=set(), secrets=scene.secrets
        )
        # a rate's row is made at its first use, by nobody who has seen it
        if found.verdict is not Verdict.CONFLICT:
            break
    assert [place.candidate.phone for place in found.places] == [B]
