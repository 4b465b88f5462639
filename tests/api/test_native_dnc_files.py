"""Files of numbers that must not be called, sent by outdial's own surface."""

from __future__ import annotations

import json
import random
import threading
import urllib.parse
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dialer.test_node import register
from engines import simulated
from outdial import clock
from outdial.api.native import dnc_files
from outdial.services import dnc, dnc_file, lines, number_file
from outdial.services.dnc import LOT
from outdial.services.number_file import MOST_TOLD
from outdial.store import runs as runs_store
from services.test_number_lines import reserved
from support.native import Native, sentences
from support.nodes import dialer
from support.wire import ever_open
from waiting import until
from workbooks import row, workbook

PHONE, OTHER = "+15550100001", "+15550100002"
MANY = tuple(f"+1555{number:07d}" for number in range(2_000_000, 2_000_000 + LOT + 1000))
VIEW = ("state", "rows", "unreadableCount", "changedCount", "unchangedCount", "line", "position", "size", "problems")


@pytest.fixture
def native(tenant) -> Native:
    return Native(tenant)


@pytest.fixture
async def lists(native) -> dict[str, str]:
    return {one["name"]: one["id"] for one in (await native.done("GET", "/dnc-lists"))["results"]}


@pytest.fixture
def path(lists) -> str:
    """Where files for the account's own list go."""
    return f"/dnc-lists/{lists['Account']}/files"


