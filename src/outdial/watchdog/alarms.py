"""What happens when an INVITE should not have been sent: fence, keep, tell. In that order: the fence helps at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from outdial.core.errors import DatabaseUnavailableError, EngineUnavailableError, OutdialError
from outdial.core.phone import mask
from outdial.core.watch import SENTENCES, Breach, Facts, Permission, Sighting, Verdict
from outdial.secretbox import SecretBox
from outdial.store import watch as store
from outdial.store.database import Database
from outdial.store.watch import Alarm, WatchedEngine
from outdial.watchdog.counts import Counts
from outdial.watchdog.fence import Fence
from outdial.watchdog.webhook import Webhook

MOST_WAITING: Final = 10_000

RETRY_SECONDS: Final = 0.5
"""Between two tries to keep an alarm while the database is away."""

ENGINE_SECONDS: Final = 10.0
"""How old what is known of the engines' addresses may be."""

_EVERY_PERMIT: Final = frozenset({Breach.RUN_STOPPED, Breach.DNC_NUMBER, Breach.NO_ATTEMPT, Breach.DIALED_AGAIN})
"""Breaches after which nothing of the run may stay at the engine. A node that is in order puts a new permit for a run
that is active; what had gone wrong has no leave any more."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Raised:
    seen: Sighting
    verdict: Verdict
    facts: Facts


class Alarms:
    """Raises alarms one after the other, beside the judging."""

    def __init__(
        self,
        database: Database,
        secrets: SecretBox,
        counts: Counts,
        *,
        webhook: Webhook | None,
        on_alarm: Callable[[Alarm], None],
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._counts = counts
        self._webhook = webhook
        self._on_alarm = on_alarm
        self._fence = Fence()
        self._waiting: deque[_Raised] = deque()
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._engines: list[WatchedEngine] = []
        self._engines_at = float("-inf")

    async def close(self) -> None:
        """Release connections."""
        await self._fence.close()

    def raise_alarm(self, seen: Sighting, verdict: Verdict, facts: Facts) -> None:
        """Have one raised; never waits."""
        _log.error(
            "watchdog_alarm",
            breaches=[breach.value for breach in verdict.breaches],
            run_id=None if seen.permission is None else seen.permission.run_id,
            attempt_id=None if verdict.attempt is None else verdict.attempt.id,
            engine=seen.engine_name,
            call_id=seen.call_id,
            number=mask(seen.number),
            sent_at=seen.sent_at.isoformat(),
            sentence=SENTENCES[verdict.breaches[0]],
        )
        self._counts.alarm(verdict.breaches[0])
        if len(self._waiting) >= MOST_WAITING:
            _log.error("watchdog_alarm_not_kept", call_id=seen.call_id, waiting=MOST_WAITING)
            return
        self._waiting.append(_Raised(seen, verdict, facts))
        self._news.set()
        self._idle.clear()

    async def until_idle(self) -> None:
        """Wait until every alarm is fenced, kept and told."""
        await self._idle.wait()

    async def run(self) -> None:
        """Raise until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                await self._raise(self._waiting.popleft())
            self._idle.set()

    async def _raise(self, raised: _Raised) -> None:
        fence = await self._fenced(raised)
        alarm = await self._kept(raised, fence)
        if alarm is None:
            # raised before the watchdog was started anew
            return
        self._on_alarm(alarm)
        if self._webhook is not None:
            self._webhook.send(f"alarm_{alarm.id}", told(alarm))

    async def _kept(self, raised: _Raised, fence: dict[str, Any]) -> Alarm | None:
        """Keep the alarm, however long that takes; None when this call has raised one already."""
        while True:
            try:
                async with self._database.transaction() as connection:
                    return await store.add_alarm(
                        connection,
                        raised.seen,
                        raised.verdict.breaches,
                        run=raised.facts.run,
                        attempt_id=None if raised.verdict.attempt is None else raised.verdict.attempt.id,
                        fence=fence,
                    )
            except DatabaseUnavailableError as error:
                _log.warning("watchdog_alarm_waits", call_id=raised.seen.call_id, error=error.message)
                await asyncio.sleep(RETRY_SECONDS)

    async def _fenced(self, raised: _Raised) -> dict[str, Any]:
        """Remove what can be removed; return what was, by engine, and what could not be."""
        seen = raised.seen
        if seen.permission is None:
            return {"removed": {}, "problems": ["The call went through no permit: there is none to remove."]}
        removed: dict[str, list[str]] = {}
        problems: list[str] = []
        wanted = unwanted(seen.permission, raised.verdict.breaches)
        try:
            found = await self._where(seen)
        except OutdialError as error:
            # away, or encrypted with another key
            found = self._engines
            problems.append(error.message)
        if not found:
            problems.append("No Asterisk is known to the database.")
        for engine in found:
            try:
                removed[engine.id] = await self._fence.remove(engine, wanted, seen.permission.name)
            except EngineUnavailableError as error:
                problems.append(error.message)
        self._counts.fence(done=not problems)
        log = _log.warning if problems else _log.info
        log("watchdog_fenced", call_id=seen.call_id, removed=removed, problems=problems)
        return {"removed": removed, "problems": problems}

    async def _where(self, seen: Sighting) -> list[WatchedEngine]:
        """Return the engine that sent it, or all of them where it does not say which it is."""
        now = asyncio.get_running_loop().time()
        known = {engine.id for engine in self._engines}
        if now - self._engines_at > ENGINE_SECONDS or seen.engine_name not in known:
            async with self._database.connection() as connection:
                self._engines = await store.engines(connection, self._secrets)
            self._engines_at = now
        return [engine for engine in self._engines if engine.id == seen.engine_name] or self._engines


def unwanted(permission: Permission, breaches: Sequence[Breach]) -> Callable[[Permission], bool]:
    """Return which permits have to go, besides the one an INVITE went through."""
    if _EVERY_PERMIT.intersection(breaches):
        return lambda other: other.run_id == permission.run_id
    if Breach.OLD_EPOCH in breaches:
        # what serves the epoch that is in force is in order
        return lambda other: other.run_id == permission.run_id and other.epoch <= permission.epoch
    return lambda other: other == permission


def told(alarm: Alarm) -> dict[str, Any]:
    """Return an alarm as others are told of it: the number masked, since who reads it is not known here."""
    return {
        "type": "watchdog.alarm",
        "timestamp": alarm.raised_at,
        "data": {
            "id": alarm.id,
            "breaches": list(alarm.breaches),
            "sentence": SENTENCES[alarm.breaches[0]],
            "sentAt": alarm.sent_at,
            "accountId": alarm.account_id,
            "campaignId": alarm.campaign_id,
            "runId": alarm.run_id,
            "attemptId": alarm.attempt_id,
            "engine": alarm.engine_name,
            "callId": alarm.call_id,
            "number": mask(alarm.number),
            "fence": alarm.fence,
        },
    }
