"""``outdial campaign``: list, show, start, pause, resume, stop, without any server running."""

from __future__ import annotations

import asyncio
from datetime import datetime

from outdial.store.database import Database


def state_of(outdial, campaign: str) -> str:
    return outdial("campaign", "show", campaign, "--json").json["status"]


def test_list_and_show_before_it_ever_ran(outdial, campaign):
    found = outdial("campaign", "list", "--json").json
    assert [(each["id"], each["name"], each["status"]) for each in found] == [(campaign, "Spring calls", "Ready")]
    line = outdial("campaign", "list").stdout.splitlines()[-1]
    assert campaign in line
    assert "Callers" in line
    shown = outdial("campaign", "show", "Spring calls").stdout
    assert "3, 10 min apart, ringing 20 s" in shown
    assert "run" not in [each.split()[0] for each in shown.splitlines() if each]


def test_only_those_of_one_application(outdial, campaign, created):
    assert outdial("campaign", "list", "--iid", created["iid"], "--json").json
    other = outdial("app", "create", "--account", "Acme", "--name", "Other", "--json").json["iid"]
    assert outdial("campaign", "list", "--iid", other, "--json").json == []


def test_a_run_from_start_to_stop(outdial, campaign):
    started = outdial("campaign", "start", "Spring calls")
    assert (started.code, started.stdout.split()[0], started.stdout.split()[2]) == (0, "Run", "started,")
    assert "No dialer node is running" in started.stderr
    assert state_of(outdial, campaign) == "Active"
    assert "paused" in outdial("campaign", "pause", campaign).stdout
    assert state_of(outdial, campaign) == "Paused"
    assert outdial("campaign", "resume", campaign, "--json").json["state"] == "active"
    done = outdial("campaign", "stop", campaign)
    assert done.code == 0
    assert "never reached" in done.stdout
    assert [line.split()[1] for line in done.stderr.splitlines()] == ["s"] * len(done.stderr.splitlines())
    assert len(done.stderr.splitlines()) >= 2, "each step of the wait is told"
    assert state_of(outdial, campaign) == "Stopped"


def test_stop_as_json_is_the_report_and_asking_again_is_the_same(outdial, campaign):
    outdial("campaign", "start", campaign)
    report = outdial("campaign", "stop", campaign, "--ringing", "let_ring", "--connected", "hang_up", "--json").json
    assert outdial("campaign", "stop", campaign, "--json").json == report


def test_what_the_state_does_not_allow_is_a_sentence_that_names_it(outdial, campaign):
    refused = outdial("campaign", "stop", campaign)
    assert (refused.code, refused.stdout) == (1, "")
    outdial("campaign", "start", campaign)
    again = outdial("campaign", "start", campaign)
    assert again.code == 1
    assert "active" in again.stderr.lower()
    assert outdial("campaign", "resume", campaign).code == 1


def test_an_unknown_campaign_is_a_sentence(outdial, campaign):
    done = outdial("campaign", "show", "Autumn calls")
    assert done.code == 1
    assert "Autumn calls" in done.stderr


def test_the_history_knows_who_did_it(outdial, campaign, dsn, monkeypatch):
    monkeypatch.setenv("LOGNAME", "olga")
    outdial("campaign", "start", campaign)

    async def actors() -> set[str]:
        database = await Database.open(dsn, pool_size=2)
        try:
            async with database.connection() as connection:
                rows = await connection.fetch("SELECT actor FROM history WHERE action = 'run'")
                return {row["actor"] for row in rows}
        finally:
            await database.close()

    assert asyncio.run(actors()) == {"cli:olga"}


def test_times_are_told_with_their_zone(outdial, campaign):
    outdial("campaign", "start", campaign)
    shown = outdial("campaign", "show", campaign)
    started = next(line for line in shown.stdout.splitlines() if line.startswith("started"))
    assert started.split()[-1] == datetime.now().astimezone().strftime("%Z")


def test_nothing_yet_is_said(outdial, created):
    done = outdial("campaign", "list")
    assert (done.code, done.stdout) == (0, "")
    assert "no campaign yet" in done.stderr
