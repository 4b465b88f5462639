"""``outdial simulate``: how a campaign would go, without calling anybody."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, TypeAlias

import typer

from outdial.cli import output
from outdial.cli.options import Json
from outdial.cli.running import in_context
from outdial.context import Context
from outdial.core.errors import InvalidInputError
from outdial.core.model import Disposition, DoneReason
from outdial.core.simulation import Outcome
from outdial.core.zones import find_zone, instant_of
from outdial.services import campaigns, simulations
from outdial.services.simulations import Assumed, Simulation, SimulationDraft, Source

Rate: TypeAlias = float | None

_REASONS: Mapping[DoneReason, str] = {
    DoneReason.REACHED: "reached",
    DoneReason.ATTEMPTS_USED: "not reached: all attempts used",
    DoneReason.INVALID_NUMBER: "not reached: the number does not exist",
    DoneReason.EXPIRED: "not reached: calling hours closed, and contacts expire then",
}


def simulate(
    campaign: Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Its id, or its name where that is unique.")],
    *,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN", help="When it is started, like 2027-03-01T09:00 by the campaign's clock; without it now."
        ),
    ] = None,
    lines: Annotated[int | None, typer.Option(help="Calls at once; without it what the trunk allows.")] = None,
    calls_per_second: Annotated[float | None, typer.Option(help="Without it what the trunk allows.")] = None,
    answer_rate: Annotated[Rate, typer.Option(help="Share of calls that are answered, 0 to 1.")] = None,
    busy_rate: Annotated[Rate, typer.Option(help="Share of calls to a busy phone.")] = None,
    no_answer_rate: Annotated[Rate, typer.Option(help="Share of calls that nobody answers.")] = None,
    invalid_rate: Annotated[Rate, typer.Option(help="Share of calls to numbers that do not exist.")] = None,
    ring_seconds: Annotated[Rate, typer.Option(help="How long it rings until somebody answers.")] = None,
    talk_seconds: Annotated[Rate, typer.Option(help="How long a person's call lasts, on average.")] = None,
    machine_rate: Annotated[
        Rate, typer.Option(help="Share of answered calls that are machines', where the campaign has them detected.")
    ] = None,
    machine_seconds: Annotated[Rate, typer.Option(help="How long a machine's call lasts from its answer on.")] = None,
    days: Annotated[int, typer.Option(help="How many days are played at most.")] = 60,
    seed: Annotated[int, typer.Option(help="Another seed draws other luck; the same draws the same.")] = 1,
    as_json: Json = False,
) -> None:
    """Play a campaign through without calling anybody: when it ends, calls by hour, lines, who is not reached and why.

    Its own lists and rules decide, as they would if it were started then and left alone. How calls end is taken from
    the account's latest calls where there are 200 or more, else from round numbers; each can be given instead.
    """

    async def work(context: Context) -> Simulation:
        found = await campaigns.find_campaign(context.database, campaign)
        draft = SimulationDraft(
            start_at=None if start is None else _instant(start, found.rules.calling_hours.zone),
            answer_rate=answer_rate,
            busy_rate=busy_rate,
            no_answer_rate=no_answer_rate,
            invalid_rate=invalid_rate,
            ring_seconds=ring_seconds,
            talk_seconds=talk_seconds,
            machine_rate=machine_rate,
            machine_seconds=machine_seconds,
            lines=lines,
            calls_per_second=calls_per_second,
            seed=seed,
            days=days,
        )
        return await simulations.simulate_campaign(context.database, context.secrets, found, draft)

    made = in_context(work)
    if as_json:
        output.print_json({**output.plain(made), "calls": made.outcome.calls, "linesUsed": made.outcome.lines})
        return
    _tell(made)


def _instant(text: str, zone_name: str) -> datetime:
    """Return the instant a text means, by the campaign's clock where it names no zone. Raises InvalidInputError."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInputError([f"--start must be like 2027-03-01T09:00, not {text[:60]!r}."]) from None
    zone = find_zone(zone_name)
    return at if at.tzinfo is not None or zone is None else instant_of(at, zone)


