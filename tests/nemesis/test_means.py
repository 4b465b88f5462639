"""What the suite disturbs and watches with does what it says: clocks of single processes, links that lose packets, a
carrier that notes when things arrived."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime

import pytest
import uvloop

from nemesis.carrier import Carrier
from nemesis.world import World
from outdial.config import Settings
from outdial.core.model import Transport
from outdial.telephony.ari import AriHttp
from outdial.telephony.engine import CallEnded, TrunkAddress
from outdial.telephony.managed import ManagedAsterisk
from outdial.telephony.program import find_asterisk
from support import clocks
from support.asterisk import connected_engine
from support.clocks import Clock
from support.link import DEAF, LOSSY, MUTE, WELL, Link, NoLinkError, far_port
from support.relay import Relay, relay_to
from support.sip_peer import Behaviour, SipPeer
from telephony.conftest import TRUNK, listening
from waiting import until

pytestmark = pytest.mark.timeout(120)

SECONDS = 120.0
SOON = 5.0


@pytest.fixture
def clock(tmp_path) -> Clock:
    library = clocks.build(tmp_path)
    if library is None:
        pytest.skip("no C compiler")
    return Clock(library, tmp_path / "clock")


TELL = """
import sys, time
for _ in sys.stdin:
    print(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic(), flush=True)
    time.sleep(0.01)
