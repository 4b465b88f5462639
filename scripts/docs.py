"""Write the reference pages that are made from the code: settings, commands, errors, states.

``python scripts/docs.py`` writes docs/reference/{settings,commands,errors,states}.md; a test holds them against the
code, so they cannot lag behind.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer.main
from pydantic import SecretStr

import outdial
from outdial.cli.commands import app
from outdial.config import Settings, default_data_dir
from outdial.core.attempt import ATTEMPT_MOVES, RUN_CONTACT_MOVES
from outdial.core.attempt_limits import PRESETS
from outdial.core.campaign import RAISES_EPOCH, RUN_MOVES
from outdial.core.contact_import import IMPORT_MOVES, ImportState
from outdial.core.errors import OutdialError
from outdial.core.model import AttemptState, DoneReason, RunContactState, RunState
from outdial.core.screening import CHECKS

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"

NOTICE = "<!-- Written by `make docs` from the code; change it there. -->\n\n"


def main() -> int:
    """Write every page; return the exit code."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(f"docs/reference/{name}")
    return 0


def pages() -> Mapping[str, str]:
    """Return each page by its file name."""
    return {
        "settings.md": NOTICE + settings_page(),
        "commands.md": NOTICE + commands_page(),
        "errors.md": NOTICE + errors_page(),
        "states.md": NOTICE + states_page(),
    }


def table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table."""
    lines = [list(columns)]
    lines += [["---"] * len(lines[0])]
    lines += [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# Dialing rules


def rules_table() -> str:
    """Return the table of docs/explanation/dialing-rules.md: each rule of the gate, in order, in its own words."""
    return table(("rule", "says"), ((f"`{rule}`", _text(check.__doc__)) for rule, check in CHECKS.items()))


def presets_table() -> str:
    """Return the presets of attempt limits of the same page."""
    return table(("preset", "says", "source"), ((f"`{one.name}`", one.summary, one.source) for one in PRESETS.values()))


# Settings


def settings_page() -> str:
    """Return the page of settings."""
    prefix = str(Settings.model_config["env_prefix"])
    return f"""\
# Settings

Environment variables, or lines of the same form in a file `.env` in the working folder; a variable overrules the
file. `outdial config` shows those in force and where each comes from.

{
        table(
            ("variable", "meaning", "default"),
            (
                (f"`{prefix}{name.upper()}`", field.description, _default(name, field.default))
                for name, field in Settings.model_fields.items()
            ),
        )
    }"""


def _default(name: str, value: Any) -> str:
    if Settings.model_fields[name].default_factory is default_data_dir:
        return "`/var/lib/outdial` for root, else `~/.local/share/outdial`"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return "unset" if value in {None, ""} else f"`{str(value).lower() if isinstance(value, bool) else value}`"


# Commands


def commands_page() -> str:
    """Return the page of commands."""
    root = typer.main.get_command(app)
    return f"""\
# Commands

{_text(root.help)} Every command has `--help`. {_text(root.epilog)}
Commands open the database for a moment: they work beside a running server and without one.
{"".join(_command(name, command) for name, command in _commands("outdial", root))}"""


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Yield every command that does something, with the words that call it."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for word, each in inner.items():
        yield from _commands(f"{name} {word}", each)


def _command(name: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    words = " ".join((name, *(each.metavar or each.name.upper() for each in arguments)))
    rows = [(f"`{each.metavar or each.name.upper()}`", _text(each.help), _required(each)) for each in arguments]
    rows += [
        (", ".join(f"`{word}`" for word in (*each.opts, *each.secondary_opts)), _text(each.help), _required(each))
        for each in command.params
        if each.param_type_name == "option" and each.name != "help"
    ]
    example = _text(command.epilog).removeprefix("Example: ")
    options = f"\n{table(('', 'meaning', 'default'), rows)}" if rows else ""
    return f"\n## `{words}`\n\n{_text(command.help)}\n\n```sh\n{example}\n```\n{options}"


def _required(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    if value in {None, False, ""} or callable(value) or value == []:
        return ""
    return f"`{value.value if isinstance(value, StrEnum) else value}`"


def _text(words: str | None) -> str:
    """Return help as paragraphs without the breaks of the source."""
    paragraphs = inspect.cleandoc(words or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


# Errors


def errors_page() -> str:
    """Return the page of errors."""
    rows = sorted(
        (
            f"`{each.code}`",
            each.status,
            each.wire_code,
            "yes" if each.retryable else "",
            _text((each.__doc__ or "").replace("``", "`")),
        )
        for each in error_classes()
    )
    return f"""\
