"""Start and stop: what may follow what, and what is refused."""

from __future__ import annotations

import asyncio

import pytest

from outdial.api.kore import campaigns as routes
from outdial.core.errors import StopNotProvenError
from support.wire import agentless, differs, errors, ever_open, with_agents
from waiting import until


@pytest.fixture
async def running(tenant) -> str:
    campaign_id = await tenant.create_campaign(ever_open(1))
    assert (await tenant.trigger(campaign_id, "play")).status_code == 200
    return campaign_id


async def test_a_second_stop_answers_the_same(tenant, running):
    first = await tenant.trigger(running, "stop")
    assert first.status_code == 200
    for version in (1, 2):
        again = await tenant.trigger(running, "stop", version=version)
        assert (again.status_code, again.content) == (200, first.content)


async def test_stops_at_the_same_time_answer_the_same(tenant, running):
    answers = await asyncio.gather(*(tenant.trigger(running, "stop") for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1


async def test_a_campaign_that_never_ran_cannot_be_stopped(tenant):
    campaign_id = await tenant.create_campaign()
    answer = await tenant.trigger(campaign_id, "stop")
    assert answer.status_code == 409
    assert len(errors(answer)) == 1
    assert await tenant.status(campaign_id) == "Ready"


async def test_a_completed_run_cannot_be_stopped(tenant, running, database):
    async with database.transaction() as connection:
        await connection.execute(
            "UPDATE runs SET state = 'completed', ended_at = now() WHERE campaign_id = $1", running
        )
    answer = await tenant.trigger(running, "stop")
    assert answer.status_code == 409
    assert await tenant.status(running) == "Completed"


async def test_a_running_campaign_cannot_be_started_nor_deleted(tenant, running):
    for version in (1, 2):
        answer = await tenant.trigger(running, "play", version=version)
        assert answer.status_code == 409
        assert "active" in errors(answer)[0].lower()
    answer = await tenant.ask("DELETE", f"/{running}", campaignType="voice")
    assert answer.status_code == 409
    assert "stop it first" in errors(answer)[0]
    assert await tenant.status(running) == "Active"


async def test_each_start_is_a_run_of_its_own(tenant, running):
    first = (await tenant.trigger(running, "stop")).json()
    second = (await tenant.trigger(running, "play")).json()
    assert second["campaignInstanceId"] != first["campaignInstanceId"]
    assert await tenant.status(running) == "Active"
    assert (await tenant.done("GET", f"/{running}"))["data"]["campaignInstanceId"] == second["campaignInstanceId"]
    await tenant.trigger(running, "stop")
    contacts = await tenant.done("POST", f"/{running}/status", view="contacts")
    assert contacts["data"]["totalResults"] == 3


async def test_a_stopping_run_is_still_active_on_the_wire(tenant, running, database):
    async with database.transaction() as connection:
        await connection.execute("UPDATE runs SET state = 'stopping' WHERE campaign_id = $1", running)
    assert await tenant.status(running) == "Active"
    assert (await tenant.done("GET", f"/{running}"))["data"]["status"] == "Active"


@pytest.mark.parametrize("mode", ["Progressive", "Preview"])
async def test_modes_with_agents_are_made_but_not_started(tenant, mode):
    for version in (1, 2):
        campaign_id = await tenant.create_campaign(with_agents(version, mode), version=version)
        answer = await tenant.trigger(campaign_id, "play", version=version)
        assert answer.status_code == 501
        assert len(errors(answer)) == 1
        assert await tenant.status(campaign_id) == "Ready"


async def test_a_start_without_anybody_to_dial(tenant):
    await tenant.create_list("Empty")
    campaign_id = await tenant.create_campaign(ever_open(1, contactLists=["Empty"]))
    answer = await tenant.trigger(campaign_id, "play")
    assert answer.status_code == 409
    assert len(errors(answer)) == 1


async def test_a_start_with_a_caller_id_no_trunk_has(tenant):
    body = agentless(1)
    body["dialingStrategy"]["callerId"]["phoneNumber"] = "+15550100777"
    answer = await tenant.trigger(await tenant.create_campaign(body), "play")
    assert answer.status_code == 400
    assert len(errors(answer)) == 1


async def test_wrong_queries(tenant, running):
    for query, sentence in (
        ({"campaignType": "voice"}, "`trigger` is missing from the query; it must be `play` or `stop`."),
        ({"campaignType": "voice", "trigger": ""}, "`trigger` must be `play` or `stop`, not ''."),
        ({"campaignType": "voice", "trigger": "STOP"}, "`trigger` must be `play` or `stop`, not 'STOP'."),
        ({"campaignType": "voice", "trigger": "pause"}, "`trigger` must be `play` or `stop`, not 'pause'."),
        (
            {"campaignType": "voice", "trigger": ["play", "stop"]},
            "`trigger` is given more than once, with different values.",
        ),
        ({"trigger": "stop"}, "`campaignType` is missing from the query; it must be `voice` or `sms`."),
        ({"campaignType": "Voice", "trigger": "stop"}, "`campaignType` must be `voice` or `sms`, not 'Voice'."),
        ({}, "`campaignType` is missing from the query; it must be `voice` or `sms`."),
    ):
        for path in (f"/{running}", f"/trigger/{running}"):
            answer = await tenant.http.post(tenant.url(path), params=query, headers=tenant.headers(), json={})
            assert answer.status_code == 400
            assert answer.json() == {"errors": [{"msg": sentence, "code": 400}]}
        assert await tenant.status(running) == "Active"


async def test_a_start_of_an_sms_campaign_is_not_offered(tenant):
    """Unlike a stop, by which a voice campaign is meant whatever the table says."""
    campaign_id = await tenant.create_campaign(ever_open(1))
    for version, path in ((1, f"/{campaign_id}"), (2, f"/trigger/{campaign_id}")):
        answer = await tenant.ask("POST", path, {}, version=version, campaignType="sms", trigger="play")
        assert answer.status_code == 501
        assert errors(answer)[0].startswith("SMS campaigns are not offered")
    assert await tenant.status(campaign_id) == "Ready"


async def test_wrong_views(tenant, running):
    for view in ("", "all", "Status"):
        answer = await tenant.ask("POST", f"/{running}/status", view=view)
        assert answer.status_code == 400
        assert errors(answer)[0].startswith("`view` must be `status` or `contacts`")


async def test_wrong_pages(tenant, running):
    for body, sentences in (
        ({"page": 0}, ["`page` must be at least 1, not the number 0."]),
        (
            {"limit": 101, "page": "1"},
            ["`page` must be a whole number, not '1'.", "`limit` must be at most 100, not the number 101."],
        ),
        ({"limit": None}, ["`limit` must be a whole number, not null."]),
        ({"page": 10**30}, ["`page` must be at most 1000000000, not the number 1000000000000000000000000000000."]),
    ):
        answer = await tenant.ask("POST", f"/{running}/status", body, view="contacts")
        assert answer.status_code == 412
        assert errors(answer) == sentences


async def test_a_page_far_beyond_the_end_is_empty(tenant, running):
    answer = await tenant.done("POST", f"/{running}/status", {"page": 10**9}, view="contacts")
    assert (answer["data"]["results"], answer["data"]["totalResults"]) == ([], 3)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"{}\n", b"null", b'{"anything": 1}', b'{"ringing":"cancel","connected":"hang_up"}']
)
async def test_bodies_of_a_stop(tenant, running, content):
    answer = await tenant.http.post(
        tenant.url(f"/{running}"),
        params={"campaignType": "voice", "trigger": "stop"},
        headers=tenant.headers(),
        content=content,
    )
    assert answer.status_code == 200
    assert await tenant.status(running) == "Stopped"


