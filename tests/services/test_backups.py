"""Backups of a real database: what is in them, and what becomes of one that fails."""

from __future__ import annotations

from datetime import datetime

import pytest

from outdial.core.errors import ConflictError, StartupError
from outdial.secretbox import SecretBox
from outdial.services import (
    backups,
    history_export,
    imports,
    postgres_programs,
    recordings,
    signing_keys,
)
from outdial.services.postgres_programs import BackupFailedError
from outdial.store import migrations
from services.test_restores import fetch, files, house, opened  # noqa: F401 - house is a fixture
from support.backups import KEY, OTHER_KEY, box, restored, settings_of
from support.recordings import SAID, recorded


class TestBackup:
    async def test_it_holds_the_files_that_its_snapshot_speaks_of(self, house, tmp_path):  # noqa: F811
        _, recording_id = await recorded(house.database, house.folder, instance_id=house.run.instance_id)
        recordings.save(house.folder / "recordings", "0" * 32 + "-1-voice", SAID)
        (house.folder / "opt-outs").mkdir()
        (house.folder / "opt-outs" / f"{'1' * 32}.account").touch()
        (house.folder / "emergency-stop").write_text("fire\n")
        owner, draft = house.stage.owner, imports.ImportDraft(list_name="March", file_name="people.csv")
        made = await imports.create(
            house.database, iid=owner.iid, account_id=owner.account_id, draft=draft, actor="test"
        )
        await imports.append(house.database, house.folder / "imports", owner.iid, made.id, offset=0, data=b"phone\n")
        # a piece that was written and not counted
        with (house.folder / "imports" / made.id).open("ab") as file:
            file.write(b"+1555")
        backup = await house.back_up(tmp_path / "monday.outdial")
        paths = {member.path: b"".join(backup.chunks(member)) for member in backup.manifest.files}
        (kept,) = [path for path in paths if path.endswith(f"{recording_id}.wav")]
        assert paths.pop(kept) == SAID
        assert paths == {
            f"recordings/unlisted/{'0' * 32}-1-voice.wav": SAID,
            f"opt-outs/{'1' * 32}.account": b"",
            "emergency-stop": b"fire\n",
            f"imports/{made.id}": b"phone\n",
        }
        manifest = backup.manifest
        assert manifest.left_out == ()
        assert (manifest.schema, manifest.live_runs, manifest.with_key) == (migrations.revisions()[-1], 1, False)
        assert (manifest.rows["contacts"], manifest.rows["runs"], manifest.rows["recordings"]) == (12, 1, 1)
        (head,) = manifest.heads
        report = await history_export.verify(house.database, owner.account_id)
        assert (head.account_id, head.number, head.sha256) == (owner.account_id, report.seals, report.head)
        assert KEY.encode() not in backup.path.read_bytes()
        assert KEY.encode() in (await house.back_up(tmp_path / "with.outdial", with_key=True)).path.read_bytes()

    async def test_a_file_that_went_during_the_dump_is_left_out_and_told(self, house, tmp_path, monkeypatch):  # noqa: F811
        for _ in range(3):
            await recorded(house.database, house.folder, instance_id=house.run.instance_id)
        rows = await fetch(house.dsn, "SELECT id, file FROM recordings ORDER BY recorded_at")
        dump = postgres_programs.dump

        async def slowly(*arguments):
            await dump(*arguments)
            await recordings.remove_recording(
                house.database,
                house.folder / "recordings",
                iid=house.stage.owner.iid,
                recording_id=rows[0]["id"],
                actor="test",
            )
            (house.folder / "recordings" / rows[1]["file"]).unlink()
            await recorded(house.database, house.folder, instance_id=house.run.instance_id)

        monkeypatch.setattr(postgres_programs, "dump", slowly)
        backup = await house.back_up(tmp_path / "monday.outdial")
        assert [(one.path, one.why) for one in backup.manifest.left_out] == [
            (f"recordings/{rows[0]['file']}", "removed, or no longer needed, since the snapshot"),
            (f"recordings/{rows[1]['file']}", "not in the data folder, or not whole there"),
        ]
        # nor is the one that came meanwhile in it
        assert [member.path for member in backup.manifest.files] == [f"recordings/{rows[2]['file']}"]
        assert backup.manifest.rows["recordings"] == 3

    async def test_in_a_folder_it_is_named_by_the_instant(self, house, tmp_path):  # noqa: F811
        folder = tmp_path / "backups"
        folder.mkdir()
        (folder / "outdial-20200101T000000Z.outdial.part").write_bytes(b"left by a kill")
        backup = await house.back_up(folder)
        assert backup.path.parent == folder
        assert datetime.strptime(backup.path.name, "outdial-%Y%m%dT%H%M%SZ.outdial")
        assert list(folder.iterdir()) == [backup.path]

    async def test_a_dump_that_fails_leaves_nothing_and_says_why(self, house, tmp_path, monkeypatch):  # noqa: F811
        monkeypatch.setattr(postgres_programs, "_address", lambda _: ("postgresql://nobody@127.0.0.1:9/x", {}))
        with pytest.raises(BackupFailedError, match=r"pg_dump failed: .*127\.0\.0\.1"):
            await house.back_up(tmp_path / "monday.outdial")
        assert [path.name for path in tmp_path.iterdir()] == ["old"]

    async def test_a_place_that_is_none_is_a_sentence(self, house, tmp_path):  # noqa: F811
        with pytest.raises(backups.InvalidInputError, match="There is no folder"):
            await house.back_up(tmp_path / "no" / "monday.outdial")

    async def test_programs_of_another_version_are_refused(self, house, tmp_path):  # noqa: F811
        for name in ("pg_dump", "pg_restore"):
            program = tmp_path / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f'#!/bin/sh\necho "{name} (PostgreSQL) 14.2"\n')
            program.chmod(0o755)
        with pytest.raises(StartupError, match="is of PostgreSQL 14; the server is PostgreSQL"):
            await backups.back_up(
                house.database,
                house.dsn,
                box(),
                data_dir=house.folder,
                target=tmp_path / "monday.outdial",
                key=None,
                programs=tmp_path / "bin",
            )


