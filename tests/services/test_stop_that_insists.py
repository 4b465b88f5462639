"""A stop whose database breaks off is not given up."""

from __future__ import annotations

import pytest

from dialing import phones, set_stage
from outdial import clock
from outdial.core.errors import DatabaseUnavailableError
from outdial.core.model import RunState
from outdial.services import barrier, insisting, runs
from outdial.services import stop as stops
from outdial.services.engines import Engines


@pytest.fixture
async def engines(database, secret_box):
    opened = Engines(database, secret_box, ttl_seconds=0.5)
    yield opened
    await opened.close()


@pytest.fixture
def breaking(monkeypatch):
    """Ends the server's process of whoever comes to a statement, the first time."""

    def at(module, name: str) -> list[str]:
        real, broken = getattr(module, name), []

        async def first_breaks(connection, *args, **kwargs):
            if not broken:
                broken.append(name)
                await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            return await real(connection, *args, **kwargs)

        monkeypatch.setattr(module, name, first_breaks)
        return broken

    return at


class TestBrokenOff:
    @pytest.mark.parametrize(
        ("module", "name"),
        [
            (stops, "commit_stop"),
            (stops.schedules_store, "switch_off"),
            (stops.runs, "move_locked"),
            (barrier, "target_of"),
            (stops.store, "to_prove"),
            (barrier.nodes_store, "serving"),
            (stops.store, "release_lists"),
            (stops.store, "counts"),
            (stops.store, "store_report"),
        ],
    )
    async def test_a_stop_goes_on(self, database, secret_box, engines, breaking, module, name):
        stage = await set_stage(database, secret_box, phones(3))
        owner = {"iid": stage.owner.iid, "campaign_id": stage.campaign_id, "actor": "anna"}
        await runs.start(database, secret_box, **owner)
        broken = breaking(module, name)
        done = await stops.stop(database, engines, **owner)
        assert broken == [name]
        assert done.run.state is RunState.STOPPED
        assert done.report == await stops.report_of(database, done.run.id)
        async with database.connection() as connection:
            moves = await connection.fetch(
                "SELECT to_state FROM history WHERE to_state IN ('active', 'stopping', 'stopped') ORDER BY id"
            )
        assert [row["to_state"] for row in moves] == ["active", "stopping", "stopped"]

    async def test_what_is_away_for_longer_is_told(self, monkeypatch):
        monkeypatch.setattr(insisting, "INSIST_SECONDS", 0.12)
        tries = []

        async def away() -> None:
            tries.append(clock.boottime())
            raise DatabaseUnavailableError("away")

        with pytest.raises(DatabaseUnavailableError, match="away"):
            await insisting.insisting(away)
        assert len(tries) > 1

    async def test_other_errors_are_told_at_once(self):
        tries = []

        async def wrong() -> None:
            tries.append(1)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await insisting.insisting(wrong)
        assert tries == [1]
