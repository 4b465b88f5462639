"""Every failure an answer can name, made from the error classes: which code, what it means, whether to ask again."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from outdial.core.errors import OutdialError


def catalogue() -> list[dict[str, Any]]:
    """Return one entry per stable code, by status and code."""
    kinds = sorted(set(_all_of(OutdialError)), key=lambda kind: (kind.status, kind.code))
    named = [
        {
            "errorCode": kind.code,
            "status": kind.status,
            "code": kind.wire_code,
            "retryable": kind.retryable,
            "meaning": (inspect.getdoc(kind) or "").replace("``", "`"),
        }
        for kind in kinds
        if kind is not OutdialError
    ]
    unnamed = [
        _plain(HTTPStatus.METHOD_NOT_ALLOWED, "There is something at this address, but not with this verb."),
        {
            **_plain(HTTPStatus.INTERNAL_SERVER_ERROR, "Something nobody foresaw; the log has it."),
            "errorCode": "internal",
        },
    ]
    return [*named, *unnamed]


def _plain(status: HTTPStatus, meaning: str) -> dict[str, Any]:
    return {
        "errorCode": status.name.lower(),
        "status": status.value,
        "code": status.value,
        "retryable": False,
        "meaning": meaning,
    }


def _all_of(kind: type[OutdialError]) -> Iterator[type[OutdialError]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from _all_of(inner)
