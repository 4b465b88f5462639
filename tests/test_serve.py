"""The parts a process is wired of: its signals, requests under way when it ends."""

from __future__ import annotations

import asyncio
import os
import signal

import aiohttp
import pytest
from fastapi import FastAPI

from dialing import phones, set_stage
from outdial import serve
from outdial.config import Settings
from outdial.core.errors import StartupError
from outdial.listening import listen, url_of
from outdial.services import webhooks
from support.programs import free_port
from waiting import until
from webhooks import insert_run, receiving


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    async def test_each_ends_the_block_which_counts_as_left(self, number):
        closed = []
        with serve.until_signal():
            try:
                os.kill(os.getpid(), number)
                await asyncio.Event().wait()
            finally:
                # a second one does not cut the closing short
                os.kill(os.getpid(), number)
                await asyncio.sleep(0.01)
                closed.append(True)
        assert closed == [True]
        assert not asyncio.current_task().cancelling()

    async def test_handlers_are_put_back(self):
        before = signal.getsignal(signal.SIGTERM)
        with serve.until_signal():
            assert signal.getsignal(signal.SIGTERM) != before
        assert signal.getsignal(signal.SIGTERM) == before

    async def test_a_signal_to_be_ignored_stays_ignored(self):
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            with serve.until_signal():
                os.kill(os.getpid(), signal.SIGHUP)
                await asyncio.sleep(0.01)
        finally:
            signal.signal(signal.SIGHUP, before)

    async def test_a_cancel_that_is_no_signal_goes_on(self):
        async def work() -> None:
            with serve.until_signal():
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def test_failures_go_on(self):
        with pytest.raises(ZeroDivisionError), serve.until_signal():
            raise ZeroDivisionError


class TestApi:
    @pytest.fixture
    def app(self):
        made = FastAPI()
        made.state.entered, made.state.release = asyncio.Event(), asyncio.Event()

        @made.get("/slow")
        async def slow() -> str:
            made.state.entered.set()
            await made.state.release.wait()
            return "done"

        return made

    async def test_a_request_under_way_is_finished_before_the_api_ends(self, app):
        listener = listen("127.0.0.1", 0)
        url = url_of(listener)

        async def request() -> str:
            async with aiohttp.ClientSession() as session, session.get(f"{url}/slow") as response:
                return await response.json()

        ended = asyncio.Event()

        async def api() -> None:
            async with serve.answering(app, listener):
                await app.state.entered.wait()
            ended.set()

        serving, asked = asyncio.create_task(api()), asyncio.create_task(request())
        await app.state.entered.wait()
        # long enough for the server to have begun to end
        await until(lambda: listener.fileno() == -1)
        assert not ended.is_set()
        app.state.release.set()
        assert await asked == "done"
        await serving

    async def test_it_leaves_signals_alone(self, app):
        before = signal.getsignal(signal.SIGTERM)
        async with serve.answering(app, listen("127.0.0.1", 0)):
            assert signal.getsignal(signal.SIGTERM) == before

    async def test_it_ends_when_the_block_fails(self, app):
        listener = listen("127.0.0.1", 0)
        with pytest.raises(ZeroDivisionError):
            async with serve.answering(app, listener):
                raise ZeroDivisionError
        assert listener.fileno() == -1


class TestParts:
    async def test_a_part_that_fails_ends_the_process_with_its_reason(self):
        async def broken() -> None:
            raise StartupError("The line is dead.")

        async with serve._beside(broken(), name="broken") as part:
            running = serve.Serving(url=None, context=None, engines=None, local=None, parts=(part,))
            with pytest.raises(StartupError, match="The line is dead"):
                await running.until_failed()

    async def test_a_part_that_ends_by_itself_is_a_fault_too(self):
        async def short() -> None:
            pass

        async with serve._beside(short(), name="dialer") as part:
            running = serve.Serving(url=None, context=None, engines=None, local=None, parts=(part,))
            with pytest.raises(RuntimeError, match="dialer ended by itself"):
                await running.until_failed()

    async def test_parts_are_cancelled_at_the_end_of_the_block(self):
        async with serve._beside(asyncio.Event().wait(), name="part") as part:
            pass
        assert part.cancelled()


async def test_whoever_serves_the_api_tells_webhooks(dsn, tmp_path):
    settings = Settings(
        _env_file=None, data_dir=tmp_path, database_url=dsn, http_port=free_port(), webhook_private_hosts="127.0.0.1"
    )
    async with receiving() as receiver, serve.serving(settings, dialer=False, api=True) as running:
        stage = await set_stage(running.context.database, running.context.secrets, phones(1))
        await webhooks.create_webhook(
            stage.database,
            stage.secrets,
            account_id=stage.owner.account_id,
            iid=None,
            url=receiver.url,
            actor="test",
        )
        async with stage.database.connection() as connection:
            await insert_run(connection, stage.owner, trunk_id=stage.trunk.id)

        async def told_and_counted() -> bool:
            async with aiohttp.ClientSession() as session, session.get(f"{running.url}/metrics") as answer:
                return 'outdial_webhook_messages_total{outcome="sent"} 1.0' in await answer.text()

        await until(told_and_counted, seconds=60)
        assert receiver.events == ["run.started"]
