"""The webhook step: another system is asked in mid-call, and the flow goes on by what it answers, or without."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from dialer.test_calls_asterisk import ANSWERS, asterisk, phone  # noqa: F401 - fixtures
from dialer.test_flow_player import HANGS_UP, LISTENS, phones  # noqa: F401 - a fixture
from flows import steps
from outdial.core.model import Disposition
from outdial.dialer.flow_webhooks import FlowWebhooks
from sounds import tone, wav
from support.crm import crm
from support.rtp import handset
from waiting import until

MUSIC, YES, NO = 700, 1100, 1500


@pytest.fixture
async def system():
    async with crm() as served:
        yield served


def asking(phones, url: str, **webhook: Any):  # noqa: F811 - the fixture
    """A flow that asks, says what it has learnt, and notes the result."""
    return steps(
        {
            "ask": {"webhook": {"url": url, "timeout_seconds": 0.5, **webhook}, "next": "tell", "failed": "missed"},
            "tell": {"say": "It is {status|unknown}.", "next": "yes"},
            "yes": {"result": "told"},
            "missed": {"play": "short", "next": "no"},
            "no": {"result": "not told"},
        },
        {"short.wav": phones.sound(0.4), "long.wav": phones.sound(30.0)},
        sounds={"short": "short.wav"} | ({"long": "long.wav"} if "play" in webhook else {}),
    )


class TestAsking:
    async def test_its_answer_is_said(self, phones, system, monkeypatch):  # noqa: F811
        said = []
        says = phones.calls._voice.say

        async def noted(text, language):
            said.append(text)
            return await says(text, language)

        monkeypatch.setattr(phones.calls._voice, "say", noted)
        system.answer = lambda _asked: {"status": "on its way"}
        news = await phones.call(LISTENS, asking(phones, system.url, send=["order", "name"]), order="7", secret="x")
        assert said == ["It is on its way."]
        assert (news.disposition, news.flow.result) == (Disposition.ANSWERED_HUMAN, "told")
        assert system.asked == [{"attempt_id": news.id, "flow_id": "cf-1", "step": "ask", "variables": {"order": "7"}}]

    @pytest.mark.parametrize(
        "answer",
        [
            lambda _asked: web.Response(status=500),
            lambda _asked: web.Response(text="sent"),
            lambda _asked: web.Response(body=b" " * 20_000),
            lambda _asked: [],
        ],
        ids=["500", "no JSON", "too large", "no object"],
    )
    async def test_what_is_no_answer_leads_to_the_other_branch(self, phones, system, answer):  # noqa: F811
        system.answer = answer
        news = await phones.call(LISTENS, asking(phones, system.url))
        assert (news.flow.path, news.flow.result) == (("ask", "missed", "no"), "not told")

    async def test_redirects_are_not_followed(self, phones, system):  # noqa: F811
        system.answer = lambda _asked: web.Response(status=307, headers={"Location": system.url})
        assert (await phones.call(LISTENS, asking(phones, system.url))).flow.result == "not told"
        assert len(system.asked) == 1

    async def test_nobody_waits_longer_than_it_says(self, phones, system):  # noqa: F811
        system.hold.clear()
        news = await phones.call(LISTENS, asking(phones, system.url))
        assert news.flow.result == "not told"
        assert (news.ended_at - news.answered_at).total_seconds() > 0.45

    @pytest.mark.parametrize(
        "url",
        ["http://10.0.0.1/", "http://169.254.169.254/", "http://[::1]/", "http://127.0.0.1:9/", "http://a..b.example/"],
    )
    async def test_what_may_not_or_cannot_be_asked(self, phones, url):  # noqa: F811
        assert (await phones.call(LISTENS, asking(phones, url))).flow.result == "not told"

    async def test_an_address_of_this_network_is_asked_only_when_it_is_allowed(self, phones, system, monkeypatch):  # noqa: F811
        monkeypatch.setattr(phones.calls, "_webhooks", FlowWebhooks(()))
        assert (await phones.call(LISTENS, asking(phones, system.url))).flow.result == "not told"
        assert system.asked == []
        await phones.calls._webhooks.close()

    async def test_without_another_branch_who_heard_nothing_was_abandoned(self, phones, system):  # noqa: F811
        system.answer = lambda _asked: web.Response(status=503)
        news = await phones.call(LISTENS, steps({"ask": {"webhook": system.url}}))
        assert news.disposition is Disposition.ABANDONED
        assert "the webhook failed: HTTP status 503" in news.reason

    async def test_what_comes_after_the_call_is_over_is_done_for_nobody(self, phones, system):  # noqa: F811
        system.hold.clear()
        flow = steps(
            {
                "ask": {"webhook": {"url": system.url, "timeout_seconds": 10}, "next": "out"},
                "out": {"opt_out": "account"},
            }
        )
        news = await phones.call(HANGS_UP, flow)
        assert news.flow.path == ("ask",)
        system.hold.set()
        await until(lambda: not phones.calls._tasks)
        assert phones.opt_outs.asked == []

    async def test_what_nobody_foresaw_keeps_nobody_on_the_line(self, phones, system, monkeypatch):  # noqa: F811
        async def fails(*_args, **_more):
            raise ZeroDivisionError

        monkeypatch.setattr(FlowWebhooks, "ask", fails)
        assert (await phones.call(LISTENS, asking(phones, system.url))).flow.result == "not told"

    async def test_a_sound_that_cannot_be_played_meanwhile_is_silence(self, phones, system, monkeypatch):  # noqa: F811
        system.answer = lambda _asked: {"status": "here"}
        plays = phones.engine.play

        async def not_the_long_one(call_id, audio, playback_id):
            if audio.name == "30.0.wav":
                raise OSError("gone")
            await plays(call_id, audio, playback_id)

        monkeypatch.setattr(phones.engine, "play", not_the_long_one)
        assert (await phones.call(LISTENS, asking(phones, system.url, play="long"))).flow.result == "told"


async def test_who_waits_hears_the_sound_and_then_the_answer(phone, system, tmp_path):  # noqa: F811
    """Over real SIP and RTP: what the called phone heard is what counts."""
    tmp_path.chmod(0o755)
    files = {}
    for name, frequency, seconds in (("music", MUSIC, 20.0), ("yes", YES, 1.0), ("no", NO, 1.0)):
        path = tmp_path / f"{name}.wav"
        path.write_bytes(wav(tone(frequency, rate=8000, seconds=seconds), rate=8000))
        files[f"{name}.wav"] = (path, seconds)
    flow = steps(
        {
            "ask": {
                "webhook": {"url": system.url, "timeout_seconds": 10, "play": "music"},
                "next": "yes",
                "failed": "no",
            },
            "yes": {"play": "yes"},
            "no": {"play": "no"},
        },
        files,
        sounds={"music": "music.wav", "yes": "yes.wav", "no": "no.wav"},
    )
    system.hold.clear()
    async with handset(phone.peer) as ear:
        attempt_id = await phone.place(ANSWERS, flow)
        await ear.hears(MUSIC)
        assert ear.most(YES) < 200
        # the sound may begin before the question has arrived
        await until(lambda: bool(system.asked))
        assert len(system.asked) == 1
        system.hold.set()
        await ear.hears(YES)
        await until(lambda: ear.loudness(YES, seconds=0.2) > 1000 and ear.loudness(MUSIC, seconds=0.2) < 200)
        news = await phone.ended(attempt_id)
        assert ear.most(NO) < 200
    assert (news.disposition, news.flow.path) == (Disposition.ANSWERED_HUMAN, ("ask", "yes"))
