"""Erasing a person, and retention, by outdial's own surface."""

from __future__ import annotations

import pytest

from outdial.services.contact_lists import ERASED
from persons import places_of
from support.native import Native, sentences
from support.wire import CALLER_ID, ever_open

PERSON = "+15550100101"
LIST = "Recent Buyers"


@pytest.fixture
async def native(tenant, other, database) -> Native:
    """A client that may erase, as the other account's may."""
    async with database.connection() as connection:
        await connection.execute("UPDATE clients SET scopes = scopes || 'personal_data'::text")
    return Native(tenant)


async def test_a_person_is_erased_in_a_live_run_and_does_not_come_back(native, tenant, database):
    campaign_id = await tenant.create_campaign(ever_open(1))
    assert (await tenant.trigger(campaign_id, "play")).status_code == 200
    assert await places_of(database, PERSON)
    done = await native.done("POST", "/erasures", {"phoneNumber": "+1 555 010 0101", "neverCall": True})
    assert (done["state"], done["neverCall"], done["counts"]["contacts"]) == ("done", True, 1)
    assert done["requestedBy"] == tenant.credentials.client_id
    assert await places_of(database, PERSON) == []
    assert PERSON.removeprefix("+") not in str(done)
    assert await native.done("GET", f"/erasures/{done['id']}") == done
    listed = await native.done("GET", "/erasures", params={"limit": 1})
    assert (listed["results"], listed["total"]) == ([done], 1)
    added = await tenant.add_contacts(PERSON, "+15550100177", name=LIST)
    assert added["problems"] == [f"[0]: {ERASED}."]
    assert await places_of(database, PERSON) == []


async def test_asking_again_is_another_erasure_of_what_has_come_since(native, tenant, database):
    first = await native.done("POST", "/erasures", {"phoneNumber": PERSON})
    await tenant.add_contacts(PERSON, name=LIST)
    second = await native.done("POST", "/erasures", {"phoneNumber": PERSON, "connected": "hang_up"})
    assert first["id"] != second["id"]
    assert (first["counts"]["contacts"], second["counts"]["contacts"]) == (1, 1)
    assert await places_of(database, PERSON) == []


async def test_what_is_refused(native, other):
    await native.refused(412, "POST", "/erasures", {"phoneNumber": "12"})
    await native.refused(412, "POST", "/erasures", {"phoneNumber": PERSON, "connected": "let_ring"})
    refused = await native.refused(409, "POST", "/erasures", {"phoneNumber": CALLER_ID})
    assert refused["errorCode"] == "in_use"
    await native.refused(404, "GET", "/erasures/er-1")
    done = await native.done("POST", "/erasures", {"phoneNumber": PERSON})
    await Native(other).refused(404, "GET", f"/erasures/{done['id']}")
    assert (await Native(other).done("GET", "/erasures"))["total"] == 0


async def test_without_the_scope_nothing(tenant):
    narrow = Native(tenant)
    for method, path, body in (
        ("POST", "/erasures", {"phoneNumber": PERSON}),
        ("GET", "/erasures", None),
        ("GET", "/retention", None),
        ("PUT", "/retention", {"recordingsDays": 1}),
    ):
        await narrow.refused(401, method, path, *([] if body is None else [body]))


async def test_retention(native):
    kinds = ("recordingsDays", "attributesDays", "attemptsDays")
    nothing = dict.fromkeys(kinds) | {"updatedAt": None, "updatedBy": None}
    assert await native.done("GET", "/retention") == nothing
    put = await native.done("PUT", "/retention", {"recordingsDays": 30, "attributesDays": 365.0, "attemptsDays": 90})
    assert [put[kind] for kind in kinds] == [30, 365, 90]
    assert await native.done("GET", "/retention") == put
    again = await native.done("PUT", "/retention", {"recordingsDays": None})
    assert [again[kind] for kind in kinds] == [None] * 3
    for wrong in (0, -3, 40000, "30", 1.5):
        await native.refused(412, "PUT", "/retention", {"recordingsDays": wrong})
    for wrong in (0, 30, 40000):
        await native.refused(412, "PUT", "/retention", {"attemptsDays": wrong})


async def test_attempts_are_kept_as_long_as_every_limit_looks_back(native):
    """What is asked for is right in itself: it is the account's limits, or its days, that it does not go with."""
    long = {"count": 3, "windowSeconds": 90 * 86400, "counts": "attempts"}
    await native.done("PUT", "/retention", {"attemptsDays": 60})
    sentence = "`attemptsDays` is 60, and an attempt limit counts over 90 days: it would count too few."
    refused = await native.refused(409, "POST", "/attempt-limits", long)
    assert refused["errorCode"] == "attempts_kept_too_briefly"
    assert sentences(refused)[0].startswith(sentence)
    assert (await native.done("GET", "/attempt-limits"))["results"] == []
    await native.done("PUT", "/retention", {"attemptsDays": 90})
    await native.done("POST", "/attempt-limits", long)
    refused = await native.refused(409, "PUT", "/retention", {"attemptsDays": 60})
    assert refused["errorCode"] == "attempts_kept_too_briefly"
    assert sentences(refused)[0].startswith(sentence)
    assert (await native.done("GET", "/retention"))["attemptsDays"] == 90
    document = (await native.tenant.http.get("/openapi.json")).json()
    for method, path in (("put", "/api/outdial/retention"), ("post", "/api/outdial/attempt-limits")):
        answer = document["paths"][path][method]["responses"]["409"]["$ref"].rpartition("/")[2]
        examples = document["components"]["responses"][answer]["content"]["application/json"]["examples"]
        assert "attempts_kept_too_briefly" in examples
