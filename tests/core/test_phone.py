"""Phone numbers: what people write, what cannot be dialed, and that the fast path answers as the parser does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import phonenumbers
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneNumberType

from outdial.core import phone
from outdial.core.errors import InvalidInputError
from outdial.core.model import NumberFormat
from outdial.core.phone import mask, parse_phone, written_for, zones_of
from values import TRUNK

FICTION = "+15550100001"


@pytest.mark.parametrize(
    ("text", "region", "written"),
    [
        (FICTION, None, FICTION),
        (" +1 (555) 010-0001 ", None, FICTION),
        ("(+1) 555.010.0001", None, FICTION),
        ("'+15550100001", None, FICTION),
        ("\u202a+1 555\u2011010\u20110001\u202c", None, FICTION),
        ("\uff0b1 555 010 0001", None, FICTION),
        ("+\u0661\u0665\u0665\u0665 010 0001", None, FICTION),
        ("555 010 0001", "US", FICTION),
        ("1 555 010 0001", "US", FICTION),
        ("15550100001", "US", FICTION),
        ("011 44 20 7946 0958", "US", "+442079460958"),
        ("+44 (0)20 7946 0958", None, "+442079460958"),
        ("020 7946 0958", "GB", "+442079460958"),
        ("030/901820", "DE", "+4930901820"),
        ("+39 06 698 12345", None, "+390669812345"),
        ("06 698 12345", "IT", "+390669812345"),
        ("+54 9 11 2345 6789", None, "+5491123456789"),
        ("+800 1234 5678", None, "+80012345678"),
    ],
)
def test_what_people_write(text, region, written):
    assert parse_phone(text, region) == written


@pytest.mark.parametrize(
    ("text", "region", "sentence"),
    [
        ("", "US", "empty"),
        ("  - ", "US", "empty"),
        ("555 010 0001", None, "OUTDIAL_DEFAULT_REGION"),
        ("00 1 555 010 0001", None, "OUTDIAL_DEFAULT_REGION"),
        ("+999 555 010 0001", None, "does not exist"),
        ("+", None, "letters or signs"),
        ("+1", None, "too short"),
        ("+1 555 01", None, "too short for +1"),
        ("+1 010 0001", None, "area code"),
        ("+1 555 010 0001 2", None, "too long for +1"),
        ("+15550100001" * 30, None, "letters or signs"),
        ("5" * 300, "US", "too long"),
        ("+49 123456789012345", None, "at most 15 digits"),
        ("+290 12", None, "too short"),
        ("+852 123456 7890", None, "has that many digits"),
        ("+1 555 010 0001 x 5", None, "extension"),
        ("+1 555 010 0001 ext. 5", None, "extension"),
        ("+15550100001;ext=5", None, "extension"),
        ("+1 555 010 0001 # 5", None, "extension"),
        ("1.55501E+10", "US", "spreadsheet"),
        ("1,55501e10", "US", "spreadsheet"),
        ("1-800-FLOWERS", "US", "letters or signs"),
        ("Call +1 555 010 0001", None, "letters or signs"),
        ("+1 555 010 0001, +1 555 010 0002", None, "letters or signs"),
        ("+1+5550100001", None, "letters or signs"),
        ("555 010 0001", "XX", "XX is no region"),
        ("555 010 0001", "us", "us is no region"),
    ],
)
def test_what_cannot_be_dialed_is_refused_with_its_reason(text, region, sentence):
    with pytest.raises(InvalidInputError) as refused:
        parse_phone(text, region)
    (problem,) = refused.value.problems
    assert sentence in problem
    assert len(problem) < 200


@pytest.mark.parametrize(
    ("text", "region"),
    [("911", "US"), ("112", "DE"), ("110", "DE"), ("999", "GB"), ("112", "FR"), ("000", "AU"), ("100", "IN")],
)
def test_emergency_numbers_are_never_dialed(text, region):
    with pytest.raises(InvalidInputError):
        parse_phone(text, region)


def test_a_refusal_does_not_repeat_the_number():
    with pytest.raises(InvalidInputError) as refused:
        parse_phone("+1 555 010 0001 2345")
    assert "0001" not in refused.value.message


TWICE = "+49 (0)030 901820"
"""Germany's 0 of calls within the country, twice: once read it is +49030901820, twice read +4930901820."""


@pytest.mark.parametrize(("text", "region"), [(TWICE, None), ("0093950288", "AU")])
def test_what_would_be_another_number_if_it_were_read_again_is_refused(text, region):
    with pytest.raises(InvalidInputError, match="read in two ways"):
        parse_phone(text, region)


country_codes = st.sampled_from(sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE))
numbers = st.builds(
    lambda code, digits: f"+{code}{digits}", country_codes, st.text(alphabet="0123456789", min_size=2, max_size=14)
)


@given(numbers)
@example("+4402079460958")
@example("+390669812345")
@example("+5491123456789")
@example("+81357330001")
def test_the_fast_path_answers_as_the_parser(number):
    if phone.is_plain(number):
        assert phone._parsed(number, None) == number


