"""Attempts of runs that are long over get out of the way of dialing, and go by months where nobody keeps them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from engines import TTL_SECONDS
from old_runs import DAY, NUMBERS, Past, month_ended, month_of, set_past
from outdial.core.attempt_limits import Counted, LimitRule
from outdial.services import attempt_limits, history_export, old_attempts, runs, sealing
from outdial.services.engines import Engines
from outdial.services.personal_data_keeper import PersonalDataKeeper
from outdial.store import old_attempts as store
from outdial.store import reserve
from outdial.store import runs as runs_store
from outdial.store.old_attempts import Hold


@pytest.fixture
async def past(database, secret_box) -> Past:
    return await set_past(database, secret_box)


class TestMoving:
    async def test_takes_what_ended_long_ago_of_runs_that_are_long_over(self, past):
        live, fresh, over = await past.begin(), None, None
        ids = {"live": await past.call(live, NUMBERS[0], days=90)}
        await past.over(live, days=90)
        over, ids["over"] = live, ids.pop("live")
        fresh = await past.begin()
        ids["fresh"] = await past.call(fresh, NUMBERS[0], days=90)
        await past.over(fresh, days=31)
        live = await past.begin()
        ids["live"] = await past.call(live, NUMBERS[0], days=90)
        ids["late"] = await past.call(over, NUMBERS[1], days=31)
        assert await past.look() == old_attempts.Looked(0, more=False)
        assert await past.where() == {
            ids["over"]: month_of(90),
            ids["fresh"]: "near",
            ids["live"]: "near",
            ids["late"]: "near",
        }
        # one is left of the run, so it is not done with
        unmoved = "SELECT id FROM runs WHERE attempts_moved_at IS NULL ORDER BY id"
        assert [row["id"] for row in await past.do(unmoved)] == [over.id, fresh.id, live.id]
        await past.do("UPDATE attempts SET ended_at = now() - interval '33 days' WHERE id = $1", ids["late"])
        await past.look()
        assert (await past.where())[ids["late"]] == month_of(33)
        assert [row["id"] for row in await past.do(unmoved)] == [fresh.id, live.id]

    async def test_changes_nothing_of_what_is_moved(self, past):
        run = await past.begin()
        for days in (40, 70, 100):
            await past.call(run, NUMBERS[0], days=days, disposition="answered_human", matters={"debt": "7"})
        await past.over(run, days=40)
        before = await past.do("SELECT * FROM attempts ORDER BY id")
        history = await past.do("SELECT count(*) FROM history")
        await past.look()
        assert await past.do("SELECT * FROM attempts") == []
        assert await past.do("SELECT * FROM old_attempts ORDER BY id") == before
        assert await past.do("SELECT * FROM all_attempts ORDER BY id") == before
        assert await past.do("SELECT count(*) FROM history") == history

    async def test_goes_on_where_it_left_off(self, past, monkeypatch):
        monkeypatch.setattr(old_attempts, "AT_ONCE", 2)
        monkeypatch.setattr(old_attempts, "SECONDS", 0.0)
        monkeypatch.setattr(old_attempts, "anywhere", lambda: 0.0)
        for _ in range(2):
            run = await past.begin()
            for number in NUMBERS[:3]:
                await past.call(run, number, days=50)
            await past.over(run, days=50)
        near = []
        for _ in range(5):
            looked = await past.look()
            near.append((list((await past.where()).values()).count("near"), looked.more))
        assert near == [(4, True), (3, True), (1, True), (0, True), (0, False)]

    async def test_both_tables_have_the_same_columns(self, past):
        columns = """
            SELECT attname, atttypid::regtype::text AS type FROM pg_attribute
             WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
        """
        near = await past.do(columns, "attempts")
        assert await past.do(columns, "old_attempts") == near
        assert await past.do(columns, "all_attempts") == near

    async def test_is_done_by_one_at_a_time(self, past):
        run = await past.begin()
        await past.call(run, NUMBERS[0], days=50)
        await past.over(run, days=50)
        async with past.database.transaction() as connection:
            assert await store.hold(connection) is Hold.HELD
            await past.look()
            assert list((await past.where()).values()) == ["near"]
        await past.look()
        assert list((await past.where()).values()) == [month_of(50)]


class TestClock:
    @pytest.fixture
    async def due(self, past) -> Past:
        run = await past.begin()
        await past.call(run, NUMBERS[0], days=90)
        await past.over(run, days=90)
        return past

    @pytest.mark.parametrize(
        ("seen", "leapt"),
        [(timedelta(hours=20), False), (6 * DAY, False), (8 * DAY, True), (-timedelta(minutes=5), True)],
    )
    async def test_one_that_leaps_moves_nothing_for_a_day(self, due, seen, leapt):
        await due.clock_is(seen=seen)
        await due.look()
        assert list((await due.where()).values()) == ["near" if leapt else month_of(90)]
        await due.look()
        assert list((await due.where()).values()) == ["near" if leapt else month_of(90)]
        await due.do("UPDATE attempt_moves SET steady_since = steady_since - interval '1 day'")
        await due.look()
        assert list((await due.where()).values()) == [month_of(90)]

    async def test_limits_count_what_a_wrong_one_has_moved(self, due, monkeypatch):
        """However far ahead it was: what counts is until when something was moved."""
        run = (await due.do("SELECT id FROM runs"))[0]
        live = await due.begin()
        await due.call(live, NUMBERS[1], days=2)
        await attempt_limits.add_limit(
            due.database, LimitRule(1, 7 * 86400, Counted.ATTEMPTS), account_id=due.account_id, actor="x"
        )
        beyond = "SELECT outdial_beyond_limits($1, $2, $3, $4, '{}') AS beyond"
        asked = (live.account_id, live.iid, live.campaign_id, [NUMBERS[1]])
        assert (await due.do(beyond, *asked))[0]["beyond"]
        await due.over(live, days=1)
        monkeypatch.setattr(store, "MOVES_AFTER", timedelta(hours=1))
        await due.look()
        assert "near" not in (await due.where()).values()
        assert (await due.do(beyond, *asked))[0]["beyond"]
        # and the gate is asked about it, so that the contact is put off and not tried again and again
        live = await due.begin()
        async with due.database.connection() as connection:
            facts = await reserve.facts(connection, live)
            found = await reserve.candidates(connection, live, 10, facts.limits, far=facts.far)
        assert facts.far
        assert [len(one.past) for one in found if one.phone == NUMBERS[1]] == [1]
        assert run["id"] != live.id


class TestRemoving:
    async def test_takes_whole_months_and_still_adds_up(self, past, monkeypatch):
        monkeypatch.setattr(old_attempts, "AT_ONCE", 2)
        run = await past.begin()
        for number in NUMBERS:
            await past.call(run, number, days=200, disposition="answered_human")
        await past.call(run, NUMBERS[0], days=140)
        await past.call(run, NUMBERS[0], days=40)
        await past.over(run, days=40)
        before = await runs.progress(past.database, run.id)
        async with past.database.connection() as connection:
            answered = await runs_store.calls_completed(connection, run.campaign_id)
        assert (before.placed, before.answered, answered) == (6, 4, 4)
        assert (await past.look()).removed == 0
        await past.keep(120)
        looked = await past.look()
        # what is 140 days old goes when its month is 120 days over, and as long as a clock may leap
        gone = 5 if month_ended(140, days=127) else 4
        assert looked == old_attempts.Looked(gone, more=False)
        assert len(await past.where()) == 6 - gone
        assert await runs.progress(past.database, run.id) == before
        async with past.database.connection() as connection:
            assert await runs_store.calls_completed(connection, run.campaign_id) == answered
        told = await past.do(
            "SELECT actor, detail FROM history WHERE action = 'retention' AND to_state = 'removed' ORDER BY id"
        )
        assert [row["detail"]["count"] for row in told][:2] == [2, 2]
        assert told[0]["actor"] == "retention"
        first = {"kind": "attempts", "month": month_of(200)[-7:].replace("_", "-"), "count": 2, "runs": 1, "days": 120}
        assert told[0]["detail"] == first
        await history_export.verify(past.database, past.account_id)

    async def test_an_empty_month_is_done_away_with_and_made_again(self, past):
        run = await past.begin()
        await past.call(run, NUMBERS[0], days=200)
        await past.over(run, days=100)
        await past.look()
        tables = "SELECT relname FROM pg_class WHERE relname LIKE 'old_attempts_2%' AND relkind = 'r'"
        assert [row["relname"] for row in await past.do(tables)] == [month_of(200)]
        await past.keep(31)
        assert (await past.look()).removed == 1
        # it is seen to be empty, and with the next look it goes
        assert len(await past.do(tables)) == 1
        await past.look()
        assert await past.do(tables) == await past.do("SELECT FROM empty_months") == []
        await past.keep(None)
        run = await past.begin()
        await past.call(run, NUMBERS[1], days=200)
        await past.over(run, days=100)
        await past.look()
        assert list((await past.where()).values()) == [month_of(200)]

    async def test_leaves_other_accounts_alone(self, past):
        run = await past.begin()
        await past.call(run, NUMBERS[0], days=200)
        await past.over(run, days=100)
        other = await past.do("INSERT INTO accounts (id, name) VALUES ('ac-other', 'Other') RETURNING id")
        await past.do(
            "INSERT INTO account_retention (account_id, attempts_days, updated_by) VALUES ($1, 31, 'x')", other[0]["id"]
        )
        assert (await past.look()).removed == 0
        assert list((await past.where()).values()) == [month_of(200)]

    async def test_takes_what_was_kept_beside_an_attempt_and_waits_for_its_recording(self, past):
        run = await past.begin()
        attempt_id = await past.call(run, NUMBERS[0], days=200, disposition="answered_human")
        await past.do(
            """
            INSERT INTO recordings (id, attempt_id, step, duration_seconds, size_bytes, sha256, host, file)
            VALUES ('r', $1, 'voice', 1, 4, repeat('0', 64), 'elsewhere', 'r.wav')
            """,
            attempt_id,
        )
        await past.do(
            "INSERT INTO machine_reviews (attempt_id, actual, reviewed_by) VALUES ($1, 'person', 'x')", attempt_id
        )
        await past.do(
            """
            INSERT INTO transfers (id, attempt_id, run_id, epoch, engine_id, dialed, ended_at)
            VALUES ('x', $1, $2, 1, 'e', 'd', now())
            """,
            attempt_id,
            run.id,
        )
        await past.over(run, days=100)
        await past.keep(60)
        assert (await past.look()).removed == 0
        assert len(await past.where()) == 1
        await past.do("UPDATE recordings SET removed_at = now()")
        assert (await past.look()).removed == 1
        for table in ("recordings", "machine_reviews", "transfers", "old_attempts"):
            assert await past.do(f"SELECT FROM {table}") == [], table

    @pytest.fixture
    async def webhook(self, past) -> str:
        await past.do(
            """
            INSERT INTO webhooks (id, account_id, url, secret_encrypted, events, created_by, seal_number)
            VALUES ('wh', $1, 'https://x', '', '{attempt.ended}', 'x', 0)
            """,
            past.account_id,
        )
        return "wh"

    async def test_waits_for_messages_that_may_be_sent_again(self, past, webhook, monkeypatch):
        run = await past.begin()
        attempt_id = await past.call(run, NUMBERS[0], days=200)
        (row,) = await past.do("SELECT id FROM history WHERE attempt_id = $1", attempt_id)
        await past.do(
            """
            INSERT INTO webhook_deliveries (webhook_id, lane, history_id, event, state, settled_at)
            VALUES ($1, $2, $3, 'attempt.ended', 'delivered', now())
            """,
            webhook,
            run.id,
            row["id"],
        )
        await past.over(run, days=100)
        await past.keep(60)
        # the row says that it was written just now
        async with past.database.connection() as connection:
            assert await store.told_of(connection, past.account_id) == []
        monkeypatch.setattr(store, "MOVES_AFTER", timedelta(0))
        await sealing.seal_all(past.database)
        assert (await past.look()).removed == 0
        await past.do("DELETE FROM webhook_deliveries")
        assert (await past.look()).removed == 1

    async def test_waits_for_a_webhook_that_is_behind(self, past, webhook, monkeypatch):
        run = await past.begin()
        await past.call(run, NUMBERS[0], days=200)
        await past.over(run, days=100)
        await past.keep(60)
        await sealing.seal_all(past.database)
        await past.do("UPDATE webhooks SET enabled = false")
        monkeypatch.setattr(store, "BEHIND", timedelta(0))
        looked = await past.look()
        assert (looked.removed, looked.waiting) == (0, (past.account_id,))
        await past.do(
            "UPDATE webhooks SET seal_number = (SELECT max(number) FROM history_seals) WHERE id = $1", webhook
        )
        assert (await past.look()).removed == 1

    async def test_a_stop_without_a_signed_report_keeps_its_attempts(self, past):
        run = await past.begin()
        await past.call(run, NUMBERS[0], days=200)
        await past.over(run, days=100)
        await past.do("UPDATE runs SET state = 'stopped' WHERE id = $1", run.id)
        await past.keep(60)
        assert (await past.look()).removed == 0
        await past.do("UPDATE runs SET state = 'completed' WHERE id = $1", run.id)
        assert (await past.look()).removed == 1

    async def test_many_months_with_nothing_to_remove_hold_up_nothing(self, past):
        run = await past.begin()
        held = [await past.call(run, NUMBERS[0], days=days) for days in range(100, 400, 31)]
        await past.call(run, NUMBERS[1], days=70)
        for attempt_id in held:
            await past.do(
                """
                INSERT INTO recordings (id, attempt_id, step, duration_seconds, size_bytes, sha256, host, file)
                VALUES ($1, $1, 'voice', 1, 4, repeat('0', 64), 'elsewhere', 'r.wav')
                """,
                attempt_id,
            )
        await past.over(run, days=50)
        await past.keep(31)
        assert (await past.look()).removed == 1
        assert set(await past.where()) == set(held)

    async def test_keeping_longer_holds_for_a_look_under_way(self, past, monkeypatch):
        monkeypatch.setattr(old_attempts, "AT_ONCE", 1)
        run = await past.begin()
        for number in NUMBERS:
            await past.call(run, number, days=200)
        await past.over(run, days=100)
        await past.keep(31)
        lots = 0
        remove = store.remove

        async def noting(*arguments, **options):
            nonlocal lots
            lots += 1
            return await remove(*arguments, **options)

        monkeypatch.setattr(store, "remove", noting)
        real_hold = store.hold

        async def holding(connection):
            if lots == 1:
                # somebody chooses otherwise between two lots
                await past.keep(400)
            return await real_hold(connection)

        monkeypatch.setattr(store, "hold", holding)
        assert (await past.look()).removed == 1
        assert len(await past.where()) == 3

    async def test_somebody_who_looks_back_is_neither_kept_waiting_nor_robbed(self, past):
        run = await past.begin()
        await past.call(run, NUMBERS[0], days=200)
        await past.over(run, days=100)
        await past.look()
        await past.keep(31)
        tables = "SELECT relname FROM pg_class WHERE relname LIKE 'old_attempts_2%' AND relkind = 'r'"
        async with past.database.snapshot() as looking:
            # its snapshot is taken, and nothing of ours is touched
            await looking.fetchval("SELECT count(*) FROM accounts")
            assert (await past.look()).removed == 1
            for _ in range(3):
                await past.look()
                assert len(await past.do(tables)) == 1
            assert await looking.fetchval("SELECT count(*) FROM all_attempts") == 1
            # whoever comes now sees none
            assert await past.where() == {}
        await past.look()
        assert await past.do(tables) == []

    async def test_a_month_that_another_process_has_done_away_with_is_none(self, past, monkeypatch):
        await past.do("SELECT outdial_make_month('2020-03-01')")
        hold = store.hold

        async def slow(connection):
            await past.do("DROP TABLE IF EXISTS old_attempts_2020_03")
            return await hold(connection)

        monkeypatch.setattr(store, "hold", slow)
        assert await past.look() == old_attempts.Looked(0, more=False)

    async def test_an_empty_month_that_was_filled_meanwhile_is_noted_anew(self, past):
        """Else whoever began to look back between the two would be robbed of what was moved and removed since."""
        run = await past.begin()
        await past.call(run, NUMBERS[0], days=200)
        await past.do("SELECT outdial_make_month($1)", (datetime.now(UTC) - 200 * DAY).date().replace(day=1))
        await past.look()
        assert len(await past.do("SELECT FROM empty_months")) == 1
        await past.over(run, days=100)
        await past.keep(31)
        async with past.database.transaction() as connection:
            assert await store.hold(connection) is Hold.HELD
            months = await store.make_months(connection, run.id, limit=10)
            assert await store.move(connection, run.id, months, limit=10) == 1
        async with past.database.snapshot() as looking:
            await looking.fetchval("SELECT count(*) FROM accounts")
            assert (await past.look()).removed == 1
            assert await looking.fetchval("SELECT count(*) FROM all_attempts") == 1

    async def test_what_moves_into_a_month_that_was_empty_stays(self, past):
        await past.do("SELECT outdial_make_month($1)", (datetime.now(UTC) - 200 * DAY).date().replace(day=1))
        await past.look()
        run = await past.begin()
        await past.call(run, NUMBERS[0], days=200)
        await past.over(run, days=100)
        await past.look()
        await past.look()
        assert list((await past.where()).values()) == [month_of(200)]
        assert await past.do("SELECT FROM empty_months") == []

    async def test_the_keeper_does_it(self, past, secret_box, tmp_path):
        run = await past.begin()
        await past.call(run, NUMBERS[0], days=200)
        await past.over(run, days=100)
        await past.keep(31)
        engines = Engines(past.database, secret_box, ttl_seconds=TTL_SECONDS)
        try:
            keeper = PersonalDataKeeper(past.database, secret_box, engines, tmp_path)
            await keeper.look()
            assert await past.where() == {}
            # and looks no more for some minutes
            run = await past.begin()
            await past.call(run, NUMBERS[0], days=200)
            await past.over(run, days=100)
            await keeper.look()
            assert list((await past.where()).values()) == ["near"]
        finally:
            await engines.close()
