"""``outdial keys``: the keys that reports are signed with."""

from __future__ import annotations

from typing import Annotated

import typer

from outdial import signing
from outdial.cli import output
from outdial.cli.options import Json
from outdial.cli.running import actor, in_context
from outdial.context import Context
from outdial.core.errors import NotFoundError
from outdial.services import signing_keys
from outdial.services.signing_keys import SigningKey

app = typer.Typer(no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keys that reports of stops are signed with: show the public halves, replace the one in use."""


@app.command(epilog="Example: outdial keys show --pem")
def show(
    *,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="Only this one: the first digits of its id do.")
    ] = None,
    pem: Annotated[
        bool, typer.Option("--pem", help="Print the public key alone, for a file: of the key in use, or of --key.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the public keys: the one in use first, then those that were, whose signatures can still be checked.

    A key's id is the SHA-256 of its public half. The first key is made here, if no server has made it.
    Exit code 0, or 1 when there is no such key.
    """

    async def work(context: Context) -> list[SigningKey]:
        return await signing_keys.every(context.database, context.secrets)

    found = [one for one in in_context(work) if one.id.startswith(key or "")]
    if not found:
        raise NotFoundError(f"There is no signing key whose id begins with {key}.")
    if as_json:
        output.print_json([_document(one) for one in found])
    elif pem:
        output.say(signing.public_pem(found[0].public).strip())
    else:
        for one in found:
            until = "in use" if one.retired_at is None else f"until {output.time_text(one.retired_at)}"
            output.say(f"{one.id}  since {output.time_text(one.created_at)}, {until}")
            output.say(signing.public_pem(one.public))


@app.command(epilog="Example: outdial keys rotate")
def rotate(*, as_json: Json = False) -> None:
    """Sign with a new key from now on. The old one is kept to check what it has signed; nobody signs with it again."""

    async def work(context: Context) -> SigningKey:
        return await signing_keys.rotate(context.database, context.secrets, actor=actor())

    made = in_context(work)
    if as_json:
        output.print_json(_document(made))
    else:
        output.say(f"Reports are signed by {made.id} from now on.")


def _document(key: SigningKey) -> dict[str, object]:
    return {
        "id": key.id,
        "algorithm": signing.ALGORITHM,
        "publicKey": signing.to_text(key.public),
        "pem": signing.public_pem(key.public),
        "createdAt": key.created_at,
        "retiredAt": key.retired_at,
    }
