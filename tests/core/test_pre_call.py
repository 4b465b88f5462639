from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.core.pre_call import (
    LARGEST_REPLY,
    LONGEST_REASON,
    PreCallAnswer,
    PreCallContact,
    PreCallFetch,
    PreCallProblem,
    question,
    read_reply,
    skip_reason,
)
from support.wire import differs

FETCH = PreCallFetch("https://crm.example.net/", {"x-key": "s3cret"}, "cd-1", "Spring")
ADA = PreCallContact(
    "+15550100104", time_zone="UTC", unique_id="7", attributes={"firstName": "Ada", "phoneNumber": "no", "n": None}
)


def read(document: Any, *, status: int = 200) -> PreCallAnswer:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return read_reply(ADA, status=status, body=body, seconds=0.25)


def handling(handle: Any = "CALL", **more: Any) -> dict[str, Any]:
    return {"contactHandling": {"handle": handle, **more}}


def test_the_question_is_as_documented():
    expected = {
        "CampaignName": "Spring",
        "CampaignId": "cd-1",
        "DialingId": "cdl-1",
        "contactData": {
            "phoneNumber": "+15550100104",
            "timeZone": "UTC",
            "uniqueId": "7",
            "contactPriority": 0,
            "firstName": "Ada",
            "n": None,
        },
    }
    assert differs(expected, question(FETCH, ADA, "cdl-1")) == []


def test_the_reply_is_taken_as_documented():
    data = {"lastPaymentStatus": "Overdue", "preferredLanguage": "te-IN", "riskScore": "Medium"}
    answer = read({"contactHandling": {"handle": "CALL"}, "detailedContactData": data})
    assert (answer.call, answer.problem, answer.reason) == (True, None, "")
    assert answer.data == data


def test_secrets_do_not_print():
    assert "s3cret" not in repr(FETCH)


def test_call_and_skip():
    assert read(handling()) == PreCallAnswer(call=True, seconds=0.25, status=200)
    assert read(handling("SKIP", reason="paid")) == PreCallAnswer(call=False, seconds=0.25, status=200, reason="paid")
    assert skip_reason(read(handling("SKIP", reason="paid"))) == "the pre-call fetch said to skip: paid"
    assert skip_reason(read(handling("SKIP"))) == "the pre-call fetch said to skip"
    assert len(read(handling("SKIP", reason="x" * 999)).reason) == LONGEST_REASON
    # a reason of another kind is none, and no reason to skip
    assert read(handling(reason=7)) == PreCallAnswer(call=True, seconds=0.25, status=200)


def test_what_the_contact_says_itself_wins():
    answer = read({**handling(), "detailedContactData": {"firstName": "Eve", "balance": 12.5, "timeZone": "x"}})
    assert answer.data == {"balance": 12.5}


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (b"", PreCallProblem.MALFORMED),
        (b"CALL", PreCallProblem.MALFORMED),
        (b"\xff\xfe", PreCallProblem.MALFORMED),
        ([], PreCallProblem.MALFORMED),
        (None, PreCallProblem.MALFORMED),
        ({}, PreCallProblem.MALFORMED),
        ({"contactHandling": "CALL"}, PreCallProblem.MALFORMED),
        ({"contactHandling": {}}, PreCallProblem.MALFORMED),
        (handling("call"), PreCallProblem.MALFORMED),
        (handling(True), PreCallProblem.MALFORMED),
        (handling(["CALL"]), PreCallProblem.MALFORMED),
        ({**handling(), "detailedContactData": []}, PreCallProblem.MALFORMED),
        (b'{"contactHandling":{"handle":"CALL"},"detailedContactData":{"a":NaN}}', PreCallProblem.MALFORMED),
        (b'{"contactHandling":{"handle":"CALL"},"detailedContactData":{"a":1e999}}', PreCallProblem.MALFORMED),
        (b'{"contactHandling":{"handle":"CALL"},"detailedContactData":{"a":1' + b"0" * 30 + b"}}",
         PreCallProblem.MALFORMED),
        (b'{"contactHandling":{"handle":"CALL"},"detailedContactData":{"a":"\\u0000"}}', PreCallProblem.MALFORMED),
        (b'{"contactHandling":{"handle":"CALL"},"detailedContactData":{"a":"\\ud800"}}', PreCallProblem.MALFORMED),
        (b"[" * 30_000, PreCallProblem.MALFORMED),
        (b" " * (LARGEST_REPLY + 1), PreCallProblem.TOO_LARGE),
    ],
)  # fmt: skip
def test_whatever_is_no_clear_call_skips(document, problem):
    answer = read(document)
    assert (answer.call, answer.problem, answer.data) == (False, problem, {})
    assert answer.reason
    assert skip_reason(answer).startswith("the pre-call fetch failed: ")


def test_a_backslash_before_u0000_is_text():
    assert read({**handling(), "detailedContactData": {"a": "\\u0000"}}).data == {"a": "\\u0000"}


@pytest.mark.parametrize("status", [201, 204, 302, 404, 500])
def test_another_status_skips_whatever_it_says(status):
    answer = read(handling(), status=status)
    assert (answer.call, answer.problem, answer.status) == (False, PreCallProblem.STATUS, status)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(
    st.binary(max_size=300) | JSON.map(lambda value: json.dumps({**handling(), "detailedContactData": value}).encode())
)
def test_no_reply_breaks_anything_and_what_is_kept_can_be_stored(body):
    answer = read(body)
    text = msgspec.json.encode(answer).decode()
    assert "\\u0000" not in text.replace("\\\\", "")
    assert answer.call == (answer.problem is None)
