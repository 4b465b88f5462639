"""``outdial campaign … --server``: from a machine without a database, against a server over a socket."""

from __future__ import annotations

import asyncio
import threading

import pytest
import uvicorn

from outdial.api.app import ApiParts, create_app
from outdial.config import Settings
from outdial.context import open_context
from outdial.services.engines import Engines
from support.commands import Outcome, invoke
from waiting import until


@pytest.fixture
def server(outdial, created):
    """The address of a server on the commands' own database, in a thread with a loop of its own."""
    settings = Settings(_env_file=None, rate_limit_per_minute=0, permit_ttl_seconds=0.5)
    ready, made, addresses = threading.Event(), [], []

    async def serve() -> None:
        async with open_context(settings) as context:
            engines = Engines(context.database, context.secrets, ttl_seconds=settings.permit_ttl_seconds)
            parts = ApiParts(settings=settings, database=context.database, secrets=context.secrets, engines=engines)
            running = uvicorn.Server(uvicorn.Config(create_app(parts), port=0, log_config=None, lifespan="on"))
            made.append(running)
            task = asyncio.create_task(running.serve())
            await until(lambda: running.started)
            addresses.append(f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}")
            ready.set()
            await task
            await engines.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(30)
    yield addresses[0]
    made[0].should_exit = True
    thread.join(30)


