"""``outdial stop``: signed reports of stops; and ``outdial verify-stop``, which needs the report alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from outdial import signing
from outdial.cli import output
from outdial.cli.files import write_pieces
from outdial.cli.options import Json
from outdial.cli.running import FAILED, in_context
from outdial.context import Context
from outdial.core.canonical import read
from outdial.core.errors import FileError, InvalidInputError
from outdial.services import exports, signed_reports
from outdial.services.report_text import report_text
from outdial.services.stop_lookup import find_run
from outdial.services.verification import LARGEST, UnreadableReportError, Verdict
from outdial.services.verification import verify as verify_report

UNREADABLE: Final = 2
"""Exit code for what is no report at all."""

RunName: TypeAlias = Annotated[
    str, typer.Argument(metavar="RUN", help="The run, cid-…; or its campaign, id or name, for the latest.")
]
ReportFile: TypeAlias = Annotated[
    Path,
    typer.Argument(metavar="REPORT", exists=True, dir_okay=False, readable=True, help="The signed report."),
]


def report(
    run: RunName,
    *,
    file: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", dir_okay=False, help="Write the signed report there."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the report of a stop for people to read; with --output or --json the signed one, for machines to check.

    It is signed when it is first asked for, or some seconds after the stop, and stays as it is for ever. `outdial
    verify-stop` checks it. Exit code 0, or 1 when there is none, or none yet.
    """

    async def work(context: Context) -> bytes:
        return await signed_reports.signed_report(
            context.database, context.secrets, await find_run(context.database, run)
        )

    text = in_context(work)
    if file is not None:
        try:
            file.write_bytes(text)
        except OSError as error:
            raise FileError(f"{file} cannot be written: {error.strerror}.") from error
        output.note(f"The signed report is in {file}. Check it: outdial verify-stop {file}")
    if as_json:
        output.say(text.decode().rstrip("\n"))
    elif file is None:
        output.say(report_text(read(text)).rstrip("\n"))


def never_reached(
    run: RunName,
    file: Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, help="The CSV file to write.")],
    *,
    as_json: Json = False,
) -> None:
    """Write the contacts of a run that were never attempted as a CSV file. Exit code 0, or 1 when that failed."""

    async def work(context: Context) -> int:
        found = await find_run(context.database, run)
        return await write_pieces(exports.contacts_csv(context.database, found, never_reached=True), file)

    # the first line names the columns
    count = in_context(work) - 1
    if as_json:
        output.print_json({"file": file, "contacts": count})
    else:
        output.say(f"{count} contacts that were never attempted are in {file}.")


def verify_stop(
    report: ReportFile,
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
    """Check a signed report of a stop, with nothing but the file and the public key; no server, no database.

    The signature, the chain of the history in it, and whether what it says agrees with itself. Without --key the key
    that the report names itself is taken: that shows that nothing was changed since, not who signed.
    Exit codes: 0 valid, 1 invalid (it says which check failed and where), 2 it is no report.
    """
    try:
        public = None if key is None else signing.read_public_pem(key.read_text(encoding="ascii", errors="replace"))
        verdict = verify_report(_bytes_of(report), public)
    except (UnreadableReportError, InvalidInputError) as error:
        _unreadable(error.messages, as_json=as_json)
    except OSError as error:
        _unreadable((f"{error.filename} cannot be read: {error.strerror}.",), as_json=as_json)
    else:
        _tell(verdict, as_json=as_json)


def _bytes_of(report: Path) -> bytes:
    if report.stat().st_size > LARGEST:
        raise UnreadableReportError(f"{report} is larger than a report of a stop.")
    return report.read_bytes()


def _unreadable(sentences: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        output.print_json({"valid": False, "problems": list(sentences)})
    for sentence in sentences:
        output.note(sentence)
    raise typer.Exit(UNREADABLE)


def _tell(verdict: Verdict, *, as_json: bool) -> None:
    document = verdict.document
    if as_json:
        output.print_json(
            {
                "valid": verdict.valid,
                "instanceId": None if document is None else document["run"]["instanceId"],
                "keyId": verdict.key_id,
                "keyGiven": verdict.key_given,
                "problems": verdict.findings,
            }
        )
    else:
        _tell_people(verdict)
    if not verdict.valid:
        raise typer.Exit(FAILED)


def _tell_people(verdict: Verdict) -> None:
    if verdict.document is None or not verdict.valid:
        output.say("INVALID: do not rely on this report.")
        for one in verdict.findings:
            output.say(f"  {one.check}: {one.where}: {one.sentence}")
        return
    run, barrier, counts = (verdict.document[name] for name in ("run", "barrier", "counts"))
    signature, chain = verdict.document["signature"], verdict.document["chain"]
    output.say(f"VALID: the stop of run {run['instanceId']}.")
    output.say(f"  No call of it could start after {barrier['noCallAfter']}.")
    output.say(f"  {counts['calls']} calls were live: {_counted(counts['outcomes'])}.")
    output.say(f"  History up to seal {chain['number']}: {len(chain['seals'])} seals hold.")
    output.say(f"  Signed {signature['signedAt']} by the key {verdict.key_id}.")
    if not verdict.key_given:
        output.say("  That key was taken from the report: compare its id with `outdial keys show` of the server.")


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
