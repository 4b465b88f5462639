"""What holds up old attempts: whom it holds up with them, and what is told of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from structlog.testing import capture_logs

from engines import TTL_SECONDS
from old_runs import DAY, NUMBERS, Past, month_of, set_past
from outdial.core.errors import DatabaseRefusesError, DatabaseUnavailableError
from outdial.services import old_attempts, personal_data_keeper
from outdial.services.engines import Engines
from outdial.services.personal_data_keeper import PersonalDataKeeper
from outdial.store import backups
from outdial.store import old_attempts as store
from outdial.store.old_attempts import Hold
from runs import waits_for_a_lock
from waiting import until

TABLES = "SELECT relname FROM pg_class WHERE relname LIKE 'old_attempts_2%' AND relkind = 'r' ORDER BY relname"


@pytest.fixture
async def past(database, secret_box) -> Past:
    return await set_past(database, secret_box)


@pytest.fixture
async def keeper(past, secret_box, tmp_path, monkeypatch) -> PersonalDataKeeper:
    """One that looks for old attempts each time."""
    monkeypatch.setattr(personal_data_keeper, "OLD_ATTEMPTS_SECONDS", 0.0)
    engines = Engines(past.database, secret_box, ttl_seconds=TTL_SECONDS)
    yield PersonalDataKeeper(past.database, secret_box, engines, tmp_path)
    await engines.close()


async def told(keeper: PersonalDataKeeper) -> list[tuple[str, str]]:
    """Look, and return what is logged of attempts."""
    with capture_logs() as logs:
        await keeper.look()
    return [(one["event"], one.get("reason", "")) for one in logs if one.get("what") == "attempts"]


async def over(past: Past, *, days: float, number: str = NUMBERS[0]) -> str:
    """Return the attempt of a run that is over."""
    run = await past.begin()
    attempt_id = await past.call(run, number, days=days)
    await past.over(run, days=days)
    return attempt_id


async def empty(past: Past, month: str = "2020-03-01") -> store.Month:
    """Make a month, and let it be seen to be empty."""
    await past.do("SELECT outdial_make_month($1)", datetime.fromisoformat(month).date())
    await past.look()
    async with past.database.connection() as connection:
        return (await store.months(connection))[0]


class TestDropping:
    async def test_whoever_looks_back_as_a_month_goes_is_waited_for_a_moment_only(self, past):
        month = await empty(past)
        async with past.database.connection() as dropping:
            async with past.database.transaction() as looking:
                # after its snapshot the month is what it looks at
                await looking.fetchval(f"SELECT count(*) FROM {month.table}")
                await past.do("UPDATE empty_months SET seen_at = now() - interval '1 hour'")
                assert not await store.drop(dropping, month)
                # it goes on, without what it waited for, and waits for the next as ever
                assert await dropping.fetchval("SHOW lock_timeout") == "0"
            assert await store.drop(dropping, month)
            assert await store.months(dropping) == []

    async def test_leaves_no_lock_to_a_process_that_freezes_as_it_is_done(self, past, monkeypatch):
        await empty(past)
        drop, held = store.drop, []

        async def freezing(connection, month):
            dropped = await drop(connection, month)
            # this process does nothing more, and others look on
            held.extend(
                await past.do("SELECT mode FROM pg_locks WHERE granted AND relation = 'old_attempts'::regclass")
            )
            return dropped

        monkeypatch.setattr(store, "drop", freezing)
        await past.look()
        assert await past.do(TABLES) == []
        assert held == []

    async def test_is_not_done_while_somebody_moves_there_nor_of_what_was_filled(self, past):
        month = await empty(past)
        async with past.database.connection() as dropping:
            async with past.database.transaction() as moving:
                assert await store.hold(moving) is Hold.HELD
                assert not await store.drop(dropping, month)
            attempt_id = await over(past, days=50)
            await past.do("UPDATE attempts SET ended_at = '2020-03-05'")
            await past.do("INSERT INTO old_attempts SELECT * FROM attempts")
            assert not await store.drop(dropping, month)
            await past.do("DELETE FROM old_attempts WHERE id = $1", attempt_id)
            await past.do("DELETE FROM empty_months")
            # nobody has seen that
            assert not await store.drop(dropping, month)

    async def test_has_its_time(self, past, monkeypatch):
        await past.do("SELECT outdial_make_month(month) FROM unnest('{2020-03-01,2020-04-01}'::date[]) month")
        await past.look()
        monkeypatch.setattr(old_attempts, "SECONDS", 0.0)
        looked = await past.look()
        assert (len(await past.do(TABLES)), looked.whole) == (1, False)

    async def test_waits_for_a_backup_from_before_its_snapshot_on(self, past, dsn):
        month = await empty(past)
        async with past.database.connection() as dropping, backups.snapshot(dsn):
            await past.do("UPDATE empty_months SET seen_at = now() - interval '1 hour'")
            assert not await store.drop(dropping, month)

    async def test_of_a_month_that_goes_as_a_backup_begins_its_snapshot_has_none(self, past, dsn):
        month = await empty(past)
        backup = backups.snapshot(dsn)
        async with past.database.transaction() as dropping:
            await dropping.execute(f"DROP TABLE {month.table}")
            beginning = asyncio.create_task(backup.__aenter__())
            await until(lambda: waits_for_a_lock(past.database))
        connection, _ = await beginning
        assert await connection.fetch("SELECT FROM pg_class WHERE relname = $1", month.table) == []
        await backup.__aexit__(None, None, None)

    async def test_whoever_looks_back_over_all_months_is_waited_for_once(self, past, monkeypatch):
        """As a backup does for as long as it takes: each try would have others wait behind it."""
        await past.do("SELECT outdial_make_month(month) FROM unnest('{2020-03-01,2020-04-01}'::date[]) month")
        await past.look()
        drop, tried = store.drop, []

        async def counting(connection, month):
            tried.append(month.table)
            return await drop(connection, month)

        monkeypatch.setattr(store, "drop", counting)
        async with past.database.transaction() as looking:
            await looking.execute("LOCK TABLE ONLY old_attempts IN ACCESS SHARE MODE")
            looked = await past.look()
            assert (tried, looked.whole, looked.troubles) == (["old_attempts_2020_03"], False, ())
        await past.look()
        assert await past.do(TABLES) == []

    async def test_a_month_that_is_not_attached_any_more_is_left_alone(self, past):
        month = await empty(past)
        await past.do(f"ALTER TABLE old_attempts DETACH PARTITION {month.table}")
        async with past.database.connection() as dropping:
            assert await store.drop(dropping, month) is False
        assert [row["relname"] for row in await past.do(TABLES)] == [month.table]

    async def test_of_a_month_with_attempts_nobody_asks_the_clock(self, past, monkeypatch):
        attempt_id = await over(past, days=90)
        await past.look()
        asked, hold = 0, store.hold

        async def counting(connection):
            nonlocal asked
            asked += 1
            return await hold(connection)

        monkeypatch.setattr(store, "hold", counting)
        await past.clock_is(steady=timedelta(hours=3))
        looked = await past.look()
        # what the clock says is noted, and nothing waits for it
        assert (asked, looked) == (1, old_attempts.Looked(0, more=False))
        assert await past.where() == {attempt_id: month_of(90)}

    async def test_names_that_are_no_months_are_left_alone(self, past):
        for name in ("2020_00", "2020_13", "0000_05", "9999_12"):
            await past.do(f"CREATE TABLE old_attempts_{name} (LIKE old_attempts INCLUDING ALL)")
        await past.do("ALTER TABLE old_attempts ATTACH PARTITION old_attempts_2020_13 DEFAULT")
        for year, name in ((2001, "2020_00"), (2002, "0000_05"), (2003, "9999_12")):
            await past.do(
                f"ALTER TABLE old_attempts ATTACH PARTITION old_attempts_{name}"
                f" FOR VALUES FROM ('{year}-01-01') TO ('{year}-02-01')"
            )
        assert await past.look() == old_attempts.Looked(0, more=False)


class TestTroubles:
    @pytest.fixture
    async def viewed(self, past) -> Past:
        """Somebody has a view on a month that is empty."""
        await empty(past)
        await past.do("CREATE VIEW theirs AS SELECT id FROM old_attempts_2020_03")
        return past

    async def test_one_holds_up_nothing_else_and_each_is_told_once(self, viewed, keeper, monkeypatch):
        await empty(viewed, "2020-04-01")
        await viewed.do("CREATE VIEW theirs_too AS SELECT id FROM old_attempts_2020_04")
        await viewed.look()
        await over(viewed, days=200)
        await viewed.keep(31)
        monkeypatch.setattr(old_attempts, "AT_ONCE", 1)
        monkeypatch.setattr(personal_data_keeper, "OLD_ATTEMPTS_SECONDS", 600.0)
        logged = await told(keeper)
        assert ("personal_data_removed", "") in logged
        refused = [reason for event, reason in logged if event == "personal_data_not_removed"]
        assert [name in reason for reason, name in zip(refused, ("2020_03", "2020_04"), strict=True)] == [True, True]
        assert all("refuses to move or remove old attempts: cannot drop table" in reason for reason in refused)
        # between two looks nothing is looked at, and nothing forgotten
        assert await told(keeper) == []
        keeper._old_attempts_at = 0.0
        assert await told(keeper) == []
        await viewed.do("DROP VIEW theirs")
        keeper._old_attempts_at = 0.0
        assert await told(keeper) == []
        assert "old_attempts_2020_03" not in [row["relname"] for row in await viewed.do(TABLES)]

    async def test_what_was_done_is_told_beside_them(self, viewed, monkeypatch):
        monkeypatch.setattr(old_attempts, "AT_ONCE", 1)
        monkeypatch.setattr(old_attempts, "RUNS_AT_ONCE", 1)
        await over(viewed, days=200)
        await viewed.keep(31)
        looked = await viewed.look()
        assert (looked.removed, looked.more) == (1, True)
        (trouble,) = looked.troubles
        assert isinstance(trouble, DatabaseRefusesError)

    async def test_a_look_whose_time_is_up_forgets_none(self, past, keeper, monkeypatch):
        await past.do("SELECT outdial_make_month(month) FROM unnest('{2020-03-01,2020-04-01}'::date[]) month")
        await past.do("CREATE VIEW theirs AS SELECT id FROM old_attempts_2020_04")
        await past.do("INSERT INTO empty_months VALUES ('old_attempts_2020_04')")
        assert len(await told(keeper)) == 1
        with monkeypatch.context() as hurried:
            hurried.setattr(old_attempts, "SECONDS", 0.0)
            assert await told(keeper) == []
        await past.do("SELECT outdial_make_month('2020-03-01')")
        assert await told(keeper) == []

    async def test_of_a_month_that_is_not_attached_any_more_holds_up_its_runs_alone(self, past, monkeypatch):
        first = await over(past, days=200)
        await past.look()
        table = month_of(200)
        await past.do(f"ALTER TABLE old_attempts DETACH PARTITION {table}")
        stuck, free = await over(past, days=200), await over(past, days=90)
        monkeypatch.setattr(old_attempts, "anywhere", lambda: 0.0)
        looked = await past.look()
        assert await past.where() == {stuck: "near", free: month_of(90)}
        (trouble,) = looked.troubles
        assert f"{table} has the name of a month of old_attempts and is not attached" in trouble.message
        # as the sentence says
        await past.do(trouble.message.partition("attach it again: ")[2].rstrip("."))
        assert (await past.look()).troubles == ()
        assert await past.where() == {first: table, stuck: table, free: month_of(90)}

    async def test_of_a_month_whose_detaching_was_broken_off_says_how_it_ends(self, past):
        first = await over(past, days=200)
        await past.look()
        table = month_of(200)
        async with past.database.transaction() as looking:
            await looking.fetch("SELECT FROM old_attempts")
            detaching = asyncio.create_task(past.do(f"ALTER TABLE old_attempts DETACH PARTITION {table} CONCURRENTLY"))
            await until(lambda: waits_for_a_lock(past.database))
            detaching.cancel()
            await asyncio.gather(detaching, return_exceptions=True)
        assert await past.where() == {}
        second = await over(past, days=200)
        (trouble,) = (await past.look()).troubles
        assert f"detaching the month {table} from old_attempts was broken off" in trouble.message
        # as the sentence says
        _, end, _, again = trouble.message.rstrip(".").replace("; then", ": ").split(": ")[-4:]
        await past.do(end)
        await past.do(again)
        assert (await past.look()).troubles == ()
        assert await past.where() == {first: table, second: table}

    async def test_a_month_that_goes_before_it_is_filled_passes(self, past, monkeypatch):
        """A process froze between the two, for so long that others have seen the month to be empty."""
        attempt_id = await over(past, days=90)
        move = store.move

        async def late(connection, *arguments, **options):
            monkeypatch.setattr(store, "move", move)
            await connection.execute(f"DROP TABLE {month_of(90)}")
            return await move(connection, *arguments, **options)

        monkeypatch.setattr(store, "move", late)
        (trouble,) = (await past.look()).troubles
        assert isinstance(trouble, DatabaseUnavailableError)
        assert "no partition of relation" in trouble.message
        await past.look()
        assert await past.where() == {attempt_id: month_of(90)}

    async def test_many_runs_that_are_refused_keep_none_of_the_others_waiting_for_ever(self, past, monkeypatch):
        monkeypatch.setattr(old_attempts, "RUNS_AT_ONCE", 1)
        stuck, free = await over(past, days=200), await over(past, days=90)
        await past.do(f"CREATE TABLE {month_of(200)} (mine text)")
        for place, moved in ((0.0, "near"), (0.9, month_of(90))):
            monkeypatch.setattr(old_attempts, "anywhere", lambda place=place: place)
            assert not (await past.look()).more or moved != "near"
            assert await past.where() == {stuck: "near", free: moved}

    async def test_somebody_in_the_way_is_waited_for_a_moment_only(self, past, monkeypatch):
        attempt_id = await over(past, days=90)
        async with past.database.transaction() as locking:
            await locking.execute("LOCK TABLE moved_attempts")
            (trouble,) = (await past.look()).troubles
            assert isinstance(trouble, DatabaseUnavailableError)
            assert "somebody is in the way" in trouble.message
        assert (await past.look()).troubles == ()
        assert await past.where() == {attempt_id: month_of(90)}

    async def test_the_month_is_there_before_anything_is_moved_into_it(self, past, monkeypatch):
        await over(past, days=90)
        move, seen = store.move, []

        async def noting(connection, *arguments, **options):
            seen.extend(row["relname"] for row in await past.do(TABLES))
            return await move(connection, *arguments, **options)

        monkeypatch.setattr(store, "move", noting)
        await past.look()
        assert seen == [month_of(90)]

    async def test_a_database_that_is_away_ends_the_look(self, past, monkeypatch, keeper):
        await past.do("SELECT outdial_make_month(month) FROM unnest('{2020-03-01,2020-04-01}'::date[]) month")
        hold, asked = store.hold, 0

        async def cut(connection):
            nonlocal asked
            asked += 1
            await past.do("SELECT pg_terminate_backend($1)", connection.get_server_pid())
            return await hold(connection)

        monkeypatch.setattr(store, "hold", cut)
        with pytest.raises(DatabaseUnavailableError):
            await past.look()
        assert asked == 1
        assert [event for event, _ in await told(keeper)] == ["personal_data_waits_for_database"]

    async def test_each_outage_is_told_and_no_refusal_again(self, viewed, keeper, monkeypatch):
        """Though no look gets everywhere meanwhile."""
        monkeypatch.setattr(old_attempts, "SECONDS", 0.0)
        assert [event for event, _ in await told(keeper)] == ["personal_data_not_removed"]
        look = old_attempts.look

        async def away(_database):
            raise DatabaseUnavailableError("The database is away.")

        for _ in range(2):
            monkeypatch.setattr(old_attempts, "look", away)
            assert await told(keeper) == [("personal_data_waits_for_database", "The database is away.")]
            assert await told(keeper) == []
            monkeypatch.setattr(old_attempts, "look", look)
            assert await told(keeper) == []

    async def test_what_the_database_says_is_told_apart(self):
        def told_of(error: BaseException) -> list[type]:
            found = {}
            with store.troubles(found):
                raise error
            return [type(one) for one in found.values()]

        def seen(cause: BaseException | None) -> DatabaseUnavailableError:
            error = DatabaseUnavailableError("away")
            error.__cause__ = cause
            return error

        assert told_of(asyncpg.InsufficientPrivilegeError("no")) == [DatabaseRefusesError]
        assert told_of(seen(asyncpg.OutOfMemoryError("no room"))) == [DatabaseRefusesError]
        broken = asyncpg.CheckViolationError("no")
        broken.constraint_name = "theirs"
        assert told_of(broken) == [DatabaseRefusesError]
        assert told_of(asyncpg.LockNotAvailableError("no")) == [DatabaseUnavailableError]
        assert told_of(seen(asyncpg.DeadlockDetectedError("crossed"))) == [DatabaseUnavailableError]
        for away in (seen(None), seen(asyncpg.AdminShutdownError("bye")), seen(OSError())):
            with pytest.raises(DatabaseUnavailableError, match="away"):
                told_of(away)


class TestClock:
    async def test_one_that_is_not_trusted_is_told_once(self, past, keeper):
        await over(past, days=90)
        await past.clock_is(steady=timedelta(hours=3))
        (row,) = await past.do("SELECT steady_since + interval '1 day' AS trusted FROM attempt_moves")
        looked = await past.look()
        assert (looked.trusted_from, looked.whole) == (row["trusted"], False)
        ((event, reason),) = await told(keeper)
        assert event == "old_attempts_wait_for_the_clock"
        assert f"trusted from {row['trusted']:%FT%RZ}" in reason
        assert await told(keeper) == []
        # nor is it told of somebody who is at it
        async with past.database.transaction() as holding:
            assert await store.hold(holding) is Hold.CLOCK
            assert (await past.look()).trusted_from is None
        await past.clock_is()
        assert (await past.look()).trusted_from is None

    async def test_one_that_leaps_each_time_is_told_of_its_last_leap_alone(self, past, keeper):
        await over(past, days=90)
        for hours in (3, 2, 1):
            await past.clock_is(steady=timedelta(hours=hours))
            assert [event for event, _ in await told(keeper)] == ["old_attempts_wait_for_the_clock"]
        assert sum(len(one) for one in keeper._told.values()) == 1
        # somebody else is at it: that says nothing of the clock
        async with past.database.transaction() as holding:
            await store.hold(holding)
            assert await told(keeper) == []
        assert await told(keeper) == []

    async def test_is_noted_where_there_is_nothing_to_do(self, past):
        await past.clock_is(seen=6 * DAY)
        await past.look()
        (row,) = await past.do("SELECT seen_at > now() - interval '1 day' AS lately FROM attempt_moves")
        assert row["lately"]

    async def test_a_leap_that_is_trusted_removes_nothing_that_a_limit_counts(self, past):
        """However long ago its month is over: it stays for as long as the leap may be."""
        await over(past, days=200)
        await past.look()
        async with past.database.connection() as connection:
            (month,) = await store.months(connection)
        over_for = (datetime.now(UTC) - month.end) / DAY
        await past.keep(int(over_for) - 6)
        async with past.database.transaction() as connection:
            assert await store.due(connection, past.account_id, month) is None
        assert (await past.look()).removed == 0
        await past.keep(int(over_for) - 7)
        assert (await past.look()).removed == 1


class TestLookingBack:
    async def test_an_attempt_with_an_open_leg_is_not_moved(self, past):
        attempt_id = await over(past, days=90)
        await past.do(
            """
            INSERT INTO transfers (id, attempt_id, run_id, epoch, engine_id, dialed)
            SELECT 'x', id, run_id, 1, 'e', 'd' FROM attempts
            """
        )
        assert await past.look() == old_attempts.Looked(0, more=False)
        assert await past.where() == {attempt_id: "near"}
        await past.do("UPDATE transfers SET ended_at = now()")
        await past.look()
        assert await past.where() == {attempt_id: month_of(90)}
