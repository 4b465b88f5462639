"""The days' referee decides as PostgreSQL does: the same claims, bookings and moves, drawn at random, asked of both.

Without this, days could be played whole by rules that the database does not have.
"""

from __future__ import annotations

import random
import uuid
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dialing import add_campaign, set_stage, with_rules
from outdial.core.attempt import may_move
from outdial.core.attempt_limits import Counted, LimitRule
from outdial.core.campaign import RUN_MOVES, RunAction
from outdial.core.errors import OutdialError
from outdial.core.model import (
    LIVE_RUN_STATES,
    AttemptState,
    Disposition,
    DoneReason,
    EngineKind,
    OwnRules,
    RetryOrder,
    RetryRule,
    Run,
    RunContactState,
)
from outdial.core.numbers import OF_PERSON
from outdial.services import attempt_limits, dnc, runs
from outdial.store import attempts, callbacks, engines, manual_calls, nodes, reserve, stops, wide_stops
from outdial.store import dnc as dnc_store
from outdial.store import runs as runs_store
from outdial.store.attempts import AttemptNews, ContactNews
from outdial.store.nodes import NodeRow
from outdial.store.reserve import Budget, Facts, Reservation, run_budget, trunk_budget
from simulation import referee
from simulation.plan import Campaign, Person, Plan
from simulation.referee import Referee
from simulation.timeline import Timeline
from values import TRUNK

pytestmark = pytest.mark.timeout(300)

SEEDS = 6
STEPS = 160
NUMBERS = 9
PEOPLE = 7
"""On each of two lists, so that both have some numbers in common."""
STATE = RunContactState
D = Disposition
HOUR = timedelta(hours=1)


