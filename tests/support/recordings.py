"""Recordings that are there, without a call."""

from __future__ import annotations

import uuid
from pathlib import Path

from outdial.core import recording
from outdial.core.machine import USUAL_TIMINGS, Detection, MachineVerdict, Sample
from outdial.services import recordings
from outdial.store.database import Database
from sounds import tone, wav

SAID = wav(tone(440, rate=8000, seconds=0.5), rate=8000)


async def ended_attempt(database: Database, instance_id: str, *, ago: str = "1 second") -> str:
    """An attempt of a run that has ended, however it came about; return its id."""
    attempt_id = uuid.uuid4().hex
    async with database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                  engine_id, node_id, epoch, number, state, disposition, permit, reserved_at,
                                  dialed_at, ringing_at, answered_at, ended_at, changed_by)
            SELECT $1, id, campaign_id, account_id, 1, '+15550100101', '+15550100001', trunk_id, 'e', 'n', 1, 1,
                   'ended', 'answered_human', 'run' || id || 'e1k' || repeat('0', 32), ended.at, ended.at, ended.at,
                   ended.at, ended.at, 'test'
              FROM runs CROSS JOIN (SELECT now() - $3::text::interval AS at) AS ended WHERE instance_id = $2
            """,
            attempt_id,
            instance_id,
            ago,
        )
    return attempt_id


async def recorded(
    database: Database,
    data_dir: Path,
    *,
    instance_id: str,
    audio: bytes = SAID,
    step: str = "voice",
    ago: str = "1 second",
) -> tuple[str, str]:
    """An attempt of a run with one recording; return the ids of both."""
    attempt_id = await ended_attempt(database, instance_id, ago=ago)
    folder, name = data_dir.resolve() / recordings.FOLDER, recording.name_of(attempt_id, 3, step)
    recordings.save(folder, name, audio)
    await recordings.list_one(database, folder, name)
    return attempt_id, recording.id_of(name)


async def kept(
    database: Database,
    data_dir: Path,
    *,
    instance_id: str,
    verdict: MachineVerdict = MachineVerdict.MACHINE,
    failure: str = "",
    ago: str = "1 second",
    audio: bytes = SAID,
) -> tuple[str, str]:
    """An attempt of a run whose verdict is kept for review; return its id and that of its recording, empty where there
    was a failure."""
    recording_id = ""
    if failure:
        attempt_id = await ended_attempt(database, instance_id, ago=ago)
    else:
        attempt_id, recording_id = await recorded(
            database, data_dir, instance_id=instance_id, step=recording.SAMPLE_STEP, ago=ago, audio=audio
        )
    await found(database, attempt_id, verdict, Sample(failure))
    return attempt_id, recording_id


async def found(database: Database, attempt_id: str, verdict: MachineVerdict, sample: Sample | None = None) -> None:
    """Have an attempt that verdict."""
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE attempts SET detection = $2 WHERE id = $1",
            attempt_id,
            Detection(verdict, "LONGGREETING-2520-2500", 3.21, USUAL_TIMINGS, sample),
        )
