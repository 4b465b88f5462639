"""A client of outdial's own surface for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from support.wire import Tenant

BASE = "/api/outdial"


@dataclass(frozen=True)
class Native:
    """A tenant that speaks to outdial's own surface."""

    tenant: Tenant
    token: str | None = None

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token or self.tenant.token()}", **more.pop("headers", {})}
        return await self.tenant.http.request(method, f"{BASE}{path}", json=body, headers=headers, **more)

    async def done(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        answer = await self.ask(method, path, body, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refused(self, status: int, method: str, path: str, body: Any = None, **more: Any) -> dict[str, Any]:
        """Check that a failure has the native shape; return it."""
        answer = await self.ask(method, path, body, **more)
        assert answer.status_code == status, answer.text
        failure = answer.json()
        assert list(failure) == ["errors", "errorCode", "retryable", "requestId"]
        assert failure["requestId"] == answer.headers["X-Request-Id"]
        assert failure["retryable"] == ("Retry-After" in answer.headers)
        assert failure["errors"]
        return failure


def sentences(failure: dict[str, Any]) -> list[str]:
    return [error["msg"] for error in failure["errors"]]
