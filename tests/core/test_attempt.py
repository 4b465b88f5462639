from __future__ import annotations

import pytest

from outdial.core.attempt import ATTEMPT_MOVES, RUN_CONTACT_MOVES, may_move
from outdial.core.model import LIVE_ATTEMPT_STATES, AttemptState, RunContactState


@pytest.mark.parametrize(("table", "states"), [(ATTEMPT_MOVES, AttemptState), (RUN_CONTACT_MOVES, RunContactState)])
def test_every_state_has_its_row(table, states):
    assert set(table) == set(states)
    for after in table.values():
        assert after <= set(states)


def test_an_attempt_only_goes_forward():
    order = list(AttemptState)
    for before, after in ATTEMPT_MOVES.items():
        assert all(order.index(state) > order.index(before) for state in after)


def test_an_attempt_that_has_ended_stays_so():
    for state in set(AttemptState) - LIVE_ATTEMPT_STATES:
        assert ATTEMPT_MOVES[state] == frozenset()


def test_an_unknown_attempt_is_never_live_again():
    assert not any(may_move(AttemptState.UNKNOWN, state) for state in LIVE_ATTEMPT_STATES)


def test_a_contact_that_is_done_stays_so_unless_it_asks_to_be_called():
    assert [state for state in RunContactState if may_move(RunContactState.DONE, state)] == [RunContactState.WAITING]


def test_a_contact_is_dialed_only_when_claimed():
    assert [state for state in RunContactState if may_move(state, RunContactState.DIALING)] == [RunContactState.CLAIMED]


def test_every_state_but_the_first_can_be_reached():
    for table, first in ((ATTEMPT_MOVES, AttemptState.RESERVED), (RUN_CONTACT_MOVES, RunContactState.PENDING)):
        reached, todo = {first}, [first]
        while todo:
            for state in table[todo.pop()] - reached:
                reached.add(state)
                todo.append(state)
        assert reached == set(table)
