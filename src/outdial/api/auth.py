"""Who asks: a JSON Web Token signed by an API client with its secret.

HS256 only; the claim ``appId`` names the client, ``exp``, ``nbf`` and ``iat`` are honoured where present. What is
wrong is said in three sentences only, those that clients of this API know, so that nobody can learn from an answer
which clients, applications or accounts exist.
"""

from __future__ import annotations

import hashlib
import json
import secrets as randomness
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import jwt

from outdial import clock
from outdial.core.errors import UnauthorizedError
from outdial.core.model import Scope
from outdial.secretbox import SecretBox
from outdial.services import clients
from outdial.services.clients import ClientAccess
from outdial.services.fields import is_storable
from outdial.store.database import Database

INVALID_CREDENTIALS: Final = "Invalid SDK credentials"
"""No token, or one that does not belong to this client, application or account."""
INVALID_TOKEN: Final = "Invalid JWT token"  # noqa: S105  a sentence
"""The token cannot be read, is of another algorithm, or is not valid now."""
WRONG_SCOPE: Final = "Permission denied. Scope is incorrect!"

LONGEST_TOKEN: Final = 8192
"""Characters; a token holds two claims and rarely reaches 300."""
CLOCK_SKEW_SECONDS: Final = 30
"""How far a client's clock may be ahead of ours in ``nbf`` and ``iat``. ``exp`` gets no such grace."""

LONGEST_JTI: Final = 256
"""Characters."""
LONGEST_ONE_TIME: Final = timedelta(hours=24)
"""How far ahead ``exp`` may lie where each token serves once: its id is remembered until then, and no longer."""

MOST_PROVEN: Final = 1024
"""Tokens whose signature is not checked again; each takes about a kilobyte."""

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
    scopes: frozenset[str]


async def authenticate(database: Database, secrets: SecretBox, token: str | None, scope: Scope) -> Caller:
    """Return the client that signed the token and has the scope; raise UnauthorizedError.

    The client is read anew for each request, so what is revoked, rotated or taken away counts at once. Raises
    WrongSecretKeyError when its secret was stored under another key.
    """
    if not token:
        raise UnauthorizedError(INVALID_CREDENTIALS)
    name = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
    proven = _proven.get(name)
    client_id = _claimed_client(token) if proven is None else proven.client_id
    client = await clients.client_access(database, secrets, client_id)
    if proven is not None and client is not None and proven.encrypted in client.encrypted:
        claims = proven.claims
        if _is_past(claims):
            raise UnauthorizedError(INVALID_TOKEN)
    else:
        claims = _prove(name, token, client_id, client)
    if client is None or client.revoked:
        raise UnauthorizedError(INVALID_CREDENTIALS)
    if scope not in client.scopes:
        raise UnauthorizedError(WRONG_SCOPE)
    if client.require_jti:
        await _use_once(database, client_id, claims)
    return Caller(client_id=client.client_id, iid=client.iid, account_id=client.account_id, scopes=client.scopes)


@dataclass(frozen=True, slots=True)
class _Proven:
    """A token whose signature has been checked: with the same secret that comes out the same."""

    client_id: str
    encrypted: bytes
    """The secret it was signed with, as stored."""
    claims: dict[str, Any]


_proven: Final[dict[bytes, _Proven]] = {}
"""By SHA-256 of the token, oldest first; only who has a secret gets in here. Nothing in it lets anybody in: whether
the client still has that secret, is revoked or may do this is read for each request, and ``exp`` is looked at anew."""


def _prove(name: bytes, token: str, client_id: str, client: ClientAccess | None) -> dict[str, Any]:
    """Check the token, remember that its signature is right, and return its claims; raise UnauthorizedError."""
    if client is None:
        return _verify(token, (_NOBODY,))[1]
    place, claims = _verify(token, client.secrets)
    _proven.pop(name, None)
    if len(_proven) >= MOST_PROVEN:
        del _proven[next(iter(_proven))]
    _proven[name] = _Proven(client_id, client.encrypted[place], claims)
    return claims


def _claimed_client(token: str) -> str:
    """Return which client a token says it is of, of which nothing is believed yet; raise UnauthorizedError."""
    if len(token) > LONGEST_TOKEN:
        raise UnauthorizedError(INVALID_TOKEN)
    return _glimpsed_client(token) or _read_client(token)


def _glimpsed_client(token: str) -> str | None:
    """Return the client of a token that looks as most do, at a quarter of the cost; None for any other.

    It only says whose secret the token is checked with, and :func:`_verify` reads all of it again, strictly: a token
    that this reads more kindly is refused there.
    """
    header, _, rest = token.partition(".")
    try:
        told, claims = (json.loads(urlsafe_b64decode(part + "==")) for part in (header, rest.partition(".")[0]))
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or told.get("alg") != "HS256" or not isinstance(claims, dict):
        return None
    client_id = claims.get("appId")
    return client_id if isinstance(client_id, str) else None


def _read_client(token: str) -> str:
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


def _verify(token: str, secrets: tuple[str, ...]) -> tuple[int, dict[str, Any]]:
    """Check signature and times, and return which secret it was and the claims; signatures are compared in constant
    time."""
    *others, last = secrets
    for place, secret in enumerate(others):
        try:
            return place, _verified(token, secret)
        except jwt.InvalidSignatureError:
            continue
    try:
        return len(others), _verified(token, last)
    except jwt.InvalidSignatureError:
        raise UnauthorizedError(INVALID_CREDENTIALS) from None


def _verified(token: str, secret: str) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            secret,
            algorithms=["HS256"],
            leeway=CLOCK_SKEW_SECONDS,
            # any subject and audience will do: clients put what they like there
            options={"verify_aud": False, "verify_iss": False, "verify_sub": False, "verify_jti": False},
        )
        expired = _is_past(claims)
    except jwt.InvalidSignatureError:
        raise
    except _UNREADABLE:
        raise UnauthorizedError(INVALID_TOKEN) from None
    if expired:
        raise UnauthorizedError(INVALID_TOKEN)
    return claims


async def _use_once(database: Database, client_id: str, claims: dict[str, Any]) -> None:
    """Let a token in for the first time only; raise UnauthorizedError."""
    jti, exp = claims.get("jti"), claims.get("exp")
    if not isinstance(jti, str) or not 0 < len(jti) <= LONGEST_JTI or not is_storable(jti) or exp is None:
        raise UnauthorizedError(INVALID_TOKEN)
    left = timedelta(seconds=int(exp) - clock.now().timestamp())
    # beyond that its id would be forgotten while it is still good
    if left > LONGEST_ONE_TIME:
        raise UnauthorizedError(INVALID_TOKEN)
    until = clock.now() + left + timedelta(seconds=CLOCK_SKEW_SECONDS)
    if not await clients.use_token(database, client_id, jti, until=until):
        raise UnauthorizedError(INVALID_TOKEN)


def _is_past(claims: dict[str, Any]) -> bool:
    return "exp" in claims and int(claims["exp"]) <= clock.now().timestamp()
