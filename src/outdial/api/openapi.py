"""OpenAPI from the types that are really read and written: pydantic's for bodies, msgspec's for answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.types import ASGIApp, Receive, Scope, Send

from outdial.api.error_catalogue import catalogue
from outdial.api.refusals import HEADERS, Refusals, header
from outdial.api.request_ids import RequestIds

JSON: Final = "application/json"

_BY_NAME: Final = "#/components/schemas/"
_NO_NUL: Final = "^[^\\u0000]*$"
"""What any text in a body is: PostgreSQL holds no other."""


class Catalog:
    """The schemas and failures all operations refer to."""

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {}
        self.responses: dict[str, Any] = {}
        self.examples: dict[str, dict[str, Any]] = {}
        """Examples of answers by their names, by operation."""

    def refusals(self, prefix: str, failure: Any, *, full: bool) -> Refusals:
        """Return the failures of a surface, all of which the document then holds."""
        made = Refusals(prefix, self.answer([failure]), full=full)
        self.responses.update(made.responses())
        return made

    def operation(
        self,
        operation_id: str,
        *,
        parameters: Sequence[dict[str, Any]],
        bodies: Sequence[type[BaseModel]],
        answer: Mapping[str, Any],
        examples: Mapping[str, Any],
        refused: Mapping[str, Any],
        must_have_body: bool = False,
        keyed: bool = False,
        links: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the parts of an operation that its function's signature does not tell.

        ``answer`` is what its 200 holds, by media type; ``keyed``: it takes an ``Idempotency-Key``.
        """
        headers = {"X-Request-Id": header("RequestId")}
        if bodies:
            headers["X-Outdial-Ignored"] = header("Ignored")
        if keyed:
            headers["Idempotent-Replay"] = header("IdempotentReplay")
        done: dict[str, Any] = {"description": "Done.", "headers": headers, "content": dict(answer)}
        if links:
            done["links"] = dict(links)
        self.examples[operation_id] = {name: _plain(example) for name, example in examples.items()}
        described: dict[str, Any] = {"parameters": list(parameters), "responses": {"200": done, **refused}}
        if bodies:
            described["requestBody"] = {
                "required": must_have_body,
                "content": {JSON: {"schema": self._body(bodies, empty=not must_have_body)}},
            }
        return described

    def answer(self, shapes: Sequence[Any]) -> dict[str, Any]:
        """Return the schema of what may be one of these shapes."""
        references, components = msgspec.json.schema_components(shapes, ref_template=f"{_BY_NAME}{{name}}")
        self._remember(components)
        return _any_of(list(references))

    def _body(self, models: Sequence[type[BaseModel]], *, empty: bool) -> dict[str, Any]:
        references, schema = models_json_schema(
            [(model, "validation") for model in models], ref_template=f"{_BY_NAME}{{model}}"
        )
        self._remember({name: _storable(one) for name, one in schema.get("$defs", {}).items()})
        # no body, null and {} are the same
        return _any_of([*references.values(), *([{"type": "null"}] if empty else [])])

    def _remember(self, schemas: dict[str, Any]) -> None:
        for name, schema in schemas.items():
            known = self.schemas.setdefault(name, schema)
            # an enumeration is described a little differently by the two who describe
            same = known == schema or ("enum" in known and sorted(known["enum"]) == sorted(schema.get("enum", [])))
            if not same:
                raise ValueError(f"two shapes are named {name}")


def _any_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _storable(schema: Any) -> Any:
    """Return a body's schema in which text is what can be stored, wherever it says no more."""
    if isinstance(schema, list):
        return [_storable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    told = {key: value if key in {"examples", "default", "enum"} else _storable(value) for key, value in schema.items()}
    if told.get("type") == "string" and not told.keys() & {"pattern", "format", "enum", "const"}:
        told["pattern"] = _NO_NUL
    return told


def _plain(example: Any) -> Any:
    return example if isinstance(example, str) else msgspec.json.decode(msgspec.json.encode(example))


class Api(FastAPI):
    """FastAPI whose document also holds a catalog's schemas, and says how to sign in."""

    def __init__(self, catalog: Catalog, **options: Any) -> None:
        self._catalog = catalog
        self.short_way: ASGIApp | None = None
        """Gets each request first, and hands on to :meth:`long_way` what it does not answer."""
        super().__init__(**options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.long_way if self.short_way is None else self.short_way)(scope, receive, send)

    async def long_way(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as FastAPI does, through every middleware."""
        await super().__call__(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        # around Starlette's own outermost part, which answers what nobody foresaw
        return RequestIds(super().build_middleware_stack())

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        for operations in document["paths"].values():
            for operation in operations.values():
                self._show(operation)
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).update(self._catalog.schemas)
        components["responses"] = self._catalog.responses
        components["headers"] = HEADERS
        components["securitySchemes"] = {
            "token": {
                "type": "apiKey",
                "in": "header",
                "name": "auth",
                "description": "A JSON Web Token, HS256, signed with the client's secret: "
                '`{"sub": "anything", "appId": "<client id>"}`; `exp` is honoured.',
            },
            "bearer": {"type": "http", "scheme": "bearer", "description": "The same token; not on the vendor's paths."},
        }
        document["x-error-catalogue"] = catalogue()
        return document

    def _show(self, operation: dict[str, Any]) -> None:
        """Put in the examples: here, since FastAPI leaves null out of what it is given."""
        examples = self._catalog.examples.get(operation["operationId"], {})
        (answer,) = operation["responses"]["200"]["content"].values()
        if len(examples) == 1:
            (answer["example"],) = examples.values()
        elif examples:
            answer["examples"] = {name: {"value": value} for name, value in examples.items()}
