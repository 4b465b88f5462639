"""Every command explains itself, with an example that the program itself understands."""

from __future__ import annotations

import shlex

import pytest
import typer.main

from outdial.cli.commands import app
from support.commands import invoke

ROOT = typer.main.get_command(app)


def commands(name: str, command) -> list[tuple[str, object]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        return [(name, command)]
    return [found for word, each in inner.items() for found in commands(f"{name} {word}", each)]


ALL = commands("outdial", ROOT)


def test_the_commands_are_these():
    assert {name.removeprefix("outdial ") for name, _ in ALL} == {
        *("demo", "serve", "dialer", "watchdog", "alarms", "migrate"),
        *("backup make", "backup verify", "restore"),
        *("client create", "client list", "client change", "client rotate", "client revoke"),
        *(
            "app create",
            "app list",
            "trunk add",
            "trunk list",
            "trunk caller-ids",
            "trunk cap",
            "trunk remove",
            "flow add",
            "flow check",
            "flow test",
            "flow schema",
            "flow list",
        ),
        *("dnc add", "dnc remove", "dnc list", "contacts import", "contacts call"),
        *("import list", "import show", "import errors", "import resume", "import cancel"),
        *("campaign list", "campaign show", "campaign start", "campaign pause", "campaign resume", "campaign stop"),
        *("simulate", "schedule enable", "schedule disable", "schedule show"),
        *("recording list", "recording get", "recording remove"),
        *("machines list", "machines sample", "machines review", "machines table"),
        *("person erase", "person erasures", "retention show", "retention set"),
        *("courtesy set", "courtesy show", "courtesy remove", "dialing-rules show", "dialing-rules set"),
        *("webhook create", "webhook list", "webhook change", "webhook remove", "webhook rotate", "webhook test"),
        *("webhook deliveries", "webhook replay"),
        *("limits list", "limits preset", "limits add", "limits remove"),
        *("hours set", "hours show", "hours when", "rules list", "rules show"),
        *("stop caller-id", "stop list", "stop number", "stop account"),
        *("pre-call set", "pre-call show", "pre-call remove"),
        *("stop report", "stop never-reached", "verify-stop", "history export", "history verify"),
        *(
            "keys show",
            "keys rotate",
            "engine list",
            "engine retire",
            "emergency-stop",
            "explain",
            "compliance export",
            "verify-archive",
            "token",
            "config",
            "doctor",
        ),
    }


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_each_says_what_it_does_and_what_each_word_means(name, command):
    assert command.help
    assert command.help.strip()[0].isupper()
    for parameter in command.params:
        assert parameter.help, f"{name}: {parameter.name} has no help"


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_each_has_an_example_that_it_understands(name, command, tmp_path):
    for file in (
        "people.csv",
        "complaints.csv",
        "reminder.wav",
        "reminder.yaml",
        "stop.json",
        "key.pem",
        "spring.jsonl",
        "evidence.tar",
    ):
        (tmp_path / file).write_bytes(b"")
    example = command.epilog.removeprefix("Example: ")
    words = [word for word in shlex.split(example) if not word.startswith("OUTDIAL_")]
    assert " ".join(words).startswith(name)
    arguments = words[len(name.split()) :]
    with command.make_context(name, arguments) as context:
        assert context.command is command


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_what_a_script_may_read_has_json(name, command):
    has_json = any("--json" in parameter.opts for parameter in command.params)
    assert has_json is (name.split()[1] not in {"serve", "dialer"})


def test_the_first_screen_names_the_commands_and_exit_codes():
    done = invoke("--help")
    assert done.code == 0
    assert "campaign" in done.stdout
    assert "Exit codes: 0 done, 1 failed" in " ".join(done.stdout.split())


def test_a_group_alone_shows_its_help():
    assert "outdial trunk" in invoke("trunk").stdout
