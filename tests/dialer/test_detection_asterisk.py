"""Answering machines at a real Asterisk and a real database: what is heard at the far end, and what a stop, a hang-up
and a node's death make of a call that is being listened to."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
import wave
from array import array
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dialer.test_run import fetch, is_over, press_stop, start
from dialing import Stage, dialing, set_stage, with_rules
from outdial.core import recording
from outdial.core.ids import stasis_app
from outdial.core.machine import DetectionTimings, MachineDetection, MachineVerdict
from outdial.core.machine_review import NO_REVIEW, ReviewShares
from outdial.core.model import ConnectedCalls, OwnRules, RingingCalls, RunState
from outdial.dialer import samples
from outdial.dialer.recordings import Recordings
from outdial.services import flows, recordings
from outdial.services.engines import Engines
from outdial.services.stop import StopOptions
from outdial.telephony import detection_context
from outdial.telephony.ari import ChannelInfo
from outdial.telephony.asterisk import AsteriskEngine
from sounds import tone, wav
from support.asterisk import connected_engine
from support.asterisk import module_asterisk as asterisk  # noqa: F401 - a fixture
from support.rtp import RATE, Handset, amplitude, handset
from support.sip_peer import SipPeer
from waiting import until

PERSON, LEAVES = "+15550100001", "+15550100487"
VOICE, BEEP, HELLO, DROP = 620, 1000, 440, 1500
TTL = 1.0

pytestmark = pytest.mark.timeout(240)


def silence(seconds: float) -> array:
    return array("h", bytes(2 * round(seconds * RATE)))


def machine() -> array:
    """A greeting of four seconds with a pause in it, half a second of nothing, a beep, and a tape that runs."""
    return (
        tone(VOICE, rate=RATE, seconds=3.5)
        + silence(0.3)
        + tone(VOICE, rate=RATE, seconds=0.5)
        + silence(0.5)
        + tone(BEEP, rate=RATE, seconds=0.4)
        + silence(20.0)
    )


BEEPED_SECONDS = 5.2


def person() -> array:
    return silence(0.4) + tone(VOICE, rate=RATE, seconds=0.6) + silence(20.0)


@dataclass
class Line:
    """A run whose campaign has machines detected, and the phone at its trunk."""

    stage: Stage
    peer: SipPeer
    phone: Handset
    engines: Engines
    engine: AsteriskEngine
    node: contextlib.AsyncExitStack
    folder: Path
    """The node's data."""

    async def flow(self, *, drops: bool = True) -> None:
        """Have people hear one tone, and machines another, if anything."""
        document = {
            "start": "hello",
            "sounds": {"hello": "hello.wav", "drop": "drop.wav"} if drops else {"hello": "hello.wav"},
            "steps": {"hello": {"play": "hello"}} | ({"drop": {"play": "drop"}} if drops else {}),
        } | ({"machine_start": "drop"} if drops else {})
        files = {
            f"{name}.wav": wav(tone(frequency, rate=RATE, seconds=1.5), rate=RATE)
            for name, frequency in (("hello", HELLO), ("drop", DROP))
            if drops or name == "hello"
        }
        found = await flows.add_flow_document(self.stage.database, self.stage.owner.iid, "f", document, files)
        async with self.stage.database.connection() as connection:
            await connection.execute("UPDATE campaigns SET flow_id = $1", found.id)

    async def mode(self, mode: MachineDetection, review: ReviewShares = NO_REVIEW, **timings: float) -> None:
        own = OwnRules(detection=DetectionTimings(greeting_seconds=1.0, **timings), review=review)
        async with self.stage.database.connection() as connection:
            await connection.execute(
                "UPDATE campaigns SET rules = $1", with_rules(max_attempts=1, machine_detection=mode, own=own)
            )

    async def attempt(self):
        rows = await fetch(self.stage, "SELECT * FROM attempts")
        return rows[0] if rows else None

    async def answered(self) -> str:
        """Wait until the call is answered, and its node has begun to listen; return the attempt's id."""

        async def is_answered() -> bool:
            row = await self.attempt()
            return row is not None and row["answered_at"] is not None

        await until(is_answered, seconds=60)
        return (await self.attempt())["id"]

    async def ended(self):
        async def has_ended() -> bool:
            row = await self.attempt()
            return row is not None and row["ended_at"] is not None

        await until(has_ended, seconds=90)
        return await self.attempt()

    async def endings(self) -> list[str]:
        rows = await fetch(
            self.stage, "SELECT reason FROM history WHERE action = 'attempt' AND to_state IN ('ended', 'unknown')"
        )
        return [row["reason"] for row in rows]


