"""A token is what the client itself would sign: its claims, its algorithm, its end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import jwt
import pytest

from outdial import tokens

SECRET = "s" * 64
AT = datetime(2099, 3, 1, tzinfo=UTC)


def test_claims_and_algorithm():
    token = tokens.sign("cs-1", SECRET, expires_at=AT)
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    claims = jwt.decode(token, SECRET, algorithms=["HS256"])
    assert len(claims.pop("jti")) == 32
    assert claims == {"sub": "cs-1", "appId": "cs-1", "exp": int(AT.timestamp())}


def test_it_ends():
    past = datetime.now(UTC) - timedelta(seconds=5)
    with pytest.raises(jwt.ExpiredSignatureError):
        jwt.decode(tokens.sign("cs-1", SECRET, expires_at=past), SECRET, algorithms=["HS256"])
