"""``outdial webhook``: create, list, change, rotate, test, deliveries, replay, remove."""

from __future__ import annotations

URL = "https://crm.example.net/outdial"


def test_the_life_of_a_webhook(outdial, created):
    made = outdial("webhook", "create", URL, "--json").json
    assert made["secret"].startswith("whsec_")
    webhook = made["webhook"]["id"]
    own = outdial("webhook", "create", URL, "--iid", created["iid"], "--event", "run.stopped", "--json").json
    assert (made["webhook"]["iid"], own["webhook"]["iid"]) == (None, created["iid"])
    listed = outdial("webhook", "list")
    assert "everything" in listed.stdout
    assert "run.stopped" in listed.stdout
    assert "whsec_" not in listed.stdout
    (changed,) = outdial("webhook", "change", webhook, "--off", "--event", "run.paused", "--json").json
    assert (changed["enabled"], changed["events"]) == (False, ["run.paused"])
    refused = outdial("webhook", "test", webhook)
    assert refused.code == 1
    assert "switched off" in refused.stderr
    shown = outdial("webhook", "rotate", webhook, "--overlap", 60)
    assert "whsec_" in shown.stdout
    assert made["secret"] not in shown.stdout
    assert "There is no message." in outdial("webhook", "deliveries", webhook, "--state", "dead").stderr
    assert outdial("webhook", "deliveries", webhook, "--json").json == []
    assert outdial("webhook", "replay", webhook, "--json").json == {"replayedCount": 0}
    missing = outdial("webhook", "replay", webhook, "--id", 7)
    assert missing.code == 1
    assert "has no message 7" in missing.stderr
    assert f"{URL} is told nothing any more." in outdial("webhook", "remove", webhook).stdout
    assert "There is no webhook" in outdial("webhook", "remove", webhook).stderr


def test_a_test_message_to_a_private_address_names_the_setting(outdial, created):
    made = outdial("webhook", "create", "http://127.0.0.1:9/told", "--json").json
    tried = outdial("webhook", "test", made["webhook"]["id"])
    assert tried.code == 1
    assert "OUTDIAL_WEBHOOK_PRIVATE_HOSTS" in tried.stderr


def test_what_is_no_address_is_refused(outdial, created):
    refused = outdial("webhook", "create", "crm.example.net")
    assert refused.code == 1
    assert "of http or https" in refused.stderr
