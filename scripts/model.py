"""Check the Promela model of the stop protocol with Spin: every configuration holds, every variant breaks a promise.

``python scripts/model.py`` (or ``make model``) checks all of it and ends with 1 when a promise is broken, a variant
breaks none, or a configuration was not explored whole (``--partly`` lets that pass); ``--megabytes`` and ``--seconds``
are the limits of one exploration. ``python scripts/model.py VARIANT`` tells how one variant breaks, step by step;
``--write`` writes that of every variant to docs/explanation/stop/variants.md. Needs spin, which is obtained without
root like sipp, and a C compiler.
"""

from __future__ import annotations

import argparse
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
MODEL: Final = ROOT / "docs" / "explanation" / "stop" / "stop.pml"
PAGE: Final = MODEL.with_name("variants.md")
MEGABYTES: Final = 8000
"""Most memory one exploration may take."""
SECONDS: Final = 900
"""Longest one exploration may take, in seconds of its own CPU."""

EVERYTHING: Final = "-DALONE -DMOVES -DLOSSES -DPAUSES -DSTARTS -DCUTS -DRETRIES -DRESTARTS"

SMALL: Final = {
    "one node, everything but deaths": EVERYTHING,
    "one node, an engine nobody reaches": "-DALONE -DMOVES -DGONE -DSKEW=1",
    "one node, ringing calls are kept": "-DALONE -DLETRING -DMOVES -DCUTS",
    "two nodes": "",
    "one node, a stop is answered in the end": "-DALONE -DMOVES -DLOSSES -DLIVE",
}
"""Explored whole in ``make test``: name → what may happen."""

WIDE: Final = {
    **SMALL,
    "one node, everything, an engine's clock off": f"{EVERYTHING} -DSKEW=1",
    "one node, longer lives": "-DALONE -DMOVES -DLOSSES -DTTL=2 -DSKEW=1",
    "two nodes, deaths and adoption": "-DDEATHS",
    "two nodes, an engine nobody reaches": "-DGONE -DSKEW=1",
    "two engines, nodes that leave": "-DENGINES=2 -DLEAVES",
}
"""What ``make model`` explores, each of them whole within its limits."""

VARIANTS: Final = {
    "NO_FENCE": "-DALONE",
    "NO_QUIESCE": "-DALONE",
    "ONE_LOOK": "-DALONE",
    "NO_NOTE_WAIT": "-DALONE -DMOVES",
    "NO_NOTES": "-DALONE -DMOVES -DLOSSES",
    "NO_RUN_LOCK": "-DALONE -DMOVES",
    "LATE_PUTS_SERVE": "-DALONE -DMOVES",
    "NOTES_LAST": "-DALONE -DLOSSES -DLIVE",
    "NO_KEYS": "-DDEATHS",
    "NO_EPOCHS": "-DALONE -DPAUSES",
    "NO_EXPIRY": "-DALONE -DGONE",
    "RENEWAL_REVIVES": "-DALONE",
    "CLAIM_BELIEVES_LOOK": "-DALONE",
    "DOUBLE_CLAIM": "",
    "NO_ADOPTER_REMOVAL": "-DDEATHS -DSKEW=1",
    "ADOPTER_LOOKS_AT_ONCE": "-DDEATHS",
    "LEAVER_LOOKS_AT_ONCE": "-DLEAVES -DENGINES=2",
    "STOPPING_CAN_RESUME": "-DALONE -DPAUSES",
}
"""Flag that takes a guard away → the smallest configuration in which that is seen."""


class ToolMissingError(Exception):
    """spin or a C compiler is missing; the sentence says what to install."""


@dataclass(frozen=True, slots=True)
class Explored:
    """What one exploration came to."""

    states: int
    depth: int
    cpu_seconds: float
    whole: bool
    """Every state that can be reached was visited."""
    broken: str
    """Name of the promise that was broken; empty when none was."""
    story: tuple[str, ...]
    """The steps that lead there, the shortest way."""


def tools() -> tuple[str, str]:
    """Return the commands of spin and a C compiler. Raises ToolMissingError."""
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name)) is not None), None)
    if compiler is None:
        raise ToolMissingError("The model needs a C compiler: install gcc (Debian: apt install gcc libc6-dev).")
    cached = ROOT / ".cache" / "spin" / "spin"
    spin = shutil.which("spin") or (str(cached) if cached.exists() else None)
    if spin is None:
        raise ToolMissingError("The model needs spin: make install, or install it (Debian: apt install spin).")
    return spin, compiler


