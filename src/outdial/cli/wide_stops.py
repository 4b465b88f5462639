"""``outdial stop`` for more than one campaign, and ``outdial emergency-stop``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, TypeAlias

import typer

from outdial.cli import output
from outdial.cli.options import Json
from outdial.cli.running import FAILED, Result, actor, in_context, load_settings
from outdial.context import Context
from outdial.core.errors import DatabaseUnavailableError, InvalidInputError, StartupError
from outdial.core.model import ConnectedCalls, RingingCalls
from outdial.services import contact_lists, emergency, wide_stops
from outdial.services.access import require_application
from outdial.services.emergency import Declared, Emergency, EmergencySwitch
from outdial.services.engines import Engines
from outdial.services.stop import StopOptions
from outdial.services.wide_stops import WideStop

app = typer.Typer(
    help="Stop more than one campaign: a caller ID, a contact list, a number, an account. And signed reports of stops.",
    no_args_is_help=True,
)

Iid: TypeAlias = Annotated[str, typer.Option("--iid", metavar="IID", help="The application.")]
Account: TypeAlias = Annotated[str, typer.Option("--account", metavar="ID", help="The account, 24 hex digits.")]
Ringing: TypeAlias = Annotated[RingingCalls, typer.Option(help="What becomes of calls that ring.")]
Connected: TypeAlias = Annotated[ConnectedCalls, typer.Option(help="What becomes of calls that are connected.")]


@app.command("caller-id", epilog="Example: outdial stop caller-id +15550100999 --iid st-…")
def caller_id(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="The caller ID, E.164.")],
    *,
    iid: Iid,
    ringing: Ringing = RingingCalls.CANCEL,
    connected: Connected = ConnectedCalls.KEEP,
    as_json: Json = False,
) -> None:
    """Stop every campaign of an application that calls from a number, and switch their schedules off.

    When this returns no further call of any of them can leave; where that cannot be shown, exit code 1.
    """

    async def work(context: Context, engines: Engines) -> WideStop:
        async with context.database.connection() as connection:
            application = await require_application(connection, iid)
        return await wide_stops.stop_caller_id(
            context.database,
            engines,
            account_id=application.account_id,
            iid=iid,
            caller_id=number,
            actor=actor(),
            options=StopOptions(ringing=ringing, connected=connected),
        )

    _tell(with_engines(work), as_json=as_json)


@app.command("list", epilog="Example: outdial stop list 'March callers' --iid st-…")
def list_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The contact list.")],
    *,
    iid: Iid,
    ringing: Ringing = RingingCalls.CANCEL,
    connected: Connected = ConnectedCalls.KEEP,
    as_json: Json = False,
) -> None:
    """Stop every campaign of an application that dials a contact list, and switch their schedules off."""

    async def work(context: Context, engines: Engines) -> WideStop:
        async with context.database.connection() as connection:
            application = await require_application(connection, iid)
        found = await contact_lists.find_list(context.database, iid, name)
        return await wide_stops.stop_contact_list(
            context.database,
            engines,
            account_id=application.account_id,
            iid=iid,
            list_id=found.id,
            actor=actor(),
            options=StopOptions(ringing=ringing, connected=connected),
        )

    _tell(with_engines(work), as_json=as_json)


@app.command(epilog="Example: outdial stop number +15550100001 --account 65b0…")
def number(
    phone: Annotated[str, typer.Argument(metavar="NUMBER", help="The person's number.")],
    *,
    account: Account,
    reason: Annotated[str, typer.Option(help="Kept with the do-not-call entry.")] = "stop",
    connected: Connected = ConnectedCalls.KEEP,
    as_json: Json = False,
) -> None:
    """Stop one number in a whole account, for good: on its do-not-call list, out of everything pending, and a call that
    rings is cancelled."""

    async def work(context: Context, engines: Engines) -> WideStop:
        return await wide_stops.stop_number(
            context.database,
            engines,
            account_id=account,
            phone=phone,
            actor=actor(),
            reason=reason,
            connected=connected,
            default_region=context.settings.default_region,
        )

    _tell(with_engines(work), as_json=as_json)


@app.command(epilog="Example: outdial stop account 65b0… --connected hang_up")
def account(
    account_id: Annotated[str, typer.Argument(metavar="ID", help="The account, 24 hex digits.")],
    *,
    ringing: Ringing = RingingCalls.CANCEL,
    connected: Connected = ConnectedCalls.KEEP,
    as_json: Json = False,
) -> None:
    """Stop every campaign of an account, and switch their schedules off."""

    async def work(context: Context, engines: Engines) -> WideStop:
        return await wide_stops.stop_account(
            context.database,
            engines,
            account_id=account_id,
            actor=actor(),
            options=StopOptions(ringing=ringing, connected=connected),
        )

    _tell(with_engines(work), as_json=as_json)


def emergency_stop(
    *,
    reason: Annotated[str, typer.Option(help="Why; kept with it, and needed to lift it.")] = "",
    lift: Annotated[bool, typer.Option("--lift", help="Lift the one in force.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Only say whether one is in force.")] = False,
    ringing: Ringing = RingingCalls.CANCEL,
    connected: Connected = ConnectedCalls.KEEP,
    as_json: Json = False,
) -> None:
    """Stop everything of everybody. Nothing can be started or resumed before somebody lifts it.

    When this returns no further call can leave. Where the database cannot be reached the emergency file is written
    instead: every process on this machine that dials sees it within half a second, places nothing and cancels what
    rings; exit code 1, since that is not proven. Anybody may write that file by hand.
    """
    if lift and show:
        raise InvalidInputError(["--lift and --show do not go together."])
    if show:
        _tell_emergency(in_context(lambda context: emergency.in_force(context.database)), as_json=as_json)
        return
    if lift:
        lifted = in_context(
            lambda context: emergency.lift(
                context.database, EmergencySwitch.of(context.settings), reason=reason, actor=actor()
            )
        )
        if as_json:
            output.print_json(lifted)
        else:
            output.say(f"Lifted, {output.time_text(lifted.lifted_at)}. Campaigns may be started again.")
        return

    async def work(context: Context, engines: Engines) -> Declared:
        return await emergency.declare(
            context.database,
            engines,
            reason=reason,
            actor=actor(),
            options=StopOptions(ringing=ringing, connected=connected),
        )

    try:
        declared = with_engines(work)
    except (DatabaseUnavailableError, StartupError) as error:
        switch = EmergencySwitch.of(load_settings())
        switch.pull(reason or f"outdial emergency-stop by {actor()}")
        output.note(error.message)
        output.note(
            f"The file {switch.path} has been written: whatever dials on this machine places nothing any more and "
            "cancels what rings. Remove it when the emergency is over."
        )
        raise typer.Exit(FAILED) from None
    _tell_emergency(declared, as_json=as_json)


def with_engines(work: Callable[[Context, Engines], Awaitable[Result]]) -> Result:
    """Do some work with the engines, opened for a moment."""

    async def opened(context: Context) -> Result:
        engines = Engines(context.database, context.secrets, ttl_seconds=context.settings.permit_ttl_seconds)
        try:
            return await work(context, engines)
        finally:
            await engines.close()

    return in_context(opened)


def _tell(stop: WideStop, *, as_json: bool) -> None:
    if as_json:
        output.print_json(stop.as_json())
    else:
        output.print_fields(_fields(stop))


def _tell_emergency(declared: Declared | None, *, as_json: bool) -> None:
    if declared is None:
        if as_json:
            output.print_json({"inForce": False})
        else:
            output.say("No emergency stop is in force.")
        return
    if as_json:
        output.print_json(
            {"inForce": True, "emergency": output.plain(declared.emergency), "stop": declared.stop.as_json()}
        )
    else:
        output.print_fields({**_emergency(declared.emergency), **_fields(declared.stop)})


def _emergency(found: Emergency) -> Mapping[str, object]:
    return {
        "emergency stop": f"in force since {output.time_text(found.declared_at)}",
        "declared by": found.declared_by,
        "reason": found.reason or "–",
    }


def _fields(stop: WideStop) -> Mapping[str, object]:
    reports = [run.report for run in stop.runs if run.report is not None]
    fields: dict[str, object] = {
        "stop": stop.id,
        "of": stop.target.scope.replace("_", " ") + (f" {stop.target.value}" if stop.target.value else ""),
        "stopped": "not proven yet"
        if stop.stopped_at is None
        else f"{output.time_text(stop.stopped_at)}, after {(stop.latency_seconds or 0.0) * 1000:.0f} ms",
        "runs": f"{len(reports)} of {len(stop.runs)} stopped",
        "ringing calls cancelled": sum(report.cancelled_count for report in reports),
        "connected calls": sum(report.connected_count for report in reports),
        "contacts never reached": sum(report.never_reached_count for report in reports),
        "schedules switched off": len(stop.schedules_off),
    }
    if stop.number is not None:
        for name in ("runs", "contacts never reached", "schedules switched off"):
            del fields[name]
        fields["ringing calls cancelled"] = stop.number.cancelled
        fields["conversations ended"] = stop.number.hung_up
        fields["connected calls"] = stop.number.connected
        fields["contacts taken out"] = stop.number.contacts_removed
    return fields
