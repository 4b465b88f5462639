"""Imports over outdial's own surface: uploaded in pieces, run beside, followed, cancelled."""

from __future__ import annotations

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from outdial.services import import_keeper
from outdial.services.import_keeper import ImportKeeper
from outdial.services.imports import FOLDER
from outdial.store import imports as imports_store
from support.native import Native, sentences
from waiting import until

FILE = b"Telefon,name\n+15550100201,Ada\n+15550100202,Ben\n+15550100202,Ben again\nnonsense,Cy\n"
DRAFT = {"listName": "March callers", "fileName": "people.csv", "mapping": {"phone": "Telefon"}}


@pytest.fixture
def native(tenant) -> Native:
    return Native(tenant)


@pytest.fixture
def keeper(parts, database, monkeypatch) -> ImportKeeper:
    """What `outdial serve` runs beside the API, at once."""
    monkeypatch.setattr(import_keeper, "SETTLED", import_keeper.timedelta(0))
    return ImportKeeper(database, parts.settings.data_dir.resolve() / FOLDER)


async def uploaded(native: Native, data: bytes = FILE, draft: dict | None = None, *, piece: int = 20) -> str:
    made = await native.done("POST", "/imports", draft or DRAFT)
    assert (made["state"], made["receivedBytes"]) == ("receiving", 0)
    for offset in range(0, len(data), piece):
        part = data[offset : offset + piece]
        answer = await native.done("POST", f"/imports/{made['id']}/pieces?offset={offset}", content=part)
        assert answer["receivedBytes"] == offset + len(part)
    return made["id"]


async def test_from_the_first_piece_to_the_last_row(native, tenant, keeper):
    import_id = await uploaded(native)
    finished = await native.done("POST", f"/imports/{import_id}/finish")
    assert finished["state"] == "running"
    await keeper.look()
    done = await native.done("GET", f"/imports/{import_id}")
    assert (done["state"], done["rows"], done["added"], done["duplicates"], done["bad"]) == ("done", 4, 2, 1, 1)
    assert done["endedAt"] is not None
    wrong = await native.done("GET", f"/imports/{import_id}/errors")
    assert wrong["total"] == 1
    assert wrong["results"][0]["line"] == 5
    page = await tenant.done("GET", f"/contactList/{done['listId']}/getAllContacts")
    assert {contact["name"] for contact in page["data"]["results"]} == {"Ada", "Ben"}
    listed = await native.done("GET", "/imports")
    assert [found["id"] for found in listed["results"]] == [import_id]


async def test_an_upload_that_broke_goes_on_where_it_was(native):
    made = await native.done("POST", "/imports", DRAFT)
    pieces = f"/imports/{made['id']}/pieces"
    await native.done("POST", f"{pieces}?offset=0", content=FILE[:30])
    for offset in (0, 29, 31):
        failure = await native.refused(409, "POST", f"{pieces}?offset={offset}", content=FILE[offset:])
        assert failure["errorCode"] == "wrong_offset"
        assert "30 bytes" in sentences(failure)[0]
    found = await native.done("POST", f"{pieces}?offset=30", content=FILE[30:])
    assert found["receivedBytes"] == len(FILE)


async def test_a_piece_sent_again_with_its_key_is_taken_once(native):
    made = await native.done("POST", "/imports", DRAFT)
    for _ in range(2):
        answer = await native.done(
            "POST", f"/imports/{made['id']}/pieces?offset=0", content=FILE, headers={"Idempotency-Key": "piece 1"}
        )
        assert answer["receivedBytes"] == len(FILE)


async def test_what_is_no_table_fails_and_says_why(native, keeper):
    import_id = await uploaded(native, b"PK\x03\x04 no workbook", {**DRAFT, "fileName": "people.xlsx"})
    await native.done("POST", f"/imports/{import_id}/finish")
    await keeper.look()
    failed = await native.done("GET", f"/imports/{import_id}")
    assert failed["state"] == "failed"
    assert failed["failure"]
    assert (await native.refused(409, "POST", f"/imports/{import_id}/cancel"))["errorCode"] == "illegal_move"


async def test_cancelled_it_is_not_run_and_its_file_is_gone(native, keeper, parts):
    import_id = await uploaded(native)
    path = parts.settings.data_dir / FOLDER / import_id
    assert path.read_bytes() == FILE
    assert (await native.done("POST", f"/imports/{import_id}/cancel"))["state"] == "cancelled"
    assert not path.exists()
    await keeper.look()
    assert (await native.refused(409, "POST", f"/imports/{import_id}/finish"))["errorCode"] == "illegal_move"


