"""Where an Asterisk to run is: its program, its modules, its documentation (without which no module loads)."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from outdial.config import Settings
from outdial.core.errors import StartupError
from outdial.telephony.obtain import CACHE, LEAST_VERSION, first, major_version, tree_command

_log = structlog.get_logger()

_VERSION_SECONDS: Final = 10.0

_MODULE_FOLDERS: Final = (
    "usr/lib/*-linux-*/asterisk/modules",
    "usr/lib/asterisk/modules",
    "usr/lib64/asterisk/modules",
    "usr/local/lib/asterisk/modules",
    "usr/local/lib64/asterisk/modules",
)
_DATA_FOLDERS: Final = (
    "usr/share/asterisk",
    "var/lib/asterisk",
    "usr/local/share/asterisk",
    "usr/local/var/lib/asterisk",
)


@dataclass(frozen=True, slots=True)
class AsteriskProgram:
    """An Asterisk that can be run."""

    command: tuple[str, ...]
    """The program with what must stand before its options: an unpacked tree runs by its own loader and libraries."""
    modules: Path
    data: Path
    """Folder with ``documentation`` and ``rest-api``."""
    version: str = ""


async def find_asterisk(settings: Settings) -> AsteriskProgram:
    """Return the Asterisk to run: the configured one, else one on PATH, else an unpacked one.

    Raises StartupError with a sentence that says what to do when there is none that is new enough.
    """
    reasons: list[str] = []
    for place in _places(settings):
        program = from_tree(place) if place.is_dir() else installed(place)
        if program is None:
            reasons.append(f"{place} is no Asterisk with its modules")
            continue
        version = await _version(program)
        major = major_version(version)
        if major is None:
            reasons.append(f"{place} does not run ({version or 'no answer to -V'})")
        elif major < LEAST_VERSION:
            reasons.append(f"{place} is {version}, outdial needs {LEAST_VERSION} or newer")
        else:
            return AsteriskProgram(program.command, program.modules, program.data, version)
    raise StartupError(
        f"No Asterisk to start ({'; '.join(reasons) or 'none on PATH, none in .cache/asterisk'}). Run `make install` "
        f"in outdial's folder, or install Asterisk {LEAST_VERSION} or newer, or set OUTDIAL_ASTERISK_COMMAND to one, "
        "or OUTDIAL_ASTERISK_URL to one that runs, or OUTDIAL_ENGINE=simulated."
    )


def _places(settings: Settings) -> list[Path]:
    if settings.asterisk_command is not None:
        return [settings.asterisk_command.resolve()]
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])
    on_path = shutil.which("asterisk", path=path)
    trees = (CACHE / "asterisk", settings.data_dir.resolve() / "programs" / "asterisk")
    return [*([Path(on_path)] if on_path else []), *(tree for tree in trees if tree.is_dir())]


def from_tree(tree: Path) -> AsteriskProgram | None:
    """Return the Asterisk of an unpacked tree, None when the tree holds none."""
    command = tree_command(tree, "usr/sbin/asterisk")
    modules, data = first(tree, _MODULE_FOLDERS), first(tree, _DATA_FOLDERS)
    return None if command is None or modules is None or data is None else AsteriskProgram(command, modules, data)


def installed(program: Path) -> AsteriskProgram | None:
    """Return the Asterisk installed on this machine, None when its modules are not where they usually are."""
    root = Path("/")
    prefix = program.resolve().parent.parent
    modules = first(prefix, ("lib/asterisk/modules", "lib/*/asterisk/modules", "lib64/asterisk/modules")) or first(
        root, _MODULE_FOLDERS
    )
    data = first(prefix, ("share/asterisk", "var/lib/asterisk")) or first(root, _DATA_FOLDERS)
    if not os.access(program, os.X_OK) or modules is None or data is None:
        return None
    return AsteriskProgram((str(program),), modules, data)


async def _version(program: AsteriskProgram) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *program.command,
            "-V",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(_VERSION_SECONDS):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            return ""
    except OSError as error:
        return str(error)
    return output.decode(errors="replace").strip().splitlines()[-1] if output.strip() else ""
