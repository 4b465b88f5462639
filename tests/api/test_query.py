"""Query parameters read the short way are those that Starlette reads."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from outdial.api.query import query_values


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
