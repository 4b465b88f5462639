"""`make bench-explain`: decisions of the gate, explanations of them, checks of them, and the waterfall of a large run.

`python -m bench.explain [contacts]`. By processor time of this process, so that other work on the machine does not
count; what PostgreSQL needs is in the wall time beside it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from datetime import time as clock_time
from pathlib import Path

from bench.place import machine
from dialing import add_campaign, phones, set_stage, settings_for, with_rules
from outdial import rule_data
from outdial.context import open_context
from outdial.core.canonical import canonical
from outdial.core.evidence import Decided
from outdial.core.explanation import Situation, explain
from outdial.core.model import CallingHours, CallingWindow, RunState
from outdial.core.pacing import leaves_within
from outdial.core.phone import zones_of
from outdial.core.recompute import Case, check
from outdial.core.screening import Candidate, Policy, screen
from outdial.services import explanations, runs

WITHIN = leaves_within(timedelta())
NOON = datetime(2026, 11, 25, 18, tzinfo=UTC)
HOURS = CallingHours(
    tuple(CallingWindow(day, clock_time(9), clock_time(18)) for day in range(7)), "America/New_York", rule_pack="us"
)
AREAS = (212, 312, 305, 415, 713)


def people(count: int) -> list[Candidate]:
    found = []
    for place in range(count):
        phone = f"+1{AREAS[place % len(AREAS)]}555{place % 10_000:04d}"
        found.append(
            Candidate(
                contact_id=place,
                phone=phone,
                contact_zone=None,
                number_zones=zones_of(phone),
                attempts_count=0,
                not_before=None,
                on_account_dnc=False,
                on_campaign_dnc=False,
            )
        )
    return found


def measured(what: str, each: Callable[[int], object], count: int) -> None:
    each(0)
    used = time.process_time()
    for place in range(count):
        each(place)
    used = time.process_time() - used
    print(f"| {what} | {count / used:,.0f} | {used / count * 1e6:.0f} µs |  |", flush=True)


def gate() -> None:
    """Decide, explain and check again, each contact at another instant of the same minute, as claims do."""
    policy = Policy(with_rules(calling_hours=HOURS, max_attempts=3), timetable=rule_data.timetable(HOURS, NOON))
    candidates = people(1000)

    def at(place: int) -> datetime:
        # a claim looks at 16 contacts in one instant
        return NOON + timedelta(milliseconds=20 * (place // 16))

    def decide(place: int) -> object:
        return screen(candidates[place % 1000], policy, now=at(place), until=at(place) + WITHIN)

    measured("gate decisions, US pack, 16 an instant", decide, 20_000)
    situation = Situation(RunState.ACTIVE)
    measured(
        "explanations of the same contacts, allowed",
        lambda place: explain(candidates[place % 1000], lambda _at: policy, situation, at=at(place), within=WITHIN),
        2_000,
    )
    night = NOON + timedelta(hours=10)
    measured(
        "explanations at night, with what would alter them and when next",
        lambda place: explain(
            candidates[place % 1000],
            lambda _at: policy,
            situation,
            at=night + timedelta(milliseconds=place),
            within=WITHIN,
        ),
        1_000,
    )
    cases = [_case(policy, candidates[place], at(place)) for place in range(1000)]
    measured("stored decisions made again", lambda place: check(cases[place % 1000]), 10_000)


def _case(policy: Policy, candidate: Candidate, at: datetime) -> Case:
    decision = screen(candidate, policy, now=at, until=at + WITHIN)
    decided = Decided(1, at, 1, "cc-1", "a", None, json.loads(canonical(decision.document())))
    return Case(decided, policy.rules, policy.hours, {}, (), (), whole=True)


async def large(folder: Path, count: int) -> None:
    """Explain one contact of a large run, and the run itself."""
    async with open_context(settings_for(folder / "data"), migrate=True) as context:
        stage = await set_stage(context.database, context.secrets, phones(10))
        rules = with_rules(calling_hours=replace(HOURS, rule_pack=None))
        campaign_id = await add_campaign(
            context.database, stage.owner, phones(10, area=212), rules=rules, list_name="many", name="Many"
        )
        async with context.database.connection() as connection:
            await connection.execute(
                """
                INSERT INTO contacts (list_id, phone, dedupe_phone)
                SELECT l.id, p.phone, p.phone FROM contact_lists l,
                       (SELECT '+1312' || (1000000 + n) AS phone FROM generate_series(1, $1::bigint) n) p
                 WHERE l.name = 'many'
                """,
                count,
            )
        run = (
            await runs.start(
                context.database, context.secrets, iid=stage.owner.iid, campaign_id=campaign_id, actor="bench"
            )
        ).run
        while await runs.load_more(context.database, run):
            pass
        async with context.database.connection() as connection:
            # what a run has written by the time each of its people was called once
            await connection.execute(
                """
                INSERT INTO history (run_id, contact_id, action, from_state, to_state, actor)
                SELECT run_id, contact_id, 'run_contact', 'pending', 'waiting', 'bench'
                  FROM run_contacts, generate_series(1, 4) WHERE run_id = $1
                """,
                run.id,
            )
        for what, ask in (
            (f"waterfall of {count:,} contacts", lambda: explanations.waterfall_of(context.database, run)),
            (
                f"explanation of one contact of {count:,}",
                lambda: explanations.explain_contact(context.database, run, "+13121000500", at=None),
            ),
        ):
            await ask()
            used, began = time.process_time(), time.perf_counter()
            for _ in range(5):
                await ask()
            used, taken = (time.process_time() - used) / 5, (time.perf_counter() - began) / 5
            print(f"| {what} |  | {used * 1e3:.0f} ms | {taken * 1e3:.0f} ms |", flush=True)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    print(machine())
    print("\n| what | a second of this process's time | each | wall time each |\n|---|---|---|---|")
    gate()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(large(Path(folder), count))


if __name__ == "__main__":
    main()
