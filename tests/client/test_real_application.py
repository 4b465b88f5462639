"""Both clients against the real application: everything they offer, as an outside user does it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from outdial import client as public
from outdial.api.app import create_app
from outdial.client import (
    AsyncClient,
    CallingHours,
    CallingWindow,
    CampaignDraft,
    Client,
    ConflictError,
    Daily,
    InvalidInputError,
    NewContact,
    NoAnswerError,
    NotBuiltError,
    NotFoundError,
    Once,
    UnauthorizedError,
    UnavailableError,
    Weekly,
)
from outdial.core.errors import StopNotProvenError
from outdial.core.ids import dialing_list_id
from support.wire import CALLER_ID, FLOW

EVER = CallingHours(
    timezone="UTC",
    days=tuple(CallingWindow(day, "12:00 AM", "11:59 PM") for day in ("MO", "TU", "WE", "TH", "FR", "SA", "SU")),
)
DRAFT = CampaignDraft(
    name="Spring calls",
    contact_lists=("Recent Buyers",),
    caller_id=CALLER_ID,
    calling_hours=EVER,
    flow=FLOW,
    max_attempts=3,
    retry_minutes=10,
)


def changed(**what) -> CampaignDraft:
    return CampaignDraft(**({name: getattr(DRAFT, name) for name in DRAFT.__slots__} | what))


async def everything(items) -> list:
    return [item async for item in items]


async def test_lists_and_contacts(client):
    made = await client.create_contact_list("March callers", description="d")
    assert (made.name, made.total_record_count, made.is_list_in_use) == ("March callers", 0, False)
    people = [
        NewContact("+15550100201", {"uniqueId": "u1", "timeZone": "Europe/Paris", "firstName": "Ada"}),
        NewContact("not a number"),
        *(NewContact(f"+1555010{number:04}") for number in range(300, 520)),
        NewContact("+1555"),
    ]
    added = await client.add_contacts("March callers", people)
    assert added.sent_count == 223
    assert [problem.index for problem in added.problems] == [1, 222]
    assert added.problems[1].sentence.startswith("`data[222].phoneNumber` cannot be dialed")
    found = await everything(client.contacts(made.id, page_size=50))
    assert len(found) == len({each.id for each in found}) == 221
    assert (found[0].phone_number, found[0].attributes) == (
        "+15550100201",
        {"uniqueId": "u1", "timeZone": "Europe/Paris", "firstName": "Ada"},
    )
    assert (await client.get_contact_list(made.id)).total_record_count == 221
    assert [each.name for each in await client.contact_lists()] == ["March callers", "Recent Buyers"]
    updated = await client.update_contact_list(made.id, name="April callers")
    assert (updated.name, updated.description) == ("April callers", "d")
    assert (await client.delete_contact_list(made.id)).id == made.id
    with pytest.raises(NotFoundError):
        await client.get_contact_list(made.id)


async def test_only_wrong_contacts(client):
    added = await client.add_contacts("Recent Buyers", [NewContact("x"), NewContact("y")])
    assert [problem.index for problem in added.problems] == [0, 1]
    with pytest.raises(public.BadRequestError, match="Nowhere"):
        await client.add_contacts("Nowhere", [NewContact("+15550100201")])


async def test_a_campaign_from_draft_to_deletion(client):
    campaign_id = await client.create_campaign(DRAFT)
    found = await client.get_campaign(campaign_id)
    assert (found.id, found.name, found.status, found.priority) == (campaign_id, "Spring calls", "Ready", "5")
    assert found.dialing_strategy.calling_hours == EVER
    assert found.created_at.tzinfo is not None
    updated = await client.update_campaign(campaign_id, changed(name="May calls", dnc_list="Never Call", priority=2))
    assert (updated.name, updated.dnc_lists.name, updated.priority) == ("May calls", "Never Call", "2")
    started = await client.start(campaign_id)
    assert started.campaign_instance_id.startswith("cid-")
    with pytest.raises(ConflictError, match="stop it before"):
        await client.start(campaign_id)
    assert (await client.status(campaign_id)).status == "Active"
    stopped = await client.stop(campaign_id)
    assert stopped.campaign_instance_id == started.campaign_instance_id
    assert await client.stop(campaign_id) == stopped
    contacts = await everything(client.run_contacts(campaign_id, page_size=2))
    assert [each.phone_number for each in contacts] == ["15550100101", "15550100102", "15550100103"]
    assert (await client.delete_campaign(campaign_id)).status == "Stopped"
    with pytest.raises(NotFoundError):
        await client.status(campaign_id)


async def test_calling_back(client, database):
    await client.create_campaign(DRAFT)
    (campaign,) = await everything(client.campaigns())
    started = await client.start(campaign.id)
    async with database.connection() as connection:
        contact_id = await connection.fetchval("SELECT min(contact_id) FROM run_contacts")
    known = dialing_list_id(started.campaign_instance_id, contact_id)
    soon = datetime.now(UTC) + timedelta(hours=1)
    done = await client.call_back(started.campaign_instance_id, {known: soon, "cdl-nobody": soon})
    assert [(each.campaign_dialing_list_id, each.status, each.reason) for each in done] == [
        (known, "success", ""),
        ("cdl-nobody", "failed", "contact_not_found"),
    ]
    (late,) = await client.call_back(started.campaign_instance_id, {known: soon - timedelta(days=1)})
    assert (late.status, late.reason) == ("failed", "time_in_past")
    with pytest.raises(ValueError, match="aware"):
        await client.call_back(started.campaign_instance_id, {known: datetime(2099, 1, 1)})
    await client.stop(campaign.id)
    with pytest.raises(ConflictError, match="only contacts of a live run"):
        await client.call_back(started.campaign_instance_id, {known: soon})
    with pytest.raises(NotFoundError):
        await client.call_back("cid-1", {known: soon})


async def test_files_of_numbers(client):
    own, named = await client.dnc_lists()
    assert (own.account_wide, own.name, own.numbers_count, named.name) == (True, "Account", 0, "Never Call")
    file = b"who;Caller;mobile\nAda;+15550100201;\nBen;030 901820;x\n"
    with pytest.raises(InvalidInputError, match="no such column"):
        await client.add_dnc_file(own.id, file, columns=["phone"])
    later = datetime.now(UTC) + timedelta(days=1)
    added = await client.add_dnc_file(
        own.id, file, name="a.csv", columns=["Caller", "mobile"], default_region="DE", reason="März", expires_at=later
    )
    assert (added.rows, added.changed_count, added.unreadable_count, len(added.problems)) == (2, 2, 1, 1)
    assert (await client.add_dnc_file(own.id, b"+15550100201\n", expires_at=later)).unchanged_count == 1
    assert [each.numbers_count for each in await client.dnc_lists()] == [2, 1]
    with pytest.raises(NotFoundError):
        await client.add_dnc_file("cl-1", file)


async def test_every_mode_and_version_gives_its_id(client):
    for dnc_list in (None, "Never Call"):
        for mode in ("Agentless", "Progressive", "Preview"):
            draft = changed(
                mode=mode, dnc_list=dnc_list, queue="Default Queue", max_skips=1, machine_detection="detect"
            )
            found = await client.get_campaign(await client.create_campaign(draft))
            assert (found.dialing_mode, found.dnc_lists is None) == (mode, dnc_list is None)
    with pytest.raises(NotBuiltError):
        await client.start(found.id)
    with pytest.raises(ValueError, match="needs a dnc_list"):
        await client.create_campaign(changed(machine_detection="disconnect"))


async def test_going_through_campaigns(client):
    made = [await client.create_campaign(changed(name=f"C{number}", priority=number % 5 + 1)) for number in range(7)]
    assert [each.id for each in await everything(client.campaigns(page_size=3))] == made
    newest = await everything(client.campaigns(order="name", descending=True, page_size=3))
    assert [each.id for each in newest] == made[::-1]
    assert newest[0].dialing_strategy is None
    await client.start(made[3])
    assert [each.id for each in await everything(client.campaigns(statuses=["Active"]))] == [made[3]]
    assert [each.id for each in await everything(client.campaigns(priorities=[1], modes=["Agentless"]))] == [
        made[0],
        made[5],
    ]
    later = datetime.now(UTC) + timedelta(hours=1)
    assert await everything(client.campaigns(created_from=later)) == []
    assert len(await everything(client.campaigns(created_to=later))) == 7
    with pytest.raises(ValueError, match="aware"):
        await everything(client.campaigns(created_to=datetime(2026, 1, 1)))


async def test_schedules(client):
    campaign_id = await client.create_campaign(DRAFT)
    start, end = datetime(2100, 1, 15, 10), datetime(2100, 2, 15, 18)
    for plan, recurs in (
        (Once(start, end), False),
        (Daily(start, end, every=2), True),
        (Weekly(start, end, days=("Mon", "Fri")), True),
    ):
        assert (await client.enable_schedule(campaign_id, plan)).id == campaign_id
        found = await client.get_campaign(campaign_id)
        assert (found.status, found.schedule.is_recurrence_enabled) == ("Scheduled", recurs)
    assert (await client.disable_schedule(campaign_id)).id == campaign_id
    assert (await client.status(campaign_id)).status == "Ready"
    with pytest.raises(ValueError, match="without tzinfo"):
        Once(start.replace(tzinfo=UTC), end)


async def test_every_wrong_field_has_a_sentence(client):
    with pytest.raises(InvalidInputError) as caught:
        await client.create_campaign(changed(name="", max_attempts=101))
    assert len(caught.value.sentences) == 2
    assert caught.value.status == 412


async def test_credentials(parts, http, access, other):
    transport = httpx.ASGITransport(create_app(parts))
    for wrong in ({"client_secret": "x" * 43}, {"account_id": other.account_id}, {"iid": other.iid}):
        async with AsyncClient("http://api", transport=transport, **(access | wrong)) as stranger:
            with pytest.raises(UnauthorizedError):
                await stranger.contact_lists()
    # the account is for servers that insist on it
    async with AsyncClient("http://api", transport=transport, **(access | {"account_id": None})) as made:
        assert len(await made.contact_lists()) == 1


async def test_why_somebody_is_not_called(client):
    await client.create_contact_list("L")
    await client.add_contacts("L", [NewContact("+15550100201"), NewContact("+15550100202")])
    campaign_id = await client.create_campaign(changed(contact_lists=("L",)))
    before = await client.explain("+15550100201", campaign_id=campaign_id)
    assert (before.instance_id, before.decided_by, before.changes[0].kind) == (None, "run_state", "start_run")
    started = await client.start(campaign_id)
    run = started.campaign_instance_id
    found = await client.explain("+15550100201", instance_id=run)
    assert (found.dialable, found.decided_by) == (False, "dialer_nodes")
    assert await client.explain(found.dialing_list_id, instance_id=run)
    later = await client.explain("+15550100201", instance_id=run, at=datetime.now(UTC) + timedelta(days=2))
    assert next(step for step in later.steps if step.code == "calling_hours").says == "allows"
    waterfall = await client.waterfall(run)
    assert (waterfall.total_count, waterfall.blocked_by) == (2, "dialer_nodes")
    asked = await client.call_now(run, "+15550100202")
    assert (asked.answer, asked.decided_by, asked.ahead_count) == ("allowed", None, 0)
    with pytest.raises(ValueError, match="neither a number"):
        await client.call_now(run, "Ada")
    with pytest.raises(NotFoundError):
        await client.explain("+15550100299", instance_id=run)
    for wrong in ({}, {"instance_id": run, "campaign_id": campaign_id}):
        with pytest.raises(ValueError, match="either"):
            await client.explain("+15550100201", **wrong)
    with pytest.raises(ValueError, match="neither a number"):
        await client.explain("Ada", instance_id=run)


class Forgetful(httpx.AsyncBaseTransport):
    """The way to the application, on which the answers to some requests are lost after they were carried out."""

    def __init__(self, app, *, loses: int) -> None:
        self._transport = httpx.ASGITransport(app)
        self._left = loses
        self.carried_out = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._transport.handle_async_request(request)
        self.carried_out += 1
        if self._left:
            self._left -= 1
            raise httpx.ReadError("lost", request=request)
        return answer


async def runs_of(database) -> int:
    async with database.connection() as connection:
        return await connection.fetchval("SELECT count(*) FROM runs")


async def test_with_the_servers_promise_a_start_whose_answer_was_lost_is_repeated_and_starts_once(
    client, parts, access, database
):
    campaign_id = await client.create_campaign(DRAFT)
    way = Forgetful(create_app(parts), loses=1)
    async with AsyncClient("http://api", transport=way, idempotent=True, **access) as promised:
        started = await promised.start(campaign_id)
    assert (started.status, way.carried_out, await runs_of(database)) == ("Active", 2, 1)


async def test_without_it_the_caller_is_told_and_can_look(client, parts, access, database):
    campaign_id = await client.create_campaign(DRAFT)
    way = Forgetful(create_app(parts), loses=1)
    async with AsyncClient("http://api", transport=way, **access) as careful:
        with pytest.raises(NoAnswerError):
            await careful.start(campaign_id)
        assert (await careful.status(campaign_id)).status == "Active"
    assert await runs_of(database) == 1


async def test_a_stop_whose_answers_are_lost_is_asked_until_one_comes(client, parts, access):
    campaign_id = await client.create_campaign(DRAFT)
    started = await client.start(campaign_id)
    way = Forgetful(create_app(parts), loses=2)
    async with AsyncClient("http://api", transport=way, **access) as made:
        stopped = await made.stop(campaign_id)
    assert (stopped.status, stopped.campaign_instance_id, way.carried_out) == (
        "Stopped",
        started.campaign_instance_id,
        3,
    )


async def test_a_stop_that_is_not_proven_yet_is_asked_again_and_says_why_when_time_is_over(client, parts, monkeypatch):
    campaign_id = await client.create_campaign(DRAFT)
    await client.start(campaign_id)
    asked = []

    async def unproven(*_args, **_options):
        asked.append(campaign_id)
        raise StopNotProvenError("An engine does not answer.")

    with monkeypatch.context() as then:
        then.setattr("outdial.api.kore.campaigns.stop_service.stop", unproven)
        with pytest.raises(UnavailableError) as caught:
            await client.stop(campaign_id, within_seconds=3)
    assert caught.value.sentences == ("An engine does not answer.",)
    assert (caught.value.status, caught.value.retryable) == (503, True)
    assert caught.value.request_id is not None
    assert len(asked) > 1
    assert (await client.stop(campaign_id)).status == "Stopped"


def test_both_clients_have_the_same_methods():
    def methods(kind) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert methods(Client) == methods(AsyncClient)
    assert all(getattr(Client, name).__doc__ for name in methods(Client))
    assert set(public.__all__) <= set(dir(public))


async def test_the_sync_client_over_a_socket(url, access):
    def talk() -> str:
        with Client(url, **access) as client:
            client.create_contact_list("L", allow_duplicates=True)
            assert client.add_contacts("L", (NewContact("+15550100201") for _ in range(101))).sent_count == 101
            campaign_id = client.create_campaign(changed(contact_lists=("L",)))
            client.start(campaign_id)
            assert [each.id for each in client.campaigns(statuses=["Active"])] == [campaign_id]
            assert client.stop(campaign_id).status == "Stopped"
            assert len(list(client.run_contacts(campaign_id))) == 101
            client.delete_campaign(campaign_id)
            return campaign_id

    assert (await asyncio.to_thread(talk)).startswith("cd-")


async def test_the_async_client_over_a_socket(url, access):
    async with AsyncClient(url, **access) as client:
        made = await asyncio.gather(*(client.create_campaign(changed(name=f"C{each}")) for each in range(5)))
        assert {each.id for each in await everything(client.campaigns())} == set(made)


@pytest.mark.parametrize(
    "wrong",
    ["", "ftp://x", "outdial.example.net", "http://", "http://x?y=1", "http://a:b@x", "http://x:99999"],
)
def test_addresses_that_are_none(wrong):
    with pytest.raises(ValueError, match="server's address"):
        Client(wrong, iid="st-1", client_id="c", client_secret="s")


def test_the_secret_shows_nowhere():
    with Client("https://x/prefix/", iid="st-1", client_id="c", client_secret="very secret") as client:
        assert repr(client) == "Client('https://x/prefix', iid='st-1')"
