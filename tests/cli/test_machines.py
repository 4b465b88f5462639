"""``outdial machines``: list, sample, review, table."""

from __future__ import annotations

import asyncio
import getpass
from pathlib import Path

import pytest

from outdial.core.machine import MachineVerdict
from outdial.store.database import Database
from support.recordings import SAID, kept


@pytest.fixture
def keep(outdial, campaign, dsn, tmp_path):
    """Has attempts of a run whose verdicts are kept for review."""
    outdial("campaign", "start", campaign)

    def made(*cases: dict[str, object]) -> list[tuple[str, str]]:
        async def make() -> list[tuple[str, str]]:
            database = await Database.open(dsn, pool_size=2)
            try:
                async with database.connection() as connection:
                    instance_id = await connection.fetchval("SELECT instance_id FROM runs")
                return [
                    await kept(database, Path(tmp_path / "data"), instance_id=instance_id, **case) for case in cases
                ]
            finally:
                await database.close()

        return asyncio.run(make())

    return made


def test_list_sample_review_table(outdial, campaign, keep, tmp_path):
    (first, first_recording), (second, _), (person, _) = keep(
        {}, {"failure": "no snoop here", "ago": "2 seconds"}, {"verdict": MachineVerdict.HUMAN, "ago": "3 seconds"}
    )
    shown = outdial("machines", "list").stdout
    assert first_recording in shown
    assert "no snoop here" in shown
    assert [one["attemptId"] for one in outdial("machines", "list", campaign, "--json").json] == [first, second, person]
    heard = tmp_path / "heard.wav"
    assert outdial("machines", "sample", first, "--output", heard).code == 0
    assert heard.read_bytes() == SAID
    assert outdial("machines", "sample", first, "--output", heard, "--json").json["recordingId"] == first_recording
    assert outdial("machines", "sample", first, "--json").code == 2
    refused = outdial("machines", "sample", second, "--output", heard)
    assert refused.code == 1
    assert "is recorded (no snoop here); its verdict can be reviewed by its cause" in refused.stderr
    told = outdial("machines", "review", first, "person").stdout
    assert told == f"The attempt {first} was found to be machine; really: person.\n"
    made = outdial("machines", "review", second, "machine", "--json").json
    assert (made["actual"], made["reviewedBy"]) == ("machine", f"cli:{getpass.getuser()}")
    assert [one["attemptId"] for one in outdial("machines", "list", "--json").json] == [person]
    assert len(outdial("machines", "list", "--reviewed", "--json").json) == 2
    assert len(outdial("machines", "list", "--all", "--json").json) == 3
    table = outdial("machines", "table", campaign).stdout
    assert "50.0% (9.5% to 90.5%) were people's" in table
    assert "not known: too little was reviewed" in table
    outdial("machines", "review", person, "person")
    counted = outdial("machines", "table", "--json").json["table"]
    assert counted["peopleTaken"]["value"] == 0.5
    assert {row["verdict"]: row["person"] for row in counted["rows"]}["human"] == 1
    period = ("--begin", "2020-01-01", "--end", "2020-02-01T00:00Z")
    assert outdial("machines", "table", *period, "--json").json["table"]["peopleTaken"] is None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("review", "0" * 32, "person"), "No verdict of an attempt"),
        (("sample", "0" * 32), "No verdict of an attempt"),
        (("table", "--begin", "once"), "--begin must be like"),
        (("table", "--begin", "2020-01-01", "--end", "2026-01-01"), "no longer than 366 days"),
        (("list", "Nowhere"), "Nowhere"),
    ],
)
def test_what_is_not_there(outdial, campaign, words, sentence):
    refused = outdial("machines", *words)
    assert refused.code == 1
    assert sentence in refused.stderr


def test_nothing_waits(outdial, campaign):
    assert "Nothing that was kept for review" in outdial("machines", "list").stderr
    assert outdial("machines", "review", "0" * 32, "robot").code == 2
