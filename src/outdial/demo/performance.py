"""What the demo does, whoever looks on: create, start, dial, stop, count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

import structlog

from outdial import clock
from outdial.core.errors import OutdialError
from outdial.core.model import LIVE_RUN_STATES, RunState
from outdial.demo.client import Answer, DemoRequestError
from outdial.demo.keyboard import enter_pressed
from outdial.demo.stage import ACTOR, FLOW_NAME, LIST_NAME, Stage
from outdial.demo.view import Meter
from outdial.demo.witness import require_sight
from outdial.services import campaigns, runs
from outdial.services.runs import RunProgress
from outdial.services.stop import StopReport, report_of, stop

CAMPAIGN_NAME: Final = "Demo"

TICK_SECONDS: Final = 0.2
"""Between two pictures."""

EXTRA_WATCH_SECONDS: Final = 1.5
"""How much longer than a permit lives new calls are looked for after a stop: any permit left behind would show."""

Result = TypeVar("Result")

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Stopped:
    """A stop, from outside."""

    stop_ms: float
    """Wall time of the request; of the stop itself where somebody else asked for it."""
    at: datetime
    """When the answer was there."""
    report: StopReport


class Audience:
    """Whoever looks on; this one does not."""

    def dialing(self, curl: str, *, can_press: bool) -> None:
        """The campaign has been started."""

    def picture(self, progress: RunProgress, rate: float) -> None:
        """Another moment."""

    def watching(self, source: str, seconds: float) -> None:
        """New calls are being looked for."""

    def counted(self, source: str, seconds: float, new_calls: int) -> None:
        """How many there were."""


class Performance:
    """One campaign on a stage."""

    def __init__(self, stage: Stage, audience: Audience) -> None:
        self._stage = stage
        self._audience = audience
        self._context = stage.serving.context
        self._campaign_id = ""
        self._run_id = 0
        self._begun_at = clock.now()
        self._meter = Meter()

    @property
    def watch_seconds(self) -> float:
        """How long new calls are looked for after a stop."""
        return self._context.settings.permit_ttl_seconds + EXTRA_WATCH_SECONDS

    async def begin(self) -> None:
        """Create the campaign and start it, over the API. Raises DemoRequestError."""
        client, iid = self._stage.client, self._stage.credentials.iid
        self._begun_at = clock.now()
        self._campaign_id = await client.create_campaign(name=CAMPAIGN_NAME, contact_list=LIST_NAME, flow=FLOW_NAME)
        await client.start(self._campaign_id)
        campaign = await campaigns.get_campaign(self._context.database, iid, self._campaign_id)
        if campaign.run is None:
            raise DemoRequestError("The demo's campaign has no run though its start was accepted.")
        self._run_id = campaign.run.id

    @asynccontextmanager
    async def ends_with_us(self, *, kept: bool) -> AsyncIterator[None]:
        """Stop the run at the block's end where its database is kept: the next server would go on with it."""
        try:
            yield
        finally:
            if kept and self._run_id:
                await self._stop_quietly()

    async def _stop_quietly(self) -> None:
        try:
            if (await self.progress()).run.state in LIVE_RUN_STATES:
                await stop(
                    self._context.database,
                    self._stage.serving.engines,
                    iid=self._stage.credentials.iid,
                    campaign_id=self._campaign_id,
                    actor=ACTOR,
                )
        except OutdialError as error:
            _log.warning("demo_run_left", campaign_id=self._campaign_id, reason=error.message)

    async def progress(self) -> RunProgress:
        """Return where the run stands."""
        return await runs.progress(self._context.database, self._run_id)

    async def dial(self, *, stop_after_seconds: float | None, listen: bool) -> Stopped | None:
        """Watch the dialing until Enter, a time or somebody else stops it; None when it completed by itself."""
        return await self._unless_failed(self._dial(stop_after_seconds, listen=listen))

    async def new_calls(self, stopped: Stopped) -> int:
        """Wait, then return how many calls have begun since the stop's answer. Raises BlindWitnessError."""
        return await self._unless_failed(self._count(stopped))

    async def _unless_failed(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do it, but raise at once when a part of the server fails meanwhile."""
        task = asyncio.create_task(work)
        guard = asyncio.create_task(self._stage.serving.until_failed())
        try:
            await asyncio.wait({task, guard}, return_when=asyncio.FIRST_COMPLETED)
            if guard.done():
                guard.result()
            return await task
        finally:
            task.cancel()
            guard.cancel()
            await asyncio.gather(task, guard, return_exceptions=True)

    async def _dial(self, stop_after_seconds: float | None, *, listen: bool) -> Stopped | None:
        loop = asyncio.get_running_loop()
        end = None if stop_after_seconds is None else loop.time() + stop_after_seconds
        with enter_pressed() if listen else nullcontext() as enter:
            self._audience.dialing(self._stage.client.stop_curl(self._campaign_id), can_press=enter is not None)
            wanted = asyncio.create_task((enter or asyncio.Event()).wait())
            try:
                while not wanted.done() and (end is None or loop.time() < end):
                    state = await self._look()
                    if state is RunState.COMPLETED:
                        return None
                    if state in {RunState.STOPPING, RunState.STOPPED}:
                        return await self._stopped_by_another()
                    left = TICK_SECONDS if end is None else min(TICK_SECONDS, max(0.0, end - loop.time()))
                    await asyncio.wait({wanted}, timeout=left)
            finally:
                wanted.cancel()
        return await self._stop()

    async def _look(self) -> RunState:
        """Show the moment and return the run's state."""
        progress = await self.progress()
        self._audience.picture(progress, self._meter.rate(clock.boottime(), progress.placed))
        return progress.run.state

    async def _stop(self) -> Stopped | None:
        """Stop it over the API. Raises DemoRequestError when that is refused."""
        asked = asyncio.create_task(self._ask())
        try:
            while not asked.done():
                await asyncio.wait({asked}, timeout=TICK_SECONDS)
                await self._look()
            answer, stop_ms, at = asked.result()
        finally:
            asked.cancel()
        if not answer.ok:
            if await self._look() is RunState.COMPLETED:
                return None
            raise DemoRequestError(f"The stop was not accepted: {answer.sentence}")
        return Stopped(stop_ms, at, await self._report())

    async def _ask(self) -> tuple[Answer, float, datetime]:
        began = clock.boottime()
        answer = await self._stage.client.stop(self._campaign_id)
        return answer, (clock.boottime() - began) * 1000, clock.now()

    async def _stopped_by_another(self) -> Stopped:
        """Follow a stop that came from elsewhere, such as the printed curl, to its end."""
        while await self._look() is not RunState.STOPPED:  # noqa: ASYNC110 - the state is in the database
            await asyncio.sleep(TICK_SECONDS)
        report = await self._report()
        return Stopped(report.latency_seconds * 1000, report.stopped_at, report)

    async def _report(self) -> StopReport:
        """Return the stop's report."""
        return await report_of(self._context.database, (await self.progress()).run.id)

    async def _count(self, stopped: Stopped) -> int:
        witness, seconds = self._stage.witness, self.watch_seconds
        self._audience.watching(witness.source, seconds)
        # nothing to wait for: that nothing happens is the point
        await asyncio.sleep(seconds)
        await require_sight(witness, self._begun_at, (await self.progress()).placed)
        new_calls = await witness.calls_after(stopped.at)
        self._audience.counted(witness.source, seconds, new_calls)
        return new_calls
