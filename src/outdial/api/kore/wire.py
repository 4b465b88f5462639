"""What all answers of the vendor's surface share: envelopes, times, ids the project itself has not."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

import msgspec

from outdial.core.paging import Page

_NAMESPACE: Final = uuid.UUID("0b0c3f0e-43a5-5f0e-8d0b-2f7d4f6e9a42")
"""Ids that only the wire has are derived from it: the same thing always gets the same one."""

Data = TypeVar("Data")
Item = TypeVar("Item")


class Success(msgspec.Struct, Generic[Data], frozen=True):
    """The envelope of most answers."""

    status: str
    message: str
    data: Data


class Found(msgspec.Struct, Generic[Data], frozen=True):
    """The envelope of the status views: no message."""

    status: str
    data: Data


class PageShape(msgspec.Struct, Generic[Item], frozen=True, rename="camel"):
    """One page of many things."""

    results: list[Item]
    skip: int
    limit: int
    has_more: bool
    total_pages: int
    total_results: int


class ErrorItem(msgspec.Struct, frozen=True):
    """One thing that is wrong."""

    msg: str
    code: int


class Errors(msgspec.Struct, frozen=True):
    """The answer of every failure."""

    errors: list[ErrorItem]


def success(message: str, data: Data) -> Success[Data]:
    """Return the envelope of something done."""
    return Success("success", message, data)


def found(data: Data) -> Found[Data]:
    """Return the envelope of a status view."""
    return Found("success", data)


def page_shape(page: Page[Any], results: list[Item]) -> PageShape[Item]:
    """Return a page whose items have been given their shape."""
    return PageShape(results, page.skip, page.limit, page.has_more, page.pages, page.total)


def timestamp(at: datetime) -> str:
    """Return ``2026-03-01T10:00:00.000Z``."""
    return f"{at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def user_id(actor: str) -> str:
    """Return the wire's user id of an actor: an API client's own id, under the prefix of users."""
    client = actor.removeprefix("cs-")
    return f"u-{client}" if client != actor else f"u-{uuid.uuid5(_NAMESPACE, actor)}"


def customer_id(account_id: str, phone: str) -> str:
    """Return the wire's user id of a person who is called: the same number of an account is the same person."""
    return f"u-{uuid.uuid5(_NAMESPACE, f'{account_id} {phone}')}"


def organization_id(account_id: str) -> str:
    """Return the wire's organization id of an account; the project has no organizations."""
    return f"o-{uuid.uuid5(_NAMESPACE, account_id)}"
