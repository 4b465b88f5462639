"""Evidence over the API: the signed report, its bytes, whom a stop kept from being called, history, keys."""

from __future__ import annotations

import asyncio
import csv
import io
import json

import pytest

from outdial.api.native import evidence as routes
from outdial.core.history_file import check_file
from outdial.services import evidence_archive, signed_reports
from outdial.services.archive_check import verify_archive
from outdial.services.verification import verify
from outdial.signing import from_text, read_public_pem
from support.native import Native, sentences
from support.wire import ever_open


@pytest.fixture
def impatient(monkeypatch):
    """Who asks for an archive while another is made waits for a moment only."""
    monkeypatch.setattr(routes, "ARCHIVE_WAIT_SECONDS", 0.05)


@pytest.fixture
def native(tenant) -> Native:
    return Native(tenant)


@pytest.fixture
async def run(tenant) -> str:
    """The wire id of a live run."""
    campaign_id = await tenant.create_campaign(ever_open(1))
    return (await tenant.trigger(campaign_id, "play")).json()["campaignInstanceId"]


@pytest.fixture
async def stopped(native, run) -> str:
    campaign_id = (await native.done("GET", f"/runs/{run}"))["run"]["campaignId"]
    await native.done("POST", f"/campaigns/{campaign_id}/stop", {})
    return run


async def test_the_report_is_the_signed_bytes_and_its_key_is_listed(native, stopped, database):
    answer = await native.ask("GET", f"/runs/{stopped}/stop-report")
    assert answer.headers["content-type"] == "application/json"
    async with database.connection() as connection:
        assert answer.content == bytes(await connection.fetchval("SELECT document FROM signed_reports"))
    (key,) = (await native.done("GET", "/signing-keys"))["results"]
    assert read_public_pem(key["pem"]) == from_text(key["publicKey"])
    verdict = verify(answer.content, read_public_pem(key["pem"]))
    assert (verdict.valid, verdict.key_id) == (True, key["id"])
    assert (await native.ask("GET", f"/runs/{stopped}/stop-report")).content == answer.content


async def test_people_read_it_as_text(native, stopped):
    answer = await native.ask("GET", f"/runs/{stopped}/stop-report.txt")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith(f"Stop of run {stopped}\n")


async def test_what_was_not_stopped_has_none(native, run):
    failure = await native.refused(409, "GET", f"/runs/{run}/stop-report")
    assert failure["errorCode"] == "conflict"
    assert sentences(failure) == [f"The run {run} is active: only a run that was stopped has a report."]


async def test_a_report_that_is_not_complete_yet_is_to_be_asked_for_again(native, stopped, database):
    async with database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO attempts (id, run_id, campaign_id, account_id, contact_id, phone, caller_id, trunk_id,
                                  engine_id, node_id, epoch, number, state, changed_by)
            SELECT repeat('a', 32), r.id, r.campaign_id, r.account_id, 1, '+15550100101', '+1', r.trunk_id, 'e', 'n',
                   1, 1, 'reserved', 'n' FROM runs r
            """
        )
    failure = await native.refused(409, "GET", f"/runs/{stopped}/stop-report")
    assert (failure["errorCode"], failure["retryable"]) == ("stop_report_not_ready", True)


async def test_contacts_that_were_never_reached_are_a_file(native, stopped):
    answer = await native.ask("GET", f"/runs/{stopped}/never-reached.csv")
    assert answer.headers["content-disposition"] == f'attachment; filename="never-reached-{stopped}.csv"'
    found = list(csv.DictReader(io.StringIO(answer.text)))
    report = await native.done("GET", f"/runs/{stopped}/stop-report")
    assert len(found) == report["counts"]["contacts"]["neverReached"] == 3
    assert {one["attemptsCount"] for one in found} == {"0"}


async def test_history_is_streamed_and_proves_itself(native, stopped):
    campaign_id = (await native.done("GET", f"/runs/{stopped}"))["run"]["campaignId"]
    for path, rows in ((f"/runs/{stopped}", 3), (f"/campaigns/{campaign_id}", 4)):
        answer = await native.ask("GET", f"{path}/history.jsonl")
        assert answer.headers["content-type"] == "application/jsonl"
        found = check_file(answer.content.splitlines(keepends=True))
        assert found.rows >= rows
        assert found.asked.campaign_id == campaign_id
    told = [json.loads(line) for line in answer.text.splitlines()]
    assert next(one["row"]["action"] for one in told if one["kind"] == "row") == "campaign"


async def test_the_evidence_is_a_file_that_is_checked_alone(native, stopped):
    campaign_id = (await native.done("GET", f"/runs/{stopped}"))["run"]["campaignId"]
    for path, name in ((f"/runs/{stopped}", stopped), (f"/campaigns/{campaign_id}", campaign_id)):
        answer = await native.ask("GET", f"{path}/evidence.tar")
        assert answer.headers["content-type"] == "application/x-tar"
        assert answer.headers["content-disposition"] == f'attachment; filename="evidence-{name}.tar"'
        verdict = verify_archive(io.BytesIO(answer.content))
        assert (verdict.difference, verdict.of["campaignId"]) == (None, campaign_id)
        (key,) = (await native.done("GET", "/signing-keys"))["results"]
        assert verdict.key_id == key["id"]


async def test_a_report_was_signed_before_anybody_asked(native, stopped, database, secret_box):
    assert len(await signed_reports.sign_missing(database, secret_box)) == 1
    assert verify((await native.ask("GET", f"/runs/{stopped}/stop-report")).content).valid


async def test_one_archive_is_made_at_a_time(impatient, native, stopped, monkeypatch):
    begun, go_on, write = asyncio.Event(), asyncio.Event(), evidence_archive.write

    async def held(*arguments, **more):
        begun.set()
        await go_on.wait()
        return await write(*arguments, **more)

    monkeypatch.setattr(evidence_archive, "write", held)
    first = asyncio.create_task(native.ask("GET", f"/runs/{stopped}/evidence.tar"))
    await begun.wait()
    failure = await native.refused(503, "GET", f"/runs/{stopped}/evidence.tar")
    assert (failure["errorCode"], failure["retryable"]) == ("busy", True)
    go_on.set()
    assert verify_archive(io.BytesIO((await first).content)).valid
    assert (await native.ask("GET", f"/runs/{stopped}/evidence.tar")).status_code == 200


async def test_an_archive_that_is_too_large_for_the_server_is_made_by_a_command(native, stopped, monkeypatch):
    monkeypatch.setattr(routes, "MOST_ROWS", 2)
    failure = await native.refused(409, "GET", f"/runs/{stopped}/evidence.tar")
    assert (failure["errorCode"], failure["retryable"]) == ("archive_too_large", False)
    assert "more than 2 rows" in sentences(failure)[0]
    assert "outdial compliance export" in sentences(failure)[0]