"""


def test_a_process_has_its_wall_clock_stepped_and_nothing_else(clock):
    process = subprocess.Popen(
        [sys.executable, "-c", TELL], env=clock.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:

        def off() -> list[float]:
            own = (time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic())
            process.stdin.write("\n")
            process.stdin.flush()
            said = map(float, process.stdout.readline().split())
            return [told - real for told, real in zip(said, own, strict=True)]

        off()
        for step in (0.0, SECONDS, -SECONDS, 0.0):
            clock.set(step)
            wall, *others = off()
            # the question takes its time
            assert step <= wall < step + SOON
            assert all(0 <= other < SOON for other in others)


async def test_an_asterisk_has_its_wall_clock_stepped(clock, stage, tmp_path):
    program = clock.wrap_asterisk(tmp_path / "engine", await find_asterisk(Settings(_env_file=None)))
    asterisk = ManagedAsterisk(Settings(_env_file=None, data_dir=stage, asterisk_command=program))
    address = await asterisk.start()
    ari = AriHttp(address.url, address.username, address.password, timeout_seconds=20)
    try:
        for step in (0.0, SECONDS, -SECONDS, 0.0):
            clock.set(step)
            before = time.time()
            said = (await ari.request("GET", "asterisk/ping")).decode(dict)["timestamp"]
            off = datetime.fromisoformat(said).timestamp() - before
            assert step - 0.1 < off < step + SOON
    finally:
        await ari.close()
        await asterisk.stop()


WAIT = """
import ctypes, sys, time
libc = ctypes.CDLL(None)
class Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]
condition, mutex = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(mutex)
until = Timespec(int(time.time()) + 60, 0)
print("waits", flush=True)
code = libc.pthread_cond_timedwait(condition, mutex, ctypes.byref(until))
print(code, time.time() - until.seconds, flush=True)
"""


def test_who_waits_for_an_instant_wakes_when_the_clock_is_stepped_over_it(clock):
    process = subprocess.Popen([sys.executable, "-c", WAIT], env=clock.environment, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "waits\n"
        clock.set(SECONDS)
        code, late = process.stdout.readline().split()
    # ETIMEDOUT
    assert code == "110"
    assert 0 <= float(late) < SECONDS


@contextlib.asynccontextmanager
async def echo(how: str) -> AsyncIterator[tuple[World, Relay]]:
    """A relay to a server that says everything again, behind a link or not."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                said.extend(data)
                writer.write(data)
        writer.close()

    said = bytearray()
    async with contextlib.AsyncExitStack() as stack:
        made = World.__new__(World)
        made.link = None
        if how == "link":
            try:
                made.link = Link(1)
            except NoLinkError as error:
                pytest.skip(str(error))
            stack.callback(made.link.close)
        server = await stack.enter_async_context(await asyncio.start_server(serve, "127.0.0.1", 0))
        relay = Relay(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await relay.open(made.link.sockets[0] if made.link else None)
        stack.push_async_callback(relay.close)
        relay.said = said
        yield made, relay


@pytest.mark.parametrize("how", ["link", "relay"])
async def test_what_is_said_over_a_lossy_link_arrives_late_and_whole(how):
    words = bytes(place % 251 for place in range(100_000))
    async with echo(how) as (made, relay):
        reader, writer = await asyncio.open_connection(relay.host, relay.port)
        began = time.monotonic()
        writer.write(words)
        assert await reader.readexactly(len(words)) == words
        quick = time.monotonic() - began
        made.let(relay, LOSSY)
        began = time.monotonic()
        for place in range(0, len(words), 10_000):
            writer.write(words[place : place + 10_000])
            assert await reader.readexactly(10_000) == words[place : place + 10_000]
        assert time.monotonic() - began > quick
        made.let(relay, WELL)
        writer.close()


@pytest.mark.parametrize("how", ["link", "relay"])
async def test_one_way_may_be_dead_and_the_other_not(how):
    async with echo(how) as (made, relay):
        reader, writer = await asyncio.open_connection(relay.host, relay.port)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"

        made.let(relay, DEAF)
        writer.write(b"b")
        async with asyncio.timeout(30):
            while relay.said != b"ab":  # noqa: ASYNC110 - another connection's bytes
                await asyncio.sleep(0.01)
        answer = asyncio.ensure_future(reader.readexactly(1))
        await asyncio.wait([answer], timeout=0.3)
        assert not answer.done()
        made.let(relay, WELL)
        assert await answer == b"b"

        made.let(relay, MUTE)
        writer.write(b"c")
        answer = asyncio.ensure_future(reader.readexactly(1))
        await asyncio.wait([answer], timeout=0.3)
        assert relay.said == b"ab"
        made.let(relay, WELL)
        assert await answer == b"c"
        writer.close()


def test_a_packets_port_at_the_far_end_is_read():
    head = bytes([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 198, 18, 0, 1, 198, 18, 0, 2])
    assert far_port(head + b"\x12\x34\x56\x78", there=True) == 0x5678
    assert far_port(head + b"\x12\x34\x56\x78", there=False) == 0x1234
    udp = bytes([*head[:9], 17, *head[10:]])
    assert far_port(udp + b"\x12\x34\x56\x78", there=True) == 0


def request_of(method: str) -> bytes:
    lines = [
        f"{method} sip:+15550100180@127.0.0.1 SIP/2.0",
        "Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1",
        "From: <sip:+1@127.0.0.1>;tag=a",
        "To: <sip:+15550100180@127.0.0.1>",
        "Call-ID: one",
        f"CSeq: 1 {method}",
        "Contact: <sip:+1@127.0.0.1>",
        "Content-Length: 0",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def test_the_carrier_notes_when_the_first_of_two_cancels_came_however_late_it_reads_them():
    peer = await SipPeer.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.connect((peer.host, peer.port))
        caller.send(request_of("INVITE"))
        await peer.until(lambda: "one" in peer.calls and peer.calls["one"].responded_at is not None)
        # nothing is read in between: both wait in line
        caller.send(request_of("CANCEL"))
        caller.send(request_of("CANCEL"))
        await peer.until(lambda: [method for _, method, _ in peer.requests].count("CANCEL") == 2)
    await peer.close()
    call = peer.calls["one"]
    # when the kernel had each, which on a busy machine may be after what sent it has gone on
    first, second = (at for at, method, _ in peer.requests if method == "CANCEL")
    assert call.responded_at < call.cancelled_at == first < second
    assert first < call.ended_at
    assert call.status == 487


async def test_a_call_over_the_line_is_recorded_with_its_engine_and_rings_on_when_the_line_is_cut(stage, tmp_path):
    asterisk = ManagedAsterisk(Settings(_env_file=None, data_dir=stage))
    await asterisk.start()
    carrier, seen = Carrier(), tmp_path / "seen.json"
    try:
        async with (
            relay_to(f"tcp://127.0.0.1:{carrier.tcp_port}") as relay,
            connected_engine(asterisk, "test-line") as engine,
            listening(engine, TrunkAddress(relay.host, relay.port)) as line,
        ):
            line.trunk = replace(TRUNK, id="tr-line", port=relay.port, transport=Transport.TCP)
            await until(lambda: engine.trunk_up(line.trunk, line.address))
            await engine.put_permit(line.permit())
            await engine.originate(line.call("+15550100180", call_id="one"))
            await until(lambda: any(call.responded_at is not None for call in carrier.seen(seen)))
            [rings] = carrier.fresh(seen)
            assert carrier.fresh(seen) == []
            assert (rings.tcp, rings.number) == (True, "+15550100180")
            # the connection that the carrier sees is the relay's
            assert rings.source == asterisk.sip_address.port

            relay.cut()
            await line.heard("one", CallEnded)

            async def down() -> bool:
                return not await engine.line_up(line.trunk.id, line.address)

            await until(down)
            relay.shut = False
            # what the engine had to say of the call it has said before this is answered
            await until(lambda: engine.line_up(line.trunk.id, line.address))
            [rings] = carrier.seen(seen)
            assert (rings.cancelled_at, rings.ended_at) == (None, None)
    finally:
        carrier.close()
        await asterisk.stop()


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_what_a_carrier_says_to_a_connection_that_is_gone_breaks_nothing(factory):
    broken = []

    async def play() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context["message"]))
        peer = await SipPeer.start(transport="tcp")
        peer.choose = lambda _: Behaviour(silent_seconds=0.2, final=603)
        _, writer = await asyncio.open_connection(peer.host, peer.port)
        writer.write(request_of("INVITE").replace(b"UDP 127.0.0.1", b"TCP 127.0.0.1:5999"))
        await peer.until(lambda: "one" in peer.calls)
        writer.transport.abort()
        await until(lambda: peer.calls["one"].ended_at is not None or bool(broken))
        assert peer.calls["one"].source == 5999
        await peer.close()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(play())
    assert broken == []
