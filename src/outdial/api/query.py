"""Query parameters, read strictly."""

from __future__ import annotations

from starlette.requests import Request

from outdial.core.errors import BadRequestError


def query_value(request: Request, name: str) -> str | None:
    """Return a query parameter; raise BadRequestError when it is given twice with different values."""
    values = set(request.query_params.getlist(name))
    if len(values) > 1:
        raise BadRequestError(f"`{name}` is given more than once, with different values.")
    return values.pop() if values else None


def query_choice(request: Request, name: str, choices: tuple[str, ...]) -> str:
    """Return a query parameter that must be one of the choices, spelled exactly; raise BadRequestError."""
    value = query_value(request, name)
    allowed = " or ".join(f"`{choice}`" for choice in choices)
    if value is None:
        raise BadRequestError(f"`{name}` is missing from the query; it must be {allowed}.")
    if value not in choices:
        raise BadRequestError(f"`{name}` must be {allowed}, not {value[:60]!r}.")
    return value


def query_number(request: Request, name: str, *, default: int, least: int, most: int) -> int:
    """Return a whole number from the query, ``default`` when it is absent or empty; raise BadRequestError."""
    value = query_value(request, name)
    if not value:
        return default
    if not (value.isascii() and value.isdigit()) or len(value) > len(str(most)) or not least <= int(value) <= most:
        raise BadRequestError(f"`{name}` must be a whole number from {least} to {most}, not {value[:60]!r}.")
    return int(value)
