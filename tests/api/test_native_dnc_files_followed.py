"""Files of numbers that must not be called, behind the real HTTP server: followed, given up, broken off."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import httpx
import pytest
from structlog.testing import capture_logs

from api.test_native_dnc_files import GOOD, MANY, PHONE, kept_open, listed
from api.test_over_a_socket import connection, head, port  # noqa: F401 - a fixture
from outdial.api import stops
from outdial.api.app import create_app
from outdial.api.native import dnc_files
from outdial.services import dnc
from outdial.services.dnc import LOT
from support.native import Native
from waiting import until

CONTENT = "\n".join(["phone", *MANY]).encode()


@pytest.fixture
async def path(tenant) -> str:
    """Where files for the account's own list go."""
    (own, _) = (await Native(tenant).done("GET", "/dnc-lists"))["results"]
    return f"/api/outdial/dnc-lists/{own['id']}/files"


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A machine so busy that a transaction falls silent is no matter of these tests."""
    monkeypatch.setattr(dnc, "IDLE_SECONDS", 60.0)


@pytest.fixture
def folder(parts):
    return parts.settings.data_dir.resolve()


@asynccontextmanager
async def held_up(tenant, database):
    """Let no file come further than its first lot; yields what says that one is as far."""
    # on the list already, so that it can be held
    await dnc.add_numbers(database, account_id=tenant.account_id, phones=[MANY[-1]], actor="test")
    async with database.connection() as holder, database.connection() as other, holder.transaction():
        await holder.execute("UPDATE dnc_entries SET reason = reason WHERE phone = $1", MANY[-1])
        pid = await holder.fetchval("SELECT pg_backend_pid()")

        async def waits() -> bool:
            return await other.fetchval(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid)))", pid
            )

        yield waits


class Heard:
    """The lines of an answer as they come."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def line(self) -> dict:
        """The next one."""
        while not (text := await self._reader.readline()).startswith(b"{"):
            assert text
        return json.loads(text)


async def test_it_is_followed_and_goes_on_when_nobody_does(tenant, path, port, database, folder, monkeypatch):  # noqa: F811
    monkeypatch.setattr(dnc_files, "FOLLOW_SECONDS", 0.01)
    monkeypatch.setattr(dnc_files, "QUIET_SECONDS", 0.02)
    with capture_logs() as logs:
        async with connection(port) as (reader, writer), held_up(tenant, database):
            writer.write(head(tenant, path, f"Content-Length: {len(CONTENT)}") + CONTENT)
            heard = Heard(reader)
            seen = [await heard.line()]
            while seen[-1]["changedCount"] < LOT or seen[-1] != seen[-2]:
                # at last the same again and again: still there
                seen.append(await heard.line())
            assert {each["state"] for each in seen} == {"adding"}
            for name in ("rows", "changedCount", "line", "position"):
                assert [each[name] for each in seen] == sorted(each[name] for each in seen)
            assert (seen[-1]["line"], seen[-1]["size"], seen[-1]["problems"]) == (LOT + 1, len(CONTENT), [])
            writer.transport.abort()

        async def all_listed() -> bool:
            return await listed(database) == set(MANY)

        await until(all_listed, seconds=50)
        await until(lambda: any(log["event"] == "dnc_file_added" for log in logs))
    (told,) = [log for log in logs if log["event"] == "dnc_file_added"]
    assert (told["changed"], told["unchanged"]) == (len(MANY) - 1, 1)
    await until(lambda: kept_open(folder) == [])


@pytest.mark.parametrize("encoding", [f"Content-Length: {len(CONTENT)}", "Transfer-Encoding: chunked"])
async def test_a_file_that_is_cut_off_adds_nothing(tenant, path, port, database, folder, encoding):  # noqa: F811
    half = CONTENT[: len(CONTENT) // 2]
    with capture_logs() as logs:
        async with connection(port) as (_reader, writer):
            writer.write(head(tenant, path, encoding))
            writer.write(half if "Length" in encoding else b"%x\r\n%s\r\n" % (len(half), half))
            await until(lambda: kept_open(folder) != [])
            writer.transport.abort()
        await until(lambda: any(log["event"] == "request" for log in logs))
    assert [log["status"] for log in logs if log["event"] == "request"] == [400]
    assert kept_open(folder) == []
    assert await listed(database) == set()


async def test_more_at_once_than_there_are_places_wait_and_are_told(tenant, path, parts, database, monkeypatch):
    monkeypatch.setattr(dnc_files, "MOST_AT_ONCE", 1)
    monkeypatch.setattr(dnc_files, "WAIT_SECONDS", 0.05)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(parts)), base_url="http://api") as http:

        async def send(content: bytes) -> httpx.Response:
            return await http.post(path, content=content, headers=tenant.headers())

        async with held_up(tenant, database) as waits:
            first = asyncio.create_task(send(CONTENT))
            await until(waits, seconds=50)
            second = await send(GOOD)
            assert (second.status_code, second.headers["Retry-After"]) == (503, "1")
            assert second.json()["errorCode"] == "busy"
            assert second.json()["errors"][0]["msg"] == (
                "This server makes 1 additions of files at a time, for others now; ask again."
            )
        assert json.loads((await first).text.splitlines()[-1])["state"] == "added"
        assert (await send(GOOD)).status_code == 200
    assert await listed(database) == {*MANY, PHONE}


async def test_a_server_that_ends_cuts_it_off_and_whoever_listens_hears_no_end(
    tenant, path, parts, database, folder, monkeypatch
):
    monkeypatch.setattr(stops, "GRACE_SECONDS", 0.05)
    app = create_app(parts)
    async with (
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as http,
        held_up(tenant, database) as waits,
    ):
        with capture_logs() as logs:
            async with app.router.lifespan_context(app):
                asked = asyncio.create_task(http.post(path, content=CONTENT, headers=tenant.headers()))
                await until(waits, seconds=50)
        answer = await asked
    assert {json.loads(line)["state"] for line in answer.text.splitlines()} == {"adding"}
    assert await listed(database) == {*MANY[:LOT], MANY[-1]}
    assert kept_open(folder) == []
    assert [(log["event"], log["line"]) for log in logs if log["event"].startswith("dnc_file")] == [
        ("dnc_file_cut_off", LOT + 1)
    ]
