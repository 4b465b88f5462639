from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator, meta

from outdial.core.errors import InvalidInputError
from outdial.core.flow import Gather, Record, Sound, Speech, Tell, Transfer, Webhook
from outdial.core.flow_document import read_flow, schema

WHOLE: dict[str, Any] = {
    "start": "greet",
    "machine_start": "drop",
    "language": "en",
    "sounds": {"hello": {"en": "hello.wav", "es": "hola.wav"}, "beep": "beep.wav"},
    "steps": {
        "greet": {"play": "hello", "next": "ask", "failed": "bye"},
        "drop": {"say": "Please call us back.", "next": "bye"},
        "ask": {
            "gather": {"say": "Press one, {first_name|friend}.", "digits": 1, "tries": 2},
            "choices": {"1": "crm", 2: "voice", "3": "talk", "4": "bot", "9": "leave"},
            "no_input": "bye",
            "invalid": "bye",
        },
        "crm": {
            "webhook": {"url": "https://crm.example/x?y=1", "send": ["order"], "play": "beep"},
            "next": "noted",
            "failed": "bye",
        },
        "noted": {"result": "confirmed", "next": "spanish"},
        "spanish": {"language": "es", "next": "bye"},
        "voice": {"record": {"play": "beep", "agree": "2"}, "next": "bye", "refused": "bye", "failed": "bye"},
        "talk": {"transfer": "+15550100001", "failed": "bye"},
        "bot": {"agent": "wss://bot.example/talk", "failed": "bye"},
        "leave": {"opt_out": "campaign"},
        "bye": {"hang_up": True},
    },
}


def problems(document: Any) -> tuple[str, ...]:
    with pytest.raises(InvalidInputError) as caught:
        read_flow(document)
    return caught.value.problems


def step(**step: Any) -> dict[str, Any]:
    """A flow of this step and one to go to."""
    return {"start": "a", "steps": {"a": step, "b": {"hang_up": True}}}


def test_every_verb_is_read():
    plan = read_flow(WHOLE)
    assert plan.start == "greet"
    assert plan.machine_start == "drop"
    assert plan.sounds["beep"] == {"en": "beep.wav"}, "in the flow's own language"
    assert plan.steps["greet"] == Tell(Sound("hello"), next="ask", failed="bye")
    ask = plan.steps["ask"]
    assert isinstance(ask, Gather)
    assert ask.prompt == Speech("Press one, {first_name|friend}.")
    assert ask.choices == {"1": "crm", "2": "voice", "3": "talk", "4": "bot", "9": "leave"}, "2 was no text"
    assert (ask.timeout_seconds, ask.between_seconds) == (5.0, 3.0), "unless told"
    assert plan.steps["talk"] == Transfer("+15550100001", 30, failed="bye")
    assert plan.steps["crm"] == Webhook("https://crm.example/x?y=1", 3.0, ("order",), "", "noted", "bye", Sound("beep"))
    voice = plan.steps["voice"]
    assert isinstance(voice, Record)
    assert voice.agree == "2"


def test_it_can_be_written_as_json():
    assert read_flow(json.loads(json.dumps(WHOLE))) == read_flow(WHOLE)


