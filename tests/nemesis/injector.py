"""Does the faults of the plan, notes when each began and when all was well again, and mends everything at the end.

The machine's clock is not touched: stepping it would strike everything else that runs here, this suite's own eyes above
all. What is stepped is the wall clock of one node, API process or engine, or of the database (support.clocks).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time

from nemesis.carrier import USUAL
from nemesis.evidence import Injected
from nemesis.plan import APIS, DIALERS, MOST_AT_ONCE, PROCESSES, Fault
from nemesis.world import World
from support.link import WELL
from support.relay import Relay

SLOW_SECONDS = 0.15
WELL_SECONDS = 60.0
STOP_SECONDS = 6.0
"""How long a freeze over a stop waits for the stop to begin, and then for its answer."""


class Moments:
    """Where the clients tell that a stop is about to be asked for, and was answered."""

    def __init__(self) -> None:
        self._wanted: asyncio.Future[None] | None = None
        self.struck = asyncio.Event()
        self.answered = asyncio.Event()

    async def next_stop(self) -> None:
        """Return when a client is about to ask for a stop; it waits until :attr:`struck` is set."""
        self.struck.clear()
        self.answered.clear()
        self._wanted = asyncio.get_running_loop().create_future()
        try:
            await self._wanted
        finally:
            self._wanted = None

    async def before_stop(self) -> bool:
        """Say so; True when somebody has waited for it, and wants to hear of the answer."""
        if self._wanted is None or self._wanted.done():
            return False
        self._wanted.set_result(None)
        await self.struck.wait()
        return True


class Injector:
    """Strikes."""

    def __init__(self, world: World, moments: Moments) -> None:
        self._world = world
        self._moments = moments
        self.done: list[Injected] = []
        self._few = asyncio.Semaphore(MOST_AT_ONCE)
        self._targets: dict[str, asyncio.Lock] = {}
        self._one_waits_for_a_stop = asyncio.Lock()
        self._frozen: dict[str, list[int]] = {}

    async def run(self, plan: tuple[Fault, ...]) -> None:
        """Do them all, each at its instant or as soon after as the bounds allow."""
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for fault in plan:
                await asyncio.sleep(max(0.0, began + fault.at - asyncio.get_running_loop().time()))
                await self._few.acquire()
                group.create_task(self._do(fault)).add_done_callback(lambda _: self._few.release())

    async def _do(self, fault: Fault) -> None:
        lock = self._targets.setdefault(fault.target, asyncio.Lock())
        async with lock:
            entry = Injected(fault.kind, fault.target, time.time_ns())
            self.done.append(entry)
            how, _, what = fault.kind.partition("-")
            try:
                if fault.step:
                    entry.note = f"by {fault.step:+.3f} s "
                await self._strike(how, what, fault, entry)
                concerned = self._concerned(fault.target)
                if concerned and not await self._world.until_well(*concerned, seconds=WELL_SECONDS):
                    entry.note += f"not well again within {WELL_SECONDS:.0f} s"
            finally:
                entry.end = time.time_ns()

    def _concerned(self, target: str) -> tuple[str, ...]:
        """Parts that must be well again before a fault counts as over."""
        match target:
            case "carrier" | "line":
                # over as it goes on; when nodes find their line up again the checker allows for
                return ()
            case "postgres":
                return PROCESSES
            case "dialers":
                return DIALERS
            case "asterisk-a":
                return DIALERS[:-1]
            case "asterisk-b":
                return DIALERS[-1:]
            case _:
                return (target,)

    async def _strike(self, how: str, what: str, fault: Fault, entry: Injected) -> None:
        match how:
            case "kill":
                await self._kill(fault)
            case "freeze" if what == "over-stop":
                await self._freeze_over_a_stop(fault, entry)
            case "freeze":
                self._freeze(fault.target)
                await asyncio.sleep(fault.seconds)
                self._thaw(fault.target, entry)
            case "cut" | "stall" | "slow":
                await _disturb(self._relay(what, fault.target), how, fault.seconds)
            case "lossy" | "mute" | "deaf":
                relay = self._relay(what, fault.target)
                self._world.let(relay, how)
                await asyncio.sleep(fault.seconds)
                self._world.let(relay, WELL)
            case "clock":
                await self._step_clock(fault, entry)
            case "carrier":
                self._world.carrier.tell("mode", what)
                await asyncio.sleep(fault.seconds)
                self._world.carrier.tell("mode", USUAL)
            case _:
                raise ValueError(fault.kind)

    def _relay(self, what: str, target: str) -> Relay:
        match what:
            case "engine":
                return self._world.engine_relay
            case "line":
                return self._world.line_relay
            case _:
                return self._world.relays[target]

    async def _step_clock(self, fault: Fault, entry: Injected) -> None:
        clock = self._world.clocks.get(fault.target)
        if clock is None:
            entry.note = "not possible here"
            return
        clock.set(fault.step)
        await asyncio.sleep(fault.seconds)
        clock.set(0.0)

    async def _kill(self, fault: Fault) -> None:
        world = self._world
        if fault.target in DIALERS + APIS:
            await world.kill(fault.target)
            await asyncio.sleep(fault.seconds)
            world.start(fault.target)
            world.kept_down.discard(fault.target)
        elif fault.target == "postgres":
            # the postmaster first, or it would start its children again
            for pid in world.postgres.pids():
                _signal(pid, signal.SIGKILL)
            await asyncio.sleep(fault.seconds)
            for _ in range(20):
                if await world.postgres.start():
                    return
                await asyncio.sleep(0.2)
            raise RuntimeError(f"PostgreSQL does not start again: {world.postgres.said()[-2000:]}")
        else:
            # whoever manages it starts it again
            _signal(world.engine_pid(fault.target), signal.SIGKILL)

    def _freeze(self, target: str) -> None:
        pids = self._world.pids(target)
        self._frozen[target] = pids
        for pid in pids:
            _signal(pid, signal.SIGSTOP)

    def _thaw(self, target: str, entry: Injected | None = None) -> None:
        if entry is not None:
            entry.thawed = time.time_ns()
        for pid in self._frozen.pop(target, []):
            _signal(pid, signal.SIGCONT)

    async def _freeze_over_a_stop(self, fault: Fault, entry: Injected) -> None:
        async with self._one_waits_for_a_stop:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._moments.next_stop()
            # the fault begins here, not when it began to wait
            entry.begin = time.time_ns()
            self._freeze(fault.target)
            self._moments.struck.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._moments.answered.wait()
            await asyncio.sleep(fault.seconds)
            self._thaw(fault.target, entry)

    def mend(self) -> None:
        """Undo whatever a strike that was cancelled has left."""
        for target in list(self._frozen):
            self._thaw(target)
        for relay in (self._world.engine_relay, self._world.line_relay, *self._world.relays.values()):
            relay.shut, relay.delay_seconds = False, 0.0
            relay.go_on()
            self._world.let(relay, WELL)
        for clock in self._world.clocks.values():
            clock.set(0.0)
        self._world.carrier.tell("mode", USUAL)
        self._moments.struck.set()
        self._world.kept_down.clear()


async def _disturb(relay: Relay, how: str, seconds: float) -> None:
    match how:
        case "cut":
            relay.cut()
        case "stall":
            relay.held = True
            relay.stall()
        case _:
            relay.delay_seconds = SLOW_SECONDS
    await asyncio.sleep(seconds)
    relay.shut, relay.delay_seconds = False, 0.0
    relay.go_on()


def _signal(pid: int, number: signal.Signals) -> None:
    # it may have ended meanwhile
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
