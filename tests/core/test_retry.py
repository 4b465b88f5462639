from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.core.model import Disposition, DoneReason
from outdial.core.retry import Finish, PutBack, TryAgain, after_attempt
from runs import RULES as PLAIN

RULES = replace(PLAIN, max_attempts=3, retry_seconds=600)
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
D = Disposition

FINAL = {
    D.ANSWERED_HUMAN: DoneReason.REACHED,
    D.ANSWERED_MACHINE: DoneReason.REACHED,
    D.ABANDONED: DoneReason.REACHED,
    D.INVALID_NUMBER: DoneReason.INVALID_NUMBER,
    D.UNKNOWN: DoneReason.UNKNOWN,
}
AGAIN = set(Disposition) - set(FINAL)


def after(disposition, *, count=1, sent=True, stopping=False):
    return after_attempt(disposition, sent=sent, attempts_count=count, rules=RULES, run_stopping=stopping)


@pytest.mark.parametrize("disposition", FINAL)
@pytest.mark.parametrize("stopping", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_some_endings_are_final(disposition, stopping, count):
    assert after(disposition, count=count, stopping=stopping) == Finish(FINAL[disposition])


@pytest.mark.parametrize("disposition", sorted(AGAIN))
def test_the_others_are_tried_again_after_the_period_while_attempts_are_left(disposition):
    assert after(disposition, count=2) == TryAgain(600)
    assert after(disposition, count=3) == Finish(DoneReason.ATTEMPTS_USED)


@pytest.mark.parametrize("disposition", sorted(AGAIN))
def test_a_stopping_run_tries_nothing_again(disposition):
    reason = DoneReason.STOPPED if disposition is D.CANCELLED else DoneReason.RETRY_CANCELLED
    assert after(disposition, stopping=True) == Finish(reason)


@given(disposition=st.sampled_from(list(Disposition)), count=st.integers(0, 9), stopping=st.booleans())
def test_what_was_never_sent_is_put_back(disposition, count, stopping):
    assert after(disposition, count=count, sent=False, stopping=stopping) == PutBack()


@given(disposition=st.sampled_from(list(Disposition)), count=st.integers(1, 9), stopping=st.booleans())
def test_nobody_is_tried_more_often_than_allowed(disposition, count, stopping):
    if isinstance(after(disposition, count=count, stopping=stopping), TryAgain):
        assert count < RULES.max_attempts
        assert not stopping
        assert disposition is not D.UNKNOWN
