"""All commands, by noun."""

from __future__ import annotations

from typing import Annotated

import typer

import outdial
from outdial.cli import (
    applications,
    backups,
    campaigns,
    clients,
    compliance,
    contacts,
    courtesy,
    dialing_rules,
    dnc,
    engines,
    flows,
    history,
    hours,
    imports,
    keys,
    limits,
    machines,
    persons,
    pre_calls,
    recordings,
    rules,
    schedules,
    servers,
    settings,
    simulate,
    stops,
    trunks,
    watchdog,
    webhooks,
    wide_stops,
)
from outdial.cli.demo import demo
from outdial.cli.doctor import doctor
from outdial.cli.explain import explain
from outdial.cli.running import Commands

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Outbound voice campaigns that stop at once, provably. Settings: `outdial config`.",
    epilog="Exit codes: 0 done, 1 failed (standard error says why), 2 wrong usage.",
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value alone
    if wanted:
        typer.echo(f"outdial {outdial.__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Outbound voice campaigns that stop at once, provably. Settings: `outdial config`."""
    del version


app.command(epilog="Example: outdial demo --contacts 60 --stop-after 5 --json")(demo)
app.command(epilog="Example: outdial serve")(servers.serve)
app.command(epilog="Example: OUTDIAL_DATABASE_URL=postgresql://… outdial dialer")(servers.dialer)
app.command(epilog="Example: OUTDIAL_WATCHDOG_PORT=9060 outdial watchdog --json")(watchdog.watchdog)
app.command(epilog="Example: outdial alarms --json")(watchdog.alarms)
app.command(epilog="Example: outdial migrate")(servers.migrate)
app.add_typer(backups.app, name="backup")
app.command(epilog="Example: OUTDIAL_DATA_DIR=/srv/outdial outdial restore monday.outdial")(backups.restore)
app.add_typer(applications.app, name="app")
app.add_typer(clients.app, name="client")
app.add_typer(trunks.app, name="trunk")
app.add_typer(flows.app, name="flow")
app.add_typer(dnc.app, name="dnc")
app.add_typer(limits.app, name="limits")
app.add_typer(persons.app, name="person")
app.add_typer(persons.retention_app, name="retention")
app.add_typer(contacts.app, name="contacts")
app.add_typer(imports.app, name="import")
app.add_typer(campaigns.app, name="campaign")
app.command(epilog="Example: outdial simulate 'Spring calls' --lines 20 --answer-rate 0.4")(simulate.simulate)
app.add_typer(schedules.app, name="schedule")
app.add_typer(hours.app, name="hours")
app.add_typer(rules.app, name="rules")
app.add_typer(dialing_rules.app, name="dialing-rules")
app.add_typer(pre_calls.app, name="pre-call")
app.add_typer(courtesy.app, name="courtesy")
app.add_typer(webhooks.app, name="webhook")
app.add_typer(recordings.app, name="recording")
app.add_typer(machines.app, name="machines")
wide_stops.app.command(epilog="Example: outdial stop report 'Spring calls' --output stop.json")(stops.report)
wide_stops.app.command("never-reached", epilog="Example: outdial stop never-reached 'Spring calls' people.csv")(
    stops.never_reached
)
app.add_typer(wide_stops.app, name="stop")
app.command(epilog="Example: outdial emergency-stop --reason 'wrong recording'")(wide_stops.emergency_stop)
app.command("verify-stop", epilog="Example: outdial verify-stop stop.json --key key.pem")(stops.verify_stop)
app.command(epilog="Example: outdial explain 'Spring calls' +15550100001 --at 2026-12-24T20:30")(explain)
app.add_typer(history.app, name="history")
app.add_typer(compliance.app, name="compliance")
app.command("verify-archive", epilog="Example: outdial verify-archive evidence.tar --key key.pem")(
    compliance.verify_archive
)
app.add_typer(keys.app, name="keys")
app.add_typer(engines.app, name="engine")
app.command(epilog="Example: outdial token --client-id cs-… --hours 8")(applications.token)
app.command(epilog="Example: outdial config --json")(settings.config)
app.command(epilog="Example: outdial doctor")(doctor)
