"""Attempt limits by outdial's own surface."""

from __future__ import annotations

import pytest

from support.native import Native, sentences
from support.wire import ever_open

THREE_A_DAY = {"count": 3, "windowSeconds": 86400, "counts": "attempts"}


@pytest.fixture
def native(tenant) -> Native:
    return Native(tenant)


async def ids_of(native: Native) -> set[str]:
    return {one["id"] for one in (await native.done("GET", "/attempt-limits"))["results"]}


async def test_added_listed_removed(native, database):
    made = await native.done("POST", "/attempt-limits", THREE_A_DAY)
    told = {"scope": "application", "campaignId": None, "matter": None, "preset": None}
    assert {name: made[name] for name in (*THREE_A_DAY, *told)} == THREE_A_DAY | told
    assert (await native.done("GET", "/attempt-limits"))["results"] == [made]
    assert await native.done("DELETE", f"/attempt-limits/{made['id']}") == made
    assert await ids_of(native) == set()
    await native.refused(404, "DELETE", f"/attempt-limits/{made['id']}")
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT to_state, detail ->> 'id' AS id, actor FROM history WHERE action = 'attempt_limit' ORDER BY id"
        )
    client = native.tenant.credentials.client_id
    assert [tuple(row) for row in rows] == [("added", made["id"], client), ("removed", made["id"], client)]


async def test_a_preset_brings_all_its_limits(native):
    presets = {one["name"]: one for one in (await native.done("GET", "/attempt-limit-presets"))["results"]}
    assert "1006.14" in presets["us-regulation-f"]["source"]
    made = await native.done("POST", "/attempt-limit-presets", {"preset": "us-regulation-f", "matter": "debt"})
    assert [(one["count"], one["windowSeconds"], one["counts"], one["matter"]) for one in made["results"]] == [
        (7, 604800, "attempts", "debt"),
        (1, 604800, "conversations", "debt"),
    ]
    assert await ids_of(native) == {one["id"] for one in made["results"]}


async def test_an_account_wide_limit_is_every_applications(native, sibling, other):
    made = await native.done("POST", "/attempt-limits", {**THREE_A_DAY, "accountWide": True})
    own = await native.done("POST", "/attempt-limits", THREE_A_DAY)
    assert made["scope"] == "account"
    assert await ids_of(Native(sibling)) == {made["id"]}
    assert await ids_of(Native(other)) == set()
    await Native(other).refused(404, "DELETE", f"/attempt-limits/{made['id']}")
    await Native(sibling).refused(404, "DELETE", f"/attempt-limits/{own['id']}")
    await Native(sibling).done("DELETE", f"/attempt-limits/{made['id']}")
    assert await ids_of(native) == {own["id"]}


async def test_a_campaigns_limit_names_one_of_the_applications_campaigns(native, sibling):
    campaign_id = await native.tenant.create_campaign(ever_open(1))
    made = await native.done("POST", "/attempt-limits", {**THREE_A_DAY, "campaignId": campaign_id})
    assert (made["scope"], made["campaignId"]) == ("campaign", campaign_id)
    for asking, more in ((Native(sibling), {}), (native, {"accountWide": True}), (native, {"campaignId": "cd-1"})):
        body = {**THREE_A_DAY, "campaignId": campaign_id, **more}
        assert (await asking.refused(400, "POST", "/attempt-limits", body))["errorCode"] == "bad_reference"


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 0},
        {"count": 101},
        {"windowSeconds": 59},
        {"windowSeconds": 10**9},
        {"counts": "smiles"},
        {"matter": " "},
        {"matter": "m" * 101},
        {"often": 7},
    ],
)
async def test_bad_bodies(native, wrong):
    await native.refused(412, "POST", "/attempt-limits", {**THREE_A_DAY, **wrong})
    assert await ids_of(native) == set()


async def test_bad_presets(native):
    answer = await native.refused(412, "POST", "/attempt-limit-presets", {"preset": "mars"})
    assert "us-florida" in sentences(answer)[0]
    await native.refused(412, "POST", "/attempt-limit-presets", {"preset": "gb-ofcom-abandoned", "matter": "debt"})


async def test_an_account_has_so_many_at_most(native):
    for _ in range(10):
        await native.done("POST", "/attempt-limit-presets", {"preset": "us-regulation-f"})
    answer = await native.refused(409, "POST", "/attempt-limits", THREE_A_DAY)
    assert answer["errorCode"] == "limit_reached"
