"""Backups of a real database and what a restore makes of them: what is refused, made safe, and left by faults."""

from __future__ import annotations

import shutil
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from conftest import named
from dialing import phones, set_stage
from outdial.core.backup import DATABASE, MARGIN, Manifest, write_manifest
from outdial.core.errors import ConflictError, DatabaseUnavailableError, FileError, StartupError
from outdial.core.model import RunState
from outdial.core.schedule import Recurrence
from outdial.embedded_postgres import EmbeddedPostgres
from outdial.services import (
    backups,
    dnc,
    erasures,
    history_export,
    postgres_programs,
    restores,
    runs,
    schedules,
)
from outdial.services.backup_file import BackupInvalidError, BackupWriter
from outdial.services.engines import Engines
from outdial.store import backups as backups_store
from outdial.store import dnc_hashes, emergencies, migrations, nodes, wide_stops
from outdial.store import restores as store
from outdial.store.database import Database, connect, server_version
from outdial.store.nodes import NodeRow
from runs import insert_run
from support.backups import backed_up, box, restored, settings_of
from support.recordings import SAID, recorded

LIVE = ("reserved", "dialing", "ringing", "answered")


class House:
    """An installation: a campaign whose run is active, with calls in every state, and a folder."""

    def __init__(self, database, dsn, folder, stage, run) -> None:
        self.database, self.dsn, self.folder, self.stage, self.run = database, dsn, folder, stage, run

    async def back_up(self, target, **options):
        return await backed_up(self.database, self.dsn, self.folder, target, **options)

    async def attempt(self, place: int, state: str, *, ended: bool = False) -> str:
        """Give one of the run's contacts an attempt in a state."""
        attempt_id = uuid.uuid4().hex
        async with self.database.connection() as connection:
            await connection.execute(
                """
                WITH contact AS (
                    SELECT run_id, contact_id, phone FROM run_contacts WHERE run_id = $2 ORDER BY sort_key, contact_id
                     OFFSET $3 LIMIT 1),
                 claimed AS (
                    UPDATE run_contacts rc SET state = CASE WHEN $5 THEN 'done' ELSE 'claimed' END,
                           done_reason = CASE WHEN $5 THEN 'reached' END, attempts_count = 1
                      FROM contact c WHERE rc.run_id = c.run_id AND rc.contact_id = c.contact_id)
                INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                      engine_id, node_id, epoch, number, state, dialed_at, changed_by, disposition,
                                      ended_at)
                SELECT $1, r.id, r.campaign_id, r.account_id, c.contact_id, c.phone, '+15550100999', r.trunk_id,
                       'engine', 'node', 1, 1, $4, now(), 'test', CASE WHEN $5 THEN 'answered_human' END,
                       CASE WHEN $5 THEN now() END
                  FROM contact c JOIN runs r ON r.id = c.run_id
                """,
                attempt_id,
                self.run.id,
                place,
                state,
                ended,
            )
        return attempt_id


