"""Stops of more than one campaign: what they are for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class StopScope(StrEnum):
    """What a stop is for, beside one campaign."""

    CALLER_ID = "caller_id"
    """Every campaign of the application that calls from it."""
    CONTACT_LIST = "contact_list"
    """Every campaign of the application that dials the list."""
    NUMBER = "number"
    """One person's number, in the whole account: it goes on the account's do-not-call list."""
    ACCOUNT = "account"
    """Every campaign of the account."""
    EVERYTHING = "everything"
    """Every campaign of every account: the emergency stop."""


@dataclass(frozen=True, slots=True)
class StopTarget:
    """One such thing."""

    scope: StopScope
    value: str | None = None
    """The caller ID, the list's id or the number; None for an account and for everything."""
    account_id: str | None = None
    """None for everything."""
    iid: str | None = None
    """The application whose caller ID or list it is."""
