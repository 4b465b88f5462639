"""Trunks: checked as a whole, chosen by caller ID, not removable under a live run, invisible to others."""

from __future__ import annotations

import asyncio

import pytest

from outdial.core.errors import ConflictError, InUseError, InvalidInputError, NotFoundError
from outdial.core.model import NumberFormat, Transport
from outdial.services.trunks import TrunkDraft, add_trunk, change_trunk, list_trunks, remove_trunk
from outdial.store import trunks as store
from runs import insert_run, waits_for_a_lock
from tenants import make_tenants
from waiting import until

CALLER_ID = "+15550100001"
DRAFT = TrunkDraft(name="Carrier", host="sip.example.com", caller_ids=(CALLER_ID,))
FULL = TrunkDraft(
    name="Full",
    host="2001:db8::5",
    port=5061,
    transport=Transport.TLS,
    username="user",
    password="word",
    from_domain="example.com",
    number_format=NumberFormat.E164,
    number_prefix="9",
    caller_ids=("+1 (555) 010-0003", "+15550100002", "+1 555 010 0003"),
    max_channels=30,
    calls_per_second=2.5,
)


@pytest.fixture
async def tenants(database, secret_box):
    return await make_tenants(database, secret_box)


async def test_what_is_stored_comes_back(database, secret_box, tenants):
    added = await add_trunk(database, secret_box, tenants.one.iid, FULL)
    assert added.id.startswith("tr-")
    assert added.caller_ids == ("+15550100002", "+15550100003")
    assert (added.transport, added.number_format, added.password) == (Transport.TLS, NumberFormat.E164, "word")
    async with database.connection() as connection:
        assert await store.by_id(connection, secret_box, added.id) == added
        stored = await connection.fetchval("SELECT password_encrypted FROM trunks")
    assert b"word" not in stored
    assert await list_trunks(database, secret_box, tenants.one.iid) == [added]


async def test_a_trunk_without_password_and_with_a_port_from_dns(database, secret_box, tenants):
    draft = TrunkDraft(name="Carrier", host="sip.example.com", port=0, caller_ids=(CALLER_ID,), password="")
    added = await add_trunk(database, secret_box, tenants.one.iid, draft)
    assert (added.username, added.password, added.from_domain, added.port) == (None, None, None, 0)
    assert await list_trunks(database, secret_box) == [added]


async def test_all_wrong_fields_at_once(database, secret_box, tenants):
    wrong = TrunkDraft(
        name=" ",
        host="sip:example.com",
        port=70_000,
        password="x",
        from_domain="ex ample",
        number_prefix="9;",
        caller_ids=(CALLER_ID, "555 010 0001"),
        max_channels=0,
        calls_per_second=float("nan"),
    )
    with pytest.raises(InvalidInputError) as refused:
        await add_trunk(database, secret_box, tenants.one.iid, wrong)
    assert [problem.split("`")[1] for problem in refused.value.problems] == [
        "name",
        "host",
        "port",
        "username",
        "from_domain",
        "number_prefix",
        "max_channels",
        "calls_per_second",
        "caller_ids[1]",
    ]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"host": "127.0.0.1", "port": 0}, "asks DNS"),
        ({"caller_ids": ()}, "must not be empty"),
        ({"username": "a\r\nb"}, "line break"),
        ({"username": "a", "password": "x" * 256}, "at most 255"),
    ],
)
async def test_single_wrong_fields(database, secret_box, tenants, changed, sentence):
    draft = TrunkDraft(**{"name": "n", "host": "sip.example.com", "caller_ids": (CALLER_ID,), **changed})
    with pytest.raises(InvalidInputError, match=sentence):
        await add_trunk(database, secret_box, tenants.one.iid, draft)


async def test_names_and_caller_ids_are_unique_within_the_application_only(database, secret_box, tenants):
    iid = tenants.one.iid
    await add_trunk(database, secret_box, iid, DRAFT)
    with pytest.raises(ConflictError, match="trunk named CARRIER"):
        await add_trunk(
            database, secret_box, iid, TrunkDraft(name="CARRIER", host="a.example", caller_ids=("+442079460958",))
        )
    with pytest.raises(ConflictError, match=r"caller ID \+15550100001"):
        await add_trunk(database, secret_box, iid, TrunkDraft(name="b", host="a.example", caller_ids=(CALLER_ID,)))
    assert len(await list_trunks(database, secret_box)) == 1
    await add_trunk(database, secret_box, tenants.sister.iid, DRAFT)
    await add_trunk(database, secret_box, tenants.other.iid, DRAFT)


async def test_two_trunks_that_want_the_same_caller_ids_at_once(database, secret_box, tenants):
    phones = tuple(f"+1555010{number:04}" for number in range(50))
    answers = await asyncio.gather(
        *(
            add_trunk(
                database,
                secret_box,
                tenants.one.iid,
                TrunkDraft(name=f"t{number}", host="a.example", caller_ids=phones if number % 2 else phones[::-1]),
            )
            for number in range(6)
        ),
        return_exceptions=True,
    )
    assert sum(not isinstance(answer, Exception) for answer in answers) == 1
    assert sum(isinstance(answer, ConflictError) for answer in answers) == 5


async def test_an_unknown_application(database, secret_box):
    with pytest.raises(NotFoundError):
        await add_trunk(database, secret_box, "st-none", DRAFT)
    assert await list_trunks(database, secret_box, "st-none") == []


