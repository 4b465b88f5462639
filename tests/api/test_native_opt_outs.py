"""Opt-outs that an agent tells by outdial's own surface: in force when it answers, as by a key."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dialer.test_node import register
from engines import simulated
from outdial.services import dnc, number_calls, opt_out, sealing
from outdial.store import runs as runs_store
from services.test_number_lines import reserved
from support.native import Native, sentences
from support.nodes import dialer
from support.wire import ever_open
from waiting import until
from webhooks import keeping, receiving

RINGS, RINGS_TOO = "+15550100180", "+15550100280"
BODY = {"phoneNumbers": [RINGS], "reason": "told Ann"}


@pytest.fixture
def native(tenant) -> Native:
    return Native(tenant)


@pytest.fixture
async def lists(native) -> dict[str, str]:
    return {one["name"]: one["id"] for one in (await native.done("GET", "/dnc-lists"))["results"]}


async def fetch(database, statement, *arguments):
    async with database.connection() as connection:
        return [tuple(row) for row in await connection.fetch(statement, *arguments)]


def of_history(database):
    return fetch(
        database,
        "SELECT detail ->> 'phone', detail ->> 'source', actor, detail ->> 'dnc_list_id'"
        "  FROM history WHERE action = 'opt_out' ORDER BY id",
    )


@pytest.mark.parametrize("name", ["Account", "Never Call"])
async def test_it_is_on_the_list_with_its_source_and_in_the_history(native, lists, database, name):
    path = f"/dnc-lists/{lists[name]}/numbers"
    body = BODY | {"phoneNumbers": [RINGS, "nonsense", "+1 555 010 0180", RINGS_TOO]}
    change = await native.done("POST", f"/dnc-lists/{lists[name]}/opt-outs", body)
    assert (change["changedCount"], change["unchangedCount"]) == (2, 1)
    assert [problem.partition(":")[0] for problem in change["problems"]] == ["[1]"]
    found = (await native.done("GET", path))["results"]
    client = native.tenant.credentials.client_id
    assert [
        (one["phoneNumber"], one["source"], one["reason"], one["addedBy"], one["expiresAt"])
        for one in found
        if one["phoneNumber"] in {RINGS, RINGS_TOO}
    ] == [(phone, "agent", "told Ann", client, None) for phone in (RINGS, RINGS_TOO)]
    assert sorted(await of_history(database)) == [(phone, "agent", client, lists[name]) for phone in (RINGS, RINGS_TOO)]
    # whoever has one of them is meant, and called at no other number
    assert await fetch(database, "SELECT DISTINCT of_person FROM dnc_entries WHERE phone LIKE '%80'") == [(True,)]


async def test_an_operators_entry_is_no_opt_out_until_the_person_says_so(native, lists, database):
    client = native.tenant.credentials.client_id
    numbers, told = (f"/dnc-lists/{lists['Account']}/{word}" for word in ("numbers", "opt-outs"))

    async def entry():
        return await fetch(
            database, "SELECT source, of_person, reason, expires_at FROM dnc_entries WHERE phone = $1", RINGS
        )

    await native.done("POST", numbers, {"phoneNumbers": [RINGS], "reason": "a complaint"})
    assert await of_history(database) == []
    assert await entry() == [("operator", False, "a complaint", None)]
    change = await native.done("POST", told, BODY)
    assert (change["changedCount"], change["unchangedCount"]) == (1, 0)
    assert await entry() == [("agent", True, "told Ann", None)]
    assert await of_history(database) == [(RINGS, "agent", client, lists["Account"])]
    # and it stays theirs
    await native.done("POST", numbers, {"phoneNumbers": [RINGS], "reason": "another complaint"})
    assert await entry() == [("agent", True, "told Ann", None)]


@pytest.mark.parametrize("name", ["Account", "Never Call"])
async def test_said_again_it_changes_nothing(native, lists, database, name):
    path = f"/dnc-lists/{lists[name]}/opt-outs"
    await native.done("POST", path, BODY)
    before = await fetch(database, "SELECT * FROM dnc_entries ORDER BY dnc_list_id, phone")
    # a key would have it looked up, and is not one's to give here
    change = await native.done("POST", path, BODY | {"reason": "told Bert"}, headers={"Idempotency-Key": "told-1"})
    assert (change["changedCount"], change["unchangedCount"], change["problems"]) == (0, 1, [])
    assert await fetch(database, "SELECT * FROM dnc_entries ORDER BY dnc_list_id, phone") == before
    assert len(await of_history(database)) == 1
    # only what is new is told
    await native.done("POST", path, BODY | {"phoneNumbers": [RINGS, RINGS_TOO]})
    assert [phone for phone, *_ in await of_history(database)] == [RINGS, RINGS_TOO]


async def test_nothing_that_can_be_read_lists_nobody(native, lists, database):
    change = await native.done("POST", f"/dnc-lists/{lists['Account']}/opt-outs", BODY | {"phoneNumbers": ["nonsense"]})
    assert (change["changedCount"], len(change["problems"])) == (0, 1)
    assert (await native.done("GET", f"/dnc-lists/{lists['Account']}/numbers"))["results"] == []
    assert await of_history(database) == []


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"phoneNumbers": []}, "`phoneNumbers` "),
        ({"phoneNumbers": [f"+1555010010{last}" for last in range(6)]}, "`phoneNumbers` "),
        ({"reason": "x" * 257}, "`reason` has 257 characters; at most 256"),
    ],
)
async def test_what_cannot_be_one(native, lists, database, wrong, sentence):
    for name in ("Account", "Never Call"):
        path = f"/dnc-lists/{lists[name]}/opt-outs"
        failure = await native.refused(412, "POST", path, BODY | wrong)
        assert sentences(failure)[0].startswith(sentence)
    assert await fetch(database, "SELECT FROM dnc_entries WHERE phone LIKE '+155501001%'") == []
    assert await fetch(database, "SELECT FROM wide_stops") == []


async def test_the_lists_of_others_are_not_there(native, lists, sibling, other, database):
    for stranger, name in ((sibling, "Never Call"), (other, "Never Call"), (other, "Account")):
        await Native(stranger).refused(404, "POST", f"/dnc-lists/{lists[name]}/opt-outs", BODY)
    assert await of_history(database) == []
    # the account's own is everybody's in it
    await Native(sibling).done("POST", f"/dnc-lists/{lists['Account']}/opt-outs", BODY)
    assert len(await of_history(database)) == 1


async def test_a_call_that_rings_is_cancelled_and_webhooks_are_told(native, lists, parts, database, secret_box):
    tenant = native.tenant
    # the first round of a cluster waits for everybody who writes
    await sealing.seal_all(database)
    await tenant.create_list("Slow")
    await tenant.add_contacts(RINGS, RINGS_TOO, name="Slow")
    campaign_id = await tenant.create_campaign(ever_open(1, contactLists=["Slow"]))
    stage = SimpleNamespace(database=database, secrets=secret_box)

    async def ringing() -> bool:
        return await fetch(database, "SELECT count(*) FROM attempts WHERE state = 'ringing'") == [(2,)]

    # slow enough that nobody has let it ring for long when it is cancelled
    async with (
        simulated(speed=1.0) as engine,
        dialer(parts, engine),
        receiving() as receiver,
        keeping(stage) as (keeper, _),
    ):
        await native.done("POST", "/webhooks", {"url": receiver.url, "events": ["opt_out.listed"]})
        await tenant.trigger(campaign_id, "play")
        await until(ringing)
        change = await native.done("POST", f"/dnc-lists/{lists['Account']}/opt-outs", BODY)
        # when it answers: nothing is waited for here
        ended = await fetch(database, "SELECT phone, disposition FROM attempts WHERE ended_at IS NOT NULL")
        assert ended == [(RINGS, "cancelled")]
        assert (change["changedCount"], change["problems"]) == (1, [])
        await keeper.look()
        await keeper.until_idle()
        (told,) = receiver.got
        assert (told.event, told.data) == (
            "opt_out.listed",
            {
                "phoneNumber": RINGS,
                "dncListId": lists["Account"],
                "source": "agent",
                "actor": tenant.credentials.client_id,
                "reason": "told Ann",
            },
        )
        assert await fetch(database, "SELECT phone, done_reason FROM run_contacts WHERE state = 'done'") == [
            (RINGS, "dnc")
        ]


async def test_a_call_that_may_still_ring_is_told_and_the_number_listed(
    native, lists, database, secret_box, monkeypatch
):
    monkeypatch.setattr(dnc, "SETTLE_SECONDS", 0.1)
    monkeypatch.setattr(number_calls, "NUMBER_SECONDS", 0.1)
    tenant = native.tenant
    await tenant.create_list("Slow")
    await tenant.add_contacts(RINGS, name="Slow")
    campaign_id = await tenant.create_campaign(ever_open(1, contactLists=["Slow"]))
    started = (await tenant.trigger(campaign_id, "play")).json()["campaignInstanceId"]
    await register(database, secret_box, "engine", "n1")
    async with database.connection() as connection:
        ((run_id,),) = await connection.fetch("SELECT id FROM runs WHERE instance_id = $1", started)
        # its dialer has stopped between the reservation and the call
        attempt_id = await reserved(database, await runs_store.by_id(connection, run_id))
    change = await native.done("POST", f"/dnc-lists/{lists['Account']}/opt-outs", BODY)
    assert (change["changedCount"], change["unchangedCount"]) == (1, 0)
    assert change["problems"]
    for problem in change["problems"]:
        assert "is on the do-not-call list" in problem
        assert "Ask again" not in problem
        assert problem.endswith(opt_out.GOES_ON)
    assert await fetch(
        database, "SELECT phone, source, of_person FROM dnc_entries WHERE dnc_list_id = $1", lists["Account"]
    ) == [(RINGS, "agent", True)]
    assert await fetch(database, "SELECT state FROM attempts WHERE id = $1", attempt_id) == [("reserved",)]
    # by itself
    assert await fetch(database, "SELECT committed_at IS NULL, proven_at FROM wide_stops") == [(False, None)]
