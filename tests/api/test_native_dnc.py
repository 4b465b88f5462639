"""Do-not-call lists by outdial's own surface."""

from __future__ import annotations

import pytest

from support.native import Native, sentences
from support.wire import agentless


@pytest.fixture
def native(tenant) -> Native:
    return Native(tenant)


async def lists(native: Native) -> dict[str, dict]:
    return {one["name"]: one for one in (await native.done("GET", "/dnc-lists"))["results"]}


async def numbers(native: Native, list_id: str) -> list[str]:
    page = await native.done("GET", f"/dnc-lists/{list_id}/numbers")
    assert page["next"] is None
    return [one["phoneNumber"] for one in page["results"]]


async def test_the_accounts_own_comes_first_then_those_of_the_application(native):
    found = await lists(native)
    assert list(found) == ["Account", "Never Call"]
    assert [one["accountWide"] for one in found.values()] == [True, False]
    assert found["Never Call"]["numbersCount"] == 1
    one = found["Never Call"]
    assert await native.done("GET", f"/dnc-lists/{one['id']}") == one


async def test_a_list_is_made_once(native):
    made = await native.done("POST", "/dnc-lists", {"name": "Complaints"})
    assert (made["name"], made["numbersCount"], made["accountWide"]) == ("Complaints", 0, False)
    assert (await native.refused(409, "POST", "/dnc-lists", {"name": "complaints"}))["errorCode"] == "conflict"
    await native.refused(412, "POST", "/dnc-lists", {"name": " "})
    # and campaigns can name it
    await native.tenant.create_campaign(agentless(2, dncLists={"name": "Complaints"}), version=2)


@pytest.mark.parametrize("name", ["Account", "Never Call"])
async def test_numbers_are_added_read_and_removed(native, name):
    list_id = (await lists(native))[name]["id"]
    before = await numbers(native, list_id)
    body = {"phoneNumbers": ["+15550100002", "+1 555 010 0001", "+15550100002", "nonsense"], "reason": "by phone"}
    change = await native.done("POST", f"/dnc-lists/{list_id}/numbers", body)
    assert (change["changedCount"], change["unchangedCount"]) == (2, 1)
    assert len(change["problems"]) == 1
    assert change["problems"][0].startswith("[3]: ")
    assert await numbers(native, list_id) == sorted([*before, "+15550100001", "+15550100002"])
    change = await native.done("POST", f"/dnc-lists/{list_id}/numbers/remove", {"phoneNumbers": ["+15550100002"]})
    assert change["changedCount"] == 1
    assert await numbers(native, list_id) == sorted([*before, "+15550100001"])


async def test_an_entry_tells_who_and_why_and_until_when(native):
    list_id = (await lists(native))["Account"]["id"]
    body = {"phoneNumbers": ["+15550100001"], "reason": "holiday", "expiresAt": "2099-01-01T00:00:00+02:00"}
    await native.done("POST", f"/dnc-lists/{list_id}/numbers", body)
    (entry,) = (await native.done("GET", f"/dnc-lists/{list_id}/numbers"))["results"]
    assert entry.pop("addedAt").endswith("Z")
    assert entry == {
        "phoneNumber": "+15550100001",
        "source": "operator",
        "reason": "holiday",
        "addedBy": native.tenant.credentials.client_id,
        "expiresAt": "2098-12-31T22:00:00Z",
    }


async def test_adding_never_shortens(native):
    list_id = (await lists(native))["Account"]["id"]

    async def add(expires_at: str | None) -> str | None:
        body = {"phoneNumbers": ["+15550100001"], "expiresAt": expires_at}
        await native.done("POST", f"/dnc-lists/{list_id}/numbers", body)
        return (await native.done("GET", f"/dnc-lists/{list_id}/numbers"))["results"][0]["expiresAt"]

    assert await add("2098-01-01T00:00:00Z") == "2098-01-01T00:00:00Z"
    assert await add("2097-01-01T00:00:00Z") == "2098-01-01T00:00:00Z"
    assert await add("2099-01-01T00:00:00Z") == "2099-01-01T00:00:00Z"
    assert await add(None) is None
    assert await add("2099-01-01T00:00:00Z") is None


async def test_pages_follow_one_another(native):
    list_id = (await lists(native))["Account"]["id"]
    phones = [f"+155501001{number:02}" for number in range(25)]
    await native.done("POST", f"/dnc-lists/{list_id}/numbers", {"phoneNumbers": phones})
    found, after = [], ""
    while after is not None:
        page = await native.done("GET", f"/dnc-lists/{list_id}/numbers", params={"after": after, "limit": "10"})
        found += [one["phoneNumber"] for one in page["results"]]
        after = page["next"]
    assert found == phones


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "`phoneNumbers` is missing."),
        ({"phoneNumbers": []}, "`phoneNumbers` must not be empty."),
        ({"phoneNumbers": ["+15550100001"] * 5001}, "`phoneNumbers` has 5001 entries; at most 5000 are allowed."),
        ({"phoneNumbers": [15550100001]}, "`phoneNumbers[0]` must be text, not the number 15550100001."),
        ({"phoneNumbers": ["+15550100001"], "reason": "x" * 257}, "`reason` has 257 characters; at most 256"),
        ({"phoneNumbers": ["+15550100001"], "expiresAt": "2020-01-01T00:00:00Z"}, "`expiresAt` is past"),
        ({"phoneNumbers": ["+15550100001"], "expiresAt": "2099-01-01T00:00:00"}, "`expiresAt` must have a time zone"),
        ({"phoneNumbers": ["+15550100001"], "expiresAt": "soon"}, "`expiresAt` must be an instant like"),
        ({"phoneNumbers": ["+15550100001"], "until": 1}, "`until` is no field of this request."),
    ],
)
async def test_what_cannot_be_added(native, body, sentence):
    list_id = (await lists(native))["Account"]["id"]
    failure = await native.refused(412, "POST", f"/dnc-lists/{list_id}/numbers", body)
    assert sentences(failure)[0].startswith(sentence)
    assert await numbers(native, list_id) == []


async def test_wrong_pages(native):
    list_id = (await lists(native))["Account"]["id"]
    for params in ({"limit": "0"}, {"limit": "1001"}, {"limit": "x"}, {"after": "a\0"}):
        await native.refused(400, "GET", f"/dnc-lists/{list_id}/numbers", params=params)


async def test_the_accounts_list_is_shared_within_it_the_applications_not(native, sibling, other):
    await native.done("POST", "/dnc-lists", {"name": "Complaints"})
    mine, theirs = await lists(native), await lists(Native(sibling))
    assert list(theirs) == ["Account"]
    assert theirs["Account"]["id"] == mine["Account"]["id"]
    for stranger, name in ((sibling, "Complaints"), (other, "Complaints"), (other, "Account")):
        path = f"/dnc-lists/{mine[name]['id']}"
        for method, tail, body in (
            ("GET", "", None),
            ("GET", "/numbers", None),
            ("POST", "/numbers", {"phoneNumbers": ["+15550100001"]}),
            ("POST", "/numbers/remove", {"phoneNumbers": ["+15550100001"]}),
        ):
            await Native(stranger).refused(404, method, path + tail, body)
    assert await lists(native) == mine
