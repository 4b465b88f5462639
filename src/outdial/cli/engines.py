"""``outdial engine``: what places the calls, and the word that one is gone for good."""

from __future__ import annotations

from typing import Annotated

import typer

from outdial.cli import output
from outdial.cli.options import Json
from outdial.cli.running import actor, in_context
from outdial.context import Context
from outdial.services import engines
from outdial.services.engines import EngineRow

app = typer.Typer(help="Engines: what places the calls.", no_args_is_help=True)


@app.command("list", epilog="Example: outdial engine list")
def list_(*, as_json: Json = False) -> None:
    """List engines, who uses them, and when each was heard of last."""

    async def work(context: Context) -> list[EngineRow]:
        return await engines.list_engines(context.database)

    found = in_context(work)
    if as_json:
        output.print_json(found)
    else:
        output.print_table(
            ("id", "kind", "address", "used by", "last heard of", "retired"),
            (
                (
                    each.id,
                    each.kind,
                    each.url or "–",
                    " ".join(each.node_names) or "nobody",
                    output.time_text(each.seen_at),
                    output.time_text(each.retired_at),
                )
                for each in found
            ),
            empty="No engine has served yet; `outdial serve` starts one.",
        )


@app.command("retire", epilog="Example: outdial engine retire ast-11111111-2222-4333-8444-555555555555")
def retire(
    engine_id: Annotated[str, typer.Argument(metavar="ENGINE", help="Its id, as `outdial engine list` shows it.")],
    *,
    as_json: Json = False,
) -> None:
    """State that an engine is gone for good, so that no stop waits for its answer.

    Only for a machine that certainly does not run any more: a stop takes your word that nothing rings there. A dialer
    that uses the engine again takes it back into service.
    """

    async def work(context: Context) -> EngineRow:
        return await engines.retire_engine(context.database, engine_id, actor=actor())

    retired = in_context(work)
    if as_json:
        output.print_json(retired)
    else:
        output.say(f"Engine {retired.id} is retired: no stop waits for it any more.")
