"""A run in full swing, as the database tells it."""

from __future__ import annotations

from datetime import UTC, datetime

from outdial.core.model import AttemptState, Disposition, RunContactState
from outdial.services.runs import RunProgress
from values import RUN

AT = datetime(2026, 3, 1, tzinfo=UTC)
PROGRESS = RunProgress(
    run=RUN,
    contacts={RunContactState.DONE: 40, RunContactState.WAITING: 9, RunContactState.PENDING: 51},
    done={},
    dispositions={
        Disposition.ANSWERED_HUMAN: 30,
        Disposition.BUSY: 6,
        Disposition.NO_ANSWER: 4,
        Disposition.CANCELLED: 1,
        Disposition.REJECTED: 2,
        Disposition.INVALID_NUMBER: 3,
    },
    live={AttemptState.DIALING: 2, AttemptState.RINGING: 5, AttemptState.ANSWERED: 8},
    placed=61,
    answered=38,
)
