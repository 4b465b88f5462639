"""The state machine of imports, and adding up lots."""

from __future__ import annotations

import pytest

from outdial.core.contact_import import IMPORT_MOVES, ImportAction, ImportProgress, ImportState, move
from outdial.core.errors import IllegalMoveError

ENDS = {ImportState.DONE, ImportState.FAILED, ImportState.CANCELLED}


@pytest.mark.parametrize("state", ImportState)
@pytest.mark.parametrize("action", ImportAction)
def test_what_is_not_in_the_table_is_an_error(state, action):
    if (state, action) in IMPORT_MOVES:
        assert move(state, action) is IMPORT_MOVES[state, action]
        return
    with pytest.raises(IllegalMoveError, match=f"An import that is {state} cannot do: {action}"):
        move(state, action)


def test_nothing_leaves_an_end_and_every_state_can_be_reached():
    assert {before for before, _ in IMPORT_MOVES} == set(ImportState) - ENDS
    assert set(IMPORT_MOVES.values()) | {ImportState.RECEIVING} == set(ImportState)


def test_a_refusal_names_what_is_possible():
    with pytest.raises(IllegalMoveError, match="Possible: finish_upload, cancel"):
        move(ImportState.RECEIVING, ImportAction.COMPLETE)
    with pytest.raises(IllegalMoveError, match="nothing any more"):
        move(ImportState.DONE, ImportAction.CANCEL)


def test_progress_adds_counts_and_takes_the_latest_position():
    first = ImportProgress(rows=5, added=1, duplicates=1, bad=1, beyond=2, on_dnc=1, position=10, size=99)
    second = ImportProgress(rows=2, added=2, position=20, size=99)
    assert first.plus(second) == ImportProgress(
        rows=7, added=3, duplicates=1, bad=1, beyond=2, on_dnc=1, position=20, size=99
    )
