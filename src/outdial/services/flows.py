"""Flows: what an answered call hears."""

from __future__ import annotations

import asyncio
import os
import uuid
from pathlib import Path

from outdial.core import ids
from outdial.core.audio import message_from_wav
from outdial.core.errors import ConflictError, FileError, InUseError, InvalidInputError, NotFoundError
from outdial.core.model import Flow
from outdial.services.access import OPERATOR, require_application
from outdial.services.fields import is_storable, name_problems, require
from outdial.store import flows as store
from outdial.store import history
from outdial.store.database import Connection, Database


async def add_flow(database: Database, iid: str, name: str, wav: bytes, *, actor: str = OPERATOR) -> Flow:
    """Add a flow that plays one recorded message, a PCM WAV file as ``core.audio`` reads it.

    Raises InvalidInputError, NotFoundError for an unknown application, ConflictError for a name that is taken.
    """
    problems = name_problems("name", name)
    try:
        # seconds of computing: not in the way of everybody else
        message = await asyncio.to_thread(message_from_wav, wav)
    except InvalidInputError as error:
        raise InvalidInputError([*problems, *error.problems]) from None
    require(problems)
    flow = Flow(id=ids.flow_id(uuid.uuid4()), iid=iid, name=name, duration_seconds=message.duration_seconds)
    async with database.transaction() as connection:
        owner = await require_application(connection, iid)
        if not await store.insert(connection, flow, message.wav):
            raise ConflictError(f"There is already a flow named {name}; choose another name.")
        await history.append(connection, owner.account_id, "flow", "added", actor=actor, flow_id=flow.id)
    return flow


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


async def audio_file(database: Database, flow_id: str, folder: Path) -> Path:
    """Return the file an engine plays for a flow: in the folder, readable by every account, written on first use.

    A flow never changes, so neither does its file. Raises NotFoundError, and FileError when it cannot be written.
    """
    path = folder / f"{flow_id}.wav"
    if await asyncio.to_thread(path.exists):
        return path
    async with database.connection() as connection:
        audio = await store.audio(connection, flow_id)
    if audio is None:
        raise NotFoundError(f"There is no flow {flow_id}.")
    try:
        await asyncio.to_thread(_write, path, audio)
    except OSError as error:
        raise FileError(f"The audio file {path} cannot be written ({error.strerror}).") from error
    return path


def _write(path: Path, audio: bytes) -> None:
    """Write the file so that nobody ever sees half of it, neither after a crash."""
    if not path.parent.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # whatever the umask: the engine may run as another account
        path.parent.chmod(0o755)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with draft.open("xb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(audio)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
