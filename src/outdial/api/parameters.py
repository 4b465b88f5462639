"""Parameters of operations as OpenAPI describes them: what is read, not merely that it is text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

IDEMPOTENCY: Final = (
    "A text of the client's own, new for each thing it wants done. Sent again within 24 hours with the same request it "
    "gets the first answer again, with `Idempotent-Replay: true`, and nothing is done twice. A stop ignores it."
)
"""What the header is for."""

_HEX: Final = "[0-9a-f]"
_REST: Final = f"-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}$"
_FIRST_SEVEN: Final = frozenset({"cd", "cid", "cl"})
"""Kinds of ids whose first group has seven digits, not eight."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a parameter means, and which texts are read."""

    text: str
    schema: Mapping[str, Any]
    required: bool = False
    example: Any = None

    def described(self, place: str, name: str) -> dict[str, Any]:
        """Return OpenAPI's description of it in the path, the query or a header."""
        told = {
            "in": place,
            "name": name,
            "required": self.required or place == "path",
            "description": self.text,
            "schema": dict(self.schema),
        }
        return told if self.example is None else {**told, "example": self.example}


KEY: Final = Parameter(
    IDEMPOTENCY,
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    example="2f1c0b1e-7f0a-4c53-9c0e-3f1f6f0e6d0e",
)
"""``Idempotency-Key``."""


def identifier(what: str, prefix: str) -> Parameter:
    """Return the parameter that is an id with that prefix."""
    digits = 7 if prefix in _FIRST_SEVEN else 8
    example = f"{prefix}-{'1' * digits}-2222-4333-8444-555555555555"
    return Parameter(
        f"{what}, `{prefix}-…`.",
        {"type": "string", "pattern": f"^{prefix}-{_HEX}{{{digits}}}{_REST}"},
        example=example,
    )


def account(what: str) -> Parameter:
    """Return the parameter that is an account's id."""
    return Parameter(what, {"type": "string", "pattern": f"^{_HEX}{{24}}$"}, example="0123456789abcdef01234567")


def choice(text: str, *choices: str, required: bool = False) -> Parameter:
    """Return a parameter that must be one of these, spelled exactly."""
    return Parameter(text, {"type": "string", "enum": list(choices)}, required=required)


def number(text: str, *, least: int, most: int, required: bool = False) -> Parameter:
    """Return a parameter that is a whole number; both ends are allowed. Empty, it is as if left out."""
    schema = {"anyOf": [{"type": "integer", "minimum": least, "maximum": most}, {"type": "string", "maxLength": 0}]}
    return Parameter(text, schema, required=required)


def free_text(text: str, *, required: bool = False, example: str | None = None) -> Parameter:
    """Return a parameter that may be any text."""
    schema = {"type": "string", "minLength": 1} if required else {"type": "string"}
    return Parameter(text, schema, required=required, example=example)


def in_path(path: str, known: Mapping[str, Parameter]) -> list[dict[str, Any]]:
    """Return the descriptions of the parameters that a path names."""
    return [known[name].described("path", name) for name in re.findall(r"\{(\w+)\}", path)]