class TestKey:
    async def test_it_comes_with_the_backup_where_it_is_in_it(self, house, empty_dsn, tmp_path):  # noqa: F811
        backup = await house.back_up(tmp_path / "monday.outdial", with_key=True)
        await restored(settings_of(tmp_path / "new", empty_dsn, key=None), backup.path)
        assert (tmp_path / "new" / "secret.key").read_text().strip() == KEY
        assert (tmp_path / "new" / "secret.key").stat().st_mode & 0o777 == 0o600

    async def test_without_it_nothing_is_restored_unless_told(self, house, empty_dsn, tmp_path):  # noqa: F811
        await signing_keys.in_use(house.database, box())
        backup = await house.back_up(tmp_path / "monday.outdial")
        settings = settings_of(tmp_path / "new", empty_dsn, key=None)
        with pytest.raises(ConflictError, match="does not hold the secret key, and there is none at"):
            await restored(settings, backup.path)
        done = await restored(settings, backup.path, without_key=True)
        assert done.without_key
        database = await opened(empty_dsn)
        try:
            # a new one signs, and what the old one has signed can still be checked
            keys = await signing_keys.every(database, SecretBox(OTHER_KEY))
            assert [key.retired_at is None for key in keys] == [True, False]
        finally:
            await database.close()

    async def test_another_one_is_refused(self, house, empty_dsn, tmp_path):  # noqa: F811
        backup = await house.back_up(tmp_path / "monday.outdial", with_key=True)
        with pytest.raises(ConflictError, match="The secret key in OUTDIAL_SECRET_KEY is not the one of the backup"):
            await restored(settings_of(tmp_path / "new", empty_dsn, key=OTHER_KEY), backup.path)
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "secret.key").write_text(OTHER_KEY)
        with pytest.raises(ConflictError, match="move it away, the backup holds its own"):
            await restored(settings_of(tmp_path / "new", empty_dsn, key=None), backup.path)
        with pytest.raises(ConflictError, match="leave --without-key away"):
            await restored(settings_of(tmp_path / "new", empty_dsn), backup.path, without_key=True)
