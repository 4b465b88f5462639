"""Attempts of runs that are long over get out of the way of dialing, and go by months where nobody keeps them."""

from __future__ import annotations

import asyncio
import random
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from dialing import phones, set_stage
from engines import TTL_SECONDS
from outdial.core.attempt_limits import Counted, LimitRule, standing
from outdial.core.errors import DatabaseUnavailableError, InvalidInputError, NotFoundError
from outdial.core.model import Disposition
from outdial.services import attempt_limits, erasures, history_export, old_attempts, retention, run_views, runs, sealing
from outdial.services.engines import Engines
from outdial.services.personal_data_keeper import PersonalDataKeeper
from outdial.store import attempts, call_details, recordings, reserve, run_contacts
from outdial.store import dnc as dnc_store
from outdial.store import old_attempts as store
from outdial.store import runs as runs_store
from runs import waits_for_a_lock
from waiting import until

NUMBERS = phones(4)
DAY = timedelta(days=1)


class Past:
    """An account with runs of long ago."""

    def __init__(self, stage) -> None:
        self.stage = stage
        self.database = stage.database
        self.account_id = stage.owner.account_id

    async def begin(self):
        """Start the campaign; nobody dials."""
        stage = self.stage
        started = await runs.start(
            self.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="anna"
        )
        return started.run

    async def over(self, run, *, days: float) -> None:
        await self.do(
            "UPDATE runs SET state = 'completed', ended_at = now() - $2::interval WHERE id = $1", run.id, days * DAY
        )
        await self.do("DELETE FROM run_lists WHERE run_id = $1", run.id)

    async def call(self, run, phone: str, *, days: float, disposition: str = "busy", matters=None) -> str:
        """Write down a call that ended so long ago; return its id."""
        attempt_id = uuid.uuid4().hex
        await self.do(
            """
            INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                  engine_id, node_id, epoch, number, state, disposition, reserved_at, dialed_at,
                                  answered_at, ended_at, matters, changed_by)
            SELECT $1, r.id, r.campaign_id, r.account_id, rc.contact_id, $3, '+1', 't', 'e', 'n', 1, 1, 'ended', $4,
                   now() - $5::interval, now() - $5::interval,
                   CASE WHEN $4 = 'answered_human' THEN now() - $5::interval END, now() - $5::interval, $6, 'test'
              FROM runs r JOIN run_contacts rc ON rc.run_id = r.id AND rc.phone = $3 WHERE r.id = $2
            """,
            attempt_id,
            run.id,
            phone,
            disposition,
            days * DAY,
            matters,
        )
        await self.do(
            "UPDATE run_contacts SET attempts_count = attempts_count + 1 WHERE run_id = $1 AND phone = $2",
            run.id,
            phone,
        )
        return attempt_id

    async def run_of(self):
        """Return the last run as it is now."""
        async with self.database.connection() as connection:
            return await runs_store.latest_run(connection, self.stage.campaign_id)

    async def do(self, statement: str, *arguments) -> list:
        async with self.database.connection() as connection:
            return await connection.fetch(statement, *arguments)

    async def where(self) -> dict[str, str]:
        """Return in which table each attempt is."""
        rows = await self.do(
            "SELECT id, 'near' AS place FROM attempts UNION ALL SELECT id, tableoid::regclass::text FROM old_attempts"
        )
        return {row["id"]: row["place"] for row in rows}

    async def keep(self, days: int | None, **others):
        wanted = {"recordings_days": None, "attributes_days": None} | others
        return await retention.set_days(
            self.database, account_id=self.account_id, attempts_days=days, actor="dora", **wanted
        )

    async def look(self) -> old_attempts.Looked:
        return await old_attempts.look(self.database)

    async def clock_is(self, **steady) -> None:
        """Let the database's clock have gone on so long without a leap, seen last so long ago."""
        await self.do(
            "UPDATE attempt_moves SET steady_since = now() - $1::interval, seen_at = now() - $2::interval",
            steady.get("steady", 2 * DAY),
            steady.get("seen", timedelta(0)),
        )


@pytest.fixture
async def past(database, secret_box) -> Past:
    found = Past(await set_stage(database, secret_box, NUMBERS))
    await found.clock_is(steady=2 * DAY)
    return found


def month_of(days: float) -> str:
    return (datetime.now(UTC) - days * DAY).strftime("old_attempts_%Y_%m")


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
            assert await store.hold(connection)
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
        # what is 140 days old goes when its month is 120 days over
        gone = 5 if month_ended(140, days=120) else 4
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
            INSERT INTO transfers (id, attempt_id, run_id, epoch, engine_id, dialed) VALUES ('x', $1, $2, 1, 'e', 'd')
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

    async def test_whoever_looks_back_as_a_month_goes_is_waited_for_a_moment_only(self, past):
        await past.do("SELECT outdial_make_month('2020-03-01')")
        await past.look()
        async with past.database.transaction() as looking:
            await looking.fetchval("SELECT count(*) FROM old_attempts_2020_03")
            async with past.database.transaction() as dropping:
                (month,) = await store.months(dropping)
                assert not await store.drop(dropping, month)
                # it goes on, without what it waited for
                assert await dropping.fetchval("SELECT true")
        async with past.database.transaction() as dropping:
            assert await store.drop(dropping, month)
            assert await store.months(dropping) == []

    async def test_a_month_that_another_process_has_done_away_with_is_none(self, past, monkeypatch):
        await past.do("SELECT outdial_make_month('2020-03-01')")
        hold = store.hold

        async def slow(connection):
            await past.do("DROP TABLE IF EXISTS old_attempts_2020_03")
            return await hold(connection)

        monkeypatch.setattr(store, "hold", slow)
        assert await past.look() == old_attempts.Looked(0, more=False)

    async def test_what_the_database_refuses_is_told_and_ends_nothing(self, past, secret_box, tmp_path):
        await past.do("SELECT outdial_make_month('2020-03-01')")
        await past.do("CREATE TABLE old_attempts_theirs PARTITION OF old_attempts DEFAULT")
        await past.do("CREATE VIEW theirs AS SELECT id FROM old_attempts_2020_03")
        await past.look()
        with pytest.raises(DatabaseUnavailableError, match="refuses to move or remove old attempts"):
            await past.look()
        engines = Engines(past.database, secret_box, ttl_seconds=TTL_SECONDS)
        try:
            await PersonalDataKeeper(past.database, secret_box, engines, tmp_path).look()
        finally:
            await engines.close()

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
            assert await store.hold(connection)
            assert await store.move(connection, run.id, limit=10) == 1
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


def month_ended(age: float, *, days: int) -> bool:
    """Whether the month in which something was so many days ago has been over for ``days``."""
    now = datetime.now(UTC)
    then = now - age * DAY
    end = (then.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + 32 * DAY).replace(day=1)
    return end <= now - days * DAY


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
        with pytest.raises(InvalidInputError, match="over 90 days"):
            await attempt_limits.add_limit(past.database, long, account_id=past.account_id, actor="x")
        await past.keep(90)
        await attempt_limits.add_limit(past.database, long, account_id=past.account_id, actor="x")
        with pytest.raises(InvalidInputError, match="over 90 days"):
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

        with pytest.raises(InvalidInputError, match="were removed"):
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
        assert [isinstance(one, InvalidInputError) for one in ended].count(True) == 1


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