async def test_it_can_be_followed_to_its_end(native, keeper):
    import_id = await uploaded(native)
    await native.done("POST", f"/imports/{import_id}/finish")
    following = asyncio.create_task(native.ask("GET", f"/imports/{import_id}/events"))
    await keeper.look()
    answer = await following
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [block.split("\n") for block in answer.text.strip().split("\n\n")]
    assert {lines[0] for lines in events} == {"event: progress"}
    last = json.loads(events[-1][1].removeprefix("data: "))
    assert (last["state"], last["added"]) == ("done", 2)


async def test_one_that_is_over_is_followed_no_further(native):
    import_id = await uploaded(native)
    await native.done("POST", f"/imports/{import_id}/cancel")
    answer = await native.ask("GET", f"/imports/{import_id}/events")
    assert answer.text.count("event: progress") == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"fileName": "x.csv"}, "`listName` is missing"),
        ({**DRAFT, "listName": ""}, "list_name"),
        ({**DRAFT, "fileName": "a\nb"}, "file_name"),
        ({**DRAFT, "mapping": {"phone": 5}}, "`mapping.phone` must be text"),
        ({**DRAFT, "mapping": {"phone": "a", "name": "a"}}, "mapped twice"),
        ({**DRAFT, "defaultRegion": "Germany"}, "region"),
        ({**DRAFT, "more": 1}, "`more`"),
    ],
)
async def test_wrong_drafts(native, body, words):
    failure = await native.refused(412, "POST", "/imports", body)
    assert words in " ".join(sentences(failure))


async def test_without_a_list_none_is_made_when_none_is_wanted(native):
    await native.refused(404, "POST", "/imports", {**DRAFT, "listName": "Nobody", "createList": False})


async def test_wrong_offsets(native):
    made = await native.done("POST", "/imports", DRAFT)
    for offset in ("-1", "x", str(1 << 31)):
        await native.refused(400, "POST", f"/imports/{made['id']}/pieces?offset={offset}", content=b"x")