@pytest.fixture
async def line(database, secret_box, asterisk, tmp_path) -> AsyncIterator[Line]:  # noqa: F811
    tmp_path.chmod(0o755)
    peer = await SipPeer.start()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(peer.close)
        stage = await set_stage(database, secret_box, [PERSON], rules=with_rules(max_attempts=1), port=peer.port)
        engines = Engines(database, secret_box, ttl_seconds=TTL)
        stack.push_async_callback(engines.close)
        phone = await stack.enter_async_context(handset(peer))
        node = await stack.enter_async_context(contextlib.AsyncExitStack())
        node_id = uuid.uuid4().hex
        engine = await node.enter_async_context(connected_engine(asterisk, stasis_app(node_id)))
        await node.enter_async_context(
            dialing(
                stage, engine, tmp_path, engines=engines, address=asterisk.address, ttl_seconds=TTL, node_id=node_id
            )
        )
        yield Line(stage, peer, phone, engines, engine, node, tmp_path)


@contextlib.asynccontextmanager
async def speaking(line: Line, sound: array) -> AsyncIterator[None]:
    task = asyncio.create_task(line.phone.send(sound))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class TestModes:
    async def test_a_message_is_left_after_the_beep(self, line):
        await line.flow()
        await line.mode(MachineDetection.DETECT)
        run = await start(line.stage)
        await line.answered()
        async with speaking(line, machine()):
            await line.phone.hears(DROP, seconds=60)
            assert line.phone.sent_seconds > BEEPED_SECONDS, "over the greeting, or the beep"
            row = await line.ended()
        assert row["disposition"] == "answered_machine"
        assert row["detection"]["verdict"] == MachineVerdict.MACHINE
        assert row["detection"]["timings"]["greeting_seconds"] == 1.0
        assert line.phone.most(HELLO) < 500, "what people hear"
        # all of it
        whole = [line.phone.heard[at : at + 800] for at in range(0, len(line.phone.heard), 800)]
        assert sum(amplitude(part, DROP) > 1000 for part in whole) >= 13
        await until(lambda: is_over(line.stage, run))
        (history,) = await fetch(
            line.stage, "SELECT detail FROM history WHERE action = 'attempt' AND to_state = 'ended'"
        )
        assert history["detail"]["detection"] | {"sample": None} == row["detection"]

    @pytest.mark.parametrize(("mode", "drops"), [(MachineDetection.DETECT, False), (MachineDetection.DISCONNECT, True)])
    async def test_a_machine_is_hung_up_on_without_a_word(self, line, mode, drops):
        await line.flow(drops=drops)
        await line.mode(mode)
        await start(line.stage)
        await line.answered()
        async with speaking(line, machine()):
            row = await line.ended()
            assert line.phone.sent_seconds < BEEPED_SECONDS
        assert (row["disposition"], row["detection"]["verdict"]) == ("answered_machine", MachineVerdict.MACHINE)
        assert max(line.phone.most(HELLO), line.phone.most(DROP)) < 500

    @pytest.mark.parametrize("mode", [MachineDetection.DETECT, MachineDetection.DISCONNECT])
    async def test_a_person_hears_what_people_hear(self, line, mode):
        await line.flow()
        await line.mode(mode)
        await start(line.stage)
        await line.answered()
        async with speaking(line, person()):
            await line.phone.hears(HELLO, seconds=60)
            row = await line.ended()
        assert (row["disposition"], row["detection"]["verdict"]) == ("answered_human", MachineVerdict.HUMAN)
        assert line.phone.most(DROP) < 500

    async def test_an_asterisk_that_cannot_is_named_and_the_call_goes_on(self, line, monkeypatch):
        """As one of the user's own that lacks the dialplan."""
        monkeypatch.setattr(detection_context, "CONTEXT", "nowhere")
        await line.flow()
        await line.mode(MachineDetection.DISCONNECT)
        # asked about a call that is over, it tells nothing of itself
        await line.engine.detect(uuid.uuid4().hex, DetectionTimings())
        await start(line.stage)
        await line.answered()
        await line.phone.hears(HELLO, seconds=60)
        row = await line.ended()
        assert (row["disposition"], row["detection"]["verdict"]) == ("answered_human", MachineVerdict.FAILED)
        assert "no extension who in the dialplan context nowhere" in row["detection"]["cause"]


