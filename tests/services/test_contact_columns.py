"""Which column is what: the spellings people use, and tables that cannot be understood."""

from __future__ import annotations

import pytest

from outdial.core.errors import InvalidInputError
from outdial.services.contact_columns import columns_of
from outdial.services.contact_lists import ContactDraft


def columns(*header: str):
    return columns_of(header, default_region=None)


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
        (["x" * 1000], "no column for phone numbers"),
    ],
)
def test_first_lines_that_do_not_name_the_columns(header, sentence):
    with pytest.raises(InvalidInputError, match=sentence) as refused:
        columns(*header)
    assert len(refused.value.message) < 250


def test_a_first_line_with_a_national_number():
    with pytest.raises(InvalidInputError, match="holds a phone number"):
        columns_of(["555 010 0001", "Zoë"], default_region="US")