class TestKeeper:
    async def test_one_that_somebody_has_just_completed_is_left_to_them(self, native, parts, database):
        import_id = await uploaded(native)
        await native.done("POST", f"/imports/{import_id}/finish")
        keeper = ImportKeeper(database, parts.settings.data_dir.resolve() / FOLDER)
        await keeper.look()
        assert (await native.done("GET", f"/imports/{import_id}"))["state"] == "running"
        async with database.connection() as connection:
            await connection.execute("UPDATE imports SET updated_at = updated_at - interval '1 minute'")
        await keeper.look()
        assert (await native.done("GET", f"/imports/{import_id}"))["state"] == "done"

    async def test_a_process_without_the_file_leaves_it_alone(self, native, keeper, database, tmp_path):
        import_id = await uploaded(native)
        await native.done("POST", f"/imports/{import_id}/finish")
        await ImportKeeper(database, tmp_path / "elsewhere").look()
        assert (await native.done("GET", f"/imports/{import_id}"))["state"] == "running"

    async def test_of_many_one_runs_it(self, native, keeper):
        import_id = await uploaded(native)
        await native.done("POST", f"/imports/{import_id}/finish")
        await asyncio.gather(*(keeper.look() for _ in range(4)))
        done = await native.done("GET", f"/imports/{import_id}")
        assert (done["state"], done["rows"], done["added"]) == ("done", 4, 2)

    async def test_an_upload_that_was_given_up_is_cleared_away(self, native, keeper, parts, database):
        import_id = await uploaded(native)
        await keeper.look()
        assert (await native.done("GET", f"/imports/{import_id}"))["state"] == "receiving"
        async with database.connection() as connection:
            await connection.execute("UPDATE imports SET updated_at = updated_at - interval '25 hours'")
        await keeper.look()
        assert (await native.done("GET", f"/imports/{import_id}"))["state"] == "cancelled"
        assert not (parts.settings.data_dir / FOLDER / import_id).exists()

    async def test_one_upload_that_cannot_be_cleared_away_keeps_no_other(
        self, native, keeper, parts, database, monkeypatch
    ):
        removed, stuck, other = [await uploaded(native) for _ in range(3)]
        folder = parts.settings.data_dir / FOLDER
        (folder / stuck).unlink()
        (folder / stuck).mkdir()
        async with database.connection() as connection:
            await connection.execute("UPDATE imports SET updated_at = updated_at - interval '25 hours'")
        given_up = imports_store.given_up

        async def then_one_is_removed(connection, **more):
            found = await given_up(connection, **more)
            await connection.execute("DELETE FROM imports WHERE id = $1", removed)
            return sorted(found, key=lambda each: [removed, stuck, other].index(each[1]))

        monkeypatch.setattr(imports_store, "given_up", then_one_is_removed)
        await keeper.look()
        await native.refused(404, "GET", f"/imports/{removed}")
        for import_id in (stuck, other):
            assert (await native.done("GET", f"/imports/{import_id}"))["state"] == "cancelled"
        assert not (folder / other).exists()

    @pytest.mark.parametrize("header", [b"phone,a\0b", b"name,a\0b", b"phone,a\0b,a\0b"])
    async def test_a_column_whose_name_cannot_be_stored_fails_its_import_alone(self, native, keeper, header):
        bad = await uploaded(native, header + b"\n+15550100201,x,y\n", {**DRAFT, "mapping": {}})
        good = await uploaded(native)
        for import_id in (bad, good):
            await native.done("POST", f"/imports/{import_id}/finish")
        await keeper.look()
        failed = await native.done("GET", f"/imports/{bad}")
        assert (failed["state"], failed["listId"]) == ("failed", None)
        assert "contains a character that cannot be stored." in failed["failure"]
        assert (await native.done("GET", f"/imports/{good}"))["state"] == "done"

    async def test_cells_that_cannot_be_stored_are_told(self, native, keeper):
        rows = b"phone,tz,uniqueId,priority,note\n\0,,,,\n" + b"".join(
            b"+1555010020%d," % n + b",".join(b"\0" if n == at else b"" for at in range(4)) + b"\n" for n in range(5)
        )
        import_id = await uploaded(native, rows, {**DRAFT, "mapping": {}})
        await native.done("POST", f"/imports/{import_id}/finish")
        await keeper.look()
        done = await native.done("GET", f"/imports/{import_id}")
        assert (done["state"], done["added"], done["bad"]) == ("done", 1, 5)
        assert (await native.done("GET", f"/imports/{import_id}/errors"))["total"] == 5

    async def test_what_nobody_foresaw_fails_one_import_and_is_told_with_its_traceback(
        self, native, keeper, database, parts
    ):
        bad, good = await uploaded(native), await uploaded(native, draft={**DRAFT, "listName": "April callers"})
        for import_id in (bad, good):
            await native.done("POST", f"/imports/{import_id}/finish")
        async with database.connection() as connection:
            await connection.execute(
                """
                CREATE FUNCTION refuse_march() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    IF (SELECT name FROM contact_lists WHERE id = NEW.list_id) = 'March callers' THEN
                        RAISE EXCEPTION 'no such thing';
                    END IF;
                    RETURN NEW;
                END $$;
                CREATE TRIGGER refuse_march BEFORE INSERT ON contacts FOR EACH ROW EXECUTE FUNCTION refuse_march()
                """
            )
        try:
            with capture_logs() as logs:
                await keeper.look()
        finally:
            async with database.connection() as connection:
                await connection.execute("DROP FUNCTION refuse_march CASCADE")
        told = [log for log in logs if log["event"] == "import_failed"]
        assert [(log["import_id"], log["log_level"], log["exc_info"]) for log in told] == [(bad, "error", True)]
        failed = await native.done("GET", f"/imports/{bad}")
        assert (failed["state"], failed["failure"], failed["rows"]) == ("failed", import_keeper.UNKNOWN, 0)
        assert not (parts.settings.data_dir.resolve() / FOLDER / bad).exists()
        assert (await native.done("GET", f"/imports/{good}"))["state"] == "done"

    async def test_keep_does_so_by_itself(self, native, keeper, parts, database):
        import_id = await uploaded(native)
        await native.done("POST", f"/imports/{import_id}/finish")
        keeping = asyncio.create_task(import_keeper.keep(database, parts.settings.data_dir.resolve() / FOLDER))

        async def done() -> bool:
            return (await native.done("GET", f"/imports/{import_id}"))["state"] == "done"

        await until(done)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