@pytest.fixture
def away(server, created, monkeypatch):
    """Commands on a machine that reaches no database."""

    def run(*words: object, secret: str = created["clientSecret"]) -> Outcome:
        with monkeypatch.context() as patched:
            patched.setenv("OUTDIAL_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
            patched.setenv("OUTDIAL_IID", created["iid"])
            patched.setenv("OUTDIAL_CLIENT_ID", created["clientId"])
            patched.setenv("OUTDIAL_CLIENT_SECRET", secret)
            return invoke(*words, "--server", server)

    return run


def test_a_run_from_start_to_stop(outdial, campaign, away):
    assert campaign in away("campaign", "list").stdout
    started = away("campaign", "start", "Spring calls")
    assert (started.code, started.stdout.split()[0], started.stdout.split()[2]) == (0, "Run", "started,")
    assert outdial("campaign", "show", campaign, "--json").json["status"] == "Active"
    assert away("campaign", "show", campaign, "--json").json["status"] == "Active"
    stopped = away("campaign", "stop", campaign)
    assert "No further call of it can leave." in stopped.stdout
    assert outdial("campaign", "show", campaign, "--json").json["status"] == "Stopped"
    assert away("campaign", "stop", "Spring calls", "--connected", "hang_up", "--json").json["status"] == "Stopped"


def test_show_tells_the_definition(campaign, away):
    shown = away("campaign", "show", "Spring calls").stdout
    assert "3, 10 min apart, ringing 20 s" in shown
    assert "+15550200000" in shown


def test_json_is_the_apis(campaign, away):
    (found,) = away("campaign", "list", "--json").json
    assert (found["_id"], found["status"], found["dialingStrategy"]) == (campaign, "Ready", None)


def test_what_the_server_refuses_is_told_in_its_words(campaign, away):
    refused = away("campaign", "stop", campaign)
    assert (refused.code, refused.stdout) == (1, "")
    assert "never been started" in refused.stderr
    assert "Autumn" in away("campaign", "show", "Autumn calls").stderr
    unknown = away("campaign", "show", "cd-1111111-2222-4333-8444-555555555555")
    assert (unknown.code, "There is no campaign" in unknown.stderr) == (1, True)
    stranger = away("campaign", "list", secret="x" * 43)
    assert (stranger.code, stranger.stderr.splitlines()[0]) == (1, "Invalid SDK credentials")
    assert "The server calls this request" in stranger.stderr


def test_several_of_one_name_are_listed(outdial, campaign, away, created, dsn):
    from cli.conftest import DRAFT  # noqa: PLC0415 - only here
    from outdial.services.campaigns import create_campaign  # noqa: PLC0415 - only here
    from outdial.store.database import Database  # noqa: PLC0415 - only here

    async def another() -> str:
        database = await Database.open(dsn, pool_size=2)
        owner = {"iid": created["iid"], "account_id": created["accountId"], "actor": "test"}
        made = await create_campaign(database, draft=DRAFT, **owner)
        await database.close()
        return made.id

    second = asyncio.run(another())
    refused = away("campaign", "stop", "Spring calls")
    assert refused.code == 1
    assert campaign in refused.stderr
    assert second in refused.stderr


def test_a_server_that_is_not_there_is_a_sentence(created, monkeypatch):
    words = ("--iid", created["iid"], "--client-id", created["clientId"], "--client-secret", created["clientSecret"])
    nobody = invoke("campaign", "list", "--server", "http://127.0.0.1:1", *words)
    assert (nobody.code, nobody.stdout) == (1, "")
    assert nobody.stderr.startswith("The server could not be reached")
    wrong = invoke("campaign", "list", "--server", "nowhere", *words)
    assert "must look like https://" in wrong.stderr


@pytest.mark.parametrize("missing", ["--iid", "--client-id", "--client-secret"])
def test_what_is_missing_is_named(missing):
    given = {"--iid": "st-1", "--client-id": "cs-1", "--client-secret": "s"}
    words = [word for name, value in given.items() if name != missing for word in (name, value)]
    done = invoke("campaign", "show", "x", "--server", "http://127.0.0.1:1", *words)
    assert done.code == 2
    assert missing in done.stderr


def test_without_it_the_database_here_is_asked_whatever_the_variables_say(outdial, campaign, monkeypatch):
    monkeypatch.setenv("OUTDIAL_IID", "st-other")
    monkeypatch.setenv("OUTDIAL_CLIENT_ID", "cs-other")
    monkeypatch.setenv("OUTDIAL_CLIENT_SECRET", "other")
    assert len(outdial("campaign", "list", "--json").json) == 1
    assert outdial("campaign", "start", "Spring calls").code == 0
    assert outdial("campaign", "stop", "Spring calls").code == 0
    lost = outdial("campaign", "stop", "Spring calls", "--iid", "st-other")
    assert (lost.code, "--server" in lost.stderr) == (2, True)


class TestNumbers:
    """``outdial dnc add --file … --server``."""

    @pytest.fixture
    def file(self, tmp_path):
        path = tmp_path / "complaints.csv"
        path.write_text("who;Caller\nAda;+15550100001\nBen;nonsense\nCy;0151 23456789\n", encoding="utf-16")
        return path

    def test_a_file_goes_to_the_accounts_list_or_to_a_named_one(self, outdial, away, file):
        words = ("--column", "Caller", "--region", "DE", "--reason", "of March", "--expires", "2099-01-31")
        done = away("dnc", "add", "--file", file, *words)
        assert (done.code, done.stdout) == (1, "2 added, 0 there already.\n")
        assert done.stderr.startswith("Line 3: 'nonsense': ")
        again = away("dnc", "add", "--file", file, *words, "--json").json
        assert {name: again[name] for name in ("changed", "unchanged", "rows", "leftOut", "finished")} == {
            "changed": 0,
            "unchanged": 2,
            "rows": 3,
            "leftOut": 1,
            "finished": True,
        }
        found = outdial("dnc", "list", "--json").json
        assert {(each["phone"], each["reason"], each["expiresAt"]) for each in found} == {
            (phone, "of March", "2099-01-31T00:00:00.000Z") for phone in ("+15550100001", "+4915123456789")
        }
        refused = away("dnc", "add", "--file", file, "--column", "Caller", "--list", "Complaints")
        assert (refused.code, refused.stderr) == (1, "There is no do-not-call list named 'Complaints' there.\n")
        outdial("dnc", "add", "+15550100009", "--list", "Complaints")
        assert away("dnc", "add", "--file", file, "--column", "Caller", "--list", "Complaints").stdout[:8] == "1 added,"
        assert len(outdial("dnc", "list", "--list", "Complaints", "--json").json) == 2

    def test_what_the_server_refuses_is_told(self, outdial, away, file):
        done = away("dnc", "add", "--file", file)
        assert (done.code, done.stdout) == (1, "")
        assert "say which it is with `column`" in done.stderr
        assert outdial("dnc", "list", "--json").json == []

    def test_what_does_not_go_there(self, away, file):
        for words in (["+15550100001"], ["--errors", "x"], ["--account", "Acme"], ["--source", "agent"]):
            assert away("dnc", "add", "--file", file, *words).code == 2
        assert away("dnc", "add", "+15550100001").code == 2

    def test_no_more_than_a_server_takes(self, away, file):
        with file.open("wb") as large:
            large.truncate((64 << 20) + 1)
        done = away("dnc", "add", "--file", file)
        assert (done.code, done.stdout) == (1, "")
        assert "more than 64 MB" in done.stderr
