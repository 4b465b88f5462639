"""How often the engine's detector is wrong, and how soon it is sure: ``python -m bench.machines [CASES]``.

Greetings of people and of machines are made here, each different, at several levels of noise: harmonics of a voice in
syllables, words and phrases; and, where espeak-ng is there, sentences that it speaks. They say how the timings act, not
what the subscribers of a carrier are like. A SIP phone of our own plays them to a real Asterisk, which detects by the
usual timings.
"""

from __future__ import annotations

import asyncio
import math
import random
import statistics
import sys
import tempfile
import uuid
from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from bench.common import until
from bench.place import machine
from bench.spoken import program, spoken

from outdial import clock  # isort: skip
from outdial.core.machine import USUAL_TIMINGS, MachineVerdict, wilson
from outdial.telephony.engine import CallAnswered, CallClassified, OriginateResult, OutgoingCall, Permit, TrunkAddress
from outdial.telephony.managed import ManagedAsterisk

from dialing import settings_for  # isort: skip - found through bench.place
from support.asterisk import connected_engine  # isort: skip
from support.rtp import RATE, handset  # isort: skip
from support.sip_peer import SipPeer  # isort: skip
from values import KEY, TRUNK  # isort: skip

RUN_ID = 950_001
SEED = 20261127
NOISES = (0, 80, 200)
"""Mean amplitudes; silence is below 256 by the usual timings, a voice here is about 3,000."""
AT_ONCE = 4
SECONDS = 9.0
"""Of each greeting: longer than any decision takes."""


Say = Callable[..., array]
"""Makes a greeting, of a person or (``is_machine``) of a machine, by a source of randomness."""


@dataclass(frozen=True)
class Case:
    number: str
    is_machine: bool
    noise: int
    sound: array


@dataclass(frozen=True)
class Outcome:
    case: Case
    verdict: MachineVerdict
    seconds: float


def syllable(chance: random.Random, pitch: float) -> array:
    count = round(chance.uniform(0.11, 0.24) * RATE)
    pitch *= chance.uniform(0.9, 1.1)
    weights = [chance.uniform(0.3, 1.0) / harmonic for harmonic in range(1, 13)]
    loudness = 5200 / sum(weights)
    return array(
        "h",
        (
            round(
                loudness
                * math.sin(math.pi * at / count) ** 0.5
                * sum(
                    weight * math.sin(2 * math.pi * pitch * harmonic * at / RATE)
                    for harmonic, weight in enumerate(weights, 1)
                )
            )
            for at in range(count)
        ),
    )


def silent(seconds: float) -> array:
    return array("h", bytes(2 * round(seconds * RATE)))


def speech(chance: random.Random, syllables: int, *, phrase: int) -> array:
    """So many syllables, a phrase after the other, each with a breath between."""
    pitch, said = chance.uniform(95, 220), array("h")
    for place in range(1, syllables + 1):
        said += syllable(chance, pitch)
        if place % phrase == 0 and place < syllables:
            said += silent(chance.uniform(0.15, 0.5))
        elif chance.random() < 0.4:
            said += silent(chance.uniform(0.02, 0.09))
    return said


def harmonics(chance: random.Random, *, is_machine: bool) -> array:
    """People say a word or two, their name, or at work a sentence; machines say a sentence or several."""
    if is_machine:
        return speech(chance, chance.choice((14, 20, 28, 36)), phrase=7)
    return speech(chance, chance.choice((1, 2, 2, 3, 5, 8, 11)), phrase=6)


