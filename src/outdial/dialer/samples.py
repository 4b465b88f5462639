"""Verdicts that are kept for review: the first seconds of some calls, recorded while it is found out who has answered.

What is not kept is dropped at the engine as soon as the verdict is known, unheard; so is what a call leaves that ended
before one. Whatever goes wrong with a recording, the call goes its way, and its verdict can be reviewed without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import structlog

from outdial.core.errors import EngineUnavailableError, OutdialError
from outdial.core.machine import MachineVerdict, Sample
from outdial.core.machine_review import ReviewShares, is_kept, is_recorded
from outdial.core.recording import NoRecordingError, sample_name
from outdial.telephony.engine import Engine, RecordingEnded

PATIENCE_SECONDS: Final = 0.5
"""Nobody who has answered waits longer for a recording to begin."""

_log = structlog.get_logger()


class Samples:
    """The recordings of one node's calls that are, or may be, kept for review."""

    def __init__(
        self,
        engine: Engine,
        keep: Callable[[str], Awaitable[float]],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        chance: Callable[[], float],
    ) -> None:
        """``keep`` has a recording that has ended on disk, by its name; ``chance`` draws a number from 0 to 1, never
        1."""
        self._engine = engine
        self._keep = keep
        self._spawn = spawn
        self._chance = chance
        self._open: dict[str, CallSample] = {}
        """By their names, those that have not come to their end."""

    def of(self, attempt_id: str, shares: ReviewShares) -> CallSample:
        """Return what is to be recorded of a call that was answered, if anything: each call draws once."""
        return CallSample(attempt_id, shares, self._chance(), self)

    def ended(self, event: RecordingEnded) -> None:
        """Hear that one has ended; its call may be over by then."""
        sample = self._open.get(event.recording_id)
        if sample is not None:
            sample.over = True
            self.settle(sample)

    def reconnected(self) -> None:
        """Events may have been lost: what has ended meanwhile is found by whoever looks for what was left at the
        engine, once its call is over."""
        for sample in self._open.values():
            sample.left = True
        self._open = {name: sample for name, sample in self._open.items() if sample.kept is None}

    async def begin(self, sample: CallSample) -> None:
        """Begin to record, and write down where that fails."""
        self._open[sample.name] = sample
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._engine.sample(sample.attempt_id, sample.name, seconds=sample.shares.seconds)
        except TimeoutError:
            sample.failure = f"the engine did not begin to record within {PATIENCE_SECONDS:g} s"
        except Exception as error:  # noqa: BLE001 - whatever it is, who has answered is not kept waiting for it
            if not isinstance(error, OutdialError):
                _log.exception("sample_not_recorded", attempt_id=sample.attempt_id)
            sample.failure = str(error) or repr(error)
        if sample.failure:
            _log.warning("sample_not_recorded", attempt_id=sample.attempt_id, reason=sample.failure)

    def settle(self, sample: CallSample) -> None:
        """Do with a recording what is to be done by now."""
        if sample.kept is False or (sample.failure and sample.kept is not None):
            self._open.pop(sample.name, None)
            self._spawn(self._drop(sample))
        elif sample.kept and sample.over:
            self._open.pop(sample.name, None)
            self._spawn(self._fetch(sample))
        elif sample.kept and sample.left:
            self._open.pop(sample.name, None)

    async def _drop(self, sample: CallSample) -> None:
        try:
            await self._engine.drop_sample(sample.attempt_id, sample.name)
        except EngineUnavailableError as error:
            # whoever looks for what was left at the engine finds it, and that it is not kept
            _log.warning("sample_not_dropped", attempt_id=sample.attempt_id, reason=error.message)

    async def _fetch(self, sample: CallSample) -> None:
        try:
            await self._keep(sample.name)
        except (NoRecordingError, EngineUnavailableError, OSError) as error:
            # as above; where there is none the verdict is reviewed without it
            _log.warning("sample_not_kept", attempt_id=sample.attempt_id, reason=str(error))


class CallSample:
    """What is recorded of one call."""

    def __init__(self, attempt_id: str, shares: ReviewShares, drawn: float, samples: Samples) -> None:
        self.attempt_id = attempt_id
        self.name = sample_name(attempt_id)
        self.shares = shares
        self.failure = ""
        self.over = False
        """The recording has ended."""
        self.left = False
        """That it has ended may have been told to nobody."""
        self.kept: bool | None = None
        """Whether it is to be kept; None: that is not known yet."""
        self._drawn = drawn
        self._samples = samples

    async def begin(self) -> None:
        """Begin to record, where the call's luck wants it; raises nothing."""
        if self.kept is None and is_recorded(self.shares, self._drawn):
            await self._samples.begin(self)

    def decide(self, verdict: MachineVerdict) -> Sample | None:
        """Return what is written down with the verdict; None: it is not kept."""
        self.kept = is_kept(self.shares, verdict, self._drawn)
        if is_recorded(self.shares, self._drawn):
            self._samples.settle(self)
        return Sample(self.failure) if self.kept else None

    def close(self) -> None:
        """The call is over: without a verdict there is nothing to review."""
        if self.kept is None:
            self.kept = False
            if is_recorded(self.shares, self._drawn):
                self._samples.settle(self)