@given(
    country_codes,
    st.sampled_from(["", "0", "00", "(0)0", "8", "1", "15"]),
    st.text(alphabet="0123456789", min_size=5, max_size=13),
    st.sampled_from([None, "AR", "AU", "BY", "DE", "IT", "MX", "RU", "US"]),
)
@example(49, "(0)0", "30901820", None)
@settings(max_examples=2000)
def test_a_number_that_was_read_is_read_as_itself(code, prefix, digits, region):
    for text in (f"+{code}{prefix}{digits}", f"{prefix}{digits}"):
        with contextlib.suppress(InvalidInputError):
            written = parse_phone(text, region)
            # a refusal of it would be a difference too
            assert slow(written, None) == written, (text, region)


def slow(text: str, region: str | None) -> str | None:
    """What phonenumbers alone answers; None when it refuses."""
    try:
        return phone._parsed(text, region)
    except InvalidInputError:
        return None


def shapes(random: Random, region: str) -> Iterator[str]:
    """Numbers of a region as its plan has them, near them, and far from them: national digits."""
    for kind in (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE, PhoneNumberType.TOLL_FREE):
        example_number = phonenumbers.example_number_for_type(region, kind)
        if example_number is None:
            continue
        digits = phonenumbers.national_significant_number(example_number)
        yield digits
        for _ in range(25):
            kept = random.randrange(len(digits))
            yield digits[:kept] + "".join(random.choices("0123456789", k=len(digits) - kept))
            yield digits[:kept] + random.choice("0123456789") + digits[kept:]
            yield digits[:kept] + digits[kept + 1 :]
    for length in range(2, 16):
        for _ in range(4):
            yield "".join(random.choices("0123456789", k=length))


def test_the_fast_paths_answer_as_the_parser_for_numbers_of_every_region():
    random, compared, fast = Random(20_261_126), 0, 0
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        code = phonenumbers.country_code_for_region(region)
        trunk = phonenumbers.PhoneMetadata.metadata_for_region(region).national_prefix or "0"
        for digits in shapes(random, region):
            international = f"+{code}{digits}"
            if phone.is_plain(international):
                fast += 1
                assert slow(international, None) == international, international
            for text in (digits, f"{trunk}{digits}"):
                home = phone._national(text, region)
                if home is not None:
                    fast += 1
                    assert slow(text, region) == home, (text, region)
            compared += 3
    for code in phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS:
        for length in range(4, 15):
            for _ in range(40):
                number = f"+{code}{''.join(random.choices('0123456789', k=length))}"
                if phone.is_plain(number):
                    fast += 1
                    assert slow(number, None) == number, number
                compared += 1
    assert compared >= 100_000
    # a fast path that is never taken would pass too
    assert fast >= 60_000
    print(f"{compared} numbers, {fast} by a fast path")


def written(random: Random, digits: str) -> str:
    """Digits as somebody might write them: with what may stand between, and now and then what may not."""
    parts = [digit + random.choice((*[""] * 8, " ", "-", ".", " (", ") ", "/", "\t")) for digit in digits]
    sign = random.choice([*[""] * 60, "x", "\u00a0", "\n", "'", "+"])
    return random.choice(("", " ", "(")) + "".join(parts) + sign


def one_by_one(text: str, region: str | None) -> str | None:
    """What reading one number answers; None when it refuses."""
    try:
        return parse_phone(text, region)
    except InvalidInputError:
        return None


def test_many_numbers_at_once_read_as_phonenumbers_reads_each():
    """The path of imports against the tables' own parser, numbers of every region in every country."""
    random, fast = Random(20_261_127), 0
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        code = phonenumbers.country_code_for_region(region)
        trunk = phonenumbers.PhoneMetadata.metadata_for_region(region).national_prefix or "0"
        plain = [*shapes(random, region), *shapes(random, region)]
        digits = [*(f"+{code}{one}" for one in plain), *plain, *(f"{trunk}{one}" for one in plain)]
        found = phone.parse_phones(digits, region)
        for text, answer in zip(digits, found, strict=True):
            if answer is not None:
                fast += 1
                assert slow(text, region) == answer, (text, region)
    for code in phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS:
        digits = [f"+{code}{''.join(random.choices('0123456789', k=k))}" for k in range(4, 15) for _ in range(40)]
        for text, answer in zip(digits, phone.parse_phones(digits), strict=True):
            if answer is not None:
                fast += 1
                assert slow(text, None) == answer, text
    assert fast >= 100_000
    print(f"{fast} numbers decided at once")


def test_many_numbers_as_people_write_them_read_as_each_by_itself():
    random, decided = Random(20_261_128), 0
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        code = phonenumbers.country_code_for_region(region)
        trunk = phonenumbers.PhoneMetadata.metadata_for_region(region).national_prefix or "0"
        texts = [
            written(random, random.choice((f"+{code}{one}", one, f"{trunk}{one}")))
            for one in random.sample(list(shapes(random, region)), 50)
        ]
        for answers, given_region in ((phone.parse_phones(texts, region), region), (phone.parse_phones(texts), None)):
            for text, answer in zip(texts, answers, strict=True):
                if answer is not None:
                    decided += 1
                    assert one_by_one(text, given_region) == answer, (text, given_region)
    assert decided >= 5_000


