from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.core.flow import (
    Agent,
    FlowPlan,
    Gather,
    HangUp,
    OptOut,
    OptOutScope,
    Record,
    SetResult,
    Sound,
    Speech,
    Tell,
    Transfer,
    Webhook,
)
from outdial.core.flow_document import read_flow
from outdial.core.flow_play import (
    MOST_TAKEN,
    Answered,
    Ask,
    Done,
    End,
    Failed,
    FlowState,
    Happened,
    Heard,
    Hush,
    Key,
    PlayMeanwhile,
    PlaySound,
    Recorded,
    Refuse,
    Speak,
    StartAgent,
    StartRecording,
    StartTransfer,
    TimeUp,
    Turn,
    Unheard,
    Wait,
    advance,
    begin,
    filled,
)


def plan(steps: dict[str, Any], **more: Any) -> FlowPlan:
    return read_flow({"start": next(iter(steps)), "steps": steps, **more})


class Playing:
    """A call in a flow, driven by hand."""

    def __init__(self, flow: FlowPlan, *, machine: bool = False, **variables: str) -> None:
        self.flow = flow
        self.turn = begin(flow, variables, machine=machine)
        self.done = [*self.turn.actions]

    @property
    def state(self) -> FlowState:
        return self.turn.state

    def tell(self, happened: Happened) -> tuple[Any, ...]:
        self.turn = advance(self.flow, self.state, happened)
        self.done += self.turn.actions
        return self.turn.actions

    def heard(self) -> tuple[Any, ...]:
        return self.tell(Heard(self.state.turn))

    def key(self, keys: str) -> tuple[Any, ...]:
        for key in keys:
            actions = self.tell(Key(key))
        return actions

    def time_up(self) -> tuple[Any, ...]:
        return self.tell(TimeUp(self.state.turn))


REMINDER = {
    "greet": {"say": "Hello {first_name|there}.", "next": "ask"},
    "ask": {
        "gather": {"say": "One to confirm, nine to be left alone.", "tries": 2, "timeout_seconds": 4},
        "choices": {"1": "confirmed", "9": "leave"},
        "no_input": "bye",
        "invalid": "bye",
    },
    "confirmed": {"result": "confirmed", "next": "bye"},
    "leave": {"opt_out": "account", "next": "bye"},
    "bye": {"say": "Goodbye."},
}


def test_a_call_goes_from_step_to_step():
    call = Playing(plan(REMINDER), first_name="Ada")
    assert call.done == [Speak(1, "Hello Ada.", "en")]
    assert call.heard() == (Speak(2, "One to confirm, nine to be left alone.", "en"),)
    assert call.heard() == (Wait(3, 4),)
    assert call.key("1") == (Speak(6, "Goodbye.", "en"),)
    assert call.heard() == (End(),)
    assert call.state.result == "confirmed"
    assert call.state.path == ("greet", "ask", "confirmed", "bye")
    assert call.state.ended


def test_who_opts_out_is_left_alone_before_anything_else_is_said():
    call = Playing(plan(REMINDER))
    call.heard()
    call.heard()
    assert call.key("9") == (Refuse(OptOutScope.ACCOUNT), Speak(6, "Goodbye.", "en"))
    assert call.state.opted_out


def test_a_key_ends_the_question():
    call = Playing(plan(REMINDER))
    call.heard()
    asked = call.state.turn
    assert call.key("1") == (Hush(asked), Speak(5, "Goodbye.", "en"))
    # its end comes late
    assert call.tell(Heard(asked)) == ()
    assert call.tell(TimeUp(asked)) == ()


def test_a_question_is_asked_as_often_as_it_says():
    call = Playing(plan(REMINDER))
    call.heard()
    call.heard()
    assert isinstance(call.time_up()[0], Speak), "asked once more"
    assert call.state.tries == 2
    call.heard()
    assert call.time_up() == (Speak(call.state.turn, "Goodbye.", "en"),)
    assert call.state.path[-1] == "bye"


def test_a_wrong_key_is_a_try():
    call = Playing(plan(REMINDER))
    call.heard()
    call.heard()
    call.key("5")
    assert call.state.step == "ask"
    call.key("6")
    assert call.state.step == "bye"


