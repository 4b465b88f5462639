"""Phone numbers: reading what people write, writing what trunks want, masking, guessing the time zone.

A number counts when it is *possible* (its length fits its country's plan), not only when it is known to be assigned:
plans change faster than tables, and numbers reserved for fiction must work in tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumber, PhoneNumberFormat, ValidationResult
from phonenumbers import timezone as phone_timezone

from outdial.core.errors import InvalidInputError
from outdial.core.model import NumberFormat, Trunk

LONGEST_DIGITS: Final = 15
"""E.164 §6.2.1: country code and national number together; some plans in the tables allow more."""

_SHORTEST_DIGITS: Final = 7
"""Of what can be dialed across borders; shorter ones are services."""

_E164: Final = re.compile(rf"\+[1-9][0-9]{{{_SHORTEST_DIGITS - 1},{LONGEST_DIGITS - 1}}}")
_SCIENTIFIC: Final = re.compile(r"[0-9,]+e\+?[0-9]+", re.IGNORECASE)
_EXTENSION: Final = re.compile(r"(?:;?ext(?:ension)?=?|x|#)[0-9]+", re.IGNORECASE)
_BETWEEN: Final = re.compile(
    r"[\s().\-/·\u2010-\u2015\u2212\uff08\uff09\uff0d-\uff0f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
)
"""What people put between digits, and the invisible marks that come with copying from web pages."""

_BETWEEN_ASCII: Final = {code: None for code in range(128) if chr(code) != "\n" and _BETWEEN.match(chr(code))}
"""The same for texts of one line that are ASCII, as ``str.translate`` wants it."""

_CAPTURE: Final = re.compile(r"\((?!\?)")

_SHOWN_DIGITS: Final = 4
_UNKNOWN_ZONE: Final = "Etc/Unknown"
_LONGEST_COUNTRY_CODE: Final = 3


def parse_phone(text: str, region: str | None = None) -> str:
    """Return the E.164 form of a number as people write it.

    ``region`` (ISO 3166, e.g. ``US``) serves numbers without ``+``; None = only international numbers are understood.
    What it returns it returns again for that: lists hold the same number whether it was read once or twice. A text of
    which that is not so, like ``+49 (0)030 901820`` with its two zeros, is refused; no number in use is written so.
    Raises InvalidInputError whose sentence says what is wrong; it does not repeat the number.
    """
    if is_plain(text):
        return text
    # a quote before the number is how people make a spreadsheet keep its plus
    bare = _BETWEEN.sub("", text).removeprefix("'").replace("\uff0b", "+")
    if not bare:
        raise InvalidInputError(["the phone number is empty"])
    if _SCIENTIFIC.fullmatch(bare):
        raise InvalidInputError(
            ["a spreadsheet has shortened the phone number (like 1.5E+10): format that column as text and export again"]
        )
    if _EXTENSION.search(bare):
        raise InvalidInputError(["the phone number has an extension, which cannot be dialed"])
    if not bare.removeprefix("+").isdecimal():
        raise InvalidInputError(["the phone number contains letters or signs other than digits and a leading +"])
    if not bare.startswith("+") and region is None:
        raise InvalidInputError(
            ["the phone number has no country: write it with + and country code, or set OUTDIAL_DEFAULT_REGION"]
        )
    if is_plain(bare):
        return bare
    return _national(bare, region) or _parsed(bare, region)


def region_problem(region: str) -> list[str]:
    """Return what is wrong with a region, empty when it has phone numbers."""
    if region in phonenumbers.SUPPORTED_REGIONS:
        return []
    return [f"{region} is no region with phone numbers; it is two capital letters such as US"]


def _parsed(bare: str, region: str | None) -> str:
    if region is not None and region_problem(region):
        raise InvalidInputError(region_problem(region))
    try:
        number = phonenumbers.parse(bare, region)
    except NumberParseException as error:
        raise InvalidInputError([_unparsed(error)]) from None
    country = f"+{number.country_code}"
    written = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    match phonenumbers.is_possible_number_with_reason(number):
        case ValidationResult.IS_POSSIBLE if _E164.fullmatch(written):
            if is_plain(written) or _is_read_as(written, number):
                return written
            sentence = (
                "the phone number can be read in two ways, with a prefix of calls within the country twice or where "
                f"none belongs: write {country} and what is dialed after it from abroad"
            )
        case ValidationResult.IS_POSSIBLE if len(written) > LONGEST_DIGITS:
            sentence = f"the phone number is too long: at most {LONGEST_DIGITS} digits can be dialed"
        case ValidationResult.IS_POSSIBLE | ValidationResult.TOO_SHORT:
            sentence = f"the phone number is too short for {country}"
        case ValidationResult.TOO_LONG:
            sentence = f"the phone number is too long for {country}"
        case ValidationResult.IS_POSSIBLE_LOCAL_ONLY:
            sentence = f"the phone number lacks its area code, which {country} needs"
        case _:
            sentence = f"no phone number of {country} has that many digits"
    raise InvalidInputError([sentence])


def _is_read_as(written: str, number: PhoneNumber) -> bool:
    try:
        again: PhoneNumber = phonenumbers.parse(written)
    except NumberParseException:
        return False
    return again == number


def _unparsed(error: NumberParseException) -> str:
    match error.error_type:
        case NumberParseException.INVALID_COUNTRY_CODE:
            return "the phone number starts with a country code that does not exist"
        case NumberParseException.TOO_LONG:
            return "the phone number is too long"
        case _:
            return "the phone number is too short"


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a country's numbering plan says, as far as it is certain from the first digits and the length."""

    start: int
    """Where the digits after the country code begin."""
    lengths: frozenset[int]
    """Characters of a whole number, the plus included."""
    prefix: str
    """Pattern of what a caller inside the country dials first, empty where that is nothing."""
    special: Callable[[str, int], object] | None
    """Finds that prefix; a number that begins so needs the slow path."""


