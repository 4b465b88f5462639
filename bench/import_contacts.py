"""`make bench-import`: how fast a file of people becomes contacts, by the command, into a private PostgreSQL.

`python -m bench.import_contacts [rows]`. The last line is for programs.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg

from bench.place import machine
from outdial.config import Settings
from outdial.context import Context, open_context
from outdial.services import access, dnc

HEADER = "phone,First Name,Last Name,city,amount,plan,due\n"
COLUMNS = [name.strip() for name in HEADER.split(",")]

LISTED = 100_000
"""Numbers on the do-not-call list."""


def number(at: int) -> str:
    """Ten digits of a number in the States; every one differs."""
    return f"{212 + at % 7}{2_000_000 + at:07d}"


def e164(at: int) -> str:
    return f"+1{number(at)}"


def mixed(at: int) -> str:
    """As people write them, six ways."""
    digits = number(at)
    area, exchange, line = digits[:3], digits[3:6], digits[6:]
    return (
        f"+1{digits}",
        f"({area}) {exchange}-{line}",
        f"{area}-{exchange}-{line}",
        f"+1 {area} {exchange} {line}",
        f"1 ({area}) {exchange}-{line}",
        f"{area}.{exchange}.{line}",
    )[at % 6]


def write(path: Path, rows: int, phone: Callable[[int], str]) -> None:
    luck = random.Random(1)
    cities, plans = ("Springfield", "New York", "Chicago", "Bonn"), ("gold", "silver", "basic")
    with path.open("w", encoding="utf-8") as file:
        file.write(HEADER)
        for at in range(rows):
            file.write(
                f'"{phone(at)}",Anna,Smith{at},{luck.choice(cities)},{luck.randrange(100_000) / 100},'
                f"{luck.choice(plans)},2026-{at % 12 + 1:02}-{at % 28 + 1:02}\n"
            )


async def outdial(environment: dict[str, str], *words: object) -> tuple[str, float, float]:
    """Run a command; return what it printed, its seconds and its peak of memory in megabytes."""
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "outdial", *(str(word) for word in words), env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    peak = 0.0
    reading = asyncio.create_task(process.stdout.read())
    while not reading.done():
        peak = max(peak, resident_peak(process.pid))
        await asyncio.wait([reading], timeout=0.2)
    code = await process.wait()
    assert code == 0, words
    return (await reading).decode(), time.perf_counter() - began, peak


def resident_peak(pid: int) -> float:
    """Megabytes the process has had at most; 0 when it has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return max((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:")), default=0.0)


def cpu_of_server(backend: int) -> float:
    """Seconds of processor time of PostgreSQL so far, by one of its backends: all its processes, also those that have
    ended."""
    server = int(stat(backend)[1])
    children = (stat(int(pid)) for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split())
    # user, system, and those two of processes that have ended (proc(5), from the third field on)
    ticks = sum(map(int, stat(server)[11:15])) + sum(int(each[11]) + int(each[12]) for each in children)
    return ticks / os.sysconf("SC_CLK_TCK")


def stat(pid: int) -> list[str]:
    """Return what the kernel says of a process, without its number and name."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_of_commands() -> float:
    """Seconds of processor time of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def listed(context: Context, rows: int) -> None:
    """Put a hundred thousand numbers on the account's do-not-call list; one in ten is in the file."""
    (account_id,) = {each.account_id for each in await access.list_applications(context.database)}
    phones = [e164(at if at % 10 == 0 else rows + at) for at in range(LISTED)]
    await dnc.add_numbers(context.database, account_id=account_id, phones=phones, actor="bench")


async def bare_copy(dsn: str, path: Path) -> float:
    """The yardstick: the same file by COPY into a table without index, key or check. Seconds."""
    connection = await asyncpg.connect(dsn)
    try:
        columns = ", ".join(f'"{name}" text' for name in COLUMNS)
        await connection.execute(f"DROP TABLE IF EXISTS yardstick; CREATE TABLE yardstick ({columns})")
        began = time.perf_counter()
        await connection.copy_to_table("yardstick", source=path, format="csv", header=True)
        seconds = time.perf_counter() - began
        await connection.execute("DROP TABLE yardstick")
        return seconds
    finally:
        await connection.close()


async def measure(rows: int, folder: Path) -> None:
    environment = {
        **os.environ,
        "OUTDIAL_DATA_DIR": str(folder / "data"),
        "OUTDIAL_DEFAULT_REGION": "US",
        "PYTHONPATH": str(Path(__file__).parents[1] / "src"),
    }
    print(f"Measured on {machine()}, load {os.getloadavg()[0]:.1f}")
    print(
        f"by `outdial contacts import FILE --list NAME --json`, {rows:,} rows of 7 columns, {LISTED:,} numbers on the"
    )
    print("do-not-call list\n")
    print("| file | rows/s | µs a row | our CPU | PostgreSQL's CPU | peak memory | bare COPY of the file | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    async with open_context(Settings(data_dir=folder / "data"), migrate=True) as context:
        await outdial(environment, "app", "create", "--account", "Bench", "--name", "bench")
        await listed(context, rows)
        async with context.database.connection() as connection:
            backend = connection.get_server_pid()
        last = ""
        for what, phone, name in (
            ("E.164, new contacts", e164, "plain"),
            ("E.164, the same again", e164, "plain"),
            ("mixed formats, new contacts", mixed, "mixed"),
        ):
            path = folder / f"{name}.csv"
            if not path.exists():
                write(path, rows, phone)
            bare = await bare_copy(context.dsn, path)
            ours, theirs = cpu_of_commands(), cpu_of_server(backend)
            said, seconds, peak = await outdial(
                environment, "contacts", "import", path, "--list", name, "--json", "--errors", folder / "errors.csv"
            )
            ours, theirs = cpu_of_commands() - ours, cpu_of_server(backend) - theirs
            report = json.loads(said)
            assert (report["rows"], report["bad"]) == (rows, 0), report
            assert report["added"] == (0 if "again" in what else rows), report
            assert report["onDnc"] == min(rows, LISTED) // 10, report
            ratio = bare / seconds
            cells = [what, f"{rows / seconds:,.0f}", *(f"{each / rows * 1e6:.1f}" for each in (seconds, ours, theirs))]
            cells += [f"{peak:.0f} MB", f"{rows / bare:,.0f}/s", f"{ratio:.3f}x"]
            print("| " + " | ".join(cells) + " |", flush=True)
            last = f"rows_per_second={rows / seconds:.0f} peak_mb={peak:.0f} copy_ratio={ratio:.3f}"
    print(f"\n{last}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="outdial-bench-") as temporary:
        asyncio.run(measure(int(sys.argv[1]) if sys.argv[1:] else 1_000_000, Path(temporary)))
