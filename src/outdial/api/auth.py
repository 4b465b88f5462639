"""Who asks: a JSON Web Token signed by an API client with its secret.

HS256 only; the claim ``appId`` names the client, ``exp``, ``nbf`` and ``iat`` are honoured where present. What is
wrong is said in three sentences only, those that clients of this API know, so that nobody can learn from an answer
which clients, applications or accounts exist.
"""

from __future__ import annotations

import secrets as randomness
from dataclasses import dataclass
from typing import Any, Final

import jwt

from outdial import clock
from outdial.core.errors import UnauthorizedError
from outdial.secretbox import SecretBox
from outdial.services import access
from outdial.store.database import Database

INVALID_CREDENTIALS: Final = "Invalid SDK credentials"
"""No token, or one that does not belong to this client, application or account."""
INVALID_TOKEN: Final = "Invalid JWT token"  # noqa: S105  a sentence
"""The token cannot be read, is of another algorithm, or is not valid now."""
WRONG_SCOPE: Final = "Permission denied. Scope is incorrect!"

CAMPAIGN_SCOPE: Final = "campaign_management"
LONGEST_TOKEN: Final = 8192
"""Characters; a token holds two claims and rarely reaches 300."""
CLOCK_SKEW_SECONDS: Final = 30
"""How far a client's clock may be ahead of ours in ``nbf`` and ``iat``. ``exp`` gets no such grace."""

_NOBODY: Final = randomness.token_urlsafe(48)
"""Secret of clients that do not exist: refusing them takes the same work as refusing a wrong signature."""

_UNREADABLE: Final = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)
"""What PyJWT raises over hostile tokens; not all of it is its own (``exp`` of infinity, a payload nested for ever)."""


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated API client, bound to its application."""

    client_id: str
    iid: str
    account_id: str


async def authenticate(database: Database, secrets: SecretBox, token: str | None) -> Caller:
    """Return the client that signed the token; raise UnauthorizedError."""
    if not token:
        raise UnauthorizedError(INVALID_CREDENTIALS)
    client_id = _claimed_client(token)
    client = await access.client_access(database, secrets, client_id)
    _verify(token, _NOBODY if client is None else client.secret)
    if client is None or client.revoked:
        raise UnauthorizedError(INVALID_CREDENTIALS)
    if CAMPAIGN_SCOPE not in client.scopes:
        raise UnauthorizedError(WRONG_SCOPE)
    return Caller(client_id=client.client_id, iid=client.iid, account_id=client.account_id)


def _claimed_client(token: str) -> str:
    if len(token) > LONGEST_TOKEN:
        raise UnauthorizedError(INVALID_TOKEN)
    try:
        unverified = jwt.decode_complete(token, options={"verify_signature": False})
    except _UNREADABLE:
        raise UnauthorizedError(INVALID_TOKEN) from None
    if unverified["header"].get("alg") != "HS256":
        raise UnauthorizedError(INVALID_TOKEN)
    client_id = unverified["payload"].get("appId")
    if not isinstance(client_id, str):
        raise UnauthorizedError(INVALID_CREDENTIALS)
    return client_id


def _verify(token: str, secret: str) -> None:
    """Check signature and times; the signature is compared in constant time."""
    try:
        claims = jwt.decode(
            token,
            secret,
            algorithms=["HS256"],
            leeway=CLOCK_SKEW_SECONDS,
            # any subject and audience will do: clients put what they like there
            options={"verify_aud": False, "verify_iss": False, "verify_sub": False, "verify_jti": False},
        )
        expired = _is_past(claims)
    except jwt.InvalidSignatureError:
        raise UnauthorizedError(INVALID_CREDENTIALS) from None
    except _UNREADABLE:
        raise UnauthorizedError(INVALID_TOKEN) from None
    if expired:
        raise UnauthorizedError(INVALID_TOKEN)


def _is_past(claims: dict[str, Any]) -> bool:
    return "exp" in claims and int(claims["exp"]) <= clock.now().timestamp()
