"""What an Asterisk lacks of the modules and the dialplan that outdial needs: asked of a call that is there, or without
one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from uuid import uuid4

import msgspec

from outdial.core.errors import EngineUnavailableError
from outdial.telephony import detection_context, ended_context
from outdial.telephony.ari import CONFLICT, NOT_FOUND, AriHttp, AriSocket, Message, Reply

GONE: Final = (NOT_FOUND, CONFLICT, 412)
"""What Asterisk answers of a channel that is not there, or not in an application any more."""

_NO_FUNCTION: Final = 500
"""What it answers when it has no function of that name."""

SAMPLE_MODULES: Final = ("res_stasis_snoop.so", "res_stasis_recording.so")
"""What recording a call beside its detection needs."""

Ask: TypeAlias = Callable[[str, str, Mapping[str, str] | None], Awaitable[Reply]]
"""Verb, path and query of one request to Asterisk."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What it takes."""

    modules: Sequence[str]
    context: str
    """Of its dialplan."""
    extensions: Sequence[str]


def detecting(*, samples: bool = False) -> Needs:
    """Return what it takes to tell machines from people; ``samples``: and to record beside it."""
    modules = (*detection_context.MODULES, *(SAMPLE_MODULES if samples else ()))
    return Needs(modules, detection_context.CONTEXT, (detection_context.WHO, detection_context.BEEP))


def telling_ends() -> Needs:
    """Return what it takes to tell who has ended a call over TCP or TLS."""
    return Needs(ended_context.MODULES, ended_context.CONTEXT, (ended_context.EXTENSION,))


class _Module(msgspec.Struct):
    status: str = ""


class _Variable(msgspec.Struct):
    value: str = ""


async def lacking(ask: Ask, url: str, channel_id: str, needs: Needs) -> str | None:
    """Return what the Asterisk at ``url`` lacks, as a sentence; empty: nothing; None: the channel was over before that
    could be found out. Raises EngineUnavailableError."""
    for module in needs.modules:
        reply = _expect(await ask("GET", f"asterisk/modules/{module}", None), url, NOT_FOUND, CONFLICT)
        if not reply.ok or reply.decode(_Module).status != "Running":
            return f"Asterisk at {url} has not loaded {module}"
    for extension in needs.extensions:
        # a function of the dialplan, which only a channel can be asked for
        asked = {"variable": f"DIALPLAN_EXISTS({needs.context},{extension},1)"}
        reply = _expect(await ask("GET", f"channels/{channel_id}/variable", asked), url, *GONE, _NO_FUNCTION)
        if reply.status in GONE:
            return None
        if reply.status == _NO_FUNCTION or (reply.ok and reply.decode(_Variable).value != "1"):
            return (
                f"Asterisk at {url} has no extension {extension} in the dialplan context "
                f"{needs.context}, or has not loaded func_dialplan.so"
            )
    return ""


async def lacking_without_call(http: AriHttp, needs: Needs) -> str:
    """Return what an Asterisk lacks, as :func:`lacking` does.

    Asked of a channel that leads nowhere, is dialed by nobody and lives for this question only: no INVITE is sent, and
    no list of calls has it. Raises EngineUnavailableError.
    """
    channel_id = f"outdial-doctor-{uuid4().hex}"
    arrived = asyncio.Event()

    def hear(message: Message) -> None:
        if message.type == "StasisStart" and message.channel is not None and message.channel.id == channel_id:
            arrived.set()

    # a channel without an application that listens would be ended before it can be asked
    socket = await AriSocket.connect(http, channel_id, hear)
    try:
        query = {
            "endpoint": f"Local/{needs.extensions[0]}@{needs.context}",
            "app": channel_id,
            "channelId": channel_id,
        }
        _expect(await http.request("POST", "channels/create", query), http.url)
        try:
            async with asyncio.timeout(http.timeout_seconds):
                await arrived.wait()
            found = await lacking(http.request, http.url, channel_id, needs)
        except TimeoutError:
            found = None
        finally:
            _expect(await http.request("DELETE", f"channels/{channel_id}"), http.url, NOT_FOUND)
    finally:
        await socket.close()
    if found is None:
        raise EngineUnavailableError(f"Asterisk at {http.url} made no channel that its dialplan could be asked of.")
    return found


def _expect(reply: Reply, url: str, *also: int) -> Reply:
    if reply.ok or reply.status in also:
        return reply
    raise EngineUnavailableError(f"Asterisk at {url} answered {reply.status}: {reply.text[:200]}")
