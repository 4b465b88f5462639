"""A campaign's calling hours by outdial's own surface, beside the vendor's."""

from __future__ import annotations

from datetime import time

import pytest

from outdial.core.model import CallingHours, CallingWindow
from outdial.services import calling_hours, campaigns
from support.native import Native, sentences
from support.wire import agentless, errors, ever_open

BODY = {
    "zone": "Europe/Paris",
    "windows": [{"days": ["MO", "TU"], "start": "09:00", "end": "12:00"}, {"start": "22:00", "end": "01:00"}],
    "exceptions": [{"date": "2026-12-24", "windows": [{"start": "09:00", "end": "10:00"}], "note": "Eve"}],
    "holidays": ["FR"],
    "rulePack": "fr",
    "atClosing": "expire",
}


@pytest.fixture
def native(tenant) -> Native:
    return Native(tenant)


@pytest.fixture
async def path(tenant) -> str:
    return f"/campaigns/{await tenant.create_campaign(ever_open(1))}/calling-hours"


async def test_set_and_get(native, path):
    before = await native.done("GET", path)
    assert (before["rulePack"], before["atClosing"], before["exceptions"]) == (None, "hold", [])
    made = await native.done("PUT", path, BODY)
    days = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
    assert made == {
        **BODY,
        "frequency": "CUSTOM",
        "windows": [BODY["windows"][0], {"days": days, "start": "22:00", "end": "01:00"}],
    }
    assert await native.done("GET", path) == made


async def test_the_vendors_wire_shows_a_window_across_midnight_as_two(native, tenant, path):
    await native.done("PUT", path, {"zone": "UTC", "windows": [{"days": ["SU"], "start": "22:00", "end": "01:00"}]})
    shown = await tenant.done("GET", f"/{path.split('/')[2]}")
    hours = shown["data"]["dialingStrategy"]["callingHours"]
    assert hours["days"] == [
        {"start": "10:00 PM", "end": "11:59 PM", "day": "SU"},
        {"start": "12:00 AM", "end": "1:00 AM", "day": "MO"},
    ]


LAST_MINUTE = [
    [{"days": ["MO"], "start": "22:00", "end": "23:59"}],
    [{"days": ["MO"], "start": "22:00", "end": "23:59"}, {"days": ["MO"], "start": "23:59", "end": "24:00"}],
    [{"days": ["MO"], "start": "22:00", "end": "23:59"}, {"days": ["MO"], "start": "23:59", "end": "01:00"}],
]


@pytest.mark.parametrize("windows", LAST_MINUTE, ids=["alone", "with its minute", "across midnight"])
async def test_an_answer_of_the_vendors_wire_sent_back_leaves_hours_until_23_59_as_they_are(
    native, tenant, path, windows
):
    before = await native.done("PUT", path, {"zone": "UTC", "windows": windows})
    where = f"/{path.split('/')[2]}"
    shown = (await tenant.done("GET", where))["data"]["dialingStrategy"]
    answer = await tenant.done("PUT", where, agentless(1, dialingStrategy=shown), campaignType="voice")
    assert answer["data"]["dialingStrategy"] == shown
    assert await native.done("GET", path) == before
    # the wire knows no such end: what is new goes on until midnight
    days = [{"start": "9:00 PM", "end": "11:59 PM", "day": "MO"}]
    shown["callingHours"]["days"] = days
    await tenant.done("PUT", where, agentless(1, dialingStrategy=shown), campaignType="voice")
    assert (await native.done("GET", path))["windows"] == [{"days": ["MO"], "start": "21:00", "end": "24:00"}]


