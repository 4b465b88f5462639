"""Contact lists: documented requests in, documented answers out, with their keys, types and order."""

from __future__ import annotations

import pytest

from support.wire import CAMPAIGN_ID, CONTACT_ID, LIST_ID, TIMESTAMP, USER_ID, agentless, differs, errors

NAME, ABOUT = "March Callers", "Everybody who called in March."
ADDING = {"message": "Adding contacts to public list is in progress"}


def golden(version: int, *, new: bool = False, **changed) -> dict:
    second, owner = version == 2, version == 1 and not new
    mapping = {field: field for field in ("firstName", "lastName", "phoneNumber", "timeZone", "uniqueId")}
    pairs = [
        *([] if new else [("_id", LIST_ID)]),
        ("isActive", True),
        *([("orgId", str)] if owner else []),
        ("name", NAME),
        *([("lname", NAME.lower())] if owner else []),
        ("description", ABOUT),
        ("totalRecordCount", 0),
        ("status", "Ready"),
        ("createdBy", USER_ID),
        ("updatedBy", USER_ID),
        ("mapping", {**mapping, "contactPriority": "contactPriority"} if second else mapping),
        ("isListInUse", False),
        *([("iId", str)] if owner else []),
        ("listType", "call"),
        *([("isGlobalDNC", False), ("isDefault", False)] if second else []),
        ("campaignInUse", []),
        *([("accountId", str)] if owner else []),
        ("source", "passiveApi"),
        ("apiConfigurations", {"dataSyncMode": "allowDuplicates"}),
        *([("columns", [])] if second else []),
        ("files", []),
        ("createdAt", TIMESTAMP),
        ("updatedAt", TIMESTAMP),
        *([("_id", LIST_ID)] if new else []),
        *([("allowDuplicates", True)] if second or new else []),
    ]
    return {**dict(pairs), **changed}


def request(**changed) -> dict:
    return {"name": NAME, "description": ABOUT, "source": "passiveApi", "allowDuplicates": True, **changed}


@pytest.mark.parametrize("version", [1, 2])
async def test_create_get_delete(bare, version):
    created = await bare.done("POST", "/contactList/createContactList", request(), version=version)
    assert (
        differs(
            {
                "status": "success",
                "message": f"Contact list {NAME} created successfully",
                "data": golden(version, new=True),
            },
            created,
        )
        == []
    )
    list_id = created["data"]["_id"]
    got = await bare.done("GET", f"/contactList/{list_id}", version=version)
    assert differs({"status": "success", "message": "", "data": golden(version)}, got) == []
    if version == 1:
        assert (got["data"]["iId"], got["data"]["accountId"]) == (bare.iid, bare.account_id)
    deleted = await bare.done("DELETE", f"/contactList/{list_id}", version=version)
    assert (
        differs(
            {"status": "success", "message": f"Contact list {NAME} deleted successfully", "data": golden(version)},
            deleted,
        )
        == []
    )
    assert deleted["data"] == got["data"]
    for method in ("GET", "DELETE"):
        assert (await bare.ask(method, f"/contactList/{list_id}", version=version)).status_code == 404
    assert (await bare.ask("GET", f"/contactList/{list_id}/getAllContacts")).status_code == 404


async def test_the_sample_of_v1_writes_the_name_differently(bare):
    body = request(name1=NAME, source="passiveApiIntegration")
    del body["name"]
    answer = await bare.ask("POST", "/contactList/createContactList", body)
    assert answer.status_code == 200
    assert "x-outdial-ignored" not in answer.headers
    expected = {
        "status": "success",
        "message": f"Contact list {NAME} created successfully",
        "data": golden(1, new=True, source="passiveApiIntegration"),
    }
    assert differs(expected, answer.json()) == []
    body["name1"] = "Another"
    assert (await bare.ask("POST", "/contactList/createContactList", body, version=2)).status_code == 412


@pytest.mark.parametrize("said", [{"allowDuplicates": False}, {"allowDuplicates": None}, {}])
async def test_duplicates_are_not_allowed_unless_told(bare, said):
    body = {**request(), **said}
    if not said:
        del body["allowDuplicates"]
    created = await bare.done("POST", "/contactList/createContactList", body)
    assert created["data"]["allowDuplicates"] is False
    assert created["data"]["apiConfigurations"] == {"dataSyncMode": "dontAllowDuplicates"}
    for _ in range(2):
        assert await bare.add_contacts("+15550100101", name=NAME) == ADDING
    got = await bare.done("GET", f"/contactList/{created['data']['_id']}")
    assert got["data"]["totalRecordCount"] == 1


