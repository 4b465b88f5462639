"""``outdial simulate``."""

from __future__ import annotations

import asyncio

from cli.test_doctor import have_detected


def test_it_tells_when_the_campaign_ends_and_what_of(outdial, campaign):
    words = ("simulate", campaign, "--start", "2027-03-01T09:00", "--answer-rate", "1", "--talk-seconds", "30")
    told = outdial(*words, "--json").json
    assert told["outcome"]["begin"] == "2027-03-01T09:00:00.000Z"
    assert (told["calls"], told["linesUsed"], told["outcome"]["contacts"]) == (2, 2, 2)
    assert told["outcome"]["done"] == {"reached": 2}
    assert list(told["outcome"]["hours"].values()) == [{"calls": 2, "answered": 2, "lines": 2}]
    assert told["shares"]["answered_human"] == {"value": 1.0, "source": "given"}
    assert told["lines"]["source"] == "trunk"
    shown = outdial(*words).stdout
    for sentence in ("2027-03-01 09:00", "reached", "lines at once", "given"):
        assert sentence in shown


def test_machines_are_told_where_the_campaign_has_them_detected(outdial, campaign, dsn):
    words = ("simulate", campaign, "--start", "2027-03-01T09:00", "--answer-rate", "1", "--machine-rate", "1")
    assert outdial(*words, "--json").json["machines"] is None
    assert "machine" not in outdial(*words).stdout, "they hear what people hear"
    asyncio.run(have_detected(dsn))
    told = outdial(*words, "--machine-seconds", "3", "--json").json
    assert told["machines"] | {"verdictsLookedAt": 0} == {
        "mode": "disconnect",
        "rate": {"value": 1.0, "source": "given"},
        "seconds": {"value": 3.0, "source": "given"},
        "messageLeft": False,
        "verdictsLookedAt": 0,
    }
    assert set(told["outcome"]["dispositions"]) == {"answered_machine"}
    shown = outdial(*words).stdout
    assert "calls, hung up on" in shown
    assert "100.0% (given)" in shown


def test_who_is_not_called_is_told_why(outdial, campaign):
    assert outdial("dnc", "add", "+15550100001").code == 0
    assert outdial("hours", "set", campaign, "--window", "mo 09:00-10:00").code == 0
    words = ("simulate", "Spring calls", "--start", "2027-03-02T09:00Z", "--days", "2")
    shown = outdial(*words)
    assert "never called: On the account's do-not-call list." in shown.stdout
    assert "still to be called when the days played are over" in shown.stdout
    assert "there is none" in shown.stdout
    assert "1 contacts are still to be called" in shown.stderr


def test_what_is_wrong_is_named(outdial, campaign):
    for words, named in (
        (("--start", "tomorrow"), "--start must be like"),
        (("--answer-rate", "2"), "answerRate"),
        (("--lines", "0"), "lines"),
    ):
        refused = outdial("simulate", campaign, *words)
        assert (refused.code, named in refused.stderr) == (1, True), words
    assert outdial("simulate", "nothing").code == 1
