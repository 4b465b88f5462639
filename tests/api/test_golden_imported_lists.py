"""Contact lists that were imported: the documented shape of a list from a file, in every answer that shows one."""

from __future__ import annotations

import pytest

from outdial.services import contact_lists, imports
from outdial.services.imports import FOLDER
from outdial.store import contacts as contacts_store
from outdial.store.erased_texts import VALUES, mend_values
from support.native import Native
from support.wire import CAMPAIGN_ID, FILE_ID, LIST_ID, TIMESTAMP, USER_ID, agentless, differs

FILE = b"firstName,lastName,Phone,timezone,Amount due\nAda,Byron,+15550100201,Europe/London,12\nBen,,+15550100202,,\n"
COLUMNS = ["firstName", "lastName", "Phone", "timezone", "Amount due"]
NAMED = {"firstName": "firstName", "lastName": "lastName", "phoneNumber": "Phone", "timeZone": "timezone"}
UNNAMED = {"uniqueId": "", "contactPriority": ""}


class _BrokeOffError(Exception):
    """The process that reads a file ends in the middle."""


class Desk:
    """Imports as they come: uploaded over the API, and read beside it."""

    def __init__(self, tenant, database, folder) -> None:
        self.tenant, self._database, self._folder = tenant, database, folder

    async def upload(self, data: bytes = FILE, *, name: str = "people.csv", to: str = "March") -> str:
        native = Native(self.tenant)
        made = await native.done("POST", "/imports", {"listName": to, "fileName": name})
        await native.done("POST", f"/imports/{made['id']}/pieces?offset=0", content=data)
        await native.done("POST", f"/imports/{made['id']}/finish")
        return made["id"]

    async def read(self, import_id: str, **options) -> None:
        await imports.run(self._database, self._folder, self.tenant.iid, import_id, actor="test", **options)

    async def break_off(self, import_id: str) -> None:
        def end(_progress) -> None:
            raise _BrokeOffError

        with pytest.raises(_BrokeOffError):
            await self.read(import_id, on_progress=end)

    async def cancel(self, import_id: str) -> None:
        await imports.cancel(self._database, self._folder, self.tenant.iid, import_id, actor="test")

    async def listed(self, *, version: int = 2, name: str = "March") -> dict:
        answer = await self.tenant.done("POST", "/contactList/getAllListDetails", version=version, type="call")
        (found,) = (one for one in answer["data"] if one["name"] == name)
        return found


@pytest.fixture
def desk(tenant, database, parts) -> Desk:
    return Desk(tenant, database, parts.settings.data_dir.resolve() / FOLDER)


def mapping(version: int) -> dict:
    return {field: value for field, value in {**NAMED, **UNNAMED}.items() if version == 2 or field != "contactPriority"}


def listed(version: int) -> dict:
    """A list from a file among others, as the sample of v2 has it; v1 knows no columns and no priority."""
    return dict(
        [
            ("_id", LIST_ID),
            ("name", "March"),
            ("description", "Imported from people.csv"),
            ("files", [{"fileId": FILE_ID, "fileName": "people.csv"}]),
            ("totalRecordCount", 2),
            ("status", "Validated"),
            ("mapping", mapping(version)),
            ("isListInUse", False),
            ("listType", "call"),
            ("campaignInUse", [{"id": CAMPAIGN_ID, "name": "Product Feedback"}]),
            ("source", "localDrive"),
            *([("columns", COLUMNS)] if version == 2 else []),
            ("updatedAt", TIMESTAMP),
        ]
    )


def whole(version: int, **changed) -> dict:
    second = version == 2
    pairs = [
        ("_id", LIST_ID),
        ("isActive", True),
        *([] if second else [("orgId", str)]),
        ("name", "March"),
        *([] if second else [("lname", "march")]),
        ("description", "Imported from people.csv"),
        ("files", [{"fileId": FILE_ID, "fileName": "people.csv"}]),
        ("totalRecordCount", 2),
        ("status", "Validated"),
        ("createdBy", USER_ID),
        ("updatedBy", USER_ID),
        ("mapping", mapping(version)),
        ("isListInUse", False),
        *([] if second else [("iId", str)]),
        ("listType", "call"),
        *([("isGlobalDNC", False), ("isDefault", False)] if second else []),
        ("campaignInUse", [{"id": CAMPAIGN_ID, "name": "Product Feedback"}]),
        *([] if second else [("accountId", str)]),
        ("source", "localDrive"),
        *([("columns", COLUMNS)] if second else []),
        ("createdAt", TIMESTAMP),
        ("updatedAt", TIMESTAMP),
        *([("allowDuplicates", False)] if second else []),
    ]
    return {**dict(pairs), **changed}


