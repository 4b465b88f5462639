"""What commands print: JSON without secrets, times with their zone, tables that cut nothing off."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import values
from outdial.cli import output
from outdial.core.model import EngineKind, NumberFormat, Transport

TRUNK = replace(
    values.TRUNK,
    name="Main",
    host="sip.example.net",
    port=0,
    transport=Transport.TLS,
    username="acme",
    password="hush",
    number_format=NumberFormat.E164,
    number_prefix="9",
    caller_ids=("+15550100001",),
    max_channels=3,
    calls_per_second=0.5,
)


@pytest.fixture
def in_paris(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Paris")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_dataclass_becomes_an_object_with_camel_case_keys_and_no_secret(capsys):
    output.print_json(TRUNK)
    text = capsys.readouterr().out
    assert "hush" not in text
    assert text.endswith("}\n")
    assert text.count("\n") == 1
    shown = json.loads(text)
    assert shown["callerIds"] == ["+15550100001"]
    assert (shown["transport"], shown["numberFormat"], shown["fromDomain"]) == ("tls", "e164", None)
    assert "password" not in shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(2026, 3, 1, 10, 0, 0, 123_456, tzinfo=UTC), "2026-03-01T10:00:00.123Z"),
        (datetime(2026, 3, 1, 9, 30, tzinfo=UTC).time(), "09:30"),
        (EngineKind.SIMULATED, "simulated"),
        ({EngineKind.ASTERISK: 2}, {"asterisk": 2}),
        (Path("/var/lib"), "/var/lib"),
        (frozenset({"a"}), ["a"]),
        ([1, 2.5, True, None, "é"], [1, 2.5, True, None, "é"]),
    ],
)
def test_every_kind_of_value(value, expected):
    assert output.plain(value) == expected


def test_nested_values():
    @dataclass
    class Inner:
        some_count: int
        secret: str = field(repr=False, default="x")

    assert output.plain({"all": [Inner(1)]}) == {"all": [{"someCount": 1}]}


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (datetime(2026, 7, 1, 10, 0, tzinfo=UTC), "2026-07-01 12:00:00 CEST"),
        (datetime(2026, 1, 1, 10, 0, tzinfo=UTC), "2026-01-01 11:00:00 CET"),
        (None, "–"),
    ],
)
def test_times_say_their_zone(in_paris, at, text):
    assert output.time_text(at) == text


def test_a_table_in_a_file_is_not_cut_off(capsys):
    output.print_table(("name", "id"), [("x" * 300, "cd-" + "1" * 300)], empty="nothing")
    out = capsys.readouterr().out
    assert "x" * 300 in out
    assert "cd-" + "1" * 300 in out
    assert "\x1b" not in out


def test_names_are_not_markup(capsys):
    output.print_table(("name",), [("[bold]loud[/bold] [/nonsense]",)], empty="nothing")
    output.print_fields({"name [red]": "[/nonsense]"})
    out = capsys.readouterr().out
    assert "[bold]loud[/bold] [/nonsense]" in out
    assert "name [red]" in out


def test_an_empty_table_says_so_on_standard_error(capsys):
    output.print_table(("name",), [], empty="There is none.")
    assert capsys.readouterr() == ("", "There is none.\n")
