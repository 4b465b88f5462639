"""`make bench-simulate`: how long a campaign of a million people takes to be played through, and how much memory.

`python -m bench.simulate [contacts]`. The last line is for programs.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from array import array
from dataclasses import replace
from datetime import UTC, datetime
from datetime import time as clock
from functools import partial
from pathlib import Path

from bench.place import machine
from dialing import settings_for, with_rules
from outdial import rule_data
from outdial.context import open_context
from outdial.core.attempt_limits import Counted, LimitRule
from outdial.core.model import CallingHours, CallingWindow
from outdial.core.simulation import Conditions, People, simulate
from outdial.core.simulation_calls import Assumptions
from outdial.core.whereabouts import Origin, Whereabouts
from outdial.services.access import create_application
from outdial.services.attempt_limits import add_limit
from outdial.services.simulations import (
    AHEAD_SECONDS,
    DEFAULT_REFUSAL_SECONDS,
    DEFAULT_RING_SECONDS,
    DEFAULT_SHARES,
    DEFAULT_TALK_SECONDS,
)
from outdial.services.trunks import TrunkDraft, add_trunk
from runs import insert_campaign

LINES, PER_SECOND = 2_000, 100.0
ZONES = ("America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "Europe/Paris")
HOURS = CallingHours(tuple(CallingWindow(day, clock(9), clock(18)) for day in range(5)), "America/New_York")
RULES = with_rules(calling_hours=HOURS, max_attempts=3, retry_seconds=3600)
STRICT_RULES = replace(RULES, calling_hours=replace(HOURS, rule_pack="international", holidays=("US",)))
STRICT = "rule pack, holidays, 3 calls in 24 h and 7 in a week"
BEGIN = "2027-03-01T09:00"


def core_alone(contacts: int) -> tuple[float, int]:
    """Play as many people without a database; return the processor's seconds and the calls."""
    places = [Whereabouts((zone,), (Origin.CONTACT_ZONE,)) for zone in ZONES]
    people = People(places=places, of=array("I", (place % len(ZONES) for place in range(contacts))))
    conditions = Conditions(
        rules=RULES,
        limits=(),
        timetable=partial(rule_data.timetable, HOURS),
        begin=datetime(2027, 3, 1, 14, tzinfo=UTC),
        lines=LINES,
        per_second=PER_SECOND,
        ahead_seconds=AHEAD_SECONDS,
        seed=1,
    )
    supposed = Assumptions(DEFAULT_SHARES, DEFAULT_RING_SECONDS, DEFAULT_TALK_SECONDS, DEFAULT_REFUSAL_SECONDS)
    began = time.process_time()
    outcome = simulate(people, conditions, supposed)
    assert outcome.finished
    return time.process_time() - began, outcome.calls


async def listed(folder: Path, contacts: int) -> None:
    """Make a campaign of so many contacts: one in ten has a zone of its own, the others' numbers say where they are."""
    async with open_context(settings_for(folder), migrate=True) as context:
        owner = await create_application(context.database, context.secrets, account="Bench", name="bench")
        draft = TrunkDraft(
            name="t",
            host="127.0.0.1",
            caller_ids=(RULES.caller_id,),
            max_channels=LINES,
            calls_per_second=PER_SECOND,
        )
        await add_trunk(context.database, context.secrets, owner.iid, draft)
        async with context.database.transaction() as connection:
            await connection.execute(
                "INSERT INTO contact_lists (id, iid, account_id, name, created_by, updated_by)"
                " VALUES ('cl-bench', $1, $2, 'bench', 'bench', 'bench')",
                owner.iid,
                owner.account_id,
            )
            await connection.execute(
                """
                INSERT INTO contacts (list_id, phone, dedupe_phone, time_zone)
                SELECT 'cl-bench', p, p, CASE WHEN n % 10 = 0 THEN 'Europe/Paris' END
                  FROM (SELECT n, '+1' || (ARRAY['212', '312', '303', '415', '305'])[1 + n % 5]
                                 || lpad((2000000 + n)::text, 7, '0') AS p FROM generate_series(1, $1::integer) n) x
                """,
                contacts,
            )
            campaign_id = await insert_campaign(connection, owner, name="Bench", list_ids=("cl-bench",))
            await connection.execute("UPDATE campaigns SET rules = $2 WHERE id = $1", campaign_id, RULES)


async def made_strict(folder: Path) -> None:
    """Give the campaign a rule pack and holidays, and its account limits."""
    async with open_context(settings_for(folder), migrate=True) as context:
        async with context.database.connection() as connection:
            account_id = await connection.fetchval("SELECT account_id FROM contact_lists WHERE id = 'cl-bench'")
            await connection.execute("UPDATE campaigns SET rules = $1 WHERE name = 'Bench'", STRICT_RULES)
        for count, days in ((3, 1), (7, 7)):
            rule = LimitRule(count, days * 86_400, Counted.ATTEMPTS)
            await add_limit(context.database, rule, account_id=account_id, actor="bench")


async def command(folder: Path) -> tuple[float, float, float, dict]:
    """Run the command; return seconds, its processor's seconds, its peak memory in MB, and what it told."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OUTDIAL_")} | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OUTDIAL_DATA_DIR": str(folder),
    }
    words = (sys.executable, "-m", "outdial", "simulate", "Bench", "--start", BEGIN, "--json")
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = await asyncio.create_subprocess_exec(*words, env=environment, stdout=asyncio.subprocess.PIPE)
    told, _ = await process.communicate()
    assert process.returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, cpu, after.ru_maxrss / 1000, json.loads(told)


async def measure(contacts: int, folder: Path) -> None:
    print(f"Measured on {machine()}, load {os.getloadavg()[0]:.1f}, {contacts:,} contacts, up to 3 attempts each")
    print("\n| what | calls | seconds | our CPU | contacts/s of CPU | peak memory |")
    print("|---|---|---|---|---|---|")
    cpu, calls = core_alone(contacts)
    print(f"| played, without a database | {calls:,} | – | {cpu:.1f} s | {contacts / cpu:,.0f} | – |", flush=True)
    await listed(folder / "data", contacts)
    for what in ("whole", STRICT):
        if what == STRICT:
            await made_strict(folder / "data")
        seconds, cpu, peak, told = await command(folder / "data")
        assert told["outcome"]["contacts"] == contacts
        cells = f"{told['calls']:,} | {seconds:.1f} | {cpu:.1f} s | {contacts / cpu:,.0f} | {peak:.0f} MB"
        print(f"| `outdial simulate`, {what} | {cells} |", flush=True)
    print(f"\ncontacts_per_second={contacts / seconds:.0f} cpu_seconds={cpu:.1f} peak_mb={peak:.0f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="outdial-bench-") as temporary:
        asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, Path(temporary)))
