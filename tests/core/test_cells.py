"""Cells that spreadsheets leave alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.core.cells import safe_cell
from outdial.core.phone import parse_phone


@pytest.mark.parametrize("text", ["=1+1", "+15550100001", "-1", "@SUM(A1)", "\t=1", "\r=1", "=", "=cmd|'/c calc'!A0"])
def test_what_would_be_a_formula_gets_an_apostrophe(text):
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a", "1+1", " =1", "'=1", "ä", "15550100001", "\n=1"])
def test_all_else_stays(text):
    assert safe_cell(text) == text


@given(st.text())
def test_nothing_is_lost(text):
    cell = safe_cell(text)
    assert cell.removeprefix("'") == text.removeprefix("'")
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_numbers_are_read_back():
    assert parse_phone(safe_cell("+15550100001")) == "+15550100001"
