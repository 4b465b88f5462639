"""``outdial doctor``: each thing that is broken is named with its remedy, and the rest is looked at nevertheless."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta

import pytest

from outdial import doctor
from outdial.core.machine import MachineDetection
from outdial.core.machine_review import NO_REVIEW, ReviewShares
from outdial.store.database import Database
from outdial.telephony import detection_context, dialplan_needs, ended_context
from outdial.telephony.ari import AriHttp
from support.asterisk import module_asterisk as asterisk  # noqa: F401 - a fixture
from support.commands import Outcome, invoke
from support.programs import free_port, processes_of

ALL = ["data folder", "API port", "PostgreSQL", "clock", "Asterisk", "ARI", "clock"]


@pytest.fixture(autouse=True)
def free_api_port(monkeypatch) -> int:
    port = free_port()
    monkeypatch.setenv("OUTDIAL_HTTP_PORT", str(port))
    return port


def wrong(done: Outcome) -> dict[str, str]:
    """What is not ok: everything said about it, by what was looked at."""
    assert done.code == 1
    found = {each["check"]: f"{each['detail']} {each['remedy']}" for each in done.json if not each["ok"]}
    assert found
    return found


def add_trunk(outdial, port: int, **options: str) -> None:
    outdial("app", "create", "--account", "Acme", "--name", "A")
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    number = ("--caller-id", "+15550200000")
    assert outdial("trunk", "add", "--name", "Main", "--host", "127.0.0.1", "--port", port, *number, *words).code == 0


def test_where_all_is_well_every_check_says_what_it_saw(outdial, asterisk, monkeypatch, tmp_path):  # noqa: F811
    address = asterisk.loopback_trunk_address
    add_trunk(outdial, address.port)
    done = outdial("doctor", "--json")
    assert done.code == 0, done
    assert [each["check"] for each in done.json] == [*ALL, "trunk Main"]
    assert all(each["detail"] for each in done.json)
    said = {each["check"]: each["detail"] for each in done.json}
    assert "schema" in said["PostgreSQL"]
    assert "loopback carrier at 127.0.0.1:" in said["Asterisk"]
    assert f"127.0.0.1:{address.port} over udp answers OPTIONS with" in said["trunk Main"]
    assert not processes_of(tmp_path / "data"), "what it started it has ended"


def test_a_watchdog_that_does_not_answer_is_told(outdial, monkeypatch):
    monkeypatch.setenv("OUTDIAL_ENGINE", "simulated")
    monkeypatch.setenv("OUTDIAL_WATCHDOG_PORT", str(free_port()))
    assert "Start it with: outdial watchdog" in wrong(outdial("doctor", "--json"))["watchdog"]


def test_people_see_a_line_for_each_and_remedies_under_what_fails(outdial, monkeypatch):
    monkeypatch.setenv("OUTDIAL_ENGINE", "simulated")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("OUTDIAL_HTTP_PORT", str(taken.getsockname()[1]))
        done = outdial("doctor")
    assert done.code == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ok   data folder: ")
    assert lines[1].startswith("FAIL API port: Port ")
    assert "OUTDIAL_HTTP_PORT" in lines[1]
    assert lines[-1] == "ok   engine: simulated (OUTDIAL_ENGINE): no real call is placed"


def test_a_database_that_is_away_does_not_hide_the_rest(monkeypatch):
    monkeypatch.setenv("OUTDIAL_DATABASE_URL", "postgresql://a:hush@127.0.0.1:1/c")
    monkeypatch.setenv("OUTDIAL_ENGINE", "simulated")
    done = invoke("doctor", "--json")
    assert "cannot be reached" in wrong(done)["PostgreSQL"]
    assert [each["check"] for each in done.json] == ["data folder", "API port", "PostgreSQL", "engine"]
    assert "hush" not in done.stdout + done.stderr


def test_no_asterisk_to_be_had(outdial, monkeypatch, tmp_path):
    monkeypatch.setenv("OUTDIAL_ASTERISK_COMMAND", str(tmp_path / "none"))
    assert "make install" in wrong(outdial("doctor", "--json"))["Asterisk"]


def test_an_asterisk_elsewhere_that_does_not_answer(outdial, monkeypatch):
    monkeypatch.setenv("OUTDIAL_ASTERISK_URL", f"http://127.0.0.1:{free_port()}")
    assert "does not answer" in wrong(outdial("doctor", "--json"))["ARI"]


def test_an_asterisk_elsewhere_with_another_password(outdial, asterisk, monkeypatch):  # noqa: F811
    monkeypatch.setenv("OUTDIAL_ASTERISK_URL", asterisk.address.url)
    monkeypatch.setenv("OUTDIAL_ASTERISK_PASSWORD", "guess")
    assert "OUTDIAL_ASTERISK_PASSWORD" in wrong(outdial("doctor", "--json"))["ARI"]
    monkeypatch.setenv("OUTDIAL_ASTERISK_PASSWORD", asterisk.address.password)
    assert outdial("doctor", "--json").code == 0


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_trunk_nobody_answers_at(outdial, asterisk, monkeypatch, transport):  # noqa: F811
    port = free_port()
    add_trunk(outdial, port, transport=transport)
    said = wrong(outdial("doctor", "--json"))["trunk Main"]
    assert f"127.0.0.1:{port} cannot be reached over {transport}" in said
    assert "firewall" in said


def test_a_server_that_is_outdial_may_have_the_port(outdial, monkeypatch, free_api_port):
    monkeypatch.setenv("OUTDIAL_ENGINE", "simulated")
    with socket.create_server(("127.0.0.1", free_api_port)):
        # it listens and says nothing: no outdial
        assert "taken by another program" in wrong(outdial("doctor", "--json"))["API port"]


def test_a_folder_that_cannot_be_written(outdial, monkeypatch, tmp_path):
    monkeypatch.setenv("OUTDIAL_ENGINE", "simulated")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OUTDIAL_DATA_DIR", str(tmp_path / "file" / "data"))
    assert "OUTDIAL_DATA_DIR" in wrong(outdial("doctor", "--json"))["data folder"]


@pytest.mark.parametrize(("seconds", "ok"), [(0.25, True), (0.45, True), (-0.45, True), (0.7, False), (-3600, False)])
def test_clocks_may_differ_by_half_a_second(seconds, ok):
    now = 1_800_000_000.0
    at = datetime.fromtimestamp(now, UTC) + timedelta(seconds=seconds)
    finding = doctor._clock("the database's", at, now, now)
    assert finding.ok is ok
    assert f"{seconds * 1000:+.0f} ms" in finding.detail
    assert "NTP" in finding.remedy


def checks(done: Outcome, name: str = doctor.MACHINES) -> list[dict[str, str]]:
    return [each for each in done.json if each["check"] == name]


async def have_detected(dsn: str, *, review: ReviewShares = NO_REVIEW) -> None:
    """Have the campaigns that are there detect machines."""
    database = await Database.open(dsn, pool_size=2)
    try:
        async with database.connection() as connection:
            await connection.execute(
                "UPDATE campaigns SET"
                " rules = jsonb_set(jsonb_set(rules, '{own,review}', $1), '{machine_detection}', $2)",
                review,
                MachineDetection.DISCONNECT,
            )
    finally:
        await database.close()


@pytest.fixture
def elsewhere(asterisk, monkeypatch):  # noqa: F811
    """An Asterisk as one of the user's own."""
    monkeypatch.setenv("OUTDIAL_ASTERISK_URL", asterisk.address.url)
    monkeypatch.setenv("OUTDIAL_ASTERISK_PASSWORD", asterisk.address.password)


