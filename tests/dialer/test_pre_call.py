"""The pre-call fetch: asked about once for each attempt, right before it; no clear CALL, no call."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from dialing import dialing, phones, set_stage, with_rules
from outdial.core.model import RunState
from outdial.core.pre_call import FETCH_SECONDS, PreCallContact, PreCallFetch, PreCallProblem
from outdial.dialer.pre_call import PreCall
from outdial.services import pre_calls, runs
from outdial.services.stop import stop
from support.crm import CALL, crm, skip
from support.wire import differs
from waiting import until

ADA = PreCallContact("+15550100104", attributes={"firstName": "Ada"})


@pytest.fixture
async def system():
    async with crm() as served:
        yield served


async def ask(url: str, *, private_hosts=("127.0.0.1", "localhost")):
    async with PreCall(PreCallFetch(url, {"X-Key": "s3cret"}, "cd-1", "Spring"), private_hosts=private_hosts) as asks:
        return await asks.ask(ADA, "cdl-1")


class TestAsking:
    async def test_question_headers_and_answer(self, system):
        system.answer = lambda _asked: {**CALL, "detailedContactData": {"balance": 3}}
        answer = await ask(system.url)
        assert (answer.call, answer.status, answer.data) == (True, 200, {"balance": 3})
        expected = {
            "CampaignName": "Spring",
            "CampaignId": "cd-1",
            "DialingId": "cdl-1",
            "contactData": {"phoneNumber": "+15550100104", "contactPriority": 0, "firstName": "Ada"},
        }
        assert differs([expected], system.asked) == []
        assert system.headers[0]["X-Key"] == "s3cret"
        assert system.headers[0]["Content-Type"] == "application/json"

    async def test_a_name_may_be_private_when_it_is_allowed(self, system):
        assert (await ask(system.url.replace("127.0.0.1", "localhost"))).call

    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1",
            "localhost",
            "[::1]",
            "10.0.0.1",
            "169.254.169.254",
            "[::ffff:10.0.0.1]",
            # by NAT64, by 6to4, IPv4-compatible, site-local
            "[64:ff9b::a9fe:a9fe]",
            "[2002:a00:1::1]",
            "[::7f00:1]",
            "[fec0::1]",
        ],
    )
    async def test_private_addresses_are_not_asked(self, system, host):
        answer = await ask(system.url.replace("127.0.0.1", host), private_hosts=())
        assert (answer.call, answer.problem) == (False, PreCallProblem.PRIVATE_ADDRESS)
        assert "OUTDIAL_PRE_CALL_PRIVATE_HOSTS" in answer.reason
        assert system.asked == []

    async def test_a_system_that_does_not_answer(self, system):
        system.hold.clear()
        began = asyncio.get_running_loop().time()
        answer = await ask(system.url)
        assert (answer.call, answer.problem) == (False, PreCallProblem.TIMEOUT)
        assert asyncio.get_running_loop().time() - began < FETCH_SECONDS + 1

    async def test_a_system_that_drips(self):
        async def slowly(asked_request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(asked_request)
            for _ in range(100):
                await response.write(b" ")
                await asyncio.sleep(0.05)
            return response

        runner = web.AppRunner(web.Application(), shutdown_timeout=0.1)
        runner.app.router.add_post("/ask", slowly)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        answer = await ask(f"http://{host}:{port}/ask")
        assert answer.problem is PreCallProblem.TIMEOUT
        await runner.cleanup()

    async def test_a_system_that_is_not_there(self, system):
        answer = await ask("http://127.0.0.1:9/ask")
        assert (answer.call, answer.problem) == (False, PreCallProblem.UNREACHABLE)
        assert answer.reason

    @pytest.mark.parametrize("host", ["xn--a.example.com", "a..example.com", "a" * 64 + ".example.com"])
    async def test_a_host_that_no_resolver_can_be_asked_about(self, host):
        """What somebody has set must not raise: it would end the life of the node, and so everybody's calls."""
        answer = await ask(f"http://{host}/ask")
        assert (answer.call, answer.problem) == (False, PreCallProblem.UNREACHABLE)

    async def test_redirects_are_not_followed(self, system):
        system.answer = lambda _asked: web.Response(status=307, headers={"Location": system.url})
        answer = await ask(system.url)
        assert (answer.problem, answer.status, len(system.asked)) == (PreCallProblem.STATUS, 307, 1)

    async def test_a_reply_without_end(self, system):
        system.answer = lambda _asked: web.Response(body=b" " * 5_000_000)
        assert (await ask(system.url)).problem is PreCallProblem.TOO_LARGE

    async def test_a_process_that_was_stopped_meanwhile_cannot_tell(self, system, tmp_path):
        """What was held up here says nothing of the contact: it is put back, not skipped."""
        system.hold.clear()
        asking = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import asyncio\n"
            "from outdial.core.pre_call import PreCallContact, PreCallFetch\n"
            "from outdial.dialer.pre_call import PreCall\n"
            "async def main():\n"
            f"    fetch = PreCallFetch({system.url!r}, {{}}, 'cd-1', 'Spring')\n"
            "    async with PreCall(fetch, private_hosts=['127.0.0.1']) as asks:\n"
            "        print(await asks.ask(PreCallContact('+15550100104'), 'cdl-1'))\n"
            "asyncio.run(main())\n",
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        )
        await until(lambda: bool(system.asked))
        asking.send_signal(signal.SIGSTOP)
        frozen_at = asyncio.get_running_loop().time()
        await until(lambda: asyncio.get_running_loop().time() > frozen_at + FETCH_SECONDS + 1)
        asking.send_signal(signal.SIGCONT)
        told, _ = await asking.communicate()
        assert told.decode().strip().endswith("None")


