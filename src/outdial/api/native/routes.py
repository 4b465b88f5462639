"""Adds endpoints to outdial's own surface: each with its scope, its description and its examples."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from outdial.api.auth import Caller
from outdial.api.body import LARGEST_BODY
from outdial.api.native.door import Door
from outdial.api.native.views import Failure
from outdial.api.openapi import IDEMPOTENCY, Catalog
from outdial.core.model import Scope

Endpoint: TypeAlias = Callable[[Request, Caller], Awaitable[Response]]

_PATH: Final = {
    "clientId": ("The client, `cs-…`.", "cs-22222222-2222-4333-8444-555555555555"),
    "dncListId": ("The do-not-call list, `cl-…`.", "cl-1111111-2222-4333-8444-555555555555"),
    "flowId": ("The flow, `cf-…`.", "cf-11111111-2222-4333-8444-555555555555"),
    "trunkId": ("The trunk, `tr-…`.", "tr-11111111-2222-4333-8444-555555555555"),
    "phoneNumber": ("The number, E.164 with its +.", "+15550100001"),
    "campaignId": ("The campaign, `cd-…`.", "cd-1111111-2222-4333-8444-555555555555"),
    "importId": ("The import, `im-…`.", "im-11111111-2222-4333-8444-555555555555"),
    "stopId": ("The stop, `sp-…`.", "sp-11111111-2222-4333-8444-555555555555"),
    "instanceId": ("The run, `cid-…`.", "cid-1111111-2222-4333-8444-555555555555"),
}


@dataclass(frozen=True, slots=True)
class Upload:
    """A body that is no JSON."""

    content_type: str
    description: str
    largest: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What is known about an endpoint before it is asked."""

    summary: str
    scope: Scope | None
    """None: the operator's."""
    answer: Any
    """Type of the answer; None: text, as :attr:`media` says."""
    example: Any = None
    """One answer."""
    body: type[BaseModel] | Upload | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    """Query parameters and what they mean."""
    media: str = "text/csv"
    """Kind of an answer that is text."""
    stops: bool = False
    """People's phones come first: neither counted nor looked up by its key."""


@dataclass(frozen=True, slots=True)
class Routes:
    """One tag's endpoints."""

    router: APIRouter
    catalog: Catalog
    door: Door

    def add(self, method: str, path: str, endpoint: Endpoint, operation: Operation) -> None:
        """Add an endpoint; who may not come in never reaches it."""
        changes = method != "GET"
        largest = operation.body.largest if isinstance(operation.body, Upload) else LARGEST_BODY

        async def admitted(request: Request) -> Response:
            caller = await self.door.admit(request, operation.scope, limited=not operation.stops)

            async def act(request: Request) -> Response:
                return await endpoint(request, caller)

            if not changes or operation.stops:
                return await act(request)
            return await self.door.idempotency.once(request, caller.client_id, act, largest_body=largest)

        operation_id = re.sub(r"\W+", "_", f"{method.lower()}{path}").strip("_")
        if operation.example is not None:
            self.catalog.examples[operation_id] = msgspec.json.decode(msgspec.json.encode(operation.example))
        self.router.add_api_route(
            path,
            admitted,
            methods=[method],
            summary=operation.summary,
            description=f"{inspect.getdoc(endpoint)}\n\n"
            + (f"Scope: `{operation.scope}`." if operation.scope else "With the operator's token."),
            response_class=Response,
            response_model=None,
            operation_id=operation_id,
            openapi_extra=self._described(path, operation, keyed=changes and not operation.stops),
        )

    def _described(self, path: str, operation: Operation, *, keyed: bool) -> dict[str, Any]:
        parameters = [
            *({**_parameter("path", name, _PATH[name][0]), "example": _PATH[name][1]} for name in _names(path)),
            *([_parameter("header", "Idempotency-Key", IDEMPOTENCY)] if keyed else []),
            *(_parameter("query", name, text) for name, text in operation.query.items()),
        ]
        described = self.catalog.operation(
            parameters=parameters,
            bodies=() if operation.body is None or isinstance(operation.body, Upload) else (operation.body,),
            answers=() if operation.answer is None else (operation.answer,),
            failure=Failure,
        )
        if operation.answer is None:
            described["responses"]["200"]["content"] = {operation.media: {"schema": {"type": "string"}}}
        if isinstance(operation.body, Upload):
            schema = {"type": "string", "format": "binary"}
            described["requestBody"] = {
                "description": operation.body.description,
                "required": True,
                "content": {operation.body.content_type: {"schema": schema}},
            }
        # either header
        return {**described, "security": [{"token": []}, {"bearer": []}]}


def _names(path: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", path)


def _parameter(place: str, name: str, text: str) -> dict[str, Any]:
    required = place == "path"
    return {"in": place, "name": name, "required": required, "description": text, "schema": {"type": "string"}}
