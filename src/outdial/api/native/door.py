"""Who may come in to outdial's own surface: a client whose token has the scope."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr
from starlette.requests import Request

from outdial.api.auth import INVALID_CREDENTIALS, Caller, authenticate
from outdial.api.idempotency import Idempotency
from outdial.api.ratelimit import RateLimiter
from outdial.core.errors import UnauthorizedError
from outdial.core.model import Scope
from outdial.secretbox import SecretBox
from outdial.store.database import Database

_BEARER: Final = "bearer "


@dataclass(frozen=True, slots=True)
class Door:
    """Admits requests."""

    database: Database
    secrets: SecretBox
    limiter: RateLimiter
    idempotency: Idempotency

    async def admit(self, request: Request, scope: Scope | None, *, limited: bool) -> Caller:
        """Return who asks. Raises UnauthorizedError and RateLimitedError."""
        assert scope is not None  # noqa: S101 - only the operator's endpoints have none
        caller = await authenticate(self.database, self.secrets, _token(request), scope)
        if limited:
            await self.limiter.admit(caller.account_id)
        return caller


OPERATOR: Final = Caller(client_id="operator", iid="", account_id="", scopes=frozenset())


@dataclass(frozen=True, slots=True)
class OperatorDoor(Door):
    """Admits whoever runs the installation, by the token of its settings; without one nobody."""

    operator_token: SecretStr | None

    async def admit(self, request: Request, scope: Scope | None, *, limited: bool) -> Caller:
        """Return the operator, who is no tenant's. Raises UnauthorizedError."""
        del scope, limited
        given = _token(request)
        known = None if self.operator_token is None else self.operator_token.get_secret_value()
        if known is None or given is None or not hmac.compare_digest(given.encode(), known.encode()):
            raise UnauthorizedError(INVALID_CREDENTIALS)
        return OPERATOR


def _token(request: Request) -> str | None:
    """Return the token of the header ``auth``, or of ``Authorization: Bearer``; where both are given they agree."""
    given = set(request.headers.getlist("auth"))
    for header in request.headers.getlist("authorization"):
        if header[: len(_BEARER)].lower() != _BEARER:
            raise UnauthorizedError(INVALID_CREDENTIALS)
        given.add(header[len(_BEARER) :].strip())
    if len(given) > 1:
        raise UnauthorizedError(INVALID_CREDENTIALS)
    return given.pop() if given else None
