"""What is older than an account keeps it goes, a little at a time, and nothing that nobody asked to remove."""

from __future__ import annotations

import asyncio
import platform
from datetime import timedelta

import pytest

from dialing import phones, set_stage
from engines import TTL_SECONDS
from outdial.core.errors import FileError, InvalidInputError, NotFoundError
from outdial.services import history_export, personal_data_keeper, retention, runs
from outdial.services.engines import Engines
from outdial.services.personal_data_keeper import PersonalDataKeeper
from waiting import until


@pytest.fixture
async def stage(database, secret_box):
    """Five contacts with attributes, three of them written a hundred days ago."""
    made = await set_stage(database, secret_box, phones(5))
    async with database.connection() as connection:
        await connection.execute("UPDATE contacts SET attributes = '{\"firstName\": \"Eve\"}', unique_id = 'u'")
        await connection.execute(
            """
            UPDATE contacts SET updated_at = now() - interval '100 days'
             WHERE id IN (SELECT id FROM contacts ORDER BY id LIMIT 3)
            """
        )
    return made


async def fetch(database, statement: str, *arguments):
    async with database.connection() as connection:
        return await connection.fetch(statement, *arguments)


async def kept(database) -> list[bool]:
    rows = await fetch(
        database, "SELECT attributes <> '{}' AND unique_id IS NOT NULL AS kept FROM contacts ORDER BY id"
    )
    return [row["kept"] for row in rows]


async def told(database) -> list[dict]:
    rows = await fetch(
        database, "SELECT detail FROM history WHERE action = 'retention' AND to_state = 'removed' ORDER BY id"
    )
    return [row["detail"] for row in rows]


async def set_days(stage, **days):
    wanted = {"recordings_days": None, "attributes_days": None, "attempts_days": None} | days
    return await retention.set_days(stage.database, account_id=stage.owner.account_id, actor="dora", **wanted)


class TestAttributes:
    async def test_are_kept_for_ever_unless_somebody_says_otherwise(self, stage, database):
        found = await retention.show(database, account_id=stage.owner.account_id)
        assert (found.recordings_days, found.attributes_days, found.updated_by) == (None, None, None)
        assert await retention.sweep_contacts(database) == 0
        await set_days(stage, recordings_days=1)
        assert await retention.sweep_contacts(database) == 0
        assert await kept(database) == [True] * 5

    async def test_of_contacts_that_are_older_go_and_history_tells_how_many(self, stage, database, monkeypatch):
        monkeypatch.setattr(retention, "CONTACTS_AT_ONCE", 2)
        await set_days(stage, attributes_days=30)
        assert await retention.sweep_contacts(database) == 3
        assert await kept(database) == [False] * 3 + [True] * 2
        # one row for each lot that lost something
        assert [(one["kind"], one["count"], one["days"]) for one in await told(database)] == [
            ("attributes", 2, 30),
            ("attributes", 1, 30),
        ]
        # the number stays, and whoever is called by it
        assert len(await fetch(database, "SELECT phone FROM contacts WHERE phone <> ''")) == 5
        await history_export.verify(database, stage.owner.account_id)

    async def test_are_looked_through_once_an_hour_and_at_once_after_a_change(self, stage, database):
        await set_days(stage, attributes_days=200)
        assert await retention.sweep_contacts(database) == 0
        async with database.connection() as connection:
            await connection.execute("UPDATE contacts SET updated_at = now() - interval '300 days'")
        assert await retention.sweep_contacts(database) == 0
        await set_days(stage, attributes_days=200)
        assert await retention.sweep_contacts(database) == 5
        assert await retention.sweep_contacts(database) == 0

    async def test_of_a_live_run_stay_until_it_is_over(self, stage, database, secret_box):
        await set_days(stage, attributes_days=30)
        run = (
            await runs.start(database, secret_box, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="anna")
        ).run
        assert await retention.sweep_contacts(database) == 0
        assert await kept(database) == [True] * 5
        async with database.connection() as connection:
            await connection.execute("UPDATE runs SET state = 'completed', ended_at = now() WHERE id = $1", run.id)
            await connection.execute("UPDATE account_retention SET swept_at = now() - interval '2 hours'")
        assert await retention.sweep_contacts(database) == 3


