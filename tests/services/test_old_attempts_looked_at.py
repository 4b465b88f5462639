"""Whoever looks back finds old attempts where they are: lists, limits, erasures, retention."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

import pytest

from engines import TTL_SECONDS
from old_runs import DAY, NUMBERS, Past, month_of, set_past
from outdial.core.attempt_limits import Counted, LimitRule, standing
from outdial.core.errors import AttemptsKeptTooBrieflyError, InvalidInputError, NotFoundError
from outdial.core.model import Disposition
from outdial.services import attempt_limits, erasures, retention, run_views, runs
from outdial.services.engines import Engines
from outdial.store import attempts, call_details, recordings, reserve, run_contacts
from outdial.store import dnc as dnc_store
from outdial.store import old_attempts as store
from runs import waits_for_a_lock
from waiting import until


@pytest.fixture
async def past(database, secret_box) -> Past:
    return await set_past(database, secret_box)


class TestDays:
    async def test_are_checked_and_shown(self, past):
        for wrong in (0, 30, retention.MOST_DAYS + 1):
            with pytest.raises(InvalidInputError, match="`attemptsDays` must be from 31 to"):
                await past.keep(wrong)
        assert (await past.keep(31)).attempts_days == 31
        assert (await retention.show(past.database, account_id=past.account_id)).attempts_days == 31
        assert (await past.keep(None)).attempts_days is None

    async def test_cover_every_attempt_limit(self, past):
        long = LimitRule(3, 90 * 86400, Counted.ATTEMPTS)
        await past.keep(89)
        with pytest.raises(AttemptsKeptTooBrieflyError, match="over 90 days"):
            await attempt_limits.add_limit(past.database, long, account_id=past.account_id, actor="x")
        await past.keep(90)
        await attempt_limits.add_limit(past.database, long, account_id=past.account_id, actor="x")
        with pytest.raises(AttemptsKeptTooBrieflyError, match="over 90 days"):
            await past.keep(89)
        await past.keep(None)

    async def test_of_a_limit_over_what_was_removed_is_said_that_it_would_count_too_few(self, past):
        run = await past.begin()
        await past.call(run, NUMBERS[0], days=200)
        await past.over(run, days=100)
        await past.keep(31)
        assert (await past.look()).removed == 1
        await past.keep(None)

        async def add(days: int) -> None:
            rule = LimitRule(3, days * 86400, Counted.ATTEMPTS)
            await attempt_limits.add_limit(past.database, rule, account_id=past.account_id, actor="x")

        with pytest.raises(AttemptsKeptTooBrieflyError, match="were removed"):
            await add(201)
        await add(150)

    async def test_of_two_who_set_a_limit_and_days_at_once_one_is_refused(self, past):
        long = LimitRule(3, 90 * 86400, Counted.ATTEMPTS)
        async with past.database.transaction() as holding:
            await holding.execute("SELECT FROM accounts FOR NO KEY UPDATE")
            both = [
                asyncio.create_task(one)
                for one in (
                    past.keep(40),
                    attempt_limits.add_limit(past.database, long, account_id=past.account_id, actor="x"),
                )
            ]
            await until(lambda: waits_for_a_lock(past.database))
        ended = await asyncio.gather(*both, return_exceptions=True)
        assert [isinstance(one, AttemptsKeptTooBrieflyError) for one in ended].count(True) == 1


class TestLookingBack:
    @pytest.fixture
    async def moved(self, past) -> Past:
        """A run over a month with calls of 130 to 35 days ago, moved."""
        run = await past.begin()
        past.ids = [await past.call(run, NUMBERS[n % 4], days=130 - n * 5) for n in range(20)]
        await past.over(run, days=35)
        past.run = run
        await past.look()
        return past

    async def test_the_attempts_of_a_run_are_paged_through(self, moved):
        run = await moved.run_of()
        # a few that are still near
        near = [await moved.call(moved.run, NUMBERS[0], days=days) for days in (20, 10)]
        wanted = [*moved.ids, *near]
        found, after = [], None
        while True:
            async with moved.database.connection() as connection:
                page = await attempts.page(connection, run, after=after, limit=3)
            if not page:
                break
            found += [one.id for one in page]
            after = attempts.place(page[-1])
        assert found == wanted
        view = {"iid": moved.stage.owner.iid, "instance_id": moved.run.instance_id, "limit": 5}
        page = await run_views.attempts_page(moved.database, after=wanted[9], **view)
        assert [one.id for one in page] == wanted[10:15]
        with pytest.raises(NotFoundError, match="or none any more"):
            await run_views.attempts_page(moved.database, after="f" * 32, **view)

    async def test_call_details_and_progress_have_them(self, moved):
        now = datetime.now(UTC)
        async with moved.database.connection() as connection:
            page = await call_details.page(
                connection,
                account_id=moved.account_id,
                iid=moved.stage.owner.iid,
                dialed_from=now - 101 * DAY,
                dialed_before=now - 79 * DAY,
                offset=0,
                limit=100,
            )
        assert [one.attempt.id for one in page] == [moved.ids[n] for n in range(20) if 80 <= 130 - n * 5 <= 100]
        assert (await runs.progress(moved.database, moved.run.id)).placed == 20

    async def test_a_recording_that_comes_late_finds_its_attempt(self, moved):
        late = recordings.Recording("r", moved.ids[0], "voice", 1.0, 4, "0" * 64, "h", "r.wav", datetime.now(UTC))
        async with moved.database.connection() as connection:
            assert await recordings.insert(connection, late)
            assert not await recordings.insert(connection, late)
            assert (await recordings.of_attempt(connection, moved.ids[0]))[0].id == "r"
            assert await recordings.whose(connection, moved.ids[0]) is not None

    async def test_an_erasure_takes_the_number_out_of_them(self, moved, secret_box, tmp_path):
        await moved.do("UPDATE old_attempts SET change_reason = 'asked for ' || phone")
        engines = Engines(moved.database, secret_box, ttl_seconds=TTL_SECONDS)
        try:
            erased = await erasures.erase(
                moved.database,
                secret_box,
                engines,
                account_id=moved.account_id,
                phone=NUMBERS[0],
                actor="x",
                folder=tmp_path,
            )
        finally:
            await engines.close()
        assert erased.counts["attempts"] == 5
        rows = await moved.do("SELECT phone, change_reason FROM old_attempts")
        assert sorted(row["phone"] for row in rows) == sorted([""] * 5 + NUMBERS[1:] * 5)
        assert not [row for row in rows if NUMBERS[0] in row["change_reason"]]

    async def test_whom_an_attempt_called_is_known_when_it_is_kept_no_more(self, moved):
        async with moved.database.connection() as connection:
            before = await dnc_store.person_of(connection, moved.ids[0])
        await moved.keep(31)
        assert (await moved.look()).removed
        assert moved.ids[0] not in await moved.where()
        async with moved.database.connection() as connection:
            assert await dnc_store.person_of(connection, moved.ids[0]) == before
            assert await dnc_store.person_of(connection, "f" * 32) is None

    async def test_the_last_attempt_of_each_contact_is_told(self, moved):
        async with moved.database.connection() as connection:
            rows, _ = await run_contacts.page(connection, moved.run.id, offset=0, limit=10)
            lot = await run_contacts.lot(connection, moved.run.id, after=0, limit=10)
        wanted = dict(zip(NUMBERS, moved.ids[16:], strict=True))
        assert {row.phone: row.last_attempt_id for row in rows} == wanted
        assert {one.contact.phone: one.contact.last_attempt_id for one in lot} == wanted

    async def test_one_that_is_locked_is_not_moved_and_one_that_moved_is_locked(self, past):
        run = await past.begin()
        attempt_id = await past.call(run, NUMBERS[0], days=50)
        await past.over(run, days=50)
        async with past.database.transaction() as holding:
            assert await store.lock(holding, attempt_id)
            await past.look()
            assert await past.where() == {attempt_id: "near"}
        await past.look()
        assert await past.where() == {attempt_id: month_of(50)}
        async with past.database.transaction() as holding, past.database.transaction() as other:
            assert await store.lock(holding, attempt_id)
            other_one = asyncio.create_task(store.lock(other, attempt_id))
            await until(lambda: waits_for_a_lock(past.database))
            await holding.execute("SELECT 1")
            other_one.cancel()
            await asyncio.gather(other_one, return_exceptions=True)
        async with past.database.transaction() as connection:
            assert not await store.lock(connection, "f" * 32)


class TestLimits:
    async def test_over_more_than_a_month_count_what_has_moved(self, past):
        """The database says what the rule says, wherever the attempts are."""
        dice = random.Random(20261127)
        over, held, lots = await past.begin(), 0, 25
        await past.over(over, days=33)
        live = await past.begin()
        for lot in range(lots):
            rule = LimitRule(
                dice.randrange(1, 5),
                dice.choice([20, 31, 32, 60, 366]) * 86400,
                dice.choice(list(Counted)),
                dice.choice([None, "debt"]),
            )
            made = await attempt_limits.add_limit(past.database, rule, account_id=past.account_id, actor="x")
            await past.do("DELETE FROM attempts")
            await past.do("DELETE FROM old_attempts")
            await past.do("UPDATE runs SET attempts_moved_at = NULL")
            for _ in range(dice.randrange(12)):
                await past.call(
                    over,
                    NUMBERS[0],
                    # never at a window's very end
                    days=dice.randrange(1, 80) + 0.5,
                    disposition=dice.choice([one.value for one in Disposition]),
                    matters=dice.choice([None, {"debt": "1"}, {"debt": "2"}]),
                )
            places = set()
            about = dice.choice([{}, {"debt": "1"}])
            answers = set()
            for _ in range(2):
                async with past.database.connection() as connection:
                    facts = await reserve.facts(connection, live)
                    found = await reserve.candidates(connection, live, 100, facts.limits, far=facts.far)
                    beyond = await connection.fetchval(
                        "SELECT outdial_beyond_limits($1, $2, $3, $4, $5)",
                        live.account_id,
                        live.iid,
                        live.campaign_id,
                        [NUMBERS[0]],
                        about,
                    )
                (one,) = [each for each in found if each.phone == NUMBERS[0]]
                answers |= {beyond, standing(rule, one.past, about, facts.now).free_at is not None}
                places |= set((await past.where()).values())
                await past.look()
            assert len(answers) == 1, (lot, rule)
            held += answers == {True}
            await attempt_limits.remove_limit(past.database, made.id, account_id=past.account_id, iid=None, actor="x")
        assert 4 < held < lots - 4
