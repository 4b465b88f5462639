"""The demo's phones: every kind of the loopback carrier, mixed, and nobody's."""

from __future__ import annotations

import csv
from collections import Counter

import pytest

from outdial.demo import people
from outdial.telephony import loopback


def kinds(phones):
    return Counter(loopback.rule_of(phone).phone for phone in phones)


def test_three_hundred_hold_each_pair_of_last_digits_three_times():
    assert set(Counter(phone[-2:] for phone in people.phones(300)).values()) == {3}


@pytest.mark.parametrize("count", [25, 60, 300])
def test_even_few_hold_most_kinds(count):
    found = kinds(people.phones(count))
    assert {loopback.Phone.LISTENS, loopback.Phone.MACHINE, loopback.Phone.BUSY, loopback.Phone.RINGS} <= set(found)
    assert found[loopback.Phone.LISTENS] > count / 2 * 0.9


def test_neighbours_differ_so_that_the_picture_is_lively_from_the_start():
    first = [loopback.rule_of(phone).phone for phone in people.phones(12)]
    assert len(set(first)) >= 4


@pytest.mark.parametrize("count", [1, 300, people.MOST])
def test_no_number_comes_twice_and_all_are_e164_of_the_fictional_area(count):
    phones = people.phones(count)
    assert len(set(phones)) == count
    assert all(phone.startswith("+155501") for phone in phones)
    assert {len(phone) for phone in phones} == {12}


def test_the_caller_id_is_none_of_them():
    assert people.CALLER_ID not in people.phones(people.MOST)


def test_the_file_is_what_an_import_reads(tmp_path):
    people.write_csv(tmp_path / "people.csv", 3)
    with (tmp_path / "people.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["Phone Number"] for row in rows] == people.phones(3)
    assert rows[0]["Unique Identifier"] == "demo-1"
