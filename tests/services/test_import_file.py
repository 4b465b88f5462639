"""Importing: good rows kept, bad ones told, nothing added twice, nothing of another tenant touched."""

from __future__ import annotations

import asyncio
import csv
import tracemalloc

import pytest

from outdial.core.contact_import import ImportProgress
from outdial.core.errors import DatabaseUnavailableError, FileError, InvalidInputError, NotFoundError
from outdial.services import import_rows
from outdial.services.contact_lists import contacts_page, create_list, delete_list, find_list, get_list, list_lists
from outdial.services.import_file import import_file
from outdial.store import contacts as store
from tenants import make_tenants

GOOD = "phone,firstName,timeZone,uniqueId,priority\n+15550100001,Zoë,Europe/Paris,7,3\n+15550100002,Ann,,,\n"


@pytest.fixture
async def tenants(database, secret_box):
    return await make_tenants(database, secret_box)


@pytest.fixture
def people(tmp_path):
    return tmp_path / "people.csv"


async def run(database, owner, path, **changed):
    values = {
        "iid": owner.iid,
        "account_id": owner.account_id,
        "list_name": "March",
        "path": path,
        "default_region": None,
        "create": True,
        "on_progress": lambda _: None,
        "error_file": None,
        "actor": "anna",
    }
    return await import_file(database, **{**values, **changed})


def write_numbers(path, count: int) -> None:
    with path.open("w") as file:
        file.write("phone,n\n")
        file.writelines(f"+1555{number:07},{number}\n" for number in range(count))


async def test_a_file_becomes_a_list(database, tenants, people):
    people.write_text(GOOD)
    report = await run(database, tenants.one, people)
    assert (report.rows, report.added, report.duplicates, report.bad) == (2, 2, 0, 0)
    assert (report.list_created, report.error_file, report.examples) == (True, None, ())
    made = await get_list(database, tenants.one.iid, report.list_id)
    assert (made.name, made.source, made.description) == ("March", "localDrive", "Imported from people.csv")
    assert (made.created_by, made.updated_by, made.allow_duplicates) == ("anna", "anna", False)
    first, second = (await contacts_page(database, tenants.one.iid, made.id, skip=0, limit=9)).items
    assert (first.phone, first.time_zone, first.unique_id, first.priority) == ("+15550100001", "Europe/Paris", "7", 3)
    assert first.attributes == {"firstName": "Zoë"}
    assert (second.time_zone, second.unique_id, second.priority) == (None, None, 0)


async def test_the_same_file_again_adds_nothing(database, tenants, people):
    people.write_text(GOOD)
    first = await run(database, tenants.one, people)
    again = await run(database, tenants.one, people, list_name="MARCH", create=False, actor="bert")
    assert (again.rows, again.added, again.duplicates, again.list_created) == (2, 0, 2, False)
    assert again.list_id == first.list_id
    assert (await find_list(database, tenants.one.iid, "March")).updated_by == "anna"


async def test_a_list_that_allows_duplicates_takes_them(database, tenants, people):
    people.write_text(GOOD)
    await create_list(
        database,
        iid=tenants.one.iid,
        account_id=tenants.one.account_id,
        name="March",
        description="",
        source="passiveApi",
        allow_duplicates=True,
        api_version=2,
        actor="anna",
    )
    for _ in range(2):
        assert (await run(database, tenants.one, people)).added == 2
    assert (await find_list(database, tenants.one.iid, "March")).contacts_count == 4


