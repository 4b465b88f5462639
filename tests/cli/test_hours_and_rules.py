"""``outdial hours`` and ``outdial rules``."""

from __future__ import annotations


def test_set_show_and_when(outdial, campaign):
    made = outdial(
        *("hours", "set", campaign, "--window", "mo-fr 09:00-12:30", "--window", "mo-fr 22:00-01:00"),
        *("--except", "2026-12-24 09:00-10:00", "--except", "2026-12-31", "--holidays", "US", "--rule-pack", "us"),
        *("--at-closing", "expire", "--json"),
    )
    assert made.json == {
        "zone": "UTC",
        "frequency": "CUSTOM",
        "windows": [
            {"start": "09:00", "end": "12:30", "days": ["MO", "TU", "WE", "TH", "FR"]},
            {"start": "22:00", "end": "01:00", "days": ["MO", "TU", "WE", "TH", "FR"]},
        ],
        "exceptions": [
            {"date": "2026-12-24", "windows": [{"start": "09:00", "end": "10:00"}], "note": ""},
            {"date": "2026-12-31", "windows": [], "note": ""},
        ],
        "holidays": ["US"],
        "rulePack": "us",
        "atClosing": "expire",
    }
    assert outdial("hours", "show", campaign, "--json").json == made.json
    shown = outdial("hours", "show", "Spring calls").stdout
    assert "2026-12-31: closed" in shown
    when = outdial("hours", "when", campaign, "+13055550100", "--at", "2026-11-18T01:30", "--json").json
    assert when["isOpen"] is False
    assert "us_fl_hours" in {each["rule"] for each in when["closedBy"]}
    assert when["ruleData"]["rulePack"] == "us@2026-11"
    told = outdial("hours", "when", campaign, "+13055550100", "--at", "2026-11-18T14:30")
    assert "us_federal_hours" in told.stdout
    # the campaign with all of it is still shown whole
    assert outdial("campaign", "show", campaign, "--json").code == 0


def test_what_is_wrong_is_named(outdial, campaign):
    for words in (
        ("--window", "monday 9-5"),
        ("--window", ""),
        ("--window", "mo-fr"),
        ("--window", "09:00-18:00", "--except", "2026-12-24 noon"),
        ("--window", "09:00-18:00", "--except", "2026-13-24"),
        ("--window", "09:00-18:00", "--rule-pack", "mars"),
    ):
        refused = outdial("hours", "set", campaign, *words)
        assert refused.code == 1, words
        assert "must be" in refused.stderr or "no rule pack" in refused.stderr


def test_rules(outdial):
    listed = outdial("rules", "list", "--json").json
    assert {"us", "gb", "fr", "international"} <= {each["name"] for each in listed}
    assert all("No legal advice" in each["notice"] for each in listed)
    shown = outdial("rules", "show", "us", "--json").json
    florida = next(rule for rule in shown["rules"] if rule["code"] == "us_fl_hours")
    assert florida["source"] == "Fla. Stat. 501.616(6)(a)"
    assert florida["windows"] == ["MO TU WE TH FR SA SU 08:00–20:00"]
    table = outdial("rules", "show", "fr").stdout
    assert "2022-1313" in table
    missing = outdial("rules", "show", "mars")
    assert (missing.code, "outdial rules list" in missing.stderr) == (1, True)
