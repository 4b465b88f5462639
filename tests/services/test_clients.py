"""API clients: rights that can be handed out, secrets that turn over, tokens that serve once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from outdial import clock
from outdial.core.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from outdial.services import clients
from tenants import make_tenants

ALL = clients.SCOPES
DNC = frozenset({"do_not_call"})


@pytest.fixture
async def tenants(database, secret_box):
    return await make_tenants(database, secret_box)


async def make(database, secret_box, owner, **changed):
    asked = {"name": "crm", "scopes": DNC, "actor": "test", **changed}
    return await clients.create_client(database, secret_box, iid=owner.iid, **asked)


async def test_a_new_client(database, secret_box, tenants):
    made = await make(database, secret_box, tenants.one, require_jti=True)
    assert made.secret not in repr(made)
    access = await clients.client_access(database, secret_box, made.client.id)
    assert (access.iid, access.account_id) == (tenants.one.iid, tenants.one.account_id)
    assert (access.secrets, access.scopes, access.require_jti) == ((made.secret,), DNC, True)
    assert made.secret not in repr(access)
    listed = await clients.list_clients(database, tenants.one.iid)
    assert [one.name for one in listed] == ["first", "crm"]
    assert listed[1] == made.client == await clients.get_client(database, tenants.one.iid, made.client.id)


async def test_all_wrong_fields_at_once(database, secret_box, tenants):
    with pytest.raises(InvalidInputError) as refused:
        await make(database, secret_box, tenants.one, name="", scopes=frozenset({"root"}))
    assert [problem.split("`")[1] for problem in refused.value.problems] == ["name", "scopes"]
    with pytest.raises(InvalidInputError, match="must not be empty"):
        await make(database, secret_box, tenants.one, scopes=frozenset())


async def test_nobody_hands_out_what_he_has_not(database, secret_box, tenants):
    configuring = frozenset({"configuration"})
    with pytest.raises(ForbiddenError, match="has do_not_call itself"):
        await make(database, secret_box, tenants.one, granting=configuring)
    strong = tenants.one.client_id
    with pytest.raises(ForbiddenError, match="campaign_management, do_not_call"):
        await clients.rotate_secret(
            database, secret_box, iid=tenants.one.iid, client_id=strong, granting=configuring, actor="test"
        )
    # nor weakens who is stronger
    with pytest.raises(ForbiddenError):
        await clients.change_client(
            database, iid=tenants.one.iid, client_id=strong, scopes=configuring, granting=configuring, actor="test"
        )
    access = await clients.client_access(database, secret_box, strong)
    assert (access.secrets, access.scopes) == ((tenants.one.client_secret,), clients.FIRST_SCOPES)


async def test_others_clients_do_not_exist(database, secret_box, tenants):
    for stranger in (tenants.other, tenants.sister):
        for client_id in (tenants.one.client_id, "cs-unknown", "cs-\0"):
            asked = {"iid": stranger.iid, "client_id": client_id}
            for call in (
                clients.get_client(database, stranger.iid, client_id),
                clients.change_client(database, **asked, name="x", actor="test"),
                clients.rotate_secret(database, secret_box, **asked, actor="test"),
                clients.revoke_client(database, **asked, actor="test"),
            ):
                with pytest.raises(NotFoundError, match="There is no client"):
                    await call
    with pytest.raises(NotFoundError, match="no application"):
        await clients.create_client(database, secret_box, iid="st-none", name="x", scopes=DNC, actor="test")


async def test_a_change_leaves_what_is_not_named(database, secret_box, tenants):
    made = await make(database, secret_box, tenants.one)
    asked = {"iid": tenants.one.iid, "client_id": made.client.id, "actor": "test"}
    changed = await clients.change_client(database, **asked, require_jti=True)
    assert (changed.name, changed.scopes, changed.require_jti) == ("crm", DNC, True)
    changed = await clients.change_client(database, **asked, name="erp", scopes=ALL)
    assert (changed.name, changed.scopes, changed.require_jti) == ("erp", ALL, True)
    assert await clients.get_client(database, tenants.one.iid, made.client.id) == changed


async def test_a_rotation_with_overlap_keeps_the_old_secret_for_its_time(database, secret_box, tenants):
    made = await make(database, secret_box, tenants.one)
    asked = {"iid": tenants.one.iid, "client_id": made.client.id, "actor": "test"}
    rotated = await clients.rotate_secret(database, secret_box, **asked, overlap_seconds=60)
    assert rotated.secret != made.secret
    assert timedelta(seconds=50) < rotated.client.previous_valid_until - clock.now() <= timedelta(seconds=60)
    access = await clients.client_access(database, secret_box, made.client.id)
    assert access.secrets == (rotated.secret, made.secret)
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE clients SET previous_valid_until = clock_timestamp() WHERE id = $1", made.client.id
        )
    access = await clients.client_access(database, secret_box, made.client.id)
    assert access.secrets == (rotated.secret,)
    assert (await clients.get_client(database, tenants.one.iid, made.client.id)).previous_valid_until is None


async def test_a_second_rotation_ends_the_overlap_of_the_first(database, secret_box, tenants):
    made = await make(database, secret_box, tenants.one)
    asked = {"iid": tenants.one.iid, "client_id": made.client.id, "actor": "test"}
    second = await clients.rotate_secret(database, secret_box, **asked, overlap_seconds=60)
    third = await clients.rotate_secret(database, secret_box, **asked, overlap_seconds=60)
    access = await clients.client_access(database, secret_box, made.client.id)
    assert access.secrets == (third.secret, second.secret)
    fourth = await clients.rotate_secret(database, secret_box, **asked)
    access = await clients.client_access(database, secret_box, made.client.id)
    assert access.secrets == (fourth.secret,)


@pytest.mark.parametrize("overlap", [-1, clients.LONGEST_OVERLAP_SECONDS + 1])
async def test_an_overlap_has_bounds(database, secret_box, tenants, overlap):
    with pytest.raises(InvalidInputError, match="overlapSeconds"):
        await clients.rotate_secret(
            database,
            secret_box,
            iid=tenants.one.iid,
            client_id=tenants.one.client_id,
            overlap_seconds=overlap,
            actor="test",
        )


async def test_a_revoked_client_stays_so(database, secret_box, tenants):
    made = await make(database, secret_box, tenants.one)
    asked = {"iid": tenants.one.iid, "client_id": made.client.id, "actor": "test"}
    await clients.rotate_secret(database, secret_box, **asked, overlap_seconds=60)
    revoked = await clients.revoke_client(database, **asked)
    assert revoked.revoked_at is not None
    assert await clients.revoke_client(database, **asked) == revoked
    assert (await clients.client_access(database, secret_box, made.client.id)).revoked
    with pytest.raises(ConflictError, match="is revoked"):
        await clients.rotate_secret(database, secret_box, **asked)
    with pytest.raises(ConflictError, match="is revoked"):
        await clients.change_client(database, **asked, name="x")


async def test_history_tells_who_did_what_and_no_secret(database, secret_box, tenants):
    made = await make(database, secret_box, tenants.one)
    asked = {"iid": tenants.one.iid, "client_id": made.client.id, "actor": "cs-admin"}
    rotated = await clients.rotate_secret(database, secret_box, **asked, overlap_seconds=5)
    await clients.revoke_client(database, **asked)
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT * FROM history WHERE action = 'client' ORDER BY id")
    assert [(row["to_state"], row["actor"]) for row in rows] == [
        ("created", "test"),
        ("rotated", "cs-admin"),
        ("revoked", "cs-admin"),
    ]
    assert {row["account_id"] for row in rows} == {tenants.one.account_id}
    assert made.secret not in str(rows)
    assert rotated.secret not in str(rows)


async def test_a_token_serves_once_whoever_asks(database, tenants):
    until = clock.now() + timedelta(minutes=1)
    answers = await asyncio.gather(
        *(clients.use_token(database, tenants.one.client_id, "j1", until=until) for _ in range(10))
    )
    assert sorted(answers) == [False] * 9 + [True]
    # ids are each client's own
    assert await clients.use_token(database, tenants.other.client_id, "j1", until=until)


async def test_expired_tokens_are_forgotten(database, tenants):
    past, future = clock.now() - timedelta(seconds=1), clock.now() + timedelta(minutes=1)
    for number in range(8):
        assert await clients.use_token(database, tenants.one.client_id, f"old {number}", until=past)
    assert await clients.use_token(database, tenants.one.client_id, "new", until=future)
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM used_tokens") == 1
