"""Whole numbers as JSON has them: some clients write every number with a point, and JSON Schema takes 5.0 for a 5."""

from __future__ import annotations

from typing import Any

from pydantic import BeforeValidator


def whole(value: Any) -> Any:
    """Return a number that is whole as an int, anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = BeforeValidator(whole)
"""Reads a whole number that is written with a point."""