async def test_a_name_is_taken_once(bare, other):
    await bare.create_list(NAME)
    answer = await bare.ask("POST", "/contactList/createContactList", request(name=NAME.upper()))
    assert answer.status_code == 409
    assert NAME.upper() in errors(answer)[0]
    await other.create_list(NAME)


async def test_contacts_keep_what_they_come_with(bare):
    list_id = (await bare.create_list(NAME))["_id"]
    body = {
        "contact_list_name": NAME.lower(),
        "data": [
            {
                "phoneNumber": "15550100101",
                "firstName": "Ada",
                "lastName": "Lovelace",
                "timeZone": "Europe/London",
                "uniqueId": 1815,
                "contactPriority": "7",
                "balance": 12.5,
                "tags": ["a", {"b": None}],
                "_id": "mine",
                "phone_number": "x",
            },
            {"phoneNumber": " +1 555 010 0102 ", "timeZone": "", "uniqueId": "", "contactPriority": ""},
        ],
    }
    assert await bare.done("POST", "/contactList/addContacts", body, version="1.1") == ADDING
    answer = await bare.done("GET", f"/contactList/{list_id}/getAllContacts", version=2)
    first = {
        "_id": CONTACT_ID,
        "createdAt": TIMESTAMP,
        "updatedAt": TIMESTAMP,
        "phoneNumber": "+15550100101",
        "timeZone": "Europe/London",
        "uniqueId": "1815",
        "contactPriority": 7,
        "firstName": "Ada",
        "lastName": "Lovelace",
        "balance": 12.5,
        "tags": ["a", {"b": None}],
        "phone_number": "x",
    }
    second = {"_id": CONTACT_ID, "createdAt": TIMESTAMP, "updatedAt": TIMESTAMP, "phoneNumber": "+15550100102"}
    # jsonb keeps attributes by length and name, so their order is not the sender's
    by_name = dict(sorted(answer["data"]["results"][0].items()))
    assert differs(dict(sorted(first.items())), by_name) == []
    assert list(answer["data"]["results"][0])[:4] == ["_id", "createdAt", "updatedAt", "phoneNumber"]
    assert (
        differs(
            {
                "status": "success",
                "message": "Contacts retrieved successfully",
                "data": {
                    "results": [dict, second],
                    "skip": 0,
                    "limit": 50,
                    "hasMore": False,
                    "totalPages": 1,
                    "totalResults": 2,
                },
            },
            answer,
        )
        == []
    )


async def test_contacts_page_by_page(bare):
    list_id = (await bare.create_list(NAME))["_id"]
    phones = [f"+155501002{number:02}" for number in range(100)]
    await bare.add_contacts(*phones, name=NAME)
    seen = []
    for skip, more, count in ((0, True, 40), (40, True, 40), (80, False, 20), (100, False, 0), (10**9, False, 0)):
        path = f"/contactList/{list_id}/getAllContacts"
        page = (await bare.done("GET", path, skip=str(skip), limit="40"))["data"]
        assert (page["skip"], page["limit"], page["hasMore"], page["totalPages"]) == (skip, 40, more, 3)
        assert (page["totalResults"], len(page["results"])) == (100, count)
        seen += [contact["phoneNumber"] for contact in page["results"]]
    assert seen == phones


async def test_wrong_pages(bare):
    list_id = (await bare.create_list(NAME))["_id"]
    for query in (
        {"skip": "-1"},
        {"skip": "x"},
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "٣"},
        {"skip": "9" * 5000},
    ):
        answer = await bare.ask("GET", f"/contactList/{list_id}/getAllContacts", **query)
        assert answer.status_code == 400
        assert errors(answer)[0].startswith(f"`{next(iter(query))}` must be a whole number from")


async def test_campaigns_that_use_a_list_are_named_and_keep_it(tenant):
    campaign_id = await tenant.create_campaign()
    created = await tenant.create_list("Spare")
    list_id = (await tenant.done("GET", f"/{campaign_id}"))["data"]["contactLists"]
    assert list_id == ["Recent Buyers"]
    spare = agentless(1, contactLists=["spare", "Recent Buyers"])
    using = await tenant.create_campaign(spare)
    got = await tenant.done("GET", f"/contactList/{created['_id']}")
    assert differs([{"id": CAMPAIGN_ID, "name": "Product Feedback"}], got["data"]["campaignInUse"]) == []
    assert got["data"]["isListInUse"] is False
    answer = await tenant.ask("DELETE", f"/contactList/{created['_id']}")
    assert answer.status_code == 409
    assert "Product Feedback" in errors(answer)[0]
    await tenant.done("DELETE", f"/{using}", campaignType="voice")
    await tenant.done("DELETE", f"/contactList/{created['_id']}")


