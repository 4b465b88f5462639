"""A run in full swing, as the database tells it."""

from __future__ import annotations

from datetime import UTC, datetime

from outdial.core.model import AttemptState, Disposition, Run, RunContactState, RunState
from outdial.services.runs import RunProgress

AT = datetime(2026, 3, 1, tzinfo=UTC)
RUN = Run(
    id=1,
    instance_id="cid-1",
    campaign_id="cd-1",
    account_id="a",
    iid="st-1",
    state=RunState.ACTIVE,
    epoch=1,
    rules=None,
    trunk_id="tr-1",
    flow_id=None,
    max_concurrent_calls=None,
    calls_per_second=None,
    started_at=AT,
    updated_at=AT,
    ended_at=None,
    loaded=True,
)
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
