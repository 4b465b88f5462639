"""``outdial hours``: when a campaign's people may be called."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from outdial import clock
from outdial.cli import output
from outdial.cli.campaigns import Named
from outdial.cli.options import Json
from outdial.cli.running import actor, in_context
from outdial.context import Context
from outdial.core.calling_hours import Opening
from outdial.core.errors import InvalidInputError
from outdial.core.model import AtClosing, CallingHours
from outdial.core.rule_packs import parse_days
from outdial.services import calling_hours, campaigns
from outdial.services.calling_hours import DAYS, ExceptionDraft, HoursDraft, WindowDraft

app = typer.Typer(
    help="Calling hours: when a campaign's people may be called, by their own clocks.", no_args_is_help=True
)

_AT: Final = "%Y-%m-%dT%H:%M"


@app.command(epilog="Example: outdial hours show 'Spring calls'")
def show(campaign: Named, *, as_json: Json = False) -> None:
    """Show a campaign's windows, exceptions, holidays, rule pack and what happens at closing time."""

    async def work(context: Context) -> CallingHours:
        return (await campaigns.find_campaign(context.database, campaign)).rules.calling_hours

    _tell(in_context(work), as_json=as_json)


@app.command(
    "set",
    epilog="Example: outdial hours set 'Spring calls' --window 'mo-fr 09:00-12:30' --window 'mo-fr 13:30-19:00' "
    "--except '2026-12-24 09:00-12:00' --except 2026-12-31 --holidays US --rule-pack us",
)
def set_(
    campaign: Named,
    *,
    window: Annotated[
        list[str],
        typer.Option(
            metavar="'DAYS FROM-TO'",
            help="Like 'mo-fr 09:00-18:00' or 'sa,su 22:00-02:00'; without days it is daily; may be repeated.",
        ),
    ],
    zone: Annotated[
        str | None,
        typer.Option(metavar="ZONE", help="Whose clock counts where nothing else says one; without, it stays."),
    ] = None,
    exceptions: Annotated[
        list[str] | None,
        typer.Option(
            "--except",
            metavar="'DATE [FROM-TO]…'",
            help="A date with windows of its own, or closed where there is none; may be repeated.",
        ),
    ] = None,
    holidays: Annotated[
        list[str] | None,
        typer.Option(metavar="CALENDAR", help="Nobody is called on its dates, like US or DE-BY; may be repeated."),
    ] = None,
    rule_pack: Annotated[
        str | None, typer.Option(metavar="PACK", help="A law to keep to besides: `outdial rules list`.")
    ] = None,
    at_closing: Annotated[
        AtClosing, typer.Option(help="What becomes of those not reached when the hours close for the day.")
    ] = AtClosing.HOLD,
    as_json: Json = False,
) -> None:
    """Give a campaign calling hours, in place of all it had, from its next run on.

    A window that ends before it starts goes on to the next day. Refused while a run is live.
    """
    windows = tuple(_window(text) for text in window)
    dates = tuple(_exception(text) for text in exceptions or ())

    async def work(context: Context) -> CallingHours:
        found = await campaigns.find_campaign(context.database, campaign)
        draft = HoursDraft(
            zone=found.rules.calling_hours.zone if zone is None else zone,
            windows=windows,
            exceptions=dates,
            holidays=tuple(holidays or ()),
            rule_pack=rule_pack,
            at_closing=at_closing,
        )
        return await calling_hours.set_hours(
            context.database,
            iid=found.iid,
            campaign_id=found.id,
            hours=calling_hours.read_hours(draft),
            actor=actor(),
        )

    _tell(in_context(work), as_json=as_json)


