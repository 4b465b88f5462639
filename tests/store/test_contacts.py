"""Adding contacts in bulk: two lots in one transaction, no table left behind, pages read by index."""

from __future__ import annotations

import dataclasses

import asyncpg
import msgspec
import pytest

from outdial.services.contact_lists import create_list
from outdial.store import contacts
from outdial.store.contact_text import ContactRow
from tenants import make_tenants


@pytest.fixture
async def made(database, secret_box):
    owner = (await make_tenants(database, secret_box)).one
    return await create_list(
        database,
        iid=owner.iid,
        account_id=owner.account_id,
        name="March",
        description="",
        source="passiveApi",
        allow_duplicates=False,
        api_version=2,
        actor="x",
    )


def rows(start: int, stop: int) -> list[ContactRow]:
    return [ContactRow(f"+1555{number:07}", None, None, 0, msgspec.Raw(b"{}")) for number in range(start, stop)]


async def add(connection, made, new: list[ContactRow], *, actor: str | None = None, room: int = 10**6) -> int:
    to = await contacts.open_list(connection, made.iid, "March")
    batch = contacts.NewContacts()
    for row in new:
        batch.add(row)
    picked = await contacts.pick(connection, to, batch.phones, room=room)
    await contacts.insert(connection, to, batch, picked.new, actor=actor)
    return len(picked.new)


async def test_lots_one_after_the_other_leave_no_table_behind(database, made):
    async with database.transaction() as connection:
        assert await add(connection, made, rows(0, 10), actor="cs-1") == 10
    async with database.transaction() as connection:
        assert await add(connection, made, rows(5, 20)) == 10
        found = await contacts.list_by_id(connection, made.iid, made.id)
        assert (found.contacts_count, found.updated_by) == (20, "cs-1")


NASTY = [
    ("\\N", {"a": "\\N"}),
    ("\\.", {"a": "\\.", "b": ""}),
    ("a\tb\nc\rd", {"tab\t": "a\tb\nc\rd", "quote": '"', "both": '\\"', "u": "\\u0041"}),
    ("%s \x01\x7f", {"%s": "%s", "\x01": "\x7f", "line": "\u2028"}),
    ("Zoë 👋", {"Zoë": "👋", "deep": {"list": [1, 2.5, None, True, "x\\y"]}}),
]


@pytest.mark.parametrize("allow_duplicates", [False, True])
async def test_whatever_is_in_a_contact_comes_back_the_same(database, made, allow_duplicates):
    async with database.transaction() as connection:
        await connection.execute("UPDATE contact_lists SET allow_duplicates = $1", allow_duplicates)
        new = [
            ContactRow(f"+1555{number:07}", None, unique_id, number, msgspec.Raw(msgspec.json.encode(attributes)))
            for number, (unique_id, attributes) in enumerate(NASTY)
        ]
        assert await add(connection, made, new) == len(NASTY)
        found = await contacts.contacts(connection, made.id, skip=0, limit=99)
        stored = await connection.fetch("SELECT dedupe_phone FROM contacts ORDER BY id")
    assert [(contact.unique_id, contact.attributes) for contact in found] == NASTY
    assert [contact.priority for contact in found] == list(range(len(NASTY)))
    assert [row["dedupe_phone"] for row in stored] == [None if allow_duplicates else row.phone for row in new]


async def test_a_number_that_was_believed_to_be_new_undoes_the_savepoint_only(database, made):
    async with database.transaction() as connection:
        await add(connection, made, rows(0, 1))
        to = await contacts.open_list(connection, made.iid, "March")
        batch = contacts.NewContacts()
        for row in rows(0, 3000)[::-1]:
            batch.add(row)
        picked = await contacts.pick(connection, to, batch.phones, room=10**6, unseen=True)
        assert len(picked.new) == 3000
        with pytest.raises(contacts.SeenError):
            async with connection.transaction():
                await contacts.insert(connection, to, batch, picked.new, actor="x")
        assert await add(connection, made, rows(0, 3000)) == 2999
    async with database.connection() as connection:
        found = await contacts.list_by_id(connection, made.iid, made.id)
        assert (found.contacts_count, await connection.fetchval("SELECT count(*) FROM contacts")) == (3000, 3000)


async def test_a_list_is_tried_only_where_a_collision_is_not_logged_with_its_number(database, made):
    phones = [f"+1555{number:07}" for number in range(5000, 9000)]
    async with database.transaction() as connection:
        to = await contacts.open_list(connection, made.iid, "March")
        loud = dataclasses.replace(to, discreet=False)
        for each in (to, loud):
            assert await contacts.looks_unseen(connection, each, phones, room=4000)
            assert not await contacts.looks_unseen(connection, each, phones, room=3999)
        await add(connection, made, rows(0, 100))
        to = await contacts.open_list(connection, made.iid, "March")
        assert to.discreet
        assert await contacts.looks_unseen(connection, to, phones, room=4000)
        assert not await contacts.looks_unseen(connection, to, ["+15550000007"], room=4000)
        loud = dataclasses.replace(to, discreet=False)
        assert not await contacts.looks_unseen(connection, loud, phones, room=4000)


async def test_what_is_rolled_back_was_never_there(database, made):
    with pytest.raises(RuntimeError):
        async with database.transaction() as connection:
            await add(connection, made, rows(0, 10))
            raise RuntimeError
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM contacts") == 0


async def test_a_page_of_a_long_list_and_its_count_use_the_index(database, made):
    async with database.transaction() as connection:
        await add(connection, made, rows(0, 5000))
        await connection.execute(
            "INSERT INTO contact_lists (id, iid, account_id, name, created_by, updated_by) "
            "SELECT 'cl-x', iid, account_id, 'Other', 'x', 'x' FROM applications LIMIT 1"
        )
        await connection.execute(
            "INSERT INTO contacts (list_id, phone) SELECT 'cl-x', '+1555' || n FROM generate_series(1000000, 1020000) n"
        )
        await connection.execute("ANALYZE contacts")
        plan = await connection.fetch(
            "EXPLAIN SELECT * FROM contacts WHERE list_id = $1 ORDER BY id OFFSET 100 LIMIT 50", made.id
        )
        assert "contacts_list" in "\n".join(line[0] for line in plan)
        assert "Sort" not in "\n".join(line[0] for line in plan)


async def test_the_database_takes_e164_only(database, made):
    texts = ["+12", "+1234567890123456"[:16], "+15550100001"]
    texts += ["+1", "+1234567890123456", "+05550100001", "15550100001", "++5550100001", "+1555x100001", "+1 555", ""]
    texts += ["+15550100001\n", "+1\u0661\u0662", "+", "0+1", " +155", "+155 "]
    taken = []
    async with database.connection() as connection:
        for text in texts:
            try:
                await connection.execute("INSERT INTO contacts (list_id, phone) VALUES ($1, $2)", made.id, text)
                taken.append(text)
            except asyncpg.CheckViolationError:
                continue
        matching = "SELECT array_agg(t ORDER BY place) FROM unnest($1::text[]) WITH ORDINALITY AS given (t, place)"
        assert taken == await connection.fetchval(f"{matching} WHERE t ~ '^\\+[1-9][0-9]{{1,14}}$'", texts)
    assert len(taken) == 3
