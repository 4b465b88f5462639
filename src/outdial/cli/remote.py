"""``outdial campaign … --server`` and others: the same from another machine, over the API, without a database.

The client is imported only when it is used: half the commands' time would go into loading it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import msgspec
import typer

from outdial.cli import output
from outdial.core.errors import ConflictError, InvalidInputError, NotFoundError, OutdialError
from outdial.core.model import ConnectedCalls, RingingCalls

if TYPE_CHECKING:
    from outdial.client import AddedNumbers, Campaign, Client

IID_VARIABLE: Final = "OUTDIAL_IID"
"""Read for ``--server`` only: a command on the database here must not be narrowed by it."""

_RUN: Final = "cid-"
_ID: Final = re.compile(r"cd-[0-9a-f-]{35}")

Server: TypeAlias = Annotated[
    str | None,
    typer.Option("--server", metavar="URL", help="Ask the server there over its API instead of the database here."),
]
ServerIid: TypeAlias = Annotated[
    str | None,
    typer.Option("--iid", metavar="IID", help=f"With --server: the application; also read from {IID_VARIABLE}."),
]
ClientId: TypeAlias = Annotated[
    str | None,
    typer.Option("--client-id", envvar="OUTDIAL_CLIENT_ID", metavar="ID", help="With --server: who asks."),
]
ClientSecret: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--client-secret",
        envvar="OUTDIAL_CLIENT_SECRET",
        metavar="SECRET",
        help="With --server: its secret. Better in the variable: others see what is on a command line.",
    ),
]


class ServerRefusedError(OutdialError):
    """The server that ``--server`` names refused, or could not be asked; its own sentences say why."""

    code = "server_refused"

    def __init__(self, sentences: tuple[str, ...]) -> None:
        super().__init__("; ".join(sentences))
        self._sentences = sentences

    @property
    def messages(self) -> tuple[str, ...]:
        return self._sentences


@dataclass(frozen=True, slots=True)
class Access:
    """A server, and as whom it is asked."""

    url: str
    iid: str
    client_id: str
    client_secret: str = field(repr=False)


def access(server: str | None, iid: str | None, client_id: str | None, client_secret: str | None) -> Access | None:
    """Return whom to ask, None for the database here. Raises BadParameter that names what is missing."""
    if server is None:
        return None
    iid = iid or os.environ.get(IID_VARIABLE)
    needed = {
        f"--iid or {IID_VARIABLE}": iid,
        "--client-id or OUTDIAL_CLIENT_ID": client_id,
        "--client-secret or OUTDIAL_CLIENT_SECRET": client_secret,
    }
    missing = [name for name, value in needed.items() if not value]
    if not (iid and client_id and client_secret):
        raise typer.BadParameter(f"--server needs {', '.join(missing)} too.")
    return Access(server, iid, client_id, client_secret)


def only_with_server(iid: str | None) -> None:
    """Raise BadParameter for an ``--iid`` that would have no effect."""
    if iid is not None:
        raise typer.BadParameter("--iid says which application of a --server; without one the campaign alone says it.")


@contextmanager
def _asking(told: Access) -> Iterator[Client]:
    from outdial.client import Client, ClientError  # noqa: PLC0415 - see above

    try:
        client = Client(told.url, iid=told.iid, client_id=told.client_id, client_secret=told.client_secret)
    except ValueError as error:
        raise InvalidInputError([str(error)]) from None
    with client:
        try:
            yield client
        except ClientError as error:
            named = () if error.request_id is None else (f"The server calls this request {error.request_id}.",)
            raise ServerRefusedError(error.sentences + named) from error


def _campaign_id(client: Client, text: str) -> str:
    """Return the id of the campaign with that id or exact name. Raises NotFoundError, ConflictError."""
    if _ID.fullmatch(text):
        return text
    found = [campaign.id for campaign in client.campaigns() if campaign.name == text]
    if not found:
        raise NotFoundError(f"There is no campaign with the id or name {text!r} there; see: outdial campaign list.")
    if len(found) > 1:
        raise ConflictError(f"{len(found)} campaigns are named {text!r}; give the id of one: {', '.join(found)}.")
    return found[0]


def list_campaigns(told: Access, *, as_json: bool) -> None:
    """Print the application's campaigns."""
    with _asking(told) as client:
        found = list(client.campaigns())
    if as_json:
        output.print_json(msgspec.to_builtins(found))
        return
    output.print_table(
        ("name", "id", "status", "mode", "contact lists", "changed"),
        (
            (
                each.name,
                each.id,
                each.status,
                each.dialing_mode.lower(),
                ", ".join(each.contact_lists),
                output.time_text(each.updated_at),
            )
            for each in found
        ),
        empty="The application has no campaign yet.",
    )


