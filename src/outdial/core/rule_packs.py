"""Rule packs: what the law of a place says about calling hours, as versioned data with its sources.

A pack is read from a document (the shell reads the file), checked, and never changed: a new reading of the law is a new
version beside the old one, so that a run keeps to the version it began with and an archive can be recomputed. A pack
only ever narrows a campaign's hours. It is no legal advice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, time
from types import MappingProxyType
from typing import Any, Final

from outdial.core.model import CallingWindow
from outdial.core.zones import valid_zone

SCHEMA: Final = 1
"""Of the documents this outdial reads."""

DAYS: Final = ("mo", "tu", "we", "th", "fr", "sa", "su")
"""In the order of ``datetime.weekday``."""

_NAME: Final = re.compile(r"[a-z][a-z-]{1,30}")
_VERSION: Final = re.compile(r"20[0-9]{2}-(0[1-9]|1[0-2])(\.[1-9][0-9]?)?")
_PLACE: Final = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{2,50}")
_PREFIX: Final = re.compile(r"\+[1-9][0-9]{1,7}")
_CLOCK: Final = re.compile(r"(?:([01][0-9]|2[0-3]):([0-5][0-9])|24:00)")

_PACK_KEYS: Final = frozenset(
    {"schema", "name", "version", "title", "checked", "notice", "includes", "rules", "zones", "prefixes"}
)
_RULE_KEYS: Final = frozenset(
    {"code", "places", "title", "source", "checked", "confirmed", "note", "windows", "holidays", "dates"}
)
_WINDOW_KEYS: Final = frozenset({"days", "from", "to"})


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One rule of one law: when people of a place may be called, by the clock of every zone they may be in."""

    code: str
    """Stable, unique over all packs: what a decision names."""
    places: tuple[str, ...]
    """ISO 3166: ``US`` (all of it) or ``US-FL``."""
    title: str
    source: str
    """Statute, regulation or code of practice, by name and section."""
    checked: date
    """When somebody last held it against its source."""
    confirmed: bool
    """False: not held against the text of the source itself; the stricter of the readings found is what stands here."""
    note: str
    """What the rule leaves out or reads strictly."""
    windows: tuple[CallingWindow, ...]
    holidays: tuple[str, ...]
    """Calendars on whose dates nobody may be called."""
    dates: Mapping[str, str]
    """``MM-DD`` of every year on which nobody may be called → its name; for days that no calendar has."""


@dataclass(frozen=True, slots=True, eq=False)
class RulePack:
    """A pack as read. Compared by identity, since it is read once."""

    name: str
    version: str
    """``2026-11``; a second one in the same month is ``2026-11.1``."""
    title: str
    checked: date
    notice: str
    """What the pack is not."""
    includes: tuple[str, ...]
    """Other packs, each at a version, whose rules are among these."""
    rules: tuple[Rule, ...]
    zones: Mapping[str, tuple[str, ...]]
    """Place → the IANA zones in it; every place that numbers or zones can be told for."""
    prefixes: Mapping[str, tuple[str, ...]]
    """``+1305`` → the places that numbers beginning so are assigned to."""

    @property
    def full_name(self) -> str:
        """``us@2026-11``."""
        return f"{self.name}@{self.version}"

    def covers(self, place: str) -> bool:
        """Whether any rule says something about the place."""
        return any(concerns(ruled, place) for rule in self.rules for ruled in rule.places)

    def rules_of(self, places: Iterable[str]) -> tuple[Rule, ...]:
        """Return every rule that holds in any of the places; ``US`` alone stands for all of its states."""
        wanted = tuple(places)
        return tuple(
            rule for rule in self.rules if any(concerns(ruled, place) for ruled in rule.places for place in wanted)
        )

    def calendars(self) -> frozenset[str]:
        """Return the holiday calendars its rules refer to."""
        return frozenset(calendar for rule in self.rules for calendar in rule.holidays)


def concerns(ruled: str, place: str) -> bool:
    """Whether a rule made for one place may concern somebody in another: the same, its country, or one of its states
    where the state is not known."""
    return ruled == place or place.startswith(f"{ruled}-") or ruled.startswith(f"{place}-")


