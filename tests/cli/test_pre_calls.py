"""``outdial pre-call``: set, show, remove."""

from __future__ import annotations

URL = "https://crm.example.net/ask"


def test_set_show_remove(outdial, campaign):
    made = outdial("pre-call", "set", campaign, "--url", URL, "--header", "X-Key: s3cret", "--json")
    assert made.json == {"url": URL, "headerNames": ["X-Key"]}
    shown = outdial("pre-call", "show", "Spring calls")
    assert URL in shown.stdout
    assert "X-Key" in shown.stdout
    assert "s3cret" not in shown.stdout
    assert outdial("pre-call", "show", campaign, "--json").json == made.json
    assert "is not asked any more" in outdial("pre-call", "remove", campaign).stdout
    gone = outdial("pre-call", "remove", campaign, "--json")
    assert gone.code == 1
    assert "has no pre-call fetch" in gone.stderr


def test_headers_that_are_none(outdial, campaign):
    for header in ("X-Key", "X-Key: 1\nY: 2"):
        refused = outdial("pre-call", "set", campaign, "--url", URL, "--header", header)
        assert refused.code != 0
    twice = outdial("pre-call", "set", campaign, "--url", URL, "--header", "X: 1", "--header", "X: 2")
    assert twice.code == 1
    assert "names 'X' twice" in twice.stderr
