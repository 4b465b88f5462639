"""One run of the suite: world, clients and nemesis together, then rest, then the evidence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import aiohttp

from nemesis import plan
from nemesis.clients import Client, owners_needed
from nemesis.evidence import Evidence, Injected, read_tables
from nemesis.injector import Injector, Moments
from nemesis.looks import BrokenError, Looker
from nemesis.plan import PROCESSES, Fault, Story
from nemesis.world import LOST, TTL_SECONDS, World, world
from support.programs import COMMAND

REST_SECONDS = 90.0
"""How long everything may take to come to rest once nothing is disturbed any more."""

PULSE_SECONDS = 0.05
LATE_SECONDS = 0.2
"""A machine that lets something due wait for longer is too busy to prove a stop in time."""

FINISH_SECONDS = 120.0
"""How long the clients may take to end their stories."""


def _silent(_sentence: str) -> None:
    return


async def play(
    folder: Path,
    *,
    seed: int,
    seconds: float,
    faults: tuple[Fault, ...],
    clients: int,
    stories: Callable[[int, int], Iterator[Story]] = plan.stories,
    command: Sequence[str] = COMMAND,
    ttl_seconds: float = TTL_SECONDS,
    whole_plan: bool = False,
    evidence: Evidence | None = None,
    tell: Callable[[str], None] = _silent,
) -> Evidence:
    """Play it and return what was seen.

    It lasts ``seconds``, and what is left of the plan then is not done; with ``whole_plan`` it ends once every fault is
    over, and ``seconds`` is the longest it may take. ``evidence`` is filled meanwhile, so that something is left of a
    run that fails; ``tell`` hears how far it is.
    """
    moments = Moments()
    evidence = Evidence() if evidence is None else evidence
    log = evidence.asks
    owners = owners_needed(clients, seconds)
    async with world(folder, command=command, ttl_seconds=ttl_seconds, owners=owners) as made:
        tell("the world is up")
        for sentence in made.without:
            tell(sentence)
        evidence.fell = made.fell
        evidence.engines = made.engine_ports()
        injector = Injector(made, moments)
        evidence.faults = injector.done
        people = [Client(made, number, clients, stories(seed, number), log, moments) for number in range(clients)]
        living = [asyncio.create_task(client.run()) for client in people]
        striking = asyncio.create_task(injector.run(faults))
        pulse = asyncio.create_task(_pulse(evidence.starved))
        looking = asyncio.create_task(Looker(evidence, made.carrier, folder / "fresh.json", tell).run())
        try:
            # clients go on until they are told; one that ends has failed, or had no more stories
            when = asyncio.FIRST_COMPLETED if whole_plan else asyncio.FIRST_EXCEPTION
            await asyncio.wait([striking, looking, *living], timeout=seconds, return_when=when)
            for task in (striking, looking, *living):
                if task.done():
                    try:
                        task.result()
                    except BrokenError as error:
                        tell(f"this ends here: {error}")
            looking.cancel()
            tell("no more faults")
            await _end_faults(striking, injector, made)
            tell("all is well again")
            for client in people:
                client.finish()
            async with asyncio.timeout(FINISH_SECONDS):
                await asyncio.gather(*living)
            tell("the clients have finished")
        finally:
            for task in (striking, pulse, looking, *living):
                task.cancel()
            await asyncio.gather(striking, pulse, looking, *living, return_exceptions=True)
            injector.mend()
        evidence.quiesced = await _rest(made)
        tell("everything is at rest")
        evidence.calls = made.carrier.seen(folder / "carrier.json")
        await read_tables(made.dsn, evidence)
        tell("the evidence is read")
    tell("the world is gone")
    return evidence


async def _pulse(starved: list[tuple[int, int]]) -> None:
    """Note when this process, which does little, was not run in time: the others were not either. Ends by cancel."""
    while True:
        asleep = time.time_ns()
        await asyncio.sleep(PULSE_SECONDS)
        awake = time.time_ns()
        if awake - asleep > (PULSE_SECONDS + LATE_SECONDS) * 1e9:
            starved.append((asleep, awake))


async def _end_faults(striking: asyncio.Task[None], injector: Injector, made: World) -> None:
    """Let what was begun end by itself; what is left of the plan is not done."""
    striking.cancel()
    await asyncio.gather(striking, return_exceptions=True)
    injector.mend()
    for _ in range(40):
        if made.postgres.pids() or await made.postgres.start():
            break
        await asyncio.sleep(0.25)
    mended = Injected("mending", "everything", time.time_ns())
    await made.until_well(*PROCESSES, seconds=REST_SECONDS)
    now = mended.end = time.time_ns()
    for one in injector.done:
        one.end = one.end or now


async def _rest(made: World) -> str:
    """Wait until nothing runs and no attempt is open; return what still is when that takes too long."""
    until = time.monotonic() + REST_SECONDS
    problem = "the database does not answer"
    while time.monotonic() < until:
        try:
            runs = await made.fetch(
                "SELECT id, state, campaign_id, iid FROM runs WHERE state IN ('active', 'paused', 'stopping')"
            )
            attempts = await made.fetch("SELECT id, state FROM attempts WHERE state NOT IN ('ended', 'unknown')")
            waiting = await made.fetch(
                "SELECT run_id FROM run_contacts rc JOIN runs r ON r.id = rc.run_id"
                " WHERE r.state = 'stopped' AND rc.state = 'waiting' LIMIT 5"
            )
        except LOST:
            await asyncio.sleep(0.5)
            continue
        if not (runs or attempts or waiting):
            return ""
        problem = (
            f"{[dict(row) for row in runs][:5]} {[dict(row) for row in attempts][:5]} {[dict(row) for row in waiting]}"
        )
        for row in runs:
            # a start whose client gave up may have been carried out after the last stop
            if row["state"] != "stopping":
                await _stop(made, row["campaign_id"], row["iid"])
        await asyncio.sleep(0.5)
    return problem


async def _stop(made: World, campaign_id: str, iid: str) -> None:
    timeout = aiohttp.ClientTimeout(total=10)
    try:
        url = f"{made.url('api-1')}/api/outdial/campaigns/{campaign_id}/stop"
        async with made.http.post(url, json={}, headers={"auth": made.tokens[iid]}, timeout=timeout) as answer:
            await answer.read()
    except (aiohttp.ClientError, TimeoutError):
        return