class TestSeveralKeys:
    FLOW = plan(
        {
            "ask": {
                "gather": {"say": "Your number?", "digits": 4, "save": "pin", "between_seconds": 2},
                "next": "told",
                "no_input": "nothing",
            },
            "told": {"say": "You keyed {pin}."},
            "nothing": {"hang_up": True},
        }
    )

    def test_as_many_as_are_wanted_go_on_at_once(self):
        call = Playing(self.FLOW)
        assert call.key("123") == (Wait(call.state.turn, 2),)
        assert call.key("4") == (Speak(call.state.turn, "You keyed 1234.", "en"),)

    def test_the_hash_key_ends_them(self):
        call = Playing(self.FLOW)
        assert call.key("12#") == (Speak(call.state.turn, "You keyed 12.", "en"),)

    def test_so_does_a_pause(self):
        call = Playing(self.FLOW)
        call.key("12")
        assert call.time_up() == (Speak(call.state.turn, "You keyed 12.", "en"),)

    def test_a_wait_that_a_key_has_ended_ends_nothing(self):
        call = Playing(self.FLOW)
        call.key("1")
        first = call.state.turn
        call.key("2")
        assert call.tell(TimeUp(first)) == ()

    def test_no_key_at_all(self):
        call = Playing(self.FLOW)
        call.heard()
        assert call.time_up() == (End(),)

    def test_the_hash_key_alone_is_nothing_keyed(self):
        assert Playing(self.FLOW).key("#")[-1] == End()

    def test_a_choice_is_taken_as_soon_as_it_can_be_no_other(self):
        steps = {
            "ask": {"gather": {"digits": 2}, "choices": {"1": "one", "12": "twelve"}},
            "one": {"result": "one"},
            "twelve": {"result": "twelve"},
        }
        call = Playing(plan(steps))
        assert call.key("1") == (Wait(call.state.turn, 3.0),), "a 2 may follow"
        call.time_up()
        assert call.state.result == "one"
        call = Playing(plan(steps))
        call.key("12")
        assert call.state.result == "twelve"
        call = Playing(plan(steps))
        call.key("7")
        assert call.state.ended, "7 is the beginning of nothing"


class TestRecording:
    FLOW = plan(
        {
            "ask": {
                "record": {"say": "Press one and we record.", "longest_seconds": 30, "silence_seconds": 2},
                "next": "thanks",
                "refused": "unrecorded",
                "failed": "unrecorded",
            },
            "thanks": {"say": "Thanks."},
            "unrecorded": {"say": "As you like."},
        }
    )

    def test_consent_comes_first(self):
        call = Playing(self.FLOW)
        asked = call.state.turn
        assert call.key("1") == (Hush(asked), StartRecording(asked + 1, 30, 2))
        assert call.tell(Recorded(call.state.turn, 12.5)) == (Speak(call.state.turn, "Thanks.", "en"),)

    @pytest.mark.parametrize("key", ["2", "#", "*"])
    def test_any_other_key_refuses(self, key):
        call = Playing(self.FLOW)
        assert StartRecording not in {type(action) for action in call.key(key)}
        assert call.state.step == "unrecorded"

    def test_so_does_silence(self):
        call = Playing(self.FLOW)
        call.heard()
        call.time_up()
        assert call.state.step == "unrecorded"

    def test_keys_during_the_recording_are_part_of_it(self):
        call = Playing(self.FLOW)
        call.key("1")
        assert call.key("1") == ()
        assert call.state.step == "ask"

    def test_a_question_that_cannot_be_heard_records_nothing(self):
        call = Playing(self.FLOW)
        call.tell(Unheard(call.state.turn, "no sound"))
        assert call.state.step == "unrecorded"
        assert not any(isinstance(action, StartRecording) for action in call.done)


def test_a_transfer_goes_on_when_they_have_talked_and_elsewhere_when_not():
    flow = plan(
        {
            "over": {"transfer": "sip:desk@127.0.0.1", "failed": "sorry"},
            "sorry": {"say": "Nobody is there."},
        }
    )
    call = Playing(flow)
    assert call.done == [StartTransfer(1, "sip:desk@127.0.0.1", 30)]
    assert call.tell(Done(1)) == (End(),)
    call = Playing(flow)
    assert call.tell(Failed(1, "busy")) == (Speak(2, "Nobody is there.", "en"),)


def test_an_agent_that_drops_the_call_leads_to_its_other_branch():
    flow = plan(
        {
            "bot": {"agent": {"url": "wss://bot.example/talk", "rate": 16000}, "failed": "sorry"},
            "sorry": {"say": "Sorry."},
        }
    )
    call = Playing(flow)
    assert call.done == [StartAgent(1, "wss://bot.example/talk", 16000, 600.0)]
    assert call.tell(Failed(1, "dropped")) == (Speak(2, "Sorry.", "en"),)


