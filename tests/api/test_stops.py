"""A stop goes on whatever becomes of who asked for it, and the closing server waits for it."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from outdial.api import stops as module
from outdial.api.stops import Stops
from outdial.core.errors import StopNotProvenError
from waiting import until


async def test_the_answer_comes_back():
    async def stop() -> str:
        return "done"

    assert await Stops().run(stop(), campaign_id="cd-1") == "done"


async def test_so_does_a_failure():
    async def stop() -> str:
        raise StopNotProvenError("not yet")

    with pytest.raises(StopNotProvenError, match="not yet"):
        await Stops().run(stop(), campaign_id="cd-1")


class Slow:
    def __init__(self, error: Exception | None = None) -> None:
        self.begun, self.go_on, self.ended = asyncio.Event(), asyncio.Event(), False
        self.error = error

    async def stop(self) -> None:
        self.begun.set()
        await self.go_on.wait()
        self.ended = True
        if self.error is not None:
            raise self.error


async def abandoned(stops: Stops, slow: Slow) -> None:
    client = asyncio.create_task(stops.run(slow.stop(), campaign_id="cd-1"))
    await slow.begun.wait()
    client.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client


@pytest.mark.parametrize(
    ("error", "event", "level"),
    [
        (None, "stop_ended", "info"),
        (StopNotProvenError("not yet"), "stop_failed", "warning"),
        (ZeroDivisionError(), "stop_failed", "error"),
    ],
)
async def test_the_end_of_an_abandoned_stop_is_logged(error, event, level):
    stops, slow = Stops(), Slow(error)
    with structlog.testing.capture_logs() as logs:
        await abandoned(stops, slow)
        slow.go_on.set()
        await until(lambda: len(logs) == 2)
    assert slow.ended
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("stop_goes_on_without_its_client", "info"),
        (event, level),
    ]
    await stops.close()


async def test_closing_waits_for_stops_under_way():
    stops, slow = Stops(), Slow()
    await abandoned(stops, slow)
    asyncio.get_running_loop().call_later(0.02, slow.go_on.set)
    await stops.close()
    assert slow.ended


async def test_closing_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.02)
    stops, slow = Stops(), Slow()
    with structlog.testing.capture_logs() as logs:
        await abandoned(stops, slow)
        await stops.close()
    assert not slow.ended
    assert logs[-1]["event"] == "stop_cut_off"


async def test_closing_with_nothing_under_way():
    await Stops().close()