class TestRecordings:
    @pytest.fixture
    async def recorded(self, stage, database, secret_box, tmp_path):
        """Three recordings of a run that is over: an old one, an old one of another machine, a new one."""
        run = (
            await runs.start(database, secret_box, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="anna")
        ).run
        async with database.connection() as connection:
            await connection.execute(
                """
                INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                      engine_id, node_id, epoch, number, state, disposition, ended_at, changed_by)
                VALUES (repeat('a', 32), $1, $2, $3, 1, '+15550100001', '+1', 't', 'e', 'n', 1, 1, 'ended',
                        'answered_human', now(), 'x')
                """,
                run.id,
                run.campaign_id,
                run.account_id,
            )
            await connection.execute("UPDATE runs SET state = 'completed', ended_at = now() WHERE id = $1", run.id)
            for name, host, days in (
                ("old", platform.node(), 40),
                ("away", "elsewhere", 40),
                ("new", platform.node(), 1),
            ):
                (tmp_path / f"{name}.wav").write_bytes(b"RIFF")
                await connection.execute(
                    """
                    INSERT INTO recordings (id, attempt_id, step, duration_seconds, size_bytes, sha256, host, file,
                                            recorded_at)
                    VALUES ($1, repeat('a', 32), 'voice', 1, 4, repeat('0', 64), $2, $1 || '.wav',
                            now() - make_interval(days => $3))
                    """,
                    name,
                    host,
                    days,
                )
        return tmp_path

    async def test_that_are_older_go_with_their_files_where_those_are(self, stage, recorded, database):
        assert await retention.sweep_recordings(database, recorded) == 0
        await set_days(stage, recordings_days=30)
        assert await retention.sweep_recordings(database, recorded) == 1
        assert sorted(path.name for path in recorded.iterdir()) == ["away.wav", "new.wav"]
        rows = await fetch(database, "SELECT id FROM recordings WHERE removed_at IS NOT NULL")
        assert [row["id"] for row in rows] == ["old"]
        (one,) = await told(database)
        assert (one["kind"], one["count"], one["recording_ids"]) == ("recordings", 1, ["old"])
        assert await retention.sweep_recordings(database, recorded) == 0

    async def test_one_that_cannot_be_removed_is_told_and_holds_up_no_other(self, stage, recorded, database):
        await set_days(stage, recordings_days=30)
        (recorded / "old.wav").unlink()
        (recorded / "old.wav").mkdir()
        async with database.connection() as connection:
            await connection.execute("UPDATE recordings SET recorded_at = now() - interval '60 days' WHERE id = 'new'")
        with pytest.raises(FileError, match=r"old\.wav"):
            await retention.sweep_recordings(database, recorded)
        assert not (recorded / "new.wav").exists()
        rows = await fetch(database, "SELECT id FROM recordings WHERE removed_at IS NOT NULL")
        assert [row["id"] for row in rows] == ["new"]

    async def test_the_keeper_does_all_of_it_and_one_trouble_holds_up_nothing_else(
        self, stage, recorded, database, secret_box
    ):
        await set_days(stage, recordings_days=30, attributes_days=30)
        (recorded / "old.wav").unlink()
        (recorded / "old.wav").mkdir()
        engines = Engines(database, secret_box, ttl_seconds=TTL_SECONDS)
        try:
            await PersonalDataKeeper(database, secret_box, engines, recorded).look()
            assert await kept(database) == [False] * 3 + [True] * 2
            (recorded / "old.wav").rmdir()
            keeping = asyncio.create_task(personal_data_keeper.keep(database, secret_box, engines, recorded))

            async def gone() -> bool:
                return bool(await fetch(database, "SELECT FROM recordings WHERE id = 'old' AND removed_at IS NOT NULL"))

            await until(gone)
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        finally:
            await engines.close()


async def test_days_are_checked_and_written_down(stage, database):
    for wrong in (0, -1, retention.MOST_DAYS + 1):
        with pytest.raises(InvalidInputError, match="from 1 to"):
            await set_days(stage, recordings_days=wrong)
    with pytest.raises(NotFoundError):
        await retention.show(database, account_id="0" * 24)
    found = await set_days(stage, recordings_days=7)
    assert (found.recordings_days, found.attributes_days, found.updated_by) == (7, None, "dora")
    (row,) = await fetch(database, "SELECT actor, detail FROM history WHERE action = 'retention'")
    assert (row["actor"], row["detail"]) == (
        "dora",
        {"recordings_days": 7, "attributes_days": None, "attempts_days": None},
    )
    assert timedelta(hours=1) == retention.SWEEP_EVERY
