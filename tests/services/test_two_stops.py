"""Two processes that stop one run at once: one report, and nothing that either has cancelled is missing in it."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import asyncpg
import pytest

from dialing import phones, set_stage
from outdial import clock
from outdial.core.canonical import read
from outdial.core.errors import StopReportNotReadyError
from outdial.core.model import AttemptState, EngineKind, RunContactState
from outdial.core.stop_proof import findings
from outdial.services import report_document, runs, signed_reports
from outdial.services import stop as stops
from outdial.services.acknowledging import NodeOutcome
from outdial.services.barrier import Silence, Wishes
from outdial.store import attempts, engines, nodes, reserve
from outdial.store import runs as runs_store
from outdial.store import stops as store
from outdial.store.attempts import AttemptNews, ContactNews
from outdial.store.nodes import NodeRow
from outdial.store.reserve import Reservation

NOBODY = {outcome: [] for outcome in NodeOutcome}


async def commit(database, run, *cancelled: str):
    return await committed(
        database, run, Silence("e1", silent=True, fenced_at=clock.now(), cancelled=frozenset(cancelled))
    )


async def committed(database, run, *silences: Silence):
    return await stops._commit_stopped(
        database,
        run,
        silences,
        NOBODY,
        {id_: one.fenced_at for one in silences for id_ in one.cancelled},
        actor="supervisor",
        wishes=Wishes(),
        ttl_seconds=5.0,
    )


async def book_answered(database, *ids: str) -> None:
    async with database.connection() as connection:
        now = clock.now()
        await attempts.book(connection, [AttemptNews(id_, AttemptState.ANSWERED, "n1", answered_at=now) for id_ in ids])


async def test_what_the_slower_one_cancelled_is_counted(database, secret_box):
    """The faster one found these calls gone, before anybody had booked them."""
    run, ringing = await ringing_and_stopping(database, secret_box, 3)
    faster = await commit(database, run)
    assert faster.report.cancelled_count == 0
    slower = await commit(database, run, *ringing)
    assert slower.report.cancelled_count == 3
    assert slower.report.stopped_at == faster.report.stopped_at
    assert await stops.report_of(database, run.id) == slower.report
    # whoever has cancelled nothing changes nothing
    assert (await commit(database, run)).report == slower.report


async def test_what_is_booked_as_answered_was_not_cancelled_and_does_not_go_on(database, secret_box):
    """It was hung up as it was answered, and its node has booked the answer and nothing since."""
    run, (answered, cancelled) = await ringing_and_stopping(database, secret_box, 2)
    await book_answered(database, answered)
    report = (await commit(database, run, answered, cancelled)).report
    assert report.cancelled_count == 1
    assert report.connected_count == 0
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT a.id, a.disposition, c.state, c.done_reason "
            "FROM attempts a JOIN run_contacts c USING (run_id, contact_id)"
        )
    assert {row["id"]: tuple(row)[1:] for row in rows} == {
        answered: ("abandoned", "done", "reached"),
        cancelled: ("cancelled", "done", "stopped"),
    }


async def test_what_was_seen_answered_after_it_was_hung_up_was_not_cancelled_either(database, secret_box):
    """Its node had not booked the answer yet, and is gone."""
    run, (answered, cancelled) = await ringing_and_stopping(database, secret_box, 2)
    ids = frozenset({answered, cancelled})
    shown = Silence("e1", silent=True, fenced_at=clock.now(), cancelled=ids, crossed=frozenset({answered}))
    report = (await committed(database, run, shown)).report
    assert (report.cancelled_count, report.connected_count) == (1, 0)
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT id, disposition, answered_at IS NULL AS unanswered FROM attempts")
    assert {row["id"]: tuple(row)[1:3] for row in rows} == {
        answered: ("abandoned", False),
        cancelled: ("cancelled", True),
    }


async def test_what_was_booked_as_a_conversation_and_another_had_hung_up_is_counted_no_more(database, secret_box):
    run, (hung_up, talks) = await ringing_and_stopping(database, secret_box, 2)
    now = clock.now()
    await book_answered(database, hung_up, talks)
    shown = Silence("e1", silent=True, listed=True, fenced_at=now, talking=frozenset({hung_up, talks}))
    assert (await committed(database, run, shown)).report.connected_count == 2
    assert (await commit(database, run, hung_up)).report.connected_count == 1
    assert (await commit(database, run, hung_up)).report.connected_count == 1


async def test_nor_is_one_taken_away_that_was_booked_as_a_conversation_later(database, secret_box):
    run, (late, talks) = await ringing_and_stopping(database, secret_box, 2)
    now = clock.now()
    await book_answered(database, talks)
    shown = Silence("e1", silent=True, listed=True, fenced_at=now, talking=frozenset({talks}))
    assert (await committed(database, run, shown)).report.connected_count == 1
    await book_answered(database, late)
    assert (await commit(database, run, late)).report.connected_count == 1


async def test_but_not_twice_where_it_had_not_been_counted(database, secret_box):
    run, (hung_up, talks) = await ringing_and_stopping(database, secret_box, 2)
    now = clock.now()
    await book_answered(database, hung_up, talks)
    shown = Silence("e1", silent=True, listed=True, fenced_at=now, talking=frozenset({talks}))
    assert (await committed(database, run, shown)).report.connected_count == 1
    assert (await commit(database, run, hung_up)).report.connected_count == 1


async def test_a_conversation_that_no_engine_shows_does_not_go_on_and_is_not_signed_as_one(
    database, secret_box, monkeypatch
):
    """Its node died, and whoever was called has hung up since."""
    run, (over, talks) = await ringing_and_stopping(database, secret_box, 2)
    now = clock.now()
    await book_answered(database, over, talks)
    shown = Silence("e1", silent=True, listed=True, fenced_at=now, quiesced_at=now, talking=frozenset({talks}))
    report = (await committed(database, run, shown)).report
    assert report.connected_count == 1
    assert report.untold == (over,)
    assert report.as_json().keys().isdisjoint({"talking", "untold"})
    # who takes its calls over may yet tell how it ended
    with pytest.raises(StopReportNotReadyError, match="how 1 calls ended"):
        await signed(database, secret_box, run)
    monkeypatch.setattr(signed_reports, "SETTLE", timedelta(0))
    document = await signed(database, secret_box, run)
    assert {call["attemptId"]: call["outcome"] for call in document["calls"]} == {over: "unsettled", talks: "kept"}
    assert document["counts"]["outcomes"] == {"ended": 0, "kept": 1, "unsettled": 1}
    assert findings(document) == []


async def test_what_an_engine_let_ring_and_was_answered_since_goes_on(database, secret_box):
    run, (answered, rings) = await ringing_and_stopping(database, secret_box, 2)
    now = clock.now()
    await book_answered(database, answered)
    shown = Silence("e1", silent=True, listed=True, fenced_at=now, ringing=frozenset({answered, rings}))
    report = (await committed(database, run, shown)).report
    assert (report.connected_count, report.talking, report.untold) == (1, (answered,), ())


async def test_each_engine_tells_of_its_own_calls(database, secret_box):
    """One that was given up keeps nobody from believing another."""
    run, (over, talks) = await ringing_and_stopping(database, secret_box, 2)
    now = clock.now()
    async with database.connection() as connection:
        await connection.execute("INSERT INTO engines (id, kind) VALUES ('e2', 'simulated')")
        await connection.execute("UPDATE attempts SET engine_id = 'e2' WHERE id = $1", talks)
        await attempts.book(
            connection, [AttemptNews(id_, AttemptState.ANSWERED, "n1", answered_at=now) for id_ in (over, talks)]
        )
    shown = [Silence("e1", silent=True, listed=True, fenced_at=now), Silence("e2", silent=True, problem="retired")]
    report = (await committed(database, run, *shown)).report
    assert (report.talking, report.untold) == ((talks,), (over,))


async def test_an_engine_that_shows_nothing_leaves_it_to_what_is_booked(database, secret_box):
    """It was given up, or is within another process."""
    run, (talks, _) = await ringing_and_stopping(database, secret_box, 2)
    await book_answered(database, talks)
    report = (await committed(database, run, Silence("e1", silent=True, problem="retired"))).report
    assert (report.connected_count, report.untold) == (1, ())


async def test_what_an_engine_said_it_hung_up_before_it_was_given_up_does_not_go_on(database, secret_box):
    run, (hung_up, talks) = await ringing_and_stopping(database, secret_box, 2)
    await book_answered(database, hung_up, talks)
    given_up = Silence("e1", silent=True, fenced_at=clock.now(), hung_up=frozenset({hung_up}), problem="retired")
    report = (await committed(database, run, given_up)).report
    assert (report.connected_count, report.talking, report.untold) == (1, (talks,), (hung_up,))


async def test_what_was_over_before_it_could_be_hung_up_is_left_to_who_knows(database, secret_box):
    run, (busy, talked) = await ringing_and_stopping(database, secret_box, 2)
    now = clock.now()
    await book_answered(database, talked)
    silence = Silence("e1", silent=True, listed=True, fenced_at=now, over=frozenset({busy, talked}))
    report = (await committed(database, run, silence)).report
    assert (report.cancelled_count, report.connected_count, report.engines[0].cancelled) == (0, 0, 0)
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT id, state FROM attempts")
    assert {row["id"]: row["state"] for row in rows} == {busy: "ringing", talked: "answered"}


async def test_a_conversation_that_was_hung_up_does_not_go_on(database, secret_box):
    run, (hung_up, talks) = await ringing_and_stopping(database, secret_box, 2)
    async with database.connection() as connection:
        now = clock.now()
        await attempts.book(
            connection, [AttemptNews(id_, AttemptState.ANSWERED, "n1", answered_at=now) for id_ in (hung_up, talks)]
        )
    silence = Silence(
        "e1", silent=True, listed=True, fenced_at=now, hung_up=frozenset({hung_up}), talking=frozenset({talks})
    )
    report = (await committed(database, run, silence)).report
    assert report.connected_count == 1


async def book_ringing(connection, run, count: int) -> list[str]:
    """Reserve attempts of the run for the node n1 and book them as ringing; return their ids."""
    ringing = [uuid.uuid4().hex for _ in range(count)]
    people = await reserve.candidates(connection, run, count)
    wanted = [(one.contact_id, attempt_id) for one, attempt_id in zip(people, ringing, strict=True)]
    await reserve.reserve(connection, run, "n1", Reservation((), (), wanted, (), 10, 10, None))
    await attempts.book(
        connection,
        [
            AttemptNews(
                attempt_id,
                AttemptState.RINGING,
                by="n1",
                dialed_at=clock.now(),
                ringing_at=clock.now(),
                contact=ContactNews(RunContactState.DIALING),
            )
            for attempt_id in ringing
        ],
    )
    return ringing


async def ringing_and_stopping(database, secret_box, count: int):
    """A run that is stopping, with calls that its node has booked as ringing."""
    stage = await set_stage(database, secret_box, phones(5))
    run = (await runs.start(database, secret_box, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")).run
    async with database.connection() as connection:
        await engines.put(
            connection, secret_box, engine_id="e1", kind=EngineKind.SIMULATED, url=None, username=None, password=None
        )
        await nodes.register(connection, NodeRow("n1", "n1", "h", 1, "app", "e1"), ttl_seconds=60)
        ringing = await book_ringing(connection, run, count)
    async with database.transaction() as connection:
        await runs_store.lock_run(connection, run.id)
        return await stops.commit_stopping(connection, run, actor="supervisor"), ringing


async def signed(database, secret_box, run) -> dict:
    async with database.connection() as connection:
        present = await runs_store.by_id(connection, run.id)
    return read(await signed_reports.signed_report(database, secret_box, present))


async def test_what_comes_to_light_before_the_signature_is_in_both(database, secret_box):
    """The nodes book some calls only after the stop has ended, and nobody has stopped it twice."""
    run, ringing = await ringing_and_stopping(database, secret_box, 3)
    assert (await commit(database, run)).report.cancelled_count == 0
    async with database.connection() as connection:
        await attempts.book(connection, [stops._cancelled(one, "n1", clock.now()) for one in ringing])
    document = await signed(database, secret_box, run)
    assert document["counts"]["cancelled"] == 3
    stored = await stops.report_of(database, run.id)
    assert (stored.cancelled_count, stored.never_reached_count) == (3, document["counts"]["contacts"]["neverReached"])


async def test_what_comes_to_light_after_the_signature_is_an_addendum(database, secret_box, monkeypatch):
    run, ringing = await ringing_and_stopping(database, secret_box, 3)
    await commit(database, run)
    # how they ended was waited for, in vain
    monkeypatch.setattr(signed_reports, "SETTLE", timedelta())
    document = await signed(database, secret_box, run)
    assert document["counts"]["outcomes"]["unsettled"] == 3
    stored = await stops.report_of(database, run.id)
    late = await commit(database, run, *ringing)
    assert late.report == stored == await stops.report_of(database, run.id)
    assert await signed(database, secret_box, run) == document
    assert stored.cancelled_count == document["counts"]["cancelled"] == 0
    await commit(database, run, *ringing)
    async with database.connection() as connection:
        (row,) = await connection.fetch("SELECT actor, to_state, detail FROM history WHERE action = 'stop_report'")
        assert tuple(row) == ("supervisor", "addendum", {"cancelled_count": 3, "signed_cancelled_count": 0})
        # whoever tries it some other way
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="signed and stays"):
            await store.store_report(connection, run.id, late.report.as_json() | {"cancelled_count": 3})


async def test_who_counts_again_while_it_is_being_signed_is_waited_for(database, secret_box, monkeypatch):
    """The signature is made of what was stored before, and is thrown away."""
    run, ringing = await ringing_and_stopping(database, secret_box, 3)
    await commit(database, run)
    monkeypatch.setattr(signed_reports, "SETTLE", timedelta())
    made = report_document.signed
    again: list[asyncio.Task] = []

    def slowly(*args):
        if not again:
            again.append(asyncio.ensure_future(commit(database, run, *ringing)))
        return made(*args)

    lock_run = runs_store.lock_run

    async def second(connection, run_id):
        if again and not again[0].done() and asyncio.current_task() is not again[0]:
            await again[0]
        await lock_run(connection, run_id)

    monkeypatch.setattr(report_document, "signed", slowly)
    monkeypatch.setattr(runs_store, "lock_run", second)
    document = await signed(database, secret_box, run)
    assert document["counts"]["cancelled"] == 3 == (await stops.report_of(database, run.id)).cancelled_count