class TestWebhooks:
    FLOW = plan(
        {
            "ask": {
                "webhook": {"url": "https://crm.example/", "send": ["order", "name"], "prefix": "crm_"},
                "next": "tell",
                "failed": "tell",
            },
            "tell": {"say": "Order {order}: {crm_status|unknown}."},
        }
    )

    def test_sends_what_it_names_and_is_known(self):
        assert Playing(self.FLOW, order="7", secret="x").done == [Ask(1, "https://crm.example/", 3.0, {"order": "7"})]

    def test_knows_what_came_back(self):
        call = Playing(self.FLOW, order="7")
        assert call.tell(Answered(1, {"status": "sent"})) == (Speak(2, "Order 7: sent.", "en"),)

    def test_is_heard_until_the_answer_is_there(self):
        flow = plan(
            {
                "ask": {"webhook": {"url": "https://crm.example/", "play": "music"}, "next": "tell"},
                "tell": {"say": "Hi."},
            },
            sounds={"music": {"en": "music.wav", "es": "musica.wav"}},
        )
        call = Playing(flow, language="es")
        assert call.done == [PlayMeanwhile(1, "musica.wav"), Ask(2, "https://crm.example/", 3.0, {})]
        # that it has ended is not that the answer is there
        assert call.tell(Heard(1)) == ()
        assert call.tell(Answered(2, {})) == (Hush(1), Speak(3, "Hi.", "es"))

    def test_what_was_heard_meanwhile_is_broken_off_without_an_answer_too(self):
        flow = plan({"ask": {"webhook": {"url": "http://x/", "play": "music"}}}, sounds={"music": "music.wav"})
        assert Playing(flow).tell(Failed(2, "no answer in time")) == (Hush(1), End("no answer in time"))

    def test_goes_on_without_an_answer(self):
        call = Playing(self.FLOW, order="7")
        assert call.tell(Failed(1, "no answer in time")) == (Speak(2, "Order 7: unknown.", "en"),)


class TestLanguages:
    FLOW = plan(
        {
            "hello": {"play": "hello", "next": "choose"},
            "choose": {"language": "es", "next": "bye"},
            "bye": {"play": "bye"},
        },
        language="en",
        sounds={
            "hello": {"en": "hello-en.wav", "es": "hello-es.wav", "fr": "hello-fr.wav"},
            "bye": {"en": "bye-en.wav", "es": "bye-es.wav"},
        },
    )

    def test_the_contact_says_which(self):
        assert Playing(self.FLOW, language="es").done == [PlaySound(1, "hello-es.wav")]

    @pytest.mark.parametrize("language", ["fr", "xx", "", "English", "x; touch /tmp/x", "../es", "es\n"])
    def test_one_that_is_not_there_throughout_is_not_begun(self, language):
        assert Playing(self.FLOW, language=language).done == [PlaySound(1, "hello-en.wav")]

    @pytest.mark.parametrize("language", ["English", "", "x; touch /tmp/x", "$(ls)"])
    def test_what_is_no_language_is_not_spoken(self, language):
        assert Playing(plan({"a": {"say": "Hello."}}), language=language).done == [Speak(1, "Hello.", "en")]

    def test_a_step_changes_it(self):
        assert Playing(self.FLOW).heard() == (PlaySound(3, "bye-es.wav"),)


class TestMachines:
    STEPS: ClassVar[dict[str, Any]] = {"hello": {"say": "Hello."}, "drop": {"say": "Please call back."}}

    def test_hear_their_own_message(self):
        flow = plan(self.STEPS, machine_start="drop")
        assert Playing(flow, machine=True).done == [Speak(1, "Please call back.", "en")]
        assert Playing(flow).done == [Speak(1, "Hello.", "en")]

    def test_hear_the_same_where_there_is_none(self):
        assert Playing(plan({"hello": {"say": "Hello."}}), machine=True).done == [Speak(1, "Hello.", "en")]


class TestWhatCannotBeHeard:
    def test_ends_the_call_and_says_so(self):
        call = Playing(plan({"hello": {"say": "Hello."}}))
        assert call.tell(Unheard(1, "there is no voice")) == (End("there is no voice"),)

    def test_goes_elsewhere_when_there_is_an_elsewhere(self):
        flow = plan(
            {"hello": {"say": "Hello.", "failed": "tone"}, "tone": {"play": "tone"}}, sounds={"tone": "tone.wav"}
        )
        assert Playing(flow).tell(Unheard(1, "there is no voice")) == (PlaySound(2, "tone.wav"),)

    def test_is_not_nothing_when_something_was_heard_before(self):
        call = Playing(plan({"hello": {"say": "Hello.", "next": "more"}, "more": {"say": "More."}}))
        call.heard()
        assert call.tell(Unheard(2, "there is no voice")) == (End(),)


def test_nothing_happens_after_the_end():
    call = Playing(plan({"bye": {"hang_up": True}}))
    assert call.done == [End()]
    assert call.tell(Key("1")) == ()
    assert call.tell(Heard(call.state.turn)) == ()