def country_of(place: str) -> str:
    """Return the country of a place, ``US`` of ``US-FL``."""
    return place.partition("-")[0]


def read_pack(document: Mapping[str, Any], *, included: Iterable[RulePack] = ()) -> RulePack:
    """Return the pack of a document, with the rules of the packs it includes, which the caller has read.

    Raises ValueError whose sentences name every fault: :func:`problems_of`.
    """
    problems = problems_of(document)
    if problems:
        raise ValueError(" ".join(problems))
    rules = [_rule(item) for item in document.get("rules", ())]
    zones = {place: tuple(names) for place, names in document.get("zones", {}).items()}
    prefixes: dict[str, tuple[str, ...]] = {}
    for place, found in document.get("prefixes", {}).items():
        for prefix in found:
            prefixes[prefix] = (*prefixes.get(prefix, ()), place)
    for other in included:
        rules += other.rules
        zones = _together(zones, other.zones)
        prefixes = _together(prefixes, other.prefixes)
    codes = [rule.code for rule in rules]
    twice = sorted({code for code in codes if codes.count(code) > 1})
    if twice:
        raise ValueError(f"These rule codes stand in it twice: {', '.join(twice)}.")
    return RulePack(
        name=document["name"],
        version=document["version"],
        title=document["title"],
        checked=document["checked"],
        notice=document["notice"],
        includes=tuple(document.get("includes", ())),
        rules=tuple(rules),
        zones=MappingProxyType(zones),
        prefixes=MappingProxyType(prefixes),
    )


def _together(left: Mapping[str, tuple[str, ...]], right: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(dict.fromkeys((*left.get(key, ()), *right.get(key, ())))) for key in {**left, **right}}


