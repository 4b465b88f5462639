"""What calls are made of: flows, trunks and caller IDs."""

from __future__ import annotations

import base64
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from outdial.api.auth import Caller
from outdial.api.body import read_body, read_json
from outdial.api.json_reply import JsonReply
from outdial.api.links import Link
from outdial.api.native.bodies import CallerCapsBody, CallerIdBody, NewFlowBody, NewTrunkBody, TrunkBody
from outdial.api.native.routes import Operation, Routes, Upload
from outdial.api.native.views import (
    All,
    CallerIdView,
    FlowView,
    TrunkView,
    caller_id_view,
    flow_view,
    trunk_view,
)
from outdial.api.parameters import Parameter
from outdial.api.parts import ApiParts
from outdial.api.problems import parse
from outdial.api.query import query_value
from outdial.api.texts import NAME
from outdial.core.errors import InvalidInputError
from outdial.core.model import Scope
from outdial.core.pacing import CallerCaps
from outdial.services import caller_ids, flows, trunks
from outdial.services.trunks import TrunkDraft

LARGEST_RECORDING: Final = 32 * 1024 * 1024
"""Bytes: ten minutes at 8 kHz take a third of it."""

_FLOW: Final = FlowView(
    id="cf-11111111-2222-4333-8444-555555555555", name="Hello", duration_seconds=7.25, document=flows.MESSAGE
)
_TRUNK: Final = TrunkView(
    id="tr-11111111-2222-4333-8444-555555555555",
    name="Main",
    host="sip.example.net",
    port=5060,
    transport="tls",
    username="acme",
    has_password=True,
    from_domain=None,
    number_format="e164_plus",
    number_prefix="",
    caller_ids=["+15550100001"],
    max_channels=30,
    calls_per_second=5.0,
)
_CALLER_ID: Final = CallerIdView(
    phone_number="+15550100001",
    trunk_id=_TRUNK.id,
    trunk_name="Main",
    max_concurrent_calls=10,
    calls_per_second=None,
    calls_per_day=500,
)
_FLOW_NAME: Final = Parameter("Its name.", {"type": "string", **NAME}, required=True, example="Hello")
_WAV: Final = Upload("audio/wav", "A PCM WAV file, 8 or 16 bit, 8–48 kHz, at most ten minutes.", LARGEST_RECORDING)


_NEW_FLOW: Final = {"path.flowId": "$response.body#/id"}
_AFTER_FLOW: Final = (
    Link("get_flows_flowId", "The flow.", _NEW_FLOW),
    Link("delete_flows_flowId", "Remove the flow.", _NEW_FLOW),
)
_NEW_TRUNK: Final = {"path.trunkId": "$response.body#/id"}
_AFTER_TRUNK: Final = (
    Link("get_trunks_trunkId", "The trunk.", _NEW_TRUNK),
    Link("patch_trunks_trunkId", "Change the trunk.", _NEW_TRUNK),
    Link("post_trunks_trunkId_caller_ids", "Give it another caller ID.", _NEW_TRUNK),
    Link("delete_trunks_trunkId", "Remove the trunk.", _NEW_TRUNK),
)


