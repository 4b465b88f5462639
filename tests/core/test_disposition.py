from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.core.disposition import CAUSE_DISPOSITIONS, SIP_DISPOSITIONS, disposition_of
from outdial.core.model import Disposition
from outdial.telephony import loopback

D = Disposition

MEASURED = [
    # what Asterisk 22.10.1 reported of each, as (cause, tech_cause)
    (17, 486, D.BUSY),
    (1, 404, D.INVALID_NUMBER),
    (21, 603, D.REJECTED),
    (34, 503, D.CONGESTION),
    (19, 480, D.NO_ANSWER),
    (38, 500, D.CONGESTION),
]


@pytest.mark.parametrize(("cause", "sip_code", "disposition"), MEASURED)
def test_what_was_measured(cause, sip_code, disposition):
    assert disposition_of(answered=False, cause=cause, sip_code=sip_code, cancelled_by_us=False) is disposition


def test_the_sip_status_decides_where_there_is_one():
    assert disposition_of(answered=False, cause=17, sip_code=404, cancelled_by_us=False) is D.INVALID_NUMBER


def test_without_a_known_status_the_cause_decides():
    assert disposition_of(answered=False, cause=17, sip_code=299, cancelled_by_us=False) is D.BUSY
    assert disposition_of(answered=False, cause=17, sip_code=None, cancelled_by_us=False) is D.BUSY


@pytest.mark.parametrize("rule", [rule for rule in loopback.RULES if rule.sip_code], ids=lambda rule: rule.phone)
def test_the_loopback_phones_end_as_their_table_says(rule):
    words = {"busy": D.BUSY, "rejects": D.REJECTED, "not_found": D.INVALID_NUMBER}
    found = disposition_of(answered=False, cause=rule.cause, sip_code=rule.sip_code, cancelled_by_us=False)
    assert found is words[rule.phone]


codes = st.none() | st.integers(0, 700)


@given(cause=codes, sip_code=codes, cancelled=st.booleans())
def test_an_answered_call_was_answered_whatever_ends_it(cause, sip_code, cancelled):
    found = disposition_of(answered=True, cause=cause, sip_code=sip_code, cancelled_by_us=cancelled)
    assert found is D.ANSWERED_HUMAN


@given(cause=codes, sip_code=codes, cancelled=st.booleans())
def test_who_answered_and_heard_nothing_was_abandoned(cause, sip_code, cancelled):
    found = disposition_of(answered=True, heard=False, cause=cause, sip_code=sip_code, cancelled_by_us=cancelled)
    assert found is D.ABANDONED


@given(cause=codes, sip_code=codes, heard=st.booleans())
def test_a_machine_is_a_machine_whatever_it_heard(cause, sip_code, heard):
    found = disposition_of(
        answered=True, heard=heard, machine=True, cause=cause, sip_code=sip_code, cancelled_by_us=False
    )
    assert found is D.ANSWERED_MACHINE


@given(cause=codes, sip_code=codes)
def test_our_own_cancel_is_cancelled(cause, sip_code):
    assert disposition_of(answered=False, cause=cause, sip_code=sip_code, cancelled_by_us=True) is D.CANCELLED


@given(cause=codes, sip_code=codes)
def test_nothing_else_is_told_to_have_been_answered_or_unknown(cause, sip_code):
    found = disposition_of(answered=False, cause=cause, sip_code=sip_code, cancelled_by_us=False)
    assert found not in {D.ANSWERED_HUMAN, D.ANSWERED_MACHINE, D.UNKNOWN, D.ABANDONED}


def test_what_is_not_in_the_tables_has_failed():
    assert disposition_of(answered=False, cause=None, sip_code=None, cancelled_by_us=False) is D.FAILED
    assert disposition_of(answered=False, cause=127, sip_code=420, cancelled_by_us=False) is D.FAILED


def test_the_tables_hold_final_statuses_and_causes_only():
    assert all(400 <= code < 700 for code in SIP_DISPOSITIONS)
    assert all(1 <= cause <= 127 for cause in CAUSE_DISPOSITIONS)
