"""``outdial schedule``: enable, show, disable, and what stop says of one."""

from __future__ import annotations

WHEN = ("--start", "2100-03-01 09:00", "--end", "2100-06-01 00:00")


def test_enable_show_disable(outdial, campaign):
    enabled = outdial("schedule", "enable", "Spring calls", *WHEN, "--repeat", "weekly", "--on", "wed", "--on", "mon")
    assert enabled.code == 0
    # 1 March 2100 is a Monday
    assert "Spring calls is scheduled; it runs next at 2100-03-01" in enabled.stdout
    shown = outdial("schedule", "show", campaign).stdout
    assert "every week on mon, wed" in shown
    assert "2100-03-01 09:00:00 UTC" in shown
    assert "Scheduled" in shown
    assert "not looked at yet" in shown
    assert "Scheduled" in outdial("campaign", "list").stdout
    assert "2100-03-01" in outdial("campaign", "show", campaign).stdout
    assert "is not scheduled" in outdial("schedule", "disable", campaign).stdout
    assert "switched off" in outdial("schedule", "show", campaign).stdout


def test_json(outdial, campaign):
    enabled = outdial("schedule", "enable", campaign, *WHEN, "--repeat", "daily", "--every", "3", "--json").json
    assert (enabled["enabled"], enabled["nextAt"]) == (True, "2100-03-01T09:00:00.000Z")
    # wall-clock times have no zone of their own: it stands beside them
    assert (enabled["schedule"]["start"], enabled["schedule"]["zone"]) == ("2100-03-01T09:00:00", "UTC")
    view = outdial("schedule", "show", campaign, "--json").json
    assert view["campaign"]["schedule"] == enabled
    assert (view["occurrences"], view["scrub"]) == ([], None)
    assert outdial("schedule", "disable", campaign, "--json").json["enabled"] is False


def test_a_campaign_without_one(outdial, campaign):
    assert "none" in outdial("schedule", "show", campaign).stdout
    assert outdial("schedule", "disable", campaign, "--json").json is None


def test_stop_switches_it_off(outdial, campaign):
    outdial("schedule", "enable", campaign, *WHEN)
    assert outdial("campaign", "stop", campaign, "--keep-schedule").code == 1
    stopped = outdial("campaign", "stop", campaign)
    assert stopped.code == 0
    assert "the schedule is switched off" in stopped.stdout
    again = outdial("campaign", "stop", campaign, "--json").json
    assert again["run"] is None
    assert again["stoppedAt"]
    assert "Stopped" in outdial("campaign", "list").stdout


def test_a_start_by_hand_waits_until_it_is_off(outdial, campaign):
    outdial("schedule", "enable", campaign, *WHEN)
    refused = outdial("campaign", "start", campaign)
    assert refused.code == 1
    assert "is scheduled" in refused.stderr


def test_wrong_ones_say_why(outdial, campaign):
    backwards = outdial("schedule", "enable", campaign, "--start", "2100-03-01 09:00", "--end", "2100-02-01 09:00")
    assert backwards.code == 1
    assert "later than `startDateTime`" in backwards.stderr
    weekdays = outdial("schedule", "enable", campaign, *WHEN, "--on", "mon")
    assert weekdays.code == 2
    assert "weekly" in weekdays.stderr
    assert outdial("schedule", "enable", "Nobody", *WHEN).code == 1
