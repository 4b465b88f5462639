"""``outdial campaign``: what runs, and its start, pause, resume and stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, TypeAlias, TypeVar

import typer

from outdial.cli import output, remote
from outdial.cli.options import Json
from outdial.cli.remote import ClientId, ClientSecret, Server, ServerIid
from outdial.cli.running import Result, actor, in_context
from outdial.context import Context
from outdial.core.campaign import wire_status
from outdial.core.model import Campaign, ConnectedCalls, RingingCalls, Run, RunState
from outdial.services import campaigns, run_views, runs
from outdial.services.engines import Engines
from outdial.services.runs import RunProgress, StartedRun
from outdial.services.stop import StopOptions, StoppedRun, StoppedSchedule, StopProgress, StopReport
from outdial.services.stop import stop as stop_run
from outdial.store import nodes

Word = TypeVar("Word", bound=StrEnum)

app = typer.Typer(help="Campaigns: what runs, and its start, pause, resume and stop.", no_args_is_help=True)

Named: TypeAlias = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Its id, or its name where that is unique.")]


@dataclass(frozen=True, slots=True)
class Shown:
    """A campaign with what its latest run has done."""

    campaign: Campaign
    status: str
    progress: RunProgress | None
    held_by: str | None = None


@app.command("list", epilog="Example: outdial campaign list --json")
def list_(
    *,
    iid: Annotated[str | None, typer.Option("--iid", metavar="IID", help="Only those of one application.")] = None,
    server: Server = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
    as_json: Json = False,
) -> None:
    """List campaigns with the state of their latest run."""
    told = remote.access(server, iid, client_id, client_secret)
    if told is not None:
        remote.list_campaigns(told, as_json=as_json)
        return

    async def work(context: Context) -> list[Campaign]:
        return await campaigns.list_campaigns(context.database, iid)

    found = in_context(work)
    if as_json:
        output.print_json([{**output.plain(each), "status": wire_status(each)} for each in found])
    else:
        output.print_table(
            ("name", "id", "status", "mode", "contact lists", "changed"),
            (
                (
                    each.name,
                    each.id,
                    status_text(each),
                    each.mode,
                    ", ".join(each.list_names),
                    output.time_text(each.updated_at if each.run is None else each.run.updated_at),
                )
                for each in found
            ),
            empty="There is no campaign yet; they are made over the API, see /docs of a running server.",
        )


@app.command(epilog="Example: outdial campaign show 'Spring calls'")
def show(
    campaign: Named,
    *,
    server: Server = None,
    iid: ServerIid = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
    as_json: Json = False,
) -> None:
    """Show a campaign, and what its latest run has done so far; with --server its definition and status."""
    told = remote.access(server, iid, client_id, client_secret)
    if told is not None:
        remote.show_campaign(told, campaign, as_json=as_json)
        return
    remote.only_with_server(iid)

    async def work(context: Context) -> Shown:
        found = await campaigns.find_campaign(context.database, campaign)
        progress = None if found.run is None else await runs.progress(context.database, found.run.id)
        held_by = None if found.run is None else await run_views.held_by(context.database, found.run)
        return Shown(found, wire_status(found), progress, held_by)

    shown = in_context(work)
    if as_json:
        output.print_json(shown)
        return
    output.print_fields(_definition(shown.campaign))
    if shown.progress is not None:
        output.say()
        output.print_fields({**_progress(shown.progress), "waits for": shown.held_by or "–"})


@app.command(epilog="Example: outdial campaign start 'Spring calls'")
def start(
    campaign: Named,
    *,
    server: Server = None,
    iid: ServerIid = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
    as_json: Json = False,
) -> None:
    """Start a new run of a campaign; the dialer nodes that are running take it up."""
    told = remote.access(server, iid, client_id, client_secret)
    if told is not None:
        remote.start_campaign(told, campaign, as_json=as_json)
        return
    remote.only_with_server(iid)

    async def work(context: Context) -> tuple[StartedRun, bool]:
        found = await campaigns.find_campaign(context.database, campaign)
        started = await runs.start(
            context.database, context.secrets, iid=found.iid, campaign_id=found.id, actor=actor()
        )
        async with context.database.connection() as connection:
            return started, await nodes.ready(connection)

    started, ready = in_context(work)
    _tell_run(started.run, "started", as_json=as_json)
    if not ready:
        output.note(
            "No dialer node is running, so nothing is dialed yet: `outdial serve` or `outdial dialer` runs one."
        )


@app.command(epilog="Example: outdial campaign pause 'Spring calls'")
def pause(campaign: Named, *, as_json: Json = False) -> None:
    """Pause the run: no new call, connected calls go on."""

    async def work(context: Context, engines: Engines, found: Campaign) -> Run:
        return await runs.pause(context.database, engines, iid=found.iid, campaign_id=found.id, actor=actor())

    _tell_run(_with_engines(campaign, work), "paused", as_json=as_json)


@app.command(epilog="Example: outdial campaign resume 'Spring calls'")
def resume(campaign: Named, *, as_json: Json = False) -> None:
    """Resume a paused run where it was."""

    async def work(context: Context) -> Run:
        found = await campaigns.find_campaign(context.database, campaign)
        return await runs.resume(context.database, iid=found.iid, campaign_id=found.id, actor=actor())

    _tell_run(in_context(work), "resumed", as_json=as_json)


@app.command(epilog="Example: outdial campaign stop 'Spring calls' --connected hang_up")
def stop(
    campaign: Named,
    *,
    ringing: Annotated[RingingCalls, typer.Option(help="What becomes of calls that ring.")] = RingingCalls.CANCEL,
    connected: Annotated[
        ConnectedCalls, typer.Option(help="What becomes of calls that are connected.")
    ] = ConnectedCalls.KEEP,
    keep_schedule: Annotated[
        bool, typer.Option("--keep-schedule", help="End this run only: its schedule starts it again.")
    ] = False,
    server: Server = None,
    iid: ServerIid = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
    as_json: Json = False,
) -> None:
    """Stop the run, and switch its schedule off. When this returns, no further call of it can leave.

    Shows each step of the wait, then what was cancelled. Where it cannot be shown that an engine is silent, exit code
    1: the run stays `stopping`, dials nothing, and asking again goes on with the wait.
    With --server the server is asked for half a minute, and no steps are shown.
    """
    told = remote.access(server, iid, client_id, client_secret)
    if told is not None:
        remote.stop_campaign(
            told, campaign, ringing=ringing, connected=connected, keep_schedule=keep_schedule, as_json=as_json
        )
        return
    remote.only_with_server(iid)
    steps: list[StopProgress] = []

    def on_progress(step: StopProgress) -> None:
        steps.append(step)
        output.note(f"{step.elapsed_seconds:7.3f} s  {step.sentence}")

    async def work(context: Context, engines: Engines, found: Campaign) -> StoppedRun | StoppedSchedule:
        try:
            return await stop_run(
                context.database,
                engines,
                iid=found.iid,
                campaign_id=found.id,
                actor=actor(),
                options=StopOptions(ringing=ringing, connected=connected),
                keep_schedule=keep_schedule,
                on_progress=on_progress,
            )
        except asyncio.CancelledError:
            if steps:
                output.note("Interrupted: the run stays `stopping` and dials nothing; ask again for the proof.")
            raise

    stopped = _with_engines(campaign, work)
    if isinstance(stopped, StoppedSchedule):
        _tell_schedule(stopped, as_json=as_json)
    elif as_json:
        output.print_json(stopped.report.as_json())
    else:
        output.print_fields(report_fields(stopped.report))


def _tell_schedule(stopped: StoppedSchedule, *, as_json: bool) -> None:
    if as_json:
        output.print_json(stopped)
    else:
        output.say(f"Nothing was running; the schedule is switched off, {output.time_text(stopped.stopped_at)}.")


def report_fields(report: StopReport) -> Mapping[str, object]:
    """Return a stop's report for people."""
    return {
        "run": report.instance_id,
        "stopped": f"{output.time_text(report.stopped_at)}, after {report.latency_seconds * 1000:.0f} ms",
        "ringing calls cancelled": report.cancelled_count,
        "connected calls": report.connected_count,
        "retries cancelled": report.retries_cancelled_count,
        "contacts never reached": report.never_reached_count,
        "engines": ", ".join(each.engine_id for each in report.engines) or "none had dialed",
        "dialer nodes": ", ".join(f"{each.name} ({each.outcome})" for each in report.nodes) or "none",
    }


