"""OpenAPI links: which values of one answer the next request takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Link:
    """What can be asked next. Values are runtime expressions (OpenAPI 3.1, 4.8.20.3) or constants."""

    to: str
    """The operation's id; ``{version}`` in it is that of the operation that has the link."""
    text: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    """Fields of the next body that are known; the others are the client's to fill in."""

    elsewhere: bool = False
    """It leads to another surface, whose requests take none of the parameters that all of this one take."""

    def described(self, version: str, always: Mapping[str, str]) -> dict[str, Any]:
        """Return OpenAPI's description of it; ``always``: parameters that each next request takes."""
        told: dict[str, Any] = {
            "operationId": self.to.format(version=version),
            "description": self.text,
            "parameters": {**({} if self.elsewhere else always), **self.parameters},
        }
        return told if self.body is None else {**told, "requestBody": self.body}


def described(links: Sequence[Link], version: str = "", always: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the links of an answer, by the ids of the operations they lead to and, where two do, a number."""
    found: dict[str, Any] = {}
    for link in links:
        told = link.described(version, always or {})
        name = told["operationId"]
        if name in found:
            name = f"{name}_{len(found)}"
        found[name] = told
    return found
