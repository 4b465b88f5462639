"""`make fuzz`: generated requests over the whole document, against the real application and a private PostgreSQL.

`python tests/generated [cases] [seed]`. The last line is for programs.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import structlog

from generated.run import EMERGENCY, WALK, Found, generate
from generated.server import running
from generated.things import Things
from outdial.embedded_postgres import EmbeddedPostgres
from outdial.store import migrations

TOLD_EVERY = 500
"""Cases."""


async def started(folder: Path) -> EmbeddedPostgres:
    server = await EmbeddedPostgres.start(folder, durable=False)
    await migrations.upgrade(server.admin_dsn)
    return server


def rounds(things: Things, cases: int, seed: int) -> Found:
    """Send at least so many generated cases; every operation gets its share of each round."""
    all_found, began = Found(), time.monotonic()
    told, shown = 0, 0

    def tell(found: Found) -> None:
        nonlocal told, shown
        everything = [*all_found.failures, *found.failures]
        for failure in everything[shown:]:
            print(f"\n{failure}\n", flush=True)
        shown = len(everything)
        sent = all_found.cases + found.cases
        if sent >= told + TOLD_EVERY:
            told = sent
            print(f"{time.monotonic() - began:6.0f} s  {sent:7,} cases  {shown} failures", flush=True)

    def once(*phases: str, examples: int, only: str = "", operator: bool = False) -> None:
        all_found.add(
            generate(things, phases=phases, examples=examples, seed=seed, tell=tell, only=only, operator=operator)
        )
        tell(Found())
        things.tidy()

    # what can be enumerated is, once; then paths through links; all the rest is drawn
    once("examples", "coverage", examples=1)
    once("examples", "coverage", "fuzzing", examples=100, only=EMERGENCY, operator=True)
    once("stateful", examples=50, only=WALK)
    operations = max(1, len(all_found.by_operation))
    while all_found.cases < cases:
        seed += 1
        once("fuzzing", examples=min(100, max(10, -(-(cases - all_found.cases) // operations))))
    return all_found


def main() -> int:
    """Run, and return the exit code."""
    words = sys.argv[1:]
    cases = int(words[0]) if words else 20_000
    seed = int(words[1]) if len(words) > 1 else 1
    # what each request does is no news here, emergency stops included; what fails is told below
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    print(f"{cases:,} cases, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="outdial-fuzz-") as temporary:
        folder = Path(temporary)
        postgres = asyncio.run(started(folder / "postgres"))
        try:
            with running(postgres.admin_dsn, folder / "data") as server:
                things = Things(server)
                found = rounds(things, cases, seed)
                things.close()
        finally:
            asyncio.run(postgres.stop())
    fewest, at_least = min((count, label) for label, count in found.by_operation.items())
    print(f"\n{len(found.by_operation)} operations, at least {fewest} cases each ({at_least})")
    print("answers: " + ", ".join(f"{status} {count:,}" for status, count in sorted(found.statuses.items())))
    print(f"cases={found.cases} failures={len(found.failures)}")
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
