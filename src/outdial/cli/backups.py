"""``outdial backup`` and ``outdial restore``: everything an installation has, in one file, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer
from rich.progress import BarColumn, Progress, TextColumn
from typer.core import TyperGroup

from outdial.cli import output
from outdial.cli.options import Json
from outdial.cli.running import FAILED, actor, in_context, prepare, run
from outdial.context import Context
from outdial.core.backup import Manifest
from outdial.core.errors import FileError
from outdial.secretbox import KEY_FILE, key_text
from outdial.services import backups, restores
from outdial.services.backup_file import Backup, BackupInvalidError
from outdial.services.backups import BackupProgress, total_size
from outdial.services.restores import LeftRun, Restored

UNREADABLE: Final = 2
"""Exit code for a file that cannot be read."""

_MAKE: Final = "make"


class _OrMake(TyperGroup):
    """``outdial backup FILE`` is ``outdial backup make FILE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "--help"}:
            args = [_MAKE, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_OrMake, no_args_is_help=True)

Programs: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--programs",
        metavar="FOLDER",
        exists=True,
        file_okay=False,
        help="Folder with pg_dump and pg_restore of the server's version; without it they are looked for.",
    ),
]
BackupFile: TypeAlias = Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, help="A backup.")]


@app.callback()
def group() -> None:
    """Backups: the database and the files it speaks of, as of one instant, in one file. `outdial backup FILE` makes
    one."""


@app.command(_MAKE, epilog="Example: outdial backup make /var/backups/outdial")
def make(
    target: Annotated[
        Path,
        typer.Argument(metavar="FILE|FOLDER", help="Where to; in a folder the file is named by the instant."),
    ],
    *,
    with_key: Annotated[
        bool,
        typer.Option("--with-key", help=f"Put {KEY_FILE} into it: whoever has the file can then read every secret."),
    ] = False,
    programs: Programs = None,
    as_json: Json = False,
) -> None:
    """Write a backup; `make` may be left out. Servers and dialers run on, and calls with them.

    In it: the database, recordings, files of unfinished imports, and what waits on disk for the database. Not in it,
    unless --with-key: the secret key, without which nobody can read the secrets in the database. Phone numbers are in
    it. The file gets its name once it is whole, and replaces one of that name; only its owner can read it.
    Exit code 0, or 1 when that failed; then nothing is left.
    """

    async def work(context: Context) -> Backup:
        with _shown("backup") as on_progress:
            return await backups.back_up(
                context.database,
                context.dsn,
                context.secrets,
                data_dir=context.settings.data_dir.resolve(),
                target=target,
                key=key_text(context.settings) if with_key else None,
                programs=programs,
                on_progress=on_progress,
            )

    made = in_context(work)
    if as_json:
        output.print_json(_document(made))
        return
    output.say(f"The backup {made.path} is whole: {_size(made)}, as of {output.time_text(made.manifest.taken_at)}.")
    _tell_content(made)


@app.command(epilog="Example: outdial backup verify monday.outdial")
def verify(file: BackupFile, *, as_json: Json = False) -> None:
    """Check that a backup is whole and as it was made, from the file alone; no server, no database.

    Exit codes: 0 it is, 1 it is not, 2 the file cannot be read.
    """
    try:
        found = backups.open_backup(file)
    except BackupInvalidError as error:
        _refuse(error.message, FAILED, as_json=as_json)
    except FileError as error:
        _refuse(error.message, UNREADABLE, as_json=as_json)
    else:
        if as_json:
            output.print_json({"valid": True, **_document(found)})
            return
        output.say(f"The backup {file} is whole: {_size(found)}, as of {output.time_text(found.manifest.taken_at)}.")
        _tell_content(found)


def _refuse(sentence: str, code: int, *, as_json: bool) -> None:
    if as_json:
        output.print_json({"valid": False, "problem": sentence})
    output.note(sentence)
    raise typer.Exit(code)


def restore(
    file: BackupFile,
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let go of what the database holds, once the backup is restored.")
    ] = False,
    keep_schedules: Annotated[
        bool,
        typer.Option("--keep-schedules", help="Leave schedules on: the next occurrence starts its campaign by itself."),
    ] = False,
    without_key: Annotated[
        bool,
        typer.Option("--without-key", help="Restore without the secret key: every secret must be set anew afterwards."),
    ] = False,
    programs: Programs = None,
    as_json: Json = False,
) -> None:
    """Restore a backup to an installation whose servers are down; the one it was made of must not run any more.

    Nothing dials by itself afterwards: runs that were active are paused until somebody resumes them, calls that were
    live are `unknown` and not made again, schedules are switched off, an emergency stop stays in force. What happened
    after the backup is not known to it: whom a paused run has called since it would call again, and who was put on a
    do-not-call list since is not on it. An older schema is brought up to date. Exit code 0, or 1 when that failed; then
    the database is as it was.
    """
    settings = prepare(quiet=True)

    async def work() -> Restored:
        with _shown("restore") as on_progress:
            return await restores.restore(
                settings,
                file,
                replace=replace,
                keep_schedules=keep_schedules,
                without_key=without_key,
                actor=actor(),
                programs=programs,
                on_progress=on_progress,
            )

    done = run(work())
    if as_json:
        output.print_json(
            {
                "manifestSha256": done.backup.manifest_sha256,
                "takenAt": done.backup.manifest.taken_at,
                "migrated": done.migrated,
                "files": done.files,
                "filesBesides": done.files_besides,
                "withoutKey": done.without_key,
                **output.plain(done.safe),
            }
        )
        return
    _tell_restored(done)


