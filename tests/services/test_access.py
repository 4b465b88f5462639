"""Applications and clients: made once, found again, kept apart."""

from __future__ import annotations

import asyncio
import base64
import os

import pytest

from outdial.core.errors import ConflictError, InvalidInputError, NotFoundError
from outdial.secretbox import SecretBox, WrongSecretKeyError
from outdial.services import access, clients
from outdial.services.access import create_application, get_application, list_applications
from outdial.services.clients import client_access


async def test_a_new_application_and_its_client(database, secret_box):
    made = await create_application(database, secret_box, account="Acme", name="Reminders", max_concurrent_calls=20)
    assert made.iid.startswith("st-")
    assert made.client_id.startswith("cs-")
    assert len(made.account_id) == 24
    application = await get_application(database, made.iid)
    assert (application.name, application.account_name, application.max_concurrent_calls) == ("Reminders", "Acme", 20)
    assert application.account_id == made.account_id
    client = await client_access(database, secret_box, made.client_id)
    assert (client.iid, client.account_id, client.secrets) == (made.iid, made.account_id, (made.client_secret,))
    assert client.scopes == clients.FIRST_SCOPES
    assert not client.revoked


async def test_the_secret_is_stored_encrypted_and_never_printed(database, secret_box):
    made = await create_application(database, secret_box, account="Acme", name="Reminders")
    async with database.connection() as connection:
        stored = await connection.fetchval("SELECT secret_encrypted FROM clients")
    assert made.client_secret.encode() not in stored
    assert made.client_secret not in repr(made)
    assert made.client_secret not in repr(await client_access(database, secret_box, made.client_id))
    assert len(made.client_secret) >= 32
    other = SecretBox(base64.urlsafe_b64encode(os.urandom(32)).decode())
    access = await client_access(database, other, made.client_id)
    with pytest.raises(WrongSecretKeyError):
        assert access.secrets


async def test_one_account_has_many_applications_of_different_names(database, secret_box):
    first = await create_application(database, secret_box, account="Acme", name="one")
    second = await create_application(database, secret_box, account="Acme", name="two")
    other = await create_application(database, secret_box, account="Other", name="one")
    assert first.account_id == second.account_id != other.account_id
    assert [found.iid for found in await list_applications(database)] == [first.iid, second.iid, other.iid]


async def test_the_same_name_again_is_a_conflict_and_leaves_nothing(database, secret_box):
    await create_application(database, secret_box, account="Acme", name="one")
    with pytest.raises(ConflictError, match="Acme already has an application named one"):
        await create_application(database, secret_box, account="Acme", name="one")
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM clients") == 1


async def test_two_at_once_share_the_account(database, secret_box):
    made = await asyncio.gather(
        *(create_application(database, secret_box, account="Acme", name=f"n{number}") for number in range(8))
    )
    assert len({one.account_id for one in made}) == 1


async def test_all_wrong_fields_at_once(database, secret_box):
    with pytest.raises(InvalidInputError) as refused:
        await create_application(database, secret_box, account="", name="x" * 49, max_concurrent_calls=0)
    assert [problem.split("`")[1] for problem in refused.value.problems] == ["account", "name", "max_concurrent_calls"]
    assert await list_applications(database) == []


async def test_what_does_not_exist(database, secret_box):
    for unknown in ("st-none", "", "st-\x00", "st-\ud800"):
        with pytest.raises(NotFoundError):
            await get_application(database, unknown)
        assert await client_access(database, secret_box, unknown) is None


async def test_a_revoked_client_says_so(database, secret_box):
    made = await create_application(database, secret_box, account="Acme", name="one")
    async with database.connection() as connection:
        await connection.execute("UPDATE clients SET revoked_at = now()")
    assert (await client_access(database, secret_box, made.client_id)).revoked


async def change(database, made, **changed):
    return await access.change_application(database, made.iid, actor="test", **changed)


async def test_an_application_changes_its_name_and_its_ceiling(database, secret_box):
    made = await create_application(database, secret_box, account="Acme", name="one", max_concurrent_calls=5)
    assert (await change(database, made, name="two")).max_concurrent_calls == 5
    assert (await change(database, made, max_concurrent_calls=None)).name == "two"
    found = await get_application(database, made.iid)
    assert (found.name, found.max_concurrent_calls) == ("two", None)
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM history WHERE action = 'application'") == 2


async def test_a_name_that_is_taken_or_wrong_changes_nothing(database, secret_box):
    made = await create_application(database, secret_box, account="Acme", name="one")
    await create_application(database, secret_box, account="Acme", name="two")
    await create_application(database, secret_box, account="Other", name="three")
    with pytest.raises(ConflictError, match="already has an application named two"):
        await change(database, made, name="two")
    with pytest.raises(InvalidInputError):
        await change(database, made, name="", max_concurrent_calls=0)
    assert (await change(database, made, name="three")).name == "three"


async def test_two_that_want_one_name_do_not_both_get_it(database, secret_box):
    made = [await create_application(database, secret_box, account="Acme", name=f"n{number}") for number in range(4)]
    results = await asyncio.gather(*(change(database, one, name="x") for one in made), return_exceptions=True)
    assert sorted(isinstance(result, ConflictError) for result in results) == [False, True, True, True]
