"""What others do while a person is erased, and what a restore has left behind."""

from __future__ import annotations

from datetime import timedelta

from dialing import phones, set_stage
from outdial import clock
from outdial.core.model import DncSource
from outdial.services import (
    erasures,
)
from outdial.store import dnc as dnc_store
from outdial.store import reserve
from services.test_erasures import BUSY, engines, erase, execute, ran, run_of  # noqa: F401 - fixtures


async def test_whoever_is_read_into_a_run_after_the_stop_of_the_number_is_not_left_in_it(
    database,
    secret_box,
    erase,  # noqa: F811 - the fixture
    monkeypatch,
):
    stage = await set_stage(database, secret_box, phones(3, last=BUSY))
    run = await run_of(stage)
    person = phones(3, last=BUSY)[0]
    stops = erasures.wide_stops.stop_number

    async def and_somebody_reads(*asked, **more):
        stopped = await stops(*asked, **more)
        await execute(
            database, "UPDATE run_contacts SET state = 'pending', done_reason = NULL WHERE phone = $1", person
        )
        return stopped

    monkeypatch.setattr(erasures.wide_stops, "stop_number", and_somebody_reads)
    await erase(stage.owner.account_id, person)
    async with database.connection() as connection:
        left = await connection.fetch(
            "SELECT state, done_reason FROM run_contacts WHERE run_id = $1 AND phone = ''", run.id
        )
        due = await reserve.candidates(connection, run, 10)
    assert [tuple(row) for row in left] == [("done", "dnc")]
    assert sorted(one.phone for one in due) == phones(3, last=BUSY)[1:]


async def test_ids_of_history_may_have_a_gap_as_wide_as_a_restore_leaves(database, ran, erase):  # noqa: F811
    stage, _ = ran
    await execute(database, "SELECT setval(pg_get_serial_sequence('history', 'id'), 9000000000)")
    erasure = await erase(stage.owner.account_id, phones(6, last=BUSY)[0])
    assert erasure.counts["history"] > 0


async def test_what_an_erasure_lists_meanwhile_takes_the_place_of_nothing_that_lasts(database, ran, erase):  # noqa: F811
    stage, _ = ran
    account_id, soon = stage.owner.account_id, clock.now() + timedelta(days=90)
    async with database.transaction() as connection:
        list_id = await dnc_store.account_list(connection, account_id, new_id="dl-1")
        for source, until_when in ((DncSource.OPERATOR, soon), (DncSource.ERASURE, None)):
            await dnc_store.add(
                connection, list_id, ["+15550100777"], reason="", actor="a", source=source, expires_at=until_when
            )
        (entry,) = await dnc_store.entries(connection, list_id)
    assert (entry.source, entry.expires_at) == (DncSource.OPERATOR, soon)
