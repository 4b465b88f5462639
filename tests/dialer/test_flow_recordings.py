"""The record step: nobody is recorded without having agreed, and what counts as recorded is on disk."""

from __future__ import annotations

import asyncio
import stat
import wave
from array import array
from pathlib import Path

import pytest

from dialer.test_calls_asterisk import ANSWERS, asterisk, phone  # noqa: F401 - fixtures
from dialer.test_flow_player import LISTENS, PRESSES_1, PRESSES_9, phones  # noqa: F401 - a fixture
from dialer.test_run import fetch, is_over, start
from dialing import dialing, set_stage, with_rules
from flows import steps
from outdial.core import recording as core
from outdial.core.errors import EngineUnavailableError
from outdial.core.machine import MachineVerdict, Sample
from outdial.core.model import Disposition
from outdial.dialer import flow_player
from outdial.dialer import recordings as module
from outdial.dialer.recordings import Recordings
from outdial.services import flows
from outdial.services import recordings as service
from sounds import tone, wav
from support.recordings import SAID, ended_attempt, found
from support.rtp import amplitude, handset
from waiting import until

VOICE = 620


def asks(phones, **record):  # noqa: F811 - the fixture
    """A flow that asks whether it may record, and notes what came of it."""
    return steps(
        {
            "voice": {
                "record": {"play": "ask", "timeout_seconds": 1, "longest_seconds": 3, "silence_seconds": 1, **record},
                "next": "thanks",
                "refused": "no",
                "failed": "lost",
            },
            "thanks": {"result": "recorded"},
            "no": {"result": "refused"},
            "lost": {"result": "not recorded"},
        },
        {"ask.wav": phones.sound(4.0)},
        sounds={"ask": "ask.wav"},
    )


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / service.FOLDER / service.UNLISTED).glob("*"))


class TestAsking:
    async def test_who_agrees_is_recorded(self, phones):  # noqa: F811
        news = await phones.call(PRESSES_1, asks(phones))
        assert (news.disposition, news.flow.result) == (Disposition.ANSWERED_HUMAN, "recorded")
        assert kept(phones.folder) == [f"{news.id}-2-voice.wav"]
        path = phones.folder / service.FOLDER / service.UNLISTED / f"{news.id}-2-voice.wav"
        assert 0.5 < core.seconds_of(path.read_bytes()) < 2.5
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert await phones.engine.recordings() == [], "the engine keeps nothing"

    @pytest.mark.parametrize("number", [PRESSES_9, LISTENS])
    async def test_who_does_not_is_not(self, phones, number):  # noqa: F811
        assert (await phones.call(number, asks(phones))).flow.result == "refused"
        assert await phones.engine.recordings() == []
        assert kept(phones.folder) == []

    async def test_who_hangs_up_has_said_what_was_said(self, phones, monkeypatch):  # noqa: F811
        """Message left, phone put down: that is how most end."""
        starts = phones.engine.start_recording

        async def put_down_over_it(call_id, name, **limits):
            await starts(call_id, name, **limits)
            await phones.engine.hang_up(call_id)

        monkeypatch.setattr(phones.engine, "start_recording", put_down_over_it)
        news = await phones.call(PRESSES_1, asks(phones, longest_seconds=60, silence_seconds=60))
        assert not news.flow.finished
        await until(lambda: kept(phones.folder) == [f"{news.id}-2-voice.wav"])


