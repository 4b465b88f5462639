"""``outdial explain``: why a contact is called, why not, and when next; and why nothing is dialing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from outdial.cli import output, remote
from outdial.cli.options import Json
from outdial.cli.remote import ClientId, ClientSecret, Server, ServerIid
from outdial.cli.running import in_context
from outdial.context import Context
from outdial.core.canonical import Json as Document
from outdial.services import campaigns, explanations
from outdial.services.explanation_text import (
    explained_document,
    explained_text,
    waterfall_document,
    waterfall_text,
)
from outdial.services.stop_lookup import find_run

_RUN: Final = "cid-"
_AT: Final = ("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")


def explain(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="The run, cid-…; or its campaign, id or name, for the latest.")
    ],
    contact: Annotated[
        str | None,
        typer.Argument(
            metavar="CONTACT", help="Its number, or its id in the run, cdl-…; without, the whole run is explained."
        ),
    ] = None,
    *,
    at: Annotated[
        datetime | None, typer.Option(formats=list(_AT), metavar="TIME", help="Of a contact: UTC; without, now.")
    ] = None,
    server: Server = None,
    iid: ServerIid = None,
    client_id: ClientId = None,
    client_secret: ClientSecret = None,
    as_json: Json = False,
) -> None:
    """Say why a contact is called, why not, and when next; or, of a whole run, why nothing is dialing.

    Of a contact: each rule, what it looked at and by which version of its data, and the smallest change that would
    alter its answer; then what was decided and done before. An instant to come is told by what holds now, one that has
    passed by what was decided then. Of a run: from all of its contacts to those that may be dialed now, step by step.
    """
    if at is not None and contact is None:
        raise typer.BadParameter("--at goes with a CONTACT: a whole run is explained as it is now.")
    moment = None if at is None else at.replace(tzinfo=UTC)
    if moment is not None and not explanations.may_be_asked_about(moment):
        raise typer.BadParameter("--at must lie between 2000-01-01 and a year from now.")
    told = remote.access(server, iid, client_id, client_secret)
    if told is not None:
        document = remote.waterfall(told, run) if contact is None else remote.explained(told, run, contact, moment)
    else:
        remote.only_with_server(iid)
        document = _waterfall(run) if contact is None else _explained(run, contact, moment)
    if as_json:
        output.print_json(document)
    else:
        output.say((waterfall_text if contact is None else explained_text)(document).rstrip("\n"))


def _explained(run: str, contact: str, at: datetime | None) -> dict[str, Document]:
    async def work(context: Context) -> dict[str, Document]:
        if run.startswith(_RUN):
            named = await find_run(context.database, run)
            return explained_document(await explanations.explain_contact(context.database, named, contact, at=at))
        found = await campaigns.find_campaign(context.database, run)
        return explained_document(
            await explanations.explain_in_campaign(
                context.database, iid=found.iid, campaign_id=found.id, contact=contact, at=at
            )
        )

    return in_context(work)


def _waterfall(run: str) -> dict[str, Document]:
    async def work(context: Context) -> dict[str, Document]:
        found = await find_run(context.database, run)
        return waterfall_document(found.instance_id, await explanations.waterfall_of(context.database, found))

    return in_context(work)