def greeting(chance: random.Random, say: Say, *, is_machine: bool, noise: int) -> array:
    """Somebody takes the phone, and speaks; a machine beeps after it."""
    said = silent(chance.uniform(0.2, 0.9)) + say(chance, is_machine=is_machine)
    if is_machine:
        said += silent(chance.uniform(0.3, 0.7))
        said += array("h", (round(6000 * math.sin(2 * math.pi * 1000 * at / RATE)) for at in range(RATE // 3)))
    said += silent(max(0.0, SECONDS - len(said) / RATE))
    # uniform noise of that mean amplitude
    return array("h", (max(-32768, min(32767, one + round(chance.uniform(-2 * noise, 2 * noise)))) for one in said))


def cases(count: int, say: Say) -> list[Case]:
    chance, made = random.Random(SEED), []
    for place in range(count):
        is_machine, noise = place % 2 == 1, NOISES[place // 2 % len(NOISES)]
        sound = greeting(chance, say, is_machine=is_machine, noise=noise)
        made.append(Case(f"+1555{place:05d}11", is_machine, noise, sound))
    return made


class Bench:
    """Calls that are placed, answered, spoken to and classified."""

    def __init__(self, engine, phone, peer: SipPeer) -> None:
        self._engine = engine
        self._phone = phone
        self._peer = peer
        self._answered: dict[str, CallAnswered] = {}
        self._classified: dict[str, CallClassified] = {}
        self._changed = asyncio.Condition()

    async def listen(self) -> None:
        async for event in self._engine.events():
            async with self._changed:
                match event:
                    case CallAnswered():
                        self._answered[event.call_id] = event
                    case CallClassified():
                        self._classified[event.call_id] = event
                self._changed.notify_all()

    async def call(self, case: Case) -> Outcome | None:
        """Place one; None: a machine busy with other things did not come to it, and nothing was measured."""
        await until(lambda: self._engine.up)
        call_id = uuid.uuid4().hex
        placed = await self._engine.originate(OutgoingCall(call_id, RUN_ID, 1, KEY, case.number, "+15550100999", 30))
        if placed is not OriginateResult.ACCEPTED:
            return None
        answered = await self._heard(self._answered, call_id)
        talking = asyncio.create_task(self._phone.send(case.sound, case.number))
        await self._engine.detect(call_id, USUAL_TIMINGS)
        found = await self._heard(self._classified, call_id)
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
        await self._engine.hang_up(call_id)
        return Outcome(case, found.verdict, (found.at - answered.at).total_seconds())

    async def _heard(self, events: dict, call_id: str):
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: call_id in events)
        return events[call_id]


async def measure(count: int, say: Say) -> list[Outcome]:
    # before anything listens: it takes longer than an event stream is waited for
    made = cases(count, say)
    with tempfile.TemporaryDirectory(prefix="outdial-bench-") as folder:
        asterisk = ManagedAsterisk(settings_for(Path(folder)))
        await asterisk.start()
        peer = await SipPeer.start()
        try:
            async with connected_engine(asterisk, "bench-machines") as engine, handset(peer) as phone:
                bench = Bench(engine, phone, peer)
                listening = asyncio.create_task(bench.listen())
                await until(lambda: engine.up)
                permit = Permit(
                    RUN_ID,
                    1,
                    KEY,
                    replace(TRUNK, port=peer.port),
                    TrunkAddress(peer.host, peer.port),
                    clock.now() + timedelta(hours=1),
                )
                await engine.put_permit(permit)
                places = asyncio.Semaphore(AT_ONCE)

                async def one(case: Case) -> Outcome | None:
                    async with places:
                        return await bench.call(case)

                found = await asyncio.gather(*(one(case) for case in made))
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
                return [outcome for outcome in found if outcome is not None]
        finally:
            await peer.close()
            await asterisk.stop()


def p95(seconds: list[float]) -> float:
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]


def wrong(outcomes: list[Outcome]) -> int:
    return sum((one.verdict is MachineVerdict.MACHINE) is not one.case.is_machine for one in outcomes)


def interval(outcomes: list[Outcome]) -> str:
    share = wilson(wrong(outcomes), len(outcomes))
    return "–" if share is None else f"{share.value:.0%} ({share.low:.0%} to {share.high:.0%})"


def tell(found: list[Outcome], *, wanted: int) -> None:
    print("| who | noise | calls | taken for the other | verdict after: median | p95 |")
    print("|---|---|---|---|---|---|")
    for is_machine in (False, True):
        for noise in (*NOISES, None):
            some = [one for one in found if one.case.is_machine is is_machine and noise in {None, one.case.noise}]
            if not some:
                continue
            seconds = [one.seconds for one in some]
            print(
                f"| {'machines' if is_machine else 'people'} | {'all' if noise is None else noise} | {len(some)} "
                f"| {interval(some)} | {statistics.median(seconds):.2f} s | {p95(seconds):.2f} s |"
            )
    if len(found) < wanted:
        print(f"\n{wanted - len(found)} calls were not placed: the machine was too busy.")
    people = [one for one in found if not one.case.is_machine]
    machines = [one for one in found if one.case.is_machine]
    print(
        f"people_as_machines={wrong(people)}/{len(people)} machines_as_people={wrong(machines)}/{len(machines)} "
        f"median_seconds={statistics.median(one.seconds for one in found):.2f} "
        f"p95_seconds={p95([one.seconds for one in found]):.2f}"
    )


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 120
    print(machine())
    for name, say in (("Harmonics", harmonics), ("Speech by espeak-ng", spoken)):
        if say is spoken and program() is None:
            print("\nNo espeak-ng on PATH or in .cache: make install, or apt install espeak-ng.")
            continue
        print(f"\n{name}:\n", flush=True)
        tell(asyncio.run(measure(calls, say)), wanted=calls)


if __name__ == "__main__":
    main()