class FlowRoutes:
    """Flows."""

    def __init__(self, parts: ApiParts) -> None:
        self._database = parts.database

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        scope = Scope.CONFIGURATION
        for method, path, endpoint, operation in (
            ("GET", "/flows", self.flows, Operation("List flows", scope, All[FlowView], All(results=[_FLOW]))),
            (
                "POST",
                "/flows",
                self.add,
                Operation("Add a flow", scope, FlowView, _FLOW, _WAV, query={"name": _FLOW_NAME}, links=_AFTER_FLOW),
            ),
            (
                "POST",
                "/flows/documents",
                self.add_document,
                Operation(
                    "Add a flow of several steps",
                    scope,
                    FlowView,
                    _FLOW,
                    NewFlowBody,
                    links=_AFTER_FLOW,
                    largest=LARGEST_RECORDING,
                ),
            ),
            ("GET", "/flows/{flowId}", self.flow, Operation("Get a flow", scope, FlowView, _FLOW)),
            ("DELETE", "/flows/{flowId}", self.remove, Operation("Remove a flow", scope, FlowView, _FLOW)),
        ):
            routes.add(method, path, endpoint, operation)
            if path == "/flows/documents":
                # no id of a flow
                routes.only(method, path)

    async def flows(self, _request: Request, caller: Caller) -> Response:
        """Return the flows of the application, oldest first."""
        found = await flows.list_flows(self._database, caller.iid)
        return JsonReply(All(results=[flow_view(flow) for flow in found]))

    async def add(self, request: Request, caller: Caller) -> Response:
        """Add a flow that plays the recording in the body and hangs up. A recording of more than 32 MB is for
        `outdial flow add`."""
        name = query_value(request, "name") or ""
        recording = await read_body(request, largest=LARGEST_RECORDING)
        added = await flows.add_flow(self._database, caller.iid, name, recording, actor=caller.client_id)
        return JsonReply(flow_view(added))

    async def add_document(self, request: Request, caller: Caller) -> Response:
        """Add a flow of several steps, with the recordings it plays. Recordings of more than 32 MB together are for
        `outdial flow add`."""
        body = parse(NewFlowBody, await read_json(request, largest=LARGEST_RECORDING))
        sounds = {file: _from_base64(file, text) for file, text in body.sounds.items()}
        added = await flows.add_flow_document(
            self._database, caller.iid, body.name, body.document, sounds, actor=caller.client_id
        )
        return JsonReply(flow_view(added))

    async def flow(self, request: Request, caller: Caller) -> Response:
        """Return a flow."""
        return JsonReply(flow_view(await flows.get_flow(self._database, caller.iid, request.path_params["flowId"])))

    async def remove(self, request: Request, caller: Caller) -> Response:
        """Remove a flow that no campaign plays: else 409."""
        removed = await flows.remove_flow(
            self._database, iid=caller.iid, flow_id=request.path_params["flowId"], actor=caller.client_id
        )
        return JsonReply(flow_view(removed))


