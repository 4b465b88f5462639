"""Every ending of an attempt, decided without IO."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialing import with_rules
from outdial.core.model import AttemptState, Disposition, DoneReason, RunContactState
from outdial.dialer import outcomes
from outdial.dialer.outcomes import Known
from outdial.telephony.engine import CallRecord

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
RULES = with_rules(max_attempts=2, retry_seconds=60)
ID = "0" * 32


def known(number=1, **more):
    return Known(attempt_id=ID, number=number, rules=RULES, by="n1", **more)


def record(*, answered=None, ended=NOW, cause=16):
    return CallRecord(ID, NOW - timedelta(seconds=9), answered, ended, cause)


def test_progress_carries_all_that_is_known():
    news = outcomes.progress(known(state=AttemptState.RINGING, dialed_at=NOW, ringing_at=NOW))
    assert (news.state, news.dialed_at, news.ringing_at) == (AttemptState.RINGING, NOW, NOW)
    assert news.contact.state is RunContactState.DIALING
    assert news.disposition is None


def test_a_busy_line_is_tried_again_once_more():
    first = outcomes.ended(known(1), at=NOW, cause=17, sip_code=486)
    assert (first.disposition, first.contact.state) == (Disposition.BUSY, RunContactState.WAITING)
    assert first.contact.after_seconds == 60
    last = outcomes.ended(known(2), at=NOW, cause=17, sip_code=486)
    assert last.contact.done_reason is DoneReason.ATTEMPTS_USED


def test_who_answered_was_reached_whatever_ended_it():
    news = outcomes.ended(known(answered_at=NOW), at=NOW, cause=38, sip_code=None)
    assert news.disposition is Disposition.ANSWERED_HUMAN
    assert news.contact.done_reason is DoneReason.REACHED


def test_who_answered_and_heard_nothing_was_abandoned_and_is_not_called_again():
    news = outcomes.ended(known(answered_at=NOW, unheard="no sound"), at=NOW, cause=16, sip_code=None)
    assert (news.disposition, news.reason) == (Disposition.ABANDONED, "no sound")
    assert news.contact.done_reason is DoneReason.REACHED


def test_of_a_call_nobody_answered_nothing_was_to_be_heard():
    news = outcomes.ended(known(unheard="no sound"), at=NOW, cause=17, sip_code=486)
    assert news.disposition is Disposition.BUSY


def test_what_was_never_sent_does_not_count_and_was_never_dialed():
    news = outcomes.never_sent(known(dialed_at=NOW), at=NOW, reason="gate")
    assert (news.state, news.disposition, news.dialed_at) == (AttemptState.ENDED, Disposition.CANCELLED, None)
    assert news.contact.state is RunContactState.PENDING
    assert news.contact.uncounted


def test_what_the_engine_refused_for_another_reason_counts():
    news = outcomes.failed(known(2, dialed_at=NOW), at=NOW)
    assert news.contact.done_reason is DoneReason.ATTEMPTS_USED


class TestWhenEventsWereMissed:
    def test_the_record_tells_the_end(self):
        news = outcomes.from_record(known(), record(cause=17), at=NOW, placed=True)
        assert (news.disposition, news.contact.state) == (Disposition.BUSY, RunContactState.WAITING)
        assert news.dialed_at == NOW - timedelta(seconds=9)

    def test_and_the_answer_to_which_nothing_was_played(self):
        news = outcomes.from_record(known(), record(answered=NOW), at=NOW, placed=True)
        assert (news.disposition, news.answered_at) == (Disposition.ABANDONED, NOW)
        assert news.reason == "answered while its node heard no events"
        # final all the same: the phone was picked up
        assert news.contact.done_reason is DoneReason.REACHED

    def test_an_answer_that_was_heard_of_is_none_of_those(self):
        news = outcomes.from_record(known(answered_at=NOW), record(answered=NOW), at=NOW, placed=True)
        assert (news.disposition, news.reason) == (Disposition.ANSWERED_HUMAN, "")

    @pytest.mark.parametrize(
        ("heard_at", "disposition"), [(NOW, Disposition.ANSWERED_HUMAN), (None, Disposition.ABANDONED)]
    )
    def test_a_conversation_the_engine_did_not_survive_has_ended(self, heard_at, disposition):
        found = record(answered=NOW, ended=None)
        news = outcomes.from_record(known(answered_at=heard_at), found, at=NOW, placed=True)
        assert (news.disposition, news.ended_at) == (disposition, NOW)
        assert news.reason == "the engine was killed during the call"

    def test_ringing_the_engine_did_not_survive_is_unknown(self):
        news = outcomes.from_record(known(), record(ended=None), at=NOW, placed=True)
        assert (news.state, news.contact.done_reason) == (AttemptState.UNKNOWN, DoneReason.UNKNOWN)

    def test_without_a_record_it_is_unknown(self):
        news = outcomes.from_record(known(dialed_at=NOW), None, at=NOW, placed=True)
        assert (news.state, news.disposition) == (AttemptState.UNKNOWN, Disposition.UNKNOWN)

    def test_unless_it_is_certain_that_it_was_never_placed(self):
        news = outcomes.from_record(known(), None, at=NOW, placed=False)
        assert news.contact.state is RunContactState.PENDING

    def test_or_somebody_had_answered(self):
        news = outcomes.from_record(known(answered_at=NOW), None, at=NOW, placed=True)
        assert news.contact.done_reason is DoneReason.REACHED


instants = st.none() | st.just(NOW)


@given(
    number=st.integers(1, 3),
    answered_at=instants,
    found=st.none() | st.builds(record, answered=instants, ended=instants, cause=st.sampled_from([None, 1, 16, 17])),
    placed=st.booleans(),
)
def test_every_end_has_one_disposition_and_a_place_for_the_contact(number, answered_at, found, placed):
    news = outcomes.from_record(known(number, answered_at=answered_at), found, at=NOW, placed=placed)
    assert news.state in {AttemptState.ENDED, AttemptState.UNKNOWN}
    assert news.disposition is not None
    assert news.ended_at is not None
    assert (news.contact.state is RunContactState.WAITING) == (news.contact.after_seconds is not None)
    assert (news.contact.state is RunContactState.DONE) == (news.contact.done_reason is not None)
    if news.disposition is Disposition.UNKNOWN:
        # nobody is dialed again whose call may have been answered
        assert news.contact.done_reason is DoneReason.UNKNOWN


@pytest.mark.parametrize("state", [AttemptState.DIALING, AttemptState.RINGING])
def test_a_call_the_engine_calls_answered_is_known_as_such(state):
    found = outcomes.answered(known(state=state), at=NOW)
    assert (found.state, found.answered_at, found.dialed_at) == (AttemptState.ANSWERED, NOW, NOW)


@pytest.mark.parametrize(
    ("cause", "sip_code", "by_carrier", "disposition"),
    [
        # its connection broke, or that cannot be told from a refusal
        (34, 503, False, Disposition.UNKNOWN),
        (34, 503, None, Disposition.UNKNOWN),
        (34, None, None, Disposition.UNKNOWN),
        (34, 503, True, Disposition.CONGESTION),
        (34, None, True, Disposition.CONGESTION),
        # it was sent once more, and lost
        (127, 422, False, Disposition.UNKNOWN),
        # no engine makes these up
        (17, 486, False, Disposition.BUSY),
        (38, 500, None, Disposition.CONGESTION),
        (19, 480, False, Disposition.NO_ANSWER),
    ],
)
def test_over_tcp_a_call_may_have_lost_its_connection_and_nobody_knows_what_became_of_it(
    cause, sip_code, by_carrier, disposition
):
    told = {"at": NOW, "cause": cause, "sip_code": sip_code, "by_carrier": by_carrier}
    news = outcomes.ended(known(over_connection=True, ringing_at=NOW), **told)
    assert news.disposition is disposition
    if disposition is Disposition.UNKNOWN:
        assert (news.state, news.reason, news.cause) == (AttemptState.UNKNOWN, outcomes.LINE_LOST, 34)
        assert news.contact.done_reason is DoneReason.UNKNOWN
    else:
        assert (news.state, news.contact.state) == (AttemptState.ENDED, RunContactState.WAITING)
    # without a connection there is none to lose
    assert outcomes.ended(known(ringing_at=NOW), **told).state is AttemptState.ENDED


def test_a_conversation_over_tcp_was_one_however_it_ended():
    news = outcomes.ended(known(over_connection=True, answered_at=NOW), at=NOW, cause=34, sip_code=503)
    assert news.disposition is Disposition.ANSWERED_HUMAN


def test_an_end_that_we_asked_for_may_have_been_the_lines_all_the_same():
    lost = known(over_connection=True, cancelled=outcomes.LEAVING)
    news = outcomes.ended(lost, at=NOW, cause=34, sip_code=503, by_carrier=False, cancelled_by_us=True)
    assert news.state is AttemptState.UNKNOWN


def test_what_an_engine_has_written_down_does_not_tell_who_ended_a_call_over_tcp():
    told = {"at": NOW, "placed": True}
    assert outcomes.from_record(known(over_connection=True), record(cause=34), **told).state is AttemptState.UNKNOWN
    assert outcomes.from_record(known(), record(cause=34), **told).disposition is Disposition.CONGESTION
    assert outcomes.from_record(known(over_connection=True), record(cause=17), **told).disposition is Disposition.BUSY