async def channels(line: Line) -> list[str]:
    """Names of all that the engine has."""
    reply = await line.engine._http.request("GET", "channels")
    return [channel.name for channel in reply.decode(list[ChannelInfo])]


class TestReviews:
    @pytest.fixture(autouse=True)
    def _patience(self, monkeypatch):
        """A busy machine is no engine that cannot record."""
        monkeypatch.setattr(samples, "PATIENCE_SECONDS", 10.0)

    async def sample(self, line: Line) -> array:
        """Wait until what was kept for review is known to the database; return what is heard in it."""

        async def listed() -> bool:
            return bool(await fetch(line.stage, "SELECT 1 FROM recordings"))

        await until(listed, seconds=60)
        (row,) = await fetch(line.stage, "SELECT * FROM recordings")
        assert row["step"] == recording.SAMPLE_STEP
        with wave.open(str(line.folder / recordings.FOLDER / row["file"])) as file:
            return array("h", file.readframes(file.getnframes()))

    async def test_of_a_machine_that_is_hung_up_on_at_once_there_is_what_the_detector_heard(self, line):
        await line.flow()
        await line.mode(MachineDetection.DISCONNECT, ReviewShares(machines=100))
        await start(line.stage)
        await line.answered()
        async with speaking(line, machine()):
            row = await line.ended()
        assert (row["disposition"], row["detection"]["verdict"]) == ("answered_machine", MachineVerdict.MACHINE)
        assert row["detection"]["sample"] == {"failure": ""}
        heard = await self.sample(line)
        # the speech by which it was told from a person
        spoken = sum(amplitude(heard[at : at + 800], VOICE) > 1000 for at in range(0, len(heard), 800))
        assert spoken * 0.1 >= DetectionTimings().speech_seconds - 0.2
        assert await channels(line) == []
        assert await line.engine.recordings() == []

    async def test_of_a_person_there_are_the_first_seconds_only(self, line):
        await line.flow()
        await line.mode(MachineDetection.DETECT, ReviewShares(people=100, seconds=2.0))
        await start(line.stage)
        await line.answered()
        async with speaking(line, person()):
            await line.phone.hears(HELLO, seconds=60)
            row = await line.ended()
        assert (row["disposition"], row["detection"]["verdict"]) == ("answered_human", MachineVerdict.HUMAN)
        heard = await self.sample(line)
        assert any(amplitude(heard[at : at + 800], VOICE) > 1000 for at in range(0, len(heard), 800))
        assert len(heard) < 3.5 * RATE
        assert await channels(line) == []

    async def test_what_is_not_kept_leaves_nothing(self, line):
        await line.flow()
        await line.mode(MachineDetection.DETECT, ReviewShares(machines=100))
        await start(line.stage)
        await line.answered()
        async with speaking(line, person()):
            row = await line.ended()
        assert (row["detection"]["verdict"], row["detection"]["sample"]) == (MachineVerdict.HUMAN, None)
        assert (await channels(line), await line.engine.recordings()) == ([], [])
        assert await fetch(line.stage, "SELECT 1 FROM recordings") == []

    async def test_a_stop_ends_it_with_the_call_and_counts_no_call_more(self, line):
        await line.flow()
        await line.mode(MachineDetection.DETECT, ReviewShares(100, 100), decision_seconds=20.0, no_speech_seconds=15.0)
        await start(line.stage)
        await listened_to(line)
        assert any(name.startswith("Snoop/") for name in await channels(line))
        report = await press_stop(line.stage, line.engines, options=StopOptions(connected=ConnectedCalls.HANG_UP))
        assert report.run.state is RunState.STOPPED
        row = await line.ended()
        assert (row["disposition"], row["detection"]) == ("abandoned", None)

        async def nothing() -> bool:
            return await channels(line) == [] and await line.engine.recordings() == []

        # without a verdict there is nothing to review
        await until(nothing, seconds=20)
        assert len(line.peer.of_number(PERSON)) == 1, "calls were placed"

    async def test_a_node_that_dies_leaves_no_channel_and_no_recording(self, line, asterisk, tmp_path):  # noqa: F811
        await line.flow()
        await line.mode(MachineDetection.DETECT, ReviewShares(100, 100), decision_seconds=20.0, no_speech_seconds=15.0)
        await start(line.stage)
        attempt_id = await listened_to(line)
        await line.engine.close()
        control = await line.engines.control(line.engine.id)
        assert await control.hang_up(attempt_id) is True

        async def gone() -> bool:
            reply = await control._request("GET", "channels")
            return reply.decode(list[ChannelInfo]) == []

        await until(gone, seconds=20)
        async with line.stage.database.connection() as connection:
            await connection.execute(
                "UPDATE attempts SET state = 'ended', disposition = 'abandoned',"
                " ended_at = clock_timestamp() - interval '1 minute'"
            )
        survivor_id = uuid.uuid4().hex
        async with connected_engine(asterisk, stasis_app(survivor_id)) as survivor:
            assert await survivor.recordings() == [recording.sample_name(attempt_id)]
            await Recordings(line.stage.database, survivor, tmp_path / "other").fetch_left()
            assert await survivor.recordings() == []
            assert not (tmp_path / "other").exists()