@pytest.mark.parametrize("version", [1, 2])
async def test_listed_read_and_deleted_as_documented(desk, version):
    import_id = await desk.upload()
    await desk.read(import_id)
    campaign_id = await desk.tenant.create_campaign(agentless(1, contactLists=["March"]))
    found = await desk.listed(version=version)
    assert differs(listed(version), found) == []
    # an import keeps its id, so its file does
    assert found["files"][0]["fileId"] == import_id.removeprefix("im-").replace("-", "")[:24]
    path = f"/contactList/{found['_id']}"
    got = await desk.tenant.done("GET", path, version=version)
    assert differs({"status": "success", "message": "", "data": whole(version)}, got) == []
    await desk.tenant.done("DELETE", f"/{campaign_id}", campaignType="voice")
    deleted = await desk.tenant.done("DELETE", path, version=version)
    expected = {
        "status": "success",
        "message": "Contact list March deleted successfully",
        "data": whole(version, campaignInUse=[]),
    }
    assert differs(expected, deleted) == []


async def test_the_status_follows_its_imports(desk):
    first = await desk.upload()
    # nothing of it is read yet, so there is no list
    answer = await desk.tenant.done("POST", "/contactList/getAllListDetails", version=2)
    assert [one["name"] for one in answer["data"]] == ["Recent Buyers"]
    await desk.break_off(first)
    found = await desk.listed()
    assert (found["status"], found["files"][0]["fileName"]) == ("Validating", "people.csv")
    await desk.cancel(first)
    assert (await desk.listed())["status"] == "Invalid"
    second = await desk.upload(b"phone\n+15550100203\n", name="more.csv")
    await desk.read(second)
    assert (await desk.listed())["status"] == "Validated"
    third = await desk.upload(b"phone\n+15550100204\n", name="most.csv")
    await desk.break_off(third)
    found = await desk.listed()
    assert (found["status"], found["totalRecordCount"]) == ("Validating", 4)
    await desk.read(third)
    found = await desk.listed()
    assert found["status"] == "Validated"
    assert [file["fileName"] for file in found["files"]] == ["people.csv", "more.csv", "most.csv"]


async def test_several_files_name_each_column_once(desk):
    await desk.read(await desk.upload(b"Phone,Id\n+15550100201,7\n"))
    more = b"Mobile,firstName,Unique ID,Phone,\n+15550100202,Ben,8,x,y\n"
    native = Native(desk.tenant)
    draft = {"listName": "March", "fileName": "more.csv", "mapping": {"phone": "Mobile", "uniqueId": "Unique ID"}}
    made = await native.done("POST", "/imports", draft)
    await native.done("POST", f"/imports/{made['id']}/pieces?offset=0", content=more)
    await native.done("POST", f"/imports/{made['id']}/finish")
    await desk.read(made["id"])
    found = await desk.listed()
    assert found["columns"] == ["Phone", "Id", "Mobile", "firstName", "Unique ID", "column 5"]
    # of two files the first that has a field says which column it is
    assert found["mapping"] == {
        "firstName": "firstName",
        "lastName": "",
        "phoneNumber": "Phone",
        "timeZone": "",
        "uniqueId": "Unique ID",
        "contactPriority": "",
    }


async def test_an_attribute_called_like_a_field_is_not_that_field(desk):
    native = Native(desk.tenant)
    draft = {"listName": "March", "fileName": "people.csv", "mapping": {"phone": "Mobile"}}
    made = await native.done("POST", "/imports", draft)
    await native.done(
        "POST", f"/imports/{made['id']}/pieces?offset=0", content=b"phoneNumber,Mobile\nold,+15550100201\n"
    )
    await native.done("POST", f"/imports/{made['id']}/finish")
    await desk.read(made["id"])
    found = await desk.listed()
    assert (found["mapping"]["phoneNumber"], found["columns"]) == ("Mobile", ["phoneNumber", "Mobile"])


