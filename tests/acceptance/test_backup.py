"""Backup and restore as processes: beside a dialer that dials, killed in the middle of either, and done again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from dialing import phones, set_stage, with_rules
from outdial import embedded_postgres
from outdial.config import Settings
from outdial.context import Context, open_context
from outdial.core.model import RunState
from outdial.secretbox import key_text
from outdial.services import access, history_export, runs
from outdial.services.backups import back_up
from support.programs import Program, end_all_of
from waiting import until

pytestmark = pytest.mark.timeout(600)

COUNT = 1500
"""People; more than are called while all the commands are typed."""

PATIENCE = 240.0
"""Seconds; a dozen processes, each of which takes some on a small machine that is busy."""


@pytest.fixture
def folders(tmp_path):
    """The data folders of the installation that is lost and of the new one."""
    yield tmp_path / "old", tmp_path / "new"
    for name in ("old", "new"):
        end_all_of(tmp_path / name)


def stalling(folder: Path) -> tuple[Path, Path]:
    """PostgreSQL's programs that do their work, or half of it, then write a file and hang; and that file."""
    real, told = embedded_postgres.programs(), folder / "stalls"
    folder.mkdir()
    for name, work in (("pg_dump", "| head -c 10000"), ("pg_restore", "|| exit 1")):
        program = folder / name
        program.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && exec {real}/{name} --version\n'
            f'{real}/{name} "$@" {work}\ntouch {told}\nexec sleep 600\n'
        )
        program.chmod(0o755)
    return folder, told


async def kill_in_the_middle(told: Path, *words: object, **settings: object) -> None:
    with Program(*words, **settings) as program:
        await until(told.exists, seconds=PATIENCE)
        os.killpg(program.process.pid, signal.SIGKILL)
    told.unlink()


async def typed(*words: object, code: int = 0, **settings: object) -> Program:
    def run() -> Program:
        with Program(*words, **settings) as program:
            assert program.end(PATIENCE) == code, (words, program.stdout, program.stderr)
            return program

    return await asyncio.to_thread(run)


async def start_of(context: Context, *, calls_per_second: float) -> int:
    """Start a campaign; return its run."""
    stage = await set_stage(
        context.database,
        context.secrets,
        phones(COUNT),
        rules=with_rules(max_attempts=1),
        calls_per_second=calls_per_second,
    )
    owner, campaign_id = stage.owner, stage.campaign_id
    begun = await runs.start(context.database, context.secrets, iid=owner.iid, campaign_id=campaign_id, actor="test")
    return begun.run.id


async def test_one_that_is_killed_beside_a_dialer_leaves_nothing_and_the_next_is_whole(folders, tmp_path):
    old, _ = folders
    programs, told = stalling(tmp_path / "bin")
    file = tmp_path / "monday.outdial"
    with Program("dialer", data_dir=old, engine="simulated", permit_ttl_seconds=1.0) as dialer:
        await until(lambda: "outdial is ready" in dialer.stderr, seconds=PATIENCE)
        async with open_context(Settings(_env_file=None, data_dir=old)) as context:
            run_id = await start_of(context, calls_per_second=4.0)

            async def placed() -> int:
                return (await runs.progress(context.database, run_id)).placed

            async def some() -> bool:
                return await placed() >= 5

            await until(some, seconds=PATIENCE)
            await kill_in_the_middle(told, "backup", file, "--programs", programs, data_dir=old)
            assert not file.exists()
            made = json.loads((await typed("backup", file, "--json", data_dir=old)).stdout)
            assert [path.name for path in tmp_path.glob("monday*")] == ["monday.outdial"]
            assert (made["liveRuns"], made["rows"]["contacts"]) == (1, COUNT)
            before = await placed()

            async def on() -> bool:
                return await placed() > before

            # calls have gone on all the while, and do
            await until(on, seconds=PATIENCE)
            assert 5 <= made["rows"]["attempts"] <= before
        dialer.send(signal.SIGTERM)
        assert await asyncio.to_thread(dialer.end, PATIENCE) in {0, 143}


async def test_a_restore_that_is_killed_is_worked_with_by_nobody_and_done_again(folders, tmp_path):
    old, new = folders
    programs, told = stalling(tmp_path / "bin")
    async with open_context(Settings(_env_file=None, data_dir=old)) as context:
        run_id = await start_of(context, calls_per_second=4.0)
        await back_up(
            context.database,
            context.dsn,
            context.secrets,
            data_dir=old,
            target=tmp_path / "monday.outdial",
            key=key_text(context.settings),
        )
    # it is restored whole by then, its run active, and nothing has made it safe
    file = tmp_path / "monday.outdial"
    await kill_in_the_middle(told, "restore", file, "--programs", programs, data_dir=new)
    refused = await typed("campaign", "resume", "Spring", code=1, data_dir=new)
    assert "run `outdial restore` again" in refused.stderr
    assert "Traceback" not in refused.stderr
    done = json.loads((await typed("restore", file, "--json", data_dir=new)).stdout)
    assert [(one["wasActive"], one["openContacts"]) for one in done["runs"]] == [(True, COUNT)]
    assert (new / "secret.key").read_text() == (old / "secret.key").read_text()
    async with open_context(Settings(_env_file=None, data_dir=new)) as context:
        assert (await runs.progress(context.database, run_id)).run.state is RunState.PAUSED
        (account,) = {one.account_id for one in await access.list_applications(context.database)}
        await history_export.verify(context.database, account)