async def test_bad_rows_are_told_and_good_ones_kept(database, tenants, people, tmp_path):
    people.write_text(
        "phone,tz,priority,note\n"
        "+15550100001,,,fine\n"
        "nobody,,,\n"
        "\n"
        "+15550100002,Mars/Olympus,-1,=1+1\n"
        '+15550100003,,,"open\n'
        "+15550100004,,high,\n"
        "+15550100005,,,a,b\n"
        "+15550100001,,,again\n"
        "+15550100006,,,fine\n"
    )
    errors = tmp_path / "errors.csv"
    report = await run(database, tenants.one, people, error_file=errors)
    assert (report.rows, report.added, report.duplicates, report.bad) == (8, 2, 1, 5)
    assert report.error_file == errors
    assert report.examples[0].startswith("Line 3: the phone number contains letters")
    with errors.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["line", "reason", "phone", "tz", "priority", "note"]
    assert [row[0] for row in rows] == ["3", "5", "6", "7", "8"]
    assert "Mars/Olympus" in rows[1][1]
    assert "priority is -1" in rows[1][1]
    assert rows[1][2:] == ["+15550100002", "Mars/Olympus", "-1", "=1+1"]
    assert rows[2][2:] == ['+15550100003,,,"open']


async def test_no_more_than_a_few_examples(database, tenants, people):
    people.write_text("phone\n" + "x\n" * 20)
    report = await run(database, tenants.one, people)
    assert (report.bad, len(report.examples), report.error_file) == (20, 5, None)
    assert report.list_created


async def test_without_a_bad_row_no_error_file_is_left(database, tenants, people, tmp_path):
    errors = tmp_path / "errors.csv"
    errors.write_text("of last time")
    people.write_text(GOOD)
    report = await run(database, tenants.one, people, error_file=errors)
    assert report.error_file is None
    assert not errors.exists()


async def test_national_numbers_need_a_region(database, tenants, people):
    people.write_text("phone\n555 010 0001\n")
    assert (await run(database, tenants.one, people)).bad == 1
    assert (await run(database, tenants.one, people, default_region="US")).added == 1


async def test_a_header_alone_makes_an_empty_list(database, tenants, people):
    people.write_text("phone,name\n")
    report = await run(database, tenants.one, people)
    assert (report.rows, report.list_created) == (0, True)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("", "is empty"), ("name\nx\n", "no column for phone"), ("PK\x03\x04", "damaged or no Excel workbook")],
)
async def test_what_is_no_table_makes_no_list(database, tenants, people, content, sentence):
    people.write_text(content)
    with pytest.raises(InvalidInputError, match=sentence):
        await run(database, tenants.one, people)
    assert await list_lists(database, tenants.one.iid) == []


async def test_wrong_names_and_files(database, tenants, people, tmp_path):
    with pytest.raises(FileError, match="no such file"):
        await run(database, tenants.one, people)
    people.write_text(GOOD)
    with pytest.raises(InvalidInputError, match="list_name"):
        await run(database, tenants.one, people, list_name="x" * 49)
    with pytest.raises(InvalidInputError, match="imported file itself"):
        await run(database, tenants.one, people, error_file=people)
    assert people.read_text() == GOOD
    with pytest.raises(FileError, match="cannot be written"):
        await run(database, tenants.one, people, error_file=tmp_path / "no" / "errors.csv")
    with pytest.raises(NotFoundError, match="list named March"):
        await run(database, tenants.one, people, create=False)
    assert await list_lists(database, tenants.one.iid) == []


async def test_a_full_disk_under_the_error_file(database, tenants, people):
    people.write_text("phone\n" + "x\n" * 5000)
    with pytest.raises(FileError, match="/dev/full cannot be written: No space left"):
        await run(database, tenants.one, people, error_file=people.__class__("/dev/full"))


async def test_others_lists_are_out_of_reach(database, tenants, people):
    people.write_text(GOOD)
    await run(database, tenants.one, people)
    for owner, iid in [(tenants.other, tenants.one.iid), (tenants.one, tenants.other.iid), (tenants.one, "st-none")]:
        with pytest.raises(NotFoundError):
            await run(database, owner, people, iid=iid, list_name="Others")
    for owner in (tenants.sister, tenants.other):
        with pytest.raises(NotFoundError):
            await run(database, owner, people, create=False)
        assert await list_lists(database, owner.iid) == []


