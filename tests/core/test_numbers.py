"""Which number of a contact is dialed next: a ring, in which nothing that may not be dialed comes first."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.core.numbers import MOST_NUMBERS, Number, after, dialed

PHONES = ("+15550100001", "+15550100002", "+15550100003")
A, B, C = PHONES


@pytest.mark.parametrize(
    ("phone", "invalid", "found"),
    [
        (A, (), B),
        (B, (), C),
        (C, (), A),
        (A, (B,), C),
        (A, (A,), B),
        (A, (B, C), None),
        (C, (A,), B),
    ],
)
def test_the_next_one_of_the_ring_that_somebody_has(phone, invalid, found):
    assert after(PHONES, phone, invalid) == found


def test_one_number_has_none_after_it():
    assert after((A,), A) is None


rings = st.lists(st.integers(0, 8), min_size=1, max_size=MOST_NUMBERS, unique=True).map(
    lambda found: [f"+1555010{number:04}" for number in found]
)


@st.composite
def standings(draw):
    """The numbers of a contact as they stand, and the one that comes next."""
    phones = draw(rings)
    numbers = tuple(Number(phone, *draw(st.tuples(*[st.booleans()] * 3))) for phone in phones)
    return numbers, draw(st.sampled_from(phones))


@given(phones=rings, data=st.data())
def test_turning_comes_to_each_number_once_before_one_a_second_time(phones, data):
    invalid = data.draw(st.sets(st.sampled_from(phones)))
    first = data.draw(st.sampled_from(phones))
    seen, phone = [], first
    while (phone := after(phones, phone, invalid)) is not None and phone not in seen:
        seen.append(phone)
    assert set(seen) - {first} == set(phones) - invalid - {first}
    assert first not in seen or first not in invalid


@given(standing=standings())
def test_what_may_not_be_dialed_is_passed_over_while_another_may(standing):
    numbers, phone = standing
    found = dialed(numbers, phone)
    free = [one.phone for one in numbers if not (one.is_listed or one.is_invalid)]
    assert (found.phone in free) if free else (found.is_listed or found.is_invalid)
    # one that is listed is denied for that: that nobody has another says nothing of it
    assert free or found.is_listed or not any(one.is_listed for one in numbers)
    if phone in free:
        assert found.phone == phone


@given(standing=standings())
def test_of_those_that_may_it_is_the_first_after_it(standing):
    numbers, phone = standing
    phones = [one.phone for one in numbers]
    barred = {one.phone for one in numbers if one.is_listed or one.is_invalid}
    found = dialed(numbers, phone)
    if phone in barred and barred < set(phones):
        assert found.phone == after(phones, phone, barred)


def test_a_number_that_is_none_of_them_is_refused():
    with pytest.raises(ValueError, match="not in list"):
        dialed([Number(A)], B)


@given(standing=standings(), data=st.data())
def test_where_a_list_means_the_person_no_other_number_is_dialed(standing, data):
    numbers, phone = standing
    meant = data.draw(st.sampled_from(numbers)).phone
    told = tuple(replace(one, on_account_dnc=True, is_of_person=True) if one.phone == meant else one for one in numbers)
    assert dialed(told, phone).phone == meant
