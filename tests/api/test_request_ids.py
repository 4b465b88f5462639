"""Every answer tells its request's id, and so does every line logged for it."""

from __future__ import annotations

import pytest
import structlog

from outdial.services import campaigns
from support.wire import ever_open


@pytest.fixture(autouse=True)
def nothing_bound():
    structlog.contextvars.clear_contextvars()
    yield
    structlog.contextvars.clear_contextvars()


@pytest.mark.parametrize("chosen", ["a", "order-7.retry_2", "x" * 128])
async def test_the_clients_own_comes_back(http, chosen):
    answer = await http.get("/health", headers={"x-request-id": chosen})
    assert answer.headers.get_list("X-Request-Id") == [chosen]


@pytest.mark.parametrize(
    "unfit", ["", "x" * 129, "a b", "a,b", "é", "<script>", "a\tb", "+15550100101", "a:b"], ids=ascii
)
async def test_an_unfit_one_is_replaced(http, unfit):
    answer = await http.get("/health", headers={"x-request-id": unfit.encode()})
    (made,) = answer.headers.get_list("X-Request-Id")
    assert made != unfit
    assert len(made) == 32


async def test_two_at_once_are_none(http):
    answer = await http.get("/health", headers=[("X-Request-Id", "a"), ("X-Request-Id", "b")])
    assert answer.headers["X-Request-Id"] not in ("a", "b")


async def test_every_request_has_another(http):
    ids = {(await http.get("/health")).headers["X-Request-Id"] for _ in range(5)}
    assert len(ids) == 5


async def test_failures_have_it_too(bare, monkeypatch):
    statuses = {}
    for method, url in (
        ("GET", "/nowhere"),
        ("PATCH", "/health"),
        ("GET", bare.url("/cd-1")),
        ("POST", bare.url("")),
    ):
        answer = await bare.http.request(method, url, headers={"X-Request-Id": "mine"})
        statuses[answer.status_code] = answer.headers["X-Request-Id"]
    assert (await bare.ask("GET", "/cd-1")).headers["X-Request-Id"]

    async def broken(*_args):
        raise ZeroDivisionError

    monkeypatch.setattr(campaigns, "get_campaign", broken)
    answer = await bare.http.get(bare.url("/cd-1"), headers={**bare.headers(), "X-Request-Id": "mine"})
    statuses[answer.status_code] = answer.headers["X-Request-Id"]
    assert statuses == dict.fromkeys((404, 405, 401, 500), "mine")


async def test_every_line_of_a_request_has_it(tenant):
    campaign_id = await tenant.create_campaign(ever_open(1))
    assert (await tenant.trigger(campaign_id, "play")).status_code == 200
    url, query = tenant.url(f"/{campaign_id}"), {"campaignType": "voice", "trigger": "stop"}
    headers = {**tenant.headers(), "X-Request-Id": "the-stop"}
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logged:
        answer = await tenant.http.post(url, params=query, headers=headers)
    assert answer.status_code == 200
    # the stop is a task of its own
    assert {"run_stopped", "request"} <= {line["event"] for line in logged}
    assert {line["request_id"] for line in logged} == {"the-stop"}