async def sent(native: Native, path: str, content, **params) -> list[dict]:
    """Send a file; return the lines of the answer."""
    answer = await native.ask("POST", path, content=content, params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/jsonl"
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert {tuple(each) for each in found} == {(*VIEW, "failure")}
    assert {each["state"] for each in found[:-1]} <= {"adding"}
    return found


async def added(native: Native, path: str, content, **params) -> dict:
    """Send a file that is added; return the last line."""
    *_, last = await sent(native, path, content, **params)
    assert (last["state"], last["failure"]) == ("added", None)
    return last


async def listed(database) -> set[str]:
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT phone FROM dnc_entries WHERE phone <> '+15550109999'")
    return {each["phone"] for each in rows}


def kept_open(folder: Path) -> list[str]:
    """What this process has open in the folder, also without a name."""
    targets = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [target for target in targets if target.startswith(str(folder))]


@pytest.fixture(autouse=True)
def nothing_stays(parts):
    """Whatever becomes of a request, its file is gone."""
    yield
    folder = parts.settings.data_dir.resolve()
    assert kept_open(folder) == []
    assert [one for one in folder.iterdir() if one.is_file()] == []


async def test_the_document_says_what_a_line_is(native, path):
    schema = (await native.tenant.http.get("/openapi.json")).json()["components"]["schemas"]["DncFileView"]
    (first, *_) = await sent(native, path, f"{PHONE}\n".encode())
    assert list(schema["properties"]) == schema["required"] == list(first)


@pytest.mark.parametrize("name", ["Account", "Never Call"])
async def test_a_table_is_added_and_what_cannot_be_read_told(native, lists, database, name):
    content = f"who;Telefon\nAnna;{PHONE}\nBob;nonsense\nCarl;+1 555 010 0002\nAnna;{PHONE}\n".encode("utf-16")
    params = {"fileName": "complaints.csv", "reason": "of March", "expiresAt": "2099-01-01T00:00:00+02:00"}
    last = await added(native, f"/dnc-lists/{lists[name]}/files", content, **params)
    (problem,) = last.pop("problems")
    assert problem.startswith("Line 3: 'nonsense': ")
    assert last == {
        "state": "added",
        "rows": 4,
        "unreadableCount": 1,
        "changedCount": 2,
        "unchangedCount": 1,
        "line": 5,
        "position": len(content),
        "size": len(content),
        "failure": None,
    }
    found = (await native.done("GET", f"/dnc-lists/{lists[name]}/numbers"))["results"]
    client = native.tenant.credentials.client_id
    assert {
        (one["phoneNumber"], one["source"], one["reason"], one["addedBy"], one["expiresAt"])
        for one in found
        if one["phoneNumber"] != "+15550109999"
    } == {(phone, "operator", "of March", client, "2098-12-31T22:00:00Z") for phone in (PHONE, OTHER)}


async def test_a_number_a_line_needs_nothing_else(native, path, database):
    last = await added(native, path, f"{PHONE}\r\n\r\n  {OTHER}\r\n".encode())
    assert (last["changedCount"], last["rows"], last["line"]) == (2, 2, 3)
    assert await listed(database) == {PHONE, OTHER}


async def test_a_workbook_with_its_sheet_columns_and_country(native, path, database, tmp_path):
    made = workbook(
        tmp_path.parent / f"{tmp_path.name}.xlsx",
        First=row(1, "phone") + row(2, "+15550100009"),
        Second=row(1, "who", "Büro", "mobil")
        + row(2, "Anna", "030 901820", "0151 23456789")
        + row(3, "Bob", None, "x"),
    )
    params = {"sheet": "Second", "column": ["Büro", "column 3"], "defaultRegion": "DE", "fileName": made.name}
    last = await added(native, path, made.read_bytes(), **params)
    assert (last["changedCount"], last["rows"], last["unreadableCount"], last["size"]) == (2, 2, 1, 3)
    assert last["problems"][0].startswith("Line 3: 'x': mobil: ")
    assert await listed(database) == {"+4930901820", "+4915123456789"}


async def test_sent_again_it_adds_nothing_whatever_its_key_and_never_shortens(native, path, database):
    content = f"phone\n{PHONE}\n".encode()
    key = {"Idempotency-Key": "file-1"}
    for body, params in ((content, {}), (content, {}), (content + b"x\n", {"expiresAt": "2099-01-01T00:00:00Z"})):
        answer = await native.ask("POST", path, content=body, params=params, headers=key)
        assert answer.status_code == 200
        assert "Idempotent-Replay" not in answer.headers
        last = json.loads(answer.text.splitlines()[-1])
        assert (last["state"], last["changedCount"] + last["unchangedCount"]) == ("added", 1)
    assert last["unchangedCount"] == 1
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT expires_at FROM dnc_entries WHERE phone = $1", PHONE) is None
        assert await connection.fetchval("SELECT count(*) FROM idempotency_keys") == 0


async def test_of_many_that_cannot_be_read_the_first_are_told_and_all_counted(native, path):
    last = await added(native, path, "\n".join(["phone", *["?"] * (MOST_TOLD + 7)]).encode())
    assert (last["unreadableCount"], len(last["problems"]), last["changedCount"]) == (MOST_TOLD + 7, MOST_TOLD, 0)


async def test_cells_that_cannot_be_stored_are_told(native, path, database):
    last = await added(native, path, f"phone,note\n{PHONE},a\0b\n\0,x\n{OTHER[:-1]}\0,x\n{OTHER},\0\n".encode())
    assert (last["changedCount"], last["unreadableCount"]) == (2, 2)
    assert await listed(database) == {PHONE, OTHER}


GARBAGE = random.Random(1).randbytes(2 << 20)
GOOD = f"phone\n{PHONE}\n".encode()


@pytest.mark.parametrize(
    ("content", "params", "words"),
    [
        (b"", {}, "the file is empty"),
        (b"\n\n", {"fileName": "none.csv"}, "none.csv is empty"),
        (b"who,what\nAnna,+15550100001\n", {}, "say which it is with `column`"),
        (b"who,what\nAnna,+15550100001\n", {"column": "mobile"}, "`column` mobile: the first line has no such column"),
        (b"phone,mobile\n+15550100001,\n", {}, "Say which with `column`, once for each."),
        (b"who,\0\nAnna,+15550100001\n", {"column": "phone"}, "no such column"),
        (GOOD, {"sheet": "March", "fileName": "a.csv"}, "a.csv is no Excel workbook, so it has no sheet March."),
        (GOOD, {"fileName": "a.xlsx"}, "a.xlsx is damaged or no Excel workbook"),
        (b"PK\x03\x04" + GARBAGE, {"fileName": "a.xlsx"}, "a.xlsx is damaged or no Excel workbook"),
        (b"\xd0\xcf\x11\xe0" + GARBAGE, {}, "before 2007"),
        (b"x" * (1 << 20) + b"\n" + GOOD, {}, "Line 1 of the file is too long"),
        (GARBAGE, {}, "The first line "),
    ],
    ids=[
        *("empty", "blank", "no column", "another column", "several", "a name that cannot be stored", "no sheet"),
        *("no workbook", "a damaged one", "an old one", "one line", "garbage"),
    ],
)
async def test_what_cannot_be_understood_adds_nothing(native, path, database, content, params, words):
    failure = await native.refused(412, "POST", path, content=content, params=params)
    assert words in " ".join(sentences(failure))
    assert "--column" not in str(sentences(failure))
    assert await listed(database) == set()


async def test_a_workbook_without_such_a_sheet(native, path, tmp_path):
    made = workbook(tmp_path.parent / f"{tmp_path.name}.xlsx", First=row(1, "phone") + row(2, PHONE))
    failure = await native.refused(412, "POST", path, content=made.read_bytes(), params={"sheet": "March"})
    assert sentences(failure) == ["the file has no sheet March; it has: First."]


class Unread:
    """A body that nobody has begun to read."""

    def __init__(self) -> None:
        self.begun = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.begun = True
        yield GOOD


@pytest.mark.parametrize(
    ("status", "params", "words"),
    [
        (412, {"fileName": "a\0b"}, "`fileName` contains"),
        (412, {"fileName": "x" * 256}, "`fileName` has 256 characters"),
        (412, {"sheet": "a\0b"}, "`sheet` contains"),
        (412, {"column": ["phone", "a\nb"]}, "`column` contains"),
        (412, {"column": ["phone"] * 21}, "`column` is given more than 20 times."),
        (412, {"defaultRegion": "Germany"}, "Germany is no region"),
        (412, {"reason": "x" * 257}, "`reason` has 257 characters"),
        (412, {"expiresAt": "2020-01-01T00:00:00Z"}, "`expiresAt` is past"),
        (400, {"expiresAt": "2099-01-01T00:00:00"}, "`expiresAt` must be an instant with its zone"),
        (400, {"expiresAt": "9999-12-31T23:59:59-14:00"}, "`expiresAt` must be an instant with its zone"),
        (400, {"expiresAt": "soon"}, "`expiresAt` must be an instant with its zone"),
        (400, {"colum": "mobile"}, "`colum` is no parameter of this request; there are `fileName`, `column`, "),
        (400, {"sheet": ["March", "April"]}, "`sheet` is given more than once"),
    ],
)
async def test_what_is_wrong_whatever_the_file_holds_is_told_before_it_is_read(
    native, path, database, status, params, words
):
    body = Unread()
    failure = await native.refused(status, "POST", path, content=body, params=params)
    assert words in " ".join(sentences(failure))
    assert not body.begun
    assert await listed(database) == set()


async def test_the_lists_of_others_are_not_there_and_nothing_is_read_for_them(native, lists, sibling, other, database):
    unknown = "cl-9999999-2222-4333-8444-555555555555"
    asked = [(sibling, lists["Never Call"]), (other, lists["Never Call"]), (other, lists["Account"])]
    for stranger, list_id in (*asked, (native.tenant, unknown), (native.tenant, "cl-a\0b")):
        body = Unread()
        where = f"/dnc-lists/{urllib.parse.quote(list_id)}/files"
        await Native(stranger).refused(404, "POST", where, content=body)
        assert not body.begun
    assert await listed(database) == set()
    # the account's own is everybody's in it
    await added(Native(sibling), f"/dnc-lists/{lists['Account']}/files", GOOD)


async def test_a_body_that_is_too_large_is_refused(native, path, database, monkeypatch):
    monkeypatch.setattr(dnc_files, "LARGEST_FILE", 1 << 20)
    content = b"phone\n" + f"{PHONE}\n".encode() * 100_000

    async def pieces() -> AsyncIterator[bytes]:
        for begin in range(0, len(content), 65536):
            yield content[begin : begin + 65536]

    for body in (content, pieces()):
        failure = await native.refused(413, "POST", path, content=body)
        assert failure["errorCode"] == "too_large"
    assert await listed(database) == set()


@pytest.mark.parametrize("how", ["full", "no folder"])
async def test_a_disk_without_room_is_told(native, path, database, parts, monkeypatch, how):
    if how == "full":
        full = Path("/dev/full")
        monkeypatch.setattr(dnc_file.tempfile, "TemporaryFile", lambda **_: full.open("r+b", buffering=0))
    else:
        parts.settings.data_dir.rmdir()
        parts.settings.data_dir.symlink_to("/dev/null")
    try:
        failure = await native.refused(500, "POST", path, content=GOOD)
    finally:
        if how != "full":
            parts.settings.data_dir.unlink()
            parts.settings.data_dir.mkdir()
    assert failure["errorCode"] == "file"
    assert "The file that was sent cannot be kept in " in sentences(failure)[0]
    assert await listed(database) == set()


async def test_a_large_file_is_not_held_in_memory_and_is_read_beside_the_event_loop(
    native, path, database, monkeypatch
):
    pieces, threads = [], set()
    write, parse = dnc_file.Received.write, number_file.parse_phone

    async def noted(received, piece: bytes) -> None:
        pieces.append(len(piece))
        await write(received, piece)

    def read(text: str, region: str | None = None) -> str:
        threads.add(threading.current_thread())
        return parse(text, region)

    monkeypatch.setattr(dnc_file.Received, "write", noted)
    monkeypatch.setattr(number_file, "parse_phone", read)
    padding = b"x" * 1000

    async def content() -> AsyncIterator[bytes]:
        yield b"phone,note\n"
        for phone in MANY:
            yield b"%s,%s\n" % (phone.encode(), padding)

    last = await added(native, path, content())
    assert last["changedCount"] == len(MANY)
    assert last["size"] == sum(pieces) > 6_000_000
    assert max(pieces) < 2 << 20
    assert threads
    assert threading.main_thread() not in threads


class TestInTheMiddle:
    """A file that fails after some of it was added: what was added stays and is told."""

    async def failed(self, native: Native, path: str, content: bytes, database) -> dict:
        *_, last = await sent(native, path, content, fileName="complaints.csv")
        assert (last["state"], last["changedCount"], last["unchangedCount"]) == ("failed", LOT, 0)
        assert (last["line"], await listed(database)) == (LOT + 1, set(MANY[:LOT]))
        assert list(last["failure"]) == ["errors", "errorCode", "retryable", "requestId"]
        return last["failure"]

    async def test_a_line_that_cannot_be_read(self, native, path, database):
        text = "\n".join(["phone", *MANY[:LOT], "?", "x" * (1 << 20), PHONE])
        failure = await self.failed(native, path, text.encode(), database)
        assert (failure["errorCode"], failure["retryable"]) == ("invalid_input", False)
        assert failure["errors"] == [
            {"msg": f"Line {LOT + 3} of complaints.csv is too long; is it a CSV file?", "code": 412}
        ]

    @pytest.mark.parametrize("what", ["the database is lost", "nobody foresaw it"])
    async def test_the_database(self, native, path, database, what):
        does = (
            "RAISE EXCEPTION 'no such thing';"
            if "foresaw" in what
            else "PERFORM pg_terminate_backend(pg_backend_pid());"
        )
        async with database.connection() as connection:
            await connection.execute(
                f"""
                CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    IF NEW.phone = '{MANY[LOT]}' THEN
                        {does}
                    END IF;
                    RETURN NEW;
                END $$;
                CREATE TRIGGER fail BEFORE INSERT ON dnc_entries FOR EACH ROW EXECUTE FUNCTION fail()
                """
            )
        content = "\n".join(["phone", *MANY]).encode()
        try:
            failure = await self.failed(native, path, content, database)
        finally:
            async with database.connection() as connection:
                await connection.execute("DROP FUNCTION fail CASCADE")
        expected = ("internal", False) if "foresaw" in what else ("database_unavailable", True)
        assert (failure["errorCode"], failure["retryable"]) == expected
        assert "no such thing" not in str(failure)
        last = await added(native, path, content)
        assert (last["changedCount"], last["unchangedCount"]) == (1000, LOT)


class TestCalls:
    """Whatever was being called as the file came."""

    async def test_none_of_its_numbers_is_called_once_it_says_added(self, native, path, parts, database):
        tenant = native.tenant
        people = [f"+1555012{number:04d}" for number in range(60)]
        await tenant.create_list("Slow")
        await tenant.add_contacts(*people, name="Slow")
        campaign_id = await tenant.create_campaign(ever_open(1, contactLists=["Slow"]))

        async def over() -> bool:
            return await tenant.status(campaign_id) == "Completed"

        async with simulated(speed=5.0) as engine, dialer(parts, engine):
            await tenant.trigger(campaign_id, "play")
            await until(lambda: len(engine.sent) > 3)
            last = await added(native, path, "\n".join(["phone", *people]).encode())
            at = clock.now()
            assert (last["changedCount"], last["problems"]) == (60, [])
            await until(over)
            assert len({call.number for call in engine.sent}) < 60
            assert [call.number for call in engine.sent if call.at > at] == []

    async def test_a_call_that_may_have_left_is_told_and_engines_are_asked(
        self, native, path, parts, database, secret_box, monkeypatch
    ):
        monkeypatch.setattr(dnc, "SETTLE_SECONDS", 0.1)
        asked = []
        waited_for = lines.waited_for

        async def noted(database, engines, account_id, phones) -> str:
            asked.append((engines, list(phones)))
            return await waited_for(database, engines, account_id, phones)

        monkeypatch.setattr(lines, "waited_for", noted)
        tenant = native.tenant
        await tenant.create_list("Slow")
        await tenant.add_contacts(PHONE, name="Slow")
        campaign_id = await tenant.create_campaign(ever_open(1, contactLists=["Slow"]))
        started = (await tenant.trigger(campaign_id, "play")).json()["campaignInstanceId"]
        await register(database, secret_box, "engine", "n1")
        async with database.connection() as connection:
            ((run_id,),) = await connection.fetch("SELECT id FROM runs WHERE instance_id = $1", started)
            # its dialer has stopped between the reservation and the call
            await reserved(database, await runs_store.by_id(connection, run_id))
        last = await added(native, path, GOOD + b"?\n")
        assert last["changedCount"] == 1
        assert last["problems"][0].startswith("1 of the numbers were being called already")
        assert last["problems"][1].startswith("Line 3: ")
        assert asked == [(parts.engines, [PHONE])]
