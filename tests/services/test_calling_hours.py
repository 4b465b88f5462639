"""A campaign's calling hours beyond the vendor's wire: what is refused, what an update keeps, what a run keeps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time

import pytest

from dialing import ALWAYS, phones, set_stage, with_rules
from outdial.core.errors import ConflictError, InvalidInputError, NotFoundError, RulePackError
from outdial.core.model import AtClosing, CallingHours, CallingWindow, DateException, DayWindow
from outdial.services import calling_hours, campaigns, runs
from outdial.services.calling_hours import ExceptionDraft, HoursDraft, WindowDraft, by_days, read_hours
from outdial.services.campaigns import CampaignDraft

OFFICE = WindowDraft("09:00", "18:00", ("MO", "TU"))
DRAFT = HoursDraft("Europe/Paris", (OFFICE,))


def test_a_draft_is_read():
    hours = read_hours(
        replace(
            DRAFT,
            windows=(OFFICE, WindowDraft("22:00", "02:00", ("FR",)), WindowDraft("00:00", "24:00", ("SU",))),
            exceptions=(ExceptionDraft("2026-12-24", (("14:00", "15:00"), ("09:00", "12:00")), "Eve"),),
            holidays=("FR", "DE-BY", "FR"),
            rule_pack="fr",
            at_closing=AtClosing.EXPIRE,
        )
    )
    assert hours == CallingHours(
        windows=(
            CallingWindow(0, time(9), time(18)),
            CallingWindow(1, time(9), time(18)),
            CallingWindow(4, time(22), time(2)),
            CallingWindow(6, time(0), time.max),
        ),
        zone="Europe/Paris",
        frequency="CUSTOM",
        exceptions=(
            DateException(date(2026, 12, 24), (DayWindow(time(9), time(12)), DayWindow(time(14), time(15))), "Eve"),
        ),
        holidays=("FR", "DE-BY"),
        rule_pack="fr",
        at_closing=AtClosing.EXPIRE,
    )
    assert by_days(hours.windows)[0] == OFFICE


@pytest.mark.parametrize(
    ("windows", "word"),
    [((WindowDraft("09:00", "18:00"),), "DAILY"), ((OFFICE,), "WEEKLY")],
)
def test_the_vendors_word_says_what_they_are(windows, word):
    assert read_hours(replace(DRAFT, windows=windows)).frequency == word


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"zone": "Mars/Olympus"}, "`zone` must be a time zone like Europe/Paris, not 'Mars/Olympus'."),
        ({"windows": ()}, "`windows` must not be empty"),
        ({"windows": (OFFICE,) * 101}, "`windows` has 101 entries; at most 100"),
        ({"windows": (WindowDraft("9", "18:00"),)}, "`windows[0].start` must be a time like 09:00 or 18:30, not '9'."),
        ({"windows": (WindowDraft("24:00", "18:00"),)}, "`windows[0].start` must be a time"),
        ({"windows": (WindowDraft("09:00", "25:00"),)}, "`windows[0].end` must be a time"),
        ({"windows": (WindowDraft("09:00", "09:00"),)}, "`windows[0]` is empty: it starts and ends at 09:00."),
        ({"windows": (WindowDraft("09:00", "10:00", ("XX",)),)}, "`windows[0].days` must be some of MO"),
        ({"windows": (WindowDraft("09:00", "10:00", ()),)}, "`windows[0].days` must be some of MO"),
        (
            {"windows": (OFFICE, WindowDraft("17:00", "19:00", ("TU",)))},
            "`windows` overlap: TU 09:00–18:00 and TU 17:00–19:00; make one of them.",
        ),
        (
            {"windows": (WindowDraft("22:00", "02:00", ("SU",)), WindowDraft("01:00", "03:00", ("MO",)))},
            "`windows` overlap: SU 22:00–02:00 and MO 01:00–03:00",
        ),
        ({"exceptions": (ExceptionDraft("2026-02-30"),)}, "`exceptions[0].date` must be a date of the calendar"),
        ({"exceptions": (ExceptionDraft("2026-12-24"),) * 2}, "`exceptions[1].date` is 2026-12-24 again"),
        (
            {"exceptions": (ExceptionDraft("2026-12-24", (("09:00", "12:00"), ("11:00", "13:00"))),)},
            "`exceptions[0].windows` overlap",
        ),
        ({"exceptions": (ExceptionDraft("2026-12-24", (), "x" * 101),)}, "`exceptions[0].note` has 101 characters"),
        ({"holidays": ("XX",)}, "`holidays[0]`: There is no holiday calendar 'XX'"),
        ({"rule_pack": "mars"}, "`rulePack`: There is no rule pack 'mars'."),
    ],
)
def test_what_is_wrong_is_named_with_its_remedy(changes, sentence):
    with pytest.raises(InvalidInputError) as refused:
        read_hours(replace(DRAFT, **changes))
    assert len(refused.value.problems) == 1
    assert refused.value.problems[0].startswith(sentence)


def test_everything_wrong_is_named_at_once():
    with pytest.raises(InvalidInputError) as refused:
        read_hours(HoursDraft("x", (WindowDraft("a", "b"),), (ExceptionDraft("c"),), ("d",), "e"))
    assert len(refused.value.problems) == 6


def test_windows_that_touch_do_not_overlap():
    read_hours(replace(DRAFT, windows=(WindowDraft("22:00", "02:00"), WindowDraft("02:00", "22:00"))))


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, phones(2))


async def put(stage, hours):
    return await calling_hours.set_hours(
        stage.database, iid=stage.owner.iid, campaign_id=stage.campaign_id, hours=hours, actor="test"
    )


LAWFUL = replace(
    ALWAYS,
    exceptions=(DateException(date(2026, 12, 24)),),
    holidays=("US",),
    rule_pack="international",
    at_closing=AtClosing.PAUSE,
)


async def test_set_is_shown_and_a_run_keeps_the_version_it_began_with(stage):
    await put(stage, LAWFUL)
    shown = await calling_hours.show_hours(stage.database, iid=stage.owner.iid, campaign_id=stage.campaign_id)
    assert shown == LAWFUL
    started = await runs.start(
        stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
    )
    assert started.run.rules.calling_hours == replace(LAWFUL, rule_pack="international@2026-11")
    with pytest.raises(ConflictError, match="cannot be changed while its run is active"):
        await put(stage, ALWAYS)


async def test_a_start_is_refused_while_its_pack_cannot_be_read(stage):
    await put(stage, replace(LAWFUL, rule_pack="mars"))
    with pytest.raises(RulePackError, match="no rule pack 'mars'"):
        await runs.start(
            stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
        )


async def test_an_update_by_the_vendors_wire_takes_no_law_away(stage):
    await put(stage, LAWFUL)
    narrowed = replace(ALWAYS, windows=(CallingWindow(0, time(9), time(10)),))
    draft = CampaignDraft(
        name="Spring",
        description="",
        list_names=(stage.list_name,),
        dnc_list_name=None,
        priority=1,
        mode="agentless",
        rules=with_rules(calling_hours=narrowed),
        flow_name="hello",
        queue_name=None,
        max_skips=None,
        api_version=2,
    )
    made = await campaigns.update_campaign(
        stage.database, iid=stage.owner.iid, campaign_id=stage.campaign_id, read=lambda _: draft, actor="test"
    )
    assert made.rules.calling_hours == replace(LAWFUL, windows=narrowed.windows)


async def test_another_applications_campaign_is_not_found(stage):
    with pytest.raises(NotFoundError):
        await calling_hours.set_hours(
            stage.database, iid="st-other", campaign_id=stage.campaign_id, hours=ALWAYS, actor="test"
        )


async def test_when_says_which_rule_closes(stage):
    await put(stage, replace(ALWAYS, rule_pack="us"))
    campaign = await campaigns.get_campaign(stage.database, stage.owner.iid, stage.campaign_id)
    found = calling_hours.opening_for(
        campaign,
        phone="(305) 555-0100",
        zone=None,
        state=None,
        at=datetime(2026, 11, 18, 1, 30, tzinfo=UTC),
        region="US",
    )
    assert (found.rule, found.rules) == ("us_fl_hours", ("us_federal_hours", "us_fl_hours"))
    with pytest.raises(InvalidInputError, match="no time zone"):
        calling_hours.opening_for(
            campaign, phone="+13055550100", zone="x", state=None, at=datetime.now(UTC), region=None
        )
