"""The checker itself: quiet about what is right, and no rule that cannot be broken."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from nemesis import account
from nemesis.checks import check
from nemesis.evidence import SECOND, Ask, Call, Evidence, Injected, set_right
from nemesis.found import Found
from nemesis.looks import look
from nemesis.ringing import APART, RINGS_ON, one_live_call_per_number

NODE = "n" * 32
NUMBER, OTHER = "+12010000001", "+12010000002"
CALLER = "+15550190000"
CAMPAIGN = "cd-1"


def at(seconds: float) -> int:
    return 1_000 * SECOND + round(seconds * SECOND)


def attempt(name: str, phone: str, *, contact_id: int, reserved: float, ended: float, **changed) -> dict:
    row = {
        "id": name,
        "run_id": 1,
        "contact_id": contact_id,
        "phone": phone,
        "caller_id": CALLER,
        "engine_id": "e",
        "node_id": NODE,
        "epoch": 1,
        "number": 1,
        "state": "ended",
        "disposition": "cancelled",
        "change_reason": "",
        "reserved_at": at(reserved),
        "dialed_at": at(reserved),
        "ringing_at": at(reserved + 0.1),
        "answered_at": None,
        "ended_at": at(ended),
    }
    return row | changed


def move(place: int, seconds: float, after: str, attempt_id: str | None = None) -> dict:
    return {
        "id": place,
        "at": at(seconds),
        "run_id": 1,
        "attempt_id": attempt_id,
        "action": "run" if attempt_id is None else "attempt",
        "from_state": None,
        "to_state": after,
        "actor": "a",
        "reason": "",
    }


def call(name: str, number: str, *, began: float, ended: float | None, **changed) -> Call:
    made = Call(name, number, CALLER, 5070, [at(began)], responded_at=at(began + 0.01))
    made.ended_at = None if ended is None else at(ended)
    for key, value in changed.items():
        setattr(made, key, value)
    return made


def right() -> Evidence:
    """Two people, dialed from second 1, stopped at second 3: all as it should be."""
    report = {"ringing": "cancel", "nodes": [{"node_id": NODE, "name": "n", "outcome": "acknowledged"}]}
    people = {NUMBER: 1, OTHER: 2}
    return Evidence(
        engines={"asterisk-a": 5070},
        asks=[
            Ask(0, "add", CAMPAIGN, "api-1", at(0), at(0.1), 200, {}, list(people)),
            Ask(0, "start", CAMPAIGN, "api-1", at(0.5), at(0.6), 200, {"campaignInstanceId": "cid-1"}),
            Ask(0, "stop", CAMPAIGN, "api-1", at(2.9), at(3.0), 200, {"campaignInstanceId": "cid-1"}),
        ],
        runs=[
            {
                "id": 1,
                "instance_id": "cid-1",
                "campaign_id": CAMPAIGN,
                "state": "stopped",
                "epoch": 2,
                "caller": CALLER,
                "stop_report": json.dumps(report),
                "started_at": at(0.55),
                "stopping_at": at(2.92),
                "ended_at": at(2.98),
            }
        ],
        contacts=[{"list_id": "cl", "phone": phone, "campaign_id": CAMPAIGN} for phone in people],
        run_contacts=[
            {"run_id": 1, "contact_id": id_, "phone": phone, "state": "done", "attempts_count": 1}
            for phone, id_ in people.items()
        ],
        attempts=[
            attempt("a1", NUMBER, contact_id=1, reserved=1.0, ended=2.95),
            attempt("a2", OTHER, contact_id=2, reserved=1.0, ended=2.95),
        ],
        history=[
            move(1, 0.55, "active"),
            *(move(2 + 3 * place, 1.0, "reserved", name) for place, name in enumerate(("a1", "a2"))),
            *(move(3 + 3 * place, 1.1, "ringing", name) for place, name in enumerate(("a1", "a2"))),
            *(move(4 + 3 * place, 2.95, "ended", name) for place, name in enumerate(("a1", "a2"))),
            move(20, 2.92, "stopping"),
            move(21, 2.98, "stopped"),
        ],
        calls=[call("c1", NUMBER, began=1.01, ended=2.95), call("c2", OTHER, began=1.01, ended=2.95)],
    )


def test_nothing_is_said_about_what_is_right():
    evidence = right()
    assert check(evidence) == []
    assert account.last_line(evidence, []) == "stops=1 faults=0 violations=0"


def late_call(evidence: Evidence) -> None:
    evidence.calls[0].invites[0] = at(3.0) + 1
    evidence.calls[0].responded_at = evidence.calls[0].ended_at = at(3.1)
    evidence.history = [row for row in evidence.history if row["attempt_id"] != "a1"] + [
        move(30, 1.0, "reserved", "a1"),
        move(31, 3.1, "ended", "a1"),
    ]


def two_live_calls(evidence: Evidence) -> None:
    evidence.calls[0].ended_at = at(2.0)
    evidence.calls.append(call("c3", NUMBER, began=1.5, ended=1.6, caller="+15550191000"))
    evidence.attempts.append(attempt("a3", NUMBER, contact_id=3, reserved=1.4, ended=1.7, caller_id="+15550191000"))
    evidence.history += [move(30, 1.4, "reserved", "a3"), move(31, 1.7, "ended", "a3")]
    evidence.run_contacts.append(evidence.run_contacts[0] | {"contact_id": 3, "phone": "+12010000003"})
    evidence.contacts.append(evidence.contacts[0] | {"phone": "+12010000003"})


def a_contact_lost(evidence: Evidence) -> None:
    evidence.run_contacts.pop()
    evidence.attempts.pop()
    evidence.calls.pop()


def a_contact_left_claimed(evidence: Evidence) -> None:
    evidence.run_contacts[0]["state"] = "claimed"


def a_contact_not_on_its_list(evidence: Evidence) -> None:
    evidence.contacts.append(dict(evidence.contacts[0]))


def an_attempt_that_lives_on(evidence: Evidence) -> None:
    evidence.attempts[0] |= {"state": "ringing", "disposition": None, "ended_at": None}
    evidence.asks[2].body = {}


def an_attempt_that_ended_twice(evidence: Evidence) -> None:
    evidence.history.append(move(30, 2.97, "ended", "a1"))


def no_rest(evidence: Evidence) -> None:
    evidence.quiesced = "a run is active"


def unknown_and_dialed_again(evidence: Evidence) -> None:
    evidence.attempts[0] |= {"state": "unknown", "disposition": "unknown", "ended_at": at(1.5)}
    evidence.calls[0].ended_at = at(1.5)
    evidence.history = [row for row in evidence.history if row["attempt_id"] != "a1"] + [move(30, 1.5, "unknown", "a1")]
    evidence.attempts.append(attempt("a3", NUMBER, contact_id=1, reserved=2.0, ended=2.5))
    evidence.history.append(move(31, 2.5, "ended", "a3"))
    evidence.calls.append(call("c3", NUMBER, began=2.1, ended=2.5))
    evidence.run_contacts[0]["attempts_count"] = 2


def called_too_often(evidence: Evidence) -> None:
    evidence.max_attempts = 0


def counted_wrongly(evidence: Evidence) -> None:
    evidence.run_contacts[0]["attempts_count"] = 2


def a_false_200(evidence: Evidence) -> None:
    evidence.history[-1]["at"] = at(3.1)


def ringing_at_the_200(evidence: Evidence) -> None:
    for row in evidence.history:
        if row["attempt_id"] == "a1" and row["to_state"] == "ended":
            row["at"] = at(3.05)
    evidence.attempts[0]["ended_at"] = evidence.calls[0].ended_at = at(3.04)


def a_503_for_nothing(evidence: Evidence) -> None:
    evidence.faults.append(Injected("kill-api", "api-1", at(-10), at(-4)))
    evidence.faults.append(Injected("carrier-busy", "carrier", at(0), at(9)))
    evidence.asks.insert(2, Ask(0, "stop", CAMPAIGN, "api-1", at(2.0), at(2.5), 503, {"errors": []}))


def dialed_though_listed(evidence: Evidence) -> None:
    evidence.asks.append(Ask(0, "dnc", CAMPAIGN, "api-1", at(0.9), at(1.0), 200, {"problems": []}, [NUMBER]))


def dialed_while_paused(evidence: Evidence) -> None:
    evidence.asks.append(Ask(0, "pause", CAMPAIGN, "api-1", at(0.9), at(1.0), 200, {"instanceId": "cid-1"}))
    evidence.asks.append(Ask(0, "resume", CAMPAIGN, "api-1", at(1.5), at(1.6), 200, {"instanceId": "cid-1"}))


def a_call_without_an_attempt(evidence: Evidence) -> None:
    evidence.calls[0].number = "+12019999999"


def a_second_call_of_one_attempt(evidence: Evidence) -> None:
    evidence.calls.append(call("c3", OTHER, began=2.951, ended=2.96))


def a_call_nobody_says_was_sent(evidence: Evidence) -> None:
    evidence.attempts[0] |= {"dialed_at": None, "ringing_at": None}
    evidence.run_contacts[0]["attempts_count"] = 0


def ringing_without_a_call(evidence: Evidence) -> None:
    evidence.calls.pop()


def a_call_after_its_attempts_end(evidence: Evidence) -> None:
    for row in evidence.history:
        if row["attempt_id"] == "a1" and row["to_state"] == "ended":
            row["at"] = at(0.7)


def an_inner_failure(evidence: Evidence) -> None:
    evidence.asks[1].status = 500


def a_process_that_fell(evidence: Evidence) -> None:
    evidence.faults.append(Injected("kill-api", "api-1", at(0.5), at(1)))
    evidence.fell.append((at(2), "dialer-1", 1))


@pytest.mark.parametrize(
    ("rule", "spoil"),
    [
        (1, late_call),
        (2, two_live_calls),
        (3, a_contact_lost),
        (3, a_contact_left_claimed),
        (3, a_contact_not_on_its_list),
        (4, an_attempt_that_lives_on),
        (4, an_attempt_that_ended_twice),
        (4, no_rest),
        (5, unknown_and_dialed_again),
        (5, called_too_often),
        (5, counted_wrongly),
        (6, a_false_200),
        (6, ringing_at_the_200),
        (6, a_503_for_nothing),
        (7, dialed_though_listed),
        (8, dialed_while_paused),
        (9, a_call_without_an_attempt),
        (9, a_second_call_of_one_attempt),
        (9, a_call_nobody_says_was_sent),
        (9, ringing_without_a_call),
        (9, a_call_after_its_attempts_end),
        (10, an_inner_failure),
        (10, a_process_that_fell),
    ],
    ids=lambda value: value.__name__ if callable(value) else str(value),
)
def test_each_rule_is_seen_broken(rule: int, spoil: Callable[[Evidence], None]):
    evidence = right()
    spoil(evidence)
    found = check(evidence)
    assert rule in {one.rule for one in found}, found
    told = account.of(evidence, next(one for one in found if one.rule == rule))
    assert told.startswith(f"rule {rule}: ")
    assert "<<<<" in told


def test_a_call_at_the_very_instant_of_the_answer_is_not_after_it():
    evidence = right()
    late_call(evidence)
    evidence.calls[0].invites[0] = at(3.0)
    assert 1 not in {one.rule for one in check(evidence)}


def test_an_invite_sent_again_is_the_same_call():
    evidence = right()
    evidence.calls[0].invites.append(at(3.5))
    assert check(evidence) == []


def test_a_503_under_a_fault_or_soon_after_one_is_no_violation():
    evidence = right()
    a_503_for_nothing(evidence)
    evidence.faults[0].end = at(1.0)
    assert check(evidence) == []


def test_a_process_that_does_not_find_its_database_may_end():
    evidence = right()
    a_process_that_fell(evidence)
    evidence.faults.append(Injected("kill-postgres", "postgres", at(0.5), at(1)))
    assert check(evidence) == []


def test_an_end_that_is_written_a_moment_later_is_an_end():
    evidence = right()
    ringing_at_the_200(evidence)
    assert {one.rule for one in check(evidence)} == {6}
    evidence.calls[0].cancelled_at = evidence.calls[0].ended_at = at(2.95)
    evidence.attempts[0]["ended_at"] = at(2.95)
    assert check(evidence) == []


def rings_on(evidence: Evidence) -> None:
    """The call goes on at the carrier, whatever the tables say."""
    evidence.calls[0].ended_at = at(9)


def test_a_call_that_rings_on_is_seen_by_the_carrier():
    evidence = right()
    rings_on(evidence)
    assert [one.what for one in check(evidence)] == ["a call rang on after the 200 of its run's stop"]


@pytest.mark.parametrize(
    "change",
    [
        {"cancelled_at": at(2.96)},
        {"answered_at": at(2.0)},
        # nothing can be cancelled before the carrier has answered at all
        {"responded_at": at(2.99)},
        {"responded_at": None},
    ],
)
def test_a_call_that_was_cancelled_answered_or_never_rang_does_not_ring_on(change):
    evidence = right()
    rings_on(evidence)
    for name, value in change.items():
        setattr(evidence.calls[0], name, value)
    assert check(evidence) == []


def test_nobody_can_cancel_a_call_whose_engine_was_killed_as_it_rang_however_long_before_the_stop():
    evidence = right()
    rings_on(evidence)
    evidence.faults = [Injected("kill-asterisk", "asterisk-a", at(-20), at(-19))]
    # placed after that
    assert [one.what for one in check(evidence)] == ["a call rang on after the 200 of its run's stop"]
    evidence.calls[0].responded_at = at(-30)
    assert check(evidence) == []


@pytest.mark.parametrize(
    ("target", "begin", "thawed", "seen"),
    [
        ("n", 2.8, 3.1, True),
        ("dialers", 2.8, 3.1, True),
        # another one, or for a part of that time only
        ("dialer-2", 2.8, 3.1, False),
        ("n", 2.93, 3.1, False),
        ("n", 2.8, 2.95, False),
        ("n", 2.8, None, False),
    ],
)
def test_whoever_was_frozen_from_before_the_commit_until_after_the_200_has_not_acknowledged(
    target, begin, thawed, seen
):
    evidence = right()
    frozen = Injected("freeze-over-stop", target, at(begin), at(4.0))
    frozen.thawed = None if thawed is None else at(thawed)
    evidence.faults = [frozen]
    assert [one.what for one in check(evidence)] == (
        ["the report says that n acknowledged the stop, which was frozen all the while"] if seen else []
    )
    evidence.runs[0]["stop_report"] = evidence.runs[0]["stop_report"].replace("acknowledged", "expired")
    assert check(evidence) == []


def test_what_a_struck_node_knows_is_written_later():
    evidence = right()
    ringing_at_the_200(evidence)
    evidence.calls[0].cancelled_at = at(2.95)
    assert {one.rule for one in check(evidence)} == {6}
    for target, excused in (("dialer-2", False), ("n", True), ("dialers", True), ("postgres", True)):
        evidence.faults = [Injected("freeze-dialer", target, at(2.5), at(2.99))]
        assert ({one.rule for one in check(evidence)} == set()) is excused, target
    evidence.faults = [Injected("clock-dialer", "n", at(2.5), at(2.99))]
    assert {one.rule for one in check(evidence)} == {6}


def test_a_machine_without_time_excuses_a_503():
    evidence = right()
    a_503_for_nothing(evidence)
    evidence.starved = [(at(1.0), at(1.3))]
    assert check(evidence) == []


@pytest.mark.parametrize(
    ("cancelled", "status", "seen"),
    [
        (1.5, 487, False),
        # the CANCEL came after the next call, or was crossed by an answer, or there was none
        (1.7, 487, True),
        (1.5, 200, True),
        (None, 487, True),
    ],
)
def test_a_call_that_was_cancelled_is_over_before_a_slow_carrier_says_so(cancelled, status, seen):
    evidence = right()
    evidence.calls[0].status = status
    evidence.calls[0].cancelled_at = None if cancelled is None else at(cancelled)
    evidence.calls.append(call("c3", NUMBER, began=1.6, ended=2.95))
    assert (2 in {one.rule for one in check(evidence)}) is seen


def test_a_late_ring_of_a_call_that_was_given_up_is_no_second_call():
    # the carrier said nothing; the attempt was over before its phone rang
    evidence = right()
    two_live_calls(evidence)
    evidence.calls[0].responded_at, evidence.calls[0].ended_at = at(2.96), at(2.97)
    assert 2 in {one.rule for one in check(evidence)}
    for row in evidence.history:
        if row["attempt_id"] == "a1" and row["to_state"] == "ended":
            row["at"] = at(1.3)
    assert 2 not in {one.rule for one in check(evidence)}


@pytest.mark.parametrize(
    ("killed", "responded", "given_up", "seen"),
    [
        # its phone rang already, or began to while nobody knew of its end
        (1.25, 1.2, 1.4, True),
        (1.25, 1.3, 1.4, True),
        # its CANCEL waited for that word, and its engine was killed first; or sent it
        (1.25, 1.3, 1.22, False),
        (1.45, 1.3, 1.22, False),
        # not a word: no phone rang, whatever was written down, and when
        (1.25, None, 1.4, False),
    ],
)
@pytest.mark.parametrize("kind", ["kill-asterisk", "cut-line"])
def test_a_call_that_was_given_up_before_the_carrier_spoke(killed, responded, given_up, seen, kind):
    evidence = right()
    two_live_calls(evidence)
    first = evidence.calls[0]
    first.tcp = kind == "cut-line"
    first.ended_at, first.responded_at = None, None if responded is None else at(responded)
    for row in evidence.history:
        if row["attempt_id"] == "a1" and row["to_state"] == "ended":
            row["at"] = at(given_up)
    first.cancelled_at = at(1.35) if killed > 1.4 else None
    target = "line" if first.tcp else "asterisk-a"
    evidence.faults.append(Injected(kind, target, at(killed), at(killed + 0.01)))
    assert [one.rule for one in one_live_call_per_number(Found(evidence))] == ([2] if seen else [])


@pytest.mark.parametrize(
    ("answered", "stepped", "later", "seen"),
    [
        # its phone rings on, and nobody is left who could cancel it
        (None, False, 0, True),
        (None, False, RINGS_ON - SECOND // 2, True),
        (None, False, RINGS_ON, False),
        # by clocks that are wrong that time is over sooner
        (None, True, RINGS_ON - APART - SECOND // 2, True),
        (None, True, RINGS_ON - APART, False),
        # who talked hangs up
        (1.4, False, 0, False),
        (1.46, False, 0, True),
    ],
)
def test_calls_ring_on_when_their_engine_was_killed(answered, stepped, later, seen):
    evidence = right()
    two_live_calls(evidence)
    evidence.calls[0].ended_at, evidence.calls[0].answered_at = None, None if answered is None else at(answered)
    evidence.calls[-1].invites[0] += later
    evidence.faults.append(Injected("kill-asterisk", "asterisk-a", at(1.45), at(2.0)))
    if stepped:
        evidence.faults.append(Injected("clock-postgres", "postgres", at(1.4), at(2.0)))
    found = Found(evidence)
    assert [one.rule for one in one_live_call_per_number(found)] == ([2] if seen else [])


@pytest.mark.parametrize(
    ("kind", "target", "settle"),
    [("lossy-engine", "asterisk-b", 6.0), ("deaf-database", "api-2", 6.0), ("clock-postgres", "postgres", 8.0)],
)
def test_what_was_lost_or_stepped_may_take_its_time_and_no_more(kind, target, settle):
    evidence = right()
    a_503_for_nothing(evidence)
    evidence.faults.append(Injected(kind, target, at(-20), at(2.0 - settle)))
    assert check(evidence) == []
    evidence.faults[-1].end = at(2.0 - settle - 3.0)
    assert {one.rule for one in check(evidence)} == {6}


@pytest.mark.parametrize("target", ["asterisk-a", "postgres"])
def test_a_clock_that_is_stepped_excuses_no_attempt_that_rings_at_the_200(target):
    evidence = right()
    ringing_at_the_200(evidence)
    evidence.faults.append(Injected("kill-asterisk", "asterisk-a", at(2.5), at(2.6)))
    assert check(evidence) == []
    evidence.faults[-1].kind, evidence.faults[-1].target = f"clock-{target.split('-')[0]}", target
    assert {one.rule for one in check(evidence)} == {6}


def test_an_end_by_a_wrong_clock_is_believed_the_carrier():
    evidence = right()
    ringing_at_the_200(evidence)
    evidence.calls[0].cancelled_at = evidence.calls[0].ended_at = at(2.95)
    evidence.attempts[0]["ended_at"] = at(4.0)
    assert {one.rule for one in check(evidence)} == {6}
    evidence.faults.append(Injected("clock-dialer", "dialer-1", at(2.0), at(2.5)))
    assert check(evidence) == []
    evidence.calls[0].ended_at = at(3.04)
    assert {one.rule for one in check(evidence)} == {6}


def test_a_process_that_falls_when_a_clock_is_stepped_has_no_excuse():
    evidence = right()
    a_process_that_fell(evidence)
    evidence.faults.append(Injected("clock-postgres", "postgres", at(0.5), at(1)))
    assert {one.rule for one in check(evidence)} == {10}


def test_what_a_stepped_database_wrote_is_set_right():
    evidence, booted = right(), at(-500)
    evidence.faults.append(Injected("clock-postgres", "postgres", at(0.9), at(2.0), "by +5.000 s "))
    true = [row["at"] for row in evidence.history]
    for row in evidence.history:
        # noted a moment early
        row["boot"] = row["at"] - booted - SECOND // 200
        if at(0.9) < row["at"] < at(2.0):
            row["at"] += 5 * SECOND
    for row in evidence.attempts:
        row["reserved_at"] += 5 * SECOND
    set_right(evidence, booted=booted)
    assert check(evidence) == []
    # what was right is left as it was, to the nanosecond
    assert [before - row["at"] for before, row in zip(true, evidence.history, strict=True)] == [
        SECOND // 200 if at(0.9) < before < at(2.0) else 0 for before in true
    ]


def test_what_was_written_as_a_step_ended_is_set_right_too():
    evidence, booted = right(), at(-500)
    evidence.faults.append(Injected("clock-postgres", "postgres", at(0.2), at(1.2), "by +5.000 s "))
    for row in evidence.history:
        row["boot"] = row["at"] - booted
    # before the row of history that tells of it, which is right
    evidence.attempts[0]["reserved_at"] += 5 * SECOND
    evidence.runs[0]["started_at"] += 5 * SECOND
    set_right(evidence, booted=booted)
    assert (evidence.attempts[0]["reserved_at"], evidence.runs[0]["started_at"]) == (at(1.0), at(0.55))
    assert check(evidence) == []


def test_a_look_sees_a_call_between_a_stop_and_the_next_start():
    evidence = right()
    assert look(evidence) == []
    late_call(evidence)
    assert {one.rule for one in look(evidence)} == {1}
    again = Ask(0, "start", CAMPAIGN, "api-1", at(2.95), at(3.1), 200, {})
    evidence.asks.append(again)
    assert look(evidence) == []
    # the one that may be carried out at any time is no other campaign's
    again.campaign_id = "another"
    again.received = None
    assert {one.rule for one in look(evidence)} == {1}


def test_a_look_sees_a_call_of_a_campaign_that_is_paused():
    evidence = right()
    dialed_while_paused(evidence)
    assert {one.rule for one in look(evidence)} == {8}
    evidence.asks[-1].sent = at(0.95)
    assert look(evidence) == []


@pytest.mark.parametrize("spoil", [dialed_though_listed, a_503_for_nothing, an_inner_failure, a_process_that_fell])
def test_a_look_sees_what_needs_no_tables(spoil):
    evidence = right()
    spoil(evidence)
    seen = Evidence(calls=evidence.calls, asks=evidence.asks, faults=evidence.faults, fell=evidence.fell)
    assert look(seen)


def test_the_evidence_is_the_same_when_it_is_read_again(tmp_path):
    evidence = right()
    evidence.faults.append(Injected("kill-api", "api-1", at(1), at(2)))
    evidence.starved = [(at(1), at(2))]
    evidence.fell = [(at(1), "api-1", 1)]
    evidence.write(tmp_path)
    assert Evidence.read(tmp_path) == evidence
