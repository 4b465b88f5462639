"""What is wrong with a body, all of it at once, in sentences that name the field and say what it must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from pydantic import BaseModel, RootModel, ValidationError
from pydantic_core import ErrorDetails

from outdial.api import ignored
from outdial.api.body import join
from outdial.core.errors import InvalidInputError

Model = TypeVar("Model", bound=BaseModel)

_TYPES: Final = {
    "string_type": "must be text",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "list_type": "must be a list",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
}
_WORDS: Final = {"None": "null", "True": "true", "False": "false"}
_LONGEST_SHOWN: Final = 60
"""Characters of a wrong value that are shown back."""


def parse(model: type[Model], document: Any, *, context: dict[str, Any] | None = None, at: str = "") -> Model:
    """Return the document as a value of the model; raise InvalidInputError with one sentence per wrong field.

    ``at`` is the path of the document within the body, ``""`` for the body itself. A root model is of a list.
    """
    listed = issubclass(model, RootModel)
    if not isinstance(document, list if listed else dict):
        what = f"`{at}` must be an object" if at else f"The body must be a JSON {'array' if listed else 'object'}"
        raise InvalidInputError([f"{what}, not {_shown(document)}."])
    try:
        read = model.model_validate(document, context=context)
    except ValidationError as error:
        raise InvalidInputError([_sentence(details, at) for details in error.errors(include_url=False)]) from None
    if document:
        ignored.note(read.root if isinstance(read, RootModel) else read, document, at)
    return read


def _sentence(details: ErrorDetails, at: str) -> str:
    path = at
    for key in details["loc"]:
        path = join(path, key)
    return f"{f'`{path}`' if path else 'The body'} {_complaint(details)}."


def _complaint(details: ErrorDetails) -> str:
    kind, value, limits = details["type"], details["input"], details.get("ctx", {})
    if kind in _TYPES:
        return f"{_TYPES[kind]}, not {_shown(value)}"
    complaints: dict[str, Callable[[], str]] = {
        "missing": lambda: "is missing",
        "extra_forbidden": lambda: "is no field of this request",
        "string_too_short": lambda: "must not be empty",
        "too_short": lambda: "must not be empty",
        "string_too_long": lambda: f"has {len(value)} characters; at most {limits['max_length']} are allowed",
        "too_long": lambda: f"has {len(value)} entries; at most {limits['max_length']} are allowed",
        "greater_than_equal": lambda: f"must be at least {limits['ge']}, not {_shown(value)}",
        "less_than_equal": lambda: f"must be at most {limits['le']}, not {_shown(value)}",
        "enum": lambda: f"must be {limits['expected']}, not {_shown(value)}",
        "timezone_aware": lambda: "must have a time zone, like 2026-03-01T10:00:00Z",
        "literal_error": lambda: f"must be {limits['expected']}, not {_shown(value)}",
        "value_error": lambda: str(limits["error"]).removesuffix("."),
    }
    if kind.startswith("datetime_"):
        return f"must be an instant like 2026-03-01T10:00:00Z, not {_shown(value)}"
    complaint = complaints.get(kind)
    return complaint() if complaint else f"is wrong: {details['msg']}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return repr(value if len(value) <= _LONGEST_SHOWN else f"{value[:_LONGEST_SHOWN]}…")
    return _WORDS.get(repr(value), f"the number {value}"[:_LONGEST_SHOWN])
