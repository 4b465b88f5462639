"""A campaign's calling hours by outdial's own surface, beside the vendor's."""

from __future__ import annotations

import pytest

from support.native import Native, sentences
from support.wire import ever_open

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
