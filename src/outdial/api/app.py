"""The HTTP application, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

import outdial
from outdial.api import errors
from outdial.api.dispatch import Dispatch
from outdial.api.docs_page import page
from outdial.api.idempotency import Idempotency
from outdial.api.ignored import IgnoredFields
from outdial.api.kore import surface as kore
from outdial.api.kore.paths import OneSpelling
from outdial.api.metrics import Measured, Metrics
from outdial.api.native import surface as native
from outdial.api.openapi import Api, Catalog
from outdial.api.parts import ApiParts
from outdial.api.ratelimit import RateLimiter
from outdial.api.stops import Stops
from outdial.api.system import System

__all__ = ["ApiParts", "create_app"]

_ABOUT: Final = """Outbound voice campaigns that stop at once, provably.

Paths may be written with the service prefix `/campaign` or `/agentassist`, or without one, and with doubled slashes.
Failures are `{"errors":[{"msg":…,"code":…}]}`, one entry per thing that is wrong.

Below `/api/outdial` is what the vendor has no endpoint for: there the token may come as `Authorization: Bearer` too,
each endpoint names the scope it takes, and failures also say `errorCode`, `retryable` and `requestId`.

Every answer has an `X-Request-Id`. Every call that changes something takes an `Idempotency-Key`, except a stop, an
opt-out and a file of numbers that must not be called, which are always carried out.
"""


async def _docs(request: Request) -> Response:
    return HTMLResponse(page(request.app.openapi()))


def create_app(parts: ApiParts) -> FastAPI:
    """Return the application. It opens nothing; on its end it waits for the stops under way."""
    stops = Stops()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await stops.close()

    metrics, catalog = Metrics(parts.webhook_counts), Catalog()
    app = Api(
        catalog,
        title="outdial",
        version=outdial.__version__,
        description=_ABOUT,
        lifespan=lifespan,
        # FastAPI's own pages load their scripts from other people's servers
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    errors.install(app)
    settings = parts.settings
    limiter = RateLimiter(
        parts.database, settings.rate_limit_per_minute, most_at_once=max(1, settings.database_pool_size // 2)
    )
    idempotency = Idempotency(parts.database, parts.secrets)
    routers = [
        router
        for surface in (kore, native)
        for router in surface.routers(parts, stops, catalog, limiter=limiter, idempotency=idempotency)
    ]
    # the last added comes first: spellings are settled before requests are measured by their route
    app.add_middleware(Measured, metrics=metrics)
    app.add_middleware(OneSpelling)
    app.add_middleware(IgnoredFields)
    app.include_router(System(parts, metrics).router(catalog))
    app.add_route("/docs", _docs, include_in_schema=False)
    for router in routers:
        app.include_router(router)
    app.short_way = Dispatch(app.long_way, [route for router in routers for route in router.routes], metrics)
    return app
