"""What a webhook's reply means to a flow."""

from __future__ import annotations

import json

import pytest

from outdial.core.flow_reply import LARGEST_REPLY, LONGEST_FIELD, MOST_FIELDS, question, read_reply
from outdial.core.json_reply import MalformedReplyError


def test_the_question_says_which_call_asks():
    asked = question(attempt_id="a1", flow_id="cf-1", step="crm", variables={"order": "7"})
    assert asked == {"attempt_id": "a1", "flow_id": "cf-1", "step": "crm", "variables": {"order": "7"}}


def test_fields_of_one_value_become_texts():
    reply = {"status": "sent", "days": 3, "late": False, "items": [1], "more": {"x": 1}, "none": None, "half": 0.5}
    assert read_reply(status=200, body=json.dumps(reply).encode()) == {
        "status": "sent",
        "days": "3",
        "late": "no",
        "half": "0.5",
    }


@pytest.mark.parametrize("name", ["", "first name", "a-b", "1st", "x" * 49, "{x}"])
def test_what_no_text_can_name_is_left_out(name):
    assert read_reply(status=200, body=json.dumps({name: "x", "y": "z"}).encode()) == {"y": "z"}


@pytest.mark.parametrize(("status", "body"), [(200, b""), (200, b" \n"), (204, b""), (202, b"{}")])
def test_an_answer_may_say_nothing(status, body):
    assert read_reply(status=status, body=body) == {}


def test_long_texts_are_shortened():
    assert read_reply(status=200, body=json.dumps({"x": "y" * 2000}).encode()) == {"x": "y" * LONGEST_FIELD}


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (302, b"{}", "HTTP status 302"),
        (199, b"{}", "HTTP status 199"),
        (500, b"{}", "HTTP status 500"),
        (200, b" " * (LARGEST_REPLY + 1), "larger than"),
        (200, b"[]", "no JSON object"),
        (200, b"sent", "not valid JSON"),
        (200, b'{"x": NaN}', "not valid JSON"),
        (200, b'{"x": 1e999}', "not valid JSON"),
        (200, b'{"x": 99999999999999999999}', "not valid JSON"),
        (200, b'{"x": "\\ud800"}', "not valid JSON"),
        (200, b'{"x": "\\u0000"}', "NUL"),
        (200, b'{"x": ' + b"[" * 9000 + b"]" * 9000 + b"}", "larger than|not valid JSON"),
        (200, json.dumps({f"x{each}": 1 for each in range(MOST_FIELDS + 1)}).encode(), "51 fields"),
    ],
)
def test_anything_else_is_no_answer(status, body, why):
    with pytest.raises(MalformedReplyError, match=why):
        read_reply(status=status, body=body)
