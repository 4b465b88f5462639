"""Who was erased and is never to be called stays uncallable, though nobody has the number any more."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from structlog.testing import capture_logs

from dialing import add_campaign, dialing, phones, set_stage
from engines import TTL_SECONDS, simulated
from outdial.core.erasure import number_hash
from outdial.core.errors import PersonOnCallError
from outdial.core.model import AttemptState, ConnectedCalls, DoneReason
from outdial.secretbox import SecretBox, WrongSecretKeyError
from outdial.services import contact_lists, dnc, erasures, history_export, imports, runs
from outdial.services.contact_lists import ContactDraft
from outdial.services.engines import Engines
from outdial.services.import_rows import ERASED
from outdial.services.imports import ImportDraft
from outdial.store import number_keys, transfers
from outdial.store import reserve as reserve_store
from outdial.store.transfers import Transfer
from persons import places_of
from waiting import until

TALKS, RINGS, BUSY = "10", "80", "70"


@pytest.fixture
async def engines(database, secret_box):
    opened = Engines(database, secret_box, ttl_seconds=TTL_SECONDS)
    yield opened
    await opened.close()


@pytest.fixture
def erase(database, secret_box, engines, tmp_path):
    async def one(account_id: str, phone: str, **more):
        return await erasures.erase(
            database,
            secret_box,
            engines,
            account_id=account_id,
            phone=phone,
            actor="dora",
            folder=tmp_path / "recordings",
            **more,
        )

    return one


async def fetchval(database, statement: str, *arguments):
    async with database.connection() as connection:
        return await connection.fetchval(statement, *arguments)


async def start(stage, campaign_id=None):
    return (
        await runs.start(
            stage.database,
            stage.secrets,
            iid=stage.owner.iid,
            campaign_id=campaign_id or stage.campaign_id,
            actor="anna",
        )
    ).run


async def done_reason(database, run, contact_id=None) -> dict[str, str]:
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT phone, done_reason FROM run_contacts WHERE run_id = $1", run.id)
    return {row["phone"]: row["done_reason"] for row in rows}


class TestInALiveRun:
    async def test_who_rings_is_cancelled_and_erased_and_nothing_dials_the_number_after(
        self, database, secret_box, engines, erase, tmp_path
    ):
        stage = await set_stage(database, secret_box, phones(6, last=RINGS), seconds=60)
        person = phones(6, last=RINGS)[0]
        async with simulated() as engine, dialing(stage, engine, tmp_path, engines=engines, ttl_seconds=TTL_SECONDS):
            run = await start(stage)
            await until(lambda: len(engine.sent) == 6)
            done = await erase(stage.owner.account_id, person)
            sent = len(engine.sent)
            assert await places_of(database, person) == []
            # the run goes on, and the contacts add up
            assert (await runs.progress(database, run.id)).run.state == "active"
            assert await done_reason(database, run) == {"": DoneReason.DNC} | dict.fromkeys(phones(6, last=RINGS)[1:])
            assert len(engine.sent) == sent
        assert done.counts["attempts"] == 1
        assert await places_of(database, person) == []
        await history_export.verify(database, stage.owner.account_id)

    async def test_a_conversation_is_not_cut_and_the_erasure_waits_for_its_end(
        self, database, secret_box, engines, erase, tmp_path, monkeypatch
    ):
        stage = await set_stage(database, secret_box, phones(2, last=TALKS), seconds=600)
        person = phones(2, last=TALKS)[0]
        async with simulated() as engine, dialing(stage, engine, tmp_path, engines=engines, ttl_seconds=TTL_SECONDS):
            await start(stage)

            async def talking() -> bool:
                return await fetchval(database, "SELECT count(*) = 2 FROM attempts WHERE state = 'answered'")

            await until(talking)
            with pytest.raises(PersonOnCallError):
                await erase(stage.owner.account_id, person)
            live = await fetchval(database, "SELECT state FROM attempts WHERE phone = $1", person)
            assert AttemptState(live) is AttemptState.ANSWERED
            (waiting,) = (
                await erasures.list_erasures(database, account_id=stage.owner.account_id, skip=0, limit=9)
            ).items
            assert waiting.erased_at is None
            # a server that goes on with it does not stop the number over and over, and goes on with others
            folder, stops = tmp_path / "recordings", "SELECT count(*) FROM wide_stops"
            before = await fetchval(database, stops)
            with monkeypatch.context() as patched:
                patched.setattr(erasures, "_mend", _killed)
                with pytest.raises(asyncio.CancelledError):
                    await erase(stage.owner.account_id, "+15550123470")
            with pytest.raises(PersonOnCallError):
                await erasures.go_on(database, secret_box, engines, folder, older_than=timedelta())
            assert await fetchval(database, stops) == before + 2
            assert await fetchval(database, "SELECT count(*) FROM erasures WHERE done_at IS NOT NULL") == 1
            done = await erase(stage.owner.account_id, person, connected=ConnectedCalls.HANG_UP)
            assert done.id == waiting.id
            assert await places_of(database, person) == []
            # the other one still talks
            assert await fetchval(database, "SELECT count(*) FROM attempts WHERE state = 'answered'") == 1

    async def test_a_server_goes_on_with_one_that_could_not_be_carried_out(
        self, database, secret_box, engines, erase, tmp_path, monkeypatch
    ):
        stage = await set_stage(database, secret_box, phones(2, last=BUSY))
        person = phones(2, last=BUSY)[0]
        with monkeypatch.context() as patched:
            patched.setattr(erasures, "_mend", _killed)
            with pytest.raises(asyncio.CancelledError):
                await erase(stage.owner.account_id, person, never_call=True)
        folder = tmp_path / "recordings"
        assert await erasures.go_on(database, secret_box, engines, folder, older_than=timedelta(hours=1)) == []
        (through,) = await erasures.go_on(database, secret_box, engines, folder, older_than=timedelta())
        done = await erasures.erasure_of(database, account_id=stage.owner.account_id, erasure_id=through)
        assert (done.never_call, done.done_at is not None) == (True, True)
        assert await places_of(database, person) == []


async def _killed(*_arguments, **_more):
    raise asyncio.CancelledError


class TestComingBack:
    async def test_who_is_not_to_be_called_does_not_come_back_by_an_import_or_by_the_api(
        self, database, secret_box, erase, tmp_path
    ):
        stage = await set_stage(database, secret_box, phones(3, last=BUSY))
        person, other = phones(3, last=BUSY)[:2]
        await erase(stage.owner.account_id, person, never_call=True)
        added = await contact_lists.add_contacts(
            database,
            stage.owner.iid,
            "people",
            [ContactDraft(person), ContactDraft("+15550123470")],
            default_region=None,
            secrets=secret_box,
        )
        assert (added.added, added.problems) == (1, (f"[0]: {ERASED}.",))
        file = f"phone,name\n{person},Eve\n{other},Adam\n+15550123471,Cain\n".encode()
        made = await imports.create(
            database,
            iid=stage.owner.iid,
            account_id=stage.owner.account_id,
            draft=ImportDraft(list_name="people", file_name="people.csv"),
            actor="anna",
        )
        await imports.append(database, tmp_path, stage.owner.iid, made.id, offset=0, data=file)
        await imports.finish_upload(database, tmp_path, stage.owner.iid, made.id, actor="anna")
        ended = await imports.run(
            database,
            tmp_path,
            stage.owner.iid,
            made.id,
            actor="anna",
            secrets=secret_box,
            error_file=tmp_path / "e.csv",
        )
        assert (ended.added, ended.duplicates, ended.bad) == (1, 1, 1)
        (problem,) = (await imports.errors(database, stage.owner.iid, made.id, skip=0, limit=9)).items
        assert (problem.line, problem.reason) == (2, ERASED)
        assert ERASED in (tmp_path / "e.csv").read_text(encoding="utf-8-sig")
        assert await places_of(database, person) == []

    async def test_without_the_key_nothing_is_added_where_somebody_was_erased(self, database, secret_box, erase):
        stage = await set_stage(database, secret_box, phones(3, last=BUSY))
        await erase(stage.owner.account_id, phones(3, last=BUSY)[0], never_call=True)
        with pytest.raises(RuntimeError, match="without the secret key"):
            await contact_lists.add_contacts(
                database, stage.owner.iid, "people", [ContactDraft("+15550123470")], default_region=None
            )

    async def test_who_was_only_erased_may_come_back(self, database, secret_box, erase):
        stage = await set_stage(database, secret_box, phones(3, last=BUSY))
        person = phones(3, last=BUSY)[0]
        await erase(stage.owner.account_id, person)
        added = await contact_lists.add_contacts(
            database, stage.owner.iid, "people", [ContactDraft(person)], default_region=None, secrets=secret_box
        )
        assert added.added == 1
        assert await fetchval(database, "SELECT count(*) FROM dnc_hashes") == 0

    async def test_entries_keep_their_list_and_their_end(self, database, secret_box, erase):
        stage = await set_stage(database, secret_box, phones(3, last=BUSY))
        owner, person = stage.owner, phones(3, last=BUSY)[0]
        made = await dnc.create_list(database, account_id=owner.account_id, iid=owner.iid, name="debts", actor="a")
        (account_wide, *_more) = await dnc.list_lists(database, account_id=owner.account_id, iid=owner.iid)
        until_then = datetime.now(UTC) + timedelta(days=9)
        for list_id, expires_at in ((made.id, None), (account_wide.id, until_then)):
            await dnc.add_to_list(
                database,
                account_id=owner.account_id,
                iid=owner.iid,
                list_id=list_id,
                phones=[person],
                expires_at=expires_at,
                actor="a",
            )
        await erase(owner.account_id, person)
        async with database.connection() as connection:
            rows = await connection.fetch("SELECT dnc_list_id, expires_at FROM dnc_hashes")
        assert {row["dnc_list_id"]: row["expires_at"] for row in rows} == {made.id: None, account_wide.id: until_then}

    async def test_whoever_has_the_number_can_take_it_off_the_list(self, database, secret_box, erase):
        stage = await set_stage(database, secret_box, phones(3, last=BUSY))
        account_id, person = stage.owner.account_id, phones(3, last=BUSY)[0]
        await erase(account_id, person, never_call=True)
        change = await dnc.remove_numbers(
            database, account_id=account_id, phones=[person, "+15550123470"], actor="a", secrets=secret_box
        )
        assert (change.changed, change.unchanged) == (1, 1)
        assert await fetchval(database, "SELECT count(*) FROM dnc_hashes") == 0
        # the number does not come back by it
        assert await places_of(database, person) == []
        added = await contact_lists.add_contacts(
            database, stage.owner.iid, "people", [ContactDraft(person)], default_region=None, secrets=secret_box
        )
        assert added.added == 1

    async def test_what_is_asked_for_while_it_is_being_erased_is_kept_too(
        self, database, secret_box, erase, monkeypatch
    ):
        stage = await set_stage(database, secret_box, phones(3, last=BUSY))
        account_id, person = stage.owner.account_id, phones(3, last=BUSY)[0]
        with monkeypatch.context() as patched:
            patched.setattr(erasures, "_mend", _killed)
            with pytest.raises(asyncio.CancelledError):
                await erase(account_id, person)
        await dnc.add_numbers(database, account_id=account_id, phones=[person], reason="asked", actor="a")
        await erase(account_id, person)
        assert await fetchval(database, "SELECT count(*) FROM dnc_hashes") == 1


class TestTheGate:
    @pytest.fixture
    async def come_back(self, database, secret_box, erase):
        """A campaign whose list got the erased person again past outdial's own doors."""
        stage = await set_stage(database, secret_box, phones(3, last=BUSY))
        person = phones(3, last=BUSY)[1]
        await erase(stage.owner.account_id, person, never_call=True)
        list_id = await fetchval(database, "SELECT id FROM contact_lists")
        async with database.connection() as connection:
            await connection.execute(
                "INSERT INTO contacts (list_id, phone, dedupe_phone) VALUES ($1, $2, $2)", list_id, person
            )
        return stage, person

    async def test_refuses_the_number_in_a_run(self, come_back, engines, tmp_path):
        stage, person = come_back
        async with simulated() as engine, dialing(stage, engine, tmp_path, engines=engines, ttl_seconds=TTL_SECONDS):
            run = await start(stage)

            async def denied() -> bool:
                return (await done_reason(stage.database, run)).get(person) == DoneReason.DNC

            await until(denied)
            await until(lambda: len(engine.sent) == 2)
            assert not any(person in str(one) for one in engine.sent)
        why = await fetchval(stage.database, "SELECT screening FROM run_contacts WHERE phone = $1", person)
        assert (why["rule"], why["inputs"]) == ("account_dnc", {"listed": True})

    async def test_and_so_does_the_reservation_by_itself(self, come_back, database, secret_box):
        """What was decided before the number came on the list is looked at again where it is reserved."""
        stage, person = come_back
        run = await start(stage)
        async with database.connection() as connection:
            key = await number_keys.key(connection, secret_box)
            await connection.execute(
                """
                INSERT INTO run_contacts (run_id, contact_id, phone, dedupe_key, sort_key)
                SELECT $1, id, phone, phone, id FROM contacts ON CONFLICT DO NOTHING
                """,
                run.id,
            )
            contacts = await connection.fetch("SELECT id, phone FROM contacts ORDER BY id")
            engine = "sim-one"
            await connection.execute("INSERT INTO engines (id, kind) VALUES ($1, 'simulated')", engine)
            await connection.execute(
                """
                INSERT INTO nodes (id, name, host, pid, stasis_app, engine_id, lease_until)
                VALUES ('node-1', 'n', 'h', 1, 'app-1', $1, now() + interval '1 hour')
                """,
                engine,
            )
            wish = reserve_store.Reservation(
                denied=[],
                deferred=[],
                wanted=[(one["id"], f"{place:032x}") for place, one in enumerate(contacts)],
                budgets=[],
                run_cap=50,
                trunk_cap=50,
                application_cap=None,
            )
            verdict, made = await reserve_store.reserve(connection, run, "node-1", wish)
            assert (verdict, made) == (reserve_store.Verdict.CONFLICT, frozenset())
            hashes = {one["id"]: number_hash(key, run.account_id, one["phone"]) for one in contacts}
            verdict, made = await reserve_store.reserve(connection, run, "node-1", replace(wish, hashes=hashes))
            dialed = await connection.fetch("SELECT phone FROM attempts")
        assert verdict is reserve_store.Verdict.RESERVED
        assert len(made) == len(contacts) - 1
        assert person not in {row["phone"] for row in dialed}

    async def test_refuses_a_transfer_to_the_number_too(self, come_back, database, secret_box):
        stage, person = come_back
        run = await start(stage)
        other = phones(3, last=BUSY)[2]
        said = []
        for phone, secrets in ((person, secret_box), (other, None), (other, secret_box)):
            leg = Transfer("t" + phone[-4:], "0" * 32, run.id, run.account_id, run.epoch, "sim", phone[1:], phone)
            async with database.connection() as connection:
                attempt = connection.transaction()
                await attempt.start()
                try:
                    said.append(await transfers.reserve(connection, leg, secrets))
                except asyncpg.ForeignKeyViolationError:
                    # there is no such attempt: it would have been written down
                    said.append("")
                await attempt.rollback()
        assert said == ["its number is on a do-not-call list"] * 2 + [""]

    async def test_a_node_without_the_secret_key_dials_nobody_and_says_why(
        self, come_back, database, engines, tmp_path
    ):
        stage, _person = come_back
        run = await start(stage)
        key = base64.urlsafe_b64encode(bytes(32)).decode()
        async with database.connection() as connection:
            with pytest.raises(WrongSecretKeyError):
                await number_keys.key(connection, SecretBox(key))
            # as if another installation's key had encrypted it
            await connection.execute(
                "UPDATE number_keys SET key_encrypted = $1", SecretBox(key).encrypt(base64.b64encode(b"x").decode())
            )
        with capture_logs() as logs:
            async with (
                simulated() as engine,
                dialing(stage, engine, tmp_path, engines=engines, ttl_seconds=TTL_SECONDS),
            ):
                await until(lambda: any(one["event"] == "run_not_dialed" for one in logs))
                assert engine.sent == []
        (told,) = [one for one in logs if one["event"] == "run_not_dialed"]
        assert told["run_id"] == run.id
        assert "encrypted with another key" in told["reason"]

    async def test_another_campaign_whose_list_it_is_not_is_let_through(self, database, secret_box, erase, engines):
        stage = await set_stage(database, secret_box, phones(2, last=BUSY))
        owner, person = stage.owner, phones(2, last=BUSY)[0]
        await dnc.create_list(database, account_id=owner.account_id, iid=owner.iid, name="debts", actor="a")
        await dnc.add_numbers(
            database, account_id=owner.account_id, iid=owner.iid, list_name="debts", phones=[person], actor="a"
        )
        second = await add_campaign(
            database, owner, ["+15550123470"], list_name="more", name="More", dnc_list_name="debts"
        )
        await erase(owner.account_id, person)
        first_run, second_run = await start(stage), await start(stage, second)
        async with database.connection() as connection:
            facts = [(await reserve_store.facts(connection, run)).hashed for run in (first_run, second_run)]
        assert facts == [False, True]