@pytest.mark.parametrize("document", [None, [], "flow", 7, True])
def test_what_is_no_object(document):
    assert problems(document) == ("A flow must be an object with `start` and `steps`.",)


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({}, "`start` is missing."),
        ({}, "`steps` must be an object of 1 to 200 steps."),
        ({"start": "a", "steps": {}}, "`steps` must be an object of 1 to 200 steps."),
        (WHOLE | {"begin": "greet"}, "`begin` is no field of the flow; it may have start, steps,"),
        (WHOLE | {"language": "english!"}, "`language` must be a language tag like en or pt-BR (RFC 5646)."),
        (WHOLE | {"start": "nowhere"}, "`start` names the step nowhere, which does not exist."),
        (WHOLE | {"machine_start": "nowhere"}, "`machine_start` names the step nowhere, which does not exist."),
        (WHOLE | {"sounds": []}, "`sounds` must be an object of at most 200 names and their files."),
        (WHOLE | {"sounds": {"hello": 7}}, "`sounds.hello` must be a file, or an object of languages and files."),
        (WHOLE | {"sounds": {"hello": {"en": 7}}}, "`sounds.hello.en` must be text."),
        (WHOLE | {"sounds": {"hello": "../hello.wav"}}, "`sounds.hello.en` must be the plain name of a file, without"),
        (WHOLE | {"sounds": {"hello": "/etc/passwd"}}, "`sounds.hello.en` must be the plain name of a file, without"),
        (WHOLE | {"sounds": {"hello": ".."}}, "`sounds.hello.en` must be the plain name of a file, without folders."),
        (WHOLE | {"sounds": {"hello": {"e": "x"}}}, "`sounds.hello.e` must be a language tag like en or pt-BR"),
        (WHOLE | {"sounds": {"beep": "b.wav"}}, "`steps.greet` plays the sound hello, which is not among `sounds`."),
        (
            WHOLE | {"sounds": WHOLE["sounds"] | {"more": "x.wav"}},
            "`sounds.more` is never played; remove it.",
        ),
        (
            WHOLE | {"language": "de", "sounds": WHOLE["sounds"]},
            "`sounds.hello` has no file in the flow's own language, de.",
        ),
        ({"start": "a", "steps": {"a": 7}}, "`steps.a` must have exactly one of play, say, gather,"),
        ({"start": "a", "steps": {"a": {}}}, "`steps.a` must have exactly one of play, say, gather,"),
        ({"start": "a", "steps": {"a": {"say": "x", "result": "y"}}}, "`steps.a` must have exactly one of play,"),
        ({"start": "a", "steps": {"a b": {"say": "x"}}}, "`steps.a b` must be a name of letters, digits, _ and -."),
        (step(say="", next="b"), "`steps.a.say` must have 1 to 1000 characters."),
        (step(say=7, next="b"), "`steps.a.say` must be text."),
        (step(say="\0", next="b"), "`steps.a.say` must not hold a NUL character."),
        (step(say="Hello {first name}", next="b"), "`steps.a.say` has a brace that belongs to no {variable};"),
        (step(say="Hello", then="b"), "`then` is no field of `steps.a`; it may have say, next, failed."),
        (step(say="Hello", next="c"), "`steps.a` leads to the step c, which does not exist."),
        (step(say="Hello", next=7), "`steps.a.next` must be text."),
        (step(say="Hello"), "`steps.b` is never reached; lead a step to it or remove it."),
        (step(gather=1, next="b"), "`steps.a.gather` must be an object with play, say, digits,"),
        (step(gather={"digits": 0}, next="b"), "`steps.a.gather.digits` must be a whole number from 1 to 32."),
        (step(gather={"digits": True}, next="b"), "`steps.a.gather.digits` must be a whole number from 1 to 32."),
        (step(gather={"digits": 1.5}, next="b"), "`steps.a.gather.digits` must be a whole number from 1 to 32."),
        (
            step(gather={"timeout_seconds": 0}, next="b"),
            "`steps.a.gather.timeout_seconds` must be a number from 1 to 60.",
        ),
        (step(gather={"say": "?", "play": "x"}, next="b"), "`steps.a.gather` has both `play` and `say`; it takes one."),
        (step(gather={"wait": 3}, next="b"), "`wait` is no field of `steps.a.gather`; it may have play, say,"),
        (step(gather={}, choices={"#": "b"}), "`steps.a.choices.#` must be one or more of the keys 0123456789*."),
        (
            step(gather={}, choices={"12": "b"}),
            "`steps.a.choices` has one of 2 keys, more than `steps.a.gather.digits`, 1.",
        ),
        (step(gather={}, choices=["b"]), "`steps.a.choices` must be an object of keys and steps."),
        (step(gather={}, choices={"1": "b"}, next="b"), "`steps.a` has both `choices` and `next`;"),
        (step(gather={}, invalid="b"), "`steps.a` has `invalid` and no `choices`: then everything is valid."),
        (step(record={}, next="b"), "`steps.a.record` must have `play` or `say`."),
        (step(record={"say": "?", "agree": "#"}, next="b"), "`steps.a.record.agree` must be 0 or 1 or 2"),
        (step(opt_out="all", next="b"), "`steps.a.opt_out` must be account or campaign."),
        (
            step(transfer="desk", next="b"),
            "`steps.a.transfer.to` must be a SIP address like sip:desk@10.0.0.7 or a number",
        ),
        (step(transfer={"to": "+1 555"}, next="b"), "`steps.a.transfer.to` must be a SIP address"),
        (step(transfer="sip:a@b\r\nX: y", next="b"), "`steps.a.transfer.to` must be a SIP address"),
        (step(transfer={"ring_seconds": 10}, next="b"), "`steps.a.transfer.to` is missing."),
        (step(agent="https://x/", next="b"), "`steps.a.agent.url` must be an address like wss://host/path."),
        (step(agent={"url": "ws://x/", "rate": 44100}, next="b"), "`steps.a.agent.rate` must be 8000 or 16000."),
        (step(webhook="ftp://x/", next="b"), "`steps.a.webhook.url` must be an address like https://host/path."),
        (step(webhook="https://u:p@x/", next="b"), "`steps.a.webhook.url` must be an address like https://host/path."),
        (
            step(webhook={"url": "http://x/", "send": "order"}, next="b"),
            "`steps.a.webhook.send` must be a list of names",
        ),
        (step(hang_up=False), "`steps.a.hang_up` must be true."),
        (step(hang_up=True, next="b"), "`next` is no field of `steps.a`; it may have hang_up."),
    ],
)
def test_what_is_wrong_is_said(document, sentence):
    assert any(one.startswith(sentence) for one in problems(document)), problems(document)


