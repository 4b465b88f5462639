"""JSON answers: keys in the order they are declared, written by msgspec."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response


class JsonReply(Response):
    """A response whose content is any value msgspec can write."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)
