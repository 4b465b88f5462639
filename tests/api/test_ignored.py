"""Fields nobody reads are kept out and named."""

from __future__ import annotations

import pytest

from outdial.api.ignored import HEADER, LONGEST_NAME, MOST_NAMED
from support.wire import agentless


async def create(tenant, body):
    return await tenant.ask("POST", "", body, campaignType="voice")


async def test_they_are_named_by_their_paths(tenant):
    body = agentless(1, colour="red")
    body["dialingStrategy"]["ringTime"] = 5
    body["dialingStrategy"]["callingHours"]["days"][1]["note"] = "x"
    answer = await create(tenant, body)
    assert answer.status_code == 200
    assert answer.headers[HEADER].split(", ") == [
        "dialingStrategy.callingHours.days[1].note",
        "dialingStrategy.ringTime",
        "colour",
    ]


async def test_where_all_are_read_nothing_is_said(tenant):
    assert HEADER not in (await create(tenant, agentless(1))).headers
    # another mode's fields are known, if without use here
    answer = await create(tenant, agentless(1, maxSkips=1, queue_name="q"))
    assert answer.status_code == 200
    assert HEADER not in answer.headers


async def test_a_contacts_fields_are_all_kept(tenant):
    body = {"contact_list_name": "Recent Buyers", "data": [{"phoneNumber": "+15550100177", "size": "L"}], "more": 1}
    answer = await tenant.ask("POST", "/contactList/addContacts", body, version="1.1")
    assert answer.headers[HEADER] == "more"


async def test_a_stop_names_them_too(tenant):
    campaign_id = await tenant.create_campaign()
    answer = await tenant.trigger(campaign_id, "stop", {"conected": "hang_up"})
    assert answer.status_code == 409
    assert answer.headers[HEADER] == "conected"


async def test_what_is_refused_says_what_is_wrong_instead(tenant):
    answer = await create(tenant, agentless(1, name=5, colour="red"))
    assert answer.status_code == 412
    assert HEADER not in answer.headers


@pytest.mark.parametrize("name", ["grün", "a\nX-Evil: 1", "a, b", "🤖" * 40, "x" * 500, " ", " a ", "", "\x7f"])
async def test_whatever_they_are_called_it_is_one_header(tenant, name):
    answer = await create(tenant, agentless(1, **{name: 1}))
    assert answer.status_code == 200
    told = answer.headers[HEADER]
    assert len(told) <= LONGEST_NAME
    assert told.isascii()
    assert told.isprintable()
    assert told == told.strip() != ""
    assert "," not in told
    assert "x-evil" not in answer.headers


async def test_of_very_many_some_are_named(tenant):
    answer = await create(tenant, agentless(1, **{f"field{number}": 1 for number in range(50)}))
    named = answer.headers[HEADER].split(", ")
    assert len(named) == MOST_NAMED + 1
    assert named[-1] == "and 30 more"


async def test_each_answer_names_its_own(tenant):
    await create(tenant, agentless(1, colour="red"))
    assert HEADER not in (await create(tenant, agentless(1))).headers
