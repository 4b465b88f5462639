"""Who may come in to outdial's own surface: a client whose token has the scope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

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

    async def admit(self, request: Request, scope: Scope, *, limited: bool) -> Caller:
        """Return who asks. Raises UnauthorizedError and RateLimitedError."""
        caller = await authenticate(self.database, self.secrets, _token(request), scope)
        if limited:
            await self.limiter.admit(caller.account_id)
        return caller


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
