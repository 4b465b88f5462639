"""The whole vendor-compatible surface as one router."""

from __future__ import annotations

from fastapi import APIRouter

from outdial.api.idempotency import Idempotency
from outdial.api.kore.call_details import CallDetailRoutes
from outdial.api.kore.callbacks import CallbackRoutes
from outdial.api.kore.campaigns import CampaignRoutes
from outdial.api.kore.contact_lists import ContactListRoutes
from outdial.api.kore.door import Door
from outdial.api.kore.endpoints import Endpoints
from outdial.api.kore.schedules import ScheduleRoutes
from outdial.api.kore.wire import Errors
from outdial.api.openapi import Catalog
from outdial.api.parts import ApiParts
from outdial.api.ratelimit import RateLimiter
from outdial.api.stops import Stops


def routers(
    parts: ApiParts, stops: Stops, catalog: Catalog, *, limiter: RateLimiter, idempotency: Idempotency
) -> list[APIRouter]:
    """Return the routers of v1, v2, 1.1 and call details; their paths are those ``paths.canonical_path`` makes."""
    door = Door(parts.database, parts.secrets, limiter, idempotency)
    refusals, made = catalog.refusals("Vendor", Errors, full=False), []
    for version in (1, 2):
        router = APIRouter(prefix=f"/campaign/api/v{version}/public/{{iid}}/campaign", tags=[f"Campaigns v{version}"])
        endpoints = Endpoints(router, catalog, version=f"v{version}", door=door, refusals=refusals)
        # fixed words before ids: the first route that fits is taken
        CallbackRoutes(parts, door).add_to(endpoints)
        ScheduleRoutes(parts, door).add_to(endpoints)
        ContactListRoutes(parts, door, version=version).add_to(endpoints)
        CampaignRoutes(parts, door, stops, version=version).add_to(endpoints)
        made.append(router)
    router = APIRouter(prefix="/api/1.1/public/{iid}/campaign", tags=["Campaigns v1"])
    ContactListRoutes(parts, door, version=1).add_adding_to(
        Endpoints(router, catalog, version="v1_1", door=door, refusals=refusals)
    )
    return [*made, router, CallDetailRoutes(parts, door).router(catalog, refusals)]
