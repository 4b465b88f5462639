"""Where a person may be, as far as it can be known: the zones whose clocks count, and the places whose rules hold.

The contact's own zone comes first, else every zone plausible for the number, else the campaign's. Whatever stays open
is read strictly: all plausible zones and all plausible places count at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from outdial.core.phone import regions_of
from outdial.core.rule_packs import RulePack, country_of

LONGEST_PREFIX: Final = 8
"""Characters of a pack's longest number prefix, the plus included."""


class Origin(StrEnum):
    """Where a zone or a place is known from."""

    CONTACT_ZONE = "contact_zone"
    CONTACT_STATE = "contact_state"
    NUMBER = "number"
    CAMPAIGN = "campaign"
    """Nothing is known of the person: the campaign's zone."""
    RULE_PACK = "rule_pack"
    """Nothing is known of the person: every place of the pack."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where somebody may be, and how that is known."""

    zones: tuple[str, ...]
    zone_origins: tuple[Origin, ...]
    places: tuple[str, ...] = ()
    """Without a pack there are none; a country alone stands for all of its states."""
    place_origins: tuple[Origin, ...] = ()


def zones_for(*, contact_zone: str | None, number_zones: Sequence[str], campaign_zone: str) -> tuple[str, ...]:
    """Return the zones that count for a person without a rule pack: their own, else every plausible one of the number,
    else the campaign's."""
    if contact_zone:
        return (contact_zone,)
    return tuple(number_zones) or (campaign_zone,)


def whereabouts(
    pack: RulePack | None,
    *,
    phone: str,
    contact_zone: str | None,
    contact_state: str | None,
    number_zones: Sequence[str],
    campaign_zone: str,
) -> Whereabouts:
    """Return where the owner of an E.164 number may be.

    ``contact_state`` is what the contact's list says, e.g. ``FL`` or ``US-FL``; the pack's places decide what it means.
    """
    if pack is None:
        zones = zones_for(contact_zone=contact_zone, number_zones=number_zones, campaign_zone=campaign_zone)
        return Whereabouts(zones, (_zone_origin(contact_zone, number_zones),))
    places, origins = _places(pack, phone, contact_zone, contact_state)
    if contact_zone:
        return Whereabouts((contact_zone,), (Origin.CONTACT_ZONE,), places, origins)
    stated = _state_places(pack, contact_state, places)
    stated_zones = _zones_of(pack, stated)
    if number_zones and (not stated_zones or set(stated_zones) & set(number_zones)):
        return Whereabouts(tuple(number_zones), (Origin.NUMBER,), places, origins)
    if number_zones:
        # lives elsewhere than the number says, or took it along: both clocks count
        both = tuple(dict.fromkeys((*number_zones, *stated_zones)))
        return Whereabouts(both, (Origin.NUMBER, Origin.CONTACT_STATE), places, origins)
    if stated_zones:
        return Whereabouts(stated_zones, (Origin.CONTACT_STATE,), places, origins)
    unknown = tuple(dict.fromkeys((campaign_zone, *_zones_of(pack, places))))
    return Whereabouts(unknown, (Origin.CAMPAIGN, Origin.RULE_PACK), places, origins)


def _zone_origin(contact_zone: str | None, number_zones: Sequence[str]) -> Origin:
    if contact_zone:
        return Origin.CONTACT_ZONE
    return Origin.NUMBER if number_zones else Origin.CAMPAIGN


def _places(
    pack: RulePack, phone: str, contact_zone: str | None, contact_state: str | None
) -> tuple[tuple[str, ...], tuple[Origin, ...]]:
    """Return every place whose rules hold for the person.

    The number's own state always counts, also beside another one that the contact's list names: the laws of Florida,
    Oklahoma and others presume that whoever has an area code of theirs lives there.
    """
    of_number = _number_places(pack, phone)
    of_zone = tuple(place for place, zones in pack.zones.items() if contact_zone in zones)
    if contact_state:
        stated = _state_places(pack, contact_state, of_number)
        if not stated:
            # something is said, and nobody knows what: any state of the country
            countries = tuple(dict.fromkeys(country_of(place) for place in of_number)) or tuple(pack.zones)
            return countries, (Origin.CONTACT_STATE, Origin.NUMBER)
        return _narrowed(of_number, stated), (Origin.CONTACT_STATE, Origin.NUMBER)
    if of_zone and of_number:
        return _agreed(of_number, of_zone), (Origin.CONTACT_ZONE, Origin.NUMBER)
    if of_zone:
        return of_zone, (Origin.CONTACT_ZONE,)
    if of_number:
        return of_number, (Origin.NUMBER,)
    return tuple(pack.zones), (Origin.RULE_PACK,)


def _number_places(pack: RulePack, phone: str) -> tuple[str, ...]:
    """Return the places a number is assigned to, none where its plan says nothing."""
    for length in range(min(LONGEST_PREFIX, len(phone)), 1, -1):
        found = pack.prefixes.get(phone[:length])
        if found is not None:
            return found
    return regions_of(phone)


def _state_places(pack: RulePack, state: str | None, of_number: Sequence[str]) -> tuple[str, ...]:
    """Return the pack's places that a contact's state may mean: those of the number's country, where there are any."""
    if not state:
        return ()
    word = state.strip().upper()
    found = [place for place in pack.zones if "-" in place and word in {place, place.partition("-")[2]}]
    countries = {country_of(place) for place in of_number}
    return tuple(place for place in found if country_of(place) in countries) or tuple(found)


def _narrowed(of_number: Sequence[str], stated: Sequence[str]) -> tuple[str, ...]:
    """Return both, a country of the number alone (no state known) being what the stated one makes precise."""
    precise = {country_of(place) for place in stated}
    return tuple(dict.fromkeys((*(place for place in of_number if place not in precise), *stated)))


def _agreed(of_number: Sequence[str], of_zone: Sequence[str]) -> tuple[str, ...]:
    """Return the places that number and zone both allow; where they contradict each other, those of both."""
    of_zone_countries = {country_of(place) for place in of_zone}
    both: list[str] = []
    for place in of_number:
        if place in of_zone or place not in of_zone_countries:
            both.append(place)
        elif country_of(place) == place:
            both += [each for each in of_zone if country_of(each) == place]
    common = [place for place in both if place in of_zone]
    return tuple(dict.fromkeys(common)) if common else tuple(dict.fromkeys((*of_number, *of_zone)))


def _zones_of(pack: RulePack, places: Sequence[str]) -> tuple[str, ...]:
    """Return the zones of the places, a country's being those of all of its states."""
    return tuple(
        dict.fromkeys(
            zone
            for known, zones in pack.zones.items()
            if any(known == place or known.startswith(f"{place}-") for place in places)
            for zone in zones
        )
    )