@lru_cache(maxsize=1000)
def _plan(first_digits: str) -> _Plan | None:
    """Return the plan for the first three digits of a number, None for an unassigned country code."""
    for length in range(1, len(first_digits) + 1):
        code = int(first_digits[:length])
        if code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
            metadata = _metadata(code, phonenumbers.region_code_for_country_code(code))
            if metadata is None:
                return None
            prefix = metadata.national_prefix_for_parsing or ""
            return _Plan(
                start=1 + length,
                lengths=_lengths(metadata, 1 + length),
                prefix=prefix,
                special=re.compile(prefix).match if prefix else None,
            )
    return None


def _metadata(code: int, region: str) -> PhoneMetadata | None:
    found: PhoneMetadata | None = PhoneMetadata.metadata_for_region_or_calling_code(code, region)
    return found


def _lengths(metadata: PhoneMetadata, before: int) -> frozenset[int]:
    plan = metadata.general_desc
    return frozenset() if plan is None else frozenset(before + length for length in plan.possible_length)


def is_plain(text: str) -> bool:
    """Whether the text is already the E.164 form of a possible number: 20 times faster than parsing it.

    A False says nothing. That a True is what parsing would answer is shown by a differential test.
    """
    if _E164.fullmatch(text) is None:
        return False
    plan = _plan(text[1 : 1 + _LONGEST_COUNTRY_CODE])
    return (
        plan is not None
        and len(text) in plan.lengths
        and (plan.special is None or plan.special(text, plan.start) is None)
    )


@dataclass(frozen=True, slots=True)
class _Home:
    """What is certain of the national numbers of a region."""

    country: str
    """``+`` and the country code."""
    lengths: frozenset[int]
    """Digits."""
    starts: str
    """Pattern of prefixes to dial within or out of the country, and of the country code; these need the slow path."""
    special: Callable[[str], object]
    """Finds them."""
    trunk: str
    """The one prefix that is dialed within the country, e.g. ``0``; empty where there is none, or no simple one."""
    out: str
    """Pattern of the prefix that is dialed out of the country, with which a trunk prefix may begin."""
    abroad: Callable[[str], object]
    """Finds it."""
    whole: str
    """Pattern of the plan's numbers; a trunk prefix before one of them is certain to be no part of it."""
    valid: Callable[[str], object]
    """Finds them."""


@lru_cache(maxsize=1000)
def _home(region: str) -> _Home | None:
    """Return what is certain of a region's national numbers, None where nothing is."""
    code = phonenumbers.country_code_for_region(region)
    if not code:
        return None
    # regions that share a code share its main region's lengths, and have their own prefixes
    own, main = _metadata(code, region), _metadata(code, phonenumbers.region_code_for_country_code(code))
    if own is None or main is None:
        return None
    trunk = own.national_prefix_for_parsing or ""
    starts = "|".join(f"(?:{start})" for start in (trunk, own.international_prefix, str(code)) if start)
    simple = trunk.isdecimal() and own.national_prefix_transform_rule is None
    pattern = None if own.general_desc is None else own.general_desc.national_number_pattern
    out = own.international_prefix or "(?!)"
    return _Home(
        country=f"+{code}",
        lengths=_lengths(own, 0) & _lengths(main, 0),
        starts=starts,
        special=re.compile(starts).match,
        trunk=trunk if simple and pattern is not None else "",
        out=out,
        abroad=re.compile(out).match,
        whole=pattern or "",
        valid=re.compile(pattern or "").fullmatch,
    )


def _national(digits: str, region: str | None) -> str | None:
    """Return the E.164 form of a national number where it is certain, None where only parsing can tell."""
    home = None if region is None else _home(region)
    if home is None or not digits.isascii():
        return None
    if home.trunk and digits.startswith(home.trunk):
        rest = digits.removeprefix(home.trunk)
        if home.abroad(digits) is not None or home.valid(digits) is not None or home.valid(rest) is None:
            return None
        digits = rest
    if len(digits) not in home.lengths or home.special(digits) is not None:
        return None
    written = home.country + digits
    return written if is_plain(written) else None