def _from_base64(file: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidInputError([f"`sounds.{file}` must be base64 (RFC 4648)."]) from None


class TrunkRoutes:
    """Trunks and the caller IDs that select them."""

    def __init__(self, parts: ApiParts) -> None:
        self._database = parts.database
        self._secrets = parts.secrets

    def add_to(self, routes: Routes) -> None:
        """Add them."""
        scope = Scope.CONFIGURATION
        one = "/trunks/{trunkId}"
        for method, path, endpoint, operation in (
            ("GET", "/trunks", self.trunks, Operation("List trunks", scope, All[TrunkView], All(results=[_TRUNK]))),
            (
                "POST",
                "/trunks",
                self.add,
                Operation("Add a trunk", scope, TrunkView, _TRUNK, NewTrunkBody, links=_AFTER_TRUNK),
            ),
            ("GET", one, self.trunk, Operation("Get a trunk", scope, TrunkView, _TRUNK)),
            ("PATCH", one, self.change, Operation("Change a trunk", scope, TrunkView, _TRUNK, TrunkBody)),
            ("DELETE", one, self.remove, Operation("Remove a trunk", scope, TrunkView, _TRUNK)),
            (
                "POST",
                f"{one}/caller-ids",
                self.add_caller_id,
                Operation("Add a caller ID to a trunk", scope, TrunkView, _TRUNK, CallerIdBody),
            ),
            (
                "GET",
                "/caller-ids",
                self.caller_ids,
                Operation("List caller IDs", scope, All[CallerIdView], All(results=[_CALLER_ID])),
            ),
            (
                "PUT",
                "/caller-ids/{phoneNumber}/caps",
                self.set_caps,
                Operation("Set the caps of a caller ID", scope, CallerIdView, _CALLER_ID, CallerCapsBody),
            ),
            (
                "DELETE",
                "/caller-ids/{phoneNumber}",
                self.remove_caller_id,
                Operation("Remove a caller ID", scope, TrunkView, _TRUNK),
            ),
        ):
            routes.add(method, path, endpoint, operation)

    async def trunks(self, _request: Request, caller: Caller) -> Response:
        """Return the trunks of the application, oldest first; never their passwords."""
        found = await trunks.list_trunks(self._database, self._secrets, caller.iid)
        return JsonReply(All(results=[trunk_view(trunk) for trunk in found]))

    async def add(self, request: Request, caller: Caller) -> Response:
        """Add a trunk with at least one caller ID. Its password is stored encrypted and never answered."""
        body = parse(NewTrunkBody, await read_json(request))
        draft = TrunkDraft(**{**dict(body), "caller_ids": tuple(body.caller_ids)})
        added = await trunks.add_trunk(self._database, self._secrets, caller.iid, draft, actor=caller.client_id)
        return JsonReply(trunk_view(added))

    async def trunk(self, request: Request, caller: Caller) -> Response:
        """Return a trunk; `hasPassword` tells whether it has one."""
        found = await trunks.get_trunk(self._database, self._secrets, caller.iid, request.path_params["trunkId"])
        return JsonReply(trunk_view(found))

    async def change(self, request: Request, caller: Caller) -> Response:
        """Change a trunk while no live run goes out by it: else 409."""
        body = parse(TrunkBody, await read_json(request))
        changed = await trunks.change_trunk(
            self._database,
            self._secrets,
            iid=caller.iid,
            trunk_id=request.path_params["trunkId"],
            changes={name: getattr(body, name) for name in body.model_fields_set},
            actor=caller.client_id,
        )
        return JsonReply(trunk_view(changed))

    async def remove(self, request: Request, caller: Caller) -> Response:
        """Remove a trunk that no live run goes out by: else 409. Its caller IDs become free."""
        removed = await trunks.remove_trunk_by_id(
            self._database,
            self._secrets,
            iid=caller.iid,
            trunk_id=request.path_params["trunkId"],
            actor=caller.client_id,
        )
        return JsonReply(trunk_view(removed))

    async def add_caller_id(self, request: Request, caller: Caller) -> Response:
        """Let calls with this number go out by the trunk. One number selects one trunk: else 409."""
        body = parse(CallerIdBody, await read_json(request))
        trunk = await trunks.add_caller_id(
            self._database,
            self._secrets,
            iid=caller.iid,
            trunk_id=request.path_params["trunkId"],
            phone=body.phone_number,
            actor=caller.client_id,
        )
        return JsonReply(trunk_view(trunk))

    async def caller_ids(self, _request: Request, caller: Caller) -> Response:
        """Return the application's caller IDs, sorted, each with its trunk and its caps."""
        found = await caller_ids.list_caller_ids(self._database, caller.iid)
        return JsonReply(All(results=[caller_id_view(one) for one in found]))

    async def set_caps(self, request: Request, caller: Caller) -> Response:
        """Say how much may be called with a number, over all campaigns that call with it: calls at once, new calls a
        second, calls in any 24 hours. Live runs heed it from their next call on."""
        body = parse(CallerCapsBody, await read_json(request))
        changed = await caller_ids.set_caps(
            self._database,
            iid=caller.iid,
            phone=request.path_params["phoneNumber"],
            caps=CallerCaps(body.max_concurrent_calls, body.calls_per_second, body.calls_per_day),
            actor=caller.client_id,
        )
        return JsonReply(caller_id_view(changed))

    async def remove_caller_id(self, request: Request, caller: Caller) -> Response:
        """Remove a number that no live run calls with: else 409. Returns the trunk it had."""
        trunk = await trunks.remove_caller_id(
            self._database,
            self._secrets,
            iid=caller.iid,
            phone=request.path_params["phoneNumber"],
            actor=caller.client_id,
        )
        return JsonReply(trunk_view(trunk))
