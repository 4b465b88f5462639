"""A campaign's courtesy message by outdial's own surface."""

from __future__ import annotations

import pytest

from support.native import Native
from support.wire import ever_open


@pytest.fixture
def native(tenant) -> Native:
    return Native(tenant)


@pytest.fixture
async def campaign_id(tenant) -> str:
    return await tenant.create_campaign(ever_open(1))


@pytest.fixture
def path(campaign_id) -> str:
    return f"/campaigns/{campaign_id}/courtesy-message"


async def test_set_get_remove(native, path):
    (flow, *_) = (await native.done("GET", "/flows"))["results"]
    await native.refused(404, "GET", path)
    for named in (flow["name"], flow["id"]):
        assert await native.done("PUT", path, {"flow": named}) == flow
    assert await native.done("GET", path) == flow
    # a campaign plays it
    await native.refused(409, "DELETE", f"/flows/{flow['id']}")
    assert await native.done("DELETE", path) == flow
    await native.refused(404, "DELETE", path)


async def test_bad_bodies(native, path):
    await native.refused(412, "PUT", path, {"flow": 7})
    await native.refused(412, "PUT", path, {})
    await native.refused(412, "PUT", path, {"flow": "\x00"})
    for nobody in ("nobody", "cf-nobody", "", "x" * 300):
        answer = await native.refused(400, "PUT", path, {"flow": nobody})
        assert "There is no flow" in str(answer)


async def test_the_vendor_s_surface_neither_shows_nor_loses_it(native, tenant, path, campaign_id):
    (flow, *_) = (await native.done("GET", "/flows"))["results"]
    await native.done("PUT", path, {"flow": flow["id"]})
    changed = {**ever_open(1), "description": "changed"}
    shown = [
        await tenant.ask("PUT", f"/{campaign_id}", changed, campaignType="voice"),
        await tenant.ask("GET", f"/{campaign_id}", campaignType="voice"),
    ]
    assert [answer.status_code for answer in shown] == [200, 200], [answer.text for answer in shown]
    assert not any("courtesy" in answer.text.lower() for answer in shown)
    assert await native.done("GET", path) == flow


async def test_not_while_a_run_is_live(native, tenant, path, campaign_id):
    (flow, *_) = (await native.done("GET", "/flows"))["results"]
    await native.done("PUT", path, {"flow": flow["id"]})
    assert (await tenant.trigger(campaign_id, "play")).status_code == 200
    await native.refused(409, "PUT", path, {"flow": flow["id"]})
    await native.refused(409, "DELETE", path)
