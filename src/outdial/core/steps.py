"""How long a calculation may take, counted in its own steps: it ends by itself, or soon after somebody asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from outdial.core.errors import SimulationEndedError, SimulationTooLongError

LOOK_EVERY: Final = 1_000
"""Steps between two looks at whether somebody asks for the end: some milliseconds."""


class Steps:
    """What a simulation may use up. Its owner may ask for its end from another thread."""

    def __init__(self, most: int | None = None, *, ended: Callable[[], bool] = lambda: False) -> None:
        """``most``: None lets it take as long as it takes. ``ended``: whether nobody waits for it any more."""
        self._most, self._ended = most, ended
        self.taken = 0
        self._look_at = self._next_look()

    def take(self, count: int = 1) -> None:
        """Use some up. Raises SimulationTooLongError when that is more than there are, SimulationEndedError when it
        was asked to end."""
        self.taken += count
        if self.taken >= self._look_at:
            self.look()

    def look(self) -> None:
        """Go no further when nobody waits or too much was used; raises what :meth:`take` does."""
        self._look_at = self._next_look()
        if self._ended():
            raise SimulationEndedError("The simulation was ended before it was over; ask again.")
        if self._most is not None and self.taken > self._most:
            raise SimulationTooLongError(
                f"The simulation takes more than {self._most:,} steps, as many as are played here. Give it fewer days, "
                "attempts or attempt limits, or play it with the command `outdial simulate`, which takes the time it "
                "needs."
            )

    def _next_look(self) -> int:
        upto = self.taken + LOOK_EVERY
        return upto if self._most is None else min(upto, self._most + 1)
