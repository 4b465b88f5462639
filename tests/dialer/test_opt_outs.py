"""People who opt out on a call, while the database comes and goes."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from dialer.test_node import register
from dialing import phones, set_stage
from outdial import clock
from outdial.core.errors import DatabaseUnavailableError, NotFoundError
from outdial.core.flow import OptOutScope
from outdial.core.model import AttemptState, DncSource
from outdial.dialer import opt_outs as module
from outdial.dialer.opt_outs import OptOuts
from outdial.services import dnc, runs
from outdial.store import attempts
from outdial.store.attempts import AttemptNews
from services.test_number_lines import reserved
from waiting import until


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, phones(2))


@pytest.fixture
async def opt_outs(database, engines, tmp_path):
    made = OptOuts(database, engines, tmp_path / "opt-outs")
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def placed(stage) -> str:
    """Reserve a call that is slow to leave."""
    begun = await runs.start(
        stage.database, stage.secrets, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
    )
    await register(stage.database, stage.secrets, "engine", "n1")
    return await reserved(stage.database, begun.run)


async def answered(stage, attempt_id: str) -> str:
    now = clock.now()
    news = AttemptNews(attempt_id, AttemptState.ANSWERED, by="n1", dialed_at=now, answered_at=now)
    async with stage.database.connection() as connection:
        await attempts.book(connection, [news])
    return attempt_id


async def attempt_of(stage) -> str:
    """Have a conversation."""
    return await answered(stage, await placed(stage))


async def sources(stage) -> list[tuple[str, str]]:
    """Return from where the entries come, and how often the history says that somebody opted out so."""
    async with stage.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT source, (SELECT count(*) FROM history WHERE action = 'opt_out' AND detail ->> 'source' = e.source)"
            "  FROM dnc_entries e WHERE reason = $1",
            module.REASON,
        )
    return [tuple(row) for row in rows]


async def listed(stage) -> list[tuple[str, str]]:
    async with stage.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT l.name, n.phone FROM dnc_entries n JOIN dnc_lists l ON l.id = n.dnc_list_id ORDER BY 1, 2"
        )
    return [tuple(row) for row in rows]


async def give_list(stage, name: str) -> None:
    await dnc.add_numbers(
        stage.database,
        account_id=stage.owner.account_id,
        iid=stage.owner.iid,
        list_name=name,
        phones=["+15550109999"],
        actor="test",
    )
    async with stage.database.connection() as connection:
        await connection.execute("UPDATE campaigns SET dnc_list_id = (SELECT id FROM dnc_lists WHERE name = $1)", name)


async def test_on_the_accounts_list(stage, opt_outs):
    opt_outs.put(await attempt_of(stage), OptOutScope.ACCOUNT)
    await opt_outs.flush()
    assert len(await listed(stage)) == 1


async def test_on_the_campaigns_list(stage, opt_outs):
    await give_list(stage, "Spring refusals")
    opt_outs.put(await attempt_of(stage), OptOutScope.CAMPAIGN)
    await opt_outs.flush()
    assert {name for name, _ in await listed(stage)} == {"Spring refusals"}
    assert len(await listed(stage)) == 2


async def test_a_campaign_without_a_list_uses_the_accounts(stage, opt_outs):
    opt_outs.put(await attempt_of(stage), OptOutScope.CAMPAIGN)
    await opt_outs.flush()
    assert len(await listed(stage)) == 1


@pytest.mark.parametrize("scope", OptOutScope)
@pytest.mark.parametrize("source", [DncSource.KEY, DncSource.AGENT])
async def test_it_says_whether_a_key_or_an_agent_told(stage, opt_outs, scope, source):
    await give_list(stage, "Spring refusals")
    opt_outs.put(await attempt_of(stage), scope, source)
    await opt_outs.flush()
    assert await sources(stage) == [(source, 1)]


async def test_a_database_that_is_away_is_waited_for(stage, opt_outs, monkeypatch):
    attempt_id = await attempt_of(stage)
    tried = asyncio.Event()
    opts_out = module.opt_out

    async def away(*_arguments, **_more):
        tried.set()
        raise DatabaseUnavailableError("away")

    monkeypatch.setattr(module, "opt_out", away)
    opt_outs.put(attempt_id, OptOutScope.ACCOUNT)
    await tried.wait()
    assert await listed(stage) == []
    monkeypatch.setattr(module, "opt_out", opts_out)
    await opt_outs.flush()
    assert len(await listed(stage)) == 1


async def test_it_is_in_force_while_the_calls_of_somebody_else_are_slow_to_leave(
    database, secret_box, stage, opt_outs, tmp_path, monkeypatch
):
    monkeypatch.setattr(dnc, "SETTLE_SECONDS", 600.0)
    # one proof at a time, so that whoever comes second has to wait for it
    monkeypatch.setattr(opt_outs, "_turns", asyncio.Semaphore(1))
    other = await set_stage(database, secret_box, phones(1, area=556), account="Beta")
    slow, quick = await placed(stage), await attempt_of(other)
    for attempt_id in (slow, quick):
        opt_outs.put(attempt_id, OptOutScope.ACCOUNT)
    await until(lambda: _has_listed(stage, 2))
    assert {path.name for path in (tmp_path / "opt-outs").iterdir()} == {f"{slow}.account", f"{quick}.account"}
    assert len(opt_outs) == 2
    await answered(stage, slow)
    await opt_outs.flush()
    assert list((tmp_path / "opt-outs").iterdir()) == []


async def test_what_nobody_foresaw_ends_the_life(stage, engines, tmp_path, monkeypatch):
    async def breaks(*_arguments, **_more):
        raise ZeroDivisionError

    monkeypatch.setattr(module, "opt_out", breaks)
    opt_outs = OptOuts(stage.database, engines, tmp_path / "opt-outs")
    attempt_id = await attempt_of(stage)
    opt_outs.put(attempt_id, OptOutScope.ACCOUNT)
    with pytest.raises(ExceptionGroup) as raised:
        await opt_outs.run()
    assert [type(error) for error in raised.value.exceptions] == [ZeroDivisionError]
    # and loses nothing
    assert [path.name for path in (tmp_path / "opt-outs").iterdir()] == [f"{attempt_id}.account"]


async def test_it_says_whether_it_is_on_disk(stage, engines, tmp_path):
    (tmp_path / "file").touch()
    for folder, is_kept in (("folder", True), ("file/none", False)):
        opt_outs = OptOuts(stage.database, engines, tmp_path / folder)
        assert opt_outs.put("0" * 32, OptOutScope.ACCOUNT) is is_kept
        assert len(opt_outs) == 1


async def test_a_list_that_is_gone_becomes_the_accounts(stage, opt_outs, monkeypatch):
    await give_list(stage, "Spring refusals")
    opts_out = module.opt_out

    async def gone(*arguments, list_name, **more):
        if list_name is not None:
            raise NotFoundError("There is no such list.")
        await opts_out(*arguments, list_name=list_name, **more)

    monkeypatch.setattr(module, "opt_out", gone)
    opt_outs.put(await attempt_of(stage), OptOutScope.CAMPAIGN)
    await until(lambda: _has_listed(stage, 2))
    await opt_outs.flush()
    assert len({name for name, _ in await listed(stage)}) == 2


@pytest.mark.parametrize(("source", "name"), [(DncSource.KEY, "account"), (DncSource.AGENT, "account.agent")])
async def test_one_that_was_not_written_before_its_process_ended_is_written_by_the_next(
    stage, engines, tmp_path, source, name
):
    folder = tmp_path / "opt-outs"
    attempt_id = await attempt_of(stage)
    # it never runs: killed right after the key
    OptOuts(stage.database, engines, folder).put(attempt_id, OptOutScope.ACCOUNT, source)
    assert [path.name for path in folder.iterdir()] == [f"{attempt_id}.{name}"]
    next_one = OptOuts(stage.database, engines, folder)
    task = asyncio.create_task(next_one.run())
    await until(lambda: _is_listed(stage))
    await until(lambda: list(folder.iterdir()) == [])
    assert await sources(stage) == [(source, 1)]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_file_of_another_database_ends_nothing(stage, engines, tmp_path):
    folder = tmp_path / "opt-outs"
    OptOuts(stage.database, engines, folder).put("0" * 32, OptOutScope.ACCOUNT)
    (folder / "README").write_text("not ours")
    (folder / f"{'0' * 32}.account.operator").touch()
    opt_outs = OptOuts(stage.database, engines, folder)
    task = asyncio.create_task(opt_outs.run())
    await until(lambda: {path.name for path in folder.iterdir()} == {"README", f"{'0' * 32}.account.operator"})
    opt_outs.put(await attempt_of(stage), OptOutScope.ACCOUNT)
    await opt_outs.flush()
    assert len(await listed(stage)) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _has_listed(stage, count: int) -> bool:
    return len(await listed(stage)) == count


async def _is_listed(stage) -> bool:
    return await _has_listed(stage, 1)
