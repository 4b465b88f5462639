"""Manifests of backups: written and read back, and refused when they are of something else or lead elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from outdial.core.backup import (
    DATABASE,
    MARGIN,
    Head,
    LeftOut,
    Manifest,
    Margins,
    Member,
    NotABackupError,
    differences,
    margins,
    read_manifest,
    write_manifest,
)
from outdial.core.canonical import NotJsonError
from outdial.core.shapes import ShapeError

WHOLE = Manifest(
    outdial_version="0.1.0",
    schema="0020",
    postgres_version="18.1",
    taken_at=datetime(2026, 11, 27, 1, 2, 3, 456, tzinfo=UTC),
    host="night",
    key_id="0f" * 16,
    with_key=False,
    rows={"contacts": 3, "history": 17},
    heads=(Head("ac-1", 4, "ab" * 32),),
    live_runs=1,
    live_attempts=2,
    left_out=(LeftOut("recordings/a/b.wav", "on the machine day"),),
    members=(
        Member("files/000001", 5, "01" * 32, "recordings/ac-1/cid-1/x/rc-1.wav"),
        Member(DATABASE, 7, "02" * 32),
        Member("files/000002", 0, "03" * 32, "emergency-stop"),
    ),
)


def test_what_is_written_is_read_back():
    assert read_manifest(write_manifest(WHOLE)) == WHOLE
    assert [member.name for member in WHOLE.files] == ["files/000001", "files/000002"]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../secret.key",
        "recordings/../../secret.key",
        "recordings/../emergency-stop",
        "secret.key",
        "recordings",
        "recordings//a",
        "./recordings/a",
        "postgres/password",
        "imports/a\0b",
        "",
    ],
)
def test_no_path_leads_out_of_where_files_are_taken_from(path):
    wrong = replace(WHOLE, members=(Member(DATABASE, 7, "02" * 32), Member("files/000001", 5, "01" * 32, path)))
    if path == "":
        # as good as none
        assert read_manifest(write_manifest(wrong)).members[1].path == ""
        return
    with pytest.raises(NotABackupError, match="is none that a backup has files of"):
        read_manifest(write_manifest(wrong))


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"kind": "outdial evidence archive"}, NotABackupError, "not that of an outdial backup"),
        ({"version": 2}, NotABackupError, "its format is 2, this outdial reads 1"),
        ({"takenAt": "2026-11-27 01:02"}, ShapeError, "takenAt"),
        ({"rows": {"contacts": -1}}, ShapeError, "rows.contacts"),
        ({"more": 1}, ShapeError, "more"),
        ({"members": []}, NotABackupError, "no database"),
        (
            {"members": [{"name": DATABASE, "path": None, "bytes": 1, "sha256": "0" * 64}] * 2},
            NotABackupError,
            "one name",
        ),
        ({"members": [{"name": DATABASE, "path": None, "bytes": 1, "sha256": "0"}]}, ShapeError, "sha256"),
    ],
)
def test_what_is_none_of_ours_is_refused(change, error, says):
    document = json.loads(write_manifest(WHOLE)) | change
    with pytest.raises(error, match=says):
        read_manifest(json.dumps(document).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"kind":1,"kind":1}'])
def test_what_is_no_json_is_refused(data):
    with pytest.raises(NotJsonError):
        read_manifest(data)


def test_what_is_given_out_after_a_restore_rises_with_the_time_since_the_backup():
    at = WHOLE.taken_at
    assert margins(at, at) == Margins(MARGIN, MARGIN)
    # a week in which a million people were called, with all that is written of each
    week = margins(at, at + timedelta(days=7))
    assert week.rows > 50_000_000
    assert week.epochs == MARGIN + 4 * 7 * 24 * 3600
    # an epoch is a number of 32 bits: a backup of ten years ago fits, and so do a thousand restores
    assert margins(at, at + timedelta(days=3650)).epochs < 2**31
    assert 1_000 * margins(at, at + timedelta(days=1)).epochs < 2**31
    # the same backup restored twice within a second
    soon, sooner = (margins(at, at + timedelta(seconds=seconds)) for seconds in (1.3, 1.9))
    assert (soon.epochs < sooner.epochs, soon.rows < sooner.rows) == (True, True)
    assert margins(at, at - timedelta(hours=1)) == Margins(MARGIN, MARGIN)


def test_rows_that_are_missing_are_told():
    assert list(differences({"contacts": 3, "runs": 1}, {"contacts": 3, "runs": 1, "history": 9})) == []
    assert list(differences({"contacts": 3, "runs": 1}, {"contacts": 2})) == [
        "contacts has 2 rows, not 3",
        "runs has 0 rows, not 1",
    ]
