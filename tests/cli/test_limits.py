"""``outdial limits``: add, preset, list, remove."""

from __future__ import annotations


def test_add_list_remove(outdial, campaign, created):
    (made,) = outdial("limits", "add", "--count", 3, "--hours", 24, "--json").json
    assert made["rule"] == {"count": 3, "windowSeconds": 86400, "counts": "attempts", "matter": None}
    assert (made["iid"], made["campaignId"]) == (None, None)
    (own,) = outdial("limits", "add", "--count", 1, "--hours", 1, "--iid", created["iid"], "--json").json
    assert own["iid"] == created["iid"]
    (narrow,) = outdial("limits", "add", "--count", 1, "--hours", 2, "--campaign", "Spring calls", "--json").json
    assert narrow["campaignId"] == campaign
    listed = outdial("limits", "list").stdout
    assert "3 attempts in 24 hours" in listed
    assert "the account" in listed
    assert [one["id"] for one in outdial("limits", "list", "--json").json] == [made["id"], own["id"], narrow["id"]]
    assert "3 attempts in 24 hours: no longer a limit." in outdial("limits", "remove", made["id"]).stdout
    gone = outdial("limits", "remove", made["id"])
    assert gone.code == 1
    assert "There is no attempt limit" in gone.stderr


def test_a_preset_names_its_source(outdial, created):
    made = outdial("limits", "preset", "us-regulation-f", "--matter", "debt")
    assert "7 attempts about the same debt in 7 days" in made.stdout
    assert "1006.14" in made.stderr
    wrong = outdial("limits", "preset", "mars")
    assert wrong.code == 1
    assert "gb-ofcom-abandoned" in wrong.stderr
