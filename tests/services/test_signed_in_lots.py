"""Reports that nobody asks for are signed in lots: as if each were made by itself, and none in another's way."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from dialing import add_campaign, phones, set_stage
from outdial import signing
from outdial.core.canonical import canonical, read
from outdial.core.stop_proof import findings, shape_findings, signed_bytes
from outdial.services import evidence_keeper, report_facts, runs, sealing, signed_reports, signing_keys
from outdial.services.engines import Engines
from outdial.services.stop import stop
from outdial.store import database as database_module
from outdial.store import runs as runs_store
from outdial.store import signing_keys as keys_store
from outdial.store.database import Database, PlainConnection
from outdial.store.signed_reports import unsigned
from waiting import until


class House:
    """Accounts whose campaigns are started and stopped at once."""

    def __init__(self, database, secret_box, engines):
        self.database = database
        self.secrets = secret_box
        self._engines = engines
        self._made = 0

    async def account(self, name: str):
        return await set_stage(self.database, self.secrets, [], name=name, account=name)

    async def stopped(self, stage, count: int = 1) -> list[int]:
        """Runs of an account that are stopped."""
        return [await self._stopped(stage) for _ in range(count)]

    async def _stopped(self, stage) -> int:
        self._made += 1
        name = f"{stage.list_name} {self._made}"
        campaign_id = await add_campaign(self.database, stage.owner, phones(2), list_name=name, name=name)
        owner = {"iid": stage.owner.iid, "campaign_id": campaign_id, "actor": "anna"}
        begun = await runs.start(self.database, self.secrets, **owner)
        await stop(self.database, self._engines, **owner)
        return begun.run.id

    async def sign(self, **options) -> list[int]:
        return await signed_reports.sign_missing(self.database, self.secrets, **options)

    async def documents(self) -> dict[int, dict]:
        async with self.database.connection() as connection:
            rows = await connection.fetch("SELECT run_id, document FROM signed_reports ORDER BY run_id")
        return {row["run_id"]: checked(bytes(row["document"])) for row in rows}

    async def execute(self, sql: str, *values) -> None:
        async with self.database.connection() as connection:
            await connection.execute(sql, *values)


def checked(text: bytes) -> dict:
    """The document of a signed report in which everything holds."""
    document = read(text)
    assert canonical(document) + b"\n" == text
    assert shape_findings(document) == []
    assert findings(document) == []
    signature = document["signature"]
    public = signing.from_text(signature["publicKey"])
    assert signing.verifies(public, signing.from_text(signature["value"]), signed_bytes(document))
    return document


@pytest.fixture
async def house(database, secret_box):
    engines = Engines(database, secret_box, ttl_seconds=0.5)
    yield House(database, secret_box, engines)
    await engines.close()


async def test_stops_of_two_accounts_are_signed_together_each_in_its_own_chain(house):
    one, other = await house.account("one"), await house.account("other")
    ids = [*await house.stopped(one, 2), *await house.stopped(other, 2), *await house.stopped(one)]
    assert await house.sign() == ids
    assert await house.sign() == []
    documents = await house.documents()
    assert list(documents) == ids
    for run_id, document in documents.items():
        assert document["run"]["runId"] == run_id
        assert document["counts"]["contacts"]["neverReached"] == 2
        quoted = [entry for seal in document["chain"]["seals"] for entry in seal["entries"] or ()]
        told = [entry for entry in quoted if isinstance(entry, dict)]
        assert {entry["runId"] for entry in told} == {run_id}
        # those of the other runs of its account, as digests
        assert len(quoted) > len(told)
    accounts = [document["chain"]["accountId"] for document in documents.values()]
    assert accounts == [one.owner.account_id] * 2 + [other.owner.account_id] * 2 + [one.owner.account_id]


async def test_a_report_is_the_same_whether_it_is_asked_for_or_signed_in_a_lot(house):
    stage = await house.account("one")
    asked, left = await house.stopped(stage, 2)
    await sealing.seal_all(house.database)
    async with house.database.connection() as connection:
        run = await runs_store.by_id(connection, asked)
    asked_for = checked(await signed_reports.signed_report(house.database, house.secrets, run))
    # again, in a lot with another
    await house.execute("ALTER TABLE signed_reports DISABLE TRIGGER USER")
    await house.execute("DELETE FROM signed_reports")
    assert await house.sign() == [asked, left]
    in_a_lot = (await house.documents())[asked]
    for document in (asked_for, in_a_lot):
        del document["signature"]
    assert in_a_lot == asked_for


async def test_each_report_begins_at_the_seal_of_its_own_stop_however_the_chain_is_read(house, monkeypatch):
    one, other = await house.account("one"), await house.account("other")
    ids = []
    for stage in (one, other, one, one):
        ids += await house.stopped(stage)
        await sealing.seal_all(house.database)
    monkeypatch.setattr(report_facts, "PAGE", 1)
    monkeypatch.setattr(report_facts, "ROWS", 1)
    assert await house.sign() == ids
    documents = await house.documents()
    lengths = [len(documents[run_id]["chain"]["seals"]) for run_id in ids]
    assert lengths == [3, 1, 2, 1]
    for document in documents.values():
        first, *further = document["chain"]["seals"]
        assert first["entries"] is not None
        assert all(seal["entries"] is None for seal in further)


async def test_a_lot_takes_no_more_statements_than_one_report(house, dsn, monkeypatch):
    asked = []

    class Counting(PlainConnection):
        async def _execute(self, query, *args, **options):
            asked.append(query)
            return await super()._execute(query, *args, **options)

    monkeypatch.setattr(database_module, "PlainConnection", Counting)
    stages = [await house.account("one"), await house.account("other")]
    counting = await Database.open(dsn, pool_size=2)

    async def statements(count: int) -> int:
        for stage in stages:
            await house.stopped(stage, count)
        asked.clear()
        assert len(await signed_reports.sign_missing(counting, house.secrets)) == 2 * count
        return len(asked)

    try:
        # the first time makes the key
        await statements(1)
        assert await statements(6) == await statements(1) > 0
    finally:
        await counting.close()


async def test_one_that_cannot_be_made_is_told_once_and_holds_up_no_other(house):
    stage = await house.account("one")
    first, broken, waits, last = await house.stopped(stage, 4)
    await house.execute("UPDATE runs SET stop_report = '{}' WHERE id = $1", broken)
    await house.execute(
        """
        INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id, engine_id,
                              node_id, epoch, number, state, changed_by)
        SELECT repeat('a', 32), r.id, r.campaign_id, r.account_id, c.contact_id, '+15550100980', '+1', r.trunk_id, 'e',
               'n', 1, 1, 'reserved', 'n'
          FROM runs r JOIN run_contacts c ON c.run_id = r.id
         WHERE r.id = $1 ORDER BY c.contact_id LIMIT 1
        """,
        waits,
    )
    keeper = evidence_keeper.EvidenceKeeper(house.database, house.secrets)
    with capture_logs() as logs:
        await keeper.look()
        await keeper.look()
    assert list(await house.documents()) == [first, last]
    told = sorted((one["run_id"], one["event"]) for one in logs)
    assert told == [(first, "stop_report_signed"), (broken, "stop_report_not_signed"), (last, "stop_report_signed")]
    async with house.database.connection() as connection:
        assert await unsigned(connection, within=signed_reports.LATELY, limit=9) == [broken, waits]
    # mended, it is signed
    async with house.database.connection() as connection:
        good = await connection.fetchval("SELECT stop_report FROM runs WHERE id = $1", first)
        await connection.execute("UPDATE runs SET stop_report = $2 WHERE id = $1", broken, good)
    assert await house.sign() == [broken]


async def test_one_that_somebody_holds_is_not_waited_for(house):
    stage = await house.account("one")
    held, free = await house.stopped(stage, 2)
    async with house.database.transaction() as connection:
        await runs_store.share_run(connection, held)
        assert await house.sign() == [free]
    assert await house.sign() == [held]


async def test_two_servers_sign_each_report_once(house, dsn):
    stages = [await house.account("one"), await house.account("other")]
    ids = [run_id for stage in stages for run_id in await house.stopped(stage, 4)]
    second = await Database.open(dsn, pool_size=3)
    try:
        signed = await asyncio.gather(
            *(signed_reports.sign_missing(database, house.secrets) for database in (house.database, second) * 2)
        )
    finally:
        await second.close()
    # one that was held by another just then is signed by that other
    assert sorted(run_id for part in signed for run_id in part) == sorted(ids)
    assert sorted(await house.documents()) == sorted(ids)


async def test_what_is_counted_again_meanwhile_is_signed_as_it_was_counted(house, monkeypatch):
    stage = await house.account("one")
    counted, other = await house.stopped(stage, 2)
    try_lock_runs = runs_store.try_lock_runs

    async def later(connection, run_ids):
        monkeypatch.setattr(runs_store, "try_lock_runs", try_lock_runs)
        await house.execute(
            "UPDATE runs SET stop_report = jsonb_set(stop_report, '{connected_count}', '1') WHERE id = $1", counted
        )
        return await try_lock_runs(connection, run_ids)

    monkeypatch.setattr(runs_store, "try_lock_runs", later)
    assert await house.sign() == [other]
    assert await house.sign() == [counted]
    assert list(await house.documents()) == [counted, other]
    async with house.database.connection() as connection:
        stored = await connection.fetchval("SELECT stop_report FROM runs WHERE id = $1", counted)
    assert stored["connected_count"] == 1


@pytest.fixture
def replaced(house, monkeypatch):
    """The key is replaced between signing and keeping, once; return the keys that were used."""
    signer, used = signing_keys.signer, []

    async def replacing(database, secrets):
        found = await signer(database, secrets)
        used.append(found.key.id)
        if len(used) == 1:
            await signing_keys.rotate(database, secrets, actor="carla")
        return found

    monkeypatch.setattr(signing_keys, "signer", replacing)
    return used


async def test_no_lot_is_kept_whose_key_was_replaced_meanwhile(house, replaced):
    ids = await house.stopped(await house.account("one"), 2)
    assert await house.sign() == []
    assert await house.sign() == ids
    old, new = replaced
    assert old != new
    assert {document["signature"]["keyId"] for document in (await house.documents()).values()} == {new}


async def test_who_asks_gets_a_report_by_the_new_key(house, replaced):
    (run_id,) = await house.stopped(await house.account("one"))
    async with house.database.connection() as connection:
        run = await runs_store.by_id(connection, run_id)
    document = checked(await signed_reports.signed_report(house.database, house.secrets, run))
    assert [document["signature"]["keyId"]] == replaced[1:]


async def test_a_key_that_signs_is_replaced_after_that(house):
    """Whoever keeps a report holds the key, so that nothing is kept that a key has signed which is gone."""
    key = await signing_keys.in_use(house.database, house.secrets)
    async with house.database.transaction() as connection:
        assert await keys_store.hold(connection, key.id)
        rotating = asyncio.create_task(signing_keys.rotate(house.database, house.secrets, actor="carla"))

        async def waits() -> bool:
            return await connection.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")

        await until(waits)
        assert not rotating.done()
    new = await rotating
    async with house.database.transaction() as connection:
        assert not await keys_store.hold(connection, key.id)
        assert await keys_store.hold(connection, new.id)


async def test_what_another_process_was_sealing_is_sealed_all_the_same(house, monkeypatch):
    async def other_has_the_turn(_database) -> int:
        return 0

    monkeypatch.setattr(sealing, "seal_some", other_has_the_turn)
    ids = await house.stopped(await house.account("one"), 2)
    assert await house.sign() == ids
