"""The ``agent`` steps of this node's calls: programs that listen to and talk with whoever is on the line.

The node itself connects to the agent, by the rules of every address that a flow names, and hands sound to and fro
between it and the engine; no SIP leaves by it. A talk never outlives its call.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import aiohttp
import msgspec
import structlog
from yarl import URL

from outdial.core.errors import EngineUnavailableError
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

_GOOD_ORDER: Final = 1000
"""RFC 6455 §7.4.1: the purpose for which the connection was established has been fulfilled."""

_log = structlog.get_logger()


class Agents:
    """Connects all calls of one node."""

    def __init__(self, engine: Engine, private_hosts: Iterable[str]) -> None:
        self._engine = engine
        self._private_hosts = frozenset(private_hosts)
        self._outside: Outside | None = None
        self._over: dict[str, asyncio.Event] = {}
        """Attempt → set once its call is over."""

    async def talk(self, action: StartAgent, *, attempt_id: str, about: Mapping[str, Any]) -> Done | Failed:
        """Let an agent talk with whoever is at an answered call; ``about`` is what it is told first."""
        over = self._over.setdefault(attempt_id, asyncio.Event())
        try:
            reason = await self._talk(action, attempt_id, {"event": "start", "rate": action.rate, **about}, over)
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
        """Release the connections."""
        if self._outside is not None:
            await self._outside.close()

    async def _talk(self, action: StartAgent, attempt_id: str, start: Mapping[str, Any], over: asyncio.Event) -> str:
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
                return await _relay(agent, stream, over, action.longest_seconds)
            finally:
                await stream.close()
        except EngineUnavailableError as error:
            return error.message
        except ConnectionError as error:
            return f"it dropped the call ({error})"
        finally:
            await agent.close()


async def _relay(
    agent: aiohttp.ClientWebSocketResponse[bool], stream: MediaStream, over: asyncio.Event, longest_seconds: float
) -> str:
    """Hand sound to and fro until one side ends, the call is over, or it has lasted long enough."""
    ways = [asyncio.ensure_future(way) for way in (_listens(agent, stream), _talks(agent, stream), _ended(over))]
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


async def _talks(agent: aiohttp.ClientWebSocketResponse[bool], stream: MediaStream) -> str:
    """Hand what the agent says to the person."""
    async for message in agent:
        if message.type is aiohttp.WSMsgType.BINARY:
            await stream.send(message.data)
        elif message.type is aiohttp.WSMsgType.TEXT and _event(message.data) == "clear":
            await stream.clear()
    return "" if agent.close_code == _GOOD_ORDER else f"it dropped the call (close code {agent.close_code})"


def _event(text: str) -> str:
    """Return which event a text message is, empty for one nobody knows."""
    with contextlib.suppress(msgspec.DecodeError):
        document = msgspec.json.decode(text)
        return str(document.get("event", "")) if isinstance(document, dict) else ""
    return ""
