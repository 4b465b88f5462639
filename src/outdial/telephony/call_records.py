"""What the managed Asterisk writes down about its calls, so that an ended one can still be asked about.

Asterisk appends a line to one file for each channel that starts, is answered or ends (channel event logging). The
lines of a killed Asterisk are there too, except that the calls it had then have no end.
"""

from __future__ import annotations

import csv
import mmap
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from outdial.telephony.engine import CallRecord
from outdial.telephony.managed_config import RECORDS_FILE

_KEPT_BYTES: Final = 100_000_000
"""Two files of this size are kept: about 600,000 calls, of which the older half may be dropped at a start."""

_COLUMNS: Final = 4


class _Extra(msgspec.Struct):
    hangupcause: int = 0


def find_record(folder: Path, call_id: str) -> CallRecord | None:
    """Look a call up in the folder's files, the newer first; reads at most both (blocking)."""
    for name in (RECORDS_FILE, f"{RECORDS_FILE}.1"):
        lines = _lines(folder / name, call_id)
        if lines:
            return _record(call_id, lines)
    return None


def count_started(folder: Path, after: datetime) -> int:
    """Return how many channels have started after an instant, ours and the loopback carrier's, so a call over the
    carrier counts twice; reads the newer file (blocking)."""
    try:
        text = (folder / RECORDS_FILE).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return 0
    rows = csv.reader(line for line in text.splitlines() if line.startswith('"CHAN_START"'))
    return sum(len(row) == _COLUMNS and float(row[1]) > after.timestamp() for row in rows)


def keep_bounded(folder: Path) -> None:
    """Put a file that has grown long aside; only while Asterisk is not running."""
    path = folder / RECORDS_FILE
    if path.exists() and path.stat().st_size > _KEPT_BYTES:
        path.replace(folder / f"{RECORDS_FILE}.1")


def _lines(path: Path, call_id: str) -> list[str]:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            found = []
            at = text.rfind(call_id.encode())
            while at >= 0:
                begin = text.rfind(b"\n", 0, at) + 1
                end = text.find(b"\n", at)
                if end >= 0:
                    found.append(text[begin:end].decode(errors="replace"))
                at = text.rfind(call_id.encode(), 0, begin)
            return found[::-1]
    except (FileNotFoundError, ValueError):
        # an empty file cannot be mapped
        return []


def _record(call_id: str, lines: list[str]) -> CallRecord | None:
    times: dict[str, datetime] = {}
    cause = None
    for row in csv.reader(lines):
        if len(row) < _COLUMNS or row[2] != call_id:
            continue
        times.setdefault(row[0], datetime.fromtimestamp(float(row[1]), UTC))
        if row[0] == "HANGUP":
            cause = msgspec.json.decode(row[3], type=_Extra).hangupcause or None
    started = times.get("CHAN_START")
    if started is None:
        return None
    return CallRecord(call_id, started, times.get("ANSWER"), times.get("HANGUP"), cause)
