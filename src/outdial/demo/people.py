"""The demo's contacts: loopback phones of every kind, well mixed."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

FIRST: Final = 15_550_100_000
"""First number; +1 555 is nobody's."""

MOST: Final = 100_000
"""Most contacts a demo takes: numbers go up to +15550199999."""

CALLER_ID: Final = "+15550200000"

_STEP: Final = 37
"""Prime to 100: within every hundred each pair of last digits comes once, and neighbours differ in kind."""


def phones(count: int) -> list[str]:
    """Return that many numbers, in the order they are dialed; every hundred holds each pair of last digits."""
    return [f"+{FIRST + index // 100 * 100 + index * _STEP % 100}" for index in range(count)]


def write_csv(path: Path, count: int) -> None:
    """Write them as a file to import."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("Phone Number", "First Name", "Unique Identifier"))
        writer.writerows(
            (phone, f"Contact {number}", f"demo-{number}") for number, phone in enumerate(phones(count), 1)
        )