def _tell_restored(done: Restored) -> None:
    manifest, safe = done.backup.manifest, done.safe
    since = output.time_text(manifest.taken_at)
    output.say(f"Restored as of {since}: {done.files} files, and {_rows(manifest)}.")
    if done.migrated:
        output.say(f"The schema was {manifest.schema}; {done.migrated} revisions were applied.")
    output.say(f"{safe.unknown_attempts} calls were live and are unknown now: they are not made again.")
    _tell_runs(safe.runs, since)
    if safe.stopping_runs:
        output.say(f"{safe.stopping_runs} stops were under way; a server finishes them when it starts.")
    if safe.schedules_off:
        output.say(f"Schedules were switched off: {', '.join(safe.schedules_off)}.")
    if safe.schedules_on:
        output.say(f"Schedules are ON and start by themselves: {', '.join(safe.schedules_on)}.")
    if safe.emergency:
        output.say("An emergency stop is in force, as it was: nothing starts before it is lifted.")
    output.say(
        f"The do-not-call lists are those of {since} ({safe.dnc_entries} entries): add whoever has asked since, before "
        "anything is resumed."
    )
    if safe.erased_since:
        output.say(
            f"{safe.erased_since} persons were erased after {since} and are THERE AGAIN: erase them once more, before "
            "anything is resumed. Whoever of them is never to be called is still refused."
        )
    if safe.webhooks:
        output.say(f"{safe.webhooks} webhooks may be told a second time of what they were told just before the backup.")
    if done.files_besides:
        output.say(f"{done.files_besides} recordings in the data folder are of another database and stay there.")
    if done.without_key:
        output.say("Its secrets cannot be read: rotate every client, and set trunks, webhooks and fetches anew.")


def _tell_runs(runs: Sequence[LeftRun], since: str) -> None:
    active = sum(one.was_active for one in runs)
    output.say(f"{active} runs were active and are paused now, {len(runs) - active} were paused before.")
    for one in runs:
        output.say(
            f"  {one.campaign_name} ({one.instance_id}): {one.open_contacts} people are still to be called"
            + (f", {one.kept_callbacks} of them have asked for an instant" if one.kept_callbacks else "")
        )
    if any(one.open_contacts for one in runs):
        output.say(
            f"  Whoever of them was called after {since} is called AGAIN if the run is resumed. Resume one with: "
            "outdial campaign resume CAMPAIGN"
        )


def _tell_content(backup: Backup) -> None:
    manifest = backup.manifest
    output.say(f"In it: {_rows(manifest)}; {len(manifest.files)} files.")
    for one in manifest.left_out:
        output.say(f"NOT in it: {one.path} ({one.why}).")
    output.say(f"Its manifest: {backup.manifest_sha256}")
    if manifest.with_key:
        output.say("The secret key is in it: whoever has this file can read every secret of the installation.")
    else:
        output.say(
            f"The secret key is NOT in it. Keep {KEY_FILE} (or OUTDIAL_SECRET_KEY) elsewhere: without it the secrets "
            "of clients, trunks and webhooks in the backup cannot be read."
        )


def _rows(manifest: Manifest) -> str:
    names = ("campaigns", "contacts", "attempts", "history")
    return ", ".join(f"{manifest.rows.get(name, 0):,} {name.replace('history', 'rows of history')}" for name in names)


def _size(backup: Backup) -> str:
    return f"{total_size(backup.manifest.members) / 1e6:,.1f} MB"


def _document(backup: Backup) -> dict[str, object]:
    manifest = backup.manifest
    return {
        "file": backup.path,
        "manifestSha256": backup.manifest_sha256,
        "outdialVersion": manifest.outdial_version,
        "schema": manifest.schema,
        "takenAt": manifest.taken_at,
        "host": manifest.host,
        "withKey": manifest.with_key,
        "bytes": total_size(manifest.members),
        "files": len(manifest.files),
        "rows": dict(manifest.rows),
        "heads": manifest.heads,
        "liveRuns": manifest.live_runs,
        "liveAttempts": manifest.live_attempts,
        "leftOut": manifest.left_out,
    }


@contextmanager
def _shown(what: str) -> Iterator[Callable[[BackupProgress], None]]:
    """Show how far it is on standard error, where that is a terminal."""
    console = output.console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[done]}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None, done="")

        def show(progress: BackupProgress) -> None:
            done = f"{progress.done / 1e6:,.1f} MB" if progress.step == "database" else f"{progress.done or ''}"
            bar.update(
                task, description=f"{what}: {progress.step}", completed=progress.done, total=progress.of, done=done
            )

        yield show
