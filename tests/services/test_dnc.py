"""Do-not-call lists: who is on them, whose they are, and that a number on one is not dialed after the commit."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest

from outdial import clock
from outdial.core.errors import FileError, InvalidInputError, NotFoundError
from outdial.core.model import DncSource
from outdial.services import dnc
from outdial.services.dnc import add_numbers, list_numbers, remove_numbers
from outdial.services.trunks import TrunkDraft, add_trunk
from outdial.store import dnc as store
from runs import insert_run, waits_for_a_lock
from tenants import make_tenants
from waiting import until


@pytest.fixture
async def tenants(database, secret_box):
    return await make_tenants(database, secret_box)


def phone(number: int) -> str:
    return f"+1555010{number:04}"


async def test_numbers_on_the_account_wide_list(database, tenants):
    account = tenants.one.account_id
    change = await add_numbers(
        database,
        account_id=account,
        phones=[phone(2), "+1 (555) 010-0001", phone(2)],
        reason="asked by letter",
        actor="anna",
    )
    assert (change.changed, change.unchanged, change.problems) == (2, 1, ())
    first, second = await list_numbers(database, account_id=account)
    assert (first.phone, second.phone) == (phone(1), phone(2))
    assert (first.reason, first.added_by, first.expires_at) == ("asked by letter", "anna", None)
    again = await add_numbers(database, account_id=account, phones=[phone(1), phone(3)], reason="x", actor="bert")
    assert (again.changed, again.unchanged) == (1, 1)
    assert (await list_numbers(database, account_id=account))[0] == first


async def test_a_named_list_is_made_by_its_first_use(database, tenants):
    one = tenants.one
    with pytest.raises(NotFoundError, match="list named Never"):
        await list_numbers(database, account_id=one.account_id, iid=one.iid, list_name="Never")
    await add_numbers(database, account_id=one.account_id, iid=one.iid, list_name="Never", phones=[], actor="anna")
    assert await list_numbers(database, account_id=one.account_id, iid=one.iid, list_name="never") == []
    await add_numbers(
        database, account_id=one.account_id, iid=one.iid, list_name="NEVER", phones=[phone(1)], actor="anna"
    )
    entries = await list_numbers(database, account_id=one.account_id, iid=one.iid, list_name="Never")
    assert [entry.phone for entry in entries] == [phone(1)]
    async with database.connection() as connection:
        list_id = await store.dnc_list_id(connection, one.iid, "never")
        assert list_id.startswith("cl-")
        assert await store.dnc_list_id(connection, tenants.sister.iid, "Never") is None
    assert await list_numbers(database, account_id=one.account_id) == []


async def test_two_first_uses_at_once_make_one_list(database, tenants):
    one = tenants.one
    await asyncio.gather(
        *(
            add_numbers(
                database,
                account_id=one.account_id,
                iid=one.iid,
                list_name="Never",
                phones=[phone(number)],
                actor="anna",
            )
            for number in range(8)
        )
    )
    assert len(await list_numbers(database, account_id=one.account_id, iid=one.iid, list_name="Never")) == 8


async def test_removal_keeps_what_the_entry_said_in_history(database, tenants):
    account = tenants.one.account_id
    await add_numbers(database, account_id=account, phones=[phone(1), phone(2)], reason="letter", actor="anna")
    change = await remove_numbers(database, account_id=account, phones=[phone(1), phone(3)], actor="bert")
    assert (change.changed, change.unchanged) == (1, 1)
    assert [entry.phone for entry in await list_numbers(database, account_id=account)] == [phone(2)]
    async with database.connection() as connection:
        row = await connection.fetchrow("SELECT account_id, actor, to_state, detail FROM history WHERE action = 'dnc'")
    assert (row["account_id"], row["actor"], row["to_state"]) == (account, "bert", "removed")
    assert (row["detail"]["phone"], row["detail"]["reason"], row["detail"]["added_by"]) == (phone(1), "letter", "anna")


async def test_removing_from_a_list_that_is_not_there(database, tenants):
    one = tenants.one
    with pytest.raises(NotFoundError):
        await remove_numbers(
            database, account_id=one.account_id, iid=one.iid, list_name="Never", phones=[phone(1)], actor="anna"
        )


async def test_an_entry_that_would_end_is_made_to_stay(database, tenants):
    account = tenants.one.account_id
    await add_numbers(database, account_id=account, phones=[phone(1)], reason="old", actor="anna")
    async with database.connection() as connection:
        await connection.execute("UPDATE dnc_entries SET expires_at = now() - interval '1 day'")
    change = await add_numbers(database, account_id=account, phones=[phone(1)], reason="new", actor="bert")
    assert (change.changed, change.unchanged) == (1, 0)
    (entry,) = await list_numbers(database, account_id=account)
    assert (entry.reason, entry.added_by, entry.expires_at) == ("new", "bert", None)


async def test_numbers_that_cannot_be_read_are_told_and_the_others_added(database, tenants):
    account = tenants.one.account_id
    change = await add_numbers(
        database, account_id=account, phones=["nobody", phone(1), "555"], reason="", actor="anna"
    )
    assert change.changed == 1
    assert [problem.partition(":")[0] for problem in change.problems] == ["[0]", "[2]"]
    change = await add_numbers(database, account_id=account, phones=["555 010 0002"], actor="anna", default_region="US")
    assert change.changed == 1
    change = await remove_numbers(database, account_id=account, phones=["x", phone(1)], actor="anna")
    assert (change.changed, len(change.problems)) == (1, 1)


async def test_more_numbers_than_fit_one_transaction(database, tenants, monkeypatch):
    monkeypatch.setattr(dnc, "LOT", 100)
    account = tenants.one.account_id
    change = await add_numbers(
        database, account_id=account, phones=(phone(number % 1000) for number in range(1050)), actor="anna"
    )
    assert (change.changed, change.unchanged) == (1000, 50)
    change = await remove_numbers(
        database, account_id=account, phones=(phone(number) for number in range(950, 1050)), actor="anna"
    )
    assert (change.changed, change.unchanged) == (50, 50)
    assert len(await list_numbers(database, account_id=account)) == 950


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"list_name": "Never"}, "without an application"),
        ({"iid": "st-1"}, "`list_name` must not be empty"),
        ({"iid": "st-1", "list_name": "x" * 49}, "at most 48"),
        ({"reason": "x" * 257}, "at most 256"),
    ],
)
async def test_wrong_fields(database, tenants, asked, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        await add_numbers(database, account_id=tenants.one.account_id, phones=[], actor="anna", **asked)


async def test_others_see_and_change_nothing(database, tenants):
    one = tenants.one
    for where in ({}, {"iid": one.iid, "list_name": "Never"}):
        await add_numbers(database, account_id=one.account_id, phones=[phone(1)], actor="anna", **where)
    # the sister shares the account-wide list and nothing else
    assert len(await list_numbers(database, account_id=tenants.sister.account_id)) == 1
    assert await list_numbers(database, account_id=tenants.other.account_id) == []
    for account_id, where in [
        (tenants.other.account_id, {"iid": one.iid, "list_name": "Never"}),
        (tenants.other.account_id, {"iid": tenants.other.iid, "list_name": "Never"}),
        (one.account_id, {"iid": tenants.sister.iid, "list_name": "Never"}),
        (one.account_id, {"iid": tenants.other.iid, "list_name": "Never"}),
        ("f" * 24, {}),
        ("\x00", {}),
    ]:
        with pytest.raises(NotFoundError):
            await list_numbers(database, account_id=account_id, **where)
        with pytest.raises(NotFoundError):
            await remove_numbers(database, account_id=account_id, phones=[phone(1)], actor="x", **where)
    for account_id, where in [
        (tenants.other.account_id, {"iid": one.iid, "list_name": "Never"}),
        ("f" * 24, {}),
    ]:
        with pytest.raises(NotFoundError):
            await add_numbers(database, account_id=account_id, phones=[phone(2)], actor="x", **where)
    assert len(await list_numbers(database, account_id=one.account_id)) == 1


async def reserve(database, secret_box, owner, number: str) -> str:
    """An attempt about to be dialed."""
    trunk = await add_trunk(
        database, secret_box, owner.iid, TrunkDraft(name=number, host="a.example", caller_ids=(number,))
    )
    attempt_id = uuid.uuid4().hex
    async with database.transaction() as connection:
        run_id = await insert_run(connection, owner, trunk_id=trunk.id)
        await connection.execute(
            "INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id, "
            "engine_id, node_id, epoch, number, state, changed_by) "
            "VALUES ($1, $2, 'cd', $3, 1, $4, $4, $5, 'e', 'n', 1, 1, 'reserved', 'test')",
            attempt_id,
            run_id,
            owner.account_id,
            number,
            trunk.id,
        )
    return attempt_id


async def test_adding_returns_only_when_a_call_being_placed_has_left(database, tenants, secret_box):
    attempt_id = await reserve(database, secret_box, tenants.one, phone(1))
    adding = asyncio.create_task(
        add_numbers(database, account_id=tenants.one.account_id, phones=[phone(1), phone(2)], actor="anna")
    )

    async def committed() -> bool:
        return len(await list_numbers(database, account_id=tenants.one.account_id)) == 2

    await until(committed)
    # other accounts and other numbers do not wait
    await add_numbers(database, account_id=tenants.other.account_id, phones=[phone(1)], actor="x")
    await add_numbers(database, account_id=tenants.one.account_id, phones=[phone(3)], actor="x")
    assert not adding.done()
    async with database.connection() as connection:
        await connection.execute("UPDATE attempts SET state = 'dialing' WHERE id = $1", attempt_id)
    change = await adding
    assert (change.changed, change.problems) == (2, ())


async def test_a_call_that_hangs_in_between_is_told(database, tenants, secret_box, monkeypatch):
    monkeypatch.setattr(dnc, "SETTLE_SECONDS", 0.1)
    await reserve(database, secret_box, tenants.one, phone(1))
    change = await add_numbers(database, account_id=tenants.one.account_id, phones=[phone(1)], actor="anna")
    assert change.changed == 1
    (problem,) = change.problems
    assert problem.startswith("1 of the numbers")


async def test_adding_waits_for_a_reservation_under_way_and_the_next_one_sees_the_number(database, tenants):
    account = tenants.one.account_id
    async with database.transaction() as first, database.transaction() as second:
        # many reserve at once
        await store.hold(first, account)
        await store.hold(second, account)
        adding = asyncio.create_task(add_numbers(database, account_id=account, phones=[phone(1)], actor="anna"))
        await until(lambda: waits_for_a_lock(database))
        assert await second.fetchval("SELECT count(*) FROM dnc_entries") == 0
        assert not adding.done()
    await adding
    async with database.transaction() as connection:
        await store.hold(connection, account)
        assert await connection.fetchval("SELECT count(*) FROM dnc_entries") == 1


async def test_a_reservation_waits_for_an_addition_under_way(database, tenants):
    account = tenants.one.account_id

    async def reservation() -> int:
        async with database.transaction() as connection:
            await store.hold(connection, account)
            return await connection.fetchval("SELECT count(*) FROM dnc_entries")

    async with database.transaction() as connection:
        await store.freeze(connection, account)
        list_id = await store.account_list(connection, account, new_id="cl-new")
        await store.add(connection, list_id, [phone(1)], reason="", source=DncSource.OPERATOR, actor="anna")
        reserving = asyncio.create_task(reservation())
        await until(lambda: waits_for_a_lock(database))
    assert await reserving == 1


@pytest.mark.parametrize("first", [DncSource.OPERATOR, DncSource.STOP, DncSource.UNKNOWN])
@pytest.mark.parametrize("lasts", [timedelta(hours=1), None])
async def test_the_persons_own_word_takes_the_place_of_what_is_none_and_nothing_takes_its(
    database, tenants, first, lasts
):
    async def put(source, *, actor, lasts=None):
        async with database.connection() as connection:
            list_id = await store.account_list(connection, tenants.one.account_id, new_id="cl-new")
            expires_at = None if lasts is None else clock.now() + lasts
            changed = await store.add(
                connection, list_id, [phone(1)], reason="", source=source, actor=actor, expires_at=expires_at
            )
            row = await connection.fetchrow("SELECT source, added_by, expires_at, of_person FROM dnc_entries")
        return changed, tuple(row)

    await put(first, actor="anna", lasts=lasts)
    own = (DncSource.AGENT, "bert", None, True)
    assert await put(DncSource.AGENT, actor="bert") == ([phone(1)], own)
    for source in (DncSource.AGENT, DncSource.KEY, first):
        assert await put(source, actor="carl") == ([], own)


async def test_an_entry_for_good_is_not_shortened_by_a_word_that_is_not(database, tenants):
    async with database.connection() as connection:
        list_id = await store.account_list(connection, tenants.one.account_id, new_id="cl-new")
        for source, expires_at in ((DncSource.OPERATOR, None), (DncSource.AGENT, clock.now() + timedelta(hours=1))):
            await store.add(
                connection, list_id, [phone(1)], reason="", source=source, actor="anna", expires_at=expires_at
            )
        row = await connection.fetchrow("SELECT source, expires_at FROM dnc_entries")
    assert tuple(row) == (DncSource.OPERATOR, None)


async def test_every_account_has_its_list_before_the_first_number(database, tenants):
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT account_id FROM dnc_lists WHERE iid IS NULL ORDER BY account_id")
    assert [row["account_id"] for row in rows] == sorted({tenants.one.account_id, tenants.other.account_id})


async def test_waiting_for_reserved_attempts_uses_the_index_of_live_ones(database, tenants):
    async with database.transaction() as connection:
        await connection.execute("SET LOCAL enable_seqscan = off")
        plan = await connection.fetch(
            "EXPLAIN SELECT count(*) FROM attempts WHERE account_id = $1 AND phone = ANY ($2::text[]) AND state IN "
            "('reserved', 'dialing', 'ringing', 'answered') AND state = 'reserved'",
            tenants.one.account_id,
            [phone(1)],
        )
    assert "attempts_live_phone" in "\n".join(line[0] for line in plan)


@pytest.mark.parametrize("phone_stored", ["+49030901820", "+15550100001"])
async def test_numbers_that_were_read_before_are_not_read_again(database, tenants, phone_stored):
    account = tenants.one.account_id
    change = await add_numbers(database, account_id=account, phones=[phone_stored], as_stored=True, actor="anna")
    assert (change.changed, change.problems) == (1, ())
    assert [each.phone for each in await list_numbers(database, account_id=account)] == [phone_stored]
    change = await remove_numbers(database, account_id=account, phones=[phone_stored], as_stored=True, actor="anna")
    assert change.changed == 1


async def test_numbers_before_an_error_are_added_and_told(database, tenants):
    def numbers():
        yield from (phone(1), phone(2), phone(1))
        raise FileError("numbers.csv cannot be read: Input/output error.")

    account, heard = tenants.one.account_id, []
    with pytest.raises(FileError, match="Input/output"):
        await add_numbers(
            database, account_id=account, phones=numbers(), actor="anna", on_lot=lambda *lot: heard.append(lot)
        )
    assert heard == [(2, 1)]
    assert {each.phone for each in await list_numbers(database, account_id=account)} == {phone(1), phone(2)}
