"""Imports as things: pieces in any weather, one runner at a time, nothing lost and nothing twice after a crash."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys

import asyncpg
import pytest

from outdial.core.errors import (
    DatabaseUnavailableError,
    FileError,
    IllegalMoveError,
    ImportBusyError,
    InvalidInputError,
    NotFoundError,
    TooLargeError,
    WrongOffsetError,
)
from outdial.services import dnc, import_rows, imports
from outdial.services.contact_columns import ColumnMapping
from outdial.services.contact_lists import contacts_page, create_list, delete_list, find_list, list_lists, update_list
from outdial.services.imports import ImportDraft, ImportProgress, ImportState, RowError
from outdial.store import contacts as contacts_store
from outdial.store import imports as store
from tenants import make_tenants
from waiting import until
from workbooks import row, workbook

DRAFT = ImportDraft(list_name="March", file_name="people.csv")
GOOD = b"phone,firstName\n+15550100001,Ada\n+15550100002,Bob\n"


@pytest.fixture
async def tenants(database, secret_box):
    return await make_tenants(database, secret_box)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "imports"


@pytest.fixture
def desk(database, tenants, folder):
    return Desk(database, tenants.one, folder)


class Desk:
    """What one application does with imports."""

    def __init__(self, database, owner, folder) -> None:
        self.database, self.owner, self.folder = database, owner, folder

    async def create(self, **changed):
        draft = dataclasses.replace(DRAFT, **changed)
        owner = {"iid": self.owner.iid, "account_id": self.owner.account_id}
        return await imports.create(self.database, **owner, draft=draft, actor="anna")

    async def append(self, made, offset: int, data: bytes) -> int:
        return await imports.append(self.database, self.folder, self.owner.iid, made.id, offset=offset, data=data)

    async def finish(self, made):
        return await imports.finish_upload(self.database, self.folder, self.owner.iid, made.id, actor="anna")

    async def ready(self, content: bytes, **changed):
        made = await self.create(**changed)
        await self.append(made, 0, content)
        return await self.finish(made)

    async def run(self, made, **options):
        return await imports.run(self.database, self.folder, self.owner.iid, made.id, actor="runner", **options)

    async def cancel(self, made):
        return await imports.cancel(self.database, self.folder, self.owner.iid, made.id, actor="bert")

    async def get(self, made):
        return await imports.progress(self.database, self.owner.iid, made.id)

    async def errors(self, made, *, skip: int = 0, limit: int = 99):
        return await imports.errors(self.database, self.owner.iid, made.id, skip=skip, limit=limit)

    async def execute(self, statement: str, *arguments: object) -> None:
        async with self.database.connection() as connection:
            await connection.execute(statement, *arguments)


def numbers(count: int) -> bytes:
    return ("phone,n\n" + "".join(f"+1555{number:07},{number}\n" for number in range(count))).encode()


async def test_a_file_in_pieces_becomes_contacts(desk):
    made = await desk.create()
    assert (made.state, made.received_bytes, made.created_by) == (ImportState.RECEIVING, 0, "anna")
    offset = 0
    for at in range(0, len(GOOD), 20):
        offset = await desk.append(made, offset, GOOD[at : at + 20])
    assert offset == (await desk.get(made)).received_bytes == len(GOOD)
    assert (await desk.finish(made)).state is ImportState.RUNNING
    assert (desk.folder / made.id).read_bytes() == GOOD
    assert (desk.folder / made.id).stat().st_mode & 0o777 == 0o600
    seen: list[ImportProgress] = []
    ended = await desk.run(made, on_progress=seen.append)
    assert (ended.state, ended.rows, ended.added, ended.list_created) == (ImportState.DONE, 2, 2, True)
    assert seen == [ended.progress()]
    assert ended.position == ended.size == len(GOOD)
    assert not (desk.folder / made.id).exists()
    assert ended.ended_at is not None
    found = await find_list(desk.database, desk.owner.iid, "March")
    assert (found.id, found.contacts_count, found.created_by) == (ended.list_id, 2, "anna")
    assert found.description == "Imported from people.csv"


async def test_each_move_is_in_the_history(desk):
    made = await desk.ready(GOOD)
    await desk.run(made)
    async with desk.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT from_state, to_state, actor FROM history WHERE action = 'import' "
            "AND detail ->> 'import_id' = $1 ORDER BY id",
            made.id,
        )
    assert [tuple(each) for each in rows] == [
        (None, "receiving", "anna"),
        ("receiving", "running", "anna"),
        ("running", "done", "runner"),
    ]


async def test_a_piece_at_the_wrong_place_is_told_the_right_one(desk):
    made = await desk.create()
    await desk.append(made, 0, GOOD[:10])
    for offset in (0, 5, 11):
        with pytest.raises(WrongOffsetError, match="10 bytes of the file have arrived") as refused:
            await desk.append(made, offset, b"x")
        assert refused.value.received_bytes == 10
    assert await desk.append(made, 10, b"") == 10


async def test_two_that_send_the_same_piece_at_once(desk):
    made = await desk.create()
    answers = await asyncio.gather(*(desk.append(made, 0, GOOD) for _ in range(5)), return_exceptions=True)
    assert [answer for answer in answers if isinstance(answer, int)] == [len(GOOD)]
    assert sum(isinstance(answer, WrongOffsetError) for answer in answers) == 4
    assert (await desk.run(await desk.finish(made))).added == 2


async def test_a_piece_that_was_written_but_not_counted_does_no_harm(desk, monkeypatch):
    made = await desk.create()
    await desk.append(made, 0, GOOD[:16])
    received = store.received

    async def failing(*args):
        raise DatabaseUnavailableError("gone")

    monkeypatch.setattr(store, "received", failing)
    with pytest.raises(DatabaseUnavailableError):
        await desk.append(made, 16, b"rubbish" * 10)
    monkeypatch.setattr(store, "received", received)
    assert (await desk.get(made)).received_bytes == 16
    await desk.append(made, 16, GOOD[16:])
    assert (await desk.run(await desk.finish(made))).added == 2


async def test_what_is_too_large(desk, monkeypatch):
    monkeypatch.setattr(imports, "LARGEST_PIECE", 20)
    monkeypatch.setattr(imports, "LARGEST_FILE", 30)
    made = await desk.create()
    with pytest.raises(TooLargeError, match="piece of 21 bytes"):
        await desk.append(made, 0, b"x" * 21)
    await desk.append(made, 0, b"x" * 20)
    with pytest.raises(TooLargeError, match="larger than"):
        await desk.append(made, 20, b"x" * 11)
    assert (await desk.get(made)).received_bytes == 20


async def test_wrong_drafts_are_told_all_at_once(desk):
    with pytest.raises(InvalidInputError) as refused:
        await desk.create(list_name="", file_name="a\nb", sheet="x" * 101, default_region="XX")
    assert len(refused.value.problems) == 4
    with pytest.raises(InvalidInputError, match="file_name"):
        await desk.create(file_name=" ")
    with pytest.raises(NotFoundError, match="list named March"):
        await desk.create(create_list=False)


async def test_others_imports_are_out_of_reach(desk, tenants):
    made = await desk.ready(GOOD)
    for owner in (tenants.other, tenants.sister):
        stranger = Desk(desk.database, owner, desk.folder)
        for doing in (stranger.get, stranger.run, stranger.cancel, stranger.finish, stranger.errors):
            with pytest.raises(NotFoundError):
                await doing(made)
        with pytest.raises(NotFoundError):
            await stranger.append(made, 0, b"x")
        assert (await imports.list_imports(desk.database, owner.iid, skip=0, limit=9)).total == 0
    with pytest.raises(NotFoundError):
        await imports.create(
            desk.database, iid=tenants.other.iid, account_id=tenants.one.account_id, draft=DRAFT, actor="x"
        )
    with pytest.raises(NotFoundError):
        await imports.progress(desk.database, desk.owner.iid, "im-\x00")


async def test_imports_are_listed_newest_first(desk):
    made = [await desk.create(file_name=f"{number}.csv") for number in range(3)]
    page = await imports.list_imports(desk.database, desk.owner.iid, skip=1, limit=1)
    assert (page.total, [each.id for each in page.items]) == (3, [made[1].id])


async def test_only_a_complete_file_is_run_and_only_once(desk):
    made = await desk.create()
    with pytest.raises(IllegalMoveError, match="Possible: finish_upload, cancel"):
        await desk.run(made)
    await desk.append(made, 0, GOOD)
    await desk.finish(made)
    with pytest.raises(IllegalMoveError):
        await desk.append(made, len(GOOD), b"x")
    with pytest.raises(IllegalMoveError):
        await desk.finish(made)
    await desk.run(made)
    for doing in (desk.run, desk.finish, desk.cancel):
        with pytest.raises(IllegalMoveError, match="nothing any more"):
            await doing(made)


async def test_a_mapping_a_region_and_a_sheet_are_kept_with_it(desk, tmp_path):
    path = workbook(tmp_path / "x.xlsx", Other=[], People=[row(1, "Rufnummer", "Ort"), row(2, 12125550100, "Bonn")])
    mapping = ColumnMapping.parse(["phone=Rufnummer", "city=Ort"])
    made = await desk.ready(
        path.read_bytes(), file_name="Leute.xlsx", sheet="People", mapping=mapping, default_region="US"
    )
    assert ColumnMapping.of(made.mapping) == mapping
    ended = await desk.run(made)
    assert (ended.state, ended.added, ended.size) == (ImportState.DONE, 1, 2)
    (contact,) = (await contacts_page(desk.database, desk.owner.iid, ended.list_id, skip=0, limit=9)).items
    assert (contact.phone, contact.attributes) == ("+12125550100", {"city": "Bonn"})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "people.csv is empty"),
        (b"name\nx\n", "no column for phone"),
        (b"PK\x03\x04", "people.csv is damaged or no Excel workbook"),
    ],
)
async def test_a_file_that_is_no_table_fails_the_import(desk, content, sentence):
    made = await desk.ready(content)
    with pytest.raises(InvalidInputError, match=sentence):
        await desk.run(made)
    ended = await desk.get(made)
    assert (ended.state, ended.list_id) == (ImportState.FAILED, None)
    assert sentence in ended.failure
    assert not (desk.folder / made.id).exists()
    assert await list_lists(desk.database, desk.owner.iid) == []


async def test_errors_are_kept_up_to_a_bound_and_all_counted(desk, monkeypatch):
    monkeypatch.setattr(import_rows, "LOT_ROWS", 10)
    monkeypatch.setattr(imports, "MOST_ERRORS_KEPT", 25)
    made = await desk.ready(b"phone,priority\n" + b"x,1\n" * 40 + b"+15550100001,high\n")
    ended = await desk.run(made)
    assert (ended.state, ended.rows, ended.bad, ended.added) == (ImportState.DONE, 41, 41, 0)
    page = await desk.errors(made, skip=20, limit=99)
    assert (page.total, [each.line for each in page.items]) == (25, [22, 23, 24, 25, 26])
    assert page.items[0] == RowError(22, "the phone number contains letters or signs other than digits and a leading +")


async def test_numbers_on_the_do_not_call_list_are_counted(desk):
    await dnc.add_numbers(
        desk.database, account_id=desk.owner.account_id, phones=["+15550100002", "+15550100009"], reason="", actor="x"
    )
    await desk.execute("UPDATE dnc_entries SET expires_at = '2001-01-01' WHERE phone = '+15550100009'")
    ended = await desk.run(await desk.ready(GOOD + b"+15550100009,Cy\n"))
    assert (ended.rows, ended.added, ended.on_dnc) == (3, 3, 1)


async def test_the_file_is_elsewhere(desk):
    made = await desk.ready(GOOD)
    (desk.folder / made.id).unlink()
    with pytest.raises(FileError, match="not on this machine"):
        await desk.run(made)
    assert (await desk.get(made)).state is ImportState.RUNNING
    (desk.folder / made.id).write_bytes(GOOD)
    assert (await desk.run(made)).added == 2


async def test_an_upload_goes_on_only_where_its_beginning_is(desk):
    made = await desk.create()
    await desk.append(made, 0, GOOD)
    (desk.folder / made.id).unlink()
    for doing in (desk.finish(made), desk.append(made, len(GOOD), b"x")):
        with pytest.raises(FileError, match="not whole at this server"):
            await doing


async def test_the_list_is_renamed_and_then_deleted_under_it(desk, monkeypatch):
    monkeypatch.setattr(import_rows, "LOT_ROWS", 10)
    # enough lots for the others to get a turn on a busy machine
    made = await desk.ready(numbers(3000))
    insert, lots = contacts_store.insert, 0

    async def counting(connection, to, *args, **options):
        nonlocal lots
        lots += 1
        await insert(connection, to, *args, **options)

    monkeypatch.setattr(contacts_store, "insert", counting)

    def told(progress: ImportProgress) -> None:
        actions.append(asyncio.create_task(act(progress.rows)))

    async def act(rows: int) -> None:
        if rows == 20:
            found = await find_list(desk.database, desk.owner.iid, "March")
            changes = {"name": "April", "description": None, "allow_duplicates": None}
            await update_list(desk.database, desk.owner.iid, found.id, **changes, actor="x")
            await delete_list(desk.database, desk.owner.iid, found.id)

    actions: list[asyncio.Task] = []
    with pytest.raises(NotFoundError, match="no contact list named March"):
        await desk.run(made, on_progress=told)
    await asyncio.gather(*actions)
    ended = await desk.get(made)
    assert (ended.state, ended.failure) == (ImportState.FAILED, "There is no contact list named March.")
    assert 20 <= ended.rows < 3000


async def test_one_runs_it_at_a_time(desk, monkeypatch):
    monkeypatch.setattr(import_rows, "LOT_ROWS", 100)
    made = await desk.ready(numbers(3000))
    ended = await asyncio.gather(*(desk.run(made) for _ in range(4)), return_exceptions=True)
    (done,) = [each for each in ended if not isinstance(each, BaseException)]
    assert {type(each) for each in ended if isinstance(each, BaseException)} == {ImportBusyError}
    assert (done.state, done.rows, done.added) == (ImportState.DONE, 3000, 3000)


async def test_one_that_was_frozen_past_its_lease_adds_nothing_when_it_wakes(desk, monkeypatch):
    monkeypatch.setattr(import_rows, "LOT_ROWS", 100)
    made = await desk.ready(numbers(1000))
    resumed, frozen = asyncio.Event(), asyncio.Event()
    advance = store.advance

    async def freezing(connection, import_id, *, before, **values):
        if before == 300 and not frozen.is_set():
            frozen.set()
            # its transaction is open meanwhile, as that of a frozen process; nothing of it may count
            await resumed.wait()
        return await advance(connection, import_id, before=before, **values)

    monkeypatch.setattr(store, "advance", freezing)
    sleeper = asyncio.create_task(desk.run(made))
    await frozen.wait()
    await desk.execute("UPDATE imports SET lease_until = clock_timestamp() WHERE id = $1", made.id)
    async with asyncio.timeout(20):
        other = asyncio.create_task(desk.run(made))
        await until(lambda: _claimed(desk, made))
        resumed.set()
        with pytest.raises(ImportBusyError):
            await sleeper
        done = await other
    assert (done.state, done.rows, done.added, done.duplicates) == (ImportState.DONE, 1000, 1000, 0)
    assert (await find_list(desk.database, desk.owner.iid, "March")).contacts_count == 1000


async def _claimed(desk, made) -> bool:
    async with desk.database.connection() as connection:
        return await connection.fetchval("SELECT lease_until > clock_timestamp() FROM imports WHERE id = $1", made.id)


async def test_one_that_breaks_off_goes_on_where_it_was(desk, monkeypatch, tmp_path):
    monkeypatch.setattr(import_rows, "LOT_ROWS", 100)
    content = numbers(500) + b"x,wrong\n" + numbers(1000)[8:]
    made = await desk.ready(content)
    insert, calls = contacts_store.insert, 0

    async def failing(*args, **options):
        nonlocal calls
        calls += 1
        if calls == 7:
            raise DatabaseUnavailableError("gone")
        return await insert(*args, **options)

    monkeypatch.setattr(contacts_store, "insert", failing)
    errors = tmp_path / "errors.csv"
    with pytest.raises(DatabaseUnavailableError):
        await desk.run(made, error_file=errors)
    half = await desk.get(made)
    assert (half.state, half.rows) == (ImportState.RUNNING, 600)
    ended = await desk.run(made, error_file=errors)
    assert (ended.rows, ended.added, ended.duplicates, ended.bad) == (1501, 1000, 500, 1)
    assert ended.list_created
    assert [each.line for each in (await desk.errors(made)).items] == [502]
    assert errors.read_text(encoding="utf-8-sig").splitlines()[0] == "line,reason,phone,n"
    assert sum(line.startswith("502,") for line in errors.read_text().splitlines()) == 1


async def test_cancelled_while_it_runs_it_stops_before_its_next_lot(desk, monkeypatch):
    monkeypatch.setattr(import_rows, "LOT_ROWS", 100)
    made = await desk.ready(numbers(5000))
    cancelling: list[asyncio.Task] = []

    def told(progress: ImportProgress) -> None:
        if progress.rows == 300:
            cancelling.append(asyncio.create_task(desk.cancel(made)))

    ended = await desk.run(made, on_progress=told)
    assert (await cancelling[0]).state is ended.state is ImportState.CANCELLED
    assert 300 <= ended.rows < 5000
    assert (await find_list(desk.database, desk.owner.iid, "March")).contacts_count == ended.added == ended.rows
    assert not (desk.folder / made.id).exists()


async def test_cancelled_while_it_is_uploaded(desk):
    made = await desk.create()
    await desk.append(made, 0, GOOD)
    assert (await desk.cancel(made)).state is ImportState.CANCELLED
    assert not (desk.folder / made.id).exists()
    with pytest.raises(IllegalMoveError):
        await desk.append(made, len(GOOD), b"x")


PROGRAM = """
import asyncio, sys
from pathlib import Path
from outdial.services import import_rows, imports
from outdial.store.database import Database
import_rows.LOT_ROWS = 500
async def main(dsn, folder, iid, import_id):
    database = await Database.open(dsn, pool_size=2)
    def told(progress):
        print(progress.rows, flush=True)
        # until whoever reads has seen it: the moment of the end is theirs to choose
        sys.stdin.readline()
    await imports.run(database, Path(folder), iid, import_id, actor="victim", on_progress=told)
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("lots", [1, 4])
async def test_a_process_that_is_killed_loses_nothing_and_nothing_comes_twice(desk, dsn, lots):
    # a list that would take them twice
    await create_list(
        desk.database,
        iid=desk.owner.iid,
        account_id=desk.owner.account_id,
        name="March",
        description="",
        source="passiveApi",
        allow_duplicates=True,
        api_version=2,
        actor="x",
    )
    made = await desk.ready(numbers(5000), file_name="many.csv")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, dsn, str(desk.folder), desk.owner.iid, made.id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        for lot in range(1, lots + 1):
            assert await asyncio.to_thread(process.stdout.readline) == f"{lot * 500}\n"
            if lot < lots:
                process.stdin.write("\n")
                process.stdin.flush()
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    half = await desk.get(made)
    assert (half.state, half.rows) == (ImportState.RUNNING, lots * 500)
    with pytest.raises(ImportBusyError, match="try again in 30 seconds"):
        await desk.run(made)
    await desk.execute("UPDATE imports SET lease_until = clock_timestamp() WHERE id = $1", made.id)
    ended = await desk.run(made)
    assert (ended.state, ended.rows, ended.added) == (ImportState.DONE, 5000, 5000)
    last = await contacts_page(desk.database, desk.owner.iid, ended.list_id, skip=4998, limit=9)
    assert [contact.attributes["n"] for contact in last.items] == ["4998", "4999"]


async def test_the_database_keeps_the_counts_whole(desk):
    made = await desk.ready(GOOD)
    for wrong in ("rows = 1", "state = 'done'", "runner = 'x'", "state = 'elsewhere'"):
        with pytest.raises(asyncpg.CheckViolationError):
            await desk.execute(f"UPDATE imports SET {wrong} WHERE id = $1", made.id)