# Errors

Every failure has a stable code, a sentence that says what is wrong, where, and how to mend it, and an HTTP status. On
the command line the sentence goes to standard error and the exit code is 1. Over HTTP the body is
`{{"errors":[{{"msg":"the sentence","code":N}}]}}`, one entry for each thing that is wrong. Where "again" says yes, the
same request may succeed later, unchanged.

{table(("code", "HTTP status", "`code` in the body", "again", "meaning"), rows)}"""


def error_classes() -> list[type[OutdialError]]:
    """Return every named failure of the project."""
    for module in pkgutil.walk_packages(outdial.__path__, "outdial."):
        if not module.name.endswith(("__main__", ".migrations.env")):
            importlib.import_module(module.name)
    found: list[type[OutdialError]] = []
    waiting = [OutdialError]
    while waiting:
        each = waiting.pop()
        found.append(each)
        waiting += each.__subclasses__()
    return [each for each in found if each.__module__.startswith("outdial.")]


# States


def states_page() -> str:
    """Return the page of states."""
    run_moves = [
        (before, after, f"{action}{' (epoch + 1)' if action in RAISES_EPOCH else ''}")
        for (before, action), after in RUN_MOVES.items()
    ]
    import_moves = [(before, after, str(action)) for (before, action), after in IMPORT_MOVES.items()]
    return f"""\
# States

Drawn from the tables that the program obeys: a move that is not here is refused.

## Run

One execution of a campaign. Every start, pause, resume and stop raises its epoch; a permit to dial serves one epoch.

{_diagram(run_moves, start=RunState.ACTIVE)}
{_meanings(RunState)}
## Run contact

One contact's progress in one run.

{_diagram(_unlabelled(RUN_CONTACT_MOVES), start=RunContactState.PENDING)}
{_meanings(RunContactState)}
Why one is done:

{_meanings(DoneReason)}
## Attempt

One try to reach one number.

{_diagram(_unlabelled(ATTEMPT_MOVES), start=AttemptState.RESERVED)}
{_meanings(AttemptState)}
## Import

A file of contacts on its way into a contact list.

{_diagram(import_moves, start=ImportState.RECEIVING)}
{_meanings(ImportState)}"""


def _unlabelled(moves: Mapping[Any, Iterable[Any]]) -> list[tuple[StrEnum, StrEnum, str]]:
    return [(before, after, "") for before, afters in moves.items() for after in sorted(afters)]


def _diagram(moves: Iterable[tuple[StrEnum, StrEnum, str]], *, start: StrEnum) -> str:
    moves = list(moves)
    lines = [f"[*] --> {start}"]
    lines += [f"{before} --> {after}{f': {label}' if label else ''}" for before, after, label in moves]
    ends = dict.fromkeys(after for _, after, _ in moves if after not in {before for before, _, _ in moves})
    lines += [f"{end} --> [*]" for end in ends]
    return "```mermaid\nstateDiagram-v2\n" + "".join(f"    {line}\n" for line in lines) + "```\n"


def _meanings(states: type[StrEnum]) -> str:
    """Return a table of the members with the sentence that stands under each in the source."""
    sentences = member_sentences(states)
    return table(("", "meaning"), ((f"`{each.value}`", sentences.get(each.name, "")) for each in states))


def member_sentences(states: type[StrEnum]) -> Mapping[str, str]:
    """Return what the source says under each member."""
    found: dict[str, str] = {}
    name = ""
    for line in inspect.getsource(states).splitlines()[1:]:
        words = line.strip()
        if words.startswith('"""') and name:
            found[name] = words.strip('"').replace("``", "`")
        name = words.partition(" = ")[0] if " = " in words else ""
    return found


if __name__ == "__main__":
    sys.exit(main())
