"""Which column is what: the spellings people use, and tables that cannot be understood."""

from __future__ import annotations

import pytest

from outdial.core.errors import InvalidInputError
from outdial.services.contact_columns import LONGEST_CELL, MOST_COLUMNS, ColumnMapping, columns_of
from outdial.services.contact_lists import ContactDraft


def columns(*header: str, **mapping):
    return columns_of(header, default_region=None, mapping=ColumnMapping(**mapping))


@pytest.mark.parametrize(
    "name",
    ["phone", "Phone", "phoneNumber", "Phone Number", "phone_number", " PHONE-NO. ", "Téléphone", "Mobile", "msisdn"],
)
def test_names_of_the_phone_column(name):
    assert columns("name", name).phone == 1


def test_all_fields_by_their_spellings():
    found = columns("First Name", "last_name", "Time Zone", "Unique Identifier", "Contact Priority", "Phone", "City ")
    row = ["Zoë", "Roe", " Europe/Paris ", " 7 ", "5", "+15550100001", "Nice "]
    assert found.contact(row) == ContactDraft(
        phone="+15550100001",
        time_zone="Europe/Paris",
        unique_id="7",
        priority=5,
        attributes={"firstName": "Zoë", "lastName": "Roe", "City": "Nice "},
    )


def test_what_each_column_is_called_and_holds():
    header = ["First Name", " Tel ", "", "Zone", "Id", "Contact Priority", "Mobile", "timeZone", "Amount due"]
    mapping = ColumnMapping.of(
        {"timeZone": "Zone", "phone": "Tel", "phone2": "Mobile", "uniqueId": "Id", "owed": "Amount due"}
    )
    found = columns_of(header, default_region=None, mapping=mapping).uses
    assert [(use.column, use.field) for use in found] == [
        ("First Name", "firstName"),
        ("Tel", "phoneNumber"),
        ("column 3", "column 3"),
        ("Zone", "timeZone"),
        ("Id", "uniqueId"),
        ("Contact Priority", "contactPriority"),
        ("Mobile", "phone2"),
        # an attribute that nobody is shown, since another column is the time zone
        ("timeZone", ""),
        ("Amount due", "owed"),
    ]


def test_empty_cells_are_absent():
    found = columns("phone", "tz", "externalId", "priority", "note")
    assert found.contact(["1", " ", "", "", ""]) == ContactDraft(phone="1")


def test_of_several_phone_columns_the_plainest_is_taken_and_the_others_kept():
    found = columns("Mobile", "Phone", "phone number")
    assert found.contact(["1", "2", "3"]) == ContactDraft(phone="3", attributes={"Mobile": "1", "Phone": "2"})


def test_columns_without_a_name_are_called_by_their_place():
    found = columns("phone", "", " ")
    assert found.contact(["1", "", "x"]).attributes == {"column 3": "x"}


def test_short_rows_are_filled_up_and_long_ones_refused():
    found = columns("phone", "a", "b")
    assert found.contact(["1"]) == ContactDraft(phone="1")
    assert found.contact(["1", "2", "3", "", " "]).attributes == {"a": "2", "b": "3"}
    with pytest.raises(InvalidInputError, match="the row has 4 cells, the first line 3"):
        found.contact(["1", "2", "3", "4"])


@pytest.mark.parametrize(("text", "priority"), [("", 0), (" 7 ", 7), ("5.0", 5), ("-1", -1)])
def test_priorities(text, priority):
    assert columns("phone", "priority").contact(["1", text]).priority == priority


@pytest.mark.parametrize("text", ["high", "1.5", "1e3", "--1", "9" * 50, "²"])
def test_priorities_that_are_no_whole_number(text):
    with pytest.raises(InvalidInputError, match="must be a whole number"):
        columns("phone", "priority").contact(["1", text])


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (["name", "city"], "no column for phone numbers; call it phone. It names: name, city"),
        (["+15550100001", "Zoë"], "holds a phone number; it must name the columns"),
        (["phone", "note", "note"], "column note more than once"),
        (["phone", "First Name", "firstname"], "column firstName more than once"),
        (["x" * 300], "no column for phone numbers"),
    ],
)
def test_first_lines_that_do_not_name_the_columns(header, sentence):
    with pytest.raises(InvalidInputError, match=sentence) as refused:
        columns(*header)
    assert len(refused.value.message) < 250


def test_a_first_line_with_a_national_number():
    with pytest.raises(InvalidInputError, match="holds a phone number"):
        columns_of(["555 010 0001", "Zoë"], default_region="US")


