"""Print the table of area codes of the United States for a rule pack, from the geographic data of phonenumbers.

Usage: ``python scripts/area_codes.py``. Paste what it prints under ``[prefixes]`` of a new version of the pack. An area
code whose data name several states is listed under each, so all of their rules count; one that the data do not have is
left out, so the rules of every state count.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict

from phonenumbers.geodata import GEOCODE_DATA

STATES = {
    "Alabama": "AL",
    "Alaska": "AK",
    "Arizona": "AZ",
    "Arkansas": "AR",
    "California": "CA",
    "Colorado": "CO",
    "Connecticut": "CT",
    "Delaware": "DE",
    "Florida": "FL",
    "Georgia": "GA",
    "Hawaii": "HI",
    "Idaho": "ID",
    "Illinois": "IL",
    "Indiana": "IN",
    "Iowa": "IA",
    "Kansas": "KS",
    "Kentucky": "KY",
    "Louisiana": "LA",
    "Maine": "ME",
    "Maryland": "MD",
    "Massachusetts": "MA",
    "Michigan": "MI",
    "Minnesota": "MN",
    "Mississippi": "MS",
    "Missouri": "MO",
    "Montana": "MT",
    "Nebraska": "NE",
    "Nevada": "NV",
    "New Hampshire": "NH",
    "New Jersey": "NJ",
    "New Mexico": "NM",
    "New York": "NY",
    "North Carolina": "NC",
    "North Dakota": "ND",
    "Ohio": "OH",
    "Oklahoma": "OK",
    "Oregon": "OR",
    "Pennsylvania": "PA",
    "Rhode Island": "RI",
    "South Carolina": "SC",
    "South Dakota": "SD",
    "Tennessee": "TN",
    "Texas": "TX",
    "Utah": "UT",
    "Vermont": "VT",
    "Virginia": "VA",
    "Washington State": "WA",
    "Washington D.C.": "DC",
    "West Virginia": "WV",
    "Wisconsin": "WI",
    "Wyoming": "WY",
}
OWN = {
    "AS": ("+1684",),
    "DC": ("+1202", "+1771"),
    "GU": ("+1671",),
    "MP": ("+1670",),
    "PR": ("+1787", "+1939"),
    "VI": ("+1340",),
}
"""Of places whose every number the plan gives one of these."""


def table() -> dict[str, list[str]]:
    """Return ``US-FL`` → its area codes as prefixes, both sorted."""
    found: dict[str, set[str]] = defaultdict(set)
    codes = set(STATES.values())
    for digits, names in GEOCODE_DATA.items():
        if not re.match(r"1[2-9]\d\d", digits):
            continue
        for name in names.get("en", "").split("/"):
            last = name.split(",")[-1].strip()
            state = last if last in codes else STATES.get(last)
            if state is not None:
                found[f"US-{state}"].add(f"+{digits[:4]}")
    for state, prefixes in OWN.items():
        found[f"US-{state}"].update(prefixes)
    return {place: sorted(found[place]) for place in sorted(found)}


def main() -> int:
    """Print the table; return the exit code."""
    for place, prefixes in table().items():
        print(f"{place} = [{', '.join(f'{prefix!r}' for prefix in prefixes)}]".replace("'", '"'))
    return 0


if __name__ == "__main__":
    sys.exit(main())
