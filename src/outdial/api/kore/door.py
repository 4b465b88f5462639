"""Who may come in: the vendor's three headers, and its query parameters read strictly."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from outdial.api.auth import INVALID_CREDENTIALS, Caller, authenticate
from outdial.api.idempotency import Idempotency
from outdial.api.ratelimit import RateLimiter
from outdial.core.errors import BadRequestError, NotBuiltError, UnauthorizedError
from outdial.core.model import Scope
from outdial.secretbox import SecretBox
from outdial.store.database import Database


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
        """Return who asks. Raises UnauthorizedError unless token, path, ``iid`` and ``accountId`` all agree, and
        RateLimitedError; headers that older documents omit may be absent, but never wrong. Who is in is not asked
        again."""
        known: Caller | None = getattr(request.state, "caller", None)
        if known is not None:
            return known
        caller = await authenticate(self.database, self.secrets, request.headers.get("auth"), Scope.CAMPAIGN_MANAGEMENT)
        applications = {request.path_params["iid"], *request.headers.getlist("iid")}
        accounts = {*request.headers.getlist("accountid"), *request.query_params.getlist("accountId")}
        if applications != {caller.iid} or not accounts <= {caller.account_id}:
            raise UnauthorizedError(INVALID_CREDENTIALS)
        if limited:
            await self.limiter.admit(caller.account_id)
        request.state.caller = caller
        return caller


def is_stop(request: Request) -> bool:
    """Whether a trigger asks for a stop: people's phones come before our load and our book-keeping."""
    return set(request.query_params.getlist("trigger")) == {"stop"}


def query_value(request: Request, name: str) -> str | None:
    """Return a query parameter; raise BadRequestError when it is given twice with different values."""
    values = set(request.query_params.getlist(name))
    if len(values) > 1:
        raise BadRequestError(f"`{name}` is given more than once, with different values.")
    return values.pop() if values else None


def query_choice(request: Request, name: str, choices: tuple[str, ...]) -> str:
    """Return a query parameter that must be one of the choices, spelled exactly; raise BadRequestError."""
    value = query_value(request, name)
    allowed = " or ".join(f"`{choice}`" for choice in choices)
    if value is None:
        raise BadRequestError(f"`{name}` is missing from the query; it must be {allowed}.")
    if value not in choices:
        raise BadRequestError(f"`{name}` must be {allowed}, not {value[:60]!r}.")
    return value


def require_voice(request: Request) -> None:
    """Refuse what is not a voice campaign: NotBuiltError for SMS, BadRequestError for anything else."""
    if query_choice(request, "campaignType", ("voice", "sms")) == "sms":
        raise no_sms()


def no_sms() -> NotBuiltError:
    """Return the refusal of SMS campaigns."""
    return NotBuiltError("SMS campaigns are not offered: outdial runs voice campaigns, `campaignType=voice`.")


def query_number(request: Request, name: str, *, default: int, least: int, most: int) -> int:
    """Return a whole number from the query, ``default`` when it is absent or empty; raise BadRequestError."""
    value = query_value(request, name)
    if not value:
        return default
    if not (value.isascii() and value.isdigit()) or len(value) > len(str(most)) or not least <= int(value) <= most:
        raise BadRequestError(f"`{name}` must be a whole number from {least} to {most}, not {value[:60]!r}.")
    return int(value)
