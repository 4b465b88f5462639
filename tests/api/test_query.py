"""Query parameters read the short way are those that Starlette reads."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from starlette.requests import Request

from outdial.api.query import query_instant, query_values
from outdial.core.errors import BadRequestError


def asked(query: bytes) -> Request:
    return Request({"type": "http", "query_string": query, "headers": []})


@pytest.mark.parametrize(
    "query",
    [
        b"",
        b"a=1",
        b"a=1&a=2&b=3",
        b"a",
        b"a=",
        b"=1",
        b"=",
        b"&&a=1&",
        b"a=b=c",
        b"a=1;b=2",
        b"a=x+y",
        b"a=%31&b=2",
        b"%61=1",
        b"a=%",
        b"a=\xff",
        b"a=1&b=a%26b",
        b"a=-._~:,",
        b"a=1#b",
    ],
    ids=ascii,
)
def test_they_are_the_same_however_they_are_written(query):
    starlettes = asked(query).query_params
    request = asked(query)
    for name in ["a", "b", "", "a;b", *starlettes]:
        assert query_values(request, name) == starlettes.getlist(name)


@pytest.mark.parametrize(
    ("query", "at"),
    [
        (b"", None),
        (b"at=2026-03-02T12:30:00Z", datetime(2026, 3, 2, 12, 30, tzinfo=UTC)),
        (b"at=2026-03-02T12:30:00%2B05:30", datetime(2026, 3, 2, 7, tzinfo=UTC)),
        (b"at=2026-03-02T12:30:00Z&at=2026-03-02T12:30:00Z", datetime(2026, 3, 2, 12, 30, tzinfo=UTC)),
    ],
    ids=ascii,
)
def test_instants_have_a_zone(query, at):
    assert query_instant(asked(query), "at") == at


@pytest.mark.parametrize(
    "query",
    [
        b"at=",
        b"at=now",
        b"at=2026-03-02",
        b"at=2026-03-02T12:30:00",
        b"at=2026-03-02T12:30:00+05:30",
        b"at=0001-01-01T00:00:00%2B01:00",
        b"at=9999-12-31T23:59:59-01:00",
        b"at=2026-03-02T12:30:00Z&at=now",
    ],
    ids=ascii,
)
def test_what_is_no_instant(query):
    with pytest.raises(BadRequestError, match="`at` "):
        query_instant(asked(query), "at")