@app.command(epilog="Example: outdial hours when 'Spring calls' +13055550100 --at 2026-12-24T20:30")
def when(
    campaign: Named,
    phone: Annotated[str, typer.Argument(metavar="PHONE", help="A number; it need not be in any list.")],
    *,
    zone: Annotated[str | None, typer.Option(metavar="ZONE", help="As if the contact's list said it.")] = None,
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help="As if the contact's attribute `state` said it, like FL.")
    ] = None,
    at: Annotated[datetime | None, typer.Option(formats=[_AT], metavar="TIME", help="UTC; without, now.")] = None,
    as_json: Json = False,
) -> None:
    """Say whether the campaign's hours let a number be called, when if not, and which rule in which zone closes it.

    It looks at calling hours alone: not at do-not-call lists, attempts and limits.
    """

    async def work(context: Context) -> Opening:
        found = await campaigns.find_campaign(context.database, campaign)
        return calling_hours.opening_for(
            found,
            phone=phone,
            zone=zone,
            state=state,
            at=clock.now() if at is None else at.replace(tzinfo=UTC),
            region=context.settings.default_region,
        )

    found = in_context(work)
    if as_json:
        output.print_json({**output.plain(found), "isOpen": found.is_open, "ruleData": found.rule_data()})
        return
    output.print_fields(_opening(found))


def _opening(found: Opening) -> Mapping[str, object]:
    where = found.whereabouts
    return {
        "at": output.time_text(found.at),
        "open": "yes" if found.is_open else "no",
        "opens": "not within 14 days" if found.opens_at is None else output.time_text(found.opens_at),
        "closes": output.time_text(found.closes_at),
        "zones": f"{', '.join(where.zones)} (from {', '.join(where.zone_origins)})",
        "places": f"{', '.join(where.places)} (from {', '.join(where.place_origins)})" if where.places else "–",
        "rules": ", ".join(("campaign_hours", *found.rules)),
        "closed by": "\n".join(f"{each.rule}: {each.sentence}" for each in found.closed_by) or "–",
        "data": ", ".join(f"{name} {version}" for name, version in found.rule_data().items()),
    }


def _window(text: str) -> WindowDraft:
    """Return the window of ``mo-fr 09:00-18:00``; its times are read with the rest."""
    *before, times = text.split() or [""]
    days = parse_days(before[0]) if before else None
    start, dash, end = times.partition("-")
    if not dash or len(before) > 1 or (before and days is None):
        raise InvalidInputError([f"--window must be like 'mo-fr 09:00-18:00', not {text[:60]!r}."])
    return WindowDraft(start, end, None if days is None else tuple(DAYS[day] for day in days))


def _exception(text: str) -> ExceptionDraft:
    on, *spans = text.split() or [""]
    found = []
    for span in spans:
        start, dash, end = span.partition("-")
        if not dash:
            raise InvalidInputError([f"--except must be like '2026-12-24 09:00-12:00', not {text[:60]!r}."])
        found.append((start, end))
    return ExceptionDraft(on, tuple(found))


def _tell(hours: CallingHours, *, as_json: bool) -> None:
    if as_json:
        output.print_json(_plain(hours))
        return
    output.print_fields(
        {
            "zone": hours.zone,
            "windows": "\n".join(
                f"{' '.join(window.days or ())} {window.start}–{window.end}"
                for window in calling_hours.by_days(hours.windows)
            )
            or "none",
            "exceptions": "\n".join(_exception_text(hours)) or "none",
            "holidays": ", ".join(hours.holidays) or "none",
            "rule pack": hours.rule_pack or "none: these hours alone",
            "at closing": hours.at_closing,
        }
    )


def _plain(hours: CallingHours) -> dict[str, object]:
    """Return the hours in the words of the API."""
    return {
        "zone": hours.zone,
        "frequency": hours.frequency,
        "windows": calling_hours.by_days(hours.windows),
        "exceptions": [
            {
                "date": one.on.isoformat(),
                "windows": [
                    {
                        "start": calling_hours.write_clock(window.start),
                        "end": calling_hours.write_clock(window.end),
                    }
                    for window in one.windows
                ],
                "note": one.note,
            }
            for one in hours.exceptions
        ],
        "holidays": hours.holidays,
        "rulePack": hours.rule_pack,
        "atClosing": hours.at_closing,
    }


def _exception_text(hours: CallingHours) -> list[str]:
    return [
        f"{one.on}: "
        + (
            ", ".join(
                f"{calling_hours.write_clock(window.start)}–{calling_hours.write_clock(window.end)}"
                for window in one.windows
            )
            or "closed"
        )
        + (f" ({one.note})" if one.note else "")
        for one in hours.exceptions
    ]