async def test_fifty_thousand_rows_in_order_with_progress_and_flat_memory(database, tenants, people, monkeypatch):
    monkeypatch.setattr(import_rows, "LOT_ROWS", 5000)
    write_numbers(people, 50_000)
    seen: list[ImportProgress] = []
    tracemalloc.start()
    try:
        report = await run(database, tenants.one, people, on_progress=seen.append)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.added == 50_000
    assert [progress.rows for progress in seen] == list(range(5000, 50_001, 5000))
    assert all(progress.added == progress.rows for progress in seen)
    sizes = [progress.position for progress in seen]
    assert sizes == sorted(sizes)
    assert sizes[-1] == seen[-1].size == people.stat().st_size
    # two lots at most are in memory, each of some 3 MB; the file's rows together would be 30
    assert peak < 15_000_000
    last = await contacts_page(database, tenants.one.iid, report.list_id, skip=49_998, limit=9)
    assert [contact.attributes["n"] for contact in last.items] == ["49998", "49999"]


async def test_a_lot_ends_with_its_bytes_too(database, tenants, people, monkeypatch):
    monkeypatch.setattr(import_rows, "LOT_BYTES", 1000)
    people.write_text("phone,note,more\n" + "".join(f"+155501000{n},{'x' * 300},{'y' * 280}\n" for n in range(10, 20)))
    lots: list[ImportProgress] = []
    assert (await run(database, tenants.one, people, on_progress=lots.append)).added == 10
    assert len(lots) == 5