def test_many_numbers_at_once_one_of_which_is_odd():
    odd = ["", "\n", "+1555010\n0001", "\u0661\u0665", FICTION + "\u00a0", "x"]
    assert phone.parse_phones([]) == []
    assert phone.parse_phones([""]) == [None]
    for text in odd:
        assert phone.parse_phones([FICTION, text, "(555) 010-0001"], "US") == [FICTION, None, FICTION]
    assert phone.parse_phones([FICTION, "(555) 010-0001"]) == [FICTION, None]
    assert phone.parse_phones(["(555) 010-0001"], "XX") == [None]


@settings(deadline=None)
@given(st.lists(st.text(max_size=20) | st.text(alphabet="+0123456789 ()-.\n", max_size=20), max_size=5))
def test_any_texts_at_once_read_as_each_by_itself(texts):
    for text, answer in zip(texts, phone.parse_phones(texts, "US"), strict=True):
        assert answer in (None, one_by_one(text, "US"))


def test_most_regions_mobile_numbers_take_the_fast_path():
    slowly = set()
    for region in phonenumbers.SUPPORTED_REGIONS:
        example_number = phonenumbers.example_number_for_type(region, PhoneNumberType.MOBILE)
        if example_number is not None:
            digits = phonenumbers.national_significant_number(example_number)
            if not phone.is_plain(f"+{example_number.country_code}{digits}"):
                slowly.add(region)
    # plans whose numbers may begin like a prefix that is dialed before them
    assert len(slowly) < 40, slowly


@pytest.mark.parametrize(
    ("text", "region", "written"),
    [
        ("(212) 555-0100", "US", "+12125550100"),
        ("1 (212) 555-0100", "US", "+12125550100"),
        ("+1 (212) 555-0100", None, "+12125550100"),
        ("0151 12345678", "DE", "+4915112345678"),
        ("06 698 212345", "IT", "+3906698212345"),
        ("011 44 20 7946 0958", "US", "+442079460958"),
        ("\u0661\u0665\u0665\u0665", "US", None),
    ],
)
def test_numbers_as_people_write_them_by_whatever_path(text, region, written):
    if written is None:
        with pytest.raises(InvalidInputError):
            parse_phone(text, region)
    else:
        assert parse_phone(text, region) == written


@pytest.mark.parametrize("code", sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE))
def test_every_country_s_example_number_takes_the_fast_path_or_parses_to_itself(code):
    region = phonenumbers.region_code_for_country_code(code)
    example_number = (
        phonenumbers.example_number_for_non_geo_entity(code)
        if region == "001"
        else phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        or phonenumbers.example_number(region)
    )
    written = phonenumbers.format_number(example_number, phonenumbers.PhoneNumberFormat.E164)
    if len(written) <= phone.LONGEST_DIGITS + 1:
        assert parse_phone(written) == written


@given(st.text(max_size=40) | st.text(alphabet="+0123456789 ()-.", max_size=20))
def test_any_text_is_a_number_that_reads_the_same_again_or_is_refused(text):
    with contextlib.suppress(InvalidInputError):
        number = parse_phone(text, "US")
        assert phone._E164.fullmatch(number)
        assert parse_phone(number) == number


@pytest.mark.parametrize(
    ("number_format", "prefix", "written"),
    [
        (NumberFormat.E164_PLUS, "", "+15550100001"),
        (NumberFormat.E164, "", "15550100001"),
        (NumberFormat.E164, "9", "915550100001"),
        (NumberFormat.E164_PLUS, "9", "9+15550100001"),
    ],
)
def test_numbers_are_written_as_the_trunk_wants(number_format, prefix, written):
    trunk = replace(TRUNK, number_format=number_format, number_prefix=prefix)
    assert written_for(trunk, FICTION) == written


@pytest.mark.parametrize(
    ("number", "masked"),
    [(FICTION, "+*******0001"), ("15550100001", "*******0001"), ("+12345", "+***45"), ("911", "**1"), ("", "")],
)
def test_masked_numbers_show_at_most_half_and_at_most_four_digits(number, masked):
    assert mask(number) == masked


@pytest.mark.parametrize(
    ("number", "zones"),
    [
        ("+12127101234", ("America/New_York",)),
        ("+4915112345678", ("Europe/Berlin",)),
        (FICTION, ()),
        ("+80012345678", ()),
    ],
)
def test_zones_of_numbers(number, zones):
    assert zones_of(number) == zones


def test_a_number_that_may_be_anywhere_in_its_country_has_all_its_zones():
    zones = zones_of("+18005551212")
    assert {"America/New_York", "America/Los_Angeles", "Pacific/Honolulu"} <= set(zones)
