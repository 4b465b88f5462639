"""What the database keeps and referees, in memory: rows, compare-and-sets, each done in one instant.

The moves are those of the core's tables, and what may be reserved is asked of the core's own rules; what stands here
is only what a transaction of ``store`` looks at again as it writes.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from outdial.core.attempt import may_move
from outdial.core.attempt_limits import AttemptLimit, PastAttempt
from outdial.core.attempt_limits import standing as limit_standing
from outdial.core.callback import CallbackContact
from outdial.core.campaign import RAISES_EPOCH, RunAction, move
from outdial.core.explanation import MAY_RING, LiveCall, Situation
from outdial.core.model import (
    LIVE_RUN_STATES,
    Attempt,
    AttemptState,
    DialingOrder,
    Disposition,
    DoneReason,
    RetryOrder,
    Run,
    RunState,
)
from outdial.core.numbers import Number, after, dialed
from outdial.core.pacing import BACKOFF_MEMORY, REFUSALS, Limit, room
from outdial.core.screening import Candidate, run_may_dial
from outdial.core.whereabouts import Whereabouts, whereabouts
from outdial.store.attempts import AttemptNews
from outdial.store.reserve import Facts, Reservation, Verdict, run_budget, trunk_budget
from simulation.plan import ACCOUNT, Campaign, Person, Plan
from simulation.rows import STATE, AttemptRow, MoveError, NodeRow, Row
from simulation.timeline import Timeline
from values import RUN

_ORDER = {state: place for place, state in enumerate(AttemptState)}


class Referee:
    """The database of a day."""

    def __init__(self, plan: Plan, timeline: Timeline) -> None:
        self.plan = plan
        self._timeline = timeline
        self.runs: dict[int, Run] = {}
        self.campaign_of: dict[int, Campaign] = {}
        self.contacts: dict[int, dict[int, Row]] = {}
        self.attempts: dict[str, AttemptRow] = {}
        self.live: dict[str, AttemptRow] = {}
        """Those that have not ended."""
        self.of_contact: dict[tuple[int, int], list[AttemptRow]] = defaultdict(list)
        self.of_phone: dict[str, list[AttemptRow]] = defaultdict(list)
        self.of_run: dict[int, list[AttemptRow]] = defaultdict(list)
        self.touched: set[tuple[int, int]] = set()
        """Contacts of runs that have changed since somebody looked."""
        self.account_dnc: set[str] = set()
        self.campaign_dnc: dict[int, set[str]] = {campaign.id: set() for campaign in plan.campaigns}
        self.meant: dict[int | None, set[str]] = {None: set(), **{campaign.id: set() for campaign in plan.campaigns}}
        """Numbers on the account's list, and on the campaigns', by which the person is meant."""
        self.nodes: dict[str, NodeRow] = {}
        self.served: set[tuple[int, str]] = set()
        """Runs and the engines at which a permit of them may be."""
        self.making: dict[tuple[int, str, str], tuple[str, datetime]] = {}
        """Run, engine, key → node and until when the note holds that this permit is being put."""
        self.budgets: dict[str, datetime] = {}
        self.emergency = False
        self.listeners: list[Callable[[], None]] = []
        self.bookings: Counter[str] = Counter()
        """How often each attempt has ended."""
        self._refused: list[AttemptRow] = []
        self._ids = itertools.count(1)

    @property
    def now(self) -> datetime:
        return self._timeline.now

    def announce(self) -> None:
        """NOTIFY."""
        for listener in self.listeners:
            listener()

    # Runs

    def start(self, campaign: Campaign) -> Run | None:
        """Begin a run; None where that is refused."""
        people = [person for person in self.plan.people if person.campaign == campaign.id]
        if self.emergency or self.latest(campaign.id, live=True) is not None or not people:
            return None
        # what one list holds twice is one contact, unless it may hold it twice
        unique = {person.id if campaign.duplicates else person.phone: person for person in reversed(people)}
        order = sorted(unique.values(), key=lambda one: one.id, reverse=campaign.rules.order is DialingOrder.LIFO)
        if all(self.uncallable(campaign, person.phones) for person in order):
            return None
        run_id = next(self._ids)
        run = replace(
            RUN,
            id=run_id,
            instance_id=f"cid-{run_id}",
            campaign_id=str(campaign.id),
            account_id=ACCOUNT,
            iid=campaign.iid,
            rules=campaign.rules,
            trunk_id=campaign.trunk.id,
            max_concurrent_calls=campaign.cap,
            calls_per_second=campaign.rate,
            started_at=self.now,
            updated_at=self.now,
        )
        self.runs[run_id], self.campaign_of[run_id] = run, campaign
        self.contacts[run_id] = {person.id: Row(person, turn) for turn, person in enumerate(order)}
        self.touched |= {(run_id, person.id) for person in order}
        self.announce()
        return run

    def latest(self, campaign_id: int, *, live: bool) -> Run | None:
        found = [run for run in self.runs.values() if run.campaign_id == str(campaign_id)]
        return next((run for run in reversed(found) if not live or run.state in LIVE_RUN_STATES), None)

    def move(self, run_id: int, action: RunAction) -> Run:
        """Raises IllegalMoveError."""
        run = self.runs[run_id]
        moved = replace(
            run,
            state=move(run.state, action),
            epoch=run.epoch + (action in RAISES_EPOCH),
            updated_at=self.now,
        )
        self.runs[run_id] = moved
        self._timeline.note(f"run {run_id}: {action}, now {moved.state} at epoch {moved.epoch}")
        self.announce()
        return moved

    def drop_retries(self, run_id: int) -> None:
        """End all waits of a run that was stopped."""
        for row in self.contacts[run_id].values():
            if row.state is STATE.WAITING:
                row.not_before = row.callback_at = None
                row.reason = DoneReason.RETRY_CANCELLED if row.attempts_count else None
                row.to(STATE.DONE if row.attempts_count else STATE.PENDING)
                self._touch(run_id, row)

    def all_done(self, run_id: int) -> bool:
        return all(row.state is STATE.DONE for row in self.contacts[run_id].values())

    def next_due(self, run_id: int) -> datetime | None:
        waiting = [row.not_before for row in self.contacts[run_id].values() if row.state is STATE.WAITING]
        return min((at for at in waiting if at is not None), default=None)

    def soonest(self, run: Run) -> list[Whereabouts]:
        """Return where those may be who come due next, none while anybody is due or called."""
        rows = self.contacts[run.id].values()
        waiting = [row for row in rows if row.state is STATE.WAITING]
        if any(row.state not in {STATE.WAITING, STATE.DONE} for row in rows) or any(
            row.not_before <= self.now for row in waiting if row.not_before is not None
        ):
            return []
        return [
            whereabouts(
                None,
                phone=row.phone,
                contact_zone=row.person.zone,
                contact_state=row.person.state,
                number_zones=row.person.zones_at(row.phone),
                campaign_zone=run.rules.calling_hours.zone,
            )
            for row in waiting
        ]

    def latest_endings(self, run: Run, limit: int) -> list[Disposition]:
        found = [
            one.attempt.disposition
            for one in self.of_run[run.id]
            if one.attempt.epoch == run.epoch and one.attempt.ended_at is not None
            if one.counts and one.attempt.disposition not in {Disposition.UNKNOWN, None}
        ]
        return [one for one in reversed(found) if one is not None][:limit]

    # Do-not-call lists and limits

    def listed(self, campaign: Campaign, phone: str) -> tuple[bool, bool]:
        """Whether a number is on the account's list, and on the campaign's."""
        return phone in self.account_dnc, campaign.own_list and phone in self.campaign_dnc[campaign.id]

    def is_meant(self, campaign: Campaign, phone: str) -> bool:
        """Whether a list means the person of a number."""
        return phone in self.meant[None] or (campaign.own_list and phone in self.meant[campaign.id])

    def uncallable(self, campaign: Campaign, phones: tuple[str, ...]) -> bool:
        """Whether the lists leave none of somebody's numbers to be called."""
        person = len(phones) > 1 and any(self.is_meant(campaign, phone) for phone in phones)
        return person or all(self.listed(campaign, phone) != (False, False) for phone in phones)

    def limits_of(self, run: Run) -> tuple[AttemptLimit, ...]:
        return tuple(
            limit
            for limit in self.plan.limits
            if limit.iid in {None, run.iid} and limit.campaign_id in {None, run.campaign_id}
        )

    def past(self, phones: Iterable[str], limits: Iterable[AttemptLimit]) -> tuple[PastAttempt, ...]:
        longest = max((limit.rule.window_seconds for limit in limits), default=0)
        return tuple(
            PastAttempt(one.dialed_at or one.reserved_at or self.now, one.ended_at, one.disposition, row.matters)
            for phone in phones
            for row in self.of_phone[phone]
            if (one := row.attempt).ended_at is not None and one.disposition is not None
            if one.ended_at > self.now - timedelta(seconds=longest) and row.counts
        )

    def beyond_limits(self, run: Run, phones: Iterable[str], matters: dict[str, str]) -> bool:
        limits = self.limits_of(run)
        past = self.past(phones, limits)
        return any(limit_standing(limit.rule, past, matters, self.now).free_at is not None for limit in limits)

    def matters_of(self, run: Run, person: Person) -> dict[str, str]:
        named = any(limit.rule.matter is not None for limit in self.limits_of(run))
        return {"debt": person.debt} if named and person.debt is not None else {}

    # A claim

    def live_count(self, **wanted: object) -> int:
        return sum(
            all(getattr(row.attempt, name) == value for name, value in wanted.items()) for row in self.live.values()
        )

    def application_live(self, iid: str) -> int:
        return sum(self.runs[row.attempt.run_id].iid == iid for row in self.live.values())

    def number_is_live(self, phone: str) -> bool:
        return any(row.attempt.phone == phone for row in self.live.values())

    def lost(self, phone: str) -> list[Attempt]:
        """Calls to a number that were lost so lately that its phone may ring on."""
        unknown = [row.attempt for row in self.of_phone[phone] if row.attempt.state is AttemptState.UNKNOWN]
        return [one for one in unknown if one.ended_at is not None and one.ended_at + MAY_RING > self.now]

    def facts(self, run: Run) -> Facts:
        cap = self.plan.application_caps[run.iid]
        oldest = self.now - BACKOFF_MEMORY
        return Facts(
            now=self.now,
            application_cap=cap,
            run_live=self.live_count(run_id=run.id),
            trunk_live=self.live_count(trunk_id=run.trunk_id),
            application_live=0 if cap is None else self.application_live(run.iid),
            run_next_at=self.budgets.get(run_budget(run.id)),
            trunk_next_at=self.budgets.get(trunk_budget(run.trunk_id)),
            limits=self.limits_of(run),
            refused_at=tuple(
                one.ended_at
                for row in self._refused[-20:]
                if (one := row.attempt).trunk_id == run.trunk_id
                if one.ended_at is not None and one.ended_at > oldest
            ),
        )

    def candidates(self, run: Run, limit: int) -> list[Candidate]:
        """Who is called by hand, call-backs, first tries, who was put off, and retries, as the run orders them."""
        when_due = run.rules.own.retry_order is RetryOrder.WHEN_DUE
        due: list[tuple[int, object, int, Row]] = []
        for row in self.contacts[run.id].values():
            if any(map(self.number_is_live, row.phones)) or any(map(self.lost, row.phones)):
                continue
            is_due = row.state is STATE.PENDING or (
                row.state is STATE.WAITING and row.not_before is not None and row.not_before <= self.now
            )
            if is_due and row.asked_at is not None and row.callback_at is None:
                due.append((-1, row.asked_at, row.turn, row))
            elif row.state is STATE.PENDING:
                due.append((2, row.turn, row.turn, row))
            elif row.state is STATE.WAITING and row.not_before is not None and row.not_before <= self.now:
                kind = 0 if row.callback_at is not None else (3 if not row.attempts_count else 1 if when_due else 4)
                due.append((kind, row.not_before, row.turn, row))
        due.sort(key=lambda one: one[:3])
        return [self._candidate(run, row, kind=kind) for kind, _, _, row in due[:limit]]

    def _candidate(self, run: Run, row: Row, *, kind: int) -> Candidate:
        person, limits = row.person, self.limits_of(run)
        number = dialed(self.numbers(run, row), row.phone)
        tried = [
            (one.disposition, one.ended_at)
            for each in self.of_contact[run.id, person.id]
            if each.counts and (one := each.attempt).ended_at is not None and one.disposition is not None
        ]
        return Candidate(
            contact_id=person.id,
            phone=number.phone,
            contact_zone=person.zone,
            contact_state=person.state,
            number_zones=person.zones_at(number.phone),
            attempts_count=row.attempts_count,
            not_before=row.not_before,
            is_callback=kind == 0,
            on_account_dnc=number.on_account_dnc,
            on_campaign_dnc=number.on_campaign_dnc,
            tried=tuple(sorted(tried, key=lambda one: one[1])) if run.rules.own.retry_rules else (),
            past=self.past(person.phones, limits),
            matters=self.matters_of(run, person),
            numbers=self.numbers(run, row) if person.others else (),
            next_phone=row.phone if person.others else None,
        )

    def numbers(self, run: Run, row: Row) -> tuple[Number, ...]:
        """Return the numbers of a contact as they stand."""
        return tuple(
            Number(
                phone,
                *self.listed(self.campaign_of[run.id], phone),
                phone in self.invalid(run.id, row),
                self.is_meant(self.campaign_of[run.id], phone),
            )
            for phone in row.phones
        )

    def invalid(self, run_id: int, row: Row) -> set[str]:
        """Return the numbers of a contact that nobody has, as far as its run knows."""
        return {
            one.attempt.phone
            for one in self.of_contact[run_id, row.person.id]
            if one.attempt.disposition is Disposition.INVALID_NUMBER
        }

    def reserve(self, run: Run, node_id: str, wish: Reservation) -> tuple[Verdict, frozenset[str]]:
        """Do what a plan wants, as far as it is still true."""
        present = self.runs[run.id]
        if not run_may_dial(present.state, present.epoch, run.epoch):
            return Verdict.MOVED_ON, frozenset()
        node = self.nodes[node_id]
        if node.ended:
            return Verdict.NODE_ENDED, frozenset()
        rows = self.contacts[run.id]
        wanted = [one for one in wish.wanted if not any(map(self.lost, rows[one[0]].phones))]
        wish = replace(wish, wanted=wanted)
        for contact_id, reason in wish.denied:
            asked = self._asked(rows[contact_id], wish)
            if rows[contact_id].state in {STATE.PENDING, STATE.WAITING} and asked is not None:
                rows[contact_id].to(STATE.DONE)
                rows[contact_id].reason = reason
                rows[contact_id].not_before = rows[contact_id].callback_at = None
                self._touch(run.id, rows[contact_id])
        for contact_id, at in wish.deferred:
            row = rows[contact_id]
            asked = self._asked(row, wish)
            if row.state in {STATE.PENDING, STATE.WAITING} and asked is not None:
                was = (row.state, row.not_before, row.asked_at)
                row.to(STATE.WAITING)
                row.phone = asked
                row.not_before = at if row.callback_at is None else max(at, row.callback_at)
                if was[:2] == (row.state, row.not_before):
                    # nothing has come of it: whoever wants the contact called now wants it still
                    row.asked_at = was[2]
                self._touch(run.id, row)
        if not wish.wanted:
            return Verdict.RESERVED, frozenset()
        for budget in wish.budgets:
            # made on first use, with an instant that nobody has seen yet
            self.budgets.setdefault(budget.key, budget.seen or self.now)
        if any(self.budgets[budget.key] != budget.seen for budget in wish.budgets):
            return Verdict.CONFLICT, frozenset()
        # whose number is called already takes a place too: the index tells only as it is written
        fit = [(rows[contact_id], attempt_id) for contact_id, attempt_id in wish.wanted]
        before = [row for row, _ in fit]
        fit = [
            (row, attempt_id)
            for turn, (row, attempt_id) in enumerate(fit)
            if self._fits(present, row, self._asked(row, wish)) and not (wish.phones and _alike(row, before[:turn]))
        ][: self.free(run, wish)]
        made = [
            attempt_id
            for row, attempt_id in fit
            if self._take(present, row, attempt_id, node, self._asked(row, wish) or row.phone)
        ]
        if made:
            self.budgets.update({budget.key: budget.next_at for budget in wish.budgets})
        return Verdict.RESERVED, frozenset(made)

    def free(self, run: Run, wish: Reservation) -> int:
        """Return how many more calls every cap allows, counted again."""
        limits = [
            Limit("run", wish.run_cap, self.live_count(run_id=run.id)),
            Limit("trunk", wish.trunk_cap, self.live_count(trunk_id=run.trunk_id)),
            Limit("application", wish.application_cap, self.application_live(run.iid)),
        ]
        return room(limits, wanted=len(wish.wanted))

    def may_be_called(self, run: Run, phone: str) -> bool:
        """Whether no list names a number, as it is reserved."""
        return self.listed(self.campaign_of[run.id], phone) == (False, False)

    def _asked(self, row: Row, wish: Reservation) -> str | None:
        """Return the number a plan was made for; None where another is dialed next by now."""
        if not row.person.others:
            return row.phone
        seen, asked = wish.phones.get(row.person.id, (None, None))
        return asked if seen == row.phone else None

    def _fits(self, run: Run, row: Row, phone: str | None) -> bool:
        """Whether a contact may be taken still, at that number."""
        due = row.state is STATE.WAITING and row.not_before is not None and row.not_before <= self.now
        return (
            (due or row.state is STATE.PENDING)
            and phone is not None
            and self.may_be_called(run, phone)
            and not self._person_listed(run, row)
            and not self.beyond_limits(run, row.phones, self.matters_of(run, row.person))
            and not (row.person.others and any(map(self.number_is_live, row.phones)))
        )

    def _person_listed(self, run: Run, row: Row) -> bool:
        """Whether a list means the person of a contact with several numbers."""
        return bool(row.person.others) and any(self.is_meant(self.campaign_of[run.id], one) for one in row.phones)

    def _take(self, run: Run, row: Row, attempt_id: str, node: NodeRow, phone: str) -> bool:
        matters = self.matters_of(run, row.person)
        if self.number_is_live(phone):
            return False
        attempt = Attempt(
            id=attempt_id,
            run_id=run.id,
            campaign_id=run.campaign_id,
            account_id=run.account_id,
            contact_id=row.person.id,
            phone=phone,
            caller_id=run.rules.caller_id,
            trunk_id=run.trunk_id,
            engine_id=node.engine_id,
            node_id=node.id,
            epoch=run.epoch,
            number=row.attempts_count + 1,
            state=AttemptState.RESERVED,
            reserved_at=self.now,
        )
        made = AttemptRow(attempt, row.callback_at, matters)
        self.attempts[attempt_id] = self.live[attempt_id] = made
        for index in (self.of_contact[run.id, row.person.id], self.of_phone[phone], self.of_run[run.id]):
            index.append(made)
        self._touch(run.id, row)
        row.to(STATE.CLAIMED)
        row.phone = phone
        row.not_before = row.callback_at = None
        row.attempts_count += 1
        return True

    # What becomes of attempts

    def book(self, news: AttemptNews) -> bool:
        """Write down what is known of an attempt; False when more was known already."""
        row = self.attempts[news.id]
        one = row.attempt
        # who has answered is known some time after the answer
        found = (
            news.state is one.state is AttemptState.ANSWERED and one.detection is None and news.detection is not None
        )
        if not row.live or (_ORDER[news.state] <= _ORDER[one.state] and not found):
            return False
        if not found and not may_move(one.state, news.state):
            raise MoveError(f"attempt {news.id}: {one.state} → {news.state}")
        row.attempt = replace(
            one,
            state=news.state,
            disposition=news.disposition,
            cause=news.cause,
            sip_code=news.sip_code,
            dialed_at=one.dialed_at or news.dialed_at,
            ringing_at=one.ringing_at or news.ringing_at,
            answered_at=one.answered_at or news.answered_at,
            ended_at=news.ended_at,
            detection=one.detection or news.detection,
        )
        if not row.live:
            del self.live[news.id]
        if news.sip_code in REFUSALS:
            self._refused.append(row)
        self.touched.add((one.run_id, one.contact_id))
        if news.disposition is not None:
            self.bookings[news.id] += 1
            self._timeline.note(f"attempt {news.id[:6]} of contact {one.contact_id}: {news.disposition} {news.reason}")
        if news.contact is not None:
            self._book_contact(row, news)
        return True

    def _book_contact(self, attempt: AttemptRow, news: AttemptNews) -> None:
        told = news.contact
        run = self.runs[attempt.attempt.run_id]
        row = self.contacts[run.id][attempt.attempt.contact_id]
        if told is None or row.state not in {STATE.CLAIMED, STATE.DIALING}:
            return
        if told.state is STATE.DIALING:
            if row.state is STATE.CLAIMED:
                row.to(STATE.DIALING)
            return
        over = run.state in {RunState.STOPPING, RunState.STOPPED}
        other = after(row.phones, row.phone, self.invalid(run.id, row)) if told.other else None
        must_turn = told.state is STATE.WAITING and told.done_reason is not None
        nowhere = self._person_listed(run, row)
        if nowhere:
            other = None
            told = told if told.state is STATE.DONE else replace(told, state=STATE.DONE, done_reason=DoneReason.DNC)
        elif must_turn:
            # nobody has that number: with another it is tried there, else it is done, whatever was promised to somebody
            nowhere = other is None and bool(row.person.others)
            told = replace(told, state=STATE.DONE) if other is None else replace(told, done_reason=None)
        dropped = over and (
            told.state is STATE.WAITING or (told.state is STATE.PENDING and row.attempts_count > told.uncounted)
        )
        call_back_at = None
        if not (over or nowhere):
            call_back_at = row.callback_at or (attempt.callback_at if told.state is STATE.PENDING else None)
        if other is not None and not dropped and (call_back_at is None or must_turn):
            row.phone = other
        row.attempts_count -= told.uncounted
        row.not_before, row.callback_at, row.reason = None, call_back_at, None
        if dropped:
            cancelled = news.disposition is Disposition.CANCELLED and not told.uncounted
            row.to(STATE.DONE)
            row.reason = DoneReason.STOPPED if cancelled else DoneReason.RETRY_CANCELLED
        elif call_back_at is not None:
            row.to(STATE.WAITING)
            row.not_before = call_back_at
        else:
            row.to(told.state)
            row.reason = told.done_reason
            if told.state is STATE.WAITING:
                row.not_before = self.now + timedelta(seconds=told.after_seconds or 0.0)

    def take_out(self, phone: str, *, of_person: bool = False) -> int:
        """Take a number that is on the account's list out of everything pending; return how many contacts are done."""
        count = 0
        for run_id, rows in self.contacts.items():
            if self.runs[run_id].state not in {RunState.ACTIVE, RunState.PAUSED}:
                continue
            for row in rows.values():
                has = phone in row.phones if of_person else phone == row.phone
                if not has or row.state not in {STATE.PENDING, STATE.WAITING}:
                    continue
                self._touch(run_id, row)
                numbers = [replace(one, is_of_person=False) for one in self.numbers(self.runs[run_id], row)]
                number = dialed(numbers, row.phone)
                if not (of_person or number.is_listed or number.is_invalid):
                    row.phone = number.phone
                    continue
                count += 1
                row.not_before = row.callback_at = None
                row.reason = DoneReason.DNC
                row.to(STATE.DONE)
        return count

    # Call-backs

    def callback_contact(self, run_id: int, contact_id: int) -> CallbackContact | None:
        row = self.contacts[run_id].get(contact_id)
        if row is None:
            return None
        return CallbackContact(contact_id, self.uncallable(self.campaign_of[run_id], row.phones))

    def ask_callback(self, run_id: int, contact_id: int, at: datetime) -> None:
        row = self.contacts[run_id][contact_id]
        row.callback_at, row.reason = at, None
        self._touch(run_id, row)
        if row.state not in {STATE.CLAIMED, STATE.DIALING}:
            row.to(STATE.WAITING)
            row.not_before = at
        self.announce()

    # Calls by hand

    def standing(self, run: Run, contact_id: int) -> tuple[Candidate, Situation] | None:
        """Return what is known of a contact, None when the run has no such one."""
        row = self.contacts[run.id].get(contact_id)
        if row is None:
            return None
        calls = [one.attempt for one in self.live.values() if one.attempt.phone in row.phones]
        told = [
            LiveCall(one.id, None, one.state, (one.run_id, one.contact_id) == (run.id, contact_id), one.ended_at)
            for one in calls or [one for phone in row.phones for one in self.lost(phone)]
        ]
        situation = Situation(
            run.state, contact_state=row.state, done_reason=row.reason, live_call=next(iter(told), None)
        )
        return self._candidate(run, row, kind=0 if row.callback_at is not None else 2), situation

    def ask_now(self, run_id: int, contact_id: int) -> None:
        row = self.contacts[run_id][contact_id]
        row.asked_at = row.asked_at or self.now
        self.announce()

    def _touch(self, run_id: int, row: Row) -> None:
        self.touched.add((run_id, row.person.id))


def _alike(row: Row, others: Iterable[Row]) -> bool:
    """Whether a contact has a number in common with one of some."""
    return any(set(row.phones) & set(other.phones) for other in others)