def test_all_that_is_wrong_is_said_at_once():
    found = problems(
        {"start": 7, "steps": {"a": {"say": ""}, "b": {"gather": {"digits": 0, "tries": 99}}, "c": {"sing": "x"}}}
    )
    assert len(found) == 5
    assert {one.partition("`")[2].partition("`")[0] for one in found} == {
        "start",
        "steps.a.say",
        "steps.b.gather.digits",
        "steps.b.gather.tries",
        "steps.c",
    }


def test_what_is_said_is_bounded():
    found = problems({"start": "a", "steps": {"a": {"say": "x"}}, **{f"more{place}": 1 for place in range(1000)}})
    assert len(found) == 51
    assert found[-1] == "And 950 more problems."


class TestRounds:
    def test_without_a_question_are_refused(self):
        document = {"start": "a", "steps": {"a": {"say": "x", "next": "b"}, "b": {"result": "y", "next": "a"}}}
        assert problems(document) == ("The steps a → b → a go round without asking anything.",)

    def test_of_one_step_too(self):
        assert problems({"start": "a", "steps": {"a": {"say": "x", "next": "a"}}}) == (
            "The steps a → a go round without asking anything.",
        )

    def test_through_a_branch_too(self):
        steps = {"a": {"webhook": "http://x/", "next": "b", "failed": "a"}, "b": {"hang_up": True}}
        assert problems({"start": "a", "steps": steps}) == ("The steps a → a go round without asking anything.",)

    def test_with_a_question_are_a_menu(self):
        steps = {
            "menu": {"gather": {"say": "?"}, "choices": {"1": "hours"}, "no_input": "menu"},
            "hours": {"say": "Nine to five.", "next": "menu"},
        }
        assert set(read_flow({"start": "menu", "steps": steps}).steps) == {"menu", "hours"}


# The schema says the same


def fits(document: Any) -> bool:
    return Draft202012Validator(schema()).is_valid(document)


def test_the_schema_is_one():
    meta.validate(schema())


def test_a_flow_fits_the_schema():
    assert fits(json.loads(json.dumps(WHOLE)))


@pytest.mark.parametrize(
    "document",
    [
        {},
        step(sing="x"),
        step(say=7),
        step(say="x", then="b"),
        step(gather={"digits": 0}),
        step(gather={"wait": 1}),
        step(hang_up=False),
        step(transfer={"ring_seconds": 10}),
        step(opt_out="all"),
        step(say="x", result="y"),
    ],
)
def test_what_does_not_fit_is_refused_too(document):
    assert not fits(document)
    assert problems(document)


# Whatever is written

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.data())
def test_no_document_is_too_strange(data):
    """One value of a good flow, wherever it stands, becomes any other: it is read or refused, never anything else."""
    document = copy.deepcopy(WHOLE)
    place: Any = document
    while True:
        key = data.draw(st.sampled_from(sorted(place, key=str)))
        if not isinstance(place[key], dict) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(json_values)
    said: tuple[str, ...] = ()
    try:
        read_flow(document)
    except InvalidInputError as error:
        said = error.problems
    assert all(problem.endswith(".") and "Error" not in problem for problem in said)
