"""The file of a backup: there whole or not at all, and no byte of it changed, missing or added unseen."""

from __future__ import annotations

import io
import resource
import stat
import subprocess
import sys
import tarfile
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from outdial.core.backup import DATABASE, MANIFEST, Manifest, write_manifest
from outdial.core.errors import ConflictError, FileError
from outdial.services.backup_file import BackupInvalidError, BackupWriter, open_backup, remove_left

DUMP = bytes(range(256)) * 7 + b"end"
SAID = b"RIFF" * 200


def manifest(members) -> bytes:
    return write_manifest(
        Manifest(
            outdial_version="0.1.0",
            schema="0020",
            postgres_version="18.1",
            taken_at=datetime(2026, 11, 27, tzinfo=UTC),
            host="night",
            key_id="0f" * 16,
            with_key=False,
            rows={},
            heads=(),
            live_runs=0,
            live_attempts=0,
            left_out=(),
            members=members,
        )
    )


def begun(path) -> BackupWriter:
    writer = BackupWriter(path)
    with writer.member("files/000001", path="recordings/a/b.wav") as member:
        member.write(SAID)
    with writer.member(DATABASE) as member:
        for first in range(0, len(DUMP), 100):
            member.write(DUMP[first : first + 100])
    return writer


@pytest.fixture
def whole(tmp_path):
    path = tmp_path / "monday.outdial"
    writer = begun(path)
    writer.finish(manifest(writer.members))
    return path


def test_what_was_written_is_read_back(whole):
    backup = open_backup(whole)
    assert {member.name: b"".join(backup.chunks(member)) for member in backup.manifest.members} == {
        "files/000001": SAID,
        DATABASE: DUMP,
    }
    assert stat.S_IMODE(whole.stat().st_mode) == 0o600
    # anybody's tar reads it
    with tarfile.open(whole) as tar:
        assert tar.getnames() == ["files/000001", DATABASE, MANIFEST]
        assert tar.extractfile(DATABASE).read() == DUMP
    assert [path.name for path in whole.parent.iterdir()] == ["monday.outdial"]


def test_no_changed_byte_is_unseen(whole):
    data = bytearray(whole.read_bytes())
    unseen = []
    for place in range(0, len(data), 97):
        data[place] ^= 0x20
        whole.write_bytes(data)
        try:
            open_backup(whole)
        except BackupInvalidError:
            pass
        else:
            unseen.append(place)
        data[place] ^= 0x20
    # padding and what a header says of owners and times holds nothing of the backup
    named = [place for place in unseen if data[place]]
    assert named == [], named


def test_no_file_that_was_cut_off_is_whole(whole):
    data = whole.read_bytes()
    for length in [*range(0, len(data), 251), len(data) - 1025, len(data) - 1]:
        whole.write_bytes(data[:length])
        with pytest.raises(BackupInvalidError):
            open_backup(whole)


def test_nothing_can_be_added_or_taken_away(whole, tmp_path):
    data = whole.read_bytes()
    added = io.BytesIO()
    with tarfile.open(fileobj=added, mode="w", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("files/000002")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"new"))
    for text, says in (
        (added.getvalue()[:1024] + data, "files/000002 does not belong there"),
        (data[:-1024] + added.getvalue(), "does not end after its manifest"),
        (data[512 + 1024 :], "files/000001 is missing"),
        (b"PGDMP" + data, "cut off, or is something else"),
        (b"", "no manifest"),
    ):
        whole.write_bytes(text)
        with pytest.raises(BackupInvalidError, match=says):
            open_backup(whole)
    with pytest.raises(FileError, match="cannot be read: No such file"):
        open_backup(tmp_path / "nowhere")


def test_a_member_that_is_a_link_is_refused(whole):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("files/000001")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    whole.write_bytes(data.getvalue())
    with pytest.raises(BackupInvalidError, match="cut off or odd"):
        open_backup(whole)


def test_what_it_replaces_stays_until_it_is_whole(whole):
    before = whole.read_bytes()
    writer = begun(whole)
    assert whole.read_bytes() == before
    writer.abandon()
    assert [path.name for path in whole.parent.iterdir()] == ["monday.outdial"]
    writer = begun(whole)
    writer.finish(manifest((*(replace(member) for member in writer.members),)))
    writer.abandon()
    assert open_backup(whole).manifest.members == writer.members


def test_two_do_not_write_one_file(tmp_path):
    path = tmp_path / "monday.outdial"
    writer = begun(path)
    with pytest.raises(ConflictError, match="Another backup is being written"):
        BackupWriter(path)
    # nor does one that is under way count as left
    remove_left(tmp_path, "*.outdial")
    writer.finish(manifest(writer.members))
    assert open_backup(path).manifest.members == writer.members


BEGUN = f"""
import signal, sys
from pathlib import Path
from outdial.services.backup_file import BackupWriter

with BackupWriter(Path(sys.argv[1])).member({DATABASE!r}) as member:
    member.write(bytes(100_000))
    print("begun", flush=True)
    signal.pause()
"""
"""A process that is in the middle of a backup."""


def test_a_killed_one_leaves_nothing_of_that_name_and_the_next_goes_well(tmp_path):
    path = tmp_path / "monday.outdial"
    command = [sys.executable, "-c", BEGUN, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"begun\n"
        process.kill()
    assert [left.name for left in tmp_path.iterdir()] == ["monday.outdial.part"]
    writer = begun(path)
    writer.finish(manifest(writer.members))
    assert [left.name for left in tmp_path.iterdir()] == ["monday.outdial"]
    assert open_backup(path).manifest.members == writer.members
    (tmp_path / "outdial-1.outdial.part").write_bytes(b"left by a kill")
    remove_left(tmp_path, "outdial-*.outdial")
    assert [left.name for left in tmp_path.iterdir()] == ["monday.outdial"]


def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path):
    path = tmp_path / "monday.outdial"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # SIGXFSZ is ignored by Python, so that writing fails as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        writer = BackupWriter(path)
        with pytest.raises(FileError, match="free some space or name another disk"), writer.member(DATABASE) as member:
            while True:
                member.write(bytes(50_000))
        writer.abandon()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_none_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"cannot be written \(Not a directory\)"):
        BackupWriter(tmp_path / "file" / "monday.outdial")
