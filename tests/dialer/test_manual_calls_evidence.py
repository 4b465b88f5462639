"""Refused calls by hand as evidence: in the archive, made again from the file alone; gone with who is erased."""

from __future__ import annotations

import io
import json

import pytest

from dialer.test_evidence_archive import check, members, rechained, rederived, resealed, run, written  # noqa: F401
from dialing import phones, set_stage
from outdial.core import archive
from outdial.core.history_file import Asked
from outdial.core.ids import dialing_list_id
from outdial.services import dnc, evidence_archive, history_export, manual_calls
from outdial.services.archive_check import verify_archive
from services.test_erasures import engines, erase, run_of  # noqa: F401 - fixtures


@pytest.fixture
async def wanted(database, run):  # noqa: F811 - the fixture
    """Everybody of the run of the archive's tests is wanted now; the answers of those who are refused."""
    async with database.connection() as connection:
        contacts = await connection.fetch("SELECT contact_id FROM run_contacts ORDER BY sort_key")
        await connection.execute(
            """
            INSERT INTO contacts (list_id, phone, dedupe_phone)
            SELECT list_id, '+15550100777', '+15550100777' FROM campaign_lists WHERE campaign_id = $1
            """,
            run.campaign_id,
        )
    asked = [dialing_list_id(run.instance_id, row["contact_id"]) for row in contacts]
    found = [
        await manual_calls.call_now(database, iid=run.iid, instance_id=run.instance_id, contact=one, actor="cs-eve")
        for one in (*asked, "+15550100777")
    ]
    return [one for one in found if one.decided_by is not None]


async def test_each_refusal_is_made_again_from_the_file_alone(database, secret_box, run, wanted):  # noqa: F811
    for asked in (Asked(run.account_id), history_export.of_run(run)):
        whole = await written(database, secret_box, asked)
        verdict = check(whole)
        assert (verdict.difference, verdict.not_made_again) == (None, {})
        lines = [json.loads(text) for text in members(whole)[archive.DECISIONS].splitlines()]
        stored = [(one["byHand"], one["askedBy"], one["decision"]["rule"]) for one in lines if "byHand" in one]
        assert stored == [(one.answer.value, "cs-eve", one.decided_by.code) for one in wanted]
        assert sum(verdict.decisions.values()) == 15 + len(wanted)
    rules = {one.decided_by.code for one in wanted}
    assert rules >= {"contact_state", "retry_period"}, "both kinds are among them"


async def test_who_writes_the_whole_chain_anew_must_have_refused_by_the_rules(
    database,
    secret_box,
    run,  # noqa: F811 - the fixture
    wanted,
):
    found = members(await written(database, secret_box, Asked(run.account_id)))

    def forged(rule, change):
        def changing(row):
            if row["action"] == "manual_call" and row["detail"].get("rule") == rule:
                change(row)
            return row

        made = {**found, archive.HISTORY: rechained(found[archive.HISTORY], changing)}
        return check(resealed(rederived(made))).difference

    assert forged("retry_period", lambda row: row) is None, "the forger's own tools work"
    earlier = forged(
        "retry_period", lambda row: row["detail"]["inputs"].update(notBefore="2026-01-01T00:00:00.000000Z")
    )
    assert earlier.sentence.endswith("retry_period allows it")
    milder = forged("contact_state", lambda row: row.update(to="allowed"))
    assert "contact_state gives the answer" in milder.sentence
    other = forged("contact_state", lambda row: row["detail"].update(sentence="It was late."))
    assert "contact_state gives the sentence" in other.sentence
    # and by somebody who cannot: one row, in a chain that is as it was
    history = found[archive.HISTORY].replace(b'"actor":"cs-eve"', b'"actor":"cs-mal"', 1)
    assert check(resealed({**found, archive.HISTORY: history})).difference.where.startswith("history.jsonl")


async def test_it_goes_with_a_person_who_is_erased(
    database,
    secret_box,
    erase,  # noqa: F811 - the fixture
):
    """The numbers of somebody with several, which the row tells, and whatever else it says."""
    person = tuple(phones(2))
    stage = await set_stage(database, secret_box, [person, *phones(2, area=556)])
    begun = await run_of(stage)
    account_id = stage.owner.account_id
    await dnc.add_numbers(database, account_id=account_id, phones=[*person, *phones(1, area=556)], actor="test")
    for one in (person[1], *phones(1, area=556)):
        found = await manual_calls.call_now(
            database, iid=stage.owner.iid, instance_id=begun.instance_id, contact=one, actor="cs-eve"
        )
        assert found.decided_by.code == "account_dnc"

    async def rows():
        async with database.connection() as connection:
            return await connection.fetch("SELECT * FROM history WHERE action = 'manual_call' ORDER BY id")

    theirs, other = await rows()
    assert theirs["detail"]["phone"] in person
    await erase(account_id, person[0])
    gone, kept = await rows()
    assert (gone["id"], gone["detail"], gone["contact_id"], gone["actor"]) == (theirs["id"], None, None, "")
    assert dict(kept) == dict(other)
    out = io.BytesIO()
    await evidence_archive.write(database, secret_box, Asked(account_id), out)
    verdict = verify_archive(out)
    assert verdict.valid, verdict.difference
    assert (verdict.decisions["deny"], verdict.erased > 0) == (1, True)
    for phone in person:
        assert phone.removeprefix("+").encode() not in out.getvalue()
