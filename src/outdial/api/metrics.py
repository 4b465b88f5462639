"""Counts and times of requests, and what is live, in Prometheus' text format."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from outdial.core.machine import MachineVerdict
from outdial.core.machine_review import Actual
from outdial.core.model import LIVE_ATTEMPT_STATES, LIVE_RUN_STATES
from outdial.services.webhook_keeper import WebhookCounts
from outdial.store.machine_reviews import COUNTED_DAYS, WAITING
from outdial.store.metrics import VERDICTS_SECONDS, Live
from outdial.store.webhook_deliveries import DEAD_COUNTED

UNMATCHED: Final = "unmatched"
"""Route of requests to paths that do not exist: their own paths would make a series each."""

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds. A healthy stop ends by 0.5; the permit's life bounds the others."""

_QUIET: Final = frozenset({"/health", "/ready", "/metrics"})
"""Asked every few seconds by machines; not logged."""

_log = structlog.get_logger()


class Metrics:
    """One registry per application, so that several can live in a process."""

    def __init__(self, webhooks: WebhookCounts) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_WebhookTries(webhooks))
        self._requests = Counter(
            "outdial_http_requests", "Requests answered.", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "outdial_http_request_seconds",
            "Time from request to answer.",
            ["method", "route"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        """By method, route and status: looking them up by their labels takes as long as counting, twice a request."""
        self._database = Gauge("outdial_database_up", "Whether the database answered.", registry=self._registry)
        self._runs = Gauge("outdial_runs", "Live runs by state.", ["state"], registry=self._registry)
        self._attempts = Gauge("outdial_attempts_live", "Live attempts by state.", ["state"], registry=self._registry)
        self._nodes = Gauge("outdial_nodes", "Dialer nodes with a valid lease.", registry=self._registry)
        self._held = Gauge(
            "outdial_runs_held",
            "Active runs that wait for a cap or their turn, by what for.",
            ["by"],
            registry=self._registry,
        )
        self._verdicts = Gauge(
            "outdial_machine_verdicts",
            f"Calls answered in the last {VERDICTS_SECONDS} s, by who was found to have answered.",
            ["verdict"],
            registry=self._registry,
        )
        self._reviews = Gauge(
            "outdial_machine_reviews",
            f"Verdicts kept for review of calls answered in the last {COUNTED_DAYS} days, by who was found to have "
            f"answered and who really had, {WAITING} where nobody has said so.",
            ["verdict", "actual"],
            registry=self._registry,
        )
        self._dead = Gauge(
            "outdial_webhook_dead",
            f"Messages of webhooks that were given up; {DEAD_COUNTED} stands for so many or more.",
            registry=self._registry,
        )
        self._oldest = Gauge(
            "outdial_webhook_oldest_waiting_seconds",
            "How long the oldest message that a webhook has not taken has been waiting.",
            registry=self._registry,
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        series = self._series.get((method, route, status))
        if series is None:
            series = self._requests.labels(method, route, status), self._seconds.labels(method, route)
            self._series[method, route, status] = series
        requests, times = series
        requests.inc()
        times.observe(seconds)

    def text(self, live: Live | None) -> bytes:
        """Return everything; ``live`` is None when the database does not answer, and nothing is said about it then."""
        self._database.set(0 if live is None else 1)
        if live is None:
            self._runs.clear()
            self._attempts.clear()
            self._held.clear()
            self._verdicts.clear()
            self._reviews.clear()
            for gauge in (self._nodes, self._dead, self._oldest):
                gauge.set(float("nan"))
        else:
            for run_state in LIVE_RUN_STATES:
                self._runs.labels(run_state.value).set(live.runs.get(run_state, 0))
            for attempt_state in LIVE_ATTEMPT_STATES:
                self._attempts.labels(attempt_state.value).set(live.attempts.get(attempt_state, 0))
            self._nodes.set(live.nodes)
            self._held.clear()
            for by, count in live.held.items():
                self._held.labels(by).set(count)
            for verdict in MachineVerdict:
                self._verdicts.labels(verdict.value).set(live.verdicts.get(verdict, 0))
            for verdict in MachineVerdict:
                for actual in (WAITING, *Actual):
                    self._reviews.labels(verdict.value, str(actual)).set(live.reviews.get((verdict, actual), 0))
            self._dead.set(live.webhook_dead)
            self._oldest.set(live.webhook_oldest_seconds)
        return generate_latest(self._registry)


class _WebhookTries(Collector):
    """What this process has sent to webhooks."""

    def __init__(self, counts: WebhookCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[CounterMetricFamily]:
        tries = CounterMetricFamily(
            "outdial_webhook_messages", "Messages of webhooks: sent, tries that failed, given up.", labels=["outcome"]
        )
        for outcome, count in (
            ("sent", self._counts.delivered),
            ("failed", self._counts.failed),
            ("dead", self._counts.dead),
        ):
            tries.add_metric([outcome], count)
        yield tries


class Measured:
    """ASGI middleware that counts and logs each request by its route, never by its path."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        # bound once: by default a logger is put together anew for each line
        self._log = _log.bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.monotonic()
        # what an exception becomes
        status = 500

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            seconds = time.monotonic() - begun
            route = getattr(scope.get("route"), "path_format", UNMATCHED)
            self._metrics.answered(scope["method"], route, status, seconds)
            if route not in _QUIET:
                self._log.info("request", method=scope["method"], route=route, status=status, seconds=round(seconds, 4))
