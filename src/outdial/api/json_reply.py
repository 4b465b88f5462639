"""JSON answers: keys in the order they are declared, written by msgspec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response


class JsonReply(Response):
    """A response whose content is any value msgspec can write."""

    media_type = "application/json"
    body: bytes

    def __init__(self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        if headers:
            super().__init__(content, status_code, headers)
            return
        # what Starlette would work out, without asking for each part whether it is there
        self.status_code = status_code
        self.background = None
        self.body = self.render(content)
        self.raw_headers = [
            (b"content-length", str(len(self.body)).encode("ascii")),
            (b"content-type", b"application/json"),
        ]

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)
