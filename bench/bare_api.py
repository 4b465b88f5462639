"""The yardstick of the API, a process of its own: FastAPI endpoints that send a request's SQL and answer.

It reads from a file which statements belong to which campaign, as `bench.api` has recorded them from outdial itself:
the same text, the same arguments but for the ids, one after the other on one connection out of an asyncpg pool of the
same size. Nothing else: no token is checked, no secret opened, no body read, and there is no request id, no log line,
no metric and no care for a client that hangs up.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import asyncpg
import uvloop
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from outdial.listening import listen
from outdial.serve import answering
from outdial.store.database import SERVER_SETTINGS, PlainConnection, prepare

PATH = "/campaign/api/v2/public/{iid}/campaign/{campaign_id}"


def bare(dsn: str, pool_size: int, statements: dict[str, list[tuple[str, str, list[Any]]]]) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=pool_size,
            max_inactive_connection_lifetime=0,
            server_settings=SERVER_SETTINGS,
            connection_class=PlainConnection,
            init=prepare,
        ) as app.state.pool:
            yield

    app = FastAPI(lifespan=lifespan, openapi_url=None)

    async def send(campaign_id: str) -> None:
        async with app.state.pool.acquire() as connection:
            for method, sql, arguments in statements[campaign_id]:
                await getattr(connection, method)(sql, *arguments)

    @app.post(f"{PATH}/status")
    async def status(campaign_id: str) -> JSONResponse:
        await send(campaign_id)
        return JSONResponse({"status": "success", "data": {"id": campaign_id, "status": "Active", "name": "Spring"}})

    @app.post(PATH)
    async def trigger(campaign_id: str) -> JSONResponse:
        await send(campaign_id)
        return JSONResponse(
            {
                "status": "Stopped",
                "message": "Campaign Stopped",
                "updatedAt": "2026-03-01T10:00:00.000Z",
                "campaignInstanceId": campaign_id,
            }
        )

    return app


async def main(spec: dict[str, Any]) -> None:
    with closing(listen("127.0.0.1", spec["port"])) as listener:
        async with answering(bare(spec["dsn"], spec["pool_size"], spec["statements"]), listener) as task:
            await task


if __name__ == "__main__":
    uvloop.run(main(json.loads(Path(sys.argv[1]).read_text())))