class TestFaults:
    """Nothing is called recorded that is not."""

    async def test_an_engine_that_cannot(self, phones, monkeypatch):  # noqa: F811
        async def fails(*_args, **_more):
            raise EngineUnavailableError("no folder")

        monkeypatch.setattr(phones.engine, "start_recording", fails)
        assert (await phones.call(PRESSES_1, asks(phones))).flow.result == "not recorded"

    @pytest.mark.parametrize("audio", [None, wav(b"", rate=8000), b"?"], ids=["no file", "no sound", "no WAV"])
    async def test_an_engine_that_says_it_has(self, phones, monkeypatch, audio):  # noqa: F811
        async def found(_name):
            return audio

        monkeypatch.setattr(phones.engine, "recording", found)
        assert (await phones.call(PRESSES_1, asks(phones))).flow.result == "not recorded"
        assert kept(phones.folder) == []

    async def test_an_engine_that_does_not_give_it_out(self, phones, monkeypatch):  # noqa: F811
        async def fails(_name):
            raise EngineUnavailableError("no answer")

        monkeypatch.setattr(phones.engine, "recording", fails)
        news = await phones.call(PRESSES_1, asks(phones))
        assert news.flow.result == "not recorded"
        assert await phones.engine.recordings() == [f"{news.id}-2-voice"], "found there later"

    async def test_a_disk_that_is_full(self, phones, monkeypatch):  # noqa: F811
        def full(*_args):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(service, "save", full)
        assert (await phones.call(PRESSES_1, asks(phones))).flow.result == "not recorded"

    async def test_without_another_branch_the_call_ends(self, phones, monkeypatch):  # noqa: F811
        async def fails(*_args, **_more):
            raise ZeroDivisionError

        monkeypatch.setattr(phones.engine, "start_recording", fails)
        flow = steps(
            {"voice": {"record": {"play": "ask"}, "next": "no"}, "no": {"result": "recorded"}},
            {"ask.wav": phones.sound(4.0)},
            sounds={"ask": "ask.wav"},
        )
        news = await phones.call(PRESSES_1, flow)
        assert (news.flow.result, news.flow.finished) == (None, True)

    async def test_an_end_nobody_is_told_of(self, phones, monkeypatch):  # noqa: F811
        monkeypatch.setattr(
            phones.calls,
            "_tell",
            lambda call, event, tell=phones.calls._tell: (
                None if type(event).__name__ == "RecordingEnded" else tell(call, event)
            ),
        )
        monkeypatch.setattr(flow_player, "RECORDING_GRACE_SECONDS", -2.7)
        assert (await phones.call(PRESSES_1, asks(phones))).flow.result == "recorded"


@pytest.fixture
async def run(database, secret_box):
    return await set_stage(database, secret_box, [PRESSES_1], rules=with_rules(max_attempts=1))


