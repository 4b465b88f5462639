"""Adds endpoints to outdial's own surface: each with its scope, its description and its examples."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from outdial.api import links
from outdial.api.auth import Caller
from outdial.api.body import LARGEST_BODY
from outdial.api.errors import VERBS
from outdial.api.links import Link
from outdial.api.native.door import Door
from outdial.api.openapi import JSON, Catalog
from outdial.api.parameters import KEY, Parameter, identifier, in_path
from outdial.api.refusals import Refusals
from outdial.core.model import Scope

Endpoint: TypeAlias = Callable[[Request, Caller], Awaitable[Response]]

_PATH: Final = {
    "clientId": identifier("The client", "cs"),
    "dncListId": identifier("The do-not-call list", "cl"),
    "limitId": identifier("The attempt limit", "al"),
    "flowId": identifier("The flow", "cf"),
    "webhookId": identifier("The webhook", "wh"),
    "trunkId": identifier("The trunk", "tr"),
    "phoneNumber": Parameter(
        "The number, E.164 with its +.", {"type": "string", "pattern": "^\\+[1-9][0-9]{6,14}$"}, example="+15550100001"
    ),
    "contact": Parameter(
        "The contact: its number, E.164 with its +, or its id in the run, `cdl-…`.",
        {"type": "string", "pattern": "^(\\+[1-9][0-9]{6,14}|cdl-[0-9a-f-]{36})$"},
        example="+15550100001",
    ),
    "campaignId": identifier("The campaign", "cd"),
    "importId": identifier("The import", "im"),
    "recordingId": identifier("The recording", "rc"),
    "attemptId": Parameter(
        "The attempt, as lists of attempts name it.",
        {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        example="0123456789abcdef0123456789abcdef",
    ),
    "erasureId": identifier("The erasure", "er"),
    "stopId": identifier("The stop", "sp"),
    "instanceId": identifier("The run", "cid"),
}

CSV: Final = "text/csv"
WAV: Final = "audio/wav"

_TEXTS: Final = {CSV: {"type": "string"}, WAV: {"type": "string", "format": "binary"}}
"""Schemas of answers that are no JSON."""

_ALWAYS: Final = frozenset({401, 500, 503})
"""No credentials, a fault of ours, the database away."""
_WITH_BODY: Final = frozenset({400, 412, 413})
_WITH_KEY: Final = frozenset({400, 409, 413, 422})


@dataclass(frozen=True, slots=True)
class Upload:
    """A body that is no JSON."""

    content_type: str
    description: str
    largest: int
    """Bytes."""
    required: bool = True
    """Whether it must be there; else none is the same as no bytes."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What is known about an endpoint before it is asked."""

    summary: str
    scope: Scope | None
    """None: the operator's."""
    answer: Any
    """Type of the answer; None: text, as :attr:`media` says."""
    example: Any
    """One answer."""
    body: type[BaseModel] | Upload | None = None
    query: Mapping[str, Parameter] = field(default_factory=dict)
    """Query parameters."""
    refused: frozenset[int] = frozenset()
    """Statuses of failures beside those that its path, its body, its query and its verb bring."""
    links: Sequence[Link] = ()
    """What can be asked next."""
    media: str = CSV
    """Kind of an answer that is text."""
    line: Any = None
    """Type of each line of an answer that is JSON lines, where the document is to hold it."""
    largest: int = LARGEST_BODY
    """Bytes of a body that is no upload."""
    stops: bool = False
    """People's phones come first: neither counted nor looked up by its key."""
    keyed: bool = True
    """Whether what changes something takes an ``Idempotency-Key``; not where doing it again changes nothing."""


@dataclass(frozen=True, slots=True)
class Routes:
    """One tag's endpoints."""

    router: APIRouter
    catalog: Catalog
    door: Door
    refusals: Refusals

    def add(self, method: str, path: str, endpoint: Endpoint, operation: Operation) -> None:
        """Add an endpoint; who may not come in never reaches it."""
        keyed = method != "GET" and operation.keyed and not operation.stops
        largest = operation.body.largest if isinstance(operation.body, Upload) else operation.largest

        async def admitted(request: Request) -> Response:
            caller = await self.door.admit(request, operation.scope, limited=not operation.stops)

            async def act(request: Request) -> Response:
                return await endpoint(request, caller)

            if not keyed:
                return await act(request)
            return await self.door.idempotency.once(request, caller.client_id, act, largest_body=largest)

        operation_id = re.sub(r"\W+", "_", f"{method.lower()}{path}").strip("_")
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
            openapi_extra=self._described(operation_id, path, operation, keyed=keyed),
        )

    def only(self, method: str, path: str) -> None:
        """Refuse all other verbs at a path whose last word another endpoint would take for an id."""

        async def refuse(_request: Request) -> Response:
            raise HTTPException(405)

        others = sorted(set(VERBS) - {method})
        self.router.add_api_route(path, refuse, methods=others, include_in_schema=False, response_model=None)

    def _described(self, operation_id: str, path: str, operation: Operation, *, keyed: bool) -> dict[str, Any]:
        upload = operation.body if isinstance(operation.body, Upload) else None
        bodies = () if operation.body is None or isinstance(operation.body, Upload) else (operation.body,)
        refused = _ALWAYS | operation.refused
        refused |= frozenset() if operation.stops else {429}
        refused |= {404} if "{" in path else frozenset()
        refused |= _WITH_BODY if operation.body is not None else frozenset()
        refused |= _WITH_KEY if keyed else frozenset()
        refused |= {400} if operation.query else frozenset()
        if operation.line is not None:
            # no schema says that a text is lines of these: the description names it
            self.catalog.answer((operation.line,))
        described = self.catalog.operation(
            operation_id,
            parameters=[
                *in_path(path, _PATH),
                *([KEY.described("header", "Idempotency-Key")] if keyed else []),
                *(parameter.described("query", name) for name, parameter in operation.query.items()),
            ],
            bodies=bodies,
            answer={operation.media: {"schema": _TEXTS.get(operation.media, {})}}
            if operation.answer is None
            else {JSON: {"schema": self.catalog.answer((operation.answer,))}},
            examples={"answer": operation.example},
            refused=self.refusals.references(refused),
            must_have_body=any(field.is_required() for body in bodies for field in body.model_fields.values()),
            keyed=keyed,
            links=links.described(operation.links),
        )
        if upload is not None:
            schema = {"type": "string", "format": "binary"}
            described["requestBody"] = {
                "description": upload.description,
                "required": upload.required,
                "content": {upload.content_type: {"schema": schema}},
            }
        # either header
        return {**described, "security": [{"token": []}, {"bearer": []}]}
