"""What a flow's ``webhook`` step asks of another system in mid-call, and what of the answer the flow goes on with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from outdial.core.flow import VARIABLE, texts
from outdial.core.json_reply import MalformedReplyError, object_of

LARGEST_REPLY: Final = 16 * 1024
"""Bytes."""

MOST_FIELDS: Final = 50
"""Fields of an answer that become variables."""

LONGEST_FIELD: Final = 500
"""Characters of one of them; the rest is left out."""

_SUCCESS: Final = range(200, 300)


def question(*, attempt_id: str, flow_id: str, step: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the body of the question; the attempt's id is the one that reports and exports know the call by."""
    return {"attempt_id": attempt_id, "flow_id": flow_id, "step": step, "variables": dict(variables)}


def read_reply(*, status: int, body: bytes) -> dict[str, str]:
    """Return the fields of an answer as the texts a flow can say: those of one value, under a variable's name.

    Raises MalformedReplyError for a status that is no success (redirects are not followed), and for a body that is too
    large or no JSON object; an empty body is an answer without fields.
    """
    if status not in _SUCCESS:
        raise MalformedReplyError(f"HTTP status {status}")
    if len(body) > LARGEST_REPLY:
        raise MalformedReplyError(f"the reply is larger than {LARGEST_REPLY} bytes")
    if not body.strip():
        return {}
    named = {name: value for name, value in texts(object_of(body)).items() if VARIABLE.fullmatch(name)}
    if len(named) > MOST_FIELDS:
        raise MalformedReplyError(f"the reply has {len(named)} fields; at most {MOST_FIELDS} become variables")
    return {name: value[:LONGEST_FIELD] for name, value in named.items()}
