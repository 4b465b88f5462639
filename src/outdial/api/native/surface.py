"""outdial's own surface as routers, one for each tag of the document."""

from __future__ import annotations

from fastapi import APIRouter

from outdial.api.errors import NATIVE
from outdial.api.idempotency import Idempotency
from outdial.api.native.applications import ApplicationRoutes
from outdial.api.native.attempt_limits import AttemptLimitRoutes
from outdial.api.native.campaigns import CampaignActions
from outdial.api.native.courtesy import CourtesyRoutes
from outdial.api.native.dialing_rules import DialingRulesRoutes
from outdial.api.native.dnc import DncRoutes
from outdial.api.native.dnc_files import DncFileRoutes
from outdial.api.native.door import Door, OperatorDoor
from outdial.api.native.emergency import EmergencyRoutes
from outdial.api.native.evidence import EvidenceRoutes
from outdial.api.native.explanations import ExplanationRoutes
from outdial.api.native.hours import HoursRoutes
from outdial.api.native.imports import ImportRoutes
from outdial.api.native.lines import FlowRoutes, TrunkRoutes
from outdial.api.native.machine_reviews import MachineReviewRoutes
from outdial.api.native.manual_calls import ManualCallRoutes
from outdial.api.native.personal_data import PersonalDataRoutes
from outdial.api.native.pre_calls import PreCallRoutes
from outdial.api.native.recordings import RecordingRoutes
from outdial.api.native.routes import Routes
from outdial.api.native.runs import RunRoutes
from outdial.api.native.simulations import SimulationRoutes
from outdial.api.native.stops import WideStopRoutes
from outdial.api.native.views import Failure
from outdial.api.native.webhooks import WebhookRoutes
from outdial.api.openapi import Catalog
from outdial.api.parts import ApiParts
from outdial.api.ratelimit import RateLimiter
from outdial.api.stops import Stops


def routers(
    parts: ApiParts, stops: Stops, catalog: Catalog, *, limiter: RateLimiter, idempotency: Idempotency
) -> list[APIRouter]:
    """Return the routers, all below ``/api/outdial``."""
    door = Door(parts.database, parts.secrets, limiter, idempotency)
    refusals, made = catalog.refusals("Native", Failure, full=True), []
    operator = OperatorDoor(parts.database, parts.secrets, limiter, idempotency, parts.settings.operator_token)
    for tag, part, admitting in (
        ("Campaigns", CampaignActions(parts, stops), door),
        ("Calling hours", HoursRoutes(parts), door),
        ("Stops", WideStopRoutes(parts, stops), door),
        ("Emergency stop", EmergencyRoutes(parts, stops), operator),
        ("Pre-call fetches", PreCallRoutes(parts), door),
        ("Courtesy messages", CourtesyRoutes(parts), door),
        ("Dialing rules", DialingRulesRoutes(parts), door),
        ("Simulations", SimulationRoutes(parts), door),
        ("Runs", RunRoutes(parts), door),
        ("Runs", ManualCallRoutes(parts), door),
        ("Explanations", ExplanationRoutes(parts), door),
        ("Recordings", RecordingRoutes(parts), door),
        ("Machine reviews", MachineReviewRoutes(parts), door),
        ("Evidence", EvidenceRoutes(parts), door),
        ("Imports", ImportRoutes(parts), door),
        ("Do-not-call lists", DncRoutes(parts, stops), door),
        ("Do-not-call lists", DncFileRoutes(parts, stops), door),
        ("Attempt limits", AttemptLimitRoutes(parts), door),
        ("Personal data", PersonalDataRoutes(parts, stops), door),
        ("Flows", FlowRoutes(parts), door),
        ("Trunks", TrunkRoutes(parts), door),
        ("Webhooks", WebhookRoutes(parts), door),
        ("Application", ApplicationRoutes(parts), door),
    ):
        router = APIRouter(prefix=NATIVE.removesuffix("/"), tags=[tag])
        part.add_to(Routes(router, catalog, admitting, refusals))
        made.append(router)
    return made