async def test_a_list_filled_by_requests_stays_one_and_names_its_file(desk):
    await desk.read(await desk.upload(to="Recent Buyers"))
    found = await desk.listed(name="Recent Buyers")
    assert (found["status"], found["source"], found["totalRecordCount"]) == ("Ready", "passiveApi", 5)
    assert found["apiConfigurations"] == {"dataSyncMode": "dontAllowDuplicates"}
    assert [file["fileName"] for file in found["files"]] == ["people.csv"]
    assert found["columns"] == COLUMNS
    assert found["mapping"]["phoneNumber"] == "phoneNumber"


async def test_an_import_from_before_columns_were_noted(desk, database):
    await desk.read(await desk.upload())
    async with database.connection() as connection:
        await connection.execute("UPDATE imports SET columns = NULL")
    found = await desk.listed()
    assert (found["status"], found["columns"], found["mapping"]["phoneNumber"]) == ("Validated", [], "phoneNumber")


async def test_a_file_from_before_columns_were_noted_beside_one_from_after(desk, database):
    await desk.read(await desk.upload())
    async with database.connection() as connection:
        await connection.execute("UPDATE imports SET columns = NULL")
    await desk.read(await desk.upload(b"Mobile\n+15550100203\n", name="more.csv"))
    found = await desk.listed()
    assert found["columns"] == ["Mobile"]
    # the first may have had any of the others
    assert found["mapping"] == {
        "firstName": "firstName",
        "lastName": "lastName",
        "phoneNumber": "Mobile",
        "timeZone": "timeZone",
        "uniqueId": "uniqueId",
        "contactPriority": "contactPriority",
    }


async def test_a_list_from_a_file_without_an_import_is_not_waited_for(desk, database):
    await desk.read(await desk.upload())
    async with database.connection() as connection:
        await connection.execute("DELETE FROM imports")
        await connection.execute(
            "DELETE FROM contacts WHERE list_id IN (SELECT id FROM contact_lists WHERE name = 'March')"
        )
    found = await desk.listed()
    assert (found["totalRecordCount"], found["files"], found["status"]) == (0, [], "Validated")


async def test_the_newest_files_are_told_and_all_count_for_the_status(desk, monkeypatch):
    monkeypatch.setattr(contact_lists, "MOST_FILES", 2)
    await desk.read(await desk.upload())
    for name in ("second.csv", "third.csv"):
        later = await desk.upload(b"Mobile\n+15550100203\n", name=name)
        await desk.break_off(later)
        assert (await desk.listed())["status"] == "Validating"
        await desk.cancel(later)
    found = await desk.listed()
    assert [file["fileName"] for file in found["files"]] == ["second.csv", "third.csv"]
    assert (found["columns"], found["status"]) == (["Mobile"], "Validated")


async def test_a_stop_and_whoever_asks_for_a_list_alone_read_no_imports(desk, database):
    await desk.read(await desk.upload())
    found = await desk.listed()
    iid = desk.tenant.iid
    async with database.connection() as connection:
        await connection.execute("ALTER TABLE imports RENAME TO imports_away")
        try:
            by_id = await contacts_store.list_by_id(connection, iid, found["_id"])
            named = await contacts_store.list_named(connection, iid, "March")
            assert by_id in await contacts_store.lists_of(connection, iid)
        finally:
            await connection.execute("ALTER TABLE imports_away RENAME TO imports")
    assert by_id == named
    assert (by_id.name, by_id.contacts_count) == ("March", 2)


async def test_files_of_others_are_not_shown(desk, other, sibling):
    await desk.read(await desk.upload())
    for stranger in (other, sibling):
        answer = await stranger.done("POST", "/contactList/getAllListDetails", version=2)
        assert "people.csv" not in str(answer)


async def test_an_erasure_takes_a_number_out_of_the_names_of_columns(desk, database):
    import_id = await desk.upload(b"phone,+15550100201\n+15550100202,x\n")
    await desk.break_off(import_id)
    assert (await desk.listed())["columns"] == ["phone", "+15550100201"]
    (columns,) = (mention for mention in VALUES if (mention.table, mention.column) == ("imports", "columns"))
    async with database.transaction() as connection:
        assert await mend_values(connection, columns, desk.tenant.account_id, "+15550100201") == 1
    assert (await desk.listed())["columns"] == ["phone"]
    # whoever goes on with the file reads its first line again
    await desk.read(import_id)
    found = await desk.listed()
    assert (found["status"], found["columns"]) == ("Validated", ["phone"])
