"""What a rule pack's document must be; every fault is named with its place."""

from __future__ import annotations

import copy
from datetime import date, time

import pytest

from outdial.core.model import CallingWindow
from outdial.core.rule_packs import concerns, parse_clock, parse_days, problems_of, read_pack

GOOD = {
    "schema": 1,
    "name": "test",
    "version": "2026-11",
    "title": "A test",
    "checked": date(2026, 11, 26),
    "notice": "No legal advice.",
    "rules": [
        {
            "code": "us_fl_hours",
            "places": ["US-FL"],
            "title": "Florida",
            "source": "Fla. Stat. 501.616(6)(a)",
            "checked": date(2026, 11, 26),
            "confirmed": True,
            "windows": [{"days": "mo-su", "from": "08:00", "to": "20:00"}],
            "holidays": ["US", "US-FL"],
            "dates": {"12-24": "Christmas Eve"},
        }
    ],
    "zones": {"US-FL": ["America/New_York"]},
    "prefixes": {"US-FL": ["+1305"]},
}


def changed(path: str, value: object) -> dict:
    """The document with one thing changed; ``...`` takes it away."""
    made = copy.deepcopy(GOOD)
    at, *rest = made, *path.split("/")
    for key in rest[:-1]:
        at = at[int(key)] if isinstance(at, list) else at[key]
    if value is ...:
        del at[rest[-1]]
    else:
        at[rest[-1]] = value
    return made


def test_a_good_one_is_read():
    pack = read_pack(GOOD)
    assert pack.full_name == "test@2026-11"
    (rule,) = pack.rules
    assert rule.windows == tuple(CallingWindow(day, time(8), time(20)) for day in range(7))
    assert pack.prefixes == {"+1305": ("US-FL",)}
    assert pack.calendars() == {"US", "US-FL"}
    assert pack.covers("US-FL")
    assert pack.covers("US")
    assert not pack.covers("US-GA")


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("schema", 2, "`schema` must be 1, not 2."),
        ("name", "US!", "`name` must not be 'US!'."),
        ("version", "2026", "`version` must not be '2026'."),
        ("notice", ..., "`notice` must be text."),
        ("checked", "2026-11-26", "`checked` must be a date like 2026-11-26."),
        ("rules", [], "`rules` must hold at least one rule"),
        ("rules", 7, "`rules` must be a list."),
        ("rules", ["x"], "`rules[0]` must be a table."),
        ("sources", 1, "the pack has `sources`, which means nothing."),
        ("rules/0/source", " ", "`rules[0].source` must be text."),
        ("rules/0/confirmed", ..., "`rules[0].confirmed` must be true or false."),
        ("rules/0/checked", ..., "`rules[0].checked` must be a date"),
        ("rules/0/code", "FL", "`rules[0].code` must not be 'FL'."),
        ("rules/0/places", [], "`rules[0].places` must hold at least one place."),
        ("rules/0/places", ["Florida"], "`rules[0].places` has 'Florida'"),
        ("rules/0/places", ["US-GA"], "`rules[0].places` has 'US-GA', of which `zones` has nothing."),
        ("rules/0/windows", ..., "`rules[0].windows` is missing"),
        ("rules/0/windows", [7], "`rules[0].windows[0]` must be a table with days, from and to."),
        ("rules/0/windows/0/days", "monday", "`rules[0].windows[0].days` must be like 'mo-fr'"),
        ("rules/0/windows/0/to", "20", "`rules[0].windows[0].to` must be a time like '08:00', not '20'."),
        ("rules/0/windows/0/to", "08:00", "`rules[0].windows[0]` ends at 08:00, which is not after its start"),
        ("rules/0/windows/0/until", "x", "`rules[0].windows[0]` has `until`, which means nothing."),
        ("rules/0/holidays", ["usa"], "`rules[0].holidays` has 'usa'"),
        ("rules/0/dates", {"13-01": "x"}, "`rules[0].dates` has '13-01'"),
        ("zones/US-FL", ["Mars/Olympus"], "`zones.US-FL` has 'Mars/Olympus', which is no IANA zone."),
        ("zones/Florida", [], "`zones` has 'Florida', which is no place"),
        ("prefixes/US-FL", ["305"], "`prefixes.US-FL` has '305', which is no prefix like +1305."),
        ("prefixes/US-GA", ["+1404"], "`prefixes.US-GA` is a place that `zones` does not have."),
    ],
)
def test_each_fault_is_named(path, value, sentence):
    problems = problems_of(changed(path, value))
    assert any(problem.startswith(sentence) for problem in problems), problems
    with pytest.raises(ValueError, match=r"\."):
        read_pack(changed(path, value))


def test_a_good_one_has_no_fault():
    assert problems_of(GOOD) == []


def test_a_pack_holds_what_it_includes_and_no_code_twice():
    base = read_pack(GOOD)
    more = changed("rules/0/code", "us_ga_hours")
    made = read_pack({**more, "includes": ["test@2026-11"]}, included=[base])
    assert [rule.code for rule in made.rules] == ["us_ga_hours", "us_fl_hours"]
    with pytest.raises(ValueError, match="twice: us_fl_hours"):
        read_pack(GOOD, included=[base])


@pytest.mark.parametrize(
    ("text", "days"),
    [("mo-fr", (0, 1, 2, 3, 4)), ("sa,su", (5, 6)), ("fr-mo", (0, 4, 5, 6)), ("We", (2,)), ("mo-xx", None), ("", None)],
)
def test_days(text, days):
    assert parse_days(text) == days


@pytest.mark.parametrize(
    ("text", "clock"), [("08:05", time(8, 5)), ("24:00", time.max), ("24:01", None), ("8:00", None), ("08:60", None)]
)
def test_clocks(text, clock):
    assert parse_clock(text) == clock


@pytest.mark.parametrize(
    ("ruled", "place", "expected"),
    [
        ("US", "US", True),
        ("US", "US-FL", True),
        ("US-FL", "US", True),
        ("US-FL", "US-GA", False),
        ("US-F", "US-FL", False),
        ("DE", "US", False),
    ],
)
def test_whom_a_rule_concerns(ruled, place, expected):
    assert concerns(ruled, place) is expected
