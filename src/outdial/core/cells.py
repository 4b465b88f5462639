"""Cells of CSV files that spreadsheets open: text stays text."""

from __future__ import annotations

from typing import Final

_COMMANDS: Final = ("=", "+", "-", "@", "\t", "\r")
"""First signs after which a spreadsheet takes a cell for a formula (OWASP, CSV injection)."""


def safe_cell(text: str) -> str:
    """Return the text as a cell that no spreadsheet takes for a formula: with an apostrophe before it, if need be.

    Phone numbers get one too; ``core.phone`` reads them with it.
    """
    return f"'{text}" if text.startswith(_COMMANDS) else text
