"""People with several numbers, dialed by a run."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime

from dialing import add_campaign, set_stage, with_rules
from outdial.core.model import AttemptState, Disposition, DoneReason, EngineKind, OwnRules, RetryRule, RunContactState
from outdial.dialer.claim import make_plan
from outdial.services import dnc, runs
from outdial.store import attempts, callbacks, engines, nodes, reserve, wide_stops
from outdial.store import runs as runs_store
from outdial.store.attempts import AttemptNews, ContactNews
from outdial.store.nodes import NodeRow
from outdial.store.reserve import Verdict

A, B, C, D = (f"+1555010{number:04}" for number in range(1, 5))
STATE = RunContactState
NOBODYS = Disposition.INVALID_NUMBER
AGAIN = ContactNews(STATE.WAITING, after_seconds=0.0)
ELSEWHERE = ContactNews(STATE.WAITING, after_seconds=0.0, other=True)
NOBODY = ContactNews(STATE.WAITING, after_seconds=0.0, done_reason=DoneReason.INVALID_NUMBER, other=True)
OTHER_RULES = OwnRules((RetryRule(Disposition.BUSY, seconds=0, other_number=True),), breaker=None)


class Scene:
    """A run over people with several numbers, and who may claim them."""

    def __init__(self, stage, run, secrets):
        self.stage, self.run, self.secrets, self.database = stage, run, secrets, stage.database

    async def look(self, run=None):
        run = run or self.run
        async with self.database.connection() as connection:
            facts = await reserve.facts(connection, run)
            return facts, await reserve.candidates(connection, run, 16, facts.limits, facts.asked)

    async def plan(self, run=None):
        facts, found = await self.look(run)
        return make_plan(run or self.run, self.stage.trunk, facts, found, (uuid.uuid4() for _ in found), free=16).wish

    async def take(self, wish, run=None, node="n1"):
        async with self.database.connection() as connection:
            return await reserve.reserve(connection, run or self.run, node, replace(wish, budgets=()))

    async def call(self, run=None):
        """Reserve whom the gate lets through; return the numbers of the calls by their attempts."""
        verdict, made = await self.take(await self.plan(run), run)
        assert verdict is Verdict.RESERVED
        rows = await self.fetch("SELECT id, phone FROM attempts WHERE id = ANY ($1::text[])", list(made))
        return {row["id"]: row["phone"] for row in rows}

    async def book(self, attempt_id, contact, disposition=Disposition.BUSY):
        news = AttemptNews(
            id=attempt_id,
            state=AttemptState.UNKNOWN if disposition is Disposition.UNKNOWN else AttemptState.ENDED,
            by="n1",
            disposition=disposition,
            dialed_at=None if contact.uncounted else datetime.now(UTC),
            ended_at=datetime.now(UTC),
            contact=contact,
        )
        async with self.database.connection() as connection:
            assert await attempts.book(connection, [news]) == {attempt_id}

    async def called(self, contact, disposition=Disposition.BUSY):
        """Call the one contact there is, and end the call so; return the number."""
        ((attempt_id, phone),) = (await self.call()).items()
        await self.book(attempt_id, contact, disposition)
        return phone

    async def ask_callback(self):
        """Promise the one contact there is a call now."""
        async with self.database.transaction() as connection:
            await runs_store.lock_run(connection, self.run.id)
            contact_id = (await self.row())["contact_id"]
            await callbacks.ask(connection, self.run.id, contact_id, datetime.now(UTC), actor="test")

    async def fetch(self, statement, *values):
        async with self.database.connection() as connection:
            return [dict(row) for row in await connection.fetch(statement, *values)]

    async def row(self):
        (found,) = await self.fetch("SELECT * FROM run_contacts WHERE run_id = $1", self.run.id)
        return found

    async def list(self, *phones):
        await dnc.add_numbers(self.database, account_id=self.stage.owner.account_id, phones=list(phones), actor="test")

    async def stop_number(self, phone, *, of_person=False):
        await self.list(phone)
        async with self.database.connection() as connection:
            return await wide_stops.remove_number(
                connection, self.stage.owner.account_id, phone, actor="test", of_person=of_person
            )


async def set_scene(database, secret_box, *people, **rules) -> Scene:
    """Start a run over the people, each a number or several, and register two nodes."""
    given = {"max_attempts": 9, "own": OTHER_RULES} | rules
    stage = await set_stage(database, secret_box, people, rules=with_rules(**given))
    async with database.connection() as connection:
        await engines.put(
            connection, secret_box, engine_id="e", kind=EngineKind.SIMULATED, url=None, username=None, password=None
        )
        for name in ("n1", "n2"):
            await nodes.register(connection, NodeRow(name, name, "h", 1, f"app-{name}", "e"), ttl_seconds=600)
    begun = await runs.start(database, secret_box, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test")
    return Scene(stage, begun.run, secret_box)


async def second_run(scene, *people, **rules):
    given = {"max_attempts": 9, "own": OTHER_RULES} | rules
    other = await add_campaign(
        scene.database, scene.stage.owner, people, rules=with_rules(**given), list_name="again", name="Again"
    )
    return (
        await runs.start(scene.database, scene.secrets, iid=scene.stage.owner.iid, campaign_id=other, actor="test")
    ).run
