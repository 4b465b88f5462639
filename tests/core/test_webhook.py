"""Webhooks: signatures as others make them, pauses, and what a message says."""

from __future__ import annotations

import base64
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.api.native.detection_views import detection_view
from outdial.api.native.views import AttemptView
from outdial.core import ids, webhook
from outdial.core.machine import Detection, DetectionTimings, MachineVerdict, Sample
from outdial.core.webhook import (
    LONGEST_PAUSE_SECONDS,
    RETRIED_FOR,
    Happening,
    WebhookEvent,
    headers,
    is_dead,
    message,
    message_id,
    pause_seconds,
    read_events,
    retry_after_seconds,
    secret_bytes,
    secret_text,
    sign,
)

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
RUN = Happening(
    event="run.paused",
    history_id=7,
    at=NOW,
    iid="st-1",
    campaign_id="cd-1",
    instance_id="cid-1",
    before="active",
    after="paused",
    actor="breaker",
    reason="8 of 10 calls failed",
    detail={"epoch": 3, "instance_id": "cid-1"},
)


def test_a_signature_is_the_one_that_every_library_of_the_standard_makes():
    """The example of the libraries of Standard Webhooks: secret, id, instant, body and what comes of them."""
    secret = secret_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_each_secret_that_is_good_signs():
    old, new = bytes(32), bytes(range(32))
    made = headers([new, old], "run_paused_7", 1614265330, b"{}")
    assert made["webhook-signature"].split(" ") == [
        sign(new, "run_paused_7", 1614265330, b"{}"),
        sign(old, "run_paused_7", 1614265330, b"{}"),
    ]
    assert (made["webhook-id"], made["webhook-timestamp"]) == ("run_paused_7", "1614265330")


@pytest.mark.parametrize("size", [24, 32, 64])
def test_secrets_are_read_as_they_are_shown(size):
    assert secret_bytes(secret_text(bytes(size))) == bytes(size)


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", "whsec_!", base64.b64encode(bytes(32)).decode(), secret_text(bytes(23)), secret_text(bytes(65))],
)
def test_what_is_no_secret(text):
    assert secret_bytes(text) is None


@given(st.integers(1, 10_000), st.floats(0, 1), st.none() | st.floats(0, 1e9))
def test_a_pause_lies_between_half_and_all_of_an_exponential_one_and_is_never_shorter_than_asked_for(
    tries, draw, asked
):
    pause = pause_seconds(tries, asked=asked, draw=draw)
    longest = min(5.0 * 4.0 ** min(tries - 1, 20), LONGEST_PAUSE_SECONDS)
    day = RETRIED_FOR.total_seconds()
    assert longest / 2 <= pause <= max(longest, min(asked or 0, day))
    assert pause >= min(asked or 0, day)


def test_pauses_grow_to_an_hour():
    whole = [pause_seconds(tries, asked=None, draw=0) for tries in range(1, 8)]
    assert whole == [5, 20, 80, 320, 1280, 3600, 3600]
    assert pause_seconds(1, asked=None, draw=1) == 2.5


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("١٢", None),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("9" * 30, 86400.0),
        ("Thu, 26 Nov 2026 12:01:00 GMT", 60.0),
        ("Thu, 26 Nov 2026 12:01:00 -0000", 60.0),
        ("Thu, 26 Nov 2026 11:00:00 GMT", 0.0),
        ("Thu, 26 Nov 99999 11:00:00 GMT", None),
    ],
)
def test_what_the_receiver_asks_for(text, seconds):
    assert retry_after_seconds(text, now=NOW) == seconds


def test_a_message_is_given_up_after_a_day():
    assert not is_dead(NOW - RETRIED_FOR + timedelta(seconds=1), now=NOW)
    assert is_dead(NOW - RETRIED_FOR, now=NOW)


def test_a_run_is_told_in_the_words_of_the_api():
    assert message(RUN) == {
        "type": "run.paused",
        "timestamp": NOW,
        "data": {
            "iid": "st-1",
            "campaignId": "cd-1",
            "instanceId": "cid-1",
            "before": "active",
            "after": "paused",
            "epoch": 3,
            "actor": "breaker",
            "reason": "8 of 10 calls failed",
        },
    }


ATTEMPT = {
    "id": "a" * 32,
    "contact_id": 5,
    "phone": "+15550100001",
    "caller_id": "+15550100999",
    "number": 2,
    "disposition": "busy",
    "cause": 17,
    "sip_code": 486,
    "reserved_at": NOW,
    "dialed_at": NOW,
    "ringing_at": None,
    "answered_at": None,
    "ended_at": NOW,
    "detection": None,
}


def test_an_attempt_is_told_as_the_api_shows_it():
    told = message(
        Happening("attempt.ended", 8, NOW, "st-1", "cd-1", "cid-1", "dialing", "ended", "n-1", "", attempt=ATTEMPT)
    )["data"]
    named = {webhook_name(name) for name in AttemptView.__struct_fields__}
    assert named <= told.keys()
    assert (told["contactId"], told["phoneNumber"], told["number"]) == (ids.contact_id(5), "+15550100001", 2)
    assert (told["state"], told["disposition"], told["sipCode"]) == ("ended", "busy", 486)


def test_of_an_attempt_that_is_not_kept_any_more_is_told_what_the_history_has():
    detail = {"disposition": "busy", "sip_code": 486, "ended_at": "2026-03-01T10:00:00+00:00"}
    told = message(
        Happening("attempt.ended", 8, NOW, "st-1", "cd-1", "cid-1", "dialing", "ended", "n-1", "", detail, {}, "a" * 32)
    )["data"]
    assert (told["id"], told["contactId"], told["phoneNumber"]) == ("a" * 32, None, None)
    assert (told["disposition"], told["sipCode"], told["endedAt"]) == ("busy", 486, detail["ended_at"])


@pytest.mark.parametrize("sample", [None, Sample()])
def test_who_had_answered_is_told_as_the_api_shows_it(sample):
    found = Detection(MachineVerdict.MACHINE, "LONGGREETING-3020-3000", 3.2, DetectionTimings(), sample)
    row = ATTEMPT | {"detection": asdict(found)}
    told = message(
        Happening("attempt.ended", 8, NOW, "st-1", "cd-1", "cid-1", "answered", "ended", "n-1", "", attempt=row)
    )["data"]["machineDetection"]
    assert told == msgspec.to_builtins(detection_view(found))


def webhook_name(field: str) -> str:
    head, *rest = field.split("_")
    return head + "".join(word.capitalize() for word in rest)


def test_an_opt_out_says_who_and_where_and_how():
    detail = {"phone": "+15550100001", "dnc_list_id": "cl-1", "source": "key", "reason": "asked for on a call"}
    told = message(Happening("opt_out.listed", 9, NOW, None, None, None, None, "listed", "anna", "", detail))
    assert told["data"] == {
        "phoneNumber": "+15550100001",
        "dncListId": "cl-1",
        "source": "key",
        "actor": "anna",
        "reason": "asked for on a call",
    }


def test_names_of_messages_differ_by_event_and_have_no_full_stop():
    names = {message_id(event, 7) for event in WebhookEvent}
    assert len(names) == len(WebhookEvent)
    assert not any("." in name for name in names)


def test_events_are_read_in_one_order():
    assert read_events(["run.stopped", "run.started", "run.stopped"]) == (
        [WebhookEvent.RUN_STARTED, WebhookEvent.RUN_STOPPED],
        [],
    )
    assert read_events(["run.exploded", webhook.TEST_EVENT]) == ([], ["run.exploded", webhook.TEST_EVENT])