def explore(flags: str, *, shortest: bool, megabytes: int = MEGABYTES, seconds: int = SECONDS) -> Explored:
    """Explore the model under preprocessor flags; ``shortest`` looks for the nearest broken promise and tells the way.

    Nothing is compressed with loss: a state that was visited is known in full. ``megabytes`` and ``seconds`` of CPU are
    the most it may take; what was not explored by then is not.

    Raises ToolMissingError, and CalledProcessError when the model itself is wrong.
    """
    spin, compiler = tools()
    words = flags.split()
    with tempfile.TemporaryDirectory(prefix="outdial-model-") as name:
        folder = Path(name)

        def run(*command: str) -> str:
            done = subprocess.run(
                command, cwd=folder, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            return done.stdout

        for part in MODEL.parent.glob("*.pml"):
            shutil.copy(part, folder)
        run(spin, "-a", *words, "stop.pml")
        live = "-DLIVE" in words
        # a cycle without the answer is looked for where the answer is due, in fair orders of steps only
        kind = ["-DNFAIR=3"] if live else ["-DSAFETY", *(["-DBFS"] if shortest else [])]
        run(compiler, "-O2", "-w", "-DNOREDUCE", f"-DMEMLIM={megabytes}", *kind, "-o", "pan", "pan.c")
        text = _explored(folder, seconds, *(["-a", "-f"] if live else []))
        violated = re.search(r"assertion violated +!\((\w+)\)|(acceptance cycle)", text)
        story = run(spin, "-t", *words, "stop.pml") if violated is not None and shortest else ""
    # an exploration that was ended by its limit has told every million states how far it was
    counts = re.search(r"(\d\S*) states, stored", text) or re.search(r".*States= +(\S+)", text, re.DOTALL)
    depths = re.search(r"depth reached (\d+)", text) or re.search(r".*Depth= +(\d+)", text, re.DOTALL)
    cpu = re.search(r"cpu=(\S+)", text)
    if counts is None or depths is None or cpu is None:
        raise RuntimeError(f"pan says nothing that is understood: {text[-500:]}")
    return Explored(
        states=int(float(counts.group(1))),
        depth=int(depths.group(1)),
        cpu_seconds=float(cpu.group(1)),
        whole="states, stored" in text
        and "Search not completed" not in text
        and "max search depth too small" not in text,
        broken="" if violated is None else violated.group(1) or "never_answered",
        story=tuple(line.strip() for line in story.splitlines() if _is_step(line)),
    )


def _explored(folder: Path, seconds: int, *options: str) -> str:
    """Run the verifier that was compiled, within its limits; return what it prints, and its CPU time."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        ["./pan", "-m2000000", "-E", "-n", "-w24", *options],
        cwd=folder,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=limited,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return f"{done.stdout}\ncpu={after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime:.2f}\n"


def _is_step(line: str) -> bool:
    return re.match(r"\s*(node \d|the |time passes|another run|engine \d|no permit|every permit)", line) is not None


def main(arguments: list[str]) -> int:
    """Check everything and print a table, or tell variants' stories; return the exit code."""
    words = argparse.ArgumentParser(description="Check the model of the stop.")
    words.add_argument("variant", nargs="?", choices=VARIANTS, help="tell how this one breaks, and check nothing else")
    words.add_argument("--write", action="store_true", help=f"write how each variant breaks to {PAGE.name}")
    words.add_argument("--partly", action="store_true", help="what the limits keep from being explored is no failure")
    words.add_argument("--megabytes", type=int, default=MEGABYTES, help="most memory of one exploration")
    words.add_argument("--seconds", type=int, default=SECONDS, help="most CPU time of one exploration")
    given = words.parse_args(arguments)
    if given.variant is not None:
        found = explore(f"-D{given.variant} {VARIANTS[given.variant]}", shortest=True)
        print(_story(given.variant, found))
        return 0 if found.broken else 1
    if given.write:
        return _write()
    print(f"{'':42s} {'states':>12s} {'depth':>8s} {'CPU s':>7s}  verdict", flush=True)
    states = violations = partly = caught = 0
    for name, flags in WIDE.items():
        found = explore(flags, shortest=False, megabytes=given.megabytes, seconds=given.seconds)
        states += found.states
        violations += bool(found.broken)
        partly += not found.whole and not found.broken
        _tell(name, found, found.broken or ("holds" if found.whole else "NOT EXPLORED WHOLE, nothing broken so far"))
    for name, flags in VARIANTS.items():
        found = explore(f"-D{name} {flags}", shortest=True)
        caught += bool(found.broken)
        _tell(name, found, f"caught: {found.broken}" if found.broken else "NOT CAUGHT")
    print(
        f"model: states={states} violations={violations} explored_whole={len(WIDE) - partly}/{len(WIDE)} "
        f"broken_variants_caught={caught}/{len(VARIANTS)}"
    )
    return 0 if not violations and (given.partly or not partly) and caught == len(VARIANTS) else 1


def _story(variant: str, found: Explored) -> str:
    steps = "\n".join(f"{number:3d} {step}" for number, step in enumerate(found.story, start=1))
    return f"{variant}: {found.broken} in {len(found.story)} steps\n{steps}"


_HEAD: Final = """# How each variant breaks

Made by `python scripts/model.py --write`: for each guard of [the model](model.md), the shortest way to a broken promise
without it, or for `NOTES_LAST` one to a stop that is never answered. In words: [variants](model.md#variants).
"""


def _write() -> int:
    blocks = []
    for name, flags in VARIANTS.items():
        found = explore(f"-D{name} {flags}", shortest=True)
        if not found.broken:
            print(f"{name} breaks nothing: {PAGE} is left as it is")
            return 1
        print(f"{name}: {found.broken}", flush=True)
        blocks.append(f"\n## {name}\n\n```text\n{_story(name, found)}\n```\n")
    PAGE.write_text(_HEAD + "".join(blocks))
    return 0


def _tell(name: str, found: Explored, verdict: str) -> None:
    print(f"{name:42s} {found.states:12,d} {found.depth:8,d} {found.cpu_seconds:7.1f}  {verdict}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ToolMissingError as error:
        print(error)
        sys.exit(1)