async def test_an_import_that_breaks_off_keeps_what_it_has_and_can_be_run_again(database, tenants, people, monkeypatch):
    monkeypatch.setattr(import_rows, "LOT_ROWS", 100)
    write_numbers(people, 1000)
    insert, calls = store.insert, 0

    async def failing(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == 4:
            raise DatabaseUnavailableError("gone")
        return await insert(*args, **kwargs)

    monkeypatch.setattr(store, "insert", failing)
    with pytest.raises(DatabaseUnavailableError):
        await run(database, tenants.one, people)
    assert (await find_list(database, tenants.one.iid, "March")).contacts_count == 300
    report = await run(database, tenants.one, people)
    assert (report.added, report.duplicates) == (700, 300)


async def test_a_cancelled_import_closes_its_files_and_keeps_what_it_has(database, tenants, people, monkeypatch):
    monkeypatch.setattr(import_rows, "LOT_ROWS", 100)
    write_numbers(people, 2000)
    reached = asyncio.Event()

    def told(progress: ImportProgress) -> None:
        if progress.rows >= 500:
            reached.set()

    task = asyncio.create_task(run(database, tenants.one, people, on_progress=told))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    kept = (await find_list(database, tenants.one.iid, "March")).contacts_count
    assert kept >= 500
    report = await run(database, tenants.one, people)
    assert report.added == 2000 - kept


async def test_the_list_is_deleted_under_an_import(database, tenants, people, monkeypatch):
    monkeypatch.setattr(import_rows, "LOT_ROWS", 100)
    write_numbers(people, 1000)
    store_lot, lots = import_rows._store, 0

    async def deleting(*args):
        nonlocal lots
        lots += 1
        if lots == 3:
            found = await find_list(database, tenants.one.iid, "March")
            await delete_list(database, tenants.one.iid, found.id)
        return await store_lot(*args)

    monkeypatch.setattr(import_rows, "_store", deleting)
    with pytest.raises(NotFoundError, match="list named March"):
        await run(database, tenants.one, people)
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM contacts") == 0


async def test_two_imports_of_one_file_at_once(database, tenants, people, monkeypatch):
    monkeypatch.setattr(import_rows, "LOT_ROWS", 100)
    write_numbers(people, 1000)
    reports = await asyncio.gather(*(run(database, tenants.one, people) for _ in range(3)))
    assert sum(report.added for report in reports) == 1000
    assert sum(report.list_created for report in reports) == 1
    assert (await find_list(database, tenants.one.iid, "March")).contacts_count == 1000


@pytest.mark.parametrize("known", [[250], [5, 6, 7, 450], list(range(0, 500, 7))])
async def test_numbers_that_few_rows_share_with_the_list_are_left_out_alone(
    database, tenants, people, monkeypatch, known
):
    """A lot is tried before each number is looked for; what that meets is done again, and counted once."""
    monkeypatch.setattr(import_rows, "LOT_ROWS", 100)
    people.write_text("phone,n\n" + "".join(f"+1555{number:07},old\n" for number in known))
    first = await run(database, tenants.one, people)
    write_numbers(people, 500)
    seen: list[ImportProgress] = []
    report = await run(database, tenants.one, people, on_progress=seen.append)
    assert (report.rows, report.added, report.duplicates, report.bad) == (500, 500 - len(known), len(known), 0)
    assert [progress.rows for progress in seen] == list(range(100, 501, 100))
    page = await contacts_page(database, tenants.one.iid, first.list_id, skip=0, limit=1000)
    kept = [contact.attributes["n"] for contact in page.items]
    assert kept == ["old"] * len(known) + [str(number) for number in range(500) if number not in known]
    assert (await find_list(database, tenants.one.iid, "March")).contacts_count == 500


async def test_lots_are_tried_and_after_a_known_number_looked_through(database, tenants, people, monkeypatch):
    monkeypatch.setattr(import_rows, "LOT_ROWS", 100)
    monkeypatch.setattr(import_rows, "LOOKS", 2)
    people.write_text("phone,n\n+15550000150,old\n")
    await run(database, tenants.one, people)
    write_numbers(people, 600)
    pick, tried = store.pick, []

    async def noting(*args, unseen: bool, **options):
        tried.append(unseen)
        return await pick(*args, unseen=unseen, **options)

    monkeypatch.setattr(store, "pick", noting)
    assert (await run(database, tenants.one, people)).added == 599
    # the second lot has a known number; itself again and two more are looked through
    assert tried == [True, True, False, False, False, True, True]


async def test_a_full_list_is_never_tried(database, tenants, people, monkeypatch, tmp_path):
    monkeypatch.setattr(import_rows, "LOT_ROWS", 100)
    monkeypatch.setattr(import_rows, "room", lambda to: max(0, 250 - to.contacts_count))
    people.write_text("phone,n\n+15550000230,old\n")
    await run(database, tenants.one, people)
    write_numbers(people, 300)
    errors = tmp_path / "errors.csv"
    report = await run(database, tenants.one, people, error_file=errors)
    assert (report.rows, report.added, report.duplicates) == (300, 249, 1)
    with errors.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    # the first fifty for which there was no room, with their cells as they were
    assert [(int(row["line"]), row["phone"], row["n"]) for row in rows] == [
        (number + 2, f"+1555{number:07}", str(number)) for number in range(250, 300)
    ]


async def test_bad_rows_and_lots_cross_as_they_like(database, tenants, people, monkeypatch, tmp_path):
    """Rows are read by the thousand, lots end within: each row is in the lot, and at the line, where it belongs."""
    monkeypatch.setattr(import_rows, "LOT_ROWS", 7)
    wrong = {place for place in range(200) if place % 5 == 0 or 90 <= place < 110}
    people.write_text("phone,n\n" + "".join(f"{'x' if n in wrong else f'+1555{n:07}'},{n}\n" for n in range(200)))
    errors, seen = tmp_path / "errors.csv", []
    report = await run(database, tenants.one, people, error_file=errors, on_progress=seen.append)
    assert (report.rows, report.added, report.bad) == (200, 200 - len(wrong), len(wrong))
    assert [(each.rows, each.bad) for each in seen] == [
        (rows, sum(place in wrong for place in range(rows))) for rows in (*range(7, 200, 7), 200)
    ]
    with errors.open(encoding="utf-8-sig", newline="") as file:
        assert [(int(row["line"]), row["n"]) for row in csv.DictReader(file)] == [
            (place + 2, str(place)) for place in sorted(wrong)
        ]
    page = await contacts_page(database, tenants.one.iid, report.list_id, skip=0, limit=1000)
    assert [contact.attributes["n"] for contact in page.items] == [str(n) for n in range(200) if n not in wrong]
