"""One page of a long answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of many things."""

    items: tuple[T, ...]
    skip: int
    """How many come before these."""
    limit: int
    """How many were asked for at most."""
    total: int
    """How many there are in all."""

    @property
    def has_more(self) -> bool:
        """Whether others come after these."""
        return self.skip + len(self.items) < self.total

    @property
    def pages(self) -> int:
        """How many pages of this size there are in all."""
        return -(-self.total // self.limit)