async def test_a_caller_id_selects_its_trunk_within_the_application(database, secret_box, tenants):
    added = await add_trunk(database, secret_box, tenants.one.iid, DRAFT)
    async with database.connection() as connection:
        assert await store.by_caller_id(connection, secret_box, tenants.one.iid, CALLER_ID) == added
        assert await store.by_caller_id(connection, secret_box, tenants.one.iid, "+15550100009") is None
        assert await store.by_caller_id(connection, secret_box, tenants.sister.iid, CALLER_ID) is None
        with pytest.raises(NotFoundError):
            await store.by_id(connection, secret_box, "tr-none")


async def test_a_removed_trunk_is_gone_but_its_row_stays(database, secret_box, tenants):
    added = await add_trunk(database, secret_box, tenants.one.iid, FULL)
    removed = await remove_trunk(database, tenants.one.iid, "full")
    assert (removed.id, removed.password, removed.caller_ids) == (added.id, None, added.caller_ids)
    assert await list_trunks(database, secret_box) == []
    async with database.connection() as connection:
        row = await store.by_id(connection, secret_box, added.id)
        assert (row.name, row.password, row.caller_ids) == ("Full", None, ())
        assert await store.by_caller_id(connection, secret_box, tenants.one.iid, "+15550100002") is None
    again = await add_trunk(database, secret_box, tenants.one.iid, FULL)
    assert again.id != added.id


async def test_others_cannot_remove_a_trunk(database, secret_box, tenants):
    await add_trunk(database, secret_box, tenants.one.iid, DRAFT)
    for iid, name in [(tenants.other.iid, "Carrier"), (tenants.sister.iid, "Carrier"), (tenants.one.iid, "x\x00")]:
        with pytest.raises(NotFoundError):
            await remove_trunk(database, iid, name)
    assert len(await list_trunks(database, secret_box)) == 1


@pytest.mark.parametrize("state", ["active", "paused", "stopping"])
async def test_a_trunk_of_a_live_run_stays(database, secret_box, tenants, state):
    added = await add_trunk(database, secret_box, tenants.one.iid, DRAFT)
    async with database.transaction() as connection:
        await insert_run(connection, tenants.one, trunk_id=added.id, state=state, name="Spring")
    with pytest.raises(InUseError, match="campaign Spring; stop it first"):
        await remove_trunk(database, tenants.one.iid, "Carrier")
    async with database.connection() as connection:
        await connection.execute("UPDATE runs SET state = 'stopped'")
    await remove_trunk(database, tenants.one.iid, "Carrier")


async def test_a_removal_waits_for_a_start_and_then_refuses(database, secret_box, tenants):
    added = await add_trunk(database, secret_box, tenants.one.iid, DRAFT)
    async with database.transaction() as connection:
        await store.by_caller_id(connection, secret_box, tenants.one.iid, CALLER_ID)
        removal = asyncio.create_task(remove_trunk(database, tenants.one.iid, "Carrier"))
        await until(lambda: waits_for_a_lock(database))
        await insert_run(connection, tenants.one, trunk_id=added.id)
    with pytest.raises(InUseError):
        await removal


async def test_a_start_that_waits_for_a_removal_finds_no_trunk(database, secret_box, tenants):
    await add_trunk(database, secret_box, tenants.one.iid, DRAFT)

    async def look():
        async with database.transaction() as connection:
            return await store.by_caller_id(connection, secret_box, tenants.one.iid, CALLER_ID)

    async with database.transaction() as connection:
        trunk = await store.lock_named(connection, tenants.one.iid, "Carrier")
        await store.mark_removed(connection, trunk.id)
        start = asyncio.create_task(look())
        await until(lambda: waits_for_a_lock(database))
    assert await start is None


def test_no_password_is_printed():
    assert "word" not in repr(FULL)


async def change(database, secret_box, trunk, **changes):
    return await change_trunk(database, secret_box, iid=trunk.iid, trunk_id=trunk.id, changes=changes, actor="test")


async def test_two_that_want_one_name_do_not_both_get_it(database, secret_box, tenants):
    made = [
        await add_trunk(
            database,
            secret_box,
            tenants.one.iid,
            TrunkDraft(name=f"n{number}", host="192.0.2.1", caller_ids=(f"+1555010003{number}",)),
        )
        for number in range(4)
    ]
    results = await asyncio.gather(
        *(change(database, secret_box, trunk, name="X" if trunk.name == "n0" else "x") for trunk in made),
        return_exceptions=True,
    )
    assert sorted(isinstance(result, ConflictError) for result in results) == [False, True, True, True]


async def test_a_change_and_a_start_wait_for_each_other(database, secret_box, tenants):
    trunk = await add_trunk(database, secret_box, tenants.one.iid, DRAFT)
    async with database.transaction() as connection:
        # as a start does
        assert await store.by_caller_id(connection, secret_box, trunk.iid, CALLER_ID) == trunk
        changing = asyncio.create_task(change(database, secret_box, trunk, host="192.0.2.9"))
        await until(lambda: waits_for_a_lock(database))
        await insert_run(connection, tenants.one, trunk_id=trunk.id)
    with pytest.raises(InUseError, match="in use by the campaign Spring"):
        await changing
    assert await list_trunks(database, secret_box, trunk.iid) == [trunk]


async def test_history_tells_who_changed_which_fields_and_no_password(database, secret_box, tenants):
    trunk = await add_trunk(database, secret_box, tenants.one.iid, FULL, actor="cs-1")
    await change(database, secret_box, trunk, password="other", port=5070)
    await remove_trunk(database, trunk.iid, trunk.name)
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT to_state, actor, detail FROM history WHERE action = 'trunk' ORDER BY id")
    assert [(row["to_state"], row["actor"]) for row in rows] == [
        ("added", "cs-1"),
        ("changed", "test"),
        ("removed", "operator"),
    ]
    assert rows[1]["detail"] == {"trunk_id": trunk.id, "fields": ["password", "port"]}
    assert "other" not in str(rows)
