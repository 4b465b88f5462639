"""When a run pauses itself: its calls fail, and more of them would fail too.

Failing is what the carrier's or our own side did, never what a person or their phone did: busy, no answer and rejected
are none. Only attempts since the run was started or resumed count, and the breaker says nothing before as many of them
have ended as it looks at: whoever resumes gets that many calls to see whether things are better.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from outdial.core.model import Breaker, Disposition

FAILING: Final = frozenset({Disposition.CONGESTION, Disposition.FAILED, Disposition.UNKNOWN})
"""Endings that count: SIP 429 and 5xx, their Q.850 causes, whatever else no call comes of, and unknown ones: of those
only what broke with its connection is looked at."""

ACTOR: Final = "breaker"
"""Who pauses the run, in its history."""


def trips(latest: Sequence[Disposition], breaker: Breaker) -> str | None:
    """Return why the run is to pause, None when it may go on.

    ``latest`` are the endings of its last attempts of which something was sent, those of the present epoch only; of
    those whose outcome is unknown only those whose connection to the carrier broke.
    """
    looked_at = latest[: breaker.attempts]
    failed = Counter(one for one in looked_at if one in FAILING)
    count = failed.total()
    if len(looked_at) < breaker.attempts or count < breaker.share * len(looked_at):
        return None
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(failed.items()))
    return (
        f"{count} of the last {len(looked_at)} calls have failed ({kinds}); the run pauses itself from "
        f"{breaker.share:.0%} on. Look at the trunk, then resume it."
    )