def _with_engines(campaign: str, work: Callable[[Context, Engines, Campaign], Awaitable[Result]]) -> Result:
    """Do something with a campaign that needs to reach the engines."""

    async def opened(context: Context) -> Result:
        found = await campaigns.find_campaign(context.database, campaign)
        engines = Engines(context.database, context.secrets, ttl_seconds=context.settings.permit_ttl_seconds)
        try:
            return await work(context, engines, found)
        finally:
            await engines.close()

    return in_context(opened)


def _tell_run(run: Run, what: str, *, as_json: bool) -> None:
    if as_json:
        output.print_json(run)
    else:
        output.say(f"Run {run.instance_id} {what}, {output.time_text(run.updated_at)}.")


def status_text(campaign: Campaign) -> str:
    """Return the status people see: the wire's, and `Stopping` where the wire does not say it yet."""
    if campaign.run is not None and campaign.run.state is RunState.STOPPING:
        return "Stopping"
    return wire_status(campaign)


def _definition(campaign: Campaign) -> Mapping[str, object]:
    rules = campaign.rules
    return {
        "campaign": campaign.name,
        "id": campaign.id,
        "application": campaign.iid,
        "status": status_text(campaign),
        "mode": campaign.mode,
        "contact lists": ", ".join(campaign.list_names),
        "do-not-call list": campaign.dnc_list_name or "the account's only",
        "flow": campaign.flow_name or "–",
        "courtesy message": campaign.courtesy_flow_name or "–",
        "caller ID": rules.caller_id,
        "calling hours": f"{len(rules.calling_hours.windows)} windows a week, {rules.calling_hours.zone}; rule pack: "
        f"{rules.calling_hours.rule_pack or 'none'}",
        "attempts": f"{rules.max_attempts}, {rules.retry_seconds // 60} min apart, ringing {rules.ring_seconds} s",
        "next occurrence": "–" if campaign.schedule is None else output.time_text(campaign.schedule.next_at),
        "created": output.time_text(campaign.created_at),
    }


def _progress(progress: RunProgress) -> Mapping[str, object]:
    run = progress.run
    return {
        "run": run.instance_id,
        "started": output.time_text(run.started_at),
        "ended": output.time_text(run.ended_at),
        "contacts": _counts(progress.contacts),
        "done": _counts(progress.done),
        "placed": f"{progress.placed} calls, {progress.answered} answered",
        "live": _counts(progress.live),
        "dispositions": _counts(progress.dispositions),
    }


def _counts(counts: Mapping[Word, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "–"