@pytest.mark.usefixtures("elsewhere")
class TestEndsOfCalls:
    """Whether those that dial can tell who has ended a call over TCP."""

    @pytest.fixture
    def over_tcp(self, campaign, dsn):
        async def change() -> None:
            database = await Database.open(dsn, pool_size=2)
            try:
                async with database.connection() as connection:
                    await connection.execute("UPDATE trunks SET transport = 'tcp', name = 'far'")
            finally:
                await database.close()

        asyncio.run(change())

    def test_nobody_asks_where_no_trunk_needs_it(self, outdial, campaign):
        assert checks(outdial("doctor", "--json"), doctor.ENDS) == []

    def test_what_is_there_is_said(self, outdial, over_tcp, asterisk):  # noqa: F811
        (found,) = checks(outdial("doctor", "--json"), doctor.ENDS)
        assert found["ok"], found
        assert found["detail"] == f"Asterisk at {asterisk.address.url} has what it takes; TCP or TLS: far"
        assert asyncio.run(channels(asterisk)) == []

    def test_what_is_not_is_named(self, outdial, over_tcp, monkeypatch):
        monkeypatch.setattr(ended_context, "CONTEXT", "nowhere")
        said = wrong(outdial("doctor", "--json"))[doctor.ENDS]
        assert "no extension s in the dialplan context nowhere" in said
        assert "docs/how-to/use-a-trunk.md" in said
        monkeypatch.setattr(ended_context, "MODULES", ("app_nothing.so",))
        assert "has not loaded app_nothing.so" in wrong(outdial("doctor", "--json"))[doctor.ENDS]


