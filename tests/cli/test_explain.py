"""``outdial explain``, on the database here and over a server."""

from __future__ import annotations

import pytest

from cli.test_remote import away, server

__all__ = ["away", "server"]

PHONE = "+15550100001"


def test_a_contact_of_a_campaign_from_before_its_run_to_its_stop(outdial, campaign):
    before = outdial("explain", "Spring calls", PHONE)
    assert "The campaign has never been started." in before.stdout
    assert "outdial campaign start" in before.stdout
    outdial("campaign", "start", campaign)
    told = outdial("explain", campaign, PHONE, "--json").json
    assert told["decidedBy"] == "dialer_nodes"
    assert outdial("explain", told["instanceId"], told["dialingListId"], "--json").json["phoneNumber"] == PHONE
    text = outdial("explain", told["instanceId"], PHONE).stdout
    assert "Rule by rule" in text
    outdial("campaign", "stop", campaign)
    assert "The run was stopped" in outdial("explain", campaign, PHONE).stdout


def test_a_run(outdial, campaign):
    assert outdial("explain", campaign).code == 1
    outdial("campaign", "start", campaign)
    told = outdial("explain", campaign, "--json").json
    assert (told["totalCount"], told["blockedBy"]) == (2, "dialer_nodes")
    assert "Nothing is dialing because no dialer node has its engine up." in outdial("explain", campaign).stdout


def test_an_instant(outdial, campaign):
    outdial("campaign", "start", campaign)
    past = outdial("explain", campaign, PHONE, "--at", "2020-01-01T10:00", "--json").json
    assert (past["dialable"], past["at"]) == (None, "2020-01-01T10:00:00.000000Z")
    assert outdial("explain", campaign, "--at", "2020-01-01T10:00").code == 2
    far = outdial("explain", campaign, PHONE, "--at", "9999-12-31T10:00")
    assert (far.code, "a year from now" in far.stderr) == (2, True)


def test_over_a_server_it_is_the_same(outdial, campaign, away):
    never = away("explain", "Spring calls")
    assert (never.code, "has never run" in never.stderr) == (1, True)
    outdial("campaign", "start", campaign)
    here, there = (ask("explain", "Spring calls", PHONE, "--json").json for ask in (outdial, away))
    for changing in ("now", "at", "nextAt", "steps", "past"):
        here.pop(changing), there.pop(changing)
    assert here == there
    run = here["instanceId"]
    for words in (("explain", "Spring calls"), ("explain", run)):
        assert away(*words, "--json").json["sentence"] == outdial(*words, "--json").json["sentence"]
    assert away("explain", run, PHONE, "--at", "2020-01-01T10:00", "--json").json["dialable"] is None


@pytest.mark.parametrize("contact", ["nobody", "+15550199999"])
def test_who_is_not_there_is_a_sentence(outdial, campaign, away, contact):
    outdial("campaign", "start", campaign)
    for ask in (outdial, away):
        done = ask("explain", campaign, contact)
        assert (done.code, done.stdout) == (1, "")
        assert done.stderr
