"""What machines ask a server: is it alive, can it place calls, what does it do."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

import outdial
from outdial.api.json_reply import JsonReply
from outdial.api.metrics import Metrics
from outdial.api.parts import ApiParts
from outdial.core.errors import DatabaseUnavailableError
from outdial.services.emergency import EmergencySwitch
from outdial.store import emergencies, nodes
from outdial.store import metrics as live_counts


class System:
    """``/health``, ``/ready`` and ``/metrics``: no credentials, no personal data."""

    def __init__(self, parts: ApiParts, metrics: Metrics) -> None:
        self._database = parts.database
        self._switch = EmergencySwitch.of(parts.settings)
        self._metrics = metrics

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(tags=["System"])
        router.add_api_route("/health", self.health, methods=["GET"], response_class=JsonReply)
        router.add_api_route("/ready", self.ready, methods=["GET"], response_class=JsonReply)
        router.add_api_route("/metrics", self.metrics, methods=["GET"], response_class=Response)
        return router

    async def health(self) -> Response:
        """Answer 200 as long as the process can answer at all; it asks nobody else."""
        return JsonReply({"status": "ok", "version": outdial.__version__})

    async def ready(self) -> Response:
        """Answer 200 once calls can be placed, else 503 with what is missing."""
        try:
            async with self._database.connection() as connection:
                emergency = await emergencies.in_force(connection)
                ready = await nodes.ready(connection)
            if emergency is not None or self._switch.on:
                problem = "An emergency stop is in force; lift it with: outdial emergency-stop --lift"
            elif ready:
                return JsonReply({"status": "ready"})
            else:
                problem = "No dialer node is alive with its engine up; start one with: outdial dialer."
        except DatabaseUnavailableError as error:
            problem = error.message
        return JsonReply({"status": "not_ready", "problems": [problem]}, status_code=503)

    async def metrics(self) -> Response:
        """Answer in Prometheus' text format, also while the database is away."""
        try:
            async with self._database.connection() as connection:
                live = await live_counts.live(connection)
        except DatabaseUnavailableError:
            # outdial_database_up says so
            live = None
        return Response(self._metrics.text(live), media_type=CONTENT_TYPE_LATEST)
