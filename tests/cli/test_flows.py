"""``outdial flow`` for flows of several steps."""

from __future__ import annotations

import json

import pytest

from outdial.core.flow_document import schema
from sounds import tone, wav

MENU = """
start: hello
sounds:
  hello: hello.wav
steps:
  hello: {play: hello, next: ask}
  ask:
    gather: {say: "One to confirm, {first_name|friend}; nine for no more calls.", digits: 2, tries: 2}
    choices: {1: confirmed, 9: leave, "12": secret}
    no_input: bye
    invalid: bye
  confirmed: {result: confirmed, next: bye}
  secret: {result: secret}
  leave: {opt_out: account, next: bye}
  bye: {say: Goodbye.}
"""


@pytest.fixture
def flow(tmp_path):
    (tmp_path / "hello.wav").write_bytes(wav(tone(440, rate=8000, seconds=0.5), rate=8000))
    path = tmp_path / "menu.yaml"
    path.write_text(MENU)
    return path


class TestCheck:
    def test_a_flow_that_is_right(self, outdial, flow):
        done = outdial("flow", "check", flow)
        assert (done.code, done.stdout) == (
            0,
            f"{flow} is right: 6 steps; of each contact it wants to know first_name, language.\n",
        )
        assert outdial("flow", "check", flow, "--json").json["variables"] == ["first_name", "language"]

    def test_one_that_is_not(self, outdial, flow):
        flow.write_text(MENU.replace("next: ask", "next: aks"))
        done = outdial("flow", "check", flow)
        assert done.code == 1
        assert "leads to the step aks, which does not exist" in done.stderr

    def test_one_whose_recording_is_not_there(self, outdial, flow):
        (flow.parent / "hello.wav").unlink()
        done = outdial("flow", "check", flow)
        assert done.code == 1
        assert "The file hello.wav is not beside" in done.stderr

    @pytest.mark.parametrize("text", [b"\xff\xfe", b"a: [", b"- a\n- b"])
    def test_what_is_no_flow(self, outdial, flow, text):
        flow.write_bytes(text)
        done = outdial("flow", "check", flow)
        assert done.code == 1
        assert "Traceback" not in done.stderr


class TestPlayingInTheTerminal:
    def play(self, outdial, flow, keys: str, *more: str):
        return outdial("flow", "test", flow, *more, stdin=keys)

    def test_what_would_be_heard_is_written(self, outdial, flow):
        done = self.play(outdial, flow, "9\n", "--with", "first_name=Ada")
        assert done.code == 0
        assert "♪ hello.wav" in done.stdout
        assert "“One to confirm, Ada; nine for no more calls.” (en)" in done.stdout
        assert "do-not-call list" in done.stdout
        assert done.stdout.endswith("The call is over. Steps: hello → ask → leave → bye. Result: none.\n")

    def test_several_keys_on_a_line(self, outdial, flow):
        assert self.play(outdial, flow, "12\n", "--json").json["result"] == "secret"

    def test_fewer_keys_than_there_could_be(self, outdial, flow):
        assert self.play(outdial, flow, "1\n", "--json").json["result"] == "confirmed"

    def test_no_key(self, outdial, flow):
        assert self.play(outdial, flow, "", "--json").json["path"] == ["hello", "ask", "bye"]

    @pytest.mark.parametrize(
        ("typed", "path", "told"),
        [("y status=sent\n", ["ask", "tell"], "“It is sent.”"), ("n\n", ["ask", "bye"], "“Goodbye.”")],
    )
    def test_another_system_answers_what_is_typed(self, outdial, flow, typed, path, told):
        flow.write_text(
            "start: ask\n"
            "sounds: {hello: hello.wav}\n"
            "steps:\n"
            "  ask: {webhook: {url: 'https://crm.example/', play: hello}, next: tell, failed: bye}\n"
            "  tell: {say: 'It is {status}.'}\n"
            "  bye: {say: Goodbye.}\n"
        )
        done = self.play(outdial, flow, typed)
        assert "♪ hello.wav, until the answer is there" in done.stdout
        assert told in done.stdout
        assert self.play(outdial, flow, typed, "--json").json["path"] == path

    def test_a_variable_without_a_value(self, outdial, flow):
        done = self.play(outdial, flow, "", "--with", "first_name")
        assert done.code == 2
        assert "is not NAME=VALUE" in done.stderr


def test_a_flow_is_added_with_the_recordings_beside_it(outdial, flow):
    outdial("app", "create", "--account", "Acme", "--name", "Line")
    done = outdial("flow", "add", "--name", "Menu", "--file", flow)
    assert (done.code, done.stdout) == (0, "Flow Menu added, 0.5 s of sound.\n")
    (listed,) = outdial("flow", "list", "--json").json
    assert (listed["name"], listed["document"]["start"]) == ("Menu", "hello")


def test_either_a_recording_or_a_flow(outdial, flow):
    done = outdial("flow", "add", "--name", "Menu")
    assert done.code == 2
    assert "Give either --audio or --file" in done.stderr


def test_the_schema_is_for_editors(outdial):
    assert json.loads(outdial("flow", "schema").stdout) == schema()
