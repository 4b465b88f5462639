"""Simulations by outdial's own surface."""

from __future__ import annotations

import asyncio
import json

import pytest
from starlette.requests import Request

from outdial.api.auth import Caller
from outdial.api.native import simulations
from outdial.api.native.simulations import SimulationRoutes
from outdial.core.errors import SimulationEndedError
from outdial.core.model import Scope
from support.native import Native, sentences
from support.wire import ever_open


@pytest.fixture
def native(tenant) -> Native:
    return Native(tenant)


@pytest.fixture
async def path(tenant) -> str:
    return f"/campaigns/{await tenant.create_campaign(ever_open(1))}/simulations"


async def test_it_tells_what_would_come_of_it(native, path):
    made = await native.done("POST", path, {"startAt": "2027-03-01T14:00:00Z", "answerRate": 1, "lines": 3})
    assert made["startAt"] == "2027-03-01T14:00:00Z"
    assert made["finished"] is True
    assert made["contactsCount"] == made["callsCount"] == sum(one["contactsCount"] for one in made["attempts"]) > 0
    assert made["done"] == {"reached": made["contactsCount"]}
    assert made["hours"][0]["beginsAt"] == "2027-03-01T13:30:00Z"
    assert made["lines"] == {"value": 3, "source": "given"}
    assert made["shares"]["busy"] == {"value": 0, "source": "default"}
    # nothing was stored: the same again is the same
    assert await native.done("POST", path, {"startAt": "2027-03-01T14:00:00Z", "answerRate": 1, "lines": 3}) == made


async def test_machines(native, tenant, path):
    given = {"startAt": "2027-03-01T14:00:00Z", "answerRate": 1, "machineRate": 1, "machineSeconds": 3}
    assert (await native.done("POST", path, given))["machines"] is None
    campaign_id = await tenant.create_campaign(ever_open(1, name="Detecting", enableMachineDetect=True))
    made = await native.done("POST", f"/campaigns/{campaign_id}/simulations", given)
    assert made["machines"] == {
        "mode": "detect",
        "rate": {"value": 1, "source": "given"},
        "seconds": {"value": 3, "source": "given"},
        "messageLeft": False,
        "verdictsLookedAtCount": 0,
    }
    assert list(made["dispositions"]) == ["answered_machine"]
    assert made["shares"]["answered_human"]["value"] == 0
    for wrong in ({"machineRate": 2}, {"machineSeconds": -1}):
        await native.refused(412, "POST", path, wrong)


async def test_bad_bodies(native, path):
    for body in (
        {"answerRate": 2},
        {"answerRate": "0.4"},
        {"talkSeconds": False},
        {"lines": 0},
        {"days": 0},
        {"startAt": "tomorrow"},
        {"answers": 1},
    ):
        await native.refused(412, "POST", path, body)
    failure = await native.refused(412, "POST", path, {"answerRate": 0.9, "busyRate": 0.9})
    assert "together" in sentences(failure)[0]
    failure = await native.refused(412, "POST", path, {"startAt": "1999-01-01T00:00:00Z"})
    assert "2000" in sentences(failure)[0]


async def test_a_campaign_with_too_many_contacts_is_left_to_the_command(native, path, monkeypatch):
    monkeypatch.setattr(simulations, "MOST_CONTACTS", 0)
    failure = await native.refused(409, "POST", path, {})
    assert failure["errorCode"] == "limit_reached"
    assert "outdial simulate" in sentences(failure)[0]


async def test_a_simulation_that_takes_too_long_is_left_to_the_command(native, path, monkeypatch):
    monkeypatch.setattr(simulations, "MOST_STEPS", 10)
    failure = await native.refused(409, "POST", path, {})
    assert (failure["errorCode"], failure["retryable"]) == ("simulation_too_long", False)
    assert "fewer days" in sentences(failure)[0]
    assert "outdial simulate" in sentences(failure)[0]


class Held:
    """A simulation that is under way until it is let go."""

    def __init__(self, play) -> None:
        self.began, self.go, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._play = play

    async def __call__(self, *words, **more):
        self.began.set()
        try:
            await self.go.wait()
            return await self._play(*words, **more)
        finally:
            self.ended.set()


@pytest.fixture
def held(monkeypatch) -> Held:
    held = Held(simulations.simulate_campaign)
    monkeypatch.setattr(simulations, "simulate_campaign", held)
    return held


async def test_while_one_is_under_way_others_are_told_to_come_again(native, path, held):
    first = asyncio.create_task(native.done("POST", path, {}))
    await asyncio.wait_for(held.began.wait(), 30)
    failure = await asyncio.wait_for(native.refused(409, "POST", path, {}), 30)
    assert (failure["errorCode"], failure["retryable"]) == ("simulation_busy", True)
    held.go.set()
    assert (await first)["finished"] is True
    assert (await native.done("POST", path, {}))["finished"] is True


async def test_it_ends_when_its_client_hangs_up(native, tenant, parts, path, held):
    routes, messages = SimulationRoutes(parts), asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": json.dumps({}).encode(), "more_body": False})
    campaign_id = path.split("/")[2]
    scope = {"type": "http", "method": "POST", "headers": [], "path_params": {"campaignId": campaign_id}}
    caller = Caller("client", tenant.iid, tenant.account_id, frozenset(Scope))
    asked = asyncio.create_task(routes.simulate(Request(scope, messages.get), caller))
    await asyncio.wait_for(held.began.wait(), 30)
    messages.put_nowait({"type": "http.disconnect"})
    with pytest.raises(SimulationEndedError, match="hung up"):
        await asyncio.wait_for(asked, 30)
    assert held.ended.is_set()
    # and the next one has its turn
    held.go.set()
    messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    assert (await asyncio.wait_for(routes.simulate(Request(scope | {}, messages.get), caller), 30)).status_code == 200
