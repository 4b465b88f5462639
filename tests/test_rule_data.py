"""The rule packs that come with outdial, the page that explains them, and the data beside them."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path

import pytest

from outdial import rule_data
from outdial.core.calling_hours import opening
from outdial.core.errors import RulePackError
from outdial.core.model import CallingHours, CallingWindow
from outdial.core.phone import zones_of
from outdial.core.whereabouts import whereabouts

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "reference" / "rule-packs.md").read_text()
FOLDER = ROOT / "src" / "outdial" / "rule_data" / "packs"
ALWAYS = CallingHours(tuple(CallingWindow(day, time(0), time.max) for day in range(7)), "UTC")
EXAMPLES = re.findall(
    r"^\| ([a-z]+) \| (\+\d+) \| (–|state \S+|zone \S+) \| (\S+Z) \| (open|closed) \| (\S+) \| (\S+) \|$",
    PAGE,
    re.MULTILINE,
)


@pytest.mark.parametrize(("pack", "phone", "said", "at", "answer", "opens", "rule"), EXAMPLES)
def test_the_pages_worked_examples_are_what_is_computed(pack, phone, said, at, answer, opens, rule):
    instant = datetime.fromisoformat(at)
    timetable = rule_data.timetable(replace(ALWAYS, rule_pack=pack), instant)
    word, _, value = said.partition(" ")
    where = whereabouts(
        timetable.pack,
        phone=phone,
        contact_zone=value if word == "zone" else None,
        contact_state=value if word == "state" else None,
        number_zones=zones_of(phone),
        campaign_zone="UTC",
    )
    found = opening(timetable, where, instant)
    assert found.is_open is (answer == "open")
    assert (found.rule or "–") == rule
    assert ("never" if found.opens_at is None else f"{found.opens_at:%Y-%m-%dT%H:%MZ}") == opens
    assert found.rule_data()["rulePack"].startswith(f"{pack}@")


def test_every_pack_has_an_example_and_says_what_it_is_not():
    names = {name.partition("@")[0] for name in rule_data.pack_names()}
    assert names == {example[0] for example in EXAMPLES}
    assert "no legal advice" in PAGE
    for name in rule_data.pack_names():
        assert "No legal advice" in rule_data.load_pack(name).notice


@pytest.mark.parametrize("name", rule_data.pack_names())
def test_what_a_pack_refers_to_is_there(name):
    pack = rule_data.load_pack(name)
    assert pack.rules
    for calendar in pack.calendars():
        assert rule_data.calendar_problems(calendar) == []
    for rule in pack.rules:
        assert rule.source
        assert rule.confirmed or rule.note, f"{rule.code} does not say why it is not confirmed"
    assert all(pack.covers(place) for place in pack.zones)


def test_every_file_is_a_pack_by_its_own_name():
    assert sorted(path.stem for path in FOLDER.glob("*.toml")) == sorted(
        name.replace("@", "-") for name in rule_data.pack_names()
    )


def test_the_international_pack_holds_every_rule_of_the_others():
    others = {
        rule.code
        for name in rule_data.pack_names()
        if not name.startswith("international@")
        for rule in rule_data.load_pack(name).rules
    }
    assert {rule.code for rule in rule_data.load_pack("international").rules} == others


def test_the_area_codes_are_those_of_the_installed_tables():
    """Fails when phonenumbers learns of a new area code: a new version of the pack is due then."""
    spec = importlib.util.spec_from_file_location("area_codes", ROOT / "scripts" / "area_codes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # the territories are countries of their own in the numbering tables
    made = {
        place.removeprefix("US-") if place[3:] in module.OWN and place != "US-DC" else place: prefixes
        for place, prefixes in module.table().items()
    }
    assert tomllib.loads((FOLDER / "us-2026-11.toml").read_text())["prefixes"] == made


def test_names_and_versions():
    assert rule_data.full_name("us") == "us@2026-11"
    assert rule_data.load_pack("us").full_name == "us@2026-11"
    assert rule_data.load_pack("us@2026-11").name == "us"
    for wrong in ("mars", "us@2020-01", ""):
        with pytest.raises(RulePackError, match="outdial rules list"):
            rule_data.load_pack(wrong)


def test_versions_are_told():
    found = rule_data.timetable(replace(ALWAYS, holidays=("DE-BY",)), datetime(2026, 5, 1, tzinfo=UTC)).versions
    assert found.tzdata
    assert found.phonenumbers.startswith("9.")
    assert found.holidays
    assert rule_data.timetable(ALWAYS, datetime(2026, 5, 1, tzinfo=UTC)).versions.holidays == ""


def test_calendars_at_the_turn_of_the_year_hold_both_years():
    found = rule_data.timetable(replace(ALWAYS, holidays=("US",)), datetime(2026, 12, 28, tzinfo=UTC))
    dates = found.calendars["US"].dates
    assert date(2026, 12, 25) in dates
    assert date(2027, 1, 1) in dates


@pytest.mark.parametrize(
    ("code", "sentence"), [("XX", "write a country"), ("US-QQ", "parts of US"), ("us", "write a country")]
)
def test_calendars_that_there_are_not(code, sentence):
    assert sentence in rule_data.calendar_problems(code)[0]
    closed = rule_data.timetable(replace(ALWAYS, holidays=(code,)), datetime(2026, 5, 1, tzinfo=UTC))
    assert sentence in closed.problem
    with pytest.raises(RulePackError):
        rule_data.pinned(replace(ALWAYS, holidays=(code,)), datetime(2026, 5, 1, tzinfo=UTC))


def test_a_pack_that_cannot_be_read_closes_and_says_why(monkeypatch, tmp_path):
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / "us-2026-11.toml").write_text("schema = 1\nname = 'us'\nversion = '2026-11'\n")
    monkeypatch.setattr(rule_data, "_folder", lambda: tmp_path / "packs")
    rule_data.load_pack.cache_clear()
    rule_data.pack_names.cache_clear()
    rule_data._timetable.cache_clear()
    try:
        broken = rule_data.timetable(replace(ALWAYS, rule_pack="us"), datetime(2026, 5, 1, tzinfo=UTC))
        assert "us@2026-11 cannot be read" in broken.problem
        assert "`title` must be text." in broken.problem
        with pytest.raises(RulePackError, match="cannot be read"):
            rule_data.pinned(replace(ALWAYS, rule_pack="us"), datetime(2026, 5, 1, tzinfo=UTC))
    finally:
        rule_data.load_pack.cache_clear()
        rule_data.pack_names.cache_clear()
        rule_data._timetable.cache_clear()


def test_a_run_keeps_to_the_version_it_began_with():
    pinned = rule_data.pinned(replace(ALWAYS, rule_pack="us"), datetime(2026, 5, 1, tzinfo=UTC))
    assert pinned.rule_pack == "us@2026-11"
    assert rule_data.pinned(pinned, datetime(2026, 5, 1, tzinfo=UTC)) == pinned
    assert rule_data.pinned(ALWAYS, datetime(2026, 5, 1, tzinfo=UTC)) == ALWAYS
