"""Who may come in: the vendor's three headers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from outdial.api.auth import INVALID_CREDENTIALS, Caller, authenticate
from outdial.api.headers import header
from outdial.api.idempotency import Idempotency
from outdial.api.query import query_choice, query_values
from outdial.api.ratelimit import RateLimiter
from outdial.core.errors import NotBuiltError, UnauthorizedError
from outdial.core.model import Scope
from outdial.secretbox import SecretBox
from outdial.store.database import Database

KINDS: Final = ("voice", "sms")
"""What ``campaignType`` may be."""

_CALLER: Final = "outdial.caller"
"""In a request's scope, who was let in."""


@dataclass(frozen=True, slots=True)
class Door:
    """Admits requests to the vendor's surface."""

    database: Database
    secrets: SecretBox
    limiter: RateLimiter
    idempotency: Idempotency

    async def once(self, request: Request, act: Callable[[Request], Awaitable[Response]]) -> Response:
        """Act on a request that changes something, at most once for each key its client gives."""
        caller = await self.admit(request)
        return await self.idempotency.once(request, caller.client_id, act)

    async def admit(self, request: Request, *, limited: bool = True) -> Caller:
        """Return who asks. Raises UnauthorizedError unless token, path, ``iid`` and ``accountId`` all agree, and for
        different tokens at once, and RateLimitedError; headers that older documents omit may be absent, but never
        wrong. Who is in is not asked again."""
        return await self._admit(request, application=request.path_params["iid"], limited=limited)

    async def admit_to_account(self, request: Request) -> Caller:
        """The same where the path names the account and not the application, which is then the token's own."""
        return await self._admit(request, account=request.path_params["accountId"])

    async def _admit(
        self, request: Request, *, application: str | None = None, account: str | None = None, limited: bool = True
    ) -> Caller:
        known: Caller | None = request.scope.get(_CALLER)
        if known is not None:
            return known
        tokens = {*header(request, b"auth")}
        if len(tokens) > 1:
            raise UnauthorizedError(INVALID_CREDENTIALS)
        token = next(iter(tokens), None)
        caller = await authenticate(self.database, self.secrets, token, Scope.CAMPAIGN_MANAGEMENT)
        applications = {*header(request, b"iid")} | ({application} if application is not None else set())
        accounts = {*header(request, b"accountid"), *query_values(request, "accountId")}
        accounts |= {account} if account is not None else set()
        if not applications <= {caller.iid} or not accounts <= {caller.account_id}:
            raise UnauthorizedError(INVALID_CREDENTIALS)
        if limited:
            await self.limiter.admit(caller.account_id)
        request.scope[_CALLER] = caller
        return caller


def is_stop(request: Request) -> bool:
    """Whether a trigger asks for a stop: people's phones come before our load and our book-keeping."""
    return set(query_values(request, "trigger")) == {"stop"}


def require_voice(request: Request) -> None:
    """Refuse what is not a voice campaign: NotBuiltError for SMS, BadRequestError for anything else."""
    if query_choice(request, "campaignType", KINDS) == "sms":
        raise no_sms()


def no_sms() -> NotBuiltError:
    """Return the refusal of SMS campaigns."""
    return NotBuiltError("SMS campaigns are not offered: outdial runs voice campaigns, `campaignType=voice`.")
