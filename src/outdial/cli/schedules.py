"""``outdial schedule``: when campaigns run by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

import typer

from outdial.cli import output
from outdial.cli.campaigns import Named, status_text
from outdial.cli.options import Json
from outdial.cli.running import actor, in_context
from outdial.context import Context
from outdial.core.model import Campaign, CampaignSchedule
from outdial.core.schedule import LONGEST_STEP, Recurrence
from outdial.services import campaigns, schedules
from outdial.services.schedules import SchedulePlan, ScheduleView

app = typer.Typer(help="Schedules: when campaigns run by themselves.", no_args_is_help=True)

_TIMES: Final = ["%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


class Weekday(StrEnum):
    """Days of a weekly schedule."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


_WEEK: Final = tuple(Weekday)


@app.command(
    epilog="Example: outdial schedule enable 'Spring calls' --start '2026-03-02 09:00' --end '2026-06-01 00:00' "
    "--repeat weekly --on mon --on wed"
)
def enable(
    campaign: Named,
    *,
    start: Annotated[
        datetime,
        typer.Option(formats=_TIMES, metavar="TIME", help="First occurrence, in the zone of its calling hours."),
    ],
    end: Annotated[
        datetime, typer.Option(formats=_TIMES, metavar="TIME", help="Nothing is started, or goes on, from then on.")
    ],
    repeat: Annotated[Recurrence, typer.Option(help="How it repeats.")] = Recurrence.ONCE,
    every: Annotated[int, typer.Option(min=1, max=LONGEST_STEP, help="Every so many days or weeks.")] = 1,
    on: Annotated[
        list[Weekday] | None, typer.Option(help="Weekdays of a weekly one; without, the weekday of its start.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Let a campaign run by itself, in place of whatever schedule it had.

    Any `outdial serve` or `outdial dialer` starts it when it is due; one more than two minutes late is reported as
    missed, not started.
    """
    if on and repeat is not Recurrence.WEEKLY:
        raise typer.BadParameter("weekdays belong to a weekly schedule: add --repeat weekly", param_hint="--on")

    async def work(context: Context) -> Campaign:
        found = await campaigns.find_campaign(context.database, campaign)
        plan = SchedulePlan(start, end, repeat, every, tuple(sorted({_WEEK.index(day) for day in on or ()})))
        return await schedules.enable(context.database, iid=found.iid, campaign_id=found.id, plan=plan, actor=actor())

    _tell(in_context(work), as_json=as_json)


@app.command(epilog="Example: outdial schedule disable 'Spring calls'")
def disable(campaign: Named, *, as_json: Json = False) -> None:
    """Let a campaign no longer run by itself; a run that is live goes on."""

    async def work(context: Context) -> Campaign:
        found = await campaigns.find_campaign(context.database, campaign)
        return await schedules.disable(context.database, iid=found.iid, campaign_id=found.id, actor=actor())

    _tell(in_context(work), as_json=as_json)


@app.command(epilog="Example: outdial schedule show 'Spring calls' --json")
def show(campaign: Named, *, as_json: Json = False) -> None:
    """Show a campaign's schedule, what became of its occurrences, and how many contacts are on do-not-call lists."""

    async def work(context: Context) -> ScheduleView:
        found = await campaigns.find_campaign(context.database, campaign)
        return await schedules.show(context.database, iid=found.iid, campaign_id=found.id)

    view = in_context(work)
    if as_json:
        output.print_json(view)
        return
    output.print_fields(_fields(view))
    if view.occurrences:
        output.say()
        output.print_table(
            ("due", "outcome", "run", "reason"),
            (
                (output.time_text(each.due_at), each.outcome, each.instance_id or "–", each.reason)
                for each in view.occurrences
            ),
            empty="",
        )


def _tell(campaign: Campaign, *, as_json: bool) -> None:
    if as_json:
        output.print_json(campaign.schedule)
    elif campaign.schedule is not None and campaign.schedule.upcoming:
        output.say(f"{campaign.name} is scheduled; it runs next at {output.time_text(campaign.schedule.next_at)}.")
    else:
        output.say(f"{campaign.name} is not scheduled.")


def _fields(view: ScheduleView) -> Mapping[str, object]:
    schedule, scrub = view.campaign.schedule, view.scrub
    return {
        "campaign": view.campaign.name,
        "status": status_text(view.campaign),
        **({"schedule": "none"} if schedule is None else _schedule(schedule)),
        "do-not-call": "not looked at yet"
        if scrub is None
        else f"{scrub.dnc_count} of {scrub.contacts_count} contacts are on a list, {output.time_text(scrub.at)}",
    }


def _schedule(found: CampaignSchedule) -> Mapping[str, object]:
    rule = found.schedule
    unit = {Recurrence.DAILY: "day", Recurrence.WEEKLY: "week"}.get(rule.recurrence)
    repeats = "once" if unit is None else f"every {unit}" if rule.every == 1 else f"every {rule.every} {unit}s"
    days = ", ".join(_WEEK[day] for day in rule.weekdays)
    return {
        "schedule": f"{repeats}{f' on {days}' if days else ''}",
        "from": f"{rule.start} {rule.zone}",
        "until": f"{rule.end} {rule.zone}",
        "next": output.time_text(found.next_at) if found.enabled else "switched off",
    }
