"""What commands print: tables for people, one line of JSON for scripts, notes on standard error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, time
from enum import Enum
from pathlib import Path
from typing import Any, Final

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDE: Final = 1000
"""Columns where nobody looks at a terminal: nothing is cut off then."""


def print_json(value: Any) -> None:
    """Print one line of JSON."""
    typer.echo(json.dumps(plain(value), ensure_ascii=False))


def plain(value: Any) -> Any:
    """Return a value as JSON holds it: dataclasses become objects with camelCase keys, times ISO 8601 UTC.

    Fields that do not show in a repr are secrets and left out.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {camel(field.name): plain(getattr(value, field.name)) for field in fields(value) if field.repr}
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime) and value.tzinfo is None:
        # a wall clock, whose zone is told beside it
        return value.isoformat(timespec="seconds")
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time):
        return value.isoformat(timespec="minutes")
    return str(value) if isinstance(value, Path) else value


def camel(name: str) -> str:
    """Return ``client_id`` as ``clientId``."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def time_text(at: datetime | None) -> str:
    """Return a time in this machine's zone, which it names; ``–`` where there is none."""
    return "–" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def say(text: str = "") -> None:
    """Print a line of the answer."""
    typer.echo(text)


def note(text: str) -> None:
    """Print what is not the answer itself, on standard error."""
    typer.echo(text, err=True)


def console(*, stderr: bool = False) -> Console:
    """Return a console; where it is no terminal it is so wide that nothing is cut off."""
    found = Console(stderr=stderr, highlight=False)
    return found if found.is_terminal else Console(stderr=stderr, highlight=False, width=_WIDE)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print a table; when it has no row, the sentence ``empty`` on standard error."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Text: what people named a thing is no markup
        table.add_row(*(Text(str(cell)) for cell in row))
    if table.row_count:
        console().print(table)
    else:
        note(empty)


def print_fields(values: Mapping[str, object]) -> None:
    """Print names and values, one pair a line."""
    table = Table.grid(padding=(0, 2))
    for name, value in values.items():
        table.add_row(Text(name, style="bold"), Text(str(value), overflow="fold"))
    console().print(table)
