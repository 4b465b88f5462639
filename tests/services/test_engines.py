"""How a process reaches the engines: its own object, an address from the database, or not at all."""

from __future__ import annotations

import pytest

from engines import simulated
from outdial.core.errors import EngineUnavailableError, NotFoundError
from outdial.core.model import EngineKind
from outdial.services.engines import Engines, list_engines, reachable_from_anywhere, retire_engine
from outdial.store import engines as store


@pytest.fixture
async def engines(database, secret_box):
    opened = Engines(database, secret_box, ttl_seconds=1.0)
    yield opened
    await opened.close()


async def put(database, secret_box, engine_id="e1", **more):
    values = {"kind": EngineKind.ASTERISK, "url": "http://127.0.0.1:9", "username": "u", "password": "p", **more}
    async with database.connection() as connection:
        await store.put(connection, secret_box, engine_id=engine_id, **values)


async def test_an_address_in_the_database_is_enough(database, secret_box, engines):
    await put(database, secret_box)
    control = await engines.control("e1")
    assert (control.id, control.kind) == ("e1", EngineKind.ASTERISK)
    # kept: connections are not made anew for each question
    assert await engines.control("e1") is control


async def test_one_that_moved_is_asked_at_its_new_address(database, secret_box, engines):
    await put(database, secret_box)
    before = await engines.control("e1")
    for changed in ({"url": "http://127.0.0.1:10"}, {"url": "http://127.0.0.1:10", "password": "another"}):
        await put(database, secret_box, **changed)
        after = await engines.control("e1")
        assert after is not before
        before = after


async def test_the_nodes_own_object_is_preferred_while_it_lives(database, secret_box, engines):
    await put(database, secret_box, "sim")
    async with simulated("sim") as engine:
        with engines.own(engine):
            assert await engines.control("sim") is engine
        assert await engines.control("sim") is not engine


async def test_a_second_life_of_the_node_takes_the_place_of_the_first(engines):
    async with simulated("sim") as first, simulated("sim") as second:
        with engines.own(first):
            with engines.own(second):
                assert await engines.control("sim") is second
            # the first one's registration went with the second's
            with pytest.raises(EngineUnavailableError):
                await engines.control("sim")


@pytest.mark.parametrize("known", [True, False])
async def test_one_inside_another_process_is_out_of_reach_and_says_so(database, secret_box, engines, known):
    if known:
        await put(database, secret_box, "far", kind=EngineKind.SIMULATED, url=None, username=None, password=None)
    with pytest.raises(EngineUnavailableError, match="far lives inside another process"):
        await engines.control("far")


async def test_closing_lets_go_of_every_connection_and_can_be_repeated(database, secret_box, engines):
    await put(database, secret_box)
    first = await engines.control("e1")
    await engines.close()
    await engines.close()
    assert await engines.control("e1") is not first


async def test_what_people_see_and_say(database, secret_box, engines):
    await put(database, secret_box, "e1")
    await put(database, secret_box, "e2", kind=EngineKind.SIMULATED, url=None, username=None, password=None)
    found = await list_engines(database)
    assert [one.id for one in found] == ["e1", "e2"]
    assert [reachable_from_anywhere(one) for one in found] == [True, False]
    assert (await retire_engine(database, "e1", actor="anna")).retired_by == "anna"
    assert set(await engines.rows(["e1", "e2", "e3"])) == {"e1", "e2"}
    with pytest.raises(NotFoundError, match="outdial engine list"):
        await retire_engine(database, "e3", actor="anna")
