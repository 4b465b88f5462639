"""Whole runs whose flow asks for a key: what becomes of the answers, in the database."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from dialer.test_run import fetch, is_over, start
from dialing import dialing, set_stage, with_rules
from outdial.core.model import DoneReason, RunContactState
from outdial.services import flows, runs
from sounds import tone, wav
from waiting import until

MENU: dict[str, Any] = {
    "start": "ask",
    "sounds": {"ask": "ask.wav"},
    "steps": {
        "ask": {"gather": {"play": "ask", "timeout_seconds": 1}, "choices": {"1": "yes", "9": "leave"}},
        "yes": {"result": "confirmed", "next": "thanks"},
        "thanks": {"say": "Thank you {first_name|friend}."},
        "leave": {"opt_out": "account"},
    },
}
ASK = wav(tone(440, rate=8000, seconds=20.0), rate=8000)
YES, LEAVE, SILENT = "+15550100150", "+15550100950", "+15550100001"

SPEAK = """
import pathlib, sys
with open(sys.argv[2], "a") as said:
    said.write(sys.stdin.read() + "\\n")
sys.stdout.buffer.write(pathlib.Path(sys.argv[1]).read_bytes())
"""


@pytest.fixture
async def stage(database, secret_box, tmp_path):
    """People who press 1, who press 9, and who press nothing, in a campaign that asks them."""
    stage = await set_stage(database, secret_box, [YES, LEAVE, SILENT], rules=with_rules(max_attempts=3))
    flow = await flows.add_flow_document(database, stage.owner.iid, "menu", MENU, {"ask.wav": ASK})
    async with database.connection() as connection:
        await connection.execute("UPDATE campaigns SET flow_id = $1", flow.id)
        await connection.execute(
            "UPDATE contacts SET attributes = jsonb_build_object('first_name', 'Ada') WHERE phone = $1", YES
        )
    return stage


def speech(tmp_path) -> str:
    (tmp_path / "said.wav").write_bytes(wav(tone(440, rate=8000, seconds=0.2), rate=8000))
    (tmp_path / "speak.py").write_text(SPEAK)
    return f"{sys.executable} {tmp_path}/speak.py {tmp_path}/said.wav {tmp_path}/said.txt"


async def test_what_people_answer_is_kept(stage, engine, engines, tmp_path):
    async with dialing(stage, engine, tmp_path, engines=engines, speech_command=speech(tmp_path)):
        run = await start(stage)
        await until(lambda: is_over(stage, run), seconds=60)
        progress = await runs.progress(stage.database, run.id)
        rows = await fetch(
            stage,
            "SELECT a.phone, f.result, f.opted_out, f.path, f.finished"
            "  FROM flow_outcomes f JOIN attempts a ON a.id = f.attempt_id ORDER BY a.phone",
        )
    assert progress.contacts == {RunContactState.DONE: 3}
    assert progress.done == {DoneReason.REACHED: 3}
    assert [tuple(row) for row in rows] == [
        (SILENT, None, False, ["ask"], True),
        (YES, "confirmed", False, ["ask", "yes", "thanks"], True),
        (LEAVE, None, True, ["ask", "leave"], True),
    ]
    assert (tmp_path / "said.txt").read_text() == "Thank you Ada.\n"


async def test_who_opts_out_is_on_the_list_and_called_by_nobody_any_more(stage, engine, engines, tmp_path):
    async with dialing(stage, engine, tmp_path, engines=engines, speech_command=speech(tmp_path)):
        run = await start(stage)
        await until(lambda: is_over(stage, run), seconds=60)
        rows = await fetch(stage, "SELECT phone, reason, added_by FROM dnc_entries")
        attempts = await fetch(stage, "SELECT id FROM attempts WHERE phone = $1", LEAVE)
        again = await start(stage)
        await until(lambda: is_over(stage, again), seconds=60)
    assert [tuple(row) for row in rows] == [(LEAVE, "asked for on a call", f"attempt {attempts[0]['id']}")]
    assert [call.number for call in engine.sent].count(LEAVE) == 1
    assert [call.number for call in engine.sent].count(YES) == 2
