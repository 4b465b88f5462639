"""What was seen, by eyes that are not outdial's: the carrier's record, the clients' log, the faults, the tables.

All instants are CLOCK_REALTIME in nanoseconds, of the machine's clock, which carrier and clients read. The database's
own may be stepped: what it wrote meanwhile is set right by the boot time that was noted beside it. What a node wrote by
its clock (``dialed_at``, ``ringing_at``, ``answered_at``, ``ended_at`` of attempts) is left as it is. The tables are
read with plain SQL.
"""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

SECOND = 1_000_000_000
OFF = SECOND // 20
"""A note of boot time is up to a hundredth of a second early, and late by what lies between a row and its trigger."""


@dataclass(slots=True)
class Ask:
    """One request of a client and its answer."""

    client: int
    word: str
    """create-list, add, create, start, pause, resume, stop, edit, dnc, …"""
    campaign_id: str
    api: str
    sent: int
    received: int | None = None
    """None: no answer came (the connection broke, or nothing was heard for long)."""
    status: int | None = None
    body: Any = None
    phones: list[str] = field(default_factory=list)
    """Numbers added to a list, or to the do-not-call list."""
    line: int = 0
    """Which trunk the campaign has: its place in LINES (nemesis.plan)."""

    @property
    def ok(self) -> bool:
        return self.status == 200


@dataclass(slots=True)
class Injected:
    """One fault as it happened. It has ended when what it struck answers again."""

    kind: str
    target: str
    begin: int
    end: int | None = None
    note: str = ""
    thawed: int | None = None
    """Of what was frozen: until when it did nothing at all."""


@dataclass(slots=True)
class Call:
    """What the carrier saw of one Call-ID."""

    call_id: str
    number: str
    caller: str
    source: int
    """Port of the engine that sent it."""
    invites: list[int]
    """Kernel timestamps of its INVITEs, repeated and authorized ones included; the first is when the call began. Over
    TCP the carrier's own: see nemesis.carrier."""
    responded_at: int | None = None
    answered_at: int | None = None
    cancelled_at: int | None = None
    bye_at: int | None = None
    ended_at: int | None = None
    status: int | None = None
    tcp: bool = False
    """Whether it came over the trunk whose line can fail."""

    @property
    def at(self) -> int:
        return self.invites[0]


@dataclass(slots=True)
class Evidence:
    """Everything the checks look at."""

    calls: list[Call] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)
    faults: list[Injected] = field(default_factory=list)
    fell: list[tuple[int, str, int]] = field(default_factory=list)
    """Instant, name and exit code of every process that ended by itself."""
    starved: list[tuple[int, int]] = field(default_factory=list)
    """When this machine had no time for what was due: begin and end."""
    engines: dict[str, int] = field(default_factory=dict)
    """Engine → port its calls come from."""
    quiesced: str = ""
    """Why the system did not come to rest at the end; empty when it did."""
    max_attempts: int = 2
    runs: list[dict[str, Any]] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    run_contacts: list[dict[str, Any]] = field(default_factory=list)
    contacts: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """One file of JSON lines a table, and the rest in one."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("calls", "asks", "faults", "runs", "attempts", "run_contacts", "contacts", "history"):
            rows = (row if isinstance(row, dict) else dataclasses.asdict(row) for row in getattr(self, name))
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        rest = {
            "starved": self.starved,
            "fell": self.fell,
            "engines": self.engines,
            "quiesced": self.quiesced,
            "max_attempts": self.max_attempts,
        }
        (folder / "rest.json").write_text(json.dumps(rest))

    @classmethod
    def read(cls, folder: Path) -> Evidence:
        """What :meth:`write` wrote, to look at it again."""

        def rows(name: str) -> list[dict[str, Any]]:
            return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]

        rest = json.loads((folder / "rest.json").read_text())
        for name in ("starved", "fell"):
            rest[name] = [tuple(entry) for entry in rest.get(name, [])]
        plain = {name: rows(name) for name in ("runs", "attempts", "run_contacts", "contacts", "history")}
        return cls(
            calls=[Call(**row) for row in rows("calls")],
            asks=[Ask(**row) for row in rows("asks")],
            faults=[Injected(**row) for row in rows("faults")],
            **plain,
            **rest,
        )


def _ns(column: str, name: str = "") -> str:
    return f"(extract(epoch FROM {column}) * 1000000)::bigint * 1000 AS {name or column}"


TABLES = {
    "runs": f"""
        SELECT id, instance_id, campaign_id, state, epoch, rules ->> 'caller_id' AS caller,
               stop_report::text AS stop_report, {_ns("started_at")}, {_ns("stopping_at")}, {_ns("ended_at")}
          FROM runs ORDER BY id""",
    "attempts": f"""
        SELECT id, run_id, contact_id, phone, caller_id, engine_id, node_id, epoch, number, state, disposition,
               change_reason, {_ns("reserved_at")}, {_ns("dialed_at")}, {_ns("ringing_at")}, {_ns("answered_at")},
               {_ns("ended_at")}
          FROM attempts ORDER BY reserved_at""",
    "run_contacts": "SELECT run_id, contact_id, phone, state, attempts_count FROM run_contacts",
    "contacts": """
        SELECT c.list_id, c.phone, cl.campaign_id
          FROM contacts c LEFT JOIN campaign_lists cl ON cl.list_id = c.list_id""",
    "history": f"""
        SELECT h.id, {_ns("h.at", "at")}, h.run_id, h.attempt_id, h.action, h.from_state, h.to_state, h.actor, h.reason,
               (i.boot * 1000000000)::bigint AS boot
          FROM history h LEFT JOIN nemesis_instants i ON i.history_id = h.id
         WHERE h.action IN ('run', 'attempt') ORDER BY h.id""",
}


async def read_tables(dsn: str, evidence: Evidence) -> None:
    """Read the tables into the evidence."""
    connection = await asyncpg.connect(dsn)
    try:
        for name, statement in TABLES.items():
            setattr(evidence, name, [dict(row) for row in await connection.fetch(statement)])
    finally:
        await connection.close()
    set_right(evidence, booted=time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME))


def set_right(evidence: Evidence, *, booted: int) -> None:
    """Put right what the database wrote while its clock was stepped; ``booted`` is when the machine was booted."""
    stepped = [
        (one.begin - SECOND, SECOND + (one.end or one.begin + 60 * SECOND))
        for one in evidence.faults
        if one.kind == "clock-postgres"
    ]
    reserved: dict[str, int] = {}
    started: dict[int, int] = {}
    for row in evidence.history:
        boot = row.pop("boot")
        true = row["at"] if boot is None else booted + boot
        if not any(begin < true < end for begin, end in stepped):
            continue
        if abs(row["at"] - true) >= OFF:
            row["at"] = true
        # also where the step was over between this row and what it tells of
        if row["to_state"] == "reserved":
            reserved[row["attempt_id"]] = row["at"]
        if row["action"] == "run" and row["from_state"] is None:
            started[row["run_id"]] = row["at"]
    for rows, key, name in ((evidence.attempts, "reserved_at", reserved), (evidence.runs, "started_at", started)):
        for row in rows:
            true = name.get(row["id"], row[key])
            if abs(row[key] - true) >= OFF:
                row[key] = true
