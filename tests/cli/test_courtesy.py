"""``outdial courtesy``: set, show, remove."""

from __future__ import annotations


def test_set_show_remove(outdial, campaign):
    made = outdial("courtesy", "set", campaign, "--flow", "chime", "--json")
    assert (made.json["name"], set(made.json)) == ("Chime", {"id", "iid", "name", "durationSeconds", "document"})
    assert "Chime" in outdial("courtesy", "show", "Spring calls").stdout
    assert outdial("courtesy", "show", campaign, "--json").json == made.json
    shown = [line.split() for line in outdial("campaign", "show", campaign).stdout.splitlines()]
    assert ["courtesy", "message", "Chime"] in shown
    assert "is not heard any more" in outdial("courtesy", "remove", campaign).stdout
    gone = outdial("courtesy", "remove", campaign, "--json")
    assert gone.code == 1
    assert "has no courtesy message" in gone.stderr


def test_a_flow_that_is_not_there(outdial, campaign):
    refused = outdial("courtesy", "set", campaign, "--flow", "Nobody")
    assert refused.code == 1
    assert "outdial flow add" in refused.stderr