def test_a_mapping_comes_before_names_and_leaves_the_rest_as_it_was():
    found = columns(
        "Handy",
        "Telefon",
        "Ort",
        "tz",
        "Vorname",
        phone="Handy",
        attributes=(("city", "Ort"), ("firstName", "vorname")),
    )
    assert found.contact(["1", "2", "Bonn", "Europe/Berlin", "Zoë"]) == ContactDraft(
        phone="1", time_zone="Europe/Berlin", attributes={"Telefon": "2", "city": "Bonn", "firstName": "Zoë"}
    )


def test_a_column_that_is_mapped_to_an_attribute_is_no_field_any_more():
    found = columns("phone", "priority", "Rang", attributes=(("rank", "priority"),), priority="Rang")
    assert found.contact(["1", "gold", "3"]) == ContactDraft(phone="1", priority=3, attributes={"rank": "gold"})


def test_columns_without_a_name_are_mapped_by_their_place():
    assert columns("", "name", phone="column 1").phone == 0


def test_a_name_in_full_comes_before_one_that_is_much_the_same():
    assert columns("TEL 1", "tel1", phone="tel1").phone == 1
    assert columns("a", "Tel. 1", phone="tel1").phone == 1


def test_wrong_mappings_are_told_all_at_once():
    with pytest.raises(InvalidInputError) as refused:
        columns("a", "a", "b", phone="Telefon", time_zone="a", unique_id="b", priority="B")
    assert refused.value.problems == (
        "phone cannot be read from Telefon: the first line has no such column.",
        "timeZone cannot be read from a: the first line has 2 such columns.",
        "The column B is mapped twice.",
        "It names: a, a, b.",
        "The first line names the column a more than once.",
    )


def test_an_attribute_may_not_take_the_name_of_another_column():
    with pytest.raises(InvalidInputError, match="column city more than once"):
        columns("phone", "city", "Ort", attributes=(("city", "Ort"),))


def test_mappings_as_people_write_them():
    parsed = ColumnMapping.parse(["phone=Telefon", " timeZone = Zone ", "a=b=c"])
    assert parsed == ColumnMapping(phone="Telefon", time_zone="Zone", attributes=(("a", "b=c"),))
    assert ColumnMapping.of(parsed.words()) == parsed
    assert ColumnMapping.parse([]).words() == {}


def test_texts_that_are_no_mappings_are_told_all_at_once():
    with pytest.raises(InvalidInputError) as refused:
        ColumnMapping.parse(["phone", "=x", "a=", "phone=A", "phone=B", "tz=A", f"x={'y' * 301}", "n=\x00"])
    assert refused.value.problems == (
        "'phone' is no mapping; write it like phone=Telefon.",
        "'=x' is no mapping; write it like phone=Telefon.",
        "'a=' is no mapping; write it like phone=Telefon.",
        "phone is mapped twice.",
        "The column A is mapped twice.",
        f"The name '{'y' * 40}'… is too long; at most 300 characters are allowed.",
        "A mapping contains a character that cannot be stored.",
    )


def test_too_many_columns_and_too_long_names():
    assert columns("phone", *(f"c{n}" for n in range(MOST_COLUMNS - 1))).count == MOST_COLUMNS
    with pytest.raises(InvalidInputError, match="names 151 columns; at most 150"):
        columns("phone", *(f"c{n}" for n in range(MOST_COLUMNS)))
    with pytest.raises(InvalidInputError, match="name of column 2 has 301 characters"):
        columns("phone", "x" * 301)
    with pytest.raises(InvalidInputError, match="151 columns are mapped"):
        ColumnMapping.of({str(n): f"c{n}" for n in range(MOST_COLUMNS + 1)})


def test_names_that_cannot_be_stored_are_told_by_their_places_alone():
    with pytest.raises(InvalidInputError) as refused:
        columns("phone", "a\x00b", "\ud800", "a\x00b", attributes=(("note", "nowhere"),))
    assert refused.value.problems == tuple(
        f"The name of column {place} contains a character that cannot be stored." for place in (2, 3, 4)
    )


def test_cells_that_are_too_long_are_all_told():
    found = columns("phone", "a", "b")
    assert found.contact(["1", "x" * LONGEST_CELL, ""]).attributes == {"a": "x" * LONGEST_CELL}
    with pytest.raises(InvalidInputError) as refused:
        found.contact(["1", "x" * 301, "y" * 302])
    assert refused.value.problems == (
        "cell 2 has 301 characters; at most 300 can be imported",
        "cell 3 has 302 characters; at most 300 can be imported",
    )
