r"""One way to write a JSON value as bytes, so that all who hash or sign it hash the same; and a strict way to read.

The rules are those of RFC 8785 (JSON Canonicalization Scheme), with one difference that only matters beyond 2^53:

* UTF-8, no white space; ``null``, ``true``, ``false`` as such.
* Objects: keys sorted by their UTF-16 code units, none twice.
* Strings: ``"`` and ``\`` escaped, U+0008 U+0009 U+000A U+000C U+000D as ``\b \t \n \f \r``, other characters
  below U+0020 as ``\u00xx`` with small letters, everything else as itself. No lone surrogates.
* Numbers: integers as their digits, whatever their size (the RFC knows 53 bits only); others as ECMAScript writes
  them: the shortest digits that read back the same, with an exponent below 1e-6 and from 1e21 on.
* Instants are text, :func:`instant`: UTC with six digits of the second and ``Z``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NoReturn, TypeAlias

Json: TypeAlias = Any
"""What ``json.loads`` returns; checked where it is used."""

DEEPEST: Final = 100
"""Levels of a value that are read or written: nobody writes more, and a hostile file must not exhaust the stack."""

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
_LOOKED_INTO: Final = frozenset({float, dict, list, tuple})
_FIXED_FROM, _FIXED_BELOW = -6, 21
"""Decimal exponents between which a number is written without one (ECMA-262, Number::toString)."""


class NotJsonError(ValueError):
    """A text is no JSON, or a value cannot be written as such."""


def canonical(value: Json) -> bytes:
    """Return a value's canonical form. Raises NotJsonError."""
    try:
        # the encoder in C does it, but for fractions and for keys whose order depends on how characters are encoded
        text = _ENCODER.encode(value) if _is_plain(value, DEEPEST) else _written(value)
        return text.encode()
    except (TypeError, ValueError) as error:
        raise NotJsonError(f"it cannot be written as JSON: {error}") from error


def joined(members: Mapping[str, bytes]) -> bytes:
    """Return the canonical form of an object from those of its members: what is written of a large one twice, with a
    small difference, is written once."""
    names = sorted(members, key=_order)
    return b"{" + b",".join(_ENCODER.encode(name).encode() + b":" + members[name] for name in names) + b"}"


def _order(key: str) -> bytes:
    return key.encode("utf-16-be")


def instant(at: datetime) -> str:
    """Return an aware instant as text, e.g. ``2026-03-01T10:15:00.000250Z``."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def read_instant(text: str) -> datetime:
    """Return the instant of a text that :func:`instant` wrote. Raises NotJsonError for any other."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise NotJsonError(f"{text!r} is no instant") from error
    if at.tzinfo is None or instant(at) != text:
        raise NotJsonError(f"{text!r} is no instant as outdial writes it, e.g. 2026-03-01T10:15:00.000250Z")
    return at


def read(text: bytes | str) -> Json:
    """Return the value of a JSON text. Raises NotJsonError, also where two readers could see different things in it: a
    key that stands twice, a number that is none, nesting without end."""
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number, parse_float=_fraction)
        _is_plain(value, DEEPEST)
    except (ValueError, RecursionError) as error:
        raise NotJsonError(f"it is no JSON that can be relied on: {error}") from error
    return value


def _object(pairs: Sequence[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotJsonError("a key stands twice in one object")
    return found


def _no_number(text: str) -> NoReturn:
    raise NotJsonError(f"{text} is no number")


def _fraction(text: str) -> float:
    number = float(text)
    if number in {float("inf"), float("-inf")}:
        raise NotJsonError(f"{text} is too large a number")
    return number


def _is_plain(value: Json, levels: int) -> bool:
    """Whether no fraction and no key beyond ASCII is in it. Called for every row of history: mostly one pass in C."""
    if levels == 0:
        raise NotJsonError(f"it is nested deeper than {DEEPEST} levels")
    inside: Collection[Json]
    if isinstance(value, dict):
        plain, inside = "".join(value).isascii(), value.values()
    elif isinstance(value, (list, tuple)):
        plain, inside = True, value
    else:
        return not isinstance(value, float)
    if not _LOOKED_INTO.isdisjoint(map(type, inside)):
        for inner in inside:
            if type(inner) in _LOOKED_INTO:
                plain &= _is_plain(inner, levels - 1)
    return plain


def _written(value: Json) -> str:
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, dict):
        keys = sorted(value, key=_order)
        return "{" + ",".join(f"{_ENCODER.encode(key)}:{_written(value[key])}" for key in keys) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_written, value)) + "]"
    return _ENCODER.encode(value)


def _number(value: float) -> str:
    """Write a fraction as ECMA-262 (Number::toString) does; Python's ``repr`` has the same digits, set elsewhere."""
    if value != value or value in {float("inf"), float("-inf")}:  # noqa: PLR0124 - NaN alone differs from itself
        raise NotJsonError(f"{value} is no number of JSON")
    if value == 0:
        return "0"
    sign, digits_of, exponent = "-" if value < 0 else "", *_digits(abs(value))
    # value = 0.digits × 10^point
    digits, point = digits_of, exponent
    if len(digits) <= point <= _FIXED_BELOW:
        return sign + digits + "0" * (point - len(digits))
    if 0 < point <= _FIXED_BELOW:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if _FIXED_FROM < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{fraction}e{point - 1:+}"


def _digits(value: float) -> tuple[str, int]:
    """Return the shortest digits of a positive number and where its point is: 0.digits × 10^point."""
    mantissa, _, exponent = repr(value).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    leading = len(whole + fraction) - len(digits)
    return digits.rstrip("0"), len(whole) - leading + int(exponent or 0)