class TestListing:
    async def test_it_is_listed_by_account_run_and_attempt(self, run, engine, engines, tmp_path):
        document = {
            "start": "voice",
            "sounds": {"ask": "ask.wav"},
            "steps": {
                "voice": {"record": {"play": "ask", "silence_seconds": 1}, "refused": "no"},
                "no": {"result": "no"},
            },
        }
        asked = {"ask.wav": wav(tone(440, rate=8000, seconds=3.0), rate=8000)}
        flow = await flows.add_flow_document(run.database, run.owner.iid, "voice", document, asked)
        async with run.database.connection() as connection:
            await connection.execute("UPDATE campaigns SET flow_id = $1", flow.id)
        async with dialing(run, engine, tmp_path, engines=engines):
            started = await start(run)
            await until(lambda: is_over(run, started), seconds=60)
            await until(lambda: _rows(run), seconds=20)
        (row,) = await _rows(run)
        (attempt,) = await fetch(run, "SELECT id, account_id FROM attempts")
        assert (row["attempt_id"], row["step"]) == (attempt["id"], "voice")
        assert row["file"] == f"{attempt['account_id']}/{started.instance_id}/{attempt['id']}/{row['id']}.wav"
        path = tmp_path / service.FOLDER / row["file"]
        assert core.seconds_of(path.read_bytes()) == pytest.approx(row["duration_seconds"])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert kept(tmp_path) == []
        assert [
            tuple(one) for one in await fetch(run, "SELECT to_state, actor FROM history WHERE action = 'recording'")
        ] == [("added", f"attempt {attempt['id']}")]

    async def test_what_a_dead_node_left_on_disk_or_at_the_engine_is_found(self, run, engine, tmp_path):
        """Both by a node that has never heard of the calls; one that is still going on is left alone."""
        started = await start(run)
        on_disk, at_engine, fresh = [
            await ended_attempt(run.database, started.instance_id, ago=ago)
            for ago in ("1 minute", "1 minute", "1 second")
        ]
        service.save(tmp_path / service.FOLDER, core.name_of(on_disk, 2, "voice"), SAID)
        for attempt_id in (at_engine, fresh):
            engine._recordings[core.name_of(attempt_id, 2, "voice")] = 1.0
        engine._recordings["somebody-elses"] = 1.0
        recordings = Recordings(run.database, engine, tmp_path)
        task = asyncio.create_task(recordings.run())
        await until(lambda: _count(run, 2))
        await recordings.flush()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert {row["attempt_id"] for row in await _rows(run)} == {on_disk, at_engine}
        assert sorted(await engine.recordings()) == sorted([core.name_of(fresh, 2, "voice"), "somebody-elses"])

    async def test_of_samples_those_only_that_are_kept_for_review(self, run, engine, tmp_path):
        """A verdict says whether; nobody hears the others."""
        started = await start(run)
        wanted, dropped, undecided = [
            await ended_attempt(run.database, started.instance_id, ago="1 minute") for _ in range(3)
        ]
        await found(run.database, wanted, MachineVerdict.HUMAN, Sample())
        await found(run.database, dropped, MachineVerdict.HUMAN)
        for attempt_id in (wanted, dropped, undecided):
            engine._recordings[core.sample_name(attempt_id)] = 1.0
        recordings = Recordings(run.database, engine, tmp_path)
        await recordings.fetch_left()
        assert list(service.left(tmp_path / service.FOLDER)) == [core.sample_name(wanted)]
        assert await engine.recordings() == []

    async def test_it_waits_for_the_database(self, run, engine, tmp_path, monkeypatch):
        started = await start(run)
        attempt_id = await ended_attempt(run.database, started.instance_id)
        tries = []
        lists = service.list_one

        async def away_at_first(*args):
            tries.append(args)
            if len(tries) < 3:
                raise module.DatabaseUnavailableError("away")
            await lists(*args)

        monkeypatch.setattr(service, "list_one", away_at_first)
        recordings = Recordings(run.database, engine, tmp_path)
        engine._recordings[core.name_of(attempt_id, 2, "voice")] = 1.0
        assert await recordings.keep(core.name_of(attempt_id, 2, "voice")) == pytest.approx(1.0)
        task = asyncio.create_task(recordings.run())
        await recordings.flush()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len(tries) == 3
        assert len(await _rows(run)) == 1

    async def test_one_of_another_database_stays_and_blocks_nobody(self, run, engine, tmp_path):
        started = await start(run)
        service.save(tmp_path / service.FOLDER, core.name_of("0" * 32, 2, "voice"), SAID)
        attempt_id = await ended_attempt(run.database, started.instance_id)
        service.save(tmp_path / service.FOLDER, core.name_of(attempt_id, 2, "voice"), SAID)
        recordings = Recordings(run.database, engine, tmp_path)
        task = asyncio.create_task(recordings.run())
        await until(lambda: kept(tmp_path) == [f"{'0' * 32}-2-voice.wav"])
        assert await _count(run, 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _rows(run):
    return await fetch(run, "SELECT * FROM recordings")


async def _count(run, count: int) -> bool:
    return len(await _rows(run)) == count


async def test_what_was_said_is_what_is_kept(phone, tmp_path):  # noqa: F811
    """Over real SIP and RTP: a tone the phone sent, and nothing of what it was played."""
    tmp_path.chmod(0o755)
    path = tmp_path / "ask.wav"
    path.write_bytes(wav(tone(1500, rate=8000, seconds=1.0), rate=8000))
    flow = steps(
        {
            "voice": {"record": {"play": "ask", "longest_seconds": 2}, "next": "bye", "failed": "lost"},
            "bye": {"result": "recorded"},
            "lost": {"result": "lost"},
        },
        {"ask.wav": (path, 1.0)},
        sounds={"ask": "ask.wav"},
    )
    async with handset(phone.peer) as said:
        attempt_id = await phone.place(ANSWERS, flow)
        talking = asyncio.create_task(said.say(VOICE, 15.0))
        await said.hears(1500)
        phone.calls._calls[attempt_id].player.key("1")
        news = await phone.ended(attempt_id)
        talking.cancel()
    assert news.flow.result == "recorded"
    (name,) = kept(tmp_path)
    with wave.open(str(tmp_path / service.FOLDER / service.UNLISTED / name)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        samples = array("h", file.readframes(file.getnframes()))
    assert 1.5 < len(samples) / 8000 < 5.0
    assert amplitude(samples, VOICE) > 5000
    assert amplitude(samples, 1500) < 300
    assert await phone.engine.recordings() == []


async def test_who_sends_no_sound_was_not_recorded(phone, tmp_path):  # noqa: F811
    """Asterisk says of it that it is done."""
    tmp_path.chmod(0o755)
    path = tmp_path / "ask.wav"
    path.write_bytes(wav(tone(1500, rate=8000, seconds=1.0), rate=8000))
    flow = steps(
        {
            "voice": {"record": {"play": "ask", "longest_seconds": 2}, "next": "bye", "failed": "lost"},
            "bye": {"result": "recorded"},
            "lost": {"result": "lost"},
        },
        {"ask.wav": (path, 1.0)},
        sounds={"ask": "ask.wav"},
    )
    async with handset(phone.peer) as silent:
        attempt_id = await phone.place(ANSWERS, flow)
        await silent.hears(1500)
        phone.calls._calls[attempt_id].player.key("1")
        news = await phone.ended(attempt_id)
    assert news.flow.result == "lost"
    assert kept(tmp_path) == []
    assert await phone.engine.recordings() == []
