"""``outdial compliance``: evidence as one signed file; and ``outdial verify-archive``, which needs the file alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from outdial import signing
from outdial.cli import output
from outdial.cli.options import Account, Json, asked_for, require_one
from outdial.cli.running import FAILED, in_context
from outdial.context import Context
from outdial.core.errors import FileError, InvalidInputError
from outdial.services import evidence_archive
from outdial.services.archive_check import ArchiveVerdict, UnreadableArchiveError
from outdial.services.archive_check import verify_archive as verify
from outdial.services.evidence_archive import Written

UNREADABLE: Final = 2
"""Exit code for what is no archive at all."""

ArchiveFile: TypeAlias = Annotated[
    Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, help="The archive.")
]

app = typer.Typer(no_args_is_help=True)


@app.callback()
def group() -> None:
    """Compliance: what was decided, by which rules, and what was dialed, as evidence for others."""


@app.command(epilog="Example: outdial compliance export --campaign 'Spring calls' evidence.tar")
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, help="The archive to write.")],
    *,
    account: Account = None,
    campaign: Annotated[
        str | None, typer.Option("--campaign", metavar="CAMPAIGN", help="Only that campaign and its runs: id or name.")
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", metavar="RUN", help="Only that run: cid-…, or its campaign for the latest.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the evidence of an account, a campaign or a run into one signed archive.

    Every decision of the gate with what it looked at, the rules and rule data it was made by, every attempt, the most
    calls to each number within each limit's window, and the history with its chain. `outdial verify-archive` checks all
    of it from the file alone. Phone numbers are in it. Exit code 0, or 1 when that failed.
    """
    require_one(account, campaign, run)

    async def work(context: Context) -> Written:
        asked = await asked_for(context.database, account=account, campaign=campaign, run=run)
        try:
            with file.open("wb") as out:
                return await evidence_archive.write(context.database, context.secrets, asked, out)
        except OSError as error:
            raise FileError(f"{file} cannot be written: {error.strerror}.") from error

    written = in_context(work)
    if as_json:
        output.print_json({"file": file, **output.plain(written)})
        return
    output.say(f"{written.decisions} decisions and {written.attempts} attempts are in {file}.")
    output.say(f"Signed by the key {written.key_id}. Check it: outdial verify-archive {file}")


def verify_archive(
    file: ArchiveFile,
    *,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            readable=True,
            help="The public key in PEM, as `outdial keys show --pem` prints it on the server.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check an archive of evidence, with nothing but the file and the public key; no server, no database.

    Hashes, signature and chain; that decisions, attempts and rates are those of the history; and each decision, made
    again by the same rules from what it looked at. The first place that differs is named. Without --key the key that
    the archive names itself is taken: that shows that nothing was changed since, not who signed.
    Exit codes: 0 valid, 1 invalid, 2 it is no archive.
    """
    try:
        public = None if key is None else signing.read_public_pem(key.read_text(encoding="ascii", errors="replace"))
        with file.open("rb") as opened:
            verdict = verify(opened, public)
    except (UnreadableArchiveError, InvalidInputError) as error:
        _unreadable(error.messages, as_json=as_json)
    except OSError as error:
        _unreadable((f"{error.filename} cannot be read: {error.strerror}.",), as_json=as_json)
    else:
        _tell(verdict, as_json=as_json)


def _unreadable(sentences: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        output.print_json({"valid": False, "problems": list(sentences)})
    for sentence in sentences:
        output.note(sentence)
    raise typer.Exit(UNREADABLE)


def _tell(verdict: ArchiveVerdict, *, as_json: bool) -> None:
    if as_json:
        output.print_json(verdict)
    elif verdict.difference is not None:
        output.say("INVALID: do not rely on this archive.")
        output.say(f"  {verdict.difference.where}: {verdict.difference.sentence}")
    else:
        _tell_valid(verdict)
    if not verdict.valid:
        raise typer.Exit(FAILED)


def _tell_valid(verdict: ArchiveVerdict) -> None:
    of = verdict.of["instanceId"] or verdict.of["campaignId"] or f"account {verdict.of['accountId']}"
    made = ", ".join(f"{count} {word}" for word, count in sorted(verdict.decisions.items())) or "none"
    output.say(f"VALID: the evidence of {of}.")
    output.say(f"  Decisions made again, all the same: {made}.")
    for missing, count in sorted(verdict.not_made_again.items()):
        output.say(f"  {count} decisions could not be made again without {missing}; the chain vouches for them.")
    output.say(
        f"  {verdict.attempts} attempts and {verdict.rates} rates are those of the history; {verdict.seals} seals hold."
    )
    if verdict.erased:
        output.say(f"  {verdict.erased} rows are of persons who were erased: what they told is in no member.")
    if verdict.undecided:
        output.say(f"  {verdict.undecided} of them have no decision in the history, so by which rules is not shown.")
    output.say(f"  Signed by the key {verdict.key_id}.")
    if not verdict.key_given:
        output.say("  That key was taken from the archive: compare its id with `outdial keys show` of the server.")
