"""What a stop waits for once every engine is silent: the nodes' word, and what they alone know.

Nobody can dial any more by then. So this only serves what is said of the run after its stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from outdial import clock
from outdial.core.model import AttemptState, RingingCalls
from outdial.core.transfer import attempt_of_leg
from outdial.services.barrier import LOOK_SECONDS, Silence, Target, Wishes
from outdial.store import attempts as attempts_store
from outdial.store import nodes as nodes_store
from outdial.store.database import Database
from outdial.store.nodes import Serving

GRACE_SECONDS: Final = 0.1
"""How long a node that says nothing is waited for, from the commit on, where it alone knows what became of a call."""

EARLY_SECONDS: Final = 0.08
"""The same where it has calls that were cancelled: from then on the stop books them itself. A node gathers what it
writes for 0.05 s."""

IDLE_SECONDS: Final = 0.04
"""The same where it has nothing to tell: a healthy node has dropped the run 3 to 28 ms after the commit (measured)."""

SHORTEST_GRACE_SECONDS: Final = 0.03
"""How long a node that has dropped the run gets to book what was cancelled, after the last engine is quiet."""

BOOKED_SECONDS: Final = 1.5
"""How long a node that lives and has dropped the run gets to book calls that no engine has unanswered any more: busy,
say, or answered in the same moment. It is the only one who knows; a healthy one takes 50 ms."""


class NodeOutcome(StrEnum):
    """How a node that served the run was accounted for."""

    ACKNOWLEDGED = "acknowledged"
    """It has dropped the run."""
    LEASE_EXPIRED = "lease_expired"
    """It has ended, or its lease has: it may not dial."""
    NOT_ANSWERING = "not_answering"
    """It holds a lease and had not said that it has dropped the run; every engine is fenced, so it cannot dial."""


async def acknowledgements(
    database: Database, target: Target, wishes: Wishes, silences: Sequence[Silence] = ()
) -> dict[NodeOutcome, list[Serving]]:
    """Wait a moment for the nodes to drop the run and to book what they know; tell how each was found.

    For a run that is silent at every engine, ``silences``. A node that does not answer delays this by the grace time
    only, and by less where nothing is left that it alone knows. One that has answered, and lives, is given time to book
    every call that is not unanswered any more, but for those the stop can book itself: so that what is said of the run
    after its stop is what it stays.
    """
    silent_at = clock.boottime()
    ended = frozenset[str]().union(*(one.cancelled | one.hung_up | one.over for one in silences))
    ours = frozenset[str]().union(*(one.cancelled - one.crossed for one in silences))
    while True:
        async with database.connection() as connection:
            # the calls first: a node that books its last one and drops the run between the two reads is then waited for
            # one look more, and not taken for one that says nothing and has nothing to tell
            live = await attempts_store.live_by_node(connection, target.run.id)
            serving = await nodes_store.serving(connection, target.run.id)
        found: dict[NodeOutcome, list[Serving]] = {outcome: [] for outcome in NodeOutcome}
        for node in serving:
            found[_outcome(node, target.run.epoch)].append(node)
        booking = [node.node_id for node in found[NodeOutcome.ACKNOWLEDGED] if node.lease_live]
        silent = [node.node_id for node in found[NodeOutcome.NOT_ANSWERING]]
        until = target.committed
        if silent:
            until += patience(_of(silent, live), silences)
        if booking:
            booked = _until_booked(target.committed, wishes, _of(booking, live), ended, ours, silent_at=silent_at)
            until = max(until, booked)
        if clock.boottime() >= until:
            return found
        await asyncio.sleep(LOOK_SECONDS)


def _of(node_ids: Sequence[str], live: Mapping[str, Mapping[str, AttemptState]]) -> dict[str, AttemptState]:
    return {attempt_id: state for node_id in node_ids for attempt_id, state in live.get(node_id, {}).items()}


def patience(live: Mapping[str, AttemptState], silences: Sequence[Silence]) -> float:
    """Return how many seconds after the commit nodes that say nothing are waited for that have the attempts ``live``,
    in the states that are booked.

    A node alone knows what became of a call that no engine shows as it is booked and that the stop did not cancel; of
    one that was over, or answered, as it was hung up; and of a conversation that was hung up. An engine that was given
    up shows nothing.
    """
    seconds = IDLE_SECONDS
    cancelled = frozenset[str]().union(*(one.cancelled for one in silences))
    unclear = frozenset[str]().union(*(one.crossed | one.hung_up | one.over for one in silences))
    # of a leg the attempt it was placed for is booked
    unclear |= {attempt_id for leg in unclear if (attempt_id := attempt_of_leg(leg)) is not None}
    talking = frozenset[str]().union(*(one.talking for one in silences))
    ringing = frozenset[str]().union(*(one.ringing for one in silences))
    for attempt_id, state in live.items():
        answered = state is AttemptState.ANSWERED
        if attempt_id in cancelled - unclear and not answered:
            seconds = max(seconds, EARLY_SECONDS)
        elif attempt_id in unclear or attempt_id not in (talking if answered else ringing):
            return GRACE_SECONDS
    return seconds


def _until_booked(
    committed: float,
    wishes: Wishes,
    live: Mapping[str, AttemptState],
    ended: frozenset[str],
    ours: frozenset[str],
    *,
    silent_at: float,
) -> float:
    """Return the boot time until which nodes that live and have dropped the run get to book what was ``ended`` of their
    attempts ``live``; ``ours`` of it the stop knows as well as they do."""
    cancels = wishes.ringing is RingingCalls.CANCEL
    for attempt_id, state in live.items():
        unanswered = state in {AttemptState.DIALING, AttemptState.RINGING}
        if (cancels and unanswered and attempt_id not in ours) or (
            state is AttemptState.ANSWERED and attempt_id in ended
        ):
            return silent_at + BOOKED_SECONDS
    if not ended.isdisjoint(live):
        return max(committed + GRACE_SECONDS, silent_at + SHORTEST_GRACE_SECONDS)
    return silent_at


def _outcome(node: Serving, epoch: int) -> NodeOutcome:
    if node.dropped_epoch >= epoch:
        return NodeOutcome.ACKNOWLEDGED
    return NodeOutcome.NOT_ANSWERING if node.lease_live else NodeOutcome.LEASE_EXPIRED
