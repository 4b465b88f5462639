"""What an account may hold: counted by the database, kept under concurrency, told by name; what was good stays."""

from __future__ import annotations

import asyncio
import csv

import asyncpg
import pytest

from outdial.core.errors import InUseError, LimitReachedError
from outdial.services import contact_lists
from outdial.services.contact_lists import ContactDraft, add_contacts, create_list, delete_list, find_list
from outdial.services.import_file import import_file
from outdial.store import contacts as store
from tenants import make_tenants

COUNTS = """
SELECT u.account_id, u.lists_count, u.contacts_count,
       (SELECT count(*) FROM contact_lists l WHERE l.account_id = u.account_id) AS lists,
       (SELECT count(*) FROM contacts c JOIN contact_lists l ON l.id = c.list_id WHERE l.account_id = u.account_id)
           AS contacts
  FROM account_usage u
"""


@pytest.fixture
async def tenants(database, secret_box):
    return await make_tenants(database, secret_box)


async def make(database, owner, name: str, *, allow_duplicates: bool = False):
    return await create_list(
        database,
        iid=owner.iid,
        account_id=owner.account_id,
        name=name,
        description="",
        source="passiveApi",
        allow_duplicates=allow_duplicates,
        api_version=2,
        actor="x",
    )


def drafts(*numbers: int) -> list[ContactDraft]:
    return [ContactDraft(phone=f"+1555{number:07}") for number in numbers]


async def add(database, owner, name: str, *numbers: int):
    return await add_contacts(database, owner.iid, name, drafts(*numbers), default_region=None)


async def counted(database) -> None:
    """The counts are what there is."""
    async with database.connection() as connection:
        for row in await connection.fetch(COUNTS):
            assert (row["lists_count"], row["contacts_count"]) == (row["lists"], row["contacts"])
        for row in await connection.fetch(
            "SELECT contacts_count, (SELECT count(*) FROM contacts c WHERE c.list_id = l.id) AS n FROM contact_lists l"
        ):
            assert row["contacts_count"] == row["n"]


async def test_a_full_list_takes_the_first_and_tells_the_others(database, tenants, monkeypatch):
    monkeypatch.setattr(contact_lists, "LONGEST_LIST", 3)
    await make(database, tenants.one, "March")
    assert (await add(database, tenants.one, "March", 1, 2)).added == 2
    wrong = ContactDraft(phone="x")
    more = [wrong, *drafts(1, 3, 4, 3, 5)]
    done = await add_contacts(database, tenants.one.iid, "March", more, default_region=None)
    assert (done.added, done.duplicates, done.beyond) == (1, 2, 2)
    sentence = "the contact list March is full, a list has at most 3 contacts."
    assert done.problems[1:] == (f"[3]: {sentence}", f"[5]: {sentence}")
    assert (await add(database, tenants.one, "March", 1, 2, 3)).duplicates == 3
    with pytest.raises(LimitReachedError, match="Nothing was added: the contact list March is full") as refused:
        await add(database, tenants.one, "March", 1, 4)
    assert (refused.value.code, refused.value.status) == ("limit_reached", 409)
    await counted(database)


async def test_a_list_that_allows_duplicates_fills_up_too(database, tenants, monkeypatch):
    monkeypatch.setattr(contact_lists, "LONGEST_LIST", 3)
    await make(database, tenants.one, "March", allow_duplicates=True)
    done = await add(database, tenants.one, "March", 1, 1, 1, 1, 2)
    assert (done.added, done.duplicates, done.beyond) == (3, 0, 2)
    await counted(database)


async def test_an_account_is_full_across_its_lists_and_applications_but_not_others(database, tenants, monkeypatch):
    monkeypatch.setattr(contact_lists, "MOST_CONTACTS", 5)
    for owner in (tenants.one, tenants.sister, tenants.other):
        await make(database, owner, "March")
    assert (await add(database, tenants.one, "March", 1, 2, 3)).added == 3
    done = await add(database, tenants.sister, "March", 1, 2, 3)
    assert (done.added, done.beyond) == (2, 1)
    assert "the account is full, it has at most 5 contacts" in done.problems[0]
    assert (await add(database, tenants.other, "March", 1, 2, 3, 4, 5)).added == 5
    await delete_list(database, tenants.one.iid, (await find_list(database, tenants.one.iid, "March")).id)
    assert (await add(database, tenants.sister, "March", 7, 8, 9, 10)).added == 3
    await counted(database)


async def test_an_account_has_so_many_lists_and_no_more(database, tenants, monkeypatch):
    monkeypatch.setattr(contact_lists, "MOST_LISTS", 4)
    made = await asyncio.gather(
        *(make(database, owner, f"list {number}") for number in range(4) for owner in (tenants.one, tenants.sister)),
        return_exceptions=True,
    )
    refused = [each for each in made if isinstance(each, BaseException)]
    assert len(made) - len(refused) == 4
    assert {(type(each), str(each)) for each in refused} == {
        (LimitReachedError, "The account has 4 contact lists, its most; delete one first.")
    }
    assert (await make(database, tenants.other, "first")).name == "first"
    kept = next(each for each in made if not isinstance(each, BaseException))
    await delete_list(database, kept.iid, kept.id)
    assert (await make(database, tenants.one, "again")).name == "again"
    await counted(database)


