"""Shapes of identifiers, and that every error has all a client and a person need."""

from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.core import errors, ids
from outdial.core.errors import (
    ImportBusyError,
    InvalidInputError,
    KeyBusyError,
    OutdialError,
    PersonOnCallError,
    RateLimitedError,
    SimulationBusyError,
    StopReportNotReadyError,
)
from support.wire import CAMPAIGN_ID, CONTACT_ID, CONVERSATION_ID, INSTANCE_ID, LIST_ID


def all_errors(kind: type[OutdialError] = OutdialError) -> list[type[OutdialError]]:
    return [kind, *(found for inner in kind.__subclasses__() for found in all_errors(inner))]


NAMED = [kind for kind in all_errors() if kind.__module__ == errors.__name__]


class TestErrors:
    def test_each_has_a_code_of_its_own(self):
        codes = [kind.code for kind in NAMED]
        assert len(codes) == len(set(codes))

    @pytest.mark.parametrize("kind", NAMED, ids=lambda kind: kind.__name__)
    def test_each_is_complete(self, kind):
        assert re.fullmatch(r"[a-z_]+", kind.code)
        assert 400 <= kind.status < 600
        assert kind.wire_code == kind.status or (kind.status, kind.wire_code) == (401, 4002)
        assert kind.__doc__
        assert kind.__doc__.strip().endswith(".")

    @pytest.mark.parametrize("kind", NAMED, ids=lambda kind: kind.__name__)
    def test_what_is_worth_another_try_says_so(self, kind):
        # what another process is doing just now is over in a moment
        busy = kind in {ImportBusyError, KeyBusyError, PersonOnCallError, SimulationBusyError, StopReportNotReadyError}
        assert kind.retryable is (kind.status in {429, 503} or busy)

    def test_several_problems_are_told_at_once(self):
        error = InvalidInputError(["`a` is missing", "`b` is wrong"])
        assert error.messages == ("`a` is missing", "`b` is wrong")
        assert error.message == str(error) == "`a` is missing; `b` is wrong"

    def test_one_problem_is_its_message(self):
        assert errors.NotFoundError("There is none.").messages == ("There is none.",)

    def test_who_asks_too_often_learns_for_how_long_to_wait(self):
        assert RateLimitedError("Slower.", 7).retry_after_seconds == 7


permit = st.tuples(st.integers(1, 10**9), st.integers(1, 10**6), st.uuids().map(lambda value: value.hex))
values = st.integers(0, 2**128 - 1).map(lambda number: uuid.UUID(int=number, version=4))
contacts = st.integers(0, 2**64 - 1)
runs = values.map(ids.instance_id)


class TestDialingListIds:
    @given(runs, contacts)
    def test_it_has_the_wires_shape_and_is_read_back(self, run, contact):
        text = ids.dialing_list_id(run, contact)
        assert text.startswith("cdl-")
        value = uuid.UUID(text.removeprefix("cdl-"))
        assert (value.version, value.variant, text) == (5, uuid.RFC_4122, f"cdl-{value}")
        assert ids.read_dialing_list_id(text, run) == contact
        assert ids.dialing_list_id(run, contact) == text

    @given(runs, runs, contacts)
    def test_another_runs_is_nobodys(self, run, other, contact):
        text = ids.dialing_list_id(run, contact)
        assert (ids.read_dialing_list_id(text, other) is None) is (run != other)

    @given(runs, contacts, st.integers(4, 39), st.sampled_from("0123456789abcdef"))
    def test_one_changed_digit_is_nobodys(self, run, contact, place, digit):
        text = ids.dialing_list_id(run, contact)
        changed = text[:place] + digit + text[place + 1 :]
        assert (ids.read_dialing_list_id(changed, run) is None) is (changed != text)

    @given(runs, contacts, contacts)
    def test_different_contacts_have_different_ones(self, run, one, other):
        assert (ids.dialing_list_id(run, one) == ids.dialing_list_id(run, other)) is (one == other)

    @given(st.text(max_size=60), runs)
    def test_no_text_is_too_strange(self, text, run):
        assert ids.read_dialing_list_id(text, run) is None

    @given(runs, st.integers(1, 10**6))
    def test_neighbours_differ_everywhere(self, run, contact):
        one, next_one = ids.dialing_list_id(run, contact), ids.dialing_list_id(run, contact + 1)
        assert one[-12:] != next_one[-12:]

    @pytest.mark.parametrize("text", ["", "cdl-", "cid-1", "cdl-6BE0807B-C7CF-53FB-8C3C-EE2F66F00000"])
    def test_other_words_are_nobodys(self, text):
        assert ids.read_dialing_list_id(text, "cid-1") is None

    @pytest.mark.parametrize("contact", [-1, 2**64])
    def test_no_contact_has_such_a_number(self, contact):
        with pytest.raises(OverflowError):
            ids.dialing_list_id("cid-1", contact)

    def test_it_never_changes(self):
        # clients keep them
        assert (
            ids.dialing_list_id("cid-1111111-2222-4333-8444-555555555555", 42)
            == "cdl-f7d32ce5-168e-580d-935f-caf896b5ea96"
        )


class TestIds:
    @given(values)
    def test_the_wires_are_as_the_vendors(self, value):
        assert CAMPAIGN_ID.fullmatch(ids.campaign_id(value))
        assert INSTANCE_ID.fullmatch(ids.instance_id(value))
        assert LIST_ID.fullmatch(ids.contact_list_id(value))

    @given(values)
    def test_accounts_and_attempts_are_hex(self, value):
        assert re.fullmatch(r"[0-9a-f]{24}", ids.account_id(value))
        assert re.fullmatch(r"[0-9a-f]{32}", ids.attempt_id(value))

    @given(st.integers(1, 2**62), st.integers(1, 2**62))
    def test_a_contacts_is_made_of_its_number(self, one, other):
        assert CONTACT_ID.fullmatch(ids.contact_id(one))
        assert (ids.contact_id(one) == ids.contact_id(other)) is (one == other)

    @given(values)
    def test_a_conversation_is_its_attempt(self, value):
        assert CONVERSATION_ID.fullmatch(ids.conversation_id(ids.attempt_id(value)))

    @given(values, values)
    def test_different_values_make_different_ids(self, one, other):
        for make in (ids.flow_id, ids.trunk_id, ids.application_id, ids.client_id, ids.attempt_id):
            assert (make(one) == make(other)) is (one == other)

    @given(st.text(max_size=20))
    def test_no_text_is_taken_for_a_permit_that_is_none(self, text):
        found = ids.parse_permit_name(text)
        if found is not None:
            # leading zeros are the one other way to write the same permit
            assert re.fullmatch(r"run[0-9]+e[0-9]+k[0-9a-f]{32}", text)

    @given(permit, permit)
    def test_permits_of_different_runs_epochs_and_keys_have_different_names(self, one, other):
        assert (ids.permit_name(*one) == ids.permit_name(*other)) is (one == other)
