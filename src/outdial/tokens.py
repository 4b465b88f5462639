"""Tokens for an API client, as the client itself would sign them."""

from __future__ import annotations

import uuid
from datetime import datetime

import jwt


def sign(client_id: str, secret: str, *, expires_at: datetime) -> str:
    """Return a token of the client that is valid until ``expires_at``; it has an id (``jti``) of its own."""
    claims = {"sub": client_id, "appId": client_id, "exp": expires_at, "jti": uuid.uuid4().hex}
    return jwt.encode(claims, secret, algorithm="HS256")
