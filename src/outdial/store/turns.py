"""How runs stand among those that share a trunk with them, and what holds each back. Decided by ``core.shares``.

It is read with the trunk's rate budget, in one statement; who reserves writes that budget, so nobody decides on what
another has changed meanwhile (``outdial_reserve``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from outdial.core.shares import Turn, patience
from outdial.store.database import Connection

WANTS_SECONDS: Final = 3.0
"""How long a run counts as having somebody to dial after the last look that found somebody. Its node looks once a
second at least; what it does not use while it is dead is lent from then on."""

FRESH: Final = timedelta(seconds=2)
"""What holds so much longer need not be written again."""

TURNS: Final = """
    SELECT jsonb_agg(jsonb_build_array(o.id, c.priority, t.share, t.wants_until, t.held_by, t.held_until,
                                      t.passed_since))
      FROM runs o JOIN campaigns c ON c.id = o.campaign_id LEFT JOIN run_turns t ON t.run_id = o.id
     WHERE o.state = 'active' AND o.trunk_id = $2
"""
"""The active runs of the trunk ``$2``, each as an array that :func:`stands` reads."""

CHARGE: Final = """
    INSERT INTO run_turns (run_id, share, wants_until)
    SELECT $1, ($19::double precision[])[cardinality(attempt_ids)],
           CASE WHEN $20::boolean THEN clock_timestamp() + $21::double precision * interval '1 second'
                ELSE '-infinity' END
      FROM reserved
     WHERE verdict = 'reserved' AND cardinality(attempt_ids) > 0 AND cardinality($19::double precision[]) > 0
        ON CONFLICT (run_id) DO UPDATE
       SET share = excluded.share, wants_until = excluded.wants_until, passed_since = NULL
"""
"""Write down, in the statement that reserves, the share that run ``$1`` has then: the one of ``$19`` for as many calls
as there are in ``reserved``; and whether, ``$20``, it wants more, for ``$21`` seconds."""

_NOTHING: Final = Turn(weight=1, share=0.0, wants=False)


@dataclass(frozen=True, slots=True)
class Stand:
    """How a run stands."""

    own: Turn = _NOTHING
    others: tuple[Turn, ...] = ()
    """The other active runs of its trunk."""
    new_to_it: tuple[int | None, ...] = ()
    """The ids of the others, in the same order, save those known to let a call pass already."""
    passed: bool = False
    """It could have taken a call and another has waited for it to."""
    wants_until: datetime | None = None
    held_by: str = ""
    """What was written down last; it holds until:"""
    held_until: datetime | None = None

    def wants_freshly(self, now: datetime) -> bool:
        """Whether it has taken calls a moment ago, or has said so lately that it wants some."""
        return self.wants_until is not None and self.wants_until > now + FRESH

    def is_known(self, *, by: str, wants: bool, now: datetime) -> bool:
        """Whether there is nothing new to be written down."""
        told = self.held_by == by and self.held_until is not None and self.held_until > now + FRESH
        return not self.passed and (told or not by) and (self.wants_freshly(now) if wants else not self.own.wants)


ALONE: Final = Stand()
"""What is known of a run that shares its trunk with nobody."""


def stands(rows: list[list[Any]] | None, run_id: int, *, now: datetime) -> Stand:
    """Return how a run stands; one that is active no more stands alone."""
    if rows is None or all(row[0] != run_id for row in rows):
        return ALONE
    wanting = {row[0] for row in rows if (until := _instant(row[3])) is not None and until > now}
    enough = timedelta(seconds=patience(len(wanting)))
    turns: dict[int, Turn] = {}
    passed: set[int] = set()
    for found_id, weight, share, *_, passed_since in rows:
        since = _instant(passed_since)
        if since is not None:
            passed.add(found_id)
        # who leaves its turn to nobody and does not use it does not want it
        wants = found_id in wanting and (since is None or now - since <= enough)
        turns[found_id] = Turn(weight=weight, share=share or 0.0, wants=wants)
    own = turns.pop(run_id)
    wants_until, held_by, held_until = next(row[3:6] for row in rows if row[0] == run_id)
    return Stand(
        own,
        tuple(turns.values()),
        tuple(None if other in passed else other for other in turns),
        run_id in passed,
        _instant(wants_until),
        held_by or "",
        _instant(held_until),
    )


def _instant(text: str | None) -> datetime | None:
    return None if text is None or text == "-infinity" else datetime.fromisoformat(text)


async def held(connection: Connection, run_id: int, *, by: str, wants: bool, share: float, moved: bool) -> None:
    """Write down what holds a run back, empty: nothing new; and whether it wants lines, at which share it begins where
    it had wanted none before, or where it is ``moved`` there though it had."""
    await connection.execute(
        """
        INSERT INTO run_turns AS t (run_id, share, wants_until, held_by, held_until)
        VALUES ($1, $4, CASE WHEN $3 THEN clock_timestamp() + $5 * interval '1 second' ELSE '-infinity' END, $2,
                CASE WHEN $2 <> '' THEN clock_timestamp() + $5 * interval '1 second' ELSE '-infinity' END)
            ON CONFLICT (run_id) DO UPDATE
           SET share = CASE WHEN t.wants_until > clock_timestamp() AND NOT $6 THEN t.share ELSE excluded.share END,
               wants_until = excluded.wants_until,
               passed_since = NULL,
               held_by = CASE WHEN $2 <> '' THEN excluded.held_by ELSE t.held_by END,
               held_until = CASE WHEN $2 <> '' THEN excluded.held_until ELSE t.held_until END
        """,
        run_id,
        by,
        wants,
        share,
        WANTS_SECONDS,
        moved,
    )


async def passed(connection: Connection, run_ids: Sequence[int]) -> None:
    """Write down that runs could take a call now and that another waits for them, where that is not known yet. A row
    that is being written is passed over: it is said again."""
    await connection.execute(
        """
        UPDATE run_turns SET passed_since = clock_timestamp()
         WHERE run_id IN (SELECT run_id FROM run_turns WHERE run_id = ANY ($1::bigint[]) AND passed_since IS NULL
                             FOR UPDATE SKIP LOCKED)
        """,
        run_ids,
    )


async def held_by(connection: Connection, run_id: int) -> str | None:
    """Return what a run has waited for within the last seconds; None: for nothing, as far as is known."""
    found: str | None = await connection.fetchval(
        "SELECT held_by FROM run_turns WHERE run_id = $1 AND held_until > clock_timestamp()", run_id
    )
    return found


async def held_counts(connection: Connection) -> dict[str, int]:
    """Return, for ``/metrics``, how many active runs are held back by what."""
    rows = await connection.fetch(
        """
        SELECT t.held_by, count(*) FROM run_turns t JOIN runs r ON r.id = t.run_id
         WHERE t.held_until > clock_timestamp() AND r.state = 'active' GROUP BY t.held_by
        """
    )
    return {row["held_by"]: row["count"] for row in rows}
