"""What the gate holds for every contact of a run, put together in one way for all who ask it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from outdial import rule_data
from outdial.core.attempt_limits import AttemptLimit
from outdial.core.model import Run
from outdial.core.screening import Policy


def policy_of(run: Run, limits: Sequence[AttemptLimit], at: datetime) -> Policy:
    """Return a run's policy around an instant, with the data its calling hours need then. It raises nothing: what
    cannot be read closes."""
    timetable = rule_data.timetable(run.rules.calling_hours, at)
    return Policy(run.rules, tuple(limits), timetable=timetable, since=run.updated_at)