async def listened_to(line: Line) -> str:
    """Wait until the call has left the application for the dialplan."""
    attempt_id = await line.answered()

    async def away() -> bool:
        reply = await line.engine._http.request("GET", f"channels/{attempt_id}")
        return b'"app_name":"AMD"' in reply.body.replace(b" ", b"")

    await until(away, seconds=20)
    return attempt_id


class TestEnds:
    @pytest.mark.parametrize(
        ("options", "disposition"),
        [
            (StopOptions(), "answered_human"),
            (StopOptions(ringing=RingingCalls.LET_RING), "answered_human"),
            (StopOptions(connected=ConnectedCalls.HANG_UP), "abandoned"),
        ],
        ids=["cancel", "let_ring", "hang_up"],
    )
    async def test_a_stop_while_it_is_listened_to(self, line, options, disposition):
        await line.flow()
        await line.mode(MachineDetection.DETECT)
        await start(line.stage)
        attempt_id = await listened_to(line)
        report = await press_stop(line.stage, line.engines, options=options)
        assert report.run.state is RunState.STOPPED
        if options.connected is ConnectedCalls.KEEP:
            # it is a conversation, which goes on: to the verdict, and what follows
            await line.phone.hears(HELLO, seconds=60)
        row = await line.ended()
        assert (row["id"], row["disposition"]) == (attempt_id, disposition)
        assert len(await line.endings()) == 1
        assert len(line.peer.of_number(PERSON)) == 1, "calls were placed"

    async def test_who_hangs_up_while_being_listened_to(self, line):
        await line.flow()
        await line.mode(MachineDetection.DETECT)
        async with line.stage.database.connection() as connection:
            await connection.execute("UPDATE contacts SET phone = $1", LEAVES)
        line.peer.hang_up_seconds = 1.0
        await start(line.stage)
        row = await line.ended()
        assert (row["disposition"], row["detection"]) == ("abandoned", None)
        assert await line.endings() == ["the call ended before it was known who had answered"]

    async def test_a_node_that_dies_meanwhile_leaves_nobody_on_the_line(self, line, asterisk, tmp_path):  # noqa: F811
        await line.flow()
        await line.mode(MachineDetection.DETECT, decision_seconds=20.0, no_speech_seconds=15.0)
        await start(line.stage)
        attempt_id = await listened_to(line)
        # dead: it hears and says nothing any more
        await line.engine.close()
        survivor_id = uuid.uuid4().hex
        async with (
            connected_engine(asterisk, stasis_app(survivor_id)) as survivor,
            dialing(
                line.stage,
                survivor,
                tmp_path / "other",
                engines=line.engines,
                address=asterisk.address,
                ttl_seconds=TTL,
                node_id=survivor_id,
            ),
        ):
            async with line.stage.database.connection() as connection:
                await connection.execute(
                    "UPDATE nodes SET ended_at = clock_timestamp(), adopted_by = $1 WHERE id <> $1", survivor_id
                )
            row = await line.ended()
            assert (row["id"], row["disposition"], row["detection"]) == (attempt_id, "abandoned", None)
            assert await line.endings() == ["the call ended before it was known who had answered"]
            assert await survivor.calls() == []
