"""A phone may ring on after a call whose end nobody knows: for a while nobody else calls its number."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest

from dialing import set_stage
from outdial.core.errors import DatabaseUnavailableError
from outdial.core.explanation import MAY_RING
from outdial.core.model import Disposition, DoneReason, RunContactState
from outdial.dialer.claim import HELD_SECONDS, claim
from outdial.services import runs
from outdial.store import manual_calls, reserve
from outdial.store.attempts import ContactNews
from outdial.store.reserve import Reservation
from several_numbers import AGAIN, A, B, C, D, second_run
from waiting import until

HELD = 20261128
"""An advisory lock of these tests."""
LOST = ContactNews(RunContactState.DONE, done_reason=DoneReason.UNKNOWN)


async def lose(scene, run=None) -> dict[str, str]:
    """Call whoever may be called and lose each call; return the numbers by the attempts."""
    made = await scene.call(run)
    for attempt_id in made:
        await scene.book(attempt_id, LOST, Disposition.UNKNOWN)
    return made


async def ago(scene, ended: timedelta) -> None:
    """Let the lost calls have been given up that long ago."""
    await scene.fetch("UPDATE attempts SET ended_at = clock_timestamp() - $1::interval WHERE state = 'unknown'", ended)


async def everybody(scene, run) -> list[int]:
    rows = await scene.fetch("SELECT contact_id FROM run_contacts WHERE run_id = $1 ORDER BY contact_id", run.id)
    return [row["contact_id"] for row in rows]


async def execute(scene, script: str) -> None:
    async with scene.database.connection() as connection:
        await connection.execute(script)


async def waits_for_the_lock(scene) -> bool:
    rows = await scene.fetch(f"SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = {HELD} AND NOT granted")
    return len(rows) == 1


def wish(people, hashes=None) -> Reservation:
    return Reservation((), (), [(one, uuid.uuid4().hex) for one in people], (), 9, 9, None, hashes=hashes)


class TestAnotherRun:
    async def test_leaves_the_number_alone_until_its_phone_rings_no_more(self, scene_of):
        scene = await scene_of(A, B)
        second = await second_run(scene, A, B, C)
        first, other = (await scene.call()).items()
        await scene.book(first[0], LOST, Disposition.UNKNOWN)
        await scene.book(other[0], LOST, Disposition.NO_ANSWER)
        # whose end is known may be called at once
        assert sorted((await scene.call(second)).values()) == [B, C]
        await ago(scene, MAY_RING - timedelta(seconds=5))
        assert await scene.call(second) == {}
        await ago(scene, MAY_RING)
        assert list((await scene.call(second)).values()) == [A]

    async def test_leaves_it_out_of_what_it_had_found_before(self, scene_of):
        """A node may be frozen between the look and the claim."""
        scene = await scene_of(A)
        second = await second_run(scene, A, B)
        people = await everybody(scene, second)
        await lose(scene)
        _, made = await scene.take(wish(people), second)
        assert [row["phone"] for row in await scene.fetch("SELECT phone FROM attempts WHERE id = ANY ($1)", made)] == [
            B
        ]
        states = await scene.fetch(
            "SELECT phone, state, attempts_count FROM run_contacts WHERE run_id = $1 ORDER BY phone", second.id
        )
        assert [tuple(row.values()) for row in states] == [(A, "pending", 0), (B, "claimed", 1)]

    async def test_keeps_the_hashes_of_the_others_with_their_numbers(self, scene_of):
        scene = await scene_of(A)
        second = await second_run(scene, A, B, C)
        people = dict(zip((A, B, C), await everybody(scene, second), strict=True))
        await lose(scene)
        list_id = (await scene.fetch("SELECT dnc_list_ids FROM runs WHERE id = $1", second.id))[0]["dnc_list_ids"][0]
        hashes = {contact_id: bytes([place] * 32) for place, contact_id in enumerate(people.values())}
        await scene.fetch(
            "INSERT INTO dnc_hashes (dnc_list_id, number_hmac, source) VALUES ($1, $2, 'file')",
            list_id,
            hashes[people[B]],
        )
        _, made = await scene.take(wish(people.values(), hashes), second)
        assert [row["phone"] for row in await scene.fetch("SELECT phone FROM attempts WHERE id = ANY ($1)", made)] == [
            C
        ]

    async def test_of_another_account_knows_nothing_of_it(self, scene_of, database, secret_box):
        scene = await scene_of(A)
        await lose(scene)
        stage = await set_stage(database, secret_box, [A], name="others", account="others")
        run = (
            await runs.start(database, secret_box, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="t")
        ).run
        async with database.connection() as connection:
            assert [one.phone for one in await reserve.candidates(connection, run, 9)] == [A]

    @pytest.mark.parametrize("person", [(B, A), (A, C)])
    async def test_calls_nobody_at_another_number_either(self, scene_of, person):
        scene = await scene_of(A)
        second = await second_run(scene, person, D)
        people = await everybody(scene, second)
        await lose(scene)
        assert list((await scene.call(second)).values()) == [D]
        assert (await scene.take(wish(people), second))[1] == frozenset()

    async def test_calls_nobody_who_is_called_by_hand(self, scene_of):
        scene = await scene_of(A)
        second = await second_run(scene, A)
        await lose(scene)
        (contact_id,) = await everybody(scene, second)
        async with scene.database.transaction() as connection:
            await manual_calls.ask(connection, second.id, contact_id, actor="test")
        assert await scene.call(second) == {}
        await ago(scene, MAY_RING)
        assert list((await scene.call(second)).values()) == [A]

    async def test_waits_for_who_is_due_and_does_not_end(self, scene_of):
        scene = await scene_of(A)
        second = await second_run(scene, A)
        for attempt_id in await scene.call(second):
            await scene.book(attempt_id, AGAIN)
        await lose(scene)
        found = await claim(scene.database, second, scene.stage.trunk, "n1", many=True, asked=set())
        assert (found.places, found.wait_seconds, found.exhausted) == ((), HELD_SECONDS, False)


class TestLostMeanwhile:
    """A call to the number is lost while another run's claim is under way, whose first look found it living."""

    async def test_nothing_of_the_claim_stands(self, scene_of):
        scene = await scene_of(A)
        second = await second_run(scene, A, B)
        people = await everybody(scene, second)
        ((attempt_id, _),) = (await scene.call()).items()
        await execute(
            scene,
            f"""
            ALTER FUNCTION outdial_not_ringing RENAME TO outdial_looks;
            CREATE FUNCTION outdial_not_ringing(
                run bigint, account text, people bigint[], ids text[], whys jsonb[], hmacs bytea[]
            ) RETURNS TABLE (wanted bigint[], attempt_ids text[], why jsonb[], hashes bytea[]) LANGUAGE plpgsql AS $$
            BEGIN
                RETURN QUERY SELECT * FROM outdial_looks(run, account, people, ids, whys, hmacs);
                PERFORM pg_advisory_xact_lock({HELD});
            END $$
            """,
        )
        try:
            async with scene.database.transaction() as held:
                await held.execute(f"SELECT pg_advisory_xact_lock({HELD})")
                claiming = asyncio.create_task(scene.take(wish(people), second))
                await until(lambda: waits_for_the_lock(scene))
                await scene.book(attempt_id, LOST, Disposition.UNKNOWN)
            with pytest.raises(DatabaseUnavailableError, match="may ring already"):
                await claiming
        finally:
            await execute(
                scene, "DROP FUNCTION outdial_not_ringing; ALTER FUNCTION outdial_looks RENAME TO outdial_not_ringing"
            )
        states = await scene.fetch("SELECT state FROM run_contacts WHERE run_id = $1", second.id)
        assert {row["state"] for row in states} == {"pending"}
        assert list((await scene.call(second)).values()) == [B]
