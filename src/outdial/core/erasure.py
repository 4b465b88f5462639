"""Erasing a person: how a number is recognized once it is gone, and where a text tells of it."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

from outdial.core.canonical import Json

GONE: Final = ""
"""Stands where a number stood."""


def number_hash(key: bytes, account_id: str, phone: str) -> bytes:
    """Return what stays of a number: HMAC-SHA-256 over the account and the number in E.164. The same number of two
    accounts has two of them, and nobody without the key can tell whose number it is by trying all there are."""
    return hmac.new(key, f"{account_id}\n{phone}".encode(), hashlib.sha256).digest()


def digits_of(phone: str) -> str:
    """Return the digits of a number in E.164."""
    return phone.removeprefix("+")


def pattern_of(phone: str) -> str:
    """Return a regular expression, the same for PostgreSQL and Python, that finds the number in a text, with its + or
    without: its digits, and no digit before or after them."""
    return rf"\+?(?<![0-9]){digits_of(phone)}(?![0-9])"


def without(value: Json, phone: str) -> Json:
    """Return a JSON value without what names the number: members of objects go, other places become null."""
    found = re.compile(pattern_of(phone))
    return _without(value, found)


def _without(value: Json, found: re.Pattern[str]) -> Json:
    if isinstance(value, dict):
        kept = {key: inner for key, inner in value.items() if not found.search(key) and not _names(inner, found)}
        return {key: _without(inner, found) for key, inner in kept.items()}
    if isinstance(value, list):
        return [_without(inner, found) for inner in value]
    return None if _names(value, found) else value


def _names(value: Json, found: re.Pattern[str]) -> bool:
    return isinstance(value, (str, int, float)) and found.search(str(value)) is not None