async def test_many_at_once_never_pass_a_limit_and_nobody_is_left_waiting(database, tenants, monkeypatch):
    monkeypatch.setattr(contact_lists, "MOST_CONTACTS", 100)
    monkeypatch.setattr(contact_lists, "LONGEST_LIST", 40)
    owners = [tenants.one, tenants.sister]
    for owner in owners:
        for name in ("a", "b"):
            await make(database, owner, name)

    async def one(number: int) -> int:
        owner, name = owners[number % 2], "ab"[number // 2 % 2]
        try:
            return (await add(database, owner, name, *range(number * 7, number * 7 + 7))).added
        except LimitReachedError:
            return 0

    assert sum(await asyncio.gather(*(one(number) for number in range(40)))) == 100
    await counted(database)


async def test_adding_making_and_deleting_at_once_does_not_deadlock(database, tenants):
    async def turn(number: int) -> None:
        owner = (tenants.one, tenants.sister)[number % 2]
        name = f"list {number % 3}"
        try:
            made = await make(database, owner, name)
            await add(database, owner, name, *range(number, number + 20))
            await delete_list(database, owner.iid, made.id)
        except (contact_lists.ConflictError, contact_lists.NotFoundError, InUseError):
            return

    async with asyncio.timeout(30):
        for _ in range(5):
            await asyncio.gather(*(turn(number) for number in range(20)))
    await counted(database)


async def test_rows_of_a_file_beyond_the_limit_are_told_and_the_first_stay(database, tenants, monkeypatch, tmp_path):
    monkeypatch.setattr(contact_lists, "LONGEST_LIST", 2)
    people, errors = tmp_path / "people.csv", tmp_path / "errors.csv"
    people.write_text(
        "phone,name\n+15550100001,a\nx,b\n+15550100001,c\n+15550100002,d\n+15550100003,e\n+15550100004,f\n"
    )
    report = await import_file(
        database,
        iid=tenants.one.iid,
        account_id=tenants.one.account_id,
        list_name="March",
        path=people,
        default_region=None,
        create=True,
        on_progress=lambda _: None,
        error_file=errors,
        actor="anna",
    )
    assert (report.rows, report.added, report.duplicates, report.bad, report.beyond) == (6, 2, 1, 1, 2)
    with errors.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows] == ["line", "3", "6", "7"]
    assert rows[2][1:] == ["the contact list March is full, a list has at most 2 contacts", "+15550100003", "e"]


async def test_the_database_keeps_contacts_with_their_list(database, tenants):
    made, other = await make(database, tenants.one, "a"), await make(database, tenants.one, "b")
    await add(database, tenants.one, "a", 1, 2, 3)
    async with database.connection() as connection:
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await connection.execute("INSERT INTO contacts (list_id, phone) VALUES ('cl-none', '+15550100001')")
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await connection.execute("UPDATE contacts SET list_id = $1", other.id)
        await connection.execute("DELETE FROM contacts WHERE phone = '+15550000001'")
    await counted(database)
    await delete_list(database, tenants.one.iid, made.id)
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM contacts") == 0
    await counted(database)


@pytest.mark.parametrize("kept", [True, False])
async def test_a_list_deleted_while_somebody_adds_to_it_leaves_no_contact_behind(database, tenants, kept):
    made = await make(database, tenants.one, "a")
    async with database.connection() as adding, database.connection() as deleting:
        first, second = adding.transaction(), deleting.transaction()
        await first.start()
        await second.start()
        insert = "INSERT INTO contacts (list_id, phone) VALUES ($1, '+15550100001')"
        delete = "DELETE FROM contact_lists WHERE id = $1"
        if kept:
            # the one who adds is first: the deletion waits and takes the contact along
            await adding.execute(insert, made.id)
            later = asyncio.create_task(deleting.execute(delete, made.id))
            await first.commit()
            await later
            await second.commit()
        else:
            await deleting.execute(delete, made.id)
            later = asyncio.create_task(adding.execute(insert, made.id))
            await second.commit()
            with pytest.raises(asyncpg.ForeignKeyViolationError):
                await later
            await first.rollback()
        assert await adding.fetchval("SELECT count(*) FROM contacts") == 0
    await counted(database)


async def test_looking_for_known_numbers_reads_one_entry_for_each(database, tenants):
    """Also in a list that statistics know nothing of, where the other index of lists looks as good."""
    made, new = await make(database, tenants.one, "a"), await make(database, tenants.one, "b")
    fill = (
        "INSERT INTO contacts (list_id, phone, dedupe_phone) "
        "SELECT $1, p, p FROM (SELECT '+1' || (2000000000 + n) AS p FROM generate_series(1, 20000) n) x"
    )
    async with database.connection() as connection:
        await connection.execute(fill, made.id)
        await connection.execute("ANALYZE contacts")
        await connection.execute(fill, new.id)
    phones = [f"+1{2000000000 + number}" for number in range(5000, 35000, 10)]
    scans = "SELECT seq_scan, idx_scan, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'contacts'"
    for each in (made, new):
        async with database.transaction() as connection:
            await store.open_list_by_id(connection, each.iid, each.id)
            before = await connection.fetchrow(scans)
            assert len(await store._known(connection, each.id, phones)) == 1501
            after = await connection.fetchrow(scans)
            sequential, index, fetched = (now - then for now, then in zip(after, before, strict=True))
            assert (sequential, index) == (0, 3000)
            assert fetched <= 3000
            plan = [line[0] for line in await connection.fetch(f"EXPLAIN {store._KNOWN}", each.id, phones)]
            (scan,) = [line for line in plan if "Scan using" in line]
            assert "Scan using contacts_once" in scan
            # as long as it expects many, no other way looks as good; at a million contacts one would be taken
            assert int(scan.partition("rows=")[2].partition(" ")[0]) > 1000
    await counted(database)