@pytest.fixture
async def house(database, dsn, tmp_path) -> House:
    folder = tmp_path / "old"
    folder.mkdir()
    stage = await set_stage(database, box(), phones(12))
    begun = await runs.start(database, box(), iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
    return House(database, dsn, folder, stage, begun.run)


async def fetch(dsn, statement, *arguments):
    connection = await connect(dsn)
    try:
        return await connection.fetch(statement, *arguments)
    finally:
        await connection.close()


async def opened(dsn) -> Database:
    return await Database.open(dsn, pool_size=4)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


class TestMadeSafe:
    async def test_nothing_of_it_dials_by_itself(self, house, empty_dsn, tmp_path):
        live = {state: await house.attempt(place, state) for place, state in enumerate(LIVE)}
        over = await house.attempt(4, "ended", ended=True)
        backup = await house.back_up(tmp_path / "monday.outdial")
        done = await restored(settings_of(tmp_path / "new", empty_dsn), backup.path)
        (left,) = done.safe.runs
        assert (left.campaign_name, left.was_active, left.open_contacts) == ("Spring", True, 7)
        assert done.safe.unknown_attempts == 4
        rows = await fetch(empty_dsn, "SELECT id, state, disposition, change_reason FROM attempts")
        assert {row["id"]: (row["state"], row["disposition"]) for row in rows} == {
            **dict.fromkeys(live.values(), ("unknown", "unknown")),
            over: ("ended", "answered_human"),
        }
        contacts = await fetch(
            empty_dsn, "SELECT state, done_reason, count(*) FROM run_contacts GROUP BY 1, 2 ORDER BY 3"
        )
        assert [tuple(row) for row in contacts] == [
            ("done", "reached", 1),
            ("done", "unknown", 4),
            ("pending", None, 7),
        ]
        (run,) = await fetch(empty_dsn, "SELECT state, epoch, changed_by, change_reason FROM runs")
        assert (run["state"], run["changed_by"]) == ("paused", "restore")
        assert run["epoch"] > MARGIN
        assert "whom it has called since, nobody knows here" in run["change_reason"]
        moves = await fetch(
            empty_dsn, "SELECT from_state, to_state, actor FROM history WHERE action = 'run' ORDER BY id DESC LIMIT 1"
        )
        assert tuple(moves[0]) == ("active", "paused", "restore")
        (told,) = await fetch(empty_dsn, "SELECT actor, detail FROM history WHERE action = 'restore'")
        assert told["actor"] == "cli:anna"
        assert told["detail"]["manifest_sha256"] == backup.manifest_sha256
        # the installation itself is as it was
        assert (await runs.progress(house.database, house.run.id)).run.state is RunState.ACTIVE

    async def test_what_ran_before_it_may_reserve_and_renew_nothing(self, house, empty_dsn, tmp_path):
        node = NodeRow("n" * 32, "night", "host", 1, "app", "engine-1")
        late = NodeRow("o" * 32, "late", "host", 2, "app-2", "engine-1")
        async with house.database.transaction() as connection:
            await connection.execute("INSERT INTO engines (id, kind, url) VALUES ('engine-1', 'asterisk', 'http://x')")
            await nodes.register(connection, node, ttl_seconds=30)
            await nodes.serve(connection, run_id=house.run.id, node_id=node.id, epoch=1)
            noted = {"run_id": house.run.id, "node_id": node.id, "engine_id": "engine-1", "epoch": 1, "key": "a" * 32}
            await nodes.making(connection, **noted, address=("127.0.0.1", 5060), seconds=30)
        await house.back_up(tmp_path / "monday.outdial")
        async with house.database.transaction() as connection:
            await nodes.register(connection, late, ttl_seconds=30)
        await restored(settings_of(tmp_path / "new", empty_dsn), tmp_path / "monday.outdial")
        database = await opened(empty_dsn)
        try:
            async with database.connection() as connection:
                for one in (node, late):
                    assert not await nodes.renew(connection, one.id, ttl_seconds=30, engine_up=True)
                    verdict = await connection.fetchval(
                        """
                        SELECT verdict FROM outdial_reserve($1, 1, $2, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}',
                                                            '{}', '{}', '{}', '{}', 9, 9, 9, '{}')
                        """,
                        house.run.id,
                        one.id,
                    )
                    assert verdict == "moved_on"
                assert not await nodes.making(connection, **noted, address=("127.0.0.1", 5060), seconds=30)
                # a server that reaps takes every permit of before away, of the same epoch too
                await connection.execute("UPDATE runs SET state = 'active', epoch = 1")
                assert await nodes.permits_of_engine(connection, "engine-1") == frozenset()
                # and a stop asks the engines it may have been put at, and waits for none that is gone
                assert await nodes.permits_of_run(connection, house.run.id) == {"engine-1": [(1, "a" * 32)]}
                (engine,) = await connection.fetch("SELECT retired_by FROM engines")
                assert engine["retired_by"] == "restore"
        finally:
            await database.close()

    async def test_no_number_is_given_twice(self, house, empty_dsn, tmp_path):
        """A run is named in permits and channels, a row of the history in the messages that receivers know apart."""
        await house.back_up(tmp_path / "monday.outdial")
        (last,) = await fetch(house.dsn, "SELECT max(id) AS id FROM history")
        await restored(settings_of(tmp_path / "new", empty_dsn), tmp_path / "monday.outdial")
        (first,) = await fetch(empty_dsn, "SELECT min(id) AS id FROM history WHERE id > $1", last["id"])
        assert first["id"] > last["id"] + MARGIN
        database = await opened(empty_dsn)
        try:
            async with database.connection() as connection:
                trunk_id = house.stage.trunk.id
                made = await insert_run(connection, house.stage.owner, trunk_id=trunk_id, state="stopped", name="New")
                assert made > house.run.id + MARGIN
        finally:
            await database.close()

    async def test_nor_after_the_same_backup_was_restored_before(self, house, empty_dsn, tmp_path):
        """What the first restore has given out since, the second one does not give out again."""
        await house.back_up(tmp_path / "monday.outdial")
        settings = settings_of(tmp_path / "new", empty_dsn)
        await restored(settings, tmp_path / "monday.outdial")
        (before,) = await fetch(empty_dsn, "SELECT epoch, (SELECT max(id) FROM history) AS id FROM runs")
        await restored(settings, tmp_path / "monday.outdial", replace=True)
        (after,) = await fetch(
            empty_dsn, "SELECT epoch, (SELECT min(id) FROM history WHERE actor = 'restore') AS id FROM runs"
        )
        assert after["epoch"] > before["epoch"]
        assert after["id"] > before["id"]

    @pytest.mark.parametrize("keep", [False, True])
    async def test_schedules_are_off_unless_they_are_to_be_kept(self, house, empty_dsn, tmp_path, keep):
        now = datetime.now().replace(second=0, microsecond=0)
        plan = schedules.SchedulePlan(
            start=now + timedelta(days=1),
            end=now + timedelta(days=9),
            recurrence=Recurrence.DAILY,
            every=1,
            weekdays=(),
        )
        owner, campaign_id = house.stage.owner, house.stage.campaign_id
        await schedules.enable(house.database, iid=owner.iid, campaign_id=campaign_id, plan=plan, actor="test")
        await house.back_up(tmp_path / "monday.outdial")
        settings = settings_of(tmp_path / "new", empty_dsn)
        done = await restored(settings, tmp_path / "monday.outdial", keep_schedules=keep)
        assert (done.safe.schedules_on, done.safe.schedules_off) == ((("Spring",), ()) if keep else ((), ("Spring",)))
        (row,) = await fetch(empty_dsn, "SELECT enabled, next_at FROM schedules")
        assert (row["enabled"], row["next_at"] is None) == (keep, not keep)
        rows = await fetch(
            empty_dsn, "SELECT to_state, actor FROM history WHERE action = 'schedule' ORDER BY id DESC LIMIT 1"
        )
        assert tuple(rows[0]) == (("enabled", "test") if keep else ("disabled", "restore"))

    async def test_an_occurrence_that_came_due_meanwhile_is_not_begun_once_more(self, house, empty_dsn, tmp_path):
        """Not even one that is not late yet: it may have begun where the backup was made."""
        now = datetime.now().replace(second=0, microsecond=0)
        plan = schedules.SchedulePlan(
            start=now + timedelta(days=1),
            end=now + timedelta(days=9),
            recurrence=Recurrence.DAILY,
            every=1,
            weekdays=(),
        )
        owner, campaign_id = house.stage.owner, house.stage.campaign_id
        await schedules.enable(house.database, iid=owner.iid, campaign_id=campaign_id, plan=plan, actor="test")
        async with house.database.connection() as connection:
            await connection.execute("UPDATE schedules SET next_at = clock_timestamp() - interval '1 second'")
        await house.back_up(tmp_path / "monday.outdial")
        settings = settings_of(tmp_path / "new", empty_dsn)
        await restored(settings, tmp_path / "monday.outdial", keep_schedules=True)
        rows = await fetch(empty_dsn, "SELECT outcome, run_id, reason FROM schedule_occurrences")
        assert [tuple(row) for row in rows] == [("missed", None, store.MISSED_REASON)]
        (row,) = await fetch(empty_dsn, "SELECT enabled, next_at > now() AS ahead FROM schedules")
        assert tuple(row) == (True, True)

    async def test_a_stop_under_way_and_an_emergency_stay_what_they_are(self, house, empty_dsn, tmp_path):
        async with house.database.transaction() as connection:
            await connection.execute("UPDATE runs SET state = 'stopping', epoch = 2, stopping_at = now()")
            stop = "ws-1"
            await wide_stops.insert(connection, stop, restores_target(), actor="test")
            await emergencies.declare(connection, stop, reason="wrong recording", actor="test")
        await house.back_up(tmp_path / "monday.outdial")
        done = await restored(settings_of(tmp_path / "new", empty_dsn), tmp_path / "monday.outdial")
        assert (done.safe.runs, done.safe.stopping_runs, done.safe.emergency) == ((), 1, True)
        (run,) = await fetch(empty_dsn, "SELECT state, epoch FROM runs")
        assert tuple(run) == ("stopping", 2)
        with pytest.raises(asyncpg.PostgresError, match="an emergency stop is in force"):
            await fetch(empty_dsn, "UPDATE runs SET state = 'active'")

    async def test_what_was_asked_for_on_a_call_is_kept(self, house, empty_dsn, tmp_path):
        await house.attempt(0, "answered")
        async with house.database.connection() as connection:
            await connection.execute(
                "UPDATE run_contacts SET callback_at = now() + interval '1 day' WHERE state = 'claimed'"
            )
        await house.back_up(tmp_path / "monday.outdial")
        done = await restored(settings_of(tmp_path / "new", empty_dsn), tmp_path / "monday.outdial")
        (left,) = done.safe.runs
        assert (left.open_contacts, left.kept_callbacks) == (12, 1)

    async def test_an_account_whose_numbers_were_listed_keeps_them(self, house, empty_dsn, tmp_path):
        owner = house.stage.owner
        await dnc.add_numbers(house.database, account_id=owner.account_id, phones=["+15550000010"], actor="test")
        await house.back_up(tmp_path / "monday.outdial")
        await dnc.add_numbers(house.database, account_id=owner.account_id, phones=["+15550000110"], actor="test")
        done = await restored(settings_of(tmp_path / "new", empty_dsn), tmp_path / "monday.outdial")
        # what was added since is not in it, which the command says
        assert done.safe.dnc_entries == 1

    async def test_whoever_was_erased_since_and_is_never_to_be_called_stays_refused(self, house, tmp_path):
        """Nobody could list them again: only a hash of their number is left, in the database that is replaced."""
        owner, number = house.stage.owner, "+15550000777"
        backup = await house.back_up(tmp_path / "monday.outdial")
        engines = Engines(house.database, box(), ttl_seconds=1.0)
        await erasures.erase(
            house.database,
            box(),
            engines,
            account_id=owner.account_id,
            phone=number,
            never_call=True,
            actor="test",
            folder=tmp_path / "recordings",
        )
        await engines.close()
        await house.database.close()
        done = await restored(settings_of(tmp_path / "new", house.dsn), backup.path, replace=True)
        assert done.safe.erased_since == 1
        database = await opened(house.dsn)
        async with database.connection() as connection:
            (hashed,) = await dnc_hashes.hashes(connection, box(), owner.account_id, [number])
            listed = await dnc_hashes.of_run(connection, house.run.id, {number: hashed})
        await database.close()
        assert listed.on_account == {number}


def restores_target():
    from outdial.core.wide_stop import StopScope, StopTarget  # noqa: PLC0415 - only here

    return StopTarget(StopScope.EVERYTHING)


class TestRefused:
    async def test_a_database_that_holds_something_unless_told(self, house, tmp_path):
        backup = await house.back_up(tmp_path / "monday.outdial")
        async with house.database.connection() as connection:
            await connection.execute("UPDATE campaigns SET name = 'Later'")
        await house.database.close()
        settings = settings_of(tmp_path / "new", house.dsn)
        with pytest.raises(ConflictError, match="it holds the data of 1 accounts"):
            await restored(settings, backup.path)
        assert [row["name"] for row in await fetch(house.dsn, "SELECT name FROM campaigns")] == ["Later"]
        await restored(settings, backup.path, replace=True)
        assert [row["name"] for row in await fetch(house.dsn, "SELECT name FROM campaigns")] == ["Spring"]
        schemas = await fetch(house.dsn, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'outdial%'")
        assert schemas == []

    async def test_tables_of_somebody_else(self, house, empty_dsn, tmp_path):
        backup = await house.back_up(tmp_path / "monday.outdial")
        await fetch(empty_dsn, "CREATE TABLE theirs (id integer)")
        with pytest.raises(ConflictError, match="tables that are not outdial's"):
            await restored(settings_of(tmp_path / "new", empty_dsn), backup.path)

    async def test_a_schema_without_anything_in_it_is_empty(self, house, empty_dsn, tmp_path):
        backup = await house.back_up(tmp_path / "monday.outdial")
        await migrations.upgrade(empty_dsn)
        await restored(settings_of(tmp_path / "new", empty_dsn), backup.path)
        assert [row["name"] for row in await fetch(empty_dsn, "SELECT name FROM campaigns")] == ["Spring"]

    async def test_while_somebody_is_connected(self, house, empty_dsn, tmp_path, monkeypatch):
        monkeypatch.setattr(restores, "GONE_SECONDS", 0.2)
        backup = await house.back_up(tmp_path / "monday.outdial")
        other = await connect(empty_dsn, application_name="outdial")
        try:
            with pytest.raises(ConflictError, match=r"Others are connected to the database \(outdial\)"):
                await restored(settings_of(tmp_path / "new", empty_dsn), backup.path)
        finally:
            await other.close()
        assert await fetch(empty_dsn, "SELECT relname FROM pg_class WHERE relname = 'campaigns'") == []

    async def test_a_newer_schema(self, house, empty_dsn, tmp_path, monkeypatch):
        backup = await house.back_up(tmp_path / "monday.outdial")
        known = migrations.revisions()
        monkeypatch.setattr(migrations, "revisions", lambda: known[:-1])
        with pytest.raises(StartupError, match=f"The backup has schema {known[-1]}, newer than this outdial knows"):
            await restored(settings_of(tmp_path / "new", empty_dsn), backup.path)

    async def test_a_file_that_was_changed(self, house, empty_dsn, tmp_path):
        backup = await house.back_up(tmp_path / "monday.outdial")
        data = bytearray(backup.path.read_bytes())
        data[backup.places["database.dump"] + 4000] ^= 1
        backup.path.write_bytes(data)
        with pytest.raises(BackupInvalidError, match=r"its member database\.dump was changed or damaged"):
            await restored(settings_of(tmp_path / "new", empty_dsn), backup.path)
        assert not (tmp_path / "new").exists()

    async def test_a_folder_that_a_server_uses(self, house, tmp_path):
        backup = await house.back_up(tmp_path / "monday.outdial")
        server = await EmbeddedPostgres.start(tmp_path / "new", durable=False)
        try:
            with pytest.raises(ConflictError, match="uses the data folder"):
                await restored(settings_of(tmp_path / "new", None), backup.path)
        finally:
            await server.stop()


class TestFaults:
    async def test_a_restore_that_fails_puts_back_what_was_there(self, house, tmp_path, monkeypatch):
        backup = await house.back_up(tmp_path / "monday.outdial")
        async with house.database.connection() as connection:
            await connection.execute("UPDATE campaigns SET name = 'Later'")
        await house.database.close()
        settings = settings_of(tmp_path / "new", house.dsn)

        async def fails(*_arguments, **_options):
            raise DatabaseUnavailableError("lost")

        with monkeypatch.context() as broken:
            broken.setattr(store, "finish", fails)
            with pytest.raises(DatabaseUnavailableError, match="lost"):
                await restored(settings, backup.path, replace=True)
        assert [row["name"] for row in await fetch(house.dsn, "SELECT name FROM campaigns")] == ["Later"]
        await migrations.require_current(house.dsn)

    async def test_one_that_was_cut_off_is_worked_with_by_nobody_and_done_again(
        self, house, empty_dsn, tmp_path, monkeypatch
    ):
        """As a kill leaves it: restored whole, runs active in it, and not made safe."""
        backup = await house.back_up(tmp_path / "monday.outdial")
        settings = settings_of(tmp_path / "new", empty_dsn)

        async def killed(*_arguments, **_options):
            raise DatabaseUnavailableError("killed")

        async def nothing(_connection):
            return None

        with monkeypatch.context() as broken:
            broken.setattr(store, "finish", killed)
            broken.setattr(store, "undo", nothing)
            with pytest.raises(DatabaseUnavailableError, match="killed"):
                await restored(settings, backup.path)
        assert [row["state"] for row in await fetch(empty_dsn, "SELECT state FROM runs")] == ["active"]
        for refused in (migrations.require_current, migrations.upgrade):
            with pytest.raises(StartupError, match="run `outdial restore` again"):
                await refused(empty_dsn)
        # it may be told nothing: what is there is of the restore that was cut off
        await restored(settings, backup.path)
        assert [row["state"] for row in await fetch(empty_dsn, "SELECT state FROM runs")] == ["paused"]
        await migrations.require_current(empty_dsn)

    async def test_rows_that_are_missing_are_found(self, house, empty_dsn, tmp_path, monkeypatch):
        backup = await house.back_up(tmp_path / "monday.outdial")
        restore = postgres_programs.restore

        async def loses(programs, dsn, pieces):
            await restore(programs, dsn, pieces)
            await fetch(dsn, "DELETE FROM contacts WHERE id = (SELECT min(id) FROM contacts)")

        monkeypatch.setattr(postgres_programs, "restore", loses)
        with pytest.raises(BackupInvalidError, match="contacts has 11 rows, not 12"):
            await restored(settings_of(tmp_path / "new", empty_dsn), backup.path)

    async def test_another_chain_is_found(self, house, empty_dsn, tmp_path, monkeypatch):
        backup = await house.back_up(tmp_path / "monday.outdial")
        restore = postgres_programs.restore

        async def forges(programs, dsn, pieces):
            await restore(programs, dsn, pieces)
            await fetch(dsn, "ALTER TABLE history_seals DISABLE TRIGGER ALL")
            await fetch(dsn, "UPDATE history_seals SET sha256 = decode(repeat('00', 32), 'hex')")

        monkeypatch.setattr(postgres_programs, "restore", forges)
        with pytest.raises(BackupInvalidError, match="the last seals of the history are others"):
            await restored(settings_of(tmp_path / "new", empty_dsn), backup.path)
        assert await fetch(empty_dsn, "SELECT relname FROM pg_class WHERE relname = 'campaigns'") == []

    async def test_a_file_that_cannot_be_put_in_its_place_is_a_sentence(self, house, empty_dsn, tmp_path):
        await recorded(house.database, house.folder, instance_id=house.run.instance_id)
        backup = await house.back_up(tmp_path / "monday.outdial")
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "recordings").write_text("no folder")
        with pytest.raises(FileError, match="cannot be written"):
            await restored(settings_of(tmp_path / "new", empty_dsn), backup.path)
        assert await fetch(empty_dsn, "SELECT relname FROM pg_class WHERE relname = 'campaigns'") == []


async def test_files_come_back_and_those_of_others_are_told(house, empty_dsn, tmp_path):
    await recorded(house.database, house.folder, instance_id=house.run.instance_id)
    backup = await house.back_up(tmp_path / "monday.outdial")
    kept = files(house.folder)
    shutil.copytree(house.folder / "recordings", tmp_path / "new" / "recordings" / "another")
    done = await restored(settings_of(tmp_path / "new", empty_dsn), backup.path)
    assert (done.files, done.files_besides) == (1, 1)
    assert kept < files(tmp_path / "new")
    (name,) = kept
    assert (tmp_path / "new" / name).read_bytes() == SAID


async def test_what_was_restored_can_be_backed_up_and_restored_again(house, empty_dsn, tmp_path):
    first = await house.back_up(tmp_path / "monday.outdial")
    await restored(settings_of(tmp_path / "new", empty_dsn), first.path)
    database = await opened(empty_dsn)
    try:
        second = await backed_up(database, empty_dsn, tmp_path / "new", tmp_path / "tuesday.outdial")
    finally:
        await database.close()
    done = await restored(settings_of(tmp_path / "new", empty_dsn), second.path, replace=True)
    (left,) = done.safe.runs
    assert (left.was_active, left.open_contacts) == (False, 12)
    (run,) = await fetch(empty_dsn, "SELECT state, epoch FROM runs")
    assert run["state"] == "paused"
    assert run["epoch"] > 2 * MARGIN
    rows = await fetch(empty_dsn, "SELECT detail FROM history WHERE action = 'restore' ORDER BY id")
    assert [row["detail"]["manifest_sha256"] for row in rows] == [first.manifest_sha256, second.manifest_sha256]


async def test_an_older_schema_is_brought_up_to_date(postgres, empty_dsn, tmp_path, monkeypatch):
    """As the outdial of that schema has backed it up, which knew fewer tables."""
    name = f"test_{uuid.uuid4().hex}"
    await fetch(postgres.admin_dsn, f"CREATE DATABASE {name}")
    old, upgrade, before = named(postgres.admin_dsn, name), migrations.command.upgrade, migrations.revisions()[-2]
    with monkeypatch.context() as older:
        older.setattr(migrations.command, "upgrade", lambda config, _: upgrade(config, before))
        await migrations.upgrade(old)
    await fetch(old, "INSERT INTO accounts (id, name) VALUES ('ac-1', 'Acme')")
    writer = BackupWriter(tmp_path / "monday.outdial")
    async with backups_store.snapshot(old) as (connection, snapshot):
        programs = await postgres_programs.find(connection.get_server_version().major, None)
        with writer.member(DATABASE) as member:
            await postgres_programs.dump(programs, old, snapshot, member.write)
        manifest = Manifest(
            outdial_version="0.0.9",
            schema=before,
            postgres_version=await server_version(connection),
            taken_at=datetime.now(UTC),
            host="night",
            key_id=box().derive(backups.KEY_PURPOSE),
            with_key=False,
            rows={"accounts": 1, "history": 0},
            heads=(),
            live_runs=0,
            live_attempts=0,
            left_out=(),
            members=writer.members,
        )
    writer.finish(write_manifest(manifest))
    done = await restored(settings_of(tmp_path / "new", empty_dsn), writer.path)
    assert done.migrated == 1
    await migrations.require_current(empty_dsn)
    assert [row["id"] for row in await fetch(empty_dsn, "SELECT id FROM accounts")] == ["ac-1"]
    await fetch(postgres.admin_dsn, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.timeout(180)
async def test_from_a_server_over_the_network_to_an_embedded_one_the_chain_goes_on(external_dsn, tmp_path):
    """Another cluster, whose transactions count anew, and a newer PostgreSQL."""
    await migrations.upgrade(external_dsn)
    database = await opened(external_dsn)
    try:
        stage = await set_stage(database, box(), phones(3))
        await runs.start(database, box(), iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
        backup = await backed_up(database, external_dsn, tmp_path / "old", tmp_path / "monday.outdial")
        before = await history_export.verify(database, stage.owner.account_id)
    finally:
        await database.close()
    settings = settings_of(tmp_path / "new", None)
    await restored(settings, backup.path)
    server = await EmbeddedPostgres.start(settings.data_dir, durable=False)
    try:
        database = await opened(server.dsn)
        try:
            after = await history_export.verify(database, stage.owner.account_id)
            async with database.connection() as connection:
                seal = await connection.fetchval(
                    "SELECT encode(sha256, 'hex') FROM history_seals WHERE number = $1", before.seals
                )
            assert (seal, after.seals, after.rows > before.rows) == (before.head, before.seals + 1, True)
            # nobody but the role itself may change what is restored
            assert await _owner(database) == "outdial"
        finally:
            await database.close()
        assert named(server.dsn, "outdial") == server.dsn
    finally:
        await server.stop()


async def _owner(database) -> str:
    async with database.connection() as connection:
        return await connection.fetchval("SELECT tableowner FROM pg_tables WHERE tablename = 'history'")