async def prepared(database, secret_box, system, numbers, **more):
    stage = await set_stage(database, secret_box, numbers, rules=with_rules(max_attempts=1), **more)
    await pre_calls.set_fetch(
        database,
        secret_box,
        iid=stage.owner.iid,
        campaign_id=stage.campaign_id,
        url=system.url,
        headers={"X-Key": "s3cret"},
        actor="test",
    )
    return stage


@pytest.fixture(autouse=True)
def may_ask_this_machine(monkeypatch):
    monkeypatch.setenv("OUTDIAL_PRE_CALL_PRIVATE_HOSTS", "127.0.0.1")


async def start(stage):
    return (
        await runs.start(stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="t")
    ).run


async def attempts_of(stage):
    async with stage.database.connection() as connection:
        return await connection.fetch(
            "SELECT a.*, rc.state AS contact_state, rc.done_reason, rc.attempts_count FROM attempts a "
            "JOIN run_contacts rc USING (run_id, contact_id) ORDER BY a.phone"
        )


class TestRuns:
    async def test_an_address_nobody_can_ask_ends_no_life(
        self, database, secret_box, engine, engines, tmp_path, system
    ):
        """One tenant's address, set by an earlier version; another tenant's calls go on."""
        stage = await prepared(database, secret_box, system, phones(2))
        other = await set_stage(database, secret_box, phones(3, area=556), account="Other")
        async with database.connection() as connection:
            await connection.execute("UPDATE pre_call_fetches SET url = 'http://xn--a.example.com/ask'")
        async with dialing(stage, engine, tmp_path, engines=engines) as node:
            run = await start(stage)

            async def over() -> bool:
                return node.done() or (await runs.progress(database, run.id)).run.state is RunState.COMPLETED

            await until(over)
            assert not node.done()
            await start(other)
            await until(lambda: len(engine.sent) == 3)

    async def test_only_who_may_be_called_is(self, database, secret_box, engine, engines, tmp_path, system):
        numbers = phones(12)
        skipped, broken = set(numbers[:4]), numbers[4]

        def answer(asked):
            phone = asked["contactData"]["phoneNumber"]
            if phone == broken:
                return {"contactHandling": {}}
            return skip("paid") if phone in skipped else {**CALL, "detailedContactData": {"balance": 7}}

        system.answer = answer
        stage = await prepared(database, secret_box, system, numbers)
        async with dialing(stage, engine, tmp_path, engines=engines):
            run = await start(stage)

            async def over() -> bool:
                return (await runs.progress(database, run.id)).run.state is RunState.COMPLETED

            await until(over)
        assert {call.number for call in engine.sent} == set(numbers) - skipped - {broken}
        assert sorted(asked["contactData"]["phoneNumber"] for asked in system.asked) == sorted(numbers)
        assert {headers["X-Key"] for headers in system.headers} == {"s3cret"}
        for attempt in await attempts_of(stage):
            kept = attempt["pre_call"]
            if attempt["phone"] in skipped:
                assert (attempt["done_reason"], attempt["attempts_count"], attempt["dialed_at"]) == ("skipped", 0, None)
                assert (kept["call"], kept["reason"], kept["problem"]) == (False, "paid", None)
                assert attempt["change_reason"] == "the pre-call fetch said to skip: paid"
            elif attempt["phone"] == broken:
                assert (attempt["done_reason"], kept["problem"]) == ("skipped", "malformed")
            else:
                assert (attempt["done_reason"], attempt["attempts_count"]) == ("reached", 1)
                assert (kept["call"], kept["data"], kept["status"]) == (True, {"balance": 7}, 200)
        progress = await runs.progress(database, run.id)
        assert (progress.placed, sum(progress.contacts.values())) == (7, 12)

    async def test_answers_of_different_length_do_not_bunch_calls(
        self, database, secret_box, engine, engines, tmp_path, system
    ):
        """The rate holds at the moment calls leave, whatever the replies took."""
        turn = iter(range(100))

        async def late(seconds: float) -> web.Response:
            await asyncio.sleep(seconds)
            return web.json_response(CALL)

        # the first replies come last
        system.answer = lambda _asked: late(max(0.0, 1.5 - 0.15 * next(turn)))
        stage = await prepared(database, secret_box, system, phones(12), calls_per_second=10.0)
        async with dialing(stage, engine, tmp_path, engines=engines):
            await start(stage)
            await until(lambda: len(engine.sent) == 12)
        async with database.connection() as connection:
            rows = await connection.fetch("SELECT dialed_at FROM attempts ORDER BY dialed_at")
        left = [row["dialed_at"] for row in rows]
        # every window of eleven calls spans a second at ten calls a second; half of it for a busy machine's jitter
        assert all((later - earlier).total_seconds() > 0.5 for earlier, later in zip(left, left[10:], strict=False))

    async def test_a_stop_does_not_wait_for_replies(self, database, secret_box, engine, engines, tmp_path, system):
        system.hold.clear()
        stage = await prepared(database, secret_box, system, phones(6))
        async with dialing(stage, engine, tmp_path, engines=engines):
            run = await start(stage)
            await until(lambda: len(system.asked) == 6)
            stopped = await stop(
                database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="supervisor"
            )
            assert stopped.report.latency_seconds < 1.0
            system.hold.set()
            over = datetime.now(UTC).timestamp() + FETCH_SECONDS + 0.5
            await until(lambda: datetime.now(UTC).timestamp() > over)
        assert engine.sent == []
        progress = await runs.progress(database, run.id)
        # whoever was being asked about was never attempted
        assert progress.contacts == {"pending": 6}

    async def test_a_contact_that_was_deleted_meanwhile_is_its_number(
        self, database, secret_box, engine, engines, tmp_path, system
    ):
        stage = await prepared(database, secret_box, system, phones(1))
        run = await start(stage)
        async with database.connection() as connection:
            await connection.execute("DELETE FROM contacts")
        async with dialing(stage, engine, tmp_path, engines=engines):

            async def over() -> bool:
                return (await runs.progress(database, run.id)).run.state is RunState.COMPLETED

            await until(over)
        assert system.asked[0]["contactData"] == {"phoneNumber": phones(1)[0], "contactPriority": 0}