class Both:
    """One account with two campaigns that share a trunk and some people, in PostgreSQL and in the referee."""

    def __init__(self, seed: int, database, secret_box) -> None:
        self.dice = random.Random(f"both {seed}")
        self.seed, self.database, self.secret_box = seed, database, secret_box
        self.seen: Counter[str] = Counter()
        """What has happened, so that a test can say that everything has."""
        self.known: list[Run] = []
        """Runs as somebody has looked at them, some of them long ago."""
        self.nodes: list[str] = []
        self.run_ids: dict[int, int] = {}
        """The referee's run → PostgreSQL's."""

    async def prepare(self) -> None:
        dice = self.dice
        order = dice.choice(list(RetryOrder))
        own = OwnRules((RetryRule(D.BUSY, 2, 60, other_number=True),), order, breaker=None)
        self.rules = with_rules(own=own, max_attempts=9)
        lists = [dice.sample(range(NUMBERS), PEOPLE) for _ in range(2)]
        phones = [[f"+1555010{number:04}" for number in numbers] for numbers in lists]
        stage = await set_stage(
            self.database, self.secret_box, phones[0], rules=self.rules, account=f"Acme {self.seed}"
        )
        owner = stage.owner
        await dnc.create_list(self.database, account_id=owner.account_id, iid=owner.iid, name="own", actor="test")
        other = await add_campaign(
            self.database,
            stage.owner,
            phones[1],
            rules=self.rules,
            list_name="others",
            name="Summer",
            dnc_list_name="own",
        )
        self.stage, self.campaigns = stage, [stage.campaign_id, other]
        rule = LimitRule(dice.randrange(2, 4), 3600, dice.choice(list(Counted)))
        scope = dice.choice([None, other])
        limit = await attempt_limits.add_limit(
            self.database,
            rule,
            account_id=stage.owner.account_id,
            iid=None if scope is None else stage.owner.iid,
            campaign_id=scope,
            actor="test",
        )
        # the referee calls campaigns by their place
        self.limit = replace(limit, campaign_id=None if scope is None else "1")
        account_id = stage.owner.account_id
        async with self.database.connection() as connection:
            found = await connection.fetch("SELECT id, iid FROM dnc_lists WHERE account_id = $1", account_id)
            self.lists = {row["iid"] is not None: row["id"] for row in found}
            if False not in self.lists:
                self.lists[False] = await dnc_store.account_list(connection, account_id, new_id=f"dl-{uuid.uuid4()}")
            rows = await connection.fetch(
                "SELECT c.id, c.phone, l.name FROM contacts c JOIN contact_lists l ON l.id = c.list_id "
                "WHERE l.account_id = $1 ORDER BY c.id",
                account_id,
            )
            await engines.put(
                connection,
                self.secret_box,
                engine_id="e1",
                kind=EngineKind.SIMULATED,
                url=None,
                username=None,
                password=None,
            )
        people = tuple(
            Person(row["id"], row["name"] == "others", row["phone"], None, (), None, None, self._others(row["phone"]))
            for row in rows
        )
        async with self.database.connection() as connection:
            await connection.executemany(
                "UPDATE contacts SET other_phones = $2 WHERE id = $1",
                [(person.id, list(person.others)) for person in people if person.others],
            )
        trunk = replace(TRUNK, id=stage.trunk.id)
        campaigns = tuple(
            Campaign(place, stage.owner.iid, self.rules, trunk, None, None, 1.0, own_list=place == 1)
            for place in range(2)
        )
        cap = {stage.owner.iid: None}
        plan = Plan(0, datetime.now(UTC), 60.0, 0, 1, cap, campaigns, people, (self.limit,), ())
        self.timeline = Timeline(plan.begin)
        self.referee = Referee(plan, self.timeline)
        await self.add_node()
        for place in range(2):
            await self.start(place)

    def _others(self, phone: str) -> tuple[str, ...]:
        """Draw other numbers, mostly those that others have too."""
        count = self.dice.choice([0, 0, 1, 2, 3])
        pool = [f"+1555010{number:04}" for number in range(NUMBERS + 2)]
        return tuple(one for one in self.dice.sample(pool, count) if one != phone)

    # What is done

    async def step(self) -> None:
        self.timeline.now = datetime.now(UTC)
        act = self.dice.choices(
            [
                self.claim,
                self.book,
                self.list_number,
                self.move,
                self.ask_callback,
                self.end_node,
                self.start_again,
                self.ask_now,
                self.stop_number,
            ],
            [8, 8, 1, 1, 1, 0.5, 2, 2, 0.5],
        )[0]
        await act()
        await self.compare()

    async def add_node(self) -> None:
        node_id = f"{self.seed}n{len(self.nodes)}"
        async with self.database.connection() as connection:
            row = NodeRow(node_id, node_id, "h", 1, f"app-{node_id}", "e1")
            await nodes.register(connection, row, ttl_seconds=600)
        self.referee.nodes[node_id] = referee.NodeRow(node_id, "e1", datetime.now(UTC) + HOUR)
        self.nodes.append(node_id)

    async def end_node(self) -> None:
        node_id = self.dice.choice(self.nodes)
        async with self.database.connection() as connection:
            await nodes.end(connection, node_id)
        self.referee.nodes[node_id].ended = True
        await self.add_node()
        self.seen["a node's end"] += 1

    async def start_again(self) -> None:
        await self.start(self.dice.randrange(2))

    async def start(self, place: int) -> None:
        started = self.referee.start(self.referee.plan.campaigns[place])
        owner, campaign_id = self.stage.owner, self.campaigns[place]
        try:
            begun = await runs.start(
                self.database, self.secret_box, iid=owner.iid, campaign_id=campaign_id, actor="test"
            )
        except OutdialError:
            begun = None
        assert (begun is None) == (started is None)
        if begun is None or started is None:
            self.seen["a start refused"] += 1
            return
        self.run_ids[started.id] = begun.run.id
        self.known.append(started)
        self.seen["a start"] += 1

    def theirs(self, run: Run) -> Run:
        """The same run, at the same epoch, as PostgreSQL has it."""
        campaign_id = self.campaigns[int(run.campaign_id)]
        return replace(run, id=self.run_ids[run.id], campaign_id=campaign_id, account_id=self.stage.owner.account_id)

    async def claim(self) -> None:
        dice, run = self.dice, self.dice.choice(self.known[-6:])
        theirs = self.theirs(run)
        async with self.database.connection() as connection:
            facts = await reserve.facts(connection, theirs)
            found = await reserve.candidates(connection, theirs, 20, facts.limits, facts.asked)
        said = self.referee.facts(run)
        assert (facts.run_live, facts.trunk_live) == (said.run_live, said.trunk_live)
        expected = self.referee.candidates(self.referee.runs[run.id], 20)
        assert [self.looked(one) for one in found] == [self.looked(one) for one in expected]
        anybody = list(self.referee.contacts[run.id])
        due = [one.contact_id for one in found]
        wanted = due[: dice.randrange(5)] if dice.random() < 0.7 else dice.sample(anybody, dice.randrange(5))
        others = [contact_id for contact_id in anybody if contact_id not in wanted]
        denied = dice.sample(others, dice.choice([0, 0, 0, 0, 1]))
        deferred = [one for one in dice.sample(others, dice.choice([0, 0, 1])) if one not in denied]
        until = datetime.now(UTC) + dice.choice([-HOUR, HOUR])
        # what each of them has seen of its own budgets, or what nobody ever saw
        stale = dice.choice([None] * 10 + ["run", "trunk"])
        never = datetime.now(UTC) + HOUR
        ids = [(contact_id, uuid.UUID(int=dice.getrandbits(128), version=4).hex) for contact_id in wanted]
        wish = Reservation(
            denied=[(contact_id, DoneReason.DNC) for contact_id in denied],
            deferred=[(contact_id, until) for contact_id in deferred],
            wanted=ids,
            budgets=[],
            run_cap=dice.randrange(1, 7),
            trunk_cap=dice.randrange(1, 7),
            application_cap=dice.choice([None, None, 3]),
        )
        node_id = dice.choice(self.nodes[-2:])
        leaves = datetime.now(UTC)

        def seen(at: Facts, of: Run) -> list[Budget]:
            return [
                Budget(run_budget(of.id), never if stale == "run" else at.run_next_at, leaves),
                Budget(trunk_budget(of.trunk_id), never if stale == "trunk" else at.trunk_next_at, leaves),
            ]

        looked = {one.contact_id: (one.next_phone, one.phone) for one in found if one.next_phone is not None}
        wish = replace(wish, phones={one: self._phones(run, one, looked) for one in self._with_others(run, wish)})
        mine = replace(wish, budgets=seen(said, run))
        real = replace(wish, budgets=seen(facts, theirs))
        async with self.database.connection() as connection:
            answer = await reserve.reserve(connection, theirs, node_id, real)
        self.timeline.now = datetime.now(UTC)
        assert self.referee.reserve(run, node_id, mine) == answer
        self.seen[str(answer[0])] += 1
        self.seen["somebody left out"] += len(answer[1]) < len(wanted)
        made = [self.referee.attempts[attempt_id].attempt for attempt_id in answer[1]]
        first = {person.id: person.phone for person in self.referee.plan.people}
        self.seen["a call to another number"] += sum(one.phone != first[one.contact_id] for one in made)

    def _with_others(self, run: Run, wish: Reservation) -> list[int]:
        rows = self.referee.contacts[run.id]
        asked = [contact_id for contact_id, _ in (*wish.denied, *wish.deferred, *wish.wanted)]
        return [contact_id for contact_id in asked if rows[contact_id].person.others]

    def _phones(self, run: Run, contact_id: int, looked: dict[int, tuple[str, str]]) -> tuple[str, str]:
        """What somebody has seen and asked about: what is so now, or what was so once."""
        phones = self.referee.contacts[run.id][contact_id].phones
        drawn = (self.dice.choice(phones), self.dice.choice(phones))
        return looked.get(contact_id, drawn) if self.dice.random() < 0.9 else drawn

    def looked(self, one) -> tuple:
        """What a candidate is, but for instants that two clocks have written."""
        return (
            one.contact_id,
            one.phone,
            one.next_phone,
            one.numbers,
            one.attempts_count,
            one.not_before is None,
            one.is_callback,
            one.on_account_dnc,
            one.on_campaign_dnc,
            [how for how, _ in one.tried],
            sorted(past.disposition for past in one.past),
        )

    async def book(self) -> None:
        dice = self.dice
        if not self.referee.attempts:
            return
        live = list(self.referee.live)
        attempt_id = dice.choice(live) if live and dice.random() < 0.9 else dice.choice(list(self.referee.attempts))
        present = self.referee.attempts[attempt_id].attempt
        state = dice.choice([state for state in AttemptState if state is not AttemptState.RESERVED])
        if present.state is not state and not may_move(present.state, state) and present.ended_at is None:
            # a step back is not news; an end is never undone
            return
        now = datetime.now(UTC)
        over = state in {AttemptState.ENDED, AttemptState.UNKNOWN}
        dialed = state is not AttemptState.ENDED or present.dialed_at is not None or dice.random() < 0.6
        news = AttemptNews(
            id=attempt_id,
            state=state,
            by="n0",
            dialed_at=now if dialed else None,
            answered_at=now if state is AttemptState.ANSWERED else None,
            ended_at=now if over else None,
            disposition=self._disposition(state, dialed) if over else None,
            contact=self._contact_news(state, dialed),
        )
        if news.disposition is D.INVALID_NUMBER:
            news = replace(news, contact=self._nobody_there())
        async with self.database.connection() as connection:
            moved = await attempts.book(connection, [news])
        self.timeline.now = datetime.now(UTC)
        assert self.referee.book(news) == (attempt_id in moved)
        self.seen["news" if moved else "no news"] += 1

    def _disposition(self, state: AttemptState, dialed: bool) -> Disposition:
        if state is AttemptState.UNKNOWN:
            return D.UNKNOWN
        how = [D.BUSY, D.BUSY, D.NO_ANSWER, D.ANSWERED_HUMAN, D.CANCELLED, D.INVALID_NUMBER]
        return self.dice.choice(how) if dialed else D.CANCELLED

    def _nobody_there(self) -> ContactNews:
        done = ContactNews(STATE.DONE, done_reason=DoneReason.INVALID_NUMBER)
        turns = ContactNews(STATE.WAITING, after_seconds=0.0, done_reason=DoneReason.INVALID_NUMBER, other=True)
        return self.dice.choice([done, turns, turns])

    def _contact_news(self, state: AttemptState, dialed: bool) -> ContactNews:
        dice = self.dice
        if state not in {AttemptState.ENDED, AttemptState.UNKNOWN}:
            return ContactNews(STATE.DIALING)
        if not dialed:
            return ContactNews(STATE.PENDING, uncounted=True)
        if dice.random() < 0.3 or state is AttemptState.UNKNOWN:
            return ContactNews(STATE.DONE, done_reason=DoneReason.REACHED)
        return ContactNews(STATE.WAITING, after_seconds=dice.choice([0.0, 0.0, 3600.0]), other=dice.random() < 0.5)

    async def list_number(self) -> None:
        own = self.dice.random() < 0.4
        phone = f"+1555010{self.dice.randrange(NUMBERS):04}"
        mine = self.referee.campaign_dnc[1] if own else self.referee.account_dnc
        meant = self.referee.meant[1 if own else None]
        source = self.dice.choice([dnc.DncSource.OPERATOR] * 7 + [dnc.DncSource.KEY])
        async with self.database.transaction() as connection:
            if phone in mine:
                await dnc_store.remove(connection, self.lists[own], [phone], actor="test")
            else:
                await dnc_store.freeze(connection, self.stage.owner.account_id)
                await dnc_store.add(connection, self.lists[own], [phone], reason="", actor="test", source=source)
        meant.discard(phone)
        if phone not in mine and source in OF_PERSON:
            meant.add(phone)
        mine ^= {phone}
        self.seen["a number listed or not any more"] += 1

    async def stop_number(self) -> None:
        phone = f"+1555010{self.dice.randrange(NUMBERS):04}"
        account_id = self.stage.owner.account_id
        source = self.dice.choice([dnc.DncSource.STOP] * 7 + [dnc.DncSource.KEY])
        of_person = source in OF_PERSON
        async with self.database.transaction() as connection:
            await dnc_store.freeze(connection, account_id)
            await dnc_store.add(connection, self.lists[False], [phone], reason="", actor="test", source=source)
            removed = await wide_stops.remove_number(connection, account_id, phone, actor="test", of_person=of_person)
        self.referee.account_dnc.add(phone)
        if of_person:
            self.referee.meant[None].add(phone)
        assert self.referee.take_out(phone, of_person=of_person) == removed
        self.seen["a number stopped"] += 1

    async def move(self) -> None:
        legal = [
            (run, action)
            for run in self.referee.runs.values()
            for action in RunAction
            if (run.state, action) in RUN_MOVES
        ]
        if not legal:
            return
        run, action = self.dice.choice(legal)
        if action is RunAction.COMPLETE and not self.referee.all_done(run.id):
            return
        theirs = self.run_ids[run.id]
        async with self.database.transaction() as connection:
            await runs_store.lock_run(connection, theirs)
            present = await runs_store.by_id(connection, theirs)
            moved = await runs.move_locked(connection, present, action, "test")
            if moved.state not in LIVE_RUN_STATES:
                await stops.release_lists(connection, theirs)
        mine = self.referee.move(run.id, action)
        assert (moved.state, moved.epoch) == (mine.state, mine.epoch)
        if action is RunAction.STOP:
            async with self.database.transaction() as connection:
                await stops.drop_retries(connection, theirs, limit=1000, actor="test")
            self.referee.drop_retries(run.id)
        if self.dice.random() < 0.7:
            self.known.append(mine)
        self.seen[str(action)] += 1

    async def ask_callback(self) -> None:
        live = [run for run in self.referee.runs.values() if run.state in LIVE_RUN_STATES - {"stopping"}]
        if not live:
            return
        run = self.dice.choice(live)
        contact_id = self.dice.choice(list(self.referee.contacts[run.id]))
        at = datetime.now(UTC) + self.dice.choice([timedelta(), HOUR])
        async with self.database.transaction() as connection:
            await runs_store.lock_run(connection, self.run_ids[run.id])
            await callbacks.ask(connection, self.run_ids[run.id], contact_id, at, actor="test")
        self.referee.ask_callback(run.id, contact_id, at)
        self.seen["a call-back"] += 1

    async def ask_now(self) -> None:
        run = self.dice.choice(list(self.referee.runs.values()))
        contact_id = self.dice.choice(list(self.referee.contacts[run.id]))
        if self.referee.contacts[run.id][contact_id].state not in {STATE.PENDING, STATE.WAITING}:
            return
        async with self.database.transaction() as connection:
            await runs_store.lock_run(connection, self.run_ids[run.id])
            assert await manual_calls.ask(connection, self.run_ids[run.id], contact_id, actor="test")
        self.referee.ask_now(run.id, contact_id)
        self.seen["a call by hand"] += 1

    # Whether both have come to the same

    async def compare(self) -> None:
        account_id = self.stage.owner.account_id
        async with self.database.connection() as connection:
            contacts = await connection.fetch(
                "SELECT rc.* FROM run_contacts rc JOIN runs r ON r.id = rc.run_id WHERE r.account_id = $1", account_id
            )
            rows = await connection.fetch("SELECT * FROM attempts WHERE account_id = $1", account_id)
        now = datetime.now(UTC)
        theirs = {
            (row["run_id"], row["contact_id"]): (
                row["state"],
                row["attempts_count"],
                when(row["not_before"], now),
                row["callback_at"],
                row["done_reason"],
                row["asked_at"] is not None,
                row["phone"],
            )
            for row in contacts
        }
        mine = {
            (self.run_ids[run_id], contact_id): (
                row.state,
                row.attempts_count,
                when(row.not_before, now),
                row.callback_at,
                row.reason,
                row.asked_at is not None,
                row.phone,
            )
            for run_id, found in self.referee.contacts.items()
            for contact_id, row in found.items()
        }
        assert mine == theirs
        columns = ("state", "disposition", "number", "epoch", "node_id", "phone")
        assert {row["id"]: [*(row[name] for name in columns), row["callback_at"]] for row in rows} == {
            row.attempt.id: [*(getattr(row.attempt, name) for name in columns), row.callback_at]
            for row in self.referee.attempts.values()
        }


def when(at: datetime | None, now: datetime) -> str:
    """An instant as both clocks tell it: those drawn here lie an hour away, or none."""
    return "never" if at is None else "later" if at > now else "due"


EVERYTHING = {
    *("reserved", "moved_on", "node_ended", "conflict", "somebody left out", "news", "no news"),
    *("a start", "a start refused", "pause", "resume", "stop", "confirm_stopped"),
    *("a number listed or not any more", "a node's end", "a call-back", "a call by hand"),
    *("a call to another number", "a number stopped"),
}


async def test_both_decide_alike(database, secret_box):
    seen: Counter[str] = Counter()
    for seed in range(SEEDS):
        both = Both(seed, database, secret_box)
        await both.prepare()
        for _ in range(STEPS):
            await both.step()
        seen += both.seen
    assert not EVERYTHING - set(seen), seen
