"""OpenAPI from the types that are really read and written: pydantic's for bodies, msgspec's for answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.types import ASGIApp

from outdial.api.error_catalogue import catalogue
from outdial.api.request_ids import RequestIds

IDEMPOTENCY: Final = (
    "A text of the client's own, new for each thing it wants done. Sent again within 24 hours with the same request it "
    "gets the first answer again, with `Idempotent-Replay: true`, and nothing is done twice. A stop ignores it."
)
"""What the header is for."""

_BY_NAME: Final = "#/components/schemas/"
_JSON: Final = "application/json"


class Catalog:
    """The schemas all operations refer to."""

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {}
        self.examples: dict[str, Any] = {}
        """Examples of answers, by operation."""

    def operation(
        self,
        *,
        parameters: Sequence[dict[str, Any]],
        bodies: Sequence[type[BaseModel]],
        answers: Sequence[Any],
        failure: Any,
    ) -> dict[str, Any]:
        """Return the parts of an operation that its function's signature does not tell."""
        done, refused = self._answer(answers) if answers else {}, self._answer([failure])
        described: dict[str, Any] = {
            "parameters": list(parameters),
            "responses": {
                "200": {"description": "Done.", "content": {_JSON: {"schema": done}}},
                "default": {"description": "Refused or failed.", "content": {_JSON: {"schema": refused}}},
            },
        }
        if bodies:
            described["requestBody"] = {"content": {_JSON: {"schema": self._body(bodies)}}}
        return described

    def _body(self, models: Sequence[type[BaseModel]]) -> dict[str, Any]:
        references, schema = models_json_schema(
            [(model, "validation") for model in models], ref_template=f"{_BY_NAME}{{model}}"
        )
        self._remember(schema.get("$defs", {}))
        return _any_of(list(references.values()))

    def _remember(self, schemas: dict[str, Any]) -> None:
        for name, schema in schemas.items():
            known = self.schemas.setdefault(name, schema)
            # an enumeration is described a little differently by the two who describe
            same = known == schema or ("enum" in known and sorted(known["enum"]) == sorted(schema.get("enum", [])))
            if not same:
                raise ValueError(f"two shapes are named {name}")

    def _answer(self, shapes: Sequence[Any]) -> dict[str, Any]:
        references, components = msgspec.json.schema_components(shapes, ref_template=f"{_BY_NAME}{{name}}")
        self._remember(components)
        return _any_of(list(references))


def _any_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


class Api(FastAPI):
    """FastAPI whose document also holds a catalog's schemas, and says how to sign in."""

    def __init__(self, catalog: Catalog, **options: Any) -> None:
        self._catalog = catalog
        super().__init__(**options)

    def build_middleware_stack(self) -> ASGIApp:
        # around Starlette's own outermost part, which answers what nobody foresaw
        return RequestIds(super().build_middleware_stack())

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        for operations in document["paths"].values():
            for operation in operations.values():
                if operation["operationId"] in self._catalog.examples:
                    # here, since FastAPI leaves null out of what it is given
                    answer = operation["responses"]["200"]["content"][_JSON]
                    answer["example"] = self._catalog.examples[operation["operationId"]]
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).update(self._catalog.schemas)
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
