"""``outdial recording``: what people said on calls."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from outdial.cli import output
from outdial.cli.files import WavFile, require_file, write_pieces
from outdial.cli.options import Iid, Json, application
from outdial.cli.running import actor, in_context
from outdial.context import Context
from outdial.services import recordings
from outdial.store.recordings import Recording

app = typer.Typer(help="Recordings of what people said on calls, by the step `record` of a flow.", no_args_is_help=True)

Named: TypeAlias = Annotated[str, typer.Argument(metavar="RECORDING", help="Its id, `rc-…`.")]


@app.command("list", epilog="Example: outdial recording list 0123456789abcdef0123456789abcdef")
def list_(
    attempt: Annotated[str, typer.Argument(metavar="ATTEMPT", help="Id of the attempt, as exports name it.")],
    *,
    iid: Iid = None,
    as_json: Json = False,
) -> None:
    """List what was recorded in an attempt."""

    async def work(context: Context) -> list[Recording]:
        owner = await application(context.database, iid)
        return await recordings.list_recordings(context.database, iid=owner.iid, attempt_id=attempt)

    found = in_context(work)
    if as_json:
        output.print_json(found)
    else:
        output.print_table(
            ("id", "step", "seconds", "at"),
            ((one.id, one.step, f"{one.duration_seconds:.1f}", output.time_text(one.recorded_at)) for one in found),
            empty="Nothing was recorded in this attempt, or it was removed.",
        )


@app.command(epilog="Example: outdial recording get rc-… --output said.wav")
def get(
    recording: Named,
    *,
    iid: Iid = None,
    file: WavFile = None,
    as_json: Json = False,
) -> None:
    """Write a recording, a WAV file of 8 kHz, to a file; with --json, which needs --output, tell what it is."""
    require_file(file, as_json=as_json)

    async def work(context: Context) -> Recording:
        owner = await application(context.database, iid)
        found = await recordings.open_recording(
            context.database, _folder(context), iid=owner.iid, recording_id=recording
        )
        await write_pieces(found.chunks(), file)
        return found.recording

    written = in_context(work)
    if as_json:
        output.print_json(written)


@app.command(epilog="Example: outdial recording remove rc-…")
def remove(recording: Named, *, iid: Iid = None, as_json: Json = False) -> None:
    """Remove a recording, its file with it; history keeps that there was one."""

    async def work(context: Context) -> Recording:
        owner = await application(context.database, iid)
        return await recordings.remove_recording(
            context.database, _folder(context), iid=owner.iid, recording_id=recording, actor=actor()
        )

    removed = in_context(work)
    if as_json:
        output.print_json(removed)
    else:
        output.say(f"Recording {removed.id} of the attempt {removed.attempt_id} removed.")


def _folder(context: Context) -> Path:
    return context.settings.data_dir.resolve() / recordings.FOLDER
