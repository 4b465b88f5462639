"""Shared field checks: every problem in one sentence that names the field."""

from __future__ import annotations

import pytest

from outdial.core.errors import InvalidInputError
from outdial.services import fields


@pytest.mark.parametrize("name", ["a", "x" * 48, "Ärzte & Söhne", "日本", "👩‍👩‍👧", " spaced "])
def test_names_that_are_fine(name):
    assert fields.name_problems("name", name) == []


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "must not be empty"),
        (" \t", "must not be empty"),
        ("x" * 49, "has 49 characters; at most 48"),
        ("a\nb", "line break"),
        ("a\x00b", "cannot be shown"),
        ("a\ud800", "cannot be shown"),
    ],
)
def test_names_that_are_not(name, sentence):
    (problem,) = fields.name_problems("listName", name)
    assert problem.startswith("`listName` ")
    assert sentence in problem


def test_one_name_can_be_wrong_twice():
    assert len(fields.name_problems("name", "x\n" * 40)) == 2


def test_descriptions_may_be_empty_and_have_lines():
    assert fields.description_problems("description", "") == []
    assert fields.description_problems("description", "a\nb\t" + "x" * 252) == []
    assert fields.description_problems("description", "x" * 257) == [
        "`description` has 257 characters; at most 256 are allowed."
    ]
    assert "cannot be stored" in fields.description_problems("description", "\x00")[0]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "::1", "2001:db8::1", "sip.example.com", "sip.example.com.", "pbx", "a_b.example", "xn--9ca.de"],
)
def test_hosts(host):
    assert fields.host_problems("host", host) == []


@pytest.mark.parametrize(
    "host",
    ["", " ", "sip:example.com", "example.com:5060", "999.1.1.1", "1.2.3", "-a.example", "a..b", "é.de", "x" * 64],
)
def test_what_is_no_host(host):
    assert len(fields.host_problems("host", host)) == 1


@pytest.mark.parametrize("value", [0, 101, float("nan"), float("inf")])
def test_numbers_out_of_range(value):
    assert fields.range_problems("priority", 1, least=1, most=100) == []
    assert len(fields.range_problems("priority", value, least=1, most=100)) == 1


def test_all_problems_are_raised_at_once():
    fields.require([])
    with pytest.raises(InvalidInputError) as refused:
        fields.require(["one.", "two."])
    assert refused.value.messages == ("one.", "two.")
