"""How fast a CSV file becomes contacts, on a private PostgreSQL: `python bench/import_contacts.py [rows]`."""

from __future__ import annotations

import asyncio
import base64
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from outdial.embedded_postgres import EmbeddedPostgres
from outdial.secretbox import SecretBox
from outdial.services.access import create_application
from outdial.services.import_file import import_file
from outdial.store import migrations
from outdial.store.database import Database


def write(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write("phone,First Name,Last Name,Time Zone,Unique Id,amount\n")
        for number in range(rows):
            file.write(f'"+1555{number:07}",Anna,Smith{number},America/New_York,c{number},{number % 977}.50\n')


async def measure(rows: int, folder: Path) -> None:
    path = folder / "people.csv"
    write(path, rows)
    server = await EmbeddedPostgres.start(folder / "postgres")
    try:
        await migrations.upgrade(server.dsn)
        database = await Database.open(server.dsn, pool_size=2)
        secrets = SecretBox(base64.urlsafe_b64encode(os.urandom(32)).decode())
        owner = await create_application(database, secrets, account="bench", name="bench")
        for what in ("new contacts", "the same again"):
            began, cpu = time.perf_counter(), time.process_time()
            report = await import_file(
                database,
                iid=owner.iid,
                account_id=owner.account_id,
                list_name="bench",
                path=path,
                default_region=None,
                create=True,
                on_progress=lambda _: None,
                error_file=None,
                actor="bench",
            )
            seconds, own = time.perf_counter() - began, time.process_time() - cpu
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(
                f"{what}: {report.rows} rows, {report.added} added, {rows / seconds:,.0f} rows/s, "
                f"{own / rows * 1e6:.1f} µs of our CPU per row, {peak} MB at most"
            )
        await database.close()
    finally:
        await server.stop()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        asyncio.run(measure(int(sys.argv[1]) if sys.argv[1:] else 200_000, Path(temporary)))
