"""Places for what is costly: so many at a time, and the others are told to ask again."""

from __future__ import annotations

import asyncio

import pytest

from outdial.api.places import Places
from outdial.core.errors import BusyError


async def test_who_finds_no_place_in_time_is_told_to_ask_again():
    places = Places(2, what="explanations", wait_seconds=0.05)
    async with places.one(), places.one():
        with pytest.raises(BusyError, match="This server makes 2 explanations at a time"):
            async with places.one():
                pytest.fail("a third had a place")
    assert BusyError.retryable


async def test_a_place_is_free_again_however_it_was_left():
    places = Places(1, what="explanations", wait_seconds=0.05)
    with pytest.raises(ZeroDivisionError):
        async with places.one():
            raise ZeroDivisionError
    async with places.one():
        waiting = asyncio.create_task(_taken(Places(1, what="explanations", wait_seconds=60)))
        assert await waiting


async def test_who_waits_gets_the_place_that_becomes_free():
    places = Places(1, what="explanations", wait_seconds=60)
    async with places.one():
        waiting = asyncio.create_task(_taken(places))
        await asyncio.sleep(0)
        assert not waiting.done()
    assert await waiting


async def _taken(places: Places) -> bool:
    async with places.one():
        return True
