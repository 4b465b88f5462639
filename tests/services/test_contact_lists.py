"""Contact lists: what is added comes back in order, numbers once, nothing of another tenant, nothing in use deleted."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from outdial.core.errors import ConflictError, InUseError, InvalidInputError, NotFoundError
from outdial.services.contact_lists import (
    ContactDraft,
    add_contacts,
    checked,
    contacts_page,
    create_list,
    delete_list,
    find_list,
    get_list,
    list_lists,
)
from outdial.services.trunks import TrunkDraft, add_trunk
from outdial.store import campaigns
from outdial.store import contacts as store
from runs import insert_campaign, insert_run, waits_for_a_lock
from tenants import make_tenants
from waiting import until


@pytest.fixture
async def tenants(database, secret_box):
    return await make_tenants(database, secret_box)


async def make_list(database, owner, name="March", **changed):
    values = {
        "iid": owner.iid,
        "account_id": owner.account_id,
        "name": name,
        "description": "callers of March",
        "source": "passiveApi",
        "allow_duplicates": False,
        "api_version": 2,
        "actor": owner.client_id,
    }
    return await create_list(database, **{**values, **changed})


def people(*phones: str) -> list[ContactDraft]:
    return [ContactDraft(phone=phone) for phone in phones]


def phone(number: int) -> str:
    return f"+1555010{number:04}"


async def test_what_is_stored_comes_back(database, tenants):
    made = await make_list(database, tenants.one, allow_duplicates=True, api_version=1)
    assert made.id.startswith("cl-")
    assert (made.name, made.description, made.source) == ("March", "callers of March", "passiveApi")
    assert (made.iid, made.account_id) == (tenants.one.iid, tenants.one.account_id)
    assert (made.allow_duplicates, made.api_version) == (True, 1)
    assert (made.created_by, made.updated_by) == (tenants.one.client_id, tenants.one.client_id)
    assert made.created_at == made.updated_at
    assert datetime.now(UTC) - made.created_at < timedelta(minutes=1)
    assert (made.contacts_count, made.campaigns, made.in_use) == (0, (), False)
    assert await get_list(database, tenants.one.iid, made.id) == made
    assert await find_list(database, tenants.one.iid, "MARCH") == made


async def test_names_are_unique_within_the_application_only(database, tenants):
    await make_list(database, tenants.one)
    with pytest.raises(ConflictError, match="contact list named mArCh"):
        await make_list(database, tenants.one, "mArCh")
    await make_list(database, tenants.sister)
    await make_list(database, tenants.one, "April")
    assert [found.name for found in await list_lists(database, tenants.one.iid)] == ["March", "April"]


async def test_all_wrong_fields_at_once(database, tenants):
    with pytest.raises(InvalidInputError) as refused:
        await make_list(database, tenants.one, " ", description="x" * 257, source="x" * 49)
    assert [problem.split("`")[1] for problem in refused.value.problems] == ["name", "description", "source"]


async def test_an_application_of_another_account_gets_no_list(database, tenants):
    for iid in (tenants.other.iid, "st-none"):
        with pytest.raises(NotFoundError):
            await make_list(database, tenants.one, iid=iid)
    assert await list_lists(database, tenants.other.iid) == []


async def test_others_see_and_change_nothing(database, tenants):
    made = await make_list(database, tenants.one)
    await add_contacts(database, tenants.one.iid, "March", people(phone(1)), default_region=None)
    for iid in (tenants.sister.iid, tenants.other.iid, "st-none"):
        for asked in (
            get_list(database, iid, made.id),
            find_list(database, iid, "March"),
            delete_list(database, iid, made.id),
            contacts_page(database, iid, made.id, skip=0, limit=10),
            add_contacts(database, iid, "March", people(phone(2)), default_region=None),
        ):
            with pytest.raises(NotFoundError):
                await asked
        assert await list_lists(database, iid) == []
    assert (await get_list(database, tenants.one.iid, made.id)).contacts_count == 1


async def test_unknown_and_unstorable_names(database, tenants):
    for unknown in ("cl-none", "", "cl-\x00", "\ud800"):
        for asked in (
            get_list(database, tenants.one.iid, unknown),
            find_list(database, tenants.one.iid, unknown),
            delete_list(database, tenants.one.iid, unknown),
            add_contacts(database, tenants.one.iid, unknown, people(phone(1)), default_region=None),
        ):
            with pytest.raises(NotFoundError):
                await asked


async def test_contacts_come_back_in_their_order_and_page_by_page(database, tenants):
    made = await make_list(database, tenants.one)
    drafts = [ContactDraft(phone=phone(9 - number), attributes={"n": number}) for number in range(7)]
    added = await add_contacts(database, tenants.one.iid, "march", drafts, default_region=None)
    assert (added.added, added.duplicates, added.problems) == (7, 0, ())
    first = await contacts_page(database, tenants.one.iid, made.id, skip=0, limit=3)
    last = await contacts_page(database, tenants.one.iid, made.id, skip=6, limit=3)
    assert [contact.attributes["n"] for contact in first.items] == [0, 1, 2]
    assert [contact.attributes["n"] for contact in last.items] == [6]
    assert (last.skip, last.limit, last.total) == (6, 3, 7)
    assert (await contacts_page(database, tenants.one.iid, made.id, skip=70, limit=3)).items == ()


async def test_all_fields_of_a_contact(database, tenants):
    made = await make_list(database, tenants.one)
    before = await get_list(database, tenants.one.iid, made.id)
    draft = ContactDraft(
        phone="(555) 010-0001",
        time_zone="Europe/Paris",
        unique_id="Ä-7",
        priority=5,
        attributes={"firstName": "Zoë", "tags": ["a", 1, None], "deep": {"x": 1.5}},
    )
    await add_contacts(database, tenants.one.iid, "March", [draft], default_region="US")
    (contact,) = (await contacts_page(database, tenants.one.iid, made.id, skip=0, limit=1)).items
    assert (contact.phone, contact.time_zone, contact.unique_id, contact.priority) == (
        phone(1),
        "Europe/Paris",
        "Ä-7",
        5,
    )
    assert contact.attributes == draft.attributes
    assert contact.list_id == made.id
    assert contact.created_at == contact.updated_at
    after = await get_list(database, tenants.one.iid, made.id)
    assert (after.contacts_count, after.updated_by) == (1, tenants.one.client_id)
    assert after.updated_at > before.updated_at


async def test_a_number_is_in_the_list_once_and_the_first_one_stays(database, tenants):
    made = await make_list(database, tenants.one)
    drafts = [
        ContactDraft(phone=phone(1), unique_id="first"),
        ContactDraft(phone="+1 (555) 010-0001", unique_id="same"),
        ContactDraft(phone=phone(2)),
    ]
    added = await add_contacts(database, tenants.one.iid, "March", drafts, default_region=None)
    assert (added.added, added.duplicates) == (2, 1)
    again = await add_contacts(database, tenants.one.iid, "March", drafts, default_region=None)
    assert (again.added, again.duplicates) == (0, 3)
    page = await contacts_page(database, tenants.one.iid, made.id, skip=0, limit=10)
    assert [contact.unique_id for contact in page.items] == ["first", None]


async def test_a_list_that_allows_duplicates_takes_them(database, tenants):
    await make_list(database, tenants.one, allow_duplicates=True)
    for _ in range(2):
        added = await add_contacts(database, tenants.one.iid, "March", people(phone(1), phone(1)), default_region=None)
        assert (added.added, added.duplicates) == (2, 0)


async def test_wrong_contacts_are_named_and_the_good_ones_kept(database, tenants):
    made = await make_list(database, tenants.one)
    drafts = [
        ContactDraft(phone="555"),
        ContactDraft(phone=phone(1)),
        ContactDraft(phone="", time_zone="Mars/Olympus", priority=-1),
    ]
    added = await add_contacts(database, tenants.one.iid, "March", drafts, default_region=None)
    assert added.added == 1
    assert [problem.partition(":")[0] for problem in added.problems] == ["[0]", "[2]", "[2]", "[2]"]
    assert (await get_list(database, tenants.one.iid, made.id)).contacts_count == 1


async def test_nothing_to_add(database, tenants):
    made = await make_list(database, tenants.one)
    added = await add_contacts(database, tenants.one.iid, "March", [], default_region=None)
    assert (added.added, added.duplicates, added.problems) == (0, 0, ())
    assert (await get_list(database, tenants.one.iid, made.id)).updated_at == made.updated_at


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"phone": "12"}, "too short|no country"),
        ({"time_zone": "Mars/Olympus"}, "'Mars/Olympus' is no time zone"),
        ({"time_zone": "CEST" * 100}, "…' is no time zone"),
        ({"time_zone": ""}, "'' is no time zone"),
        ({"unique_id": "x" * 301}, "at most 300"),
        ({"unique_id": "\x00"}, "unique id"),
        ({"priority": 32_768}, "from 0 to 32767"),
        ({"attributes": {"a": "\x00"}}, r"U\+0000"),
        ({"attributes": {"\x00": 1}}, r"U\+0000"),
        ({"attributes": {"a": "\ud800"}}, "not valid Unicode"),
        ({"attributes": {"a": object()}}, "no JSON value"),
        ({"attributes": {"a": "x" * 70_000}}, "at most 65536"),
    ],
)
def test_what_cannot_be_stored_is_refused(changed, sentence):
    with pytest.raises(InvalidInputError, match=sentence):
        checked(ContactDraft(**{"phone": phone(1), **changed}), default_region=None)


async def test_awkward_attributes_are_stored_as_they_are(database, tenants):
    made = await make_list(database, tenants.one)
    attributes = {
        "": "",
        "backslash": "\\u0000",
        "quote": '"',
        "line": "a\nb\t",
        "face": "😀",
        "big": 10**30,
        "float": float("nan"),
    }
    await add_contacts(
        database, tenants.one.iid, "March", [ContactDraft(phone=phone(1), attributes=attributes)], default_region=None
    )
    (contact,) = (await contacts_page(database, tenants.one.iid, made.id, skip=0, limit=1)).items
    assert contact.attributes == {**attributes, "float": None}


async def test_many_who_add_the_same_numbers_in_different_orders(database, tenants):
    made = await make_list(database, tenants.one)
    numbers = [phone(number) for number in range(60)]
    answers = await asyncio.gather(
        *(
            add_contacts(
                database,
                tenants.one.iid,
                "March",
                people(*(numbers if turn % 2 else reversed(numbers))),
                default_region=None,
            )
            for turn in range(8)
        )
    )
    assert sum(answer.added for answer in answers) == 60
    assert (await get_list(database, tenants.one.iid, made.id)).contacts_count == 60


async def test_a_deleted_list_is_gone_with_its_contacts(database, tenants):
    made = await make_list(database, tenants.one)
    await add_contacts(database, tenants.one.iid, "March", people(phone(1)), default_region=None)
    deleted = await delete_list(database, tenants.one.iid, made.id)
    assert (deleted.id, deleted.contacts_count) == (made.id, 1)
    with pytest.raises(NotFoundError):
        await get_list(database, tenants.one.iid, made.id)
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM contacts") == 0


async def test_a_list_that_campaigns_refer_to_stays(database, tenants):
    made = await make_list(database, tenants.one)
    async with database.transaction() as connection:
        first = await insert_campaign(connection, tenants.one, name="Spring", list_ids=(made.id,))
        second = await insert_campaign(connection, tenants.one, name="Autumn", list_ids=(made.id,))
    found = await get_list(database, tenants.one.iid, made.id)
    assert found.campaigns == ((first, "Spring"), (second, "Autumn"))
    assert not found.in_use
    with pytest.raises(InUseError, match="in use by Spring, Autumn"):
        await delete_list(database, tenants.one.iid, made.id)
    async with database.transaction() as connection:
        for campaign_id in (first, second):
            campaign = await campaigns.by_id(connection, tenants.one.iid, campaign_id, lock=True)
            await campaigns.mark_deleted(connection, campaign, actor="x")
    assert (await delete_list(database, tenants.one.iid, made.id)).campaigns == ()


async def test_a_list_of_a_live_run_is_in_use(database, tenants, secret_box):
    made = await make_list(database, tenants.one)
    trunk = await add_trunk(
        database, secret_box, tenants.one.iid, TrunkDraft(name="t", host="a.example", caller_ids=(phone(9),))
    )
    async with database.transaction() as connection:
        await insert_run(connection, tenants.one, trunk_id=trunk.id, list_ids=(made.id,))
    assert (await get_list(database, tenants.one.iid, made.id)).in_use
    async with database.connection() as connection:
        await connection.execute("DELETE FROM campaign_lists")
    with pytest.raises(InUseError, match="live run; stop it first"):
        await delete_list(database, tenants.one.iid, made.id)
    added = await add_contacts(database, tenants.one.iid, "March", people(phone(1)), default_region=None)
    assert added.added == 1
    async with database.connection() as connection:
        await connection.execute("UPDATE runs SET state = 'completed'")
    assert not (await get_list(database, tenants.one.iid, made.id)).in_use


async def test_a_deletion_waits_for_a_campaign_being_made_and_then_refuses(database, tenants):
    made = await make_list(database, tenants.one)
    async with database.transaction() as connection:
        await campaigns.contact_lists_named(connection, tenants.one.iid, ["March"])
        deletion = asyncio.create_task(delete_list(database, tenants.one.iid, made.id))
        await until(lambda: waits_for_a_lock(database))
        await insert_campaign(connection, tenants.one, list_ids=(made.id,))
    with pytest.raises(InUseError):
        await deletion


async def test_adding_waits_for_a_deletion_and_then_finds_nothing(database, tenants):
    made = await make_list(database, tenants.one)
    async with database.transaction() as connection:
        await store.lock_list(connection, tenants.one.iid, made.id)
        await store.delete_list(connection, made.id)
        adding = asyncio.create_task(
            add_contacts(database, tenants.one.iid, "March", people(phone(1)), default_region=None)
        )
        await until(lambda: waits_for_a_lock(database))
    with pytest.raises(NotFoundError):
        await adding