def parse_phones(texts: Sequence[str], region: str | None = None) -> list[str | None]:
    """Return what :func:`parse_phone` returns for each text, or None where only it can tell: ten times as fast.

    What :func:`is_plain` and the national fast path decide is decided here for all texts at once, by the same tables as
    patterns over one long text. That both answer the same is shown by a differential test.
    """
    joined = "\n".join(texts)
    if not joined.isascii() or joined.count("\n") >= max(1, len(texts)):
        # what is left out is read as nothing at all, of which only the slow path can say what is wrong
        joined = "\n".join([text if text.isascii() and "\n" not in text else "" for text in texts])
    bare = joined.translate(_BETWEEN_ASCII)
    home = None if region is None else _home(region)
    if home is not None:
        bare = _national_lines(region or "").sub(home.country, bare)
    whole = _plain_lines()
    found: list[str | None] = whole.findall(bare)
    # almost always every line is one
    if len(found) == len(texts):
        return found
    return [line if whole.fullmatch(line) else None for line in bare.split("\n")] if texts else []


@lru_cache(maxsize=1)
def _plain_lines() -> re.Pattern[str]:
    """Return the pattern of lines that are plain, as :func:`is_plain` says."""
    tree: dict[str, dict[str, list[str]]] = {}
    for code in sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE):
        plan = _plan(str(code))
        if plan is not None:
            # by its first digits: a number is held against few of the two hundred plans
            first, second = str(code)[:1], str(code)[1:2]
            digits = (length - plan.start for length in plan.lengths if _fits(length - 1))
            tree.setdefault(first, {}).setdefault(second, []).append(
                f"{str(code)[2:]}{_not_before(plan.prefix)}{_digits(digits)}$"
            )
    codes = _any(first + _any(second + _any(plans) for second, plans in rest.items()) for first, rest in tree.items())
    return re.compile(rf"^\+{codes}", re.MULTILINE)


@lru_cache(maxsize=1000)
def _national_lines(region: str) -> re.Pattern[str]:
    """Return the pattern of what the country code takes the place of, in lines that :func:`_national` is certain of:
    the trunk prefix, or nothing."""
    home = _home(region)
    plan = None if home is None else _plan(home.country[1:])
    if home is None or plan is None:
        return re.compile("(?!)")
    country = len(home.country) - 1
    rest = _not_before(home.starts) + _not_before(plan.prefix)
    rest += f"(?={_digits(length for length in home.lengths if _fits(country + length))}$)"
    whole = f"(?:{_uncaptured(home.whole)})$"
    trunk = f"{_not_before(home.out)}(?!{whole}){home.trunk}(?={whole})" if home.trunk else "(?!)"
    bare = f"(?!{home.trunk})" if home.trunk else ""
    return re.compile(f"^(?:{trunk}|{bare}){rest}", re.MULTILINE)


def _fits(digits: int) -> bool:
    """Whether E.164 has numbers of so many digits, the country code included; the shortest is that of ``_E164``."""
    return _SHORTEST_DIGITS <= digits <= LONGEST_DIGITS


def _any(patterns: Iterable[str]) -> str:
    return f"(?:{'|'.join(patterns)})"


def _digits(lengths: Iterable[int]) -> str:
    """Return the pattern of digits of one of these lengths, of nothing when there is none."""
    return _any([f"[0-9]{{{length}}}" for length in sorted(lengths)] or ["(?!)"])


def _not_before(pattern: str) -> str:
    return f"(?!{_uncaptured(pattern)})" if pattern else ""


def _uncaptured(pattern: str) -> str:
    """Return the pattern without groups that are remembered; the tables' patterns use them for other rules."""
    return _CAPTURE.sub("(?:", pattern)


def written_for(trunk: Trunk, phone: str) -> str:
    """Return an E.164 number as the trunk wants it in the INVITE."""
    match trunk.number_format:
        case NumberFormat.E164_PLUS:
            return trunk.number_prefix + phone
        case NumberFormat.E164:
            return trunk.number_prefix + phone.removeprefix("+")


def mask(phone: str) -> str:
    """Return the number as logs may show it, ``+*******0001``: at most the last four digits, at most half."""
    plus = "+" if phone.startswith("+") else ""
    digits = len(phone) - len(plus)
    shown = min(_SHOWN_DIGITS, digits // 2)
    return plus + "*" * (digits - shown) + phone[len(phone) - shown :]


@lru_cache(maxsize=100_000)
def zones_of(phone: str) -> tuple[str, ...]:
    """Return the IANA zones an E.164 number may be in by its prefix; none when its prefix says nothing.

    A mobile number says where it was assigned, not where its owner is.
    """
    if not phone:
        # of a person who was erased
        return ()
    zones = phone_timezone.time_zones_for_number(phonenumbers.parse(phone))
    return () if _UNKNOWN_ZONE in zones else tuple(zones)


@lru_cache(maxsize=100_000)
def regions_of(phone: str) -> tuple[str, ...]:
    """Return the regions (ISO 3166) an E.164 number may belong to: the one its range is assigned to, else every one
    that shares its country code; none for a code that is no country's."""
    number = phonenumbers.parse(phone)
    region: str | None = phonenumbers.region_code_for_number(number)
    found = (region,) if region else tuple(phonenumbers.region_codes_for_country_code(number.country_code or 0))
    return tuple(each for each in found if each.isalpha())
