"""Wrong verbs on outdial's own surface: 405, and all the right ones are named."""

from __future__ import annotations

import pytest

from support.native import Native


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/trunks/tr-1", "DELETE, GET, PATCH"),
        ("DELETE", "/trunks", "GET, POST"),
        ("POST", "/application", "GET, PATCH"),
        ("OPTIONS", "/campaigns/cd-1/pre-call-fetch", "DELETE, GET, PUT"),
    ],
)
async def test_all_verbs_of_the_address_are_named(tenant, method, path, allowed):
    failure = await Native(tenant).ask(method, path)
    assert failure.status_code == 405
    assert failure.headers["allow"] == allowed
    assert failure.json()["errorCode"] == "method_not_allowed"
