"""outdial with one guard taken out, for the suite to find: ``python -m nemesis.broken GUARD dialer``.

The guard is patched here, in the tests; the product has no switch for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from outdial.cli import main
from outdial.core import retry
from outdial.core.model import Disposition, Run
from outdial.dialer import claim, outcomes
from outdial.services import acknowledging, barrier
from outdial.services.acknowledging import NodeOutcome
from outdial.store import nodes as nodes_store
from outdial.store.database import Connection, Database
from outdial.store.reserve import Verdict
from outdial.telephony.asterisk_control import AsteriskControl


def skip_fence() -> None:
    """A stop leaves the permits where they are: what a frozen node sends when it wakes up is placed."""

    async def fence(self: AsteriskControl, run_id: int, known: object = ()) -> None:
        return

    AsteriskControl.fence = fence  # type: ignore[method-assign]


def skip_quiesce() -> None:
    """A stop fences and looks no further: what passed before is not cancelled."""

    async def until_quiet(self: object, control: object, deadline: float) -> bool:
        return True

    barrier._Quiesce.until_quiet = until_quiet  # type: ignore[method-assign]


def skip_acknowledgement() -> None:
    """A stop takes it for granted that every node has dropped the run and written down what it knows."""

    async def acknowledgements(database: Database, target: barrier.Target, *_: object) -> object:
        async with database.connection() as connection:
            serving = await nodes_store.serving(connection, target.run.id)
        nobody: dict[NodeOutcome, list[object]] = {outcome: [] for outcome in NodeOutcome}
        return nobody | {NodeOutcome.ACKNOWLEDGED: serving}

    acknowledging.acknowledgements = acknowledgements  # type: ignore[assignment]


def double_claim() -> None:
    """A node dials whomever it asked for, whether or not the database gave it to another."""
    reserve = claim.store.reserve

    async def trusting(connection: object, run: object, node_id: str, wish: claim.Reservation) -> object:
        verdict, reserved = await reserve(connection, run, node_id, wish)
        if verdict is Verdict.CONFLICT:
            return Verdict.RESERVED, frozenset(attempt_id for _, attempt_id in wish.wanted)
        return verdict, reserved

    claim.store.reserve = trusting  # type: ignore[assignment]


def retry_unknown() -> None:
    """Whoever's call nobody can tell the outcome of is tried again like anybody else."""
    del retry._FINAL[Disposition.UNKNOWN]


def skip_line() -> None:
    """A stop over TCP takes it for granted that nothing waits for the connection."""

    async def nothing_waits(self: object, control: object) -> bool:
        return True

    barrier._Engine.nothing_waits_for_the_line = nothing_waits  # type: ignore[method-assign]


def trust_503() -> None:
    """A call whose connection broke was refused by its carrier: it is tried again while the phone rings on."""
    outcomes.looks_lost = lambda *_: False  # type: ignore[assignment]


def dial_lost() -> None:
    """Whoever starts another run dials a number whose call was lost, though its phone may ring on."""
    facts = claim.store.facts

    async def forgetful(connection: Connection, run: Run) -> object:
        await connection.execute(
            """
            DO $$ BEGIN
                PERFORM pg_advisory_xact_lock(1);
                CREATE OR REPLACE FUNCTION outdial_may_ring(p_account_id text) RETURNS text[] LANGUAGE plpgsql STABLE
                    AS 'BEGIN RETURN ARRAY[]::text[]; END';
            END $$
            """
        )
        return await facts(connection, run)

    claim.store.facts = forgetful  # type: ignore[assignment]


GUARDS: dict[str, Callable[[], None]] = {
    guard.__name__: guard
    for guard in (
        skip_fence,
        skip_quiesce,
        skip_acknowledgement,
        double_claim,
        retry_unknown,
        skip_line,
        trust_503,
        dial_lost,
    )
}


if __name__ == "__main__":
    GUARDS[sys.argv.pop(1)]()
    main()
