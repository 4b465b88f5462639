"""Flows: what an answered call hears."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from outdial.core import ids
from outdial.core.audio import Message, message_from_wav
from outdial.core.errors import (
    ConflictError,
    FileError,
    InUseError,
    InvalidInputError,
    NotFoundError,
    TooLargeError,
)
from outdial.core.flow import FlowPlan
from outdial.core.flow_document import read_flow
from outdial.core.model import Flow
from outdial.services.access import OPERATOR, require_application
from outdial.services.fields import is_storable, name_problems, require
from outdial.store import flows as store
from outdial.store import history
from outdial.store.database import Connection, Database
from outdial.telephony.speech import write_whole

MESSAGE_FILE: Final = "message.wav"
MESSAGE: Final = {
    "start": "message",
    "steps": {"message": {"play": "message"}},
    "sounds": {"message": MESSAGE_FILE},
}
"""The flow of one recorded message."""

LARGEST_DOCUMENT: Final = 256 * 1024
"""Characters of a flow's document."""


@dataclass(frozen=True, slots=True)
class FlowFiles:
    """A flow as a dialer plays it."""

    plan: FlowPlan
    files: Mapping[str, tuple[Path, float]]
    """Name of a sound's file in the flow → where it is, and how many seconds it lasts."""


async def add_flow(database: Database, iid: str, name: str, wav: bytes, *, actor: str = OPERATOR) -> Flow:
    """Add a flow that plays one recorded message, a PCM WAV file as ``core.audio`` reads it.

    Raises InvalidInputError, NotFoundError for an unknown application, ConflictError for a name that is taken.
    """
    return await add_flow_document(database, iid, name, MESSAGE, {MESSAGE_FILE: wav}, actor=actor)


async def add_flow_document(
    database: Database, iid: str, name: str, document: Any, sounds: Mapping[str, bytes], *, actor: str = OPERATOR
) -> Flow:
    """Add a flow from its document and the WAV files that it names, by those names.

    Raises InvalidInputError for all that is wrong with name, document and files at once, NotFoundError for an unknown
    application, ConflictError for a name that is taken.
    """
    problems = name_problems("name", name)
    if len(msgspec.json.encode(document)) > LARGEST_DOCUMENT:
        raise TooLargeError(f"A flow's document has at most {LARGEST_DOCUMENT // 1024} thousand characters.")
    try:
        plan = read_flow(document)
    except InvalidInputError as error:
        raise InvalidInputError([*problems, *error.problems]) from None
    messages, wrong = await _messages(plan, sounds)
    require([*problems, *wrong])
    flow = Flow(
        id=ids.flow_id(uuid.uuid4()),
        iid=iid,
        name=name,
        duration_seconds=sum(message.duration_seconds for message in messages.values()),
        document=document,
    )
    async with database.transaction() as connection:
        owner = await require_application(connection, iid)
        if not await store.insert(connection, flow, messages):
            raise ConflictError(f"There is already a flow named {name}; choose another name.")
        await history.append(connection, owner.account_id, "flow", "added", actor=actor, flow_id=flow.id)
    return flow


async def _messages(plan: FlowPlan, sounds: Mapping[str, bytes]) -> tuple[dict[str, Message], list[str]]:
    """Read the recordings that the flow names; return them, and what is wrong with them."""
    named = sorted({file for files in plan.sounds.values() for file in files.values()})
    problems = [
        f"The file {file} is missing: the flow names it among its sounds." for file in named if file not in sounds
    ]
    problems += [f"The file {file} belongs to no sound of the flow." for file in sorted(sounds) if file not in named]
    messages = {}
    for file in named:
        if file in sounds:
            try:
                # seconds of computing: not in the way of everybody else
                messages[file] = await asyncio.to_thread(message_from_wav, sounds[file])
            except InvalidInputError as error:
                problems += [f"{file}: {problem}" for problem in error.problems] if len(named) > 1 else error.problems
    return messages, problems


def read_document(text: str) -> Any:
    """Return the document that a YAML or JSON text holds. Raises InvalidInputError, TooLargeError."""
    if len(text) > LARGEST_DOCUMENT:
        raise TooLargeError(f"A flow's document has at most {LARGEST_DOCUMENT // 1024} thousand characters.")
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f" in line {mark.line + 1}, column {mark.column + 1}"
        raise InvalidInputError([f"The flow is neither YAML nor JSON{where}: {error.problem}."]) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InvalidInputError([f"The flow is neither YAML nor JSON: {str(error) or 'nested too deep'}."]) from None


async def list_flows(database: Database, iid: str | None = None) -> list[Flow]:
    """Return the flows of an application, or of all, oldest first."""
    async with database.connection() as connection:
        return await store.of_application(connection, iid)


async def get_flow(database: Database, iid: str, flow_id: str) -> Flow:
    """Return a flow; raise NotFoundError, alike for unknown and other tenants' ids."""
    async with database.connection() as connection:
        return await _found(connection, iid, flow_id)


async def remove_flow(database: Database, *, iid: str, flow_id: str, actor: str) -> Flow:
    """Remove a flow and return it; its recording goes, its name becomes free.

    Raises NotFoundError, and InUseError while a campaign plays it.
    """
    async with database.transaction() as connection:
        flow = await _found(connection, iid, flow_id, lock=True)
        campaign = await store.user_of(connection, flow_id)
        if campaign is not None:
            raise InUseError(f"The flow {flow.name} is played by the campaign {campaign}; change or delete that first.")
        await store.mark_removed(connection, flow_id)
        owner = await require_application(connection, iid)
        await history.append(connection, owner.account_id, "flow", "removed", actor=actor, flow_id=flow_id)
    return flow


async def _found(connection: Connection, iid: str, flow_id: str, *, lock: bool = False) -> Flow:
    flow = await store.of_application_by_id(connection, iid, flow_id, lock=lock) if is_storable(flow_id) else None
    if flow is None:
        raise NotFoundError(f"There is no flow {flow_id}.")
    return flow


async def to_play(database: Database, flow_id: str, folder: Path) -> FlowFiles:
    """Return a flow with its recordings as files an engine plays: in the folder, readable by every account, written on
    first use.

    A flow never changes, so neither do its files. Raises NotFoundError, and FileError when one cannot be written.
    """
    async with database.connection() as connection:
        flow = await store.by_id(connection, flow_id)
        sounds = await store.sounds(connection, flow_id)
    if flow is None:
        raise NotFoundError(f"There is no flow {flow_id}.")
    plan = read_flow(flow.document)
    wanted = {file for files in plan.sounds.values() for file in files.values()}
    if not wanted <= sounds.keys():
        raise NotFoundError(f"The flow {flow.name} is removed; its recordings are gone.")
    return FlowFiles(
        plan, {file: (await _audio_file(database, flow_id, file, folder), sounds[file]) for file in sorted(wanted)}
    )


async def _audio_file(database: Database, flow_id: str, file: str, folder: Path) -> Path:
    path = folder / f"{flow_id}-{hashlib.sha256(file.encode()).hexdigest()[:16]}.wav"
    if await asyncio.to_thread(path.exists):
        return path
    async with database.connection() as connection:
        audio = await store.audio(connection, flow_id, file)
    if audio is None:
        raise NotFoundError(f"The flow {flow_id} is removed; its recordings are gone.")
    try:
        await asyncio.to_thread(write_whole, path, audio)
    except OSError as error:
        raise FileError(f"The audio file {path} cannot be written ({error.strerror}).") from error
    return path
