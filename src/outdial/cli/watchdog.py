"""``outdial watchdog``, ``outdial alarms``."""

from __future__ import annotations

from typing import Annotated, Final

import typer
import uvloop

from outdial.cli import output
from outdial.cli.options import Json, account_id
from outdial.cli.running import in_context, prepare
from outdial.config import Settings
from outdial.context import Context, open_context
from outdial.core.phone import mask
from outdial.core.watch import SENTENCES
from outdial.serve import until_signal
from outdial.store import watch as store
from outdial.store.watch import Alarm
from outdial.watchdog.watching import required_port, watching

MOST_SHOWN: Final = 1000


def watchdog(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print each alarm as a line of JSON.")] = False
) -> None:
    """Watch what the engines send, apart from what dials; alarm and fence where a call should not have left.

    Judged is every INVITE that begins a call: for a stopped run, for a number on a do-not-call list, without a permit
    or an attempt. The engines' Asterisks tell of their SIP traffic by HEP at OUTDIAL_WATCHDOG_PORT; a managed one does
    so by itself when that is set for it too. Alarms go to standard output, the log, /metrics, the table of alarms, and
    OUTDIAL_WATCHDOG_WEBHOOK. Ctrl-C or SIGTERM ends it, exit code 0; 1 when it cannot start.
    """
    uvloop.run(_watch(prepare(quiet=False), as_json=as_json))


async def _watch(settings: Settings, *, as_json: bool) -> None:
    required_port(settings)

    def tell(alarm: Alarm) -> None:
        if as_json:
            output.print_json(alarm)
        else:
            output.say(_sentence(alarm))

    with until_signal():
        async with open_context(settings) as context, watching(context, on_alarm=tell) as running:
            where = f"{running.host} port {running.port}"
            output.note(f"The watchdog hears HEP on UDP {where}; /metrics and /ready on TCP. Ctrl-C ends it.")
            await running.until_failed()


def _sentence(alarm: Alarm) -> str:
    removed = sum(len(names) for names in alarm.fence["removed"].values())
    done = f"{removed} permits removed." if not alarm.fence["problems"] else " ".join(alarm.fence["problems"])
    return (
        f"ALARM {alarm.id} {', '.join(alarm.breaches)}: {SENTENCES[alarm.breaches[0]]} Number {mask(alarm.number)}, "
        f"Call-ID {alarm.call_id}. {done}"
    )


def alarms(
    *,
    account: Annotated[
        str | None,
        typer.Option("--account", metavar="NAME", help="Only those of an account, by name or id; else of everybody."),
    ] = None,
    after: Annotated[
        int, typer.Option("--after", metavar="ID", min=0, help="Only those after the alarm of that id.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """List what the watchdog has raised, the oldest first: at most a thousand, `--after` shows those that follow.

    Each is evidence: nothing changes or deletes it, and the history of its account holds a row about it.
    """

    async def work(context: Context) -> list[Alarm]:
        whose = None if account is None else await account_id(context.database, account)
        async with context.database.connection() as connection:
            return await store.alarms(connection, account_id=whose, after=after, limit=MOST_SHOWN)

    found = in_context(work)
    if as_json:
        output.print_json(found)
    else:
        output.print_table(
            ("id", "sent", "breaches", "run", "number", "engine", "Call-ID", "permits removed"),
            (
                (
                    each.id,
                    output.time_text(each.sent_at),
                    " ".join(each.breaches),
                    each.run_id or "–",
                    each.number,
                    each.engine_name or "–",
                    each.call_id,
                    sum(len(names) for names in each.fence["removed"].values()),
                )
                for each in found
            ),
            empty="The watchdog has raised no alarm.",
        )
