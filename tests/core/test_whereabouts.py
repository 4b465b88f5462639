"""Where a person may be: the contact's own zone, the number, the state a list names; all that stays open counts."""

from __future__ import annotations

from datetime import date, time

import pytest

from outdial.core.model import CallingWindow
from outdial.core.phone import regions_of
from outdial.core.rule_packs import Rule, RulePack
from outdial.core.whereabouts import Origin, whereabouts

EAST, CENTRAL, WEST = "America/New_York", "America/Chicago", "America/Los_Angeles"


def rule(code: str, *places: str) -> Rule:
    day = (CallingWindow(0, time(8), time(20)),)
    return Rule(code, places, "t", "s", date(2026, 1, 1), True, "", day, (), {})


PACK = RulePack(
    "test",
    "2026-01",
    "t",
    date(2026, 1, 1),
    "n",
    (),
    (
        rule("us_all", "US"),
        rule("us_fl", "US-FL"),
        rule("us_wa", "US-WA"),
        rule("de_all", "DE"),
        rule("au_wa", "AU-WA"),
    ),
    {
        "US-NY": (EAST,),
        "US-FL": (EAST, CENTRAL),
        "US-TX": (CENTRAL,),
        "US-WA": (WEST,),
        "AU-WA": ("Australia/Perth",),
        "DE": ("Europe/Berlin",),
    },
    {"+1212": ("US-NY",), "+1305": ("US-FL",), "+1206": ("US-WA",)},
)
NEW_YORK, MIAMI, NOBODYS, GERMAN, FREEPHONE = (
    *("+12125550100", "+13055550100", "+12995550100"),
    *("+493012345678", "+80012345678"),
)


def found(phone, *, zone=None, state=None, zones=(EAST,), pack=PACK):
    return whereabouts(
        pack, phone=phone, contact_zone=zone, contact_state=state, number_zones=zones, campaign_zone="UTC"
    )


def codes(where):
    return {each.code for each in PACK.rules_of(where.places)}


class TestPlaces:
    def test_of_the_number_alone(self):
        where = found(MIAMI)
        assert (where.places, where.place_origins) == (("US-FL",), (Origin.NUMBER,))
        assert codes(where) == {"us_all", "us_fl"}

    def test_a_number_whose_state_is_not_known_has_the_rules_of_all(self):
        where = found("+12995550100")
        assert "US" in where.places
        assert {"us_all", "us_fl", "us_wa"} <= codes(where)
        assert "de_all" not in codes(where)

    def test_the_contacts_zone_narrows_a_number_of_unknown_state(self):
        assert found(NOBODYS, zone=EAST).places == ("US-NY", "US-FL")

    def test_a_zone_that_agrees_with_the_number_adds_nothing(self):
        assert found(MIAMI, zone=CENTRAL).places == ("US-FL",)

    def test_one_that_contradicts_it_adds_the_places_it_has(self):
        where = found(MIAMI, zone=WEST)
        assert where.places == ("US-FL", "US-WA")
        assert where.zones == (WEST,)

    def test_another_country_adds_its_rules(self):
        assert codes(found(MIAMI, zone="Europe/Berlin")) == {"us_all", "us_fl", "de_all"}

    @pytest.mark.parametrize("state", ["FL", "US-FL", " fl "])
    def test_the_numbers_own_state_counts_beside_the_lists(self, state):
        where = found(NEW_YORK, state=state)
        assert where.places == ("US-NY", "US-FL")

    def test_a_state_makes_a_country_precise(self):
        assert "US" not in found(NOBODYS, state="TX").places
        assert "US-TX" in found(NOBODYS, state="TX").places

    def test_a_state_means_one_of_the_numbers_country_where_it_can(self):
        assert found(NEW_YORK, state="WA").places == ("US-NY", "US-WA")
        assert set(found(FREEPHONE, state="WA", zones=()).places) == {"US-WA", "AU-WA"}

    @pytest.mark.parametrize("state", ["Florida", "??"])
    def test_a_state_that_nobody_understands_is_any(self, state):
        where = found(NEW_YORK, state=state)
        assert where.places == ("US",)
        assert codes(where) == {"us_all", "us_fl", "us_wa"}

    def test_nothing_known_is_everything(self):
        where = found(FREEPHONE, zones=())
        assert set(where.places) == set(PACK.zones)
        assert where.place_origins == (Origin.RULE_PACK,)

    def test_a_place_outside_the_pack_is_said_as_it_is(self):
        assert found("+33123456789", zones=("Europe/Paris",)).places == ("FR",)


class TestZones:
    def test_without_a_pack(self):
        assert found(MIAMI, zone=WEST, pack=None).zones == (WEST,)
        assert found(MIAMI, pack=None).zones == (EAST,)
        lost = found(FREEPHONE, zones=(), pack=None)
        assert (lost.zones, lost.zone_origins) == (("UTC",), (Origin.CAMPAIGN,))

    def test_the_contacts_own_wins(self):
        assert found(MIAMI, zone=WEST, state="FL").zones == (WEST,)

    def test_a_state_elsewhere_adds_its_clock(self):
        where = found(NEW_YORK, state="WA")
        assert where.zones == (EAST, WEST)
        assert where.zone_origins == (Origin.NUMBER, Origin.CONTACT_STATE)
        assert found(NEW_YORK, state="FL").zones == (EAST,)
        assert found(FREEPHONE, state="US-TX", zones=()).zones == (CENTRAL,)

    def test_nothing_known_is_every_clock(self):
        where = found(FREEPHONE, zones=())
        assert set(where.zones) == {"UTC", *(zone for zones in PACK.zones.values() for zone in zones)}


@pytest.mark.parametrize(
    ("phone", "regions"),
    [(GERMAN, ("DE",)), ("+14165550100", ("CA",)), (FREEPHONE, ()), ("+12125550100", ("US",))],
)
def test_regions(phone, regions):
    assert regions_of(phone) == regions


def test_a_range_that_is_nobodys_may_be_of_every_region_of_its_code():
    assert {"US", "CA", "JM"} <= set(regions_of("+15550100001"))
