"""Adding contacts in bulk: two lots in one transaction, no table left behind, pages read by index."""

from __future__ import annotations

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