def _tell(made: Simulation) -> None:
    outcome = made.outcome
    output.print_fields(
        {
            "campaign": made.name,
            "started": _local(outcome.begin, made.zone),
            "last call": _ended(outcome, made.zone),
            "contacts": f"{outcome.contacts:,}",
            "calls": f"{outcome.calls:,}" + _per_contact(outcome),
            "lines": f"{outcome.lines:,} at once of {made.lines.value:,.0f} ({_from(made.lines)})",
            "calls a second": f"{made.calls_per_second.value:g} ({_from(made.calls_per_second)})",
            **_machines(made),
        }
    )
    output.say()
    output.print_table(
        (f"hour ({made.zone})", "calls", "answered", "lines at once"),
        (
            (_local(hour, made.zone)[:16], f"{found.calls:,}", f"{found.answered:,}", f"{found.lines:,}")
            for hour, found in outcome.hours.items()
        ),
        empty="Nobody is called at all.",
    )
    output.say()
    output.print_table(
        ("attempts", "contacts"), ((count, f"{people:,}") for count, people in outcome.attempts.items()), empty=""
    )
    output.say()
    output.print_table(("what becomes of contacts", "contacts"), _fates(outcome), empty="There are no contacts.")
    output.say()
    shares = {f"{disposition}": f"{one.value:.1%} ({_from(one)})" for disposition, one in made.shares.items()}
    output.print_fields(
        {
            "supposed": "",
            **shares,
            "ringing until answered": f"{made.ring_seconds.value:.1f} s ({_from(made.ring_seconds)})",
            "talking": f"{made.talk_seconds.value:.1f} s ({_from(made.talk_seconds)})",
            **_supposed_machines(made),
            "history": f"{made.calls_looked_at:,} calls",
            "seed": made.seed,
        }
    )
    for sentence in made.notes:
        output.note(sentence)


def _machines(made: Simulation) -> dict[str, str]:
    if made.machines is None:
        return {}
    calls = made.outcome.dispositions.get(Disposition.ANSWERED_MACHINE, 0)
    told = "left a message" if made.machines.message_left else "hung up on"
    return {"answering machines": f"{calls:,} calls, {told}"}


def _supposed_machines(made: Simulation) -> dict[str, str]:
    found = made.machines
    if found is None:
        return {}
    return {
        "machines of those who answer": f"{found.rate.value:.1%} ({_from(found.rate)})",
        "a machine's call": f"{found.seconds.value:.1f} s ({_from(found.seconds)})",
        "verdicts": f"{found.verdicts_looked_at:,}",
    }


def _fates(outcome: Outcome) -> list[tuple[str, str]]:
    rows = [(_REASONS.get(reason, str(reason)), count) for reason, count in outcome.done.items()]
    rows += [(f"never called: {one.why}", one.count) for one in outcome.never]
    rows += [("still to be called when the days played are over", outcome.left_count)] if outcome.left_count else []
    return [(why, f"{count:,}") for why, count in rows]


def _per_contact(outcome: Outcome) -> str:
    called = outcome.contacts - outcome.attempts.get(0, 0)
    return f", {outcome.calls / called:.2f} for each contact called" if called else ""


def _ended(outcome: Outcome, zone: str) -> str:
    if outcome.last_call_at is None:
        return "there is none"
    minutes = round((outcome.last_call_at - outcome.begin).total_seconds() / 60)
    after = f"{_local(outcome.last_call_at, zone)}, {minutes // 60} h {minutes % 60:02} min after the start"
    return after if outcome.finished else f"not within the days played; the last one {after}"


def _local(at: datetime, zone: str) -> str:
    return f"{at.astimezone(find_zone(zone) or UTC):%Y-%m-%d %H:%M %Z}"


def _from(one: Assumed) -> str:
    return {
        Source.DEFAULT: "a round number",
        Source.HISTORY: "the account's latest calls",
        Source.GIVEN: "given",
        Source.TRUNK: "the trunk's",
        Source.APPLICATION: "the application's",
    }[one.source]