@pytest.mark.usefixtures("elsewhere")
class TestMachines:
    """Whether those that dial can tell machines from people."""

    def test_nobody_asks_where_no_campaign_has_them_detected(self, outdial, campaign):
        assert checks(outdial("doctor", "--json")) == []

    def test_what_is_there_is_said_and_nothing_is_left_of_the_question(self, outdial, campaign, dsn, asterisk):  # noqa: F811
        asyncio.run(have_detected(dsn, review=ReviewShares(machines=5)))
        (found,) = checks(outdial("doctor", "--json"))
        assert found["ok"], found
        assert found["detail"] == (
            f"Asterisk at {asterisk.address.url} has what it takes; 1 campaigns have them detected, "
            "1 keep verdicts for review"
        )
        assert asyncio.run(channels(asterisk)) == []

    def test_a_dialplan_that_is_not_there_is_named(self, outdial, campaign, dsn, monkeypatch):
        asyncio.run(have_detected(dsn))
        monkeypatch.setattr(detection_context, "CONTEXT", "nowhere")
        said = wrong(outdial("doctor", "--json"))[doctor.MACHINES]
        assert "no extension who in the dialplan context nowhere" in said
        assert "docs/how-to/answering-machines.md" in said

    def test_so_is_a_module(self, outdial, campaign, dsn, monkeypatch):
        asyncio.run(have_detected(dsn, review=ReviewShares(people=1)))
        monkeypatch.setattr(dialplan_needs, "SAMPLE_MODULES", ("res_nothing.so",))
        assert "has not loaded res_nothing.so" in wrong(outdial("doctor", "--json"))[doctor.MACHINES]
        # which only a recording needs
        asyncio.run(have_detected(dsn))
        assert checks(outdial("doctor", "--json"))[0]["ok"]

    def test_an_asterisk_of_another_node_is_asked_too(self, outdial, campaign, dsn):
        async def register(url: str) -> None:
            database = await Database.open(dsn, pool_size=2)
            try:
                async with database.connection() as connection:
                    await connection.execute(
                        "INSERT INTO engines (id, kind, url, username) VALUES ('e2', 'asterisk', $1, 'outdial')", url
                    )
                    await connection.execute(
                        "INSERT INTO nodes (id, name, host, pid, engine_id, stasis_app, lease_until)"
                        " VALUES ('n2', 'n2', 'elsewhere', 1, 'e2', 'app', clock_timestamp() + interval '1 hour')"
                    )
            finally:
                await database.close()

        url = f"http://127.0.0.1:{free_port()}"
        asyncio.run(register(url))
        asyncio.run(have_detected(dsn))
        here, there = checks(outdial("doctor", "--json"))
        assert (here["ok"], there["ok"]) == (True, False)
        assert url in there["detail"]


async def channels(engine) -> list[object]:
    http = AriHttp(engine.address.url, engine.address.username, engine.address.password, timeout_seconds=10)
    try:
        return (await http.request("GET", "channels")).decode(list[object])
    finally:
        await http.close()
