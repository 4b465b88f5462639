"""``outdial machines``: verdicts about who has answered that are kept for review."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypeAlias

import typer

from outdial.cli import output
from outdial.cli.files import WavFile, require_file, write_pieces
from outdial.cli.options import Iid, Json, application
from outdial.cli.running import actor, in_context
from outdial.context import Context
from outdial.core.errors import InvalidInputError, NotFoundError
from outdial.core.machine import Share
from outdial.core.machine_review import Actual
from outdial.core.model import Campaign
from outdial.services import campaigns, machine_reviews, recordings
from outdial.services.machine_reviews import KeptVerdict, PeriodReviews

app = typer.Typer(
    help="Answering machines: verdicts that are kept for review, and how often the detector is wrong. How many are "
    "kept says `outdial dialing-rules set --review`.",
    no_args_is_help=True,
)

Attempt: TypeAlias = Annotated[str, typer.Argument(metavar="ATTEMPT", help="Id of the attempt, as the list names it.")]
Named: TypeAlias = Annotated[
    str | None,
    typer.Argument(metavar="[CAMPAIGN]", help="Its id, or its name where that is unique; left out: all campaigns."),
]


@app.command("list", epilog="Example: outdial machines list Spring")
def list_(
    campaign: Named = None,
    *,
    iid: Iid = None,
    reviewed: Annotated[bool, typer.Option("--reviewed", help="Those that were reviewed.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Both.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the latest.")] = 50,
    as_json: Json = False,
) -> None:
    """List the verdicts that wait for a review, the latest first."""

    async def work(context: Context) -> list[KeptVerdict]:
        owner, chosen = await _chosen(context, iid, campaign)
        return await machine_reviews.list_kept(
            context.database,
            iid=owner,
            campaign_id=None if chosen is None else chosen.id,
            reviewed=None if every else reviewed,
            after=None,
            limit=limit,
        )

    found = in_context(work)
    if as_json:
        output.print_json(found)
        return
    output.print_table(
        ("attempt", "answered", "verdict", "cause", "after", "recording", "really"),
        (
            (
                one.attempt_id,
                output.time_text(one.answered_at),
                one.detection.verdict,
                one.detection.cause,
                f"{one.detection.seconds:.1f} s",
                _recorded(one),
                one.actual or "–",
            )
            for one in found
        ),
        empty="Nothing that was kept for review is to be seen here.",
    )


@app.command(epilog="Example: outdial machines sample 0123456789abcdef0123456789abcdef --output heard.wav")
def sample(
    attempt: Attempt,
    *,
    iid: Iid = None,
    file: WavFile = None,
    as_json: Json = False,
) -> None:
    """Write what was recorded of a call, a WAV file of 8 kHz, to a file; with --json, which needs --output, tell what
    it is a sample of."""
    require_file(file, as_json=as_json)

    async def work(context: Context) -> KeptVerdict:
        owner, _ = await _chosen(context, iid, None)
        kept = await machine_reviews.get_kept(context.database, iid=owner, attempt_id=attempt)
        if kept.recording_id is None:
            raise NotFoundError(
                f"Nothing of the attempt {attempt} is recorded ({_recorded(kept)}); its verdict can be reviewed by its "
                "cause and timings: `outdial machines list --json` shows them."
            )
        folder = context.settings.data_dir.resolve() / recordings.FOLDER
        found = await recordings.open_recording(context.database, folder, iid=owner, recording_id=kept.recording_id)
        await write_pieces(found.chunks(), file)
        return kept

    written = in_context(work)
    if as_json:
        output.print_json(written)


@app.command(epilog="Example: outdial machines review 0123456789abcdef0123456789abcdef person")
def review(
    attempt: Attempt,
    really: Annotated[Actual, typer.Argument(help="Who had really answered; unclear: it cannot be told.")],
    *,
    iid: Iid = None,
    as_json: Json = False,
) -> None:
    """Say who had really answered, in place of what was said before; history keeps both."""

    async def work(context: Context) -> KeptVerdict:
        owner, _ = await _chosen(context, iid, None)
        return await machine_reviews.enter_review(
            context.database, iid=owner, attempt_id=attempt, actual=really, actor=actor()
        )

    made = in_context(work)
    if as_json:
        output.print_json(made)
    else:
        output.say(f"The attempt {attempt} was found to be {made.detection.verdict}; really: {really}.")


@app.command(epilog="Example: outdial machines table Spring --begin 2027-03-01T00:00+01:00")
def table(
    campaign: Named = None,
    *,
    iid: Iid = None,
    begin: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN", help="Of calls that were answered then or later; without it 30 days before --end."
        ),
    ] = None,
    end: Annotated[str | None, typer.Option(metavar="WHEN", help="And before then; without it now.")] = None,
    as_json: Json = False,
) -> None:
    """Show what was found, against what it really was, and how often the detector is wrong, each share with the
    interval in which it lies with 95 % confidence."""

    async def work(context: Context) -> PeriodReviews:
        owner, chosen = await _chosen(context, iid, campaign)
        return await machine_reviews.tabulate(
            context.database,
            iid=owner,
            campaign_id=None if chosen is None else chosen.id,
            begin=_instant("--begin", begin),
            end=_instant("--end", end),
        )

    found = in_context(work)
    if as_json:
        output.print_json(found)
        return
    made = found.table
    output.print_table(
        ("verdict", "calls", "kept", "unrecorded", "waiting", "person", "machine", "unclear"),
        (
            (row.verdict, row.found, row.kept, row.unrecorded, row.waiting, row.person, row.machine, row.unclear)
            for row in made.rows
        ),
        empty="",
    )
    output.say()
    output.print_fields(
        {
            "people taken for machines": _share(made.people_taken, "of all people who answered"),
            "machines treated as people": _share(made.machines_taken, "of all machines that answered"),
            "of calls taken for machines'": _share(made.machines_wrong, "were people's"),
            "of calls treated as people's": _share(made.people_wrong, "were machines'"),
            "answered": f"{output.time_text(found.begin)} to {output.time_text(found.end)}",
        }
    )


async def _chosen(context: Context, iid: str | None, campaign: str | None) -> tuple[str, Campaign | None]:
    """Return the application and the campaign that are meant. Raises NotFoundError, ConflictError."""
    if campaign is None:
        return (await application(context.database, iid)).iid, None
    found = await campaigns.find_campaign(context.database, campaign)
    return found.iid, found


def _instant(option: str, text: str | None) -> datetime | None:
    """Return the instant a text means, by this machine's clock where it names no zone. Raises InvalidInputError."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise InvalidInputError([f"{option} must be like 2027-03-01T09:00, not {text[:60]!r}."]) from None


def _recorded(kept: KeptVerdict) -> str:
    if kept.recording_id is not None:
        return kept.recording_id
    failure = "" if kept.detection.sample is None else kept.detection.sample.failure
    return failure or "none, or not any more"


def _share(share: Share | None, of: str) -> str:
    if share is None:
        return "not known: too little was reviewed"
    return f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%}) {of}"
