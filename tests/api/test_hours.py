"""Times of day as the wire writes them."""

from __future__ import annotations

from datetime import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.api.kore.hours import parse_end, parse_start, write_time


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("9:00 AM", time(9)),
        ("09:05 am", time(9, 5)),
        ("12:00 AM", time(0)),
        ("12:30 AM", time(0, 30)),
        ("12:00 PM", time(12)),
        ("1:59 PM", time(13, 59)),
        ("11:59 PM", time(23, 59)),
        ("6:00PM", time(18)),
    ],
)
def test_starts(text, meant):
    assert parse_start(text) == meant


@pytest.mark.parametrize("text", ["11:59 PM", "12:00 AM"])
def test_the_end_of_the_day_is_midnight(text):
    assert parse_end(text) == time.max


@pytest.mark.parametrize(
    ("text", "meant"), [("6:00 PM", time(18)), ("12:01 AM", time(0, 1)), ("11:58 PM", time(23, 58))]
)
def test_other_ends_are_what_they_say(text, meant):
    assert parse_end(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        "13:00 PM",
        "0:30 AM",
        "9:60 AM",
        "9:0 AM",
        "9 AM",
        "09:00",
        "9:00 XM",
        " 9:00 AM",
        "9:00  AM",
        "９:00 AM",
        "9:00 AM\n",
        "",
        None,
        9,
        [],
        True,
    ],
    ids=repr,
)
def test_nonsense_is_refused_with_an_example(text):
    for parse in (parse_start, parse_end):
        with pytest.raises(ValueError, match="must be a time like '9:00 AM'"):
            parse(text)


@given(st.integers(0, 23), st.integers(0, 59))
def test_writing_and_reading_agree(hour, minute):
    assert parse_start(write_time(time(hour, minute))) == time(hour, minute)


def test_the_end_of_the_day_is_written_as_clients_write_it():
    assert write_time(time.max) == "11:59 PM"