def test_a_round_that_nobody_answers_ends():
    flow = plan({"ask": {"gather": {"say": "Hello?"}, "choices": {"1": "ask"}, "no_input": "ask", "invalid": "ask"}})
    call = Playing(flow)
    for _ in range(2 * MOST_TAKEN):
        call.heard()
        call.time_up()
    assert call.state.ended
    assert call.state.taken == MOST_TAKEN


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello {name}!", "Hello Ada!"),
        ("Hello {nick|there}!", "Hello there!"),
        ("Hello {nick}!", "Hello !"),
        ("Hello {empty|there}!", "Hello there!"),
        ("{name}{name}", "AdaAda"),
        ("{name|{}", "{name|{}"),
        ("no variables", "no variables"),
    ],
)
def test_variables_are_filled_in(text, said):
    assert filled(text, {"name": "Ada", "empty": " "}) == said


def test_a_value_is_never_taken_for_a_variable_itself():
    assert filled("{a}", {"a": "{b}", "b": "secret"}) == "{b}"


# Any flow, whatever happens

NAMES = [f"s{place}" for place in range(6)]
SOUNDS = {"music": {"en": "music.wav"}}
name = st.sampled_from(NAMES)
branch = st.none() | name
prompt = st.just(Speech("Hello {x}."))
sound = st.just(Sound("music"))
gather = st.builds(
    Gather,
    st.none() | prompt,
    digits=st.integers(1, 3),
    choices=st.dictionaries(st.sampled_from(["1", "12", "3", "*"]), name),
    timeout_seconds=st.just(5.0),
    between_seconds=st.just(3.0),
    tries=st.integers(1, 3),
    save=st.none() | st.just("x"),
    no_input=branch,
    invalid=branch,
    next=branch,
    failed=branch,
)
steps = st.one_of(
    st.builds(Tell, prompt, branch, branch),
    gather,
    st.builds(Record, prompt, st.just("1"), st.just(5.0), st.just(60.0), st.just(5.0), branch, branch, branch),
    st.builds(Transfer, st.just("+15550100001"), st.just(30), branch, branch),
    st.builds(Agent, st.just("ws://x/"), st.just(8000), st.just(60.0), branch, branch),
    st.builds(Webhook, st.just("http://x/"), st.just(3.0), next=branch, failed=branch, meanwhile=st.none() | sound),
    st.builds(SetResult, st.just("r"), branch),
    st.builds(OptOut, st.just(OptOutScope.ACCOUNT), branch),
    st.just(HangUp()),
)
flows = st.fixed_dictionaries(dict.fromkeys(NAMES, steps)).map(lambda made: FlowPlan(NAMES[0], made, "en", SOUNDS))
"""Any flow: those that the checks refuse, with rounds without a question above all, are among them."""

happenings = st.one_of(
    st.sampled_from("0123456789*#A").map(Key),
    st.builds(Heard, st.integers(-1, 0)),
    st.builds(Unheard, st.integers(-1, 0), st.just("why")),
    st.builds(TimeUp, st.integers(-1, 0)),
    st.builds(Done, st.integers(-1, 0)),
    st.builds(Failed, st.integers(-1, 0), st.just("why")),
    st.builds(Recorded, st.integers(-1, 0), st.just(1.0)),
    st.builds(Answered, st.integers(-1, 0), st.just({"x": "y"})),
)
"""Turns count from the present one: -1 is late."""


def holds(turn: Turn, before: FlowState | None) -> None:
    state, actions = turn.state, turn.actions
    ends = [action for action in actions if isinstance(action, End)]
    assert len(ends) == (state.ended and (before is None or not before.ended))
    assert state.taken <= MOST_TAKEN
    if before is None or state.turn != before.turn:
        waits = [action for action in actions if not isinstance(action, PlayMeanwhile | Hush | Refuse | End)]
        # one thing to wait for, and its end will be known: no call stands still for ever
        assert state.ended or [action.turn for action in waits] == [state.turn]


@given(flows, st.lists(happenings, max_size=40))
def test_a_call_always_waits_for_one_thing_and_ends_once(flow, events):
    turn = begin(flow, {})
    holds(turn, None)
    consented = False
    for event in events:
        before = turn.state
        told = event if isinstance(event, Key) else replace(event, turn=before.turn + event.turn)
        turn = advance(flow, before, told)
        holds(turn, before)
        if not isinstance(told, Key) and told.turn != before.turn:
            assert turn == Turn(before)
        consented = isinstance(told, Key) and told.key == "1"
        assert consented or not any(isinstance(action, StartRecording) for action in turn.actions)
