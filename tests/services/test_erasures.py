"""Erasing a person: nothing of them is left anywhere, everything of others is, and the chain still holds."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import uuid

import asyncpg
import pytest

from dialing import CALLER_ID, add_campaign, dialing, phones, set_stage
from engines import TTL_SECONDS, simulated
from outdial.core.errors import InUseError, InvalidInputError, NotFoundError, ReportErasedError
from outdial.core.history_file import check_file
from outdial.core.model import DncSource
from outdial.services import (
    access,
    contact_lists,
    dnc,
    erasures,
    evidence_archive,
    history_export,
    runs,
    sealing,
    signed_reports,
    signing_keys,
)
from outdial.services.archive_check import verify_archive
from outdial.services.contact_lists import ContactDraft
from outdial.services.engines import Engines
from outdial.services.history_export import HistoryNotWholeError
from outdial.services.stop import stop
from outdial.store import erasures as store
from outdial.store import idempotency
from outdial.store import runs as runs_store
from persons import places_of
from waiting import until

BUSY = "70"


@pytest.fixture
async def engines(database, secret_box):
    opened = Engines(database, secret_box, ttl_seconds=TTL_SECONDS)
    yield opened
    await opened.close()


@pytest.fixture
def erase(database, secret_box, engines, tmp_path):
    """Erase somebody, as the command does."""

    async def one(account_id: str, phone: str, **more):
        return await erasures.erase(
            database,
            secret_box,
            engines,
            account_id=account_id,
            phone=phone,
            actor=more.pop("actor", "dora"),
            folder=tmp_path / "recordings",
            **more,
        )

    return one


async def run_of(stage, campaign_id=None):
    return (
        await runs.start(
            stage.database,
            stage.secrets,
            iid=stage.owner.iid,
            campaign_id=campaign_id or stage.campaign_id,
            actor="anna",
        )
    ).run


async def ended(database, count: int) -> bool:
    async with database.connection() as connection:
        return count <= await connection.fetchval(
            "SELECT count(*) FROM attempts WHERE state = 'ended' AND dialed_at IS NOT NULL"
        )


@pytest.fixture
async def ran(database, secret_box, engines, tmp_path):
    """A campaign that was dialed and stopped: everybody was busy once."""
    stage = await set_stage(database, secret_box, phones(6, last=BUSY))
    async with simulated() as engine, dialing(stage, engine, tmp_path, engines=engines, ttl_seconds=TTL_SECONDS):
        run = await run_of(stage)
        await until(lambda: ended(database, 6))
        await stop(database, engines, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="berta")
    async with database.connection() as connection:
        return stage, await runs_store.by_id(connection, run.id)


async def lines_of(database, asked) -> list[bytes]:
    text = b"".join([piece async for piece in history_export.export(database, asked)])
    return text.splitlines(keepends=True)


async def execute(database, statement: str, *arguments):
    async with database.connection() as connection:
        return await connection.execute(statement, *arguments)


async def fetchval(database, statement: str, *arguments):
    async with database.connection() as connection:
        return await connection.fetchval(statement, *arguments)


async def mention_everywhere(stage, run, phone: str, folder) -> None:
    """Put the number where it can stand beside what dialing itself has written."""
    database, account = stage.database, stage.owner.account_id
    attempt = await fetchval(database, "SELECT id FROM attempts WHERE phone = $1", phone)
    other = await fetchval(database, "SELECT id FROM attempts WHERE phone <> $1 LIMIT 1", phone)
    await dnc.add_numbers(database, account_id=account, phones=["+15550199870"], reason=f"wife of {phone}", actor="a")
    await dnc.add_numbers(
        database, account_id=account, phones=[phone], reason="asked", source=DncSource.AGENT, actor="agent"
    )
    await execute(
        database,
        "UPDATE attempts SET pre_call = $2, matters = $3, change_reason = $4 WHERE id = $1",
        other,
        {"data": {"friend": phone, "kept": 1}},
        {"case": phone.removeprefix("+")},
        f"as {phone} said",
    )
    await execute(
        database, "UPDATE attempts SET pre_call = $2, matters = '{}' WHERE id = $1", attempt, {"data": {"name": "Eve"}}
    )
    await execute(
        database,
        "UPDATE contacts SET attributes = $2, unique_id = $3 WHERE phone <> $1",
        phone,
        {"second": phone, "name": "Adam"},
        f"{phone}-b",
    )
    await execute(database, "UPDATE runs SET stop_options = stop_options || $2 WHERE id = $1", run.id, {"why": phone})
    await execute(
        database,
        "INSERT INTO flow_outcomes (attempt_id, flow_id, result, opted_out, path, finished) "
        "VALUES ($1, $2, 'pressed 9', true, '{menu,nine}', true), ($3, $2, $4, false, '{menu}', true)",
        attempt,
        stage.flow.id,
        other,
        f"typed {phone}",
    )
    await execute(
        database,
        """
        INSERT INTO transfers (id, attempt_id, run_id, epoch, engine_id, dialed, phone, ended_at)
        VALUES ($1, $2, $3, 1, 'sim', $4, $5, now())
        """,
        uuid.uuid4().hex,
        other,
        run.id,
        phone.removeprefix("+"),
        phone,
    )
    import_id = "im-1"
    await execute(
        database,
        """
        INSERT INTO imports (id, iid, account_id, state, file_name, mapping, list_name, create_list, created_by,
                             changed_by, failure, ended_at)
        VALUES ($1, $2, $3, 'failed', $4, '{}', 'people', false, 'a', 'a', $4, now())
        """,
        import_id,
        stage.owner.iid,
        account,
        f"{phone}.csv",
    )
    await execute(database, "INSERT INTO import_errors VALUES ($1, 2, $2)", import_id, f"'{phone}x' is no number")
    await execute(
        database,
        """
        INSERT INTO watchdog_alarms (sent_at, breaches, account_id, run_id, attempt_id, engine_name, call_id, number,
                                     caller, source, destination, fence)
        VALUES (now(), '{dnc}', $1, $2, $3, 'pbx', 'call-1', $4, $5, 's', 'd', '{}')
        """,
        account,
        run.id,
        attempt,
        "9" + phone.removeprefix("+"),
        CALLER_ID,
    )
    webhook = "wh-1"
    await execute(
        database,
        """
        INSERT INTO webhooks (id, account_id, url, events, secret_encrypted, seal_number, created_by)
        VALUES ($1, $2, 'https://example.net', '{attempt.ended}', '\\x00', 0, 'a')
        """,
        webhook,
        account,
    )
    await sealing.seal_all(database)
    await execute(
        database,
        """
        INSERT INTO webhook_deliveries (webhook_id, lane, history_id, event, problem)
        SELECT $1, $2, id, 'attempt.ended', $3 FROM history WHERE attempt_id IS NOT NULL AND to_state = 'ended'
        """,
        webhook,
        run.id,
        f"answered 500 for {phone}",
    )
    async with database.connection() as connection:
        key = idempotency.Key(stage.owner.client_id, "key-1", "claim")
        await idempotency.claim(connection, key, b"f", seconds=60)
        body = stage.secrets.encrypt(json.dumps({"added": [phone]}))
        await idempotency.keep(connection, key, 200, {"content-type": "application/json"}, body)
    place = folder / account / run.instance_id / attempt
    place.mkdir(parents=True)
    (place / "rc-1.wav").write_bytes(b"RIFF")
    await execute(
        database,
        """
        INSERT INTO recordings (id, attempt_id, step, duration_seconds, size_bytes, sha256, host, file)
        VALUES ('rc-1', $1, 'voice', 1, 4, repeat('0', 64), $2, $3)
        """,
        attempt,
        platform.node(),
        str((place / "rc-1.wav").relative_to(folder)),
    )


async def test_nothing_of_the_person_is_left_anywhere(database, ran, erase, tmp_path):
    stage, run = ran
    person, other = phones(6, last=BUSY)[:2]
    recordings = tmp_path / "recordings"
    await mention_everywhere(stage, run, person, recordings)
    before = await places_of(database, person)
    assert {place.split(".")[0] for place in before} >= {
        *(
            "attempts",
            "contacts",
            "dnc_entries",
            "flow_outcomes",
            "history",
            "import_errors",
            "imports",
            "run_contacts",
        ),
        *("runs", "transfers", "webhook_deliveries"),
    }
    others = await places_of(database, other)
    done = await erase(stage.owner.account_id, person)
    assert await places_of(database, person) == []
    assert done.erased_at is not None
    assert done.done_at is not None
    assert [path for path in recordings.rglob("*") if path.is_file()] == []
    assert await fetchval(database, "SELECT number FROM watchdog_alarms") == ""
    assert await fetchval(database, "SELECT removed_at FROM recordings") is not None
    counts = done.counts
    assert counts["contacts"] == counts["run_contacts"] == counts["attempts"] == counts["recordings"] == 1
    assert counts["history"] >= 4
    assert counts["replies"] == counts["alarms"] == counts["transfers"] == counts["stops"] == 1
    assert counts["webhook_messages"] == 1
    # what is somebody else's stays, without the mention
    assert await places_of(database, other) == others
    assert await fetchval(database, "SELECT attributes FROM contacts WHERE phone = $1", other) == {"name": "Adam"}
    assert await fetchval(database, "SELECT pre_call FROM attempts WHERE pre_call IS NOT NULL") == {"data": {"kept": 1}}
    assert await fetchval(database, "SELECT result FROM flow_outcomes") == "typed [erased]"
    assert await fetchval(database, "SELECT count(*) FROM webhook_deliveries WHERE problem LIKE '%[erased]'") == 5
    # what adds up still does
    assert (await runs.progress(database, run.id)).placed == 6
    assert await fetchval(database, "SELECT contacts_count FROM contact_lists") == 5
    kept = await fetchval(database, "SELECT (status IS NULL) AND carried_out_at IS NOT NULL FROM idempotency_keys")
    assert kept is True


async def test_the_chain_holds_before_and_after_in_the_database_in_exports_and_in_archives(
    database, secret_box, ran, erase
):
    stage, run = ran
    account = stage.owner.account_id
    person = phones(6, last=BUSY)[2]
    asked = [history_export.of_account(account), history_export.of_run(run)]
    earlier = [await lines_of(database, one) for one in asked]
    archive = io.BytesIO()
    await evidence_archive.write(database, secret_box, asked[0], archive)
    held = await history_export.verify(database, account)
    assert held.erased == 0
    done = await erase(account, person)
    after = await history_export.verify(database, account)
    assert after.erased == done.counts["history"] >= 4
    assert after.rows + after.erased > held.rows
    for one, before in zip(asked, earlier, strict=True):
        # what others hold is as good as ever
        assert check_file(before).erased == 0
        lines = await lines_of(database, one)
        found = check_file(lines)
        assert found.erased > 0
        assert found.seals >= check_file(before).seals
        assert person.removeprefix("+").encode() not in b"".join(lines)
        if one.whole:
            assert found.erased == after.erased
            # and the chain is the one it was: each seal of before stands in it unchanged
            assert {text for text in before if b'"kind":"seal"' in text} <= set(lines)
    public = (await signing_keys.in_use(database, secret_box)).public
    archive.seek(0)
    assert verify_archive(archive, public).valid
    anew = io.BytesIO()
    await evidence_archive.write(database, secret_box, asked[0], anew)
    anew.seek(0)
    verdict = verify_archive(anew, public)
    assert verdict.valid, verdict.difference
    assert (verdict.erased, verdict.attempts) == (after.erased, 5)
    assert person.removeprefix("+").encode() not in anew.getvalue()


async def test_the_row_of_the_erasure_says_who_when_and_how_much_and_has_the_number_as_a_keyed_hash(
    database, ran, erase
):
    stage, _run = ran
    done = await erase(stage.owner.account_id, phones(6, last=BUSY)[0], actor="dora")
    async with database.connection() as connection:
        row = await connection.fetchrow("SELECT * FROM history WHERE action = 'erasure'")
        left = await connection.fetch("SELECT * FROM history WHERE erased_sha256 IS NOT NULL ORDER BY id")
    assert (row["actor"], row["to_state"], row["account_id"]) == ("dora", "erased", stage.owner.account_id)
    assert row["detail"]["erasure_id"] == done.id
    assert row["detail"]["number_hmac"] == done.number_hmac.hex()
    assert row["detail"]["counts"]["attempts"] == 1
    assert row["detail"]["rows"] == [one["id"] for one in left]
    for one in left:
        assert (one["contact_id"], one["detail"], one["salt"], one["actor"], one["reason"]) == (
            None,
            None,
            None,
            "",
            "",
        )
        assert one["action"] in {"attempt", "run_contact", "wide_stop", "opt_out"}
    assert {one["attempt_id"] for one in left if one["action"] == "attempt"} - {None}


async def test_rows_from_before_salts_keep_nothing_but_their_digest(database, ran, erase, dsn):
    stage, _run = ran
    person = phones(6, last=BUSY)[1]
    superuser = await asyncpg.connect(dsn)
    try:
        # as a database has them that sealed history before rows had salts
        await superuser.execute("ALTER TABLE history DISABLE TRIGGER USER")
        await superuser.execute("ALTER TABLE history_seals DISABLE TRIGGER USER")
        await superuser.execute("UPDATE history SET salt = NULL")
        await superuser.execute("DELETE FROM history_seals")
        await superuser.execute("UPDATE history_sealing SET cluster = NULL, done = NULL")
        await superuser.execute("ALTER TABLE history ENABLE TRIGGER USER")
        await superuser.execute("ALTER TABLE history_seals ENABLE TRIGGER USER")
    finally:
        await superuser.close()
    await sealing.seal_all(database)
    await erase(stage.owner.account_id, person)
    async with database.connection() as connection:
        bare = await connection.fetch("SELECT * FROM history WHERE action = 'erased'")
        sealed_at = await connection.fetchval("SELECT sealed_at FROM history_seals WHERE number = 1")
    assert len(bare) >= 3
    for row in bare:
        known = {name for name, value in row.items() if value not in (None, "")}
        assert known == {"id", "at", "account_id", "action", "xid", "erased_sha256"}
        assert row["at"] == sealed_at
    assert (await history_export.verify(database, stage.owner.account_id)).erased >= len(bare)


FORBIDDEN = {
    "another column": "UPDATE history SET actor = 'otto' WHERE id = $1",
    "another digest over a row that is erased": "UPDATE history SET erased_sha256 = sha256('x') WHERE id = $2",
    "a row brought back": "UPDATE history SET erased_sha256 = NULL, actor = 'otto' WHERE id = $2",
    "erasing without an erasure": "SELECT outdial_erase_history(ARRAY[$1::bigint], ARRAY[sha256('x')])",
    "deleting": "DELETE FROM history WHERE id = $2",
}


@pytest.mark.parametrize("what", FORBIDDEN)
@pytest.mark.parametrize("in_an_erasure", [False, True])
async def test_history_changes_in_no_other_way(database, ran, erase, what, in_an_erasure):
    stage, _run = ran
    account = stage.owner.account_id
    await erase(account, phones(6, last=BUSY)[0])
    whole = await fetchval(database, "SELECT max(id) FROM history WHERE action = 'attempt' AND erased_sha256 IS NULL")
    gone = await fetchval(database, "SELECT max(id) FROM history WHERE erased_sha256 IS NOT NULL")
    statement = FORBIDDEN[what].replace("$1", str(whole)).replace("$2", str(gone))
    async with database.connection() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="rows of history are evidence"):
            async with connection.transaction():
                if in_an_erasure:
                    # one that names another row
                    await connection.execute(
                        "INSERT INTO history (account_id, action, actor, detail) VALUES ($1, 'erasure', 'otto', $2)",
                        account,
                        {"rows": [1]},
                    )
                await connection.execute(statement)
    await history_export.verify(database, account)


BY_FORCE = {
    "a changed digest": (
        "UPDATE history SET erased_sha256 = sha256('x') WHERE erased_sha256 IS NOT NULL",
        "the rows of seal .* are not those it was made of",
    ),
    "an erasure that names other rows": (
        "UPDATE history SET detail = jsonb_set(detail, '{rows}', '[]') WHERE action = 'erasure'",
        "are not those it was made of",
    ),
}


@pytest.mark.parametrize("what", BY_FORCE)
async def test_whoever_changes_what_is_left_is_found_out(database, ran, erase, dsn, what):
    stage, _run = ran
    await erase(stage.owner.account_id, phones(6, last=BUSY)[0])
    await history_export.verify(database, stage.owner.account_id)
    statement, why = BY_FORCE[what]
    superuser = await asyncpg.connect(dsn)
    try:
        await superuser.execute("ALTER TABLE history DISABLE TRIGGER USER")
        await superuser.execute(statement)
    finally:
        await superuser.close()
    with pytest.raises(HistoryNotWholeError, match=why):
        await history_export.verify(database, stage.owner.account_id)


async def test_a_row_that_is_said_to_be_erased_and_no_erasure_tells_of_is_said(database, ran, dsn):
    stage, _run = ran
    account = stage.owner.account_id
    await sealing.seal_all(database)
    row_id = await fetchval(database, "SELECT max(id) FROM history WHERE action = 'attempt'")
    digests = await erasures._digests(database, account, [row_id])
    superuser = await asyncpg.connect(dsn)
    try:
        await superuser.execute("ALTER TABLE history DISABLE TRIGGER USER")
        await superuser.execute(
            "SELECT outdial_erase_history(ARRAY[$1::bigint], ARRAY[$2::bytea])", row_id, digests[row_id]
        )
    finally:
        await superuser.close()
    with pytest.raises(HistoryNotWholeError, match=f"row {row_id} is said to be erased, and no row of the chain tells"):
        await history_export.verify(database, account)
    with pytest.raises(Exception, match="said to be erased"):
        check_file(await lines_of(database, history_export.of_account(account)))


async def test_nothing_is_erased_out_of_a_chain_that_is_broken(database, ran, erase, dsn):
    stage, _run = ran
    person = phones(6, last=BUSY)[0]
    await sealing.seal_all(database)
    superuser = await asyncpg.connect(dsn)
    try:
        await superuser.execute("ALTER TABLE history DISABLE TRIGGER USER")
        await superuser.execute("UPDATE history SET reason = 'otto' WHERE detail ->> 'phone' = $1", person)
        await superuser.execute("ALTER TABLE history ENABLE TRIGGER USER")
    finally:
        await superuser.close()
    with pytest.raises(HistoryNotWholeError, match="that would hide what was changed"):
        await erase(stage.owner.account_id, person)
    assert await fetchval(database, "SELECT count(*) FROM attempts WHERE phone = $1", person) == 1


async def test_a_signed_report_stays_unless_it_names_the_number(database, secret_box, engines, ran, erase, tmp_path):
    stage, run = ran
    person = phones(6, last=BUSY)[0]
    report = await signed_reports.signed_report(database, secret_box, run)
    assert person.removeprefix("+").encode() not in report
    second = await add_campaign(database, stage.owner, phones(2, last=BUSY, area=556), list_name="more", name="More")
    named = await run_of(stage, second)
    await stop(
        database,
        engines,
        iid=stage.owner.iid,
        campaign_id=second,
        actor=f"berta, for {person}",
    )
    async with database.connection() as connection:
        named = await runs_store.by_id(connection, named.id)
    other = await signed_reports.signed_report(database, secret_box, named)
    assert person.encode() in other
    done = await erase(stage.owner.account_id, person)
    assert done.counts["signed_reports"] == 1
    assert await signed_reports.signed_report(database, secret_box, run) == report
    with pytest.raises(ReportErasedError, match="was erased"):
        await signed_reports.signed_report(database, secret_box, named)
    left = await fetchval(database, "SELECT erased_sha256 FROM signed_reports WHERE run_id = $1", named.id)
    assert left == hashlib.sha256(other).digest()
    await history_export.verify(database, stage.owner.account_id)
    for column, value in (("document", "'x'"), ("signed_at", "now()"), ("erased_sha256", "NULL")):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="signed_reports are evidence"):
            await execute(database, f"UPDATE signed_reports SET {column} = {value}")


async def test_another_account_s_same_number_is_untouched(database, secret_box, ran, erase):
    stage, _run = ran
    person = phones(6, last=BUSY)[0]
    other = await access.create_application(database, secret_box, account="Other", name="one")
    await add_campaign_of(database, secret_box, other, person)
    await dnc.add_numbers(database, account_id=other.account_id, phones=[person], reason="theirs", actor="x")
    before = await places_of(database, person, whose=other.account_id)
    done = await erase(stage.owner.account_id, person)
    assert await fetchval(database, "SELECT count(*) FROM contacts WHERE phone = $1", person) == 1
    assert "dnc_entries.phone" in await places_of(database, person, whose=other.account_id)
    assert set(await places_of(database, person, whose=other.account_id)) <= set(before)
    with pytest.raises(NotFoundError):
        await erasures.erasure_of(database, account_id=other.account_id, erasure_id=done.id)
    assert (await erasures.list_erasures(database, account_id=other.account_id, skip=0, limit=10)).total == 0
    again = await erase(other.account_id, person)
    assert again.number_hmac != done.number_hmac
    assert await places_of(database, person) == []


async def add_campaign_of(database, secret_box, owner, phone: str) -> None:
    await contact_lists.create_list(
        database,
        iid=owner.iid,
        account_id=owner.account_id,
        name="people",
        description="",
        source="passiveApi",
        allow_duplicates=False,
        api_version=2,
        actor="test",
    )
    added = await contact_lists.add_contacts(
        database, owner.iid, "people", [ContactDraft(phone)], default_region=None, secrets=secret_box
    )
    assert added.added == 1


@pytest.mark.parametrize("killed_in", ["mend_text", "forget", "erase", "erase_history", "erased"])
async def test_one_that_was_killed_is_finished_by_asking_again(database, ran, erase, monkeypatch, killed_in, tmp_path):
    stage, run = ran
    person = phones(6, last=BUSY)[0]
    await mention_everywhere(stage, run, person, tmp_path / "recordings")
    where = erasures.erased_texts if killed_in in {"mend_text", "forget"} else store
    name = "forget_reply" if killed_in == "forget" else killed_in

    async def killed(*_arguments, **_more):
        raise asyncpg.AdminShutdownError("terminated")

    with monkeypatch.context() as patched:
        patched.setattr(where, name, killed)
        with pytest.raises(Exception, match=r"terminated|PostgreSQL|database"):
            await erase(stage.owner.account_id, person)
    # nobody calls it meanwhile
    assert await fetchval(database, "SELECT count(*) FROM dnc_entries WHERE phone = $1", person) == (
        0 if killed_in == "erased" else 1
    )
    done = await erase(stage.owner.account_id, person)
    assert await places_of(database, person) == []
    assert await fetchval(database, "SELECT count(*) FROM erasures") == 1
    assert done.counts["attempts"] == 1
    assert (await history_export.verify(database, stage.owner.account_id)).erased == done.counts["history"]
    # it was on the list by its own word: it stays so
    assert await fetchval(database, "SELECT count(*) FROM dnc_hashes") == 1


async def test_an_unknown_number_is_erased_too_and_what_is_none_is_refused(database, ran, erase):
    stage, _run = ran
    done = await erase(stage.owner.account_id, "+15550177777")
    assert done.done_at is not None
    assert done.counts["contacts"] == 0
    with pytest.raises(InvalidInputError):
        await erase(stage.owner.account_id, "nobody")
    with pytest.raises(NotFoundError):
        await erase("0" * 24, "+15550177777")
    with pytest.raises(InUseError, match="calls from"):
        await erase(stage.owner.account_id, CALLER_ID)
