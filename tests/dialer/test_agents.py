"""The agent step: a program over a WebSocket listens and talks; whatever it does, nobody is left with silence."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSCloseCode, WSMsgType, web
from structlog.testing import capture_logs

from dialer.test_calls_asterisk import ANSWERS, asterisk, phone  # noqa: F401 - fixtures
from dialer.test_flow_player import HANGS_UP, LISTENS, phones  # noqa: F401 - a fixture
from flows import steps
from outdial.core.errors import EngineUnavailableError
from outdial.core.flow import OptOutScope
from outdial.core.model import DncSource
from outdial.dialer import agents as module
from outdial.dialer.agents import Agents
from outdial.telephony.simulated import SimulatedStream
from sounds import tone, wav
from support.rtp import amplitude, handset
from waiting import until

SAID, BEEP, SORRY = 620, 1000, 1400
Behaviour = Callable[[web.WebSocketResponse, "Agent"], Awaitable[None]]


@dataclass
class Agent:
    """A program that does as it is told, and keeps what it has heard."""

    url: str = ""
    behave: Behaviour | None = None
    starts: list[dict[str, Any]] = field(default_factory=list)
    heard: bytearray = field(default_factory=bytearray)
    open: int = 0


@contextlib.asynccontextmanager
async def serving(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_get("/", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield f"ws://{host}:{port}/"
    await runner.cleanup()


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    one = Agent()

    async def talk(request: web.Request) -> web.WebSocketResponse:
        call = web.WebSocketResponse()
        await call.prepare(request)
        one.open += 1
        try:
            one.starts.append(json.loads(await call.receive_str()))
            assert one.behave is not None
            await one.behave(call, one)
        finally:
            one.open -= 1
        return call

    async with serving(talk) as one.url:
        yield one


async def listens(call: web.WebSocketResponse, one: Agent) -> None:
    async for message in call:
        if message.type is WSMsgType.BINARY:
            one.heard += message.data


def talks(url: str, **agent_: Any):
    return steps(
        {
            "talk": {"agent": {"url": url, **agent_}, "next": "talked", "failed": "sorry"},
            "talked": {"result": "talked"},
            "sorry": {"result": "sorry"},
        }
    )


class TestTalking:
    async def test_it_hears_and_is_heard_and_ends_in_good_order(self, phones, agent):  # noqa: F811
        async def says_hello(call, one):
            await call.send_bytes(b"\x01\x02" * 800)
            while len(one.heard) < 3200:
                one.heard += (await call.receive()).data
            await call.close()

        agent.behave = says_hello
        news = await phones.call(LISTENS, talks(agent.url, rate=16000))
        assert news.flow.result == "talked"
        assert agent.starts == [
            {"event": "start", "rate": 16000, "attempt_id": news.id, "flow_id": "cf-1", "step": "talk"}
        ]
        assert set(agent.heard) == {0}
        (stream,) = phones.engine.streams.values()
        assert bytes(stream.heard) == b"\x01\x02" * 800

    async def test_it_may_take_back_what_was_not_heard_yet(self, phones, agent):  # noqa: F811
        async def interrupts_itself(call, _one):
            await call.send_bytes(b"\x01\x02" * 800)
            await call.send_str("what is that?")
            await call.send_str('{"event": "clear"}')
            await call.send_bytes(b"\x03\x04" * 8)
            await call.close()

        agent.behave = interrupts_itself
        assert (await phones.call(LISTENS, talks(agent.url))).flow.result == "talked"
        (stream,) = phones.engine.streams.values()
        assert bytes(stream.heard) == b"\x03\x04" * 8

    async def test_it_talks_for_so_long_and_no_longer(self, phones, agent):  # noqa: F811
        agent.behave = listens
        news = await phones.call(LISTENS, talks(agent.url, longest_seconds=1))
        assert news.flow.result == "talked"
        await until(lambda: agent.open == 0)

    async def test_who_hangs_up_ends_it(self, phones, agent):  # noqa: F811
        agent.behave = listens
        assert not (await phones.call(HANGS_UP, talks(agent.url))).flow.finished
        await until(lambda: agent.open == 0)


class TestOptingOut:
    """Whoever says to an agent that they want no more calls is taken at their word, whatever becomes of the talk."""

    async def test_it_is_taken_while_the_talk_goes_on(self, phones, agent):  # noqa: F811
        async def is_told(call, one):
            await call.send_str('{"event": "opt_out"}')
            # the talk ends only because of it
            await until(lambda: bool(phones.opt_outs.asked))
            await call.send_bytes(b"\x01\x02" * 800)
            await call.close()

        agent.behave = is_told
        news = await phones.call(LISTENS, talks(agent.url))
        assert phones.opt_outs.asked == [(news.id, OptOutScope.ACCOUNT, DncSource.AGENT)]
        assert (news.flow.result, news.flow.opted_out) == ("talked", True)
        (stream,) = phones.engine.streams.values()
        assert bytes(stream.heard) == b"\x01\x02" * 800

    @pytest.mark.parametrize(
        ("text", "scope"),
        [
            ('{"event": "opt_out", "scope": "account"}', OptOutScope.ACCOUNT),
            ('{"event": "opt_out", "scope": "campaign", "said": "stop calling"}', OptOutScope.CAMPAIGN),
            # nobody is called for a slip
            ('{"event": "opt_out", "scope": "Campaign"}', OptOutScope.ACCOUNT),
            ('{"event": "opt_out", "scope": ["campaign"]}', OptOutScope.ACCOUNT),
            # no event that anybody knows
            ("opt_out", None),
            ('["opt_out"]', None),
            ('{"event": ["opt_out"]}', None),
            ('{"event": "opt_out"', None),
            ('{"opt_out": "account"}', None),
            # nested deeper than it can be read
            pytest.param('{"event":' + "[" * 100_000 + "]" * 100_000 + "}", None, id="deep"),
        ],
    )
    async def test_whose_calls_are_meant(self, phones, agent, text, scope):  # noqa: F811
        async def says(call, _one):
            await call.send_str(text)
            await call.send_str(text)
            await call.close()

        agent.behave = says
        news = await phones.call(LISTENS, talks(agent.url))
        assert news.flow.result == "talked"
        # once, however often it is said
        assert phones.opt_outs.asked == ([] if scope is None else [(news.id, scope, DncSource.AGENT)])
        assert news.flow.opted_out is (scope is not None)

    async def test_one_that_drops_the_call_is_believed_all_the_same(self, phones, agent):  # noqa: F811
        async def says_and_drops(call, _one):
            await call.send_str('{"event": "opt_out"}')
            await call.close(code=WSCloseCode.INTERNAL_ERROR)

        agent.behave = says_and_drops
        news = await phones.call(LISTENS, talks(agent.url))
        assert (news.flow.result, news.flow.opted_out) == ("sorry", True)
        assert [source for _, _, source in phones.opt_outs.asked] == [DncSource.AGENT]

    async def test_it_is_taken_from_whoever_understands_it_once_the_person_has_hung_up(
        self,
        phones,  # noqa: F811
        agent,
        monkeypatch,
    ):
        monkeypatch.setattr(module, "LAST_WORDS_SECONDS", 30.0)

        async def understands_late(call, one):
            await until(lambda: one.starts[0]["attempt_id"] not in phones.calls)
            await call.send_bytes(b"\x01\x02" * 800)
            await call.send_str('{"event": "opt_out"}')
            await call.close()

        agent.behave = understands_late
        news = await phones.call(HANGS_UP, talks(agent.url))
        assert not news.flow.opted_out
        await until(lambda: phones.opt_outs.asked == [(news.id, OptOutScope.ACCOUNT, DncSource.AGENT)])

    async def test_what_it_said_behind_sound_that_was_not_heard_any_more_counts(
        self,
        phones,  # noqa: F811
        agent,
        monkeypatch,
    ):
        async def has_enough(*_args):
            await asyncio.Event().wait()

        monkeypatch.setattr(SimulatedStream, "send", has_enough)

        async def says_goodbye_first(call, one):
            await call.send_bytes(b"\x01\x02" * 800)
            await call.send_str('{"event": "opt_out", "scope": "campaign"}')
            await listens(call, one)

        agent.behave = says_goodbye_first
        news = await phones.call(HANGS_UP, talks(agent.url))
        await until(lambda: phones.opt_outs.asked == [(news.id, OptOutScope.CAMPAIGN, DncSource.AGENT)])

    async def test_the_agent_is_told_once_it_is_on_disk(self, phones, agent, monkeypatch):  # noqa: F811
        disks, answers = iter((False, True)), []
        puts = phones.opt_outs.put

        def put(*asked):
            puts(*asked)
            return next(disks)

        async def says(call, _one):
            # the disk is full the first time, and only then is it asked again
            for text in ('{"event": "opt_out"}',) * 3:
                await call.send_str(text)
            while len(answers) < 2:
                message = await call.receive()
                if message.type is WSMsgType.TEXT:
                    answers.append((json.loads(message.data), len(phones.opt_outs.asked)))
            await call.close()

        monkeypatch.setattr(phones.opt_outs, "put", put)
        agent.behave = says
        news = await phones.call(LISTENS, talks(agent.url))
        assert answers == [({"event": "opted_out", "scope": "account"}, 2)] * 2
        assert (news.flow.result, news.flow.opted_out) == ("talked", True)

    async def test_it_is_told_after_the_end_of_the_call_too(self, phones, agent, monkeypatch):  # noqa: F811
        monkeypatch.setattr(module, "LAST_WORDS_SECONDS", 30.0)
        answers = []

        async def understands_late(call, one):
            await until(lambda: one.starts[0]["attempt_id"] not in phones.calls)
            await call.send_str('{"event": "opt_out", "scope": "campaign"}')
            async for message in call:
                if message.type is WSMsgType.TEXT:
                    answers.append(json.loads(message.data))
                    await call.close()

        agent.behave = understands_late
        await phones.call(HANGS_UP, talks(agent.url))
        await until(lambda: answers == [{"event": "opted_out", "scope": "campaign"}])

    async def test_the_end_of_the_node_waits_for_no_last_words(self, phones, agent, monkeypatch):  # noqa: F811
        monkeypatch.setattr(module, "LAST_WORDS_SECONDS", 3600.0)
        agents = phones.calls._agents
        agent.behave = listens
        await phones.call(HANGS_UP, talks(agent.url))
        await until(lambda: len(agents._leaving) == 1)
        assert agent.open == 1
        await agents.close()
        # ended, and not only cut off from its connection
        assert not agents._leaving
        await until(lambda: agent.open == 0)
        assert phones.opt_outs.asked == []

    async def test_nor_does_it_leave_a_connection_open_whose_last_words_were_not_begun_with(
        self,
        phones,  # noqa: F811
        agent,
    ):
        agents = phones.calls._agents
        agent.behave = listens
        calling = asyncio.create_task(phones.call(HANGS_UP, talks(agent.url)))
        # until the very turn of the event loop in which the talk ends
        while not agents._leaving:  # noqa: ASYNC110 - a turn later would be too late
            await asyncio.sleep(0)
        ((leaving, connection),) = agents._leaving.items()
        await agents.close()
        assert leaving.cancelled()
        assert connection.closed
        await until(lambda: agent.open == 0)
        await calling

    async def test_last_words_that_break_something_are_logged(self, phones, agent, monkeypatch):  # noqa: F811
        monkeypatch.setattr(module, "LAST_WORDS_SECONDS", 30.0)

        def breaks(*_asked):
            raise ZeroDivisionError

        async def understands_late(call, one):
            await until(lambda: one.starts[0]["attempt_id"] not in phones.calls)
            await call.send_str('{"event": "opt_out"}')
            await listens(call, one)

        monkeypatch.setattr(phones.opt_outs, "put", breaks)
        agent.behave = understands_late
        with capture_logs() as lines:
            await phones.call(HANGS_UP, talks(agent.url))
            await until(lambda: agent.open == 0 and not phones.calls._agents._leaving)
        (line,) = [line for line in lines if line["event"] == "agent_not_left_in_order"]
        assert isinstance(line["exc_info"], ZeroDivisionError)


class TestFaults:
    """The person hears what the other branch says."""

    @pytest.mark.parametrize("code", [WSCloseCode.GOING_AWAY, WSCloseCode.INTERNAL_ERROR, 4000])
    async def test_one_that_drops_the_call(self, phones, agent, code):  # noqa: F811
        async def drops(call, _one):
            await call.receive()
            await call.close(code=code)

        agent.behave = drops
        assert (await phones.call(LISTENS, talks(agent.url))).flow.result == "sorry"

    async def test_one_that_breaks_off(self, phones, agent):  # noqa: F811
        async def breaks_off(call, _one):
            await call.receive()
            call._req.transport.abort()

        agent.behave = breaks_off
        assert (await phones.call(LISTENS, talks(agent.url))).flow.result == "sorry"

    async def test_one_that_answers_no_ping(self, phones, monkeypatch):  # noqa: F811
        monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.4)

        async def deaf(request: web.Request) -> web.WebSocketResponse:
            call = web.WebSocketResponse(autoping=False)
            await call.prepare(request)
            await listens(call, Agent())
            return call

        async with serving(deaf) as url:
            assert (await phones.call(LISTENS, talks(url))).flow.result == "sorry"

    async def test_one_that_is_slow_to_answer(self, phones, monkeypatch):  # noqa: F811
        monkeypatch.setattr(module, "CONNECT_SECONDS", 0.3)
        never = asyncio.Event()

        async def slow(_request: web.Request) -> web.WebSocketResponse:
            await never.wait()
            raise web.HTTPBadRequest

        async with serving(slow) as url:
            assert (await phones.call(LISTENS, talks(url))).flow.result == "sorry"
            never.set()

    async def test_one_that_refuses(self, phones):  # noqa: F811
        async def refuses(_request: web.Request) -> web.StreamResponse:
            return web.Response(status=403)

        async with serving(refuses) as url:
            assert (await phones.call(LISTENS, talks(url))).flow.result == "sorry"

    async def test_one_that_is_elsewhere_is_not_followed(self, phones, agent):  # noqa: F811
        """An address that is looked at may lead to one that is not."""

        async def leads_on(_request: web.Request) -> web.StreamResponse:
            raise web.HTTPTemporaryRedirect(agent.url.replace("ws:", "http:"))

        agent.behave = listens
        async with serving(leads_on) as url:
            assert (await phones.call(LISTENS, talks(url))).flow.result == "sorry"
        assert agent.starts == []

    @pytest.mark.parametrize("url", ["ws://127.0.0.1:9/", "ws://10.0.0.1/", "wss://[::1]/", "ws://a..b.example/"])
    async def test_one_that_may_not_or_cannot_be_reached(self, phones, url):  # noqa: F811
        assert (await phones.call(LISTENS, talks(url))).flow.result == "sorry"

    async def test_an_address_of_this_network_only_when_it_is_allowed(self, phones, agent, monkeypatch):  # noqa: F811
        agent.behave = listens
        forbidding = Agents(phones.engine, ())
        monkeypatch.setattr(phones.calls, "_agents", forbidding)
        assert (await phones.call(LISTENS, talks(agent.url))).flow.result == "sorry"
        assert agent.starts == []
        await forbidding.close()

    async def test_an_engine_that_cannot(self, phones, agent, monkeypatch):  # noqa: F811
        async def fails(*_args):
            raise EngineUnavailableError("no such module")

        agent.behave = listens
        monkeypatch.setattr(phones.engine, "open_media", fails)
        assert (await phones.call(LISTENS, talks(agent.url))).flow.result == "sorry"
        await until(lambda: agent.open == 0)

    async def test_what_nobody_foresaw(self, phones, agent, monkeypatch):  # noqa: F811
        async def fails(*_args):
            raise ZeroDivisionError

        agent.behave = listens
        monkeypatch.setattr(phones.engine, "open_media", fails)
        assert (await phones.call(LISTENS, talks(agent.url))).flow.result == "sorry"


@pytest.mark.parametrize("rate", [8000, 16000])
async def test_over_real_sip_both_hear_each_other(phone, agent, rate):  # noqa: F811
    def agent_hears() -> bool:
        samples = array("h", bytes(agent.heard[-(rate // 5) * 2 :]))
        return amplitude(samples, SAID, rate=rate) > 1000

    async def beeps_until_it_hears(call, one):
        # faster than it is heard: the engine holds it up
        await call.send_bytes(tone(BEEP, rate=rate, seconds=4.0).tobytes())
        async for message in call:
            one.heard += message.data
            if agent_hears():
                break
        await call.close()

    agent.behave = beeps_until_it_hears
    async with handset(phone.peer) as said:
        attempt_id = await phone.place(ANSWERS, talks(agent.url, rate=rate))
        await said.hears(BEEP)
        assert said.most(SAID) < 1000
        await said.say(SAID, 3.0)
        news = await phone.ended(attempt_id)
    assert news.flow.result == "talked"
    # nothing is left of it
    assert not phone.engine._media
    bridges = await phone.engine._request("GET", "bridges")
    assert bridges.text == "[]"


async def test_over_real_sip_who_opts_out_is_taken_at_their_word_and_goes_on_talking(phone, agent):  # noqa: F811
    opt_outs = phone.calls._opt_outs

    async def understands(call, one):
        async for message in call:
            one.heard += message.data
            if amplitude(array("h", bytes(one.heard[-3200:])), SAID, rate=8000) > 1000:
                break
        await call.send_str('{"event": "opt_out", "scope": "campaign"}')
        await until(lambda: bool(opt_outs.asked))
        # who says so is still there
        heard = len(one.heard)
        async for message in call:
            if message.type is WSMsgType.BINARY:
                one.heard += message.data
            if len(one.heard) >= heard + 3200:
                break
        await call.close()

    agent.behave = understands
    async with handset(phone.peer) as said:
        attempt_id = await phone.place(ANSWERS, talks(agent.url, rate=8000))
        await until(lambda: bool(agent.starts))
        await said.say(SAID, 3.0)
        news = await phone.ended(attempt_id)
    assert opt_outs.asked == [(attempt_id, OptOutScope.CAMPAIGN, DncSource.AGENT)]
    assert (news.flow.result, news.flow.opted_out) == ("talked", True)


@pytest.mark.parametrize("code", [WSCloseCode.INTERNAL_ERROR, None], ids=["closes", "breaks off"])
async def test_over_real_sip_who_is_dropped_in_the_middle_hears_the_other_branch(phone, agent, tmp_path, code):  # noqa: F811
    tmp_path.chmod(0o755)
    path = tmp_path / "sorry.wav"
    path.write_bytes(wav(tone(SORRY, rate=8000, seconds=1.0), rate=8000))
    flow = steps(
        {
            "talk": {"agent": {"url": agent.url}, "next": "talked", "failed": "sorry"},
            "talked": {"result": "talked"},
            "sorry": {"play": "sorry", "next": "noted"},
            "noted": {"result": "sorry"},
        },
        {"sorry.wav": (path, 1.0)},
        sounds={"sorry": "sorry.wav"},
    )

    async def drops_in_the_middle(call, _one):
        # most of it is not heard any more
        await call.send_bytes(tone(BEEP, rate=8000, seconds=20.0).tobytes())
        await said.hears_well(BEEP)
        if code is None:
            call._req.transport.abort()
        else:
            await call.close(code=code)

    agent.behave = drops_in_the_middle
    async with handset(phone.peer) as said:
        attempt_id = await phone.place(ANSWERS, flow)
        news = await phone.ended(attempt_id)
        said.listen()
    assert (news.flow.path, news.flow.result) == (("talk", "sorry", "noted"), "sorry")
    assert said.melody([BEEP, SORRY]) == [BEEP, SORRY]
    assert said.seconds_of(BEEP) < 10.0
    assert said.seconds_of(SORRY) > 0.8
    assert not phone.engine._media
    bridges = await phone.engine._request("GET", "bridges")
    assert bridges.text == "[]"


async def test_over_real_sip_who_hangs_up_ends_it(phone, agent):  # noqa: F811
    agent.behave = listens
    attempt_id = await phone.place(ANSWERS, talks(agent.url))
    await until(lambda: len(agent.heard) > 0 or bool(agent.starts))
    phone.calls.hang_up(attempt_id)
    await phone.ended(attempt_id)
    await until(lambda: agent.open == 0 and not phone.engine._media)


async def test_the_example_says_back_what_it_hears(phone):  # noqa: F811
    path = Path(__file__).parents[2] / "examples" / "echo_agent.py"
    spec = importlib.util.spec_from_file_location("echo_agent", path)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    async with serving(example.talk) as url, handset(phone.peer) as said:
        attempt_id = await phone.place(ANSWERS, talks(url))
        await said.hears(BEEP)
        talking = asyncio.create_task(said.say(SAID, 4.0))
        await said.hears(SAID)
        await talking
        phone.calls.hang_up(attempt_id)
        await phone.ended(attempt_id)