async def test_good_contacts_are_kept_and_bad_ones_named(bare):
    list_id = (await bare.create_list(NAME))["_id"]
    body = {
        "contact_list_name": NAME,
        "data": [
            {"phoneNumber": "+15550100101"},
            {"phoneNumber": "12"},
            {"firstName": "Nobody"},
            "+15550100102",
            {"phoneNumber": "+15550100103", "timeZone": "Mars/Olympus"},
            {"phoneNumber": 15550100104},
            {"phoneNumber": "+15550100105", "contactPriority": -1, "uniqueId": []},
            {"phoneNumber": "+15550100107", "note": "x" * 70_000},
            {"phoneNumber": "+15550100106"},
        ],
    }
    answer = await bare.done("POST", "/contactList/addContacts", body, version="1.1")
    assert list(answer) == ["message", "problems"]
    assert answer["message"] == ADDING["message"]
    expected = (
        "`data[1].phoneNumber` cannot be dialed: ",
        "`data[2].phoneNumber` is missing.",
        "`data[3]` must be an object, not '+15550100102'.",
        "`data[4].timeZone` must be a time zone like 'Europe/Paris', not 'Mars/Olympus'.",
        "`data[5].phoneNumber` must be text, not the number 15550100104.",
        "`data[6].uniqueId` must be text, not a list.",
        "`data[6].contactPriority` must be at least 0, not the number -1.",
        "`data[7]` cannot be stored: the attributes have ",
    )
    assert len(answer["problems"]) == len(expected)
    for problem, beginning in zip(answer["problems"], expected, strict=True):
        assert problem.startswith(beginning)
    page = await bare.done("GET", f"/contactList/{list_id}/getAllContacts")
    assert [contact["phoneNumber"] for contact in page["data"]["results"]] == ["+15550100101", "+15550100106"]


async def test_nothing_good_is_an_error(bare):
    await bare.create_list(NAME)
    body = {"contact_list_name": NAME, "data": [{"phoneNumber": "12"}, {}]}
    answer = await bare.ask("POST", "/contactList/addContacts", body, version="1.1")
    assert answer.status_code == 412
    assert [message[:8] for message in errors(answer)] == ["`data[0]", "`data[1]"]


async def test_requests_that_are_wrong_as_a_whole(bare):
    await bare.create_list(NAME)
    for body, sentence in (
        ({"data": [{"phoneNumber": "+15550100101"}]}, "`contact_list_name` is missing."),
        ({"contact_list_name": NAME}, "`data` is missing."),
        ({"contact_list_name": NAME, "data": []}, "`data` must not be empty."),
        ({"contact_list_name": NAME, "data": {}}, "`data` must be a list, not an object."),
        ({"contact_list_name": NAME, "data": [{}] * 101}, "`data` has 101 entries; at most 100 are allowed."),
        ([], "The body must be a JSON object, not a list."),
    ):
        answer = await bare.ask("POST", "/contactList/addContacts", body, version="1.1")
        assert answer.status_code == 412
        assert errors(answer) == [sentence]


async def test_a_list_that_does_not_exist(bare, other):
    await other.create_list(NAME)
    body = {"contact_list_name": NAME, "data": [{"phoneNumber": "+15550100101"}]}
    answer = await bare.ask("POST", "/contactList/addContacts", body, version="1.1")
    assert answer.status_code == 400
    assert NAME in errors(answer)[0]


async def test_wrong_lists(bare):
    for change, beginning in (
        ({"name": ""}, "`name` must not be empty."),
        ({"name": " \t"}, "`name` must not be blank."),
        ({"name": "x" * 49}, "`name` has 49 characters; at most 48 are allowed."),
        ({"name": None}, "`name` must be text, not null."),
        ({"description": "x" * 257}, "`description` has 257 characters"),
        ({"description": 5}, "`description` must be text"),
        ({"source": "localDrive"}, "`source` must be 'passiveApi' or 'passiveApiIntegration', not 'localDrive'."),
        ({"allowDuplicates": "true"}, "`allowDuplicates` must be true or false, not 'true'."),
    ):
        answer = await bare.ask("POST", "/contactList/createContactList", request(**change))
        assert answer.status_code == 412
        assert len(errors(answer)) == 1
        assert errors(answer)[0].startswith(beginning)


async def test_lists_with_long_and_strange_names(bare):
    for name in ("x" * 48, "ß' OR 1=1 --", "名簿 📞", '"; DROP TABLE contacts; --'):
        created = await bare.create_list(name)
        assert created["name"] == name
        assert await bare.add_contacts("+15550100101", name=name) == ADDING
