from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from outdial.core.campaign import (
    RAISES_EPOCH,
    RUN_MOVES,
    RunAction,
    allowed_actions,
    move,
    states_shown_as,
    wire_status,
)
from outdial.core.errors import IllegalMoveError
from outdial.core.model import LIVE_RUN_STATES, CampaignState, RunState
from values import RUN

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("state", RunState)
@pytest.mark.parametrize("action", RunAction)
def test_every_pair_moves_or_is_refused_with_what_is_possible(state, action):
    if (state, action) in RUN_MOVES:
        assert move(state, action) is RUN_MOVES[state, action]
        assert action in allowed_actions(state)
        return
    with pytest.raises(IllegalMoveError) as caught:
        move(state, action)
    assert str(state) in caught.value.message
    for possible in allowed_actions(state) or ("nothing",):
        assert possible in caught.value.message
    assert (caught.value.status, caught.value.code) == (409, "illegal_move")


def test_only_stopped_follows_stopping():
    assert allowed_actions(RunState.STOPPING) == (RunAction.CONFIRM_STOPPED,)
    assert {after for (before, _), after in RUN_MOVES.items() if before is RunState.STOPPING} == {RunState.STOPPED}


def test_what_has_ended_never_moves():
    for state in set(RunState) - LIVE_RUN_STATES:
        assert allowed_actions(state) == ()


def test_active_is_only_entered_at_a_new_epoch():
    entering = {action for (_, action), after in RUN_MOVES.items() if after is RunState.ACTIVE}
    assert entering <= RAISES_EPOCH


def test_active_is_only_left_for_a_state_without_permits_at_a_new_epoch_or_at_the_end():
    leaving = {action for (before, action) in RUN_MOVES if before is RunState.ACTIVE}
    assert leaving - RAISES_EPOCH == {RunAction.COMPLETE}


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (RunState.ACTIVE, "Active"),
        (RunState.PAUSED, "Paused"),
        (RunState.STOPPING, "Active"),
        (RunState.STOPPED, "Stopped"),
        (RunState.COMPLETED, "Completed"),
    ],
)
def test_the_wire_calls_a_campaign_what_its_latest_run_is(state, word):
    assert wire_status(CampaignState.READY, replace(RUN, state=state)) == word


@pytest.mark.parametrize(("state", "word"), [(CampaignState.READY, "Ready"), (CampaignState.PREPARING, "Preparing")])
def test_the_wire_calls_a_campaign_that_never_ran_by_its_own_state(state, word):
    assert wire_status(state, None) == word


def test_each_state_is_found_again_by_what_the_wire_shows():
    for state in RunState:
        assert state in states_shown_as(wire_status(CampaignState.READY, replace(RUN, state=state)))
    for own in CampaignState:
        assert states_shown_as(wire_status(own, None)) == {own}
    assert states_shown_as("Active") == {RunState.ACTIVE, RunState.STOPPING}
    assert states_shown_as("Rescheduled") == frozenset()