async def test_options_of_a_stop_that_do_not_exist(tenant, running):
    answer = await tenant.trigger(running, "stop", {"ringing": "wait", "connected": True})
    assert answer.status_code == 412
    assert errors(answer) == [
        "`ringing` must be 'cancel' or 'let_ring', not 'wait'.",
        "`connected` must be 'keep' or 'hang_up', not true.",
    ]
    assert await tenant.status(running) == "Active"


async def test_a_stop_that_is_not_proven(tenant, running, monkeypatch):
    async def unproven(*_args, **_options):
        raise StopNotProvenError("The engine does not answer.")

    monkeypatch.setattr(routes.stop_service, "stop", unproven)
    answer = await tenant.trigger(running, "stop")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json() == {"errors": [{"msg": "The engine does not answer.", "code": 503}]}


async def test_a_client_that_hangs_up_does_not_end_the_stop(tenant, running, monkeypatch):
    """The answer is given only after the stop, and the stop goes on without anybody to answer."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    real = routes.stop_service.stop

    async def slow(*args, **options):
        begun.set()
        await go_on.wait()
        return await real(*args, **options)

    monkeypatch.setattr(routes.stop_service, "stop", slow)
    client = asyncio.create_task(tenant.trigger(running, "stop"))
    await begun.wait()
    assert await tenant.status(running) == "Active"
    client.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client
    go_on.set()

    async def is_stopped() -> bool:
        return await tenant.status(running) == "Stopped"

    await until(is_stopped)


async def test_unknown_and_other_tenants_campaigns_answer_alike(tenant, other, sibling, running):
    """Byte for byte, so that nobody learns which ids exist."""
    theirs = await other.create_campaign(agentless(1))
    requests = [
        ("GET", "/{id}", {}),
        ("DELETE", "/{id}", {"campaignType": "voice"}),
        ("POST", "/{id}", {"campaignType": "voice", "trigger": "stop"}),
        ("POST", "/{id}", {"campaignType": "voice", "trigger": "play"}),
        ("POST", "/trigger/{id}", {"campaignType": "voice", "trigger": "stop"}),
        ("POST", "/{id}/status", {"view": "status"}),
        ("POST", "/{id}/status", {"view": "contacts"}),
    ]
    unknown = "cd-0000000-0000-4000-8000-000000000000"
    for asker, foreign in ((tenant, theirs), (other, running), (sibling, running)):
        for method, path, query in requests:
            first = await asker.ask(method, path.format(id=unknown), **query)
            second = await asker.ask(method, path.format(id=foreign), **query)
            assert first.status_code == second.status_code == 404
            assert first.content.replace(unknown.encode(), foreign.encode()) == second.content
    assert await tenant.status(running) == "Active"
    assert await other.status(theirs) == "Ready"


async def test_other_tenants_lists_answer_like_unknown_ones(tenant, other, sibling):
    theirs = (await other.create_list("Theirs"))["_id"]
    unknown = "cl-0000000-0000-4000-8000-000000000000"
    for asker in (tenant, sibling):
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/getAllContacts")):
            first = await asker.ask(method, f"/contactList/{unknown}{path}")
            second = await asker.ask(method, f"/contactList/{theirs}{path}")
            assert first.status_code == second.status_code == 404
            assert first.content.replace(unknown.encode(), theirs.encode()) == second.content


async def test_ids_that_are_none(tenant):
    for campaign_id in (
        "x",
        "cd-%00",
        "%2e%2e",
        "cd-' OR 1=1",
        "ä",
        "cd-" + "1" * 3000,
    ):
        for method, path, query in (("GET", "", {}), ("POST", "", {"trigger": "stop"}), ("POST", "/status", {})):
            answer = await tenant.ask(method, f"/{campaign_id}{path}", campaignType="voice", **query)
            assert answer.status_code == 404
            assert len(errors(answer)) == 1


async def test_stops_answer_as_documented_in_v2(tenant, running):
    answer = (await tenant.trigger(running, "stop", version=2)).json()
    assert (
        differs(
            {"status": "Stopped", "message": "Campaign Stopped", "updatedAt": str, "campaignInstanceId": str}, answer
        )
        == []
    )
