"""JSON objects that other systems send: read strictly, and only what every database and every later reader can hold."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

_LARGEST_WHOLE: Final = 2**63
_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class MalformedReplyError(ValueError):
    """The reply is not what it must be; the text says in what."""


def object_of(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a reply's body.

    Raises MalformedReplyError for anything else: numbers without end or beyond 64 bits, halves of surrogate pairs and
    NUL characters among it.
    """
    try:
        document = json.loads(body, parse_int=_whole, parse_float=_number, parse_constant=_constant)
        # half of a surrogate pair can be written in JSON and nowhere else
        text = json.dumps(document, ensure_ascii=False)
        text.encode()
    except (ValueError, RecursionError):
        raise MalformedReplyError("the reply is not valid JSON") from None
    if _NUL.search(text):
        raise MalformedReplyError("the reply has a NUL character")
    if not isinstance(document, dict):
        raise MalformedReplyError("the reply is no JSON object")
    return document


def _whole(text: str) -> int:
    number = int(text)
    if abs(number) >= _LARGEST_WHOLE:
        raise ValueError("too large")
    return number


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("too large")
    return number


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")
