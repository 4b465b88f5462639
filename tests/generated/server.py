"""The real application behind a real socket and on a real database, in a thread of its own: who asks it may block."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from pydantic import SecretStr

from outdial.api.app import ApiParts, create_app
from outdial.config import Settings
from outdial.secretbox import SecretBox
from outdial.services import access, dnc
from outdial.services.access import Credentials
from outdial.services.engines import Engines
from outdial.store.database import Database
from sounds import wav
from support.recordings import kept
from support.wire import furnish
from waiting import until

DNC_LIST = "Never Call"
OPERATOR = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Server:
    """Where it listens, and a client of it that may do everything there is."""

    url: str
    owner: Credentials
    record: Callable[[str], tuple[str, str]]
    """Have an attempt of a run, by its id, with a recording, kept for a review; return the ids of both."""


@contextlib.contextmanager
def running(dsn: str, folder: Path) -> Iterator[Server]:
    """The application on that database, with a flow, a trunk and a do-not-call list. No rate limit, no dialer."""
    begun: Future[Server] = Future()
    done = threading.Event()
    thread = threading.Thread(target=asyncio.run, args=(_serve(dsn, folder, begun, done),), name="generated server")
    thread.start()
    try:
        yield begun.result(timeout=60)
    finally:
        done.set()
        thread.join()


async def _serve(dsn: str, folder: Path, begun: Future[Server], done: threading.Event) -> None:
    try:
        settings = Settings(
            _env_file=None,
            data_dir=folder,
            rate_limit_per_minute=0,
            permit_ttl_seconds=0.5,
            operator_token=SecretStr(OPERATOR),
        )
        secrets = SecretBox(base64.urlsafe_b64encode(os.urandom(32)).decode())
        async with contextlib.AsyncExitStack() as stack:
            database = await Database.open(dsn, pool_size=10)
            stack.push_async_callback(database.close)
            engines = Engines(database, secrets, ttl_seconds=settings.permit_ttl_seconds)
            stack.push_async_callback(engines.close)
            app = create_app(ApiParts(settings=settings, database=database, secrets=secrets, engines=engines))
            config = uvicorn.Config(
                app, port=0, log_config=None, lifespan="on", timeout_graceful_shutdown=5, timeout_keep_alive=600
            )
            server = uvicorn.Server(config)
            # signals are the test run's
            serving = asyncio.create_task(server._serve())
            await until(lambda: server.started)
            owner = await access.create_application(database, secrets, account="Acme", name="Support")
            async with database.connection() as connection:
                await connection.execute("UPDATE clients SET scopes = scopes || '{account_stop,personal_data}'::text[]")
            await furnish(database, secrets, owner.iid)
            await dnc.add_numbers(
                database,
                account_id=owner.account_id,
                iid=owner.iid,
                list_name=DNC_LIST,
                phones=["+15550109999"],
                actor="test",
            )
            port = server.servers[0].sockets[0].getsockname()[1]
            loop = asyncio.get_running_loop()

            def record(instance_id: str) -> tuple[str, str]:
                # short: what is generated is also printed
                made = kept(database, folder, instance_id=instance_id, audio=wav(bytes(320), rate=8000))
                return asyncio.run_coroutine_threadsafe(made, loop).result(timeout=30)

            begun.set_result(Server(f"http://127.0.0.1:{port}", owner, record))
            await asyncio.to_thread(done.wait)
            server.should_exit = True
            await serving
    except BaseException as error:
        if not begun.done():
            begun.set_exception(error)
        raise
