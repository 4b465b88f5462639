"""``outdial flow``: what an answered call hears."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from outdial.cli import flow_terminal, output
from outdial.cli.options import Iid, Json, application
from outdial.cli.running import actor, in_context
from outdial.context import Context
from outdial.core import flow_document
from outdial.core.errors import InvalidInputError
from outdial.core.flow import FlowPlan, variables_of
from outdial.core.flow_document import read_flow
from outdial.core.model import Flow
from outdial.services import flows

app = typer.Typer(help="Flows: what an answered call hears.", no_args_is_help=True)


DocumentFile: TypeAlias = Annotated[
    Path,
    typer.Argument(metavar="FLOW.yaml", exists=True, dir_okay=False, readable=True, help="A flow, YAML or JSON."),
]


@app.command(epilog="Example: outdial flow add --name Reminder --file reminder.yaml")
def add(
    *,
    iid: Iid = None,
    name: Annotated[str, typer.Option(help="Name of the flow, unique in its application.")],
    audio: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.wav", exists=True, dir_okay=False, readable=True, help="Any PCM WAV, 8 or 16 bit, 8–48 kHz."
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FLOW.yaml",
            exists=True,
            dir_okay=False,
            readable=True,
            help="A flow of several steps; the files of its sounds are looked for beside it.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a flow: one that plays a WAV and hangs up (--audio), or one of several steps (--file)."""
    if (audio is None) == (file is None):
        raise typer.BadParameter("Give either --audio or --file.")
    wav = None if audio is None else audio.read_bytes()
    document = None if file is None else _document(file)

    async def work(context: Context) -> Flow:
        owner = await application(context.database, iid)
        if file is None:
            return await flows.add_flow(context.database, owner.iid, name, wav or b"", actor=actor())
        sounds = _sounds(file, document)
        return await flows.add_flow_document(context.database, owner.iid, name, document, sounds, actor=actor())

    added = in_context(work)
    if as_json:
        output.print_json(added)
    else:
        output.say(f"Flow {added.name} added, {added.duration_seconds:.1f} s of sound.")


@app.command(epilog="Example: outdial flow check reminder.yaml")
def check(file: DocumentFile, *, as_json: Json = False) -> None:
    """Say what is wrong with a flow; exit code 1 when something is."""
    plan = read_flow(_document(file))
    missing = [each for each in _files(plan) if not (file.parent / each).is_file()]
    if missing:
        raise InvalidInputError([f"The file {each} is not beside {file}." for each in missing])
    if as_json:
        output.print_json({"steps": sorted(plan.steps), "variables": sorted(variables_of(plan))})
    else:
        wants = ", ".join(sorted(variables_of(plan))) or "nothing"
        output.say(f"{file} is right: {len(plan.steps)} steps; of each contact it wants to know {wants}.")


@app.command("test", epilog="Example: outdial flow test reminder.yaml --with first_name=Ada")
def try_out(
    file: DocumentFile,
    *,
    given: Annotated[
        list[str] | None, typer.Option("--with", metavar="NAME=VALUE", help="What is known of the contact; repeatable.")
    ] = None,
    machine: Annotated[bool, typer.Option(help="An answering machine has answered.")] = False,
    as_json: Json = False,
) -> None:
    """Play a flow in the terminal, without a phone: read what would be heard, type the keys that are pressed."""
    plan = read_flow(_document(file))
    variables = dict(_variable(each) for each in given or ())
    state = flow_terminal.play(plan, variables, machine=machine, quiet=as_json)
    if as_json:
        output.print_json(
            {
                "path": list(state.path),
                "result": state.result,
                "opted_out": state.opted_out,
                "variables": state.variables,
            }
        )
    else:
        output.say(f"The call is over. Steps: {' → '.join(state.path)}. Result: {state.result or 'none'}.")


@app.command(epilog="Example: outdial flow schema")
def schema(*, as_json: Json = False) -> None:
    """Print the JSON Schema of flows, for editors that help their author."""
    output.say(json.dumps(flow_document.schema(), indent=None if as_json else 2))


def _document(file: Path) -> Any:
    try:
        return flows.read_document(file.read_text("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidInputError([f"{file} is not valid UTF-8 (byte {error.start})."]) from None


def _files(plan: FlowPlan) -> list[str]:
    return sorted({name for files in plan.sounds.values() for name in files.values()})


def _sounds(file: Path, document: Any) -> dict[str, bytes]:
    """Read the recordings that a flow names, those that are there: what is missing is told with all else."""
    try:
        named = _files(read_flow(document))
    except InvalidInputError:
        return {}
    return {name: (file.parent / name).read_bytes() for name in named if (file.parent / name).is_file()}


def _variable(given: str) -> tuple[str, str]:
    name, mark, value = given.partition("=")
    if not (name and mark):
        raise typer.BadParameter(f"{given!r} is not NAME=VALUE.")
    return name, value


@app.command("list", epilog="Example: outdial flow list")
def list_(*, iid: Iid = None, as_json: Json = False) -> None:
    """List flows, of one application or of all."""

    async def work(context: Context) -> list[Flow]:
        return await flows.list_flows(context.database, iid)

    found = in_context(work)
    if as_json:
        output.print_json(found)
    else:
        output.print_table(
            ("name", "id", "iid", "steps", "seconds"),
            (
                (each.name, each.id, each.iid, str(len(each.document["steps"])), f"{each.duration_seconds:.1f}")
                for each in found
            ),
            empty="There is no flow yet; `outdial flow add --help` shows an example.",
        )
