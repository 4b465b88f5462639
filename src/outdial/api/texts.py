"""What texts in bodies and parameters must be, as JSON Schema says it; who uses a text checks it.

Patterns are ECMA-262 as JSON Schema has them, and read the same by Python.
"""

from __future__ import annotations

from typing import Any, Final

from outdial.services.fields import LONGEST_DESCRIPTION, LONGEST_NAME

_CONTROLS: Final = "\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029"

NOT_BLANK: Final[dict[str, Any]] = {"minLength": 1, "pattern": f"^[^{_CONTROLS}]*[^\\s{_CONTROLS}][^{_CONTROLS}]*$"}
"""One line that is not blank."""

NAME: Final = {**NOT_BLANK, "maxLength": LONGEST_NAME}
"""A name that people see."""

DESCRIPTION: Final[dict[str, Any]] = {"pattern": "^[^\\u0000]*$", "maxLength": LONGEST_DESCRIPTION}
"""A text that may have several lines, and none."""

PHONE: Final[dict[str, Any]] = {"format": "phone-number"}
"""A number as people write it, E.164 with its + at best. Which lengths there are differs by country."""

ZONE: Final[dict[str, Any]] = {"format": "time-zone"}
"""An IANA name, like Europe/Paris."""

REGION: Final[dict[str, Any]] = {"format": "country-code", "minLength": 2, "maxLength": 2}
"""ISO 3166, like US."""

DAY: Final = "[0-9]{4}-(0?[1-9]|1[0-2])-(0?[1-9]|[12][0-9]|3[01])"
TIME: Final = "([01]?[0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
"""Parts of patterns of wall clocks."""

UP_TO_32767: Final = "[0-9]{1,4}|[12][0-9]{4}|3[01][0-9]{3}|32[0-6][0-9]{2}|327[0-5][0-9]|3276[0-7]"
"""Part of a pattern of a number written as text."""


def line(longest: int, *, blank: bool = True) -> dict[str, Any]:
    """Return what one line of text must be."""
    return {"maxLength": longest, **({"pattern": f"^[^{_CONTROLS}]*$"} if blank else NOT_BLANK)}