def show_campaign(told: Access, text: str, *, as_json: bool) -> None:
    """Print a campaign."""
    with _asking(told) as client:
        found = client.get_campaign(_campaign_id(client, text))
    if as_json:
        output.print_json(msgspec.to_builtins(found))
    else:
        output.print_fields(_definition(found))


def start_campaign(told: Access, text: str, *, as_json: bool) -> None:
    """Start a campaign and print its run."""
    with _asking(told) as client:
        started = client.start(_campaign_id(client, text))
    if as_json:
        output.print_json(msgspec.to_builtins(started))
    else:
        output.say(f"Run {started.campaign_instance_id} started, {output.time_text(started.updated_at)}.")


def stop_campaign(
    told: Access,
    text: str,
    *,
    ringing: RingingCalls,
    connected: ConnectedCalls,
    keep_schedule: bool,
    as_json: bool,
) -> None:
    """Stop a campaign, wait for the proof, and print it."""
    with _asking(told) as client:
        try:
            stopped = client.stop(
                _campaign_id(client, text),
                ringing=ringing.value,
                connected=connected.value,
                keep_schedule=keep_schedule,
            )
        except KeyboardInterrupt:
            output.note("Interrupted: a stop that has arrived goes on there; ask again for the proof.")
            raise
    if as_json:
        output.print_json(msgspec.to_builtins(stopped))
    else:
        run = f"Run {stopped.campaign_instance_id}" if stopped.campaign_instance_id else "The schedule"
        output.say(f"{run} stopped, {output.time_text(stopped.updated_at)}. No further call of it can leave.")


def explained(told: Access, run: str, contact: str, at: datetime | None) -> dict[str, Any]:
    """Return why a contact is called, or why not, in a run or in the latest run of a campaign."""
    with _asking(told) as client:
        try:
            if run.startswith(_RUN):
                found = client.explain(contact, instance_id=run, at=at)
            else:
                found = client.explain(contact, campaign_id=_campaign_id(client, run), at=at)
        except ValueError as error:
            raise InvalidInputError([str(error)]) from None
    return _document(found)


def waterfall(told: Access, run: str) -> dict[str, Any]:
    """Return what has become of the contacts of a run, or of the latest run of a campaign."""
    with _asking(told) as client:
        return _document(client.waterfall(_instance_id(client, run)))


def called_now(told: Access, run: str, contact: str) -> dict[str, Any]:
    """Have a contact of a run, or of the latest run of a campaign, called now; return what became of that."""
    with _asking(told) as client:
        try:
            return _document(client.call_now(_instance_id(client, run), contact))
        except ValueError as error:
            raise InvalidInputError([str(error)]) from None


def add_numbers(told: Access, list_name: str | None, file: bytes, **described: Any) -> AddedNumbers:
    """Put the numbers of a file on the account's own do-not-call list, or on the one of that name, and return what
    became of them; ``described`` is said of the file as the client takes it. Raises NotFoundError."""
    with _asking(told) as client:
        for found in client.dnc_lists():
            if found.account_wide if list_name is None else not found.account_wide and found.name == list_name:
                break
        else:
            raise NotFoundError(f"There is no do-not-call list named {list_name!r} there.")
        try:
            return client.add_dnc_file(found.id, file, **described)
        except KeyboardInterrupt:
            output.note(
                "Interrupted: a file that has arrived is added there to its end; send it again to see how it ends."
            )
            raise


def _instance_id(client: Client, run: str) -> str:
    """Return the id of a run, or of the latest run of a campaign. Raises NotFoundError, ConflictError."""
    if run.startswith(_RUN):
        return run
    campaign = client.get_campaign(_campaign_id(client, run))
    if campaign.campaign_instance_id is None:
        raise NotFoundError(f"The campaign {campaign.name!r} has never run.")
    return campaign.campaign_instance_id


def _document(answer: Any) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.to_builtins(answer)
    return made


def _definition(campaign: Campaign) -> Mapping[str, object]:
    strategy = campaign.dialing_strategy
    shown: dict[str, object] = {
        "campaign": campaign.name,
        "id": campaign.id,
        "status": campaign.status,
        "mode": campaign.dialing_mode.lower(),
        "contact lists": ", ".join(campaign.contact_lists),
        "do-not-call list": "the account's only" if campaign.dnc_lists is None else campaign.dnc_lists.name,
        "latest run": campaign.campaign_instance_id or "–",
    }
    if strategy is not None:
        hours = strategy.calling_hours
        tries = f"{strategy.max_attempts_per_record}, {strategy.default_retry_period} min apart"
        shown |= {
            "caller ID": strategy.caller_id.phone_number,
            "calling hours": f"{len(hours.days)} windows a week, {hours.timezone}",
            "attempts": f"{tries}, ringing {strategy.max_ring_time} s",
        }
    return {**shown, "created": output.time_text(campaign.created_at)}
