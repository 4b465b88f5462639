from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from outdial.core.campaign import (
    RAISES_EPOCH,
    RUN_MOVES,
    RunAction,
    Standing,
    allowed_actions,
    move,
    shown_as,
    standing,
    wire_status,
)
from outdial.core.errors import IllegalMoveError
from outdial.core.model import LIVE_RUN_STATES, CampaignSchedule, CampaignState, RunState
from outdial.core.schedule import Recurrence, Schedule
from values import CAMPAIGN, RUN

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


WORDS = {
    Standing.PREPARING: "Preparing",
    Standing.READY: "Ready",
    Standing.SCHEDULED: "Scheduled",
    Standing.ACTIVE: "Active",
    Standing.PAUSED: "Paused",
    Standing.STOPPING: "Active",
    Standing.STOPPED: "Stopped",
    Standing.COMPLETED: "Completed",
}
PLANNED = CampaignSchedule(
    schedule=Schedule(datetime(2026, 1, 1, 9), datetime(2026, 2, 1), "UTC", Recurrence.DAILY),
    enabled=True,
    version=1,
    next_at=NOW,
    ends_at=NOW,
    stopped_at=None,
    updated_at=NOW,
)
OFF = replace(PLANNED, enabled=False, next_at=None)
LAST_ONE_RAN = replace(PLANNED, next_at=None)
STOPPED = replace(OFF, stopped_at=NOW)


@pytest.mark.parametrize("state", RunState)
@pytest.mark.parametrize("schedule", [None, OFF, LAST_ONE_RAN])
def test_without_a_schedule_that_matters_a_campaign_stands_as_its_latest_run(state, schedule):
    campaign = replace(CAMPAIGN, run=replace(RUN, state=state), schedule=schedule)
    assert standing(campaign) == Standing(state)


@pytest.mark.parametrize("state", CampaignState)
@pytest.mark.parametrize("schedule", [None, OFF, LAST_ONE_RAN])
def test_one_that_never_ran_stands_by_its_own_state(state, schedule):
    assert standing(replace(CAMPAIGN, state=state, schedule=schedule)) == Standing(state)


@pytest.mark.parametrize("state", RunState)
def test_a_schedule_shows_once_no_run_is_live(state):
    campaign = replace(CAMPAIGN, run=replace(RUN, state=state), schedule=PLANNED)
    assert standing(campaign) == (Standing(state) if state in LIVE_RUN_STATES else Standing.SCHEDULED)
    assert standing(replace(CAMPAIGN, schedule=PLANNED)) is Standing.SCHEDULED


def test_a_stop_of_its_schedule_shows_until_something_is_started():
    assert standing(replace(CAMPAIGN, schedule=STOPPED)) is Standing.STOPPED
    completed = replace(RUN, state=RunState.COMPLETED)
    assert standing(replace(CAMPAIGN, run=completed, schedule=STOPPED)) is Standing.STOPPED
    stopping = replace(RUN, state=RunState.STOPPING)
    assert standing(replace(CAMPAIGN, run=stopping, schedule=STOPPED)) is Standing.STOPPING


def test_the_wire_has_a_word_for_each_and_finds_each_by_it():
    seen = set()
    for state in RunState:
        for schedule in (None, PLANNED, STOPPED):
            campaign = replace(CAMPAIGN, run=replace(RUN, state=state), schedule=schedule)
            seen.add(standing(campaign))
            assert wire_status(campaign) == WORDS[standing(campaign)]
    assert seen | {Standing.PREPARING, Standing.READY} == set(Standing)
    for one, word in WORDS.items():
        assert one in shown_as(word)
    assert shown_as("Active") == {Standing.ACTIVE, Standing.STOPPING}
    assert shown_as("Rescheduled") == frozenset()
