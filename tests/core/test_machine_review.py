"""Which verdicts are kept for review, and what reviews say of the detector."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.core.machine import MachineVerdict, Share, wilson
from outdial.core.machine_review import (
    NO_REVIEW,
    Z_JOINT,
    Reviewed,
    ReviewShares,
    ReviewTable,
    is_kept,
    is_recorded,
    review_table,
)

V = MachineVerdict
LUCK = st.floats(0, 1, exclude_max=True)
PERCENT = st.floats(0, 100)


def test_unless_told_nothing_is_ever_recorded():
    assert not is_recorded(NO_REVIEW, 0.0)
    assert not any(is_kept(NO_REVIEW, verdict, 0.0) for verdict in V)


@pytest.mark.parametrize("verdict", V)
def test_all_of_them(verdict):
    shares = ReviewShares(machines=100, people=100)
    assert is_kept(shares, verdict, 1 - 2**-53)


@given(machines=PERCENT, people=PERCENT, drawn=LUCK, verdict=st.sampled_from(V))
def test_only_what_is_recorded_is_kept(machines, people, drawn, verdict):
    """Who has answered is not known when the recording must begin."""
    shares = ReviewShares(machines, people)
    if is_kept(shares, verdict, drawn):
        assert is_recorded(shares, drawn)


@pytest.mark.parametrize(("verdict", "share"), [(verdict, 0.5 if verdict is V.MACHINE else 0.02) for verdict in V])
def test_each_kind_of_verdict_is_kept_by_its_own_share(verdict, share):
    shares = ReviewShares(machines=50, people=2)
    kept = sum(is_kept(shares, verdict, place / 10_000) for place in range(10_000))
    assert kept == share * 10_000
    assert sum(is_recorded(shares, place / 10_000) for place in range(10_000)) == 5_000


def row(verdict, found, person, machine, unclear=0, kept=None) -> Reviewed:
    return Reviewed(verdict, found, kept or person + machine + unclear, 0, person, machine, unclear)


def table(*rows: Reviewed) -> ReviewTable:
    return review_table({one.verdict: one for one in rows})


def test_a_row_knows_what_waits():
    assert row(V.HUMAN, 1000, 7, 2, 1, kept=14).waiting == 4


def test_every_verdict_has_a_row():
    made = table(row(V.MACHINE, 9, 1, 2))
    assert [one.verdict for one in made.rows] == list(V)
    assert asdict(made.rows[0]) == {
        **dict.fromkeys(("found", "kept", "unrecorded", "person", "machine", "unclear"), 0),
        "verdict": V.HUMAN,
    }


def test_what_was_unclear_says_nothing():
    made = table(row(V.MACHINE, 100, 2, 18, unclear=80))
    assert made.machines_wrong == wilson(2, 20)


def test_whatever_is_no_machine_was_treated_as_a_person():
    made = table(row(V.HUMAN, 70, 40, 1), row(V.NO_SPEECH, 20, 5, 2), row(V.NOT_SURE, 9, 1, 1), row(V.FAILED, 1, 0, 0))
    assert made.people_wrong == wilson(4, 50)
    assert made.machines_wrong is None


def test_all_people_are_weighed_by_how_many_there_were():
    """1,000 calls taken for machines, of which one in ten was a person's; 9,000 treated as people's, and four in five
    were: 100 of 7,300 people were hung up on, and 1,800 of 2,700 machines heard what people hear."""
    made = table(row(V.MACHINE, 1000, 20, 180), row(V.HUMAN, 9000, 80, 20))
    assert made.people_taken.value == pytest.approx(100 / 7300)
    assert made.machines_taken.value == pytest.approx(1800 / 2700)
    wrong, right = wilson(20, 200, z=Z_JOINT), wilson(20, 100, z=Z_JOINT)
    assert made.people_taken.low == pytest.approx(1000 * wrong.low / (1000 * wrong.low + 9000 * (1 - right.low)))
    assert made.people_taken.high == pytest.approx(1000 * wrong.high / (1000 * wrong.high + 9000 * (1 - right.high)))


def test_a_kind_that_nobody_reviewed_leaves_the_whole_unknown():
    made = table(row(V.MACHINE, 1000, 20, 180), row(V.HUMAN, 9000, 0, 0, unclear=4))
    assert (made.people_taken, made.machines_taken, made.people_wrong) == (None, None, None)
    assert made.machines_wrong is not None


def test_a_kind_that_never_came_does_not():
    made = table(row(V.MACHINE, 10, 1, 9))
    assert made.people_taken == Share(1.0, 1.0, 1.0), "every person was taken for a machine"
    assert made.machines_taken == Share(0.0, 0.0, 0.0)


def test_nothing_at_all():
    made = table()
    assert (made.machines_wrong, made.people_wrong, made.people_taken, made.machines_taken) == (None, None, None, None)


counted = st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(0, 5000))


@given(counted, counted)
def test_each_interval_holds_its_share(first, second):
    made = table(row(V.MACHINE, sum(first), first[0], first[1]), row(V.NOT_SURE, sum(second), second[0], second[1]))
    for share in (made.machines_wrong, made.people_wrong, made.people_taken, made.machines_taken):
        if share is not None:
            assert 0.0 <= share.low <= share.value <= share.high <= 1.0


@given(counted, counted)
def test_the_joint_interval_is_no_narrower_than_either_half_alone(first, second):
    made = table(row(V.MACHINE, sum(first), first[0], first[1]), row(V.HUMAN, sum(second), second[0], second[1]))
    if made.people_taken is not None and made.people_wrong is not None and made.machines_wrong is not None:
        low, high = made.machines_wrong.low, made.machines_wrong.high
        people = sum(second) * (1 - made.people_wrong.value)
        if people and low:
            assert made.people_taken.low <= sum(first) * low / (sum(first) * low + people) + 1e-9
            assert made.people_taken.high >= sum(first) * high / (sum(first) * high + people) - 1e-9