def problems_of(document: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a document, in sentences that name the place; empty when it is a pack."""
    problems = _unknown("the pack", document, _PACK_KEYS)
    if document.get("schema") != SCHEMA:
        problems.append(f"`schema` must be {SCHEMA}, not {document.get('schema')!r}.")
    problems += _texts("", document, {"name": _NAME, "version": _VERSION, "title": None, "notice": None})
    problems += _date("", document)
    if not (document.get("rules") or document.get("includes")):
        problems.append("`rules` must hold at least one rule, or `includes` one pack.")
    rules = _list("rules", document, problems)
    for index, item in enumerate(rules):
        problems += _rule_problems(f"rules[{index}]", item)
    zoned = _table("zones", document, problems)
    for place, names in zoned.items():
        if not _PLACE.fullmatch(place):
            problems.append(f"`zones` has {place!r}, which is no place like US or US-FL.")
        problems += [f"`zones.{place}` has {name!r}, which is no IANA zone." for name in names if not valid_zone(name)]
    for place, found in _table("prefixes", document, problems).items():
        if place not in zoned:
            problems.append(f"`prefixes.{place}` is a place that `zones` does not have.")
        wrong = [prefix for prefix in found if not _PREFIX.fullmatch(str(prefix))]
        problems += [f"`prefixes.{place}` has {prefix!r}, which is no prefix like +1305." for prefix in wrong]
    for index, item in enumerate(rules):
        places = item.get("places", ()) if isinstance(item, Mapping) else ()
        problems += [
            f"`rules[{index}].places` has {place!r}, of which `zones` has nothing."
            for place in places
            if not any(concerns(str(place), known) for known in zoned)
        ]
    return problems


def _rule_problems(at: str, item: Any) -> list[str]:
    if not isinstance(item, Mapping):
        return [f"`{at}` must be a table."]
    problems = _unknown(f"`{at}`", item, _RULE_KEYS)
    problems += _texts(f"{at}.", item, {"code": _CODE, "title": None, "source": None})
    problems += _date(f"{at}.", item)
    if not isinstance(item.get("confirmed"), bool):
        problems.append(f"`{at}.confirmed` must be true or false.")
    places = _list("places", item, problems, at=f"{at}.")
    if not places:
        problems.append(f"`{at}.places` must hold at least one place.")
    problems += [
        f"`{at}.places` has {place!r}, which is no place like US or US-FL."
        for place in places
        if not _PLACE.fullmatch(str(place))
    ]
    problems += [
        f"`{at}.holidays` has {name!r}, which is no calendar like US or US-FL."
        for name in _list("holidays", item, problems, at=f"{at}.")
        if not _PLACE.fullmatch(str(name))
    ]
    for key in _table("dates", item, problems):
        try:
            date.fromisoformat(f"2024-{key}")
        except ValueError:
            problems.append(f"`{at}.dates` has {key!r}, which is no date like 12-24.")
    if "windows" not in item:
        problems.append(f"`{at}.windows` is missing; an empty list would never let anybody be called.")
    for index, window in enumerate(_list("windows", item, problems, at=f"{at}.")):
        problems += _window_problems(f"{at}.windows[{index}]", window)
    return problems


def _window_problems(at: str, window: Any) -> list[str]:
    if not isinstance(window, Mapping):
        return [f"`{at}` must be a table with days, from and to."]
    problems = _unknown(f"`{at}`", window, _WINDOW_KEYS)
    if parse_days(str(window.get("days"))) is None:
        problems.append(f"`{at}.days` must be like 'mo-fr' or 'sa,su', not {window.get('days')!r}.")
    for key in ("from", "to"):
        if parse_clock(str(window.get(key))) is None:
            problems.append(f"`{at}.{key}` must be a time like '08:00', not {window.get(key)!r}.")
    if not problems and window["to"] <= window["from"]:
        problems.append(f"`{at}` ends at {window['to']}, which is not after its start at {window['from']}.")
    return problems


def _rule(item: Mapping[str, Any]) -> Rule:
    windows: list[CallingWindow] = []
    for window in item["windows"]:
        start, end = parse_clock(window["from"]), parse_clock(window["to"])
        weekdays = parse_days(window["days"]) or ()
        windows += [CallingWindow(weekday, start or time.min, end or time.max) for weekday in weekdays]
    return Rule(
        code=item["code"],
        places=tuple(item["places"]),
        title=item["title"],
        source=item["source"],
        checked=item["checked"],
        confirmed=item["confirmed"],
        note=item.get("note", ""),
        windows=tuple(windows),
        holidays=tuple(item.get("holidays", ())),
        dates=MappingProxyType(dict(item.get("dates", {}))),
    )


def parse_days(text: str) -> tuple[int, ...] | None:
    """Return the weekdays of ``mo-fr``, ``sa,su`` or ``mo-th,sa``, None when it is nothing of the kind."""
    found: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = part.strip().partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            return None
        start, end = DAYS.index(first), DAYS.index(last or first)
        # fr-mo goes over the weekend
        found.update((start + step) % len(DAYS) for step in range((end - start) % len(DAYS) + 1))
    return tuple(sorted(found))


def parse_clock(text: str) -> time | None:
    """Return the time of day of ``08:00``, ``time.max`` for ``24:00``, None when it is nothing of the kind."""
    found = _CLOCK.fullmatch(text)
    if found is None:
        return None
    return time.max if found[1] is None else time(int(found[1]), int(found[2]))


def _unknown(what: str, table: Mapping[str, Any], known: frozenset[str]) -> list[str]:
    return [f"{what} has `{key}`, which means nothing." for key in sorted(set(table) - known)]


def _texts(at: str, table: Mapping[str, Any], wanted: Mapping[str, re.Pattern[str] | None]) -> list[str]:
    problems = []
    for key, pattern in wanted.items():
        value = table.get(key)
        if not isinstance(value, str) or not value.strip():
            problems.append(f"`{at}{key}` must be text.")
        elif pattern is not None and not pattern.fullmatch(value):
            problems.append(f"`{at}{key}` must not be {value!r}.")
    return problems


def _date(at: str, table: Mapping[str, Any]) -> list[str]:
    return [] if isinstance(table.get("checked"), date) else [f"`{at}checked` must be a date like 2026-11-26."]


def _list(key: str, table: Mapping[str, Any], problems: list[str], *, at: str = "") -> list[Any]:
    value = table.get(key, [])
    if isinstance(value, list):
        return value
    problems.append(f"`{at}{key}` must be a list.")
    return []


def _table(key: str, table: Mapping[str, Any], problems: list[str]) -> Mapping[str, Any]:
    value = table.get(key, {})
    if isinstance(value, Mapping):
        return value
    problems.append(f"`{key}` must be a table.")
    return {}
