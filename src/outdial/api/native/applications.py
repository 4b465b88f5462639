"""The application of the token, and its API clients."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from outdial.api.auth import Caller
from outdial.api.body import read_json
from outdial.api.json_reply import JsonReply
from outdial.api.links import Link
from outdial.api.native.bodies import ApplicationBody, ClientBody, NewClientBody, NoBody, RotateBody
from outdial.api.native.routes import Operation, Routes
from outdial.api.native.views import (
    All,
    ApplicationView,
    ClientSecretView,
    ClientView,
    application_view,
    client_view,
)
from outdial.api.parts import ApiParts
from outdial.api.problems import parse
from outdial.core.model import Scope
from outdial.services import access, clients
from outdial.services.access import UNCHANGED

_APPLICATION: Final = ApplicationView(
    iid="st-11111111-2222-4333-8444-555555555555",
    name="Reminders",
    account_id="0123456789abcdef01234567",
    account_name="Acme",
    max_concurrent_calls=30,
)
_CLIENT: Final = ClientView(
    id="cs-22222222-2222-4333-8444-555555555555",
    name="crm",
    scopes=["campaign_management"],
    require_jti=False,
    created_at=datetime(2026, 3, 1, 10, tzinfo=UTC),
    revoked_at=None,
    previous_secret_valid_until=None,
)
_SECRET: Final = ClientSecretView(client=_CLIENT, secret="mWZ0…")  # noqa: S106 - an example


_FORBIDDEN: Final = frozenset({403})
_NEW_CLIENT: Final = {"path.clientId": "$response.body#/client/id"}
_AFTER_CLIENT: Final = (
    Link("get_clients_clientId", "The client.", _NEW_CLIENT),
    Link("patch_clients_clientId", "Change the client.", _NEW_CLIENT),
    Link("post_clients_clientId_rotate", "Give it a new secret.", _NEW_CLIENT),
    Link("post_clients_clientId_revoke", "Let it in no more.", _NEW_CLIENT),
)


class ApplicationRoutes:
    """The application and its clients."""

    def __init__(self, parts: ApiParts) -> None:
        self._database = parts.database
        self._secrets = parts.secrets

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        scope = Scope.CONFIGURATION
        one = "/clients/{clientId}"
        for method, path, endpoint, operation in (
            ("GET", "/application", self.get, Operation("Get the application", scope, ApplicationView, _APPLICATION)),
            (
                "PATCH",
                "/application",
                self.change,
                Operation("Change the application", scope, ApplicationView, _APPLICATION, ApplicationBody),
            ),
            (
                "GET",
                "/clients",
                self.clients,
                Operation("List API clients", scope, All[ClientView], All(results=[_CLIENT])),
            ),
            (
                "POST",
                "/clients",
                self.create_client,
                Operation(
                    "Make an API client",
                    scope,
                    ClientSecretView,
                    _SECRET,
                    NewClientBody,
                    refused=_FORBIDDEN,
                    links=_AFTER_CLIENT,
                ),
            ),
            ("GET", one, self.client, Operation("Get an API client", scope, ClientView, _CLIENT)),
            (
                "PATCH",
                one,
                self.change_client,
                Operation("Change an API client", scope, ClientView, _CLIENT, ClientBody, refused=_FORBIDDEN),
            ),
            (
                "POST",
                f"{one}/rotate",
                self.rotate,
                Operation(
                    "Give an API client a new secret", scope, ClientSecretView, _SECRET, RotateBody, refused=_FORBIDDEN
                ),
            ),
            (
                "POST",
                f"{one}/revoke",
                self.revoke,
                Operation("Revoke an API client", scope, ClientView, _CLIENT, NoBody),
            ),
        ):
            routes.add(method, path, endpoint, operation)

    async def get(self, _request: Request, caller: Caller) -> Response:
        """Return the application whose client asks."""
        return JsonReply(application_view(await access.get_application(self._database, caller.iid)))

    async def change(self, request: Request, caller: Caller) -> Response:
        """Change its name or its ceiling of calls at once; live runs heed the ceiling at once."""
        body = parse(ApplicationBody, await read_json(request))
        given = body.model_fields_set
        changed = await access.change_application(
            self._database,
            caller.iid,
            name=body.name if "name" in given else None,
            max_concurrent_calls=body.max_concurrent_calls if "max_concurrent_calls" in given else UNCHANGED,
            actor=caller.client_id,
        )
        return JsonReply(application_view(changed))

    async def clients(self, _request: Request, caller: Caller) -> Response:
        """Return the application's clients, revoked ones too, oldest first; never their secrets."""
        found = await clients.list_clients(self._database, caller.iid)
        return JsonReply(All(results=[client_view(client) for client in found]))

    async def create_client(self, request: Request, caller: Caller) -> Response:
        """Make a client. Its secret is shown this once. Nobody can give a scope that he does not have: 403."""
        body = parse(NewClientBody, await read_json(request))
        made = await clients.create_client(
            self._database,
            self._secrets,
            iid=caller.iid,
            name=body.name,
            scopes=frozenset(body.scopes),
            require_jti=body.require_jti,
            granting=caller.scopes,
            actor=caller.client_id,
        )
        return JsonReply(ClientSecretView(client=client_view(made.client), secret=made.secret))

    async def client(self, request: Request, caller: Caller) -> Response:
        """Return a client."""
        found = await clients.get_client(self._database, caller.iid, request.path_params["clientId"])
        return JsonReply(client_view(found))

    async def change_client(self, request: Request, caller: Caller) -> Response:
        """Change a client's name, its scopes, or whether each of its tokens serves once (`requireJti`: they then need a
        `jti` and an `exp` within 24 hours). It counts from the next request on."""
        body = parse(ClientBody, await read_json(request))
        given = body.model_fields_set
        changed = await clients.change_client(
            self._database,
            iid=caller.iid,
            client_id=request.path_params["clientId"],
            name=body.name if "name" in given else None,
            scopes=frozenset(body.scopes) if "scopes" in given else None,
            require_jti=body.require_jti if "require_jti" in given else None,
            granting=caller.scopes,
            actor=caller.client_id,
        )
        return JsonReply(client_view(changed))

    async def rotate(self, request: Request, caller: Caller) -> Response:
        """Give a client a new secret, shown this once. The old one stays good for `overlapSeconds` too, at most a week;
        0, also when left out: not at all."""
        body = parse(RotateBody, await read_json(request))
        rotated = await clients.rotate_secret(
            self._database,
            self._secrets,
            iid=caller.iid,
            client_id=request.path_params["clientId"],
            overlap_seconds=body.overlap_seconds,
            granting=caller.scopes,
            actor=caller.client_id,
        )
        return JsonReply(ClientSecretView(client=client_view(rotated.client), secret=rotated.secret))

    async def revoke(self, request: Request, caller: Caller) -> Response:
        """Let a client in no more, from the next request on. It cannot be taken back."""
        parse(NoBody, await read_json(request))
        revoked = await clients.revoke_client(
            self._database, iid=caller.iid, client_id=request.path_params["clientId"], actor=caller.client_id
        )
        return JsonReply(client_view(revoked))
