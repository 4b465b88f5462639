"""The emergency stop, for whoever runs the installation."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from outdial.api.auth import Caller
from outdial.api.body import read_json
from outdial.api.json_reply import JsonReply
from outdial.api.native.routes import Operation, Routes
from outdial.api.native.stop_bodies import EmergencyBody, LiftBody
from outdial.api.native.stops import EXAMPLE, WideStopView, options, stop_view
from outdial.api.native.views import View
from outdial.api.parts import ApiParts
from outdial.api.problems import parse
from outdial.api.stops import Stops
from outdial.core.wide_stop import StopScope
from outdial.services import emergency
from outdial.services.emergency import Declared, Emergency, EmergencySwitch


class EmergencyView(View, frozen=True):
    """One emergency stop."""

    declared_at: datetime
    declared_by: str
    reason: str
    lifted_at: datetime | None
    """Null: it is in force."""
    lifted_by: str | None
    lift_reason: str | None


class DeclaredView(View, frozen=True):
    """Whether an emergency stop is in force, and what it has stopped."""

    in_force: bool
    file: bool
    """The file that asks for one is there, on the machine that answers."""
    emergency: EmergencyView | None
    stop: WideStopView | None


_EMERGENCY: Final = EmergencyView(
    declared_at=EXAMPLE.requested_at,
    declared_by="operator",
    reason="wrong recording on the air",
    lifted_at=None,
    lifted_by=None,
    lift_reason=None,
)
_DECLARED: Final = DeclaredView(
    in_force=True,
    file=False,
    emergency=_EMERGENCY,
    stop=msgspec.structs.replace(EXAMPLE, scope=StopScope.EVERYTHING, value=None, requested_by="operator"),
)
_LIFTED: Final = msgspec.structs.replace(
    _EMERGENCY, lifted_at=EXAMPLE.requested_at, lifted_by="operator", lift_reason="recording replaced"
)


_NOT_NOW: Final = frozenset({404, 409})
"""None is in force; the file is still there."""


class EmergencyRoutes:
    """The emergency stop."""

    def __init__(self, parts: ApiParts, stops: Stops) -> None:
        self._parts = parts
        self._stops = stops
        self._switch = EmergencySwitch.of(parts.settings)

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        path = "/emergency-stop"
        for method, where, endpoint, operation in (
            (
                "POST",
                path,
                self.declare,
                Operation("Stop everything of everybody", None, DeclaredView, _DECLARED, EmergencyBody, stops=True),
            ),
            ("GET", path, self.show, Operation("Is an emergency stop in force", None, DeclaredView, _DECLARED)),
            (
                "POST",
                f"{path}/lift",
                self.lift,
                Operation(
                    "Lift the emergency stop", None, EmergencyView, _LIFTED, LiftBody, refused=_NOT_NOW, stops=True
                ),
            ),
        ):
            routes.add(method, where, endpoint, operation)

    async def declare(self, request: Request, caller: Caller) -> Response:
        """Stop every run of every account; until somebody lifts it nothing can be started or resumed, and no schedule
        begins anything.

        It answers 200 only once no further call can leave, 503 while that is not shown; it is in force either way. One
        that is in force is joined. The token is `OUTDIAL_OPERATOR_TOKEN`; without that setting nobody is let in.
        """
        body = parse(EmergencyBody, await read_json(request))
        declaring = emergency.declare(
            self._parts.database,
            self._parts.engines,
            reason=body.reason,
            actor=caller.client_id,
            options=options(body),
        )
        return JsonReply(self._view(await self._stops.run(declaring, campaign_id="everything")))

    async def show(self, request: Request, caller: Caller) -> Response:
        """Return the emergency stop that is in force, with what it has stopped, or that there is none."""
        del request, caller
        return JsonReply(self._view(await emergency.in_force(self._parts.database)))

    async def lift(self, request: Request, caller: Caller) -> Response:
        """Lift the emergency stop. Campaigns may be started again; what was stopped stays so, what is scheduled begins
        at its time. Refused while the file that asks for one is there."""
        body = parse(LiftBody, await read_json(request))
        lifted = await emergency.lift(self._parts.database, self._switch, reason=body.reason, actor=caller.client_id)
        return JsonReply(_emergency_view(lifted))

    def _view(self, declared: Declared | None) -> DeclaredView:
        if declared is None:
            return DeclaredView(in_force=False, file=self._switch.on, emergency=None, stop=None)
        return DeclaredView(
            in_force=True,
            file=self._switch.on,
            emergency=_emergency_view(declared.emergency),
            stop=stop_view(declared.stop),
        )


def _emergency_view(found: Emergency) -> EmergencyView:
    return msgspec.convert(found, EmergencyView, from_attributes=True)
