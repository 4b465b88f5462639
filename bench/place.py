"""Where the measurements happen: a private PostgreSQL, a managed Asterisk, a carrier process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from dialing import settings_for
from outdial.config import Settings
from outdial.context import Context, open_context
from outdial.services.engines import Engines
from outdial.telephony.managed import ManagedAsterisk

TTL_SECONDS = 2.0


@dataclass(frozen=True)
class Place:
    folder: Path
    settings: Settings
    context: Context
    engines: Engines
    asterisk: ManagedAsterisk
    carrier_port: int


@contextlib.asynccontextmanager
async def place() -> AsyncIterator[Place]:
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="outdial-bench-")))
        settings = settings_for(folder / "data", ttl_seconds=TTL_SECONDS)
        context = await stack.enter_async_context(open_context(settings))
        engines = Engines(context.database, context.secrets, ttl_seconds=TTL_SECONDS)
        stack.push_async_callback(engines.close)
        asterisk = ManagedAsterisk(settings)
        await asterisk.start()
        stack.push_async_callback(asterisk.stop)
        carrier = await asyncio.create_subprocess_exec(
            sys.executable, str(Path(__file__).with_name("carrier.py")), stdout=asyncio.subprocess.PIPE
        )
        stack.push_async_callback(end, carrier)
        assert carrier.stdout is not None
        port = int(await carrier.stdout.readline())
        yield Place(folder, settings, context, engines, asterisk, port)


async def end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        await process.wait()


def environment(found: Place) -> dict[str, str]:
    """For `outdial` as a process of its own at this place."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OUTDIAL_")}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OUTDIAL_DATA_DIR": str(found.settings.data_dir),
        "OUTDIAL_PERMIT_TTL_SECONDS": str(TTL_SECONDS),
        "OUTDIAL_LOG_LEVEL": "error",
    }


def machine() -> str:
    """What this was measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024**2
    return (
        f"{os.cpu_count()} cores {model}, {memory} GiB, Linux {platform.release()}, Python {platform.python_version()}"
    )
