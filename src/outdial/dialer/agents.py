"""The ``agent`` steps of this node's calls: programs that listen to and talk with whoever is on the line.

The node itself connects to the agent, by the rules of every address that a flow names, and hands sound to and fro
between it and the engine; no SIP leaves by it. A talk never outlives its call; that the person wants no more calls is
heard from the agent for a moment longer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import aiohttp
import msgspec
import structlog
from yarl import URL

from outdial.core.errors import EngineUnavailableError
from outdial.core.flow import OptOutScope
from outdial.core.flow_play import Done, Failed, StartAgent
from outdial.dialer.outside import Outside
from outdial.public_hosts import private_address
from outdial.telephony.engine import Engine, MediaStream

CONNECT_SECONDS: Final = 5.0
"""For an agent to answer."""

HEARTBEAT_SECONDS: Final = 4.0
"""Between two pings; an agent that does not answer one within half of that has dropped the call."""

STALL_SECONDS: Final = 2.0
"""An agent that takes no sound for so long has dropped the call."""

LARGEST_MESSAGE: Final = 1024 * 1024
"""Bytes: half a minute at 16 kHz."""

LAST_WORDS_SECONDS: Final = 2.0
"""For which an opt-out is still taken once the talk is over: people say so and hang up, and their agent needs a moment
to understand them."""

CLOSE_SECONDS: Final = 1.0
"""For an agent to say that it has heard of the end, where nobody waits for its last words."""

_GOOD_ORDER: Final = 1000
"""RFC 6455 §7.4.1: the purpose for which the connection was established has been fulfilled."""

_log = structlog.get_logger()

_OptsOut: TypeAlias = Callable[[OptOutScope], bool]


class Agents:
    """Connects all calls of one node."""

    def __init__(self, engine: Engine, private_hosts: Iterable[str]) -> None:
        self._engine = engine
        self._private_hosts = frozenset(private_hosts)
        self._outside: Outside | None = None
        self._over: dict[str, asyncio.Event] = {}
        """Attempt → set once its call is over."""
        self._leaving: dict[asyncio.Task[None], aiohttp.ClientWebSocketResponse[bool]] = {}
        """Talks that are over, until their connections are closed."""

    async def talk(
        self, action: StartAgent, *, attempt_id: str, about: Mapping[str, Any], opts_out: Callable[[OptOutScope], bool]
    ) -> Done | Failed:
        """Let an agent talk with whoever is at an answered call; ``about`` is what it is told first.

        ``opts_out`` is called in the instant in which the agent says that the person wants no more calls, for some
        seconds after the talk too, and returns whether that is on disk: then the agent is told, and it is not called
        for the scope again.
        """
        over = self._over.setdefault(attempt_id, asyncio.Event())
        start = {"event": "start", "rate": action.rate, **about}
        try:
            reason = await self._talk(action, attempt_id, start, over, _once_each(opts_out))
        finally:
            self._over.pop(attempt_id, None)
        if not reason:
            return Done(action.turn)
        _log.warning("agent_failed", attempt_id=attempt_id, reason=reason)
        return Failed(action.turn, f"the agent failed: {reason}")

    def end_of(self, attempt_id: str) -> None:
        """The call is over: so is the talk."""
        if attempt_id in self._over:
            self._over[attempt_id].set()

    async def close(self) -> None:
        """Release the connections, without waiting for last words."""
        left = dict(self._leaving)
        for leaving in left:
            leaving.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for agent in left.values():
            # where that had not even begun; else it is closed already
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await agent.close()
        if self._outside is not None:
            await self._outside.close()

    async def _talk(
        self,
        action: StartAgent,
        attempt_id: str,
        start: Mapping[str, Any],
        over: asyncio.Event,
        opts_out: _OptsOut,
    ) -> str:
        """Return why it was no talk in good order, empty when it was."""
        if self._outside is None:
            self._outside = Outside(self._private_hosts)
        try:
            agent = await self._outside.websocket(
                URL(action.url),
                seconds=CONNECT_SECONDS,
                heartbeat_seconds=HEARTBEAT_SECONDS,
                largest_message=LARGEST_MESSAGE,
            )
        except TimeoutError:
            return f"no connection within {CONNECT_SECONDS:g} seconds"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return str(private_address(error) or error) or type(error).__name__
        try:
            await agent.send_str(msgspec.json.encode(start).decode())
            stream = await self._engine.open_media(attempt_id, f"{attempt_id}-m{action.turn}", action.rate)
            try:
                return await _relay(agent, stream, over, action.longest_seconds, opts_out)
            finally:
                await stream.close()
        except EngineUnavailableError as error:
            return error.message
        except ConnectionError as error:
            return f"it dropped the call ({error})"
        finally:
            # beside what comes next in the flow
            leaving = asyncio.create_task(_leave(agent, opts_out))
            self._leaving[leaving] = agent
            leaving.add_done_callback(self._left)

    def _left(self, leaving: asyncio.Task[None]) -> None:
        self._leaving.pop(leaving, None)
        if not leaving.cancelled() and (error := leaving.exception()) is not None:
            _log.error("agent_not_left_in_order", exc_info=error)


async def _relay(
    agent: aiohttp.ClientWebSocketResponse[bool],
    stream: MediaStream,
    over: asyncio.Event,
    longest_seconds: float,
    opts_out: _OptsOut,
) -> str:
    """Hand sound to and fro until one side ends, the call is over, or it has lasted long enough."""
    each = (_listens(agent, stream), _talks(agent, stream, opts_out), _ended(over))
    ways = [asyncio.ensure_future(way) for way in each]
    try:
        done, _ = await asyncio.wait(ways, timeout=longest_seconds, return_when=asyncio.FIRST_COMPLETED)
        return next((way.result() for way in ways if way in done), "")
    finally:
        for way in ways:
            way.cancel()
        await asyncio.wait(ways)


async def _ended(over: asyncio.Event) -> str:
    await over.wait()
    return ""


async def _listens(agent: aiohttp.ClientWebSocketResponse[bool], stream: MediaStream) -> str:
    """Hand what the person says to the agent."""
    while (frame := await stream.receive()) is not None:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                await agent.send_bytes(frame)
        except TimeoutError:
            return f"it took no sound for {STALL_SECONDS:g} seconds"
        except ConnectionError:
            # how it ended the other way tells
            await asyncio.Event().wait()
    return "the engine ended the stream"


async def _talks(agent: aiohttp.ClientWebSocketResponse[bool], stream: MediaStream, opts_out: _OptsOut) -> str:
    """Hand what the agent says to the person."""
    async for message in agent:
        if message.type is aiohttp.WSMsgType.BINARY:
            await stream.send(message.data)
        elif message.type is aiohttp.WSMsgType.TEXT:
            event = _read(message.data)
            await _hear(agent, event, opts_out)
            if event.get("event") == "clear":
                await stream.clear()
    return "" if agent.close_code == _GOOD_ORDER else f"it dropped the call (close code {agent.close_code})"


async def _leave(agent: aiohttp.ClientWebSocketResponse[bool], opts_out: _OptsOut) -> None:
    """Hear what the agent says last, and close the connection."""
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                # ends at once where the agent has closed it
                async for message in agent:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        await _hear(agent, _read(message.data), opts_out)
    finally:
        await agent.close()


def _read(text: str) -> Mapping[str, Any]:
    """Return the event that a text message is, empty for what is none."""
    # of one that is nested deeper than anybody means, too
    with contextlib.suppress(msgspec.DecodeError, RecursionError):
        document = msgspec.json.decode(text)
        return document if isinstance(document, dict) else {}
    return {}


async def _hear(agent: aiohttp.ClientWebSocketResponse[bool], event: Mapping[str, Any], opts_out: _OptsOut) -> None:
    """Take an opt-out, if it is one, and tell the agent once that is on disk. One whose scope nobody knows is of the
    account: nobody is called for a slip."""
    if event.get("event") != "opt_out":
        return
    scope = OptOutScope.CAMPAIGN if event.get("scope") == OptOutScope.CAMPAIGN else OptOutScope.ACCOUNT
    if not opts_out(scope):
        return
    # it is taken whether or not the agent is there to be told; how the connection ended shows elsewhere
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(STALL_SECONDS):
            await agent.send_str(msgspec.json.encode({"event": "opted_out", "scope": scope}).decode())


def _once_each(opts_out: _OptsOut) -> _OptsOut:
    """Return what takes each scope once, but for one that was not to be kept: an agent may say it again and again."""
    kept = set[OptOutScope]()

    def hear(scope: OptOutScope) -> bool:
        if scope not in kept and opts_out(scope):
            kept.add(scope)
        return scope in kept

    return hear