class TestStoredOverlaps:
    """Campaigns from before overlaps were refused."""

    WINDOWS = (
        CallingWindow(0, time(9), time(18)),
        CallingWindow(0, time(17), time(20)),
        CallingWindow(0, time(9), time(18)),
        CallingWindow(4, time(22), time(2)),
        CallingWindow(5, time(1), time(9)),
    )

    @pytest.fixture
    async def stored(self, tenant, database) -> str:
        campaign_id = await tenant.create_campaign(ever_open(2), version=2)
        # the service takes them, as it once took the wire's
        hours = CallingHours(self.WINDOWS, "UTC")
        await calling_hours.set_hours(database, iid=tenant.iid, campaign_id=campaign_id, hours=hours, actor="test")
        return campaign_id

    @pytest.fixture
    def shown(self, tenant, stored):
        async def ask(version: int) -> dict:
            return (await tenant.done("GET", f"/{stored}", version=version))["data"]["dialingStrategy"]

        return ask

    @pytest.mark.parametrize("version", [1, 2])
    async def test_everything_else_may_be_changed(self, tenant, database, stored, shown, version):
        strategy = await shown(version)
        assert len(strategy["callingHours"]["days"]) == 6
        strategy["callingHours"]["days"].reverse()
        body = agentless(version, dialingStrategy={**strategy, "maxAttemptsPerRecord": 7}, priority="5")
        answer = await tenant.done("PUT", f"/{stored}", body, version=version, campaignType="voice")
        assert answer["data"]["priority"] == "5"
        assert answer["data"]["dialingStrategy"]["maxAttemptsPerRecord"] == 7
        kept = (await campaigns.get_campaign(database, tenant.iid, stored)).rules.calling_hours
        assert kept.windows == self.WINDOWS

    async def test_it_starts_and_stops(self, tenant, stored):
        assert (await tenant.trigger(stored, "play")).status_code == 200
        assert (await tenant.trigger(stored, "stop")).status_code == 200

    async def test_other_windows_that_overlap_are_refused_with_all_else_that_is_wrong(
        self, tenant, database, stored, shown
    ):
        strategy = await shown(1)
        strategy["callingHours"]["days"][1]["end"] = "8:30 PM"
        body = agentless(1, dialingStrategy={**strategy, "maxAttemptsPerRecord": 0})
        answer = await tenant.ask("PUT", f"/{stored}", body, campaignType="voice")
        assert answer.status_code == 412
        windows, attempts = errors(answer)
        assert windows.startswith("`dialingStrategy.callingHours.days` overlap: MO 9:00 AM–6:00 PM and MO 9:00 AM–6:00")
        assert attempts.startswith("`dialingStrategy.maxAttemptsPerRecord` must be at least 1")
        kept = (await campaigns.get_campaign(database, tenant.iid, stored)).rules.calling_hours
        assert kept.windows == self.WINDOWS
        # nobody else's are an excuse
        strategy = await shown(1)
        answer = await tenant.ask("POST", "", agentless(1, dialingStrategy=strategy), campaignType="voice")
        assert answer.status_code == 412

    async def test_to_leave_out_what_is_there_twice_mends_it(self, tenant, database, stored, shown):
        strategy = await shown(1)
        days = strategy["callingHours"]["days"]
        strategy["callingHours"]["days"] = [days[0], *days[3:5]]
        await tenant.done("PUT", f"/{stored}", agentless(1, dialingStrategy=strategy), campaignType="voice")
        twice = CallingHours((self.WINDOWS[0],) * 2, "UTC")
        kept = (await campaigns.get_campaign(database, tenant.iid, stored)).rules.calling_hours
        assert len(kept.windows) == 3
        await calling_hours.set_hours(database, iid=tenant.iid, campaign_id=stored, hours=twice, actor="test")
        strategy["callingHours"]["days"] = days[:1]
        await tenant.done("PUT", f"/{stored}", agentless(1, dialingStrategy=strategy), campaignType="voice")
        kept = (await campaigns.get_campaign(database, tenant.iid, stored)).rules.calling_hours
        assert kept.windows == self.WINDOWS[:1]


async def test_everything_wrong_is_named(native, path):
    answer = await native.refused(
        412, "PUT", path, {**BODY, "zone": "x", "windows": [{"start": "1", "end": "2"}], "rulePack": "mars"}
    )
    assert len(sentences(answer)) == 4
    await native.refused(412, "PUT", path, {**BODY, "atClosing": "forget"})
    await native.refused(412, "PUT", path, {"zone": "UTC"})
    await native.refused(412, "PUT", path, {**BODY, "pack": "us"})


async def test_not_while_a_run_is_live(native, tenant, path):
    assert (await tenant.trigger(path.split("/")[2], "play")).status_code == 200
    await native.refused(409, "PUT", path, BODY)
