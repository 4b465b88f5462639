"""``outdial dialing-rules``: show, set."""

from __future__ import annotations

import pytest


def test_timings_of_machines(outdial, campaign):
    line = ("--timing", "decision=8", "--timing", "words=20", "--timing", "no-speech=3.5")
    made = outdial("dialing-rules", "set", campaign, *line, "--json").json["detection"]
    assert (made["decisionSeconds"], made["words"], made["noSpeechSeconds"], made["speechSeconds"]) == (8, 20, 3.5, 2.5)
    assert "decision=8, no-speech=3.5, speech=2.5," in outdial("dialing-rules", "show", campaign).stdout


def test_shares_of_verdicts_that_are_kept(outdial, campaign):
    assert "no verdict" in outdial("dialing-rules", "show", campaign).stdout
    made = outdial("dialing-rules", "set", campaign, "--review", "machines=10", "--review", "people=0.5", "--json").json
    assert made["review"] == {"machines": 10, "people": 0.5, "seconds": 10}
    shown = outdial("dialing-rules", "show", campaign).stdout
    assert "10 % of machines, 0.5 % of people, 10 s of each call recorded" in shown


def test_set_and_show(outdial, campaign):
    assert "as the campaign says" in outdial("dialing-rules", "show", campaign).stdout
    line = (
        "--retry",
        "busy:2:300:other",
        "--retry",
        "no_answer::next-window",
        "--order",
        "when_due",
        "--breaker",
        "20:0.5",
    )
    made = outdial("dialing-rules", "set", "Spring calls", *line, "--json").json
    assert made["retryRules"] == [
        {"disposition": "busy", "most": 2, "seconds": 300, "nextWindow": False, "otherNumber": True},
        {"disposition": "no_answer", "most": None, "seconds": None, "nextWindow": True, "otherNumber": False},
    ]
    assert (made["retryOrder"], made["breaker"]) == ("when_due", {"attempts": 20, "share": 0.5})
    assert outdial("dialing-rules", "show", campaign, "--json").json == made
    shown = outdial("dialing-rules", "show", campaign).stdout
    assert "2 retries, 300 s later, at another number" in shown
    assert "in the next calling hours" in shown
    assert "50% of the last 20 calls" in shown
    assert "never" in outdial("dialing-rules", "set", campaign, "--breaker", "off").stdout


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("--retry", "bored:1:2", "--retry must be like"),
        ("--retry", "busy:1:2:3", "--retry must be like"),
        ("--retry", "busy:1:2:other:other", "--retry must be like"),
        ("--retry", "invalid_number:1:2", "the same number is never tried again"),
        ("--retry", "answered_human:1:2", "nobody is ever tried again"),
        ("--breaker", "many", "--breaker must be like"),
        ("--breaker", "1:0.5", "breaker.attempts"),
        ("--timing", "decision", "--timing must be like"),
        ("--timing", "beep=5", "--timing must be like"),
        ("--timing", "words=2.5", "--timing must be like"),
        ("--timing", "tone=500", "detection.toneSeconds"),
        ("--timing", "decision=2", "must be less than"),
        ("--review", "machines", "--review must be like"),
        ("--review", "beeps=5", "--review must be like"),
        ("--review", "people=150", "review.people"),
        ("--review", "seconds=0", "review.seconds"),
    ],
)
def test_what_is_none(outdial, campaign, option, value, word):
    refused = outdial("dialing-rules", "set", campaign, option, value)
    assert refused.code == 1
    assert word in refused.stderr
