"""A campaign's pre-call fetch by outdial's own surface."""

from __future__ import annotations

import pytest

from support.native import Native, sentences
from support.wire import ever_open

BODY = {"url": "https://crm.example.net/ask", "headers": {"Authorization": "Bearer t0ken"}}


@pytest.fixture
def native(tenant) -> Native:
    return Native(tenant)


@pytest.fixture
async def path(tenant) -> str:
    return f"/campaigns/{await tenant.create_campaign(ever_open(1))}/pre-call-fetch"


async def test_set_get_remove(native, path):
    await native.refused(404, "GET", path)
    made = await native.done("PUT", path, BODY)
    assert made == {"url": BODY["url"], "headerNames": ["Authorization"]}
    assert await native.done("GET", path) == made
    assert await native.done("DELETE", path) == made
    await native.refused(404, "DELETE", path)


async def test_bad_bodies(native, path):
    answer = await native.refused(412, "PUT", path, {"url": "nowhere", "headers": {"Host": "x"}})
    assert len(sentences(answer)) == 2
    await native.refused(412, "PUT", path, {"url": 7})
    await native.refused(412, "PUT", path, {**BODY, "headers": {"X": 7}})
    await native.refused(412, "PUT", path, {**BODY, "timeout": 7})


async def test_not_while_a_run_is_live(native, tenant, path):
    await native.done("PUT", path, BODY)
    assert (await tenant.trigger(path.split("/")[2], "play")).status_code == 200
    await native.refused(409, "PUT", path, BODY)
    await native.refused(409, "DELETE", path)
