"""What machines ask a server: is it alive, can it place calls, what does it do."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

import outdial
from outdial.api.json_reply import JsonReply
from outdial.api.metrics import Metrics
from outdial.api.openapi import JSON, Catalog
from outdial.api.parts import ApiParts
from outdial.api.refusals import header
from outdial.core.errors import DatabaseUnavailableError
from outdial.services.emergency import EmergencySwitch
from outdial.store import emergencies, nodes
from outdial.store import metrics as live_counts

_PROMETHEUS: Final = "text/plain"
_TEXT: Final = {"schema": {"type": "string"}}
_SERIES: Final = "# HELP outdial_database_up Whether the database answered.\noutdial_database_up 1.0\n"


class Health(msgspec.Struct, frozen=True):
    """The answer of a process that can answer."""

    status: str
    version: str


class Ready(msgspec.Struct, frozen=True):
    """The answer once calls can be placed."""

    status: str


class NotReady(msgspec.Struct, frozen=True):
    """The answer as long as none can."""

    status: str
    problems: list[str]


_ALIVE: Final = Health("ok", outdial.__version__)
_NO_NODE: Final = "No dialer node is alive with its engine up; start one with: outdial dialer."


def _not_ready(catalog: Catalog) -> dict[str, Any]:
    example = {"status": "not_ready", "problems": [_NO_NODE]}
    return {
        "description": "No call can be placed now; what is missing.",
        "headers": {"X-Request-Id": header("RequestId")},
        "content": {JSON: {"schema": catalog.answer([NotReady]), "example": example}},
    }


class System:
    """``/health``, ``/ready`` and ``/metrics``: no credentials, no personal data."""

    def __init__(self, parts: ApiParts, metrics: Metrics) -> None:
        self._database = parts.database
        self._switch = EmergencySwitch.of(parts.settings)
        self._metrics = metrics

    def router(self, catalog: Catalog) -> APIRouter:
        """Return the routes."""
        router = APIRouter(tags=["System"])
        for path, endpoint, summary, content, example in (
            ("/health", self.health, "Is the process alive", {JSON: {"schema": catalog.answer([Health])}}, _ALIVE),
            ("/ready", self.ready, "Can calls be placed", {JSON: {"schema": catalog.answer([Ready])}}, Ready("ready")),
            ("/metrics", self.metrics, "Counts and times for Prometheus", {_PROMETHEUS: _TEXT}, _SERIES),
        ):
            name = path.removeprefix("/")
            described = catalog.operation(
                name, parameters=[], bodies=(), answer=content, examples={"answer": example}, refused={}
            )
            if name == "ready":
                described["responses"]["503"] = _not_ready(catalog)
            router.add_api_route(
                path,
                endpoint,
                methods=["GET"],
                summary=summary,
                operation_id=name,
                response_class=Response,
                response_model=None,
                openapi_extra=described,
            )
        return router

    async def health(self) -> Response:
        """Answer 200 as long as the process can answer at all; it asks nobody else."""
        return JsonReply(_ALIVE)

    async def ready(self) -> Response:
        """Answer 200 once calls can be placed, else 503 with what is missing."""
        try:
            async with self._database.connection() as connection:
                emergency = await emergencies.in_force(connection)
                ready = await nodes.ready(connection)
            if emergency is not None or self._switch.on:
                problem = "An emergency stop is in force; lift it with: outdial emergency-stop --lift"
            elif ready:
                return JsonReply(Ready("ready"))
            else:
                problem = _NO_NODE
        except DatabaseUnavailableError as error:
            problem = error.message
        return JsonReply(NotReady("not_ready", [problem]), status_code=503)

    async def metrics(self) -> Response:
        """Answer in Prometheus' text format, also while the database is away."""
        try:
            async with self._database.connection() as connection:
                live = await live_counts.live(connection)
        except DatabaseUnavailableError:
            # outdial_database_up says so
            live = None
        return Response(self._metrics.text(live), media_type=CONTENT_TYPE_LATEST)
