"""``python -m nemesis``: tries to break the stop for some minutes, and says whether it did.

The last line is ``stops=N faults=N violations=N``; exit code 1 on a violation or when the run itself failed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from nemesis import account, plan
from nemesis.checks import check
from nemesis.evidence import Evidence
from nemesis.run import play

CLIENTS = 8


def main() -> int:
    """Run it."""
    words = argparse.ArgumentParser(prog="nemesis", description="Tries to break the stop.")
    words.add_argument("--minutes", type=float, default=15.0)
    words.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    words.add_argument("--clients", type=int, default=CLIENTS)
    words.add_argument("--evidence", type=Path, default=Path("nemesis-evidence"), help="where it goes on a violation")
    words.add_argument("--keep", action="store_true", help="write the evidence in any case")
    words.add_argument("--look", type=Path, help="play nothing: check the evidence in this folder")
    given = words.parse_args()
    if given.look is not None:
        return _tell(Evidence.read(given.look))
    print(f"seed {given.seed}, {given.minutes:g} minutes, {given.clients} clients", flush=True)
    seconds = given.minutes * 60
    with tempfile.TemporaryDirectory(prefix="nemesis-") as temporary:
        # the database's own account has to enter
        folder = Path(temporary)
        folder.chmod(0o711)
        evidence, to = Evidence(), given.evidence / str(given.seed)
        try:
            uvloop.run(
                play(
                    folder / "world",
                    seed=given.seed,
                    seconds=seconds,
                    faults=plan.faults(given.seed, seconds),
                    clients=given.clients,
                    evidence=evidence,
                    tell=_tell_time,
                )
            )
        except BaseException:
            keep(evidence, folder / "world", to)
            print(f"the run itself failed; what there is of its evidence is in {to}")
            raise
        if given.keep or check(evidence):
            keep(evidence, folder / "world", to)
            print(f"evidence in {to}")
    return _tell(evidence)


def keep(evidence: Evidence, world: Path, to: Path) -> None:
    """Write everything there is to look at."""
    evidence.write(to)
    logs = {"logs": "logs", "a/asterisk/log": "logs/asterisk-a", "b/asterisk/log": "logs/asterisk-b"}
    for from_, name in logs.items():
        if (world / from_).exists():
            shutil.copytree(world / from_, to / name, dirs_exist_ok=True)


def _tell_time(sentence: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {sentence}", flush=True)


def _tell(evidence: Evidence) -> int:
    violations = check(evidence)
    print(account.table(evidence))
    for one in violations[:20]:
        print(f"rule {one.rule}: {one.what} (run {one.run_id}, number {one.number})")
    if violations:
        print(f"\nThe first of {len(violations)}:\n{account.of(evidence, violations[0])}\n")
    print(account.last_line(evidence, violations))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
