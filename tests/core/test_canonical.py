"""Canonical JSON: the vectors of RFC 8785, and what must be refused."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.core.canonical import DEEPEST, NotJsonError, canonical, instant, joined, read, read_instant

FRACTIONS = st.floats(min_value=-(2**53), max_value=2**53)
"""Beyond, whole numbers are written as such, and read back exactly instead of as the fraction they were."""

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FRACTIONS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)

# RFC 8785, appendix B
NUMBERS = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]


@pytest.mark.parametrize(("bits", "text"), NUMBERS)
def test_numbers_are_written_as_the_rfc_says(bits, text):
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical(number).decode() == text


def test_keys_are_sorted_by_their_utf_16_and_strings_escaped_as_the_rfc_says():
    # RFC 8785, 3.2.3: an emoji comes before U+FB33, which has a smaller number
    keys = {"€": 1, "\r": 2, "\ufb33": 3, "1": 4, "😂": 5, "\u0080": 6, "ö": 7}
    assert canonical(keys).decode() == '{"\\r":2,"1":4,"\u0080":6,"ö":7,"€":1,"😂":5,"\ufb33":3}'
    assert canonical('€$\x0f\nA\'B"\\\\"/\x7f').decode() == '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/\x7f"'
    assert canonical({"b": [1.0, 2.5, True, None], "a": {}}) == b'{"a":{},"b":[1,2.5,true,null]}'


@given(st.dictionaries(st.text(), VALUES))
def test_an_object_is_joined_of_its_members(value):
    assert joined({name: canonical(member) for name, member in value.items()}) == canonical(value)


@given(VALUES)
def test_what_is_written_reads_back_and_is_written_the_same(value):
    try:
        text = canonical(value)
    except NotJsonError:
        # half a character, which no file can hold
        assert "\\ud" in json.dumps(value)
        return
    assert read(text) == value
    assert canonical(read(text)) == text
    # and as another encoder has it, but for the numbers
    assert json.loads(text) == json.loads(json.dumps(value))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_no_digit_of_a_number_is_lost(number):
    assert float(canonical(number)) == number


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"nul",
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e999",
        b"\xff",
        b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1),
        b"[" * 100_000,
        b"1" * 5000,
    ],
)
def test_what_two_readers_could_read_differently_is_not_read(text):
    with pytest.raises(NotJsonError):
        read(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", object(), {"a": b""}])
def test_what_no_file_can_hold_is_not_written(value):
    with pytest.raises(NotJsonError):
        canonical(value)


def test_instants_are_text_in_utc_with_microseconds():
    at = datetime(2026, 3, 1, 11, 15, 0, 250, tzinfo=timezone(timedelta(hours=1)))
    assert instant(at) == "2026-03-01T10:15:00.000250Z"
    assert read_instant("2026-03-01T10:15:00.000250Z") == at


@given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 1)))
def test_instants_read_back(at):
    assert read_instant(instant(at)) == at


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-03-01",
        "2026-03-01T10:15:00Z",
        "2026-03-01T10:15:00.000250",
        "2026-03-01T10:15:00.000250+00:00",
        "2026-03-01T11:15:00.000250+01:00",
        "2026-03-01T10:15:00.0002501Z",
    ],
)
def test_an_instant_is_written_in_one_way_only(text):
    with pytest.raises(NotJsonError):
        read_instant(text)
