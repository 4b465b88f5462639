"""Checking signed reports: a good one is valid, nothing of it can be changed, a lie is found though it is signed."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial import signing
from outdial.core.canonical import NotJsonError, canonical, instant, read
from outdial.services.report_text import report_text
from outdial.services.verification import UnreadableReportError, verify
from support import reports
from support.reports import at

GOOD = reports.signed(reports.document())
TEXT = canonical(GOOD)

JSON_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


def leaves(value: Any, place: tuple = ()) -> list[tuple]:
    """Where every value that is no object or list stands, and every empty one."""
    if isinstance(value, dict) and value:
        return [found for name, inner in value.items() for found in leaves(inner, (*place, name))]
    if isinstance(value, list) and value:
        return [found for number, inner in enumerate(value) for found in leaves(inner, (*place, number))]
    return [place]


LEAVES = leaves(GOOD)


def with_leaf(place: tuple, value: Any) -> dict[str, Any]:
    made = json.loads(TEXT)
    inner = made
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    return made


def found_in(text: bytes, public: bytes | None = reports.PUBLIC) -> list[tuple[str, str]]:
    verdict = verify(text, public)
    assert verdict.valid is not bool(verdict.findings)
    return [(one.check, one.where) for one in verdict.findings]


def test_a_good_report_is_valid_however_it_is_laid_out():
    assert len(LEAVES) > 150
    for text in (TEXT, json.dumps(GOOD, indent=4).encode(), json.dumps(GOOD, ensure_ascii=True).encode()):
        verdict = verify(text, reports.PUBLIC)
        assert (verdict.valid, verdict.findings, verdict.key_given) == (True, (), True)
        assert verdict.key_id == signing.key_id(reports.PUBLIC)
    assert verify(TEXT).key_given is False
    assert verify(TEXT).valid


@given(data=st.data())
def test_no_leaf_can_be_changed(data):
    place = data.draw(st.sampled_from(LEAVES))
    value = data.draw(JSON_LEAVES)
    changed = with_leaf(place, value)
    if changed == json.loads(TEXT) and canonical_or_none(changed) == TEXT:
        return
    for public in (reports.PUBLIC, None):
        try:
            assert not verify(json.dumps(changed).encode(), public).valid, place
        except UnreadableReportError:
            # half a character is no JSON
            assert canonical_or_none(changed) is None


def canonical_or_none(value: Any) -> bytes | None:
    try:
        return canonical(value)
    except NotJsonError:
        return None


@pytest.mark.parametrize("place", LEAVES, ids=lambda place: ".".join(map(str, place)))
def test_each_leaf_alone_is_vouched_for(place):
    """Every one of them, with a value of its own kind: what chance may miss."""
    inner = json.loads(TEXT)
    for step in place:
        inner = inner[step]
    match inner:
        case bool():
            other: Any = not inner
        case int() | float():
            other = inner + 1
        case str():
            other = inner[:-1] + ("0" if inner[-1:] != "0" else "1")
        case None:
            other = 0
        case _:
            other = [1]
    assert found_in(json.dumps(with_leaf(place, other)).encode())


@given(data=st.data())
def test_no_byte_can_be_changed(data):
    text = bytearray(TEXT)
    place = data.draw(st.integers(0, len(text) - 1))
    text[place] ^= data.draw(st.integers(1, 255))
    try:
        verdict = verify(bytes(text), reports.PUBLIC)
    except UnreadableReportError:
        return
    # a byte that changes nothing of what the text says
    assert not verdict.valid or canonical(read(bytes(text))) == TEXT


@given(data=st.data())
def test_nothing_can_be_left_out_or_put_in(data):
    place = data.draw(st.sampled_from(LEAVES))
    made = json.loads(TEXT)
    inner = made
    for step in place[: data.draw(st.integers(0, len(place) - 1))]:
        inner = inner[step]
    if isinstance(inner, list):
        inner.pop(data.draw(st.integers(0, len(inner) - 1)))
    elif data.draw(st.booleans()):
        inner.pop(data.draw(st.sampled_from(sorted(inner))))
    else:
        inner[data.draw(st.text("abc", min_size=1))] = 1
    assert not verify(json.dumps(made).encode(), reports.PUBLIC).valid


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"1", b"{", b"\xff\xfe", TEXT[:-1], b'{"a":1,"a":2}'])
def test_what_is_no_report_is_not_judged(text):
    with pytest.raises(UnreadableReportError, match="no report of a stop"):
        verify(text)


def test_a_report_of_a_later_version_is_not_guessed_at():
    assert found_in(reports.changed(lambda one: one.update(version=2))) == [("shape", "version")]


class TestWhoSigned:
    def test_by_another_key(self):
        private, public = signing.new_key()
        forged = canonical(reports.signed(reports.document(), private, public))
        # it vouches for itself, and for nobody the reader knows
        assert verify(forged).valid
        assert found_in(forged) == [("signature", "signature.publicKey")]

    def test_in_the_name_of_another_key(self):
        private, public = signing.new_key()
        forged = reports.signed(reports.document(), private, public)
        forged["signature"]["publicKey"] = signing.to_text(reports.PUBLIC)
        assert found_in(canonical(forged)) == [("signature", "signature.keyId")]
        forged["signature"]["keyId"] = signing.key_id(reports.PUBLIC)
        assert found_in(canonical(forged)) == [("signature", "signature.value")]

    def test_a_signature_that_is_no_base64(self):
        forged = json.loads(TEXT)
        forged["signature"]["value"] = "?"
        assert found_in(canonical(forged)) == [("signature", "signature")]

    def test_base64_with_bits_to_spare_is_another_text(self):
        value = GOOD["signature"]["value"]
        assert value.endswith("==")
        twin = value[:-3] + chr(ord(value[-3]) + 1) + "=="
        assert found_in(canonical(with_leaf(("signature", "value"), twin))) == [("signature", "signature")]


def late(one: dict[str, Any]) -> None:
    """A call that was placed after the barrier, and everything that goes with it."""
    after = instant(at(0.9))
    one["calls"][1]["dialedAt"] = after
    one["barrier"].update(lastOriginateAt=after)


def reserved_after() -> list:
    stopping, other, ended, stopped = reports.rows()
    reserved = reports.row(
        14, 0.08, action="attempt", attempt_id=reports.KEPT, contact_id=2, before=None, after="answered", reason=""
    )
    return [stopping, other, ended, reserved, stopped]


def other_end() -> list:
    stopping, other, ended, stopped = reports.rows()
    return [stopping, other, replace(ended, detail={**ended.detail, "disposition": "busy"}), stopped]


LIES = {
    "the latency": (lambda one: one["barrier"].update(latencySeconds=0.05), "instants", "barrier.latencySeconds"),
    "when no call could start": (
        lambda one: one["barrier"].update(noCallAfter=instant(at(0.01))),
        "instants",
        "barrier.noCallAfter",
    ),
    "a fence after the quiet": (
        lambda one: one["engines"][0].update(fencedAt=instant(at(0.08))),
        "instants",
        "engines[0].quiescedAt",
    ),
    "a quiet without a fence": (
        lambda one: one["engines"][0].update(fencedAt=None),
        "instants",
        "engines[0].quiescedAt",
    ),
    "a fence long before": (
        lambda one: one["engines"][0].update(fencedAt=instant(at(-9))),
        "instants",
        "engines[0]",
    ),
    "a silent node with an instant": (
        lambda one: one["nodes"][0].update(outcome="not_answering"),
        "instants",
        "nodes[0].at",
    ),
    "a call after the barrier": (late, "barrier", "calls[1].dialedAt"),
    "a last call that was not the last": (
        lambda one: one["barrier"].update(lastOriginateAt=instant(at(-30))),
        "barrier",
        "barrier.lastOriginateAt",
    ),
    "a last call without an attempt": (
        lambda one: one["barrier"].update(lastOriginateAttemptId=None),
        "barrier",
        "barrier.lastOriginateAttemptId",
    ),
    "who asked": (lambda one: one["request"].update(by="otto"), "run", "request.by"),
    "when it was asked for": (lambda one: one["request"].update(at=instant(at(0.05))), "run", "request.at"),
    "when it ended": (lambda one: one["barrier"].update(stoppedAt=instant(at(3))), "run", "barrier.stoppedAt"),
    "another epoch": (lambda one: one["run"].update(epoch=3), "run", "row 11"),
    "another run": (lambda one: one["run"].update(instanceId="cid-2"), "run", "row 11"),
    "another run's number": (lambda one: one["run"].update(runId=8), "run", "chain.seals[0]"),
    "another account": (lambda one: one["run"].update(accountId="b"), "chain", "chain.accountId"),
    "another head": (lambda one: one["chain"].update(head="0" * 64), "chain", "chain.head"),
    "a seal left out": (lambda one: one["chain"]["seals"].pop(1), "chain", "chain.seals[1]"),
    "rows left out": (lambda one: one["chain"]["seals"][1].update(entries=None), "run", "chain"),
    "a row changed": (
        lambda one: one["chain"]["seals"][1]["entries"][0].update(actor="otto"),
        "chain",
        "chain.seals[1]",
    ),
    "a call not listed": (lambda one: one["calls"].pop(0), "calls", "calls"),
    "a call listed twice": (lambda one: one["calls"].append(one["calls"][1]), "calls", "calls"),
    "a call without an end": (
        lambda one: one["calls"][0].update(state="ringing", endedAt=None, disposition=None),
        "calls",
        "calls[0].outcome",
    ),
    "an end without an instant": (lambda one: one["calls"][0].update(endedAt=None), "calls", "calls[0]"),
    "a call kept that was to be cancelled": (
        lambda one: one["calls"][1].update(phase="ringing", state="ringing"),
        "calls",
        "calls[1].outcome",
    ),
    "an end that is told as untold": (
        lambda one: one["calls"][0].update(outcome="unsettled"),
        "calls",
        "calls[0].outcome",
    ),
    "another phase": (lambda one: one["calls"][0].update(phase="dialing"), "calls", "calls[0].state"),
    "another end": (lambda one: one["calls"][0].update(disposition="busy"), "calls", "calls[0].disposition"),
    "another instant": (
        lambda one: one["calls"][0].update(ringingAt=instant(at(-1.1))),
        "calls",
        "calls[0].ringingAt",
    ),
    "another permit": (lambda one: one["calls"][0].update(permit="run7e1k1"), "calls", "calls[0].permit"),
    "another contact": (lambda one: one["calls"][0].update(contactId="cc-1"), "calls", "calls[0]"),
    "fewer calls": (lambda one: one["counts"].update(calls=1), "counts", "counts.calls"),
    "other phases": (lambda one: one["counts"]["phases"].update(ringing=0), "counts", "counts.phases"),
    "other outcomes": (lambda one: one["counts"]["outcomes"].update(kept=0), "counts", "counts.outcomes"),
    "fewer cancelled": (lambda one: one["counts"].update(cancelled=0), "counts", "counts.cancelled"),
    "contacts that do not add up": (
        lambda one: one["counts"]["contacts"].update(neverReached=930),
        "counts",
        "counts.contacts.total",
    ),
    "calls of nobody": (
        lambda one: one["counts"]["contacts"].update(inCalls=0, done=29),
        "counts",
        "counts.contacts.inCalls",
    ),
}


def untold(one: dict[str, Any]) -> None:
    """Booked as answered, at no engine any more, and nobody had told how it ended."""
    one["calls"][1].update(outcome="unsettled")
    one["counts"]["outcomes"].update(kept=0, unsettled=1)


def test_a_conversation_that_was_over_need_not_have_been_kept():
    assert found_in(reports.changed(untold)) == []


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_found_though_it_is_signed(lie):
    change, check, where = LIES[lie]
    found = found_in(reports.changed(change))
    assert (check, where) in found
    assert all(name != "signature" for name, _ in found)


@pytest.mark.parametrize(
    ("made", "check", "where"),
    [
        (reserved_after, "barrier", "chain.seals[1]"),
        (other_end, "calls", "calls[0].disposition"),
        (lambda: reports.rows()[:-1], "run", "chain"),
        (lambda: [*reports.rows(), reports.row(16, 0.2, before="stopped", after="active")], "run", "chain"),
    ],
    ids=["reserved after the commit", "another end in the chain", "no end of the stop", "started again"],
)
def test_what_the_chain_tells_is_held_against_the_report(made, check, where):
    assert (check, where) in found_in(reports.changed(lambda _: None, made()))


def test_it_was_signed_after_the_stop_had_ended():
    text = canonical(reports.signed(reports.document(), seconds=0.05))
    assert found_in(text) == [("instants", "signature.signedAt")]


def test_a_row_that_says_odd_things_is_a_finding_and_no_failure():
    stopping, other, ended, stopped = reports.rows()
    for detail in (None, [], {"cause": "x", "ended_at": 1, "dialed_at": {}}, {"ended_at": "never"}):
        made = [replace(stopping, detail=detail), other, replace(ended, detail=detail), stopped]
        assert found_in(reports.changed(lambda _: None, made))


def test_people_can_read_it():
    text = report_text(GOOD)
    for words in (
        "Stop of run cid-1",
        "2026-03-01T10:00:00.000000Z by anna",
        "asterisk: fenced 2026-03-01T10:00:00.010000Z, quiet 2026-03-01T10:00:00.060000Z, 1 cancelled",
        "dialer-1 (node): acknowledged 2026-03-01",
        "after 100 ms",
        "never reached      931",
        f"{reports.CANCELLED}  ringing → cancelled 2026-03-01T10:00:00.040000Z",
        f"{reports.KEPT}  answered → kept",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("acknowledged", "has dropped the run"),
        ("lease_expired", "may not dial any more"),
        ("not_answering", "every engine is fenced, so it can place no call"),
    ],
)
def test_people_are_told_what_the_word_for_a_node_means(outcome, words):
    made = deepcopy(GOOD)
    made["nodes"][0].update(outcome=outcome, at=None)
    assert f"dialer-1 (node): {outcome}, " in report_text(made)
    assert words in report_text(made)


def test_people_are_told_what_the_word_for_a_call_means_where_there_is_one():
    made = deepcopy(GOOD)
    assert "  kept: goes on at its engine" in report_text(made)
    assert "  unsettled: " not in report_text(made)
    made["counts"]["outcomes"].update(kept=0, unsettled=1)
    assert "  kept: " not in report_text(made)
    assert "  unsettled: over, and nobody had told how" in report_text(made)
