"""What must hold at every step, told from the carrier's record and the rows, by arithmetic of its own.

It asks the core where somebody may be, and nothing else: windows, limits, periods and shares are counted here anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from outdial import rule_data
from outdial.core.attempt_limits import Counted
from outdial.core.manual_call import ManualAnswer
from outdial.core.model import CallingHours, CallingWindow, DayWindow, Disposition, RetryRule, RunState
from outdial.core.whereabouts import whereabouts
from simulation.engine import Engine, Invite
from simulation.plan import Campaign, Person, Plan
from simulation.referee import Referee
from simulation.rows import STATE
from simulation.timeline import Timeline

SLACK = timedelta(seconds=0.1)
"""A call that was let through while something held may be on its way to the engine."""

WINDOW = timedelta(seconds=60)
"""In which calls are counted against a rate."""

LATE = 1.3
"""Seconds by which a call may leave after its turn, so that as many turns may come together."""

COUNTED = {
    Counted.CONVERSATIONS: {Disposition.ANSWERED_HUMAN, Disposition.UNKNOWN},
    Counted.ABANDONED: {Disposition.ABANDONED, Disposition.UNKNOWN},
}


class BrokenPromiseError(AssertionError):
    """Something must not have happened; the sentence says what."""


class Promises:
    """The record of a day, and what it must not show."""

    def __init__(self, plan: Plan, timeline: Timeline, referee: Referee, engines: dict[str, Engine]) -> None:
        self.plan, self.timeline, self.referee, self.engines = plan, timeline, referee, engines
        self.people = {person.id: person for person in plan.people}
        self.invites: list[Invite] = []
        self._of_contact: dict[tuple[int, int], list[Invite]] = defaultdict(list)
        self._of_phone: dict[str, list[Invite]] = defaultdict(list)
        self._stopped: set[int] = set()
        self._paused: set[int] = set()
        self._emergency = False
        self._numbers: set[tuple[str, int | None]] = set()
        self._persons: set[str] = set()
        """Numbers of whoever asked not to be called, at none of theirs."""
        self._call_backs: dict[tuple[int, int], list[datetime]] = defaultdict(list)
        self.kept: dict[str, int] = defaultdict(int)
        """How often something was there to be broken: a day that tries nothing shows nothing."""

    # What was answered 200

    def stopped(self, run_id: int) -> None:
        self.timeline.note(f"run {run_id}: the stop is answered")
        for engine in self.engines.values():
            for call in engine.calls.values():
                still = call.attempt.run_id == run_id and not call.answered
                self._must(not still, f"a call of run {run_id} rings on after its stop was answered")
        self._stopped.add(run_id)
        self.kept["stops"] += 1

    def paused(self, run_id: int) -> None:
        self.timeline.note(f"run {run_id}: the pause is answered")
        self._paused.add(run_id)
        self.kept["pauses"] += 1

    def resumed(self, run_id: int) -> None:
        self._paused.discard(run_id)

    def emergency(self, *, in_force: bool) -> None:
        self._emergency = in_force
        self.kept["emergencies"] += 1

    def lifted(self) -> None:
        self._emergency = False

    def not_to_be_called(self, phone: str, campaign_id: int | None, *, of_person: bool) -> None:
        self.timeline.note(f"{phone}: not to be called, answered")
        self._numbers.add((phone, campaign_id))
        if of_person:
            self._persons.add(phone)
        self.kept["numbers"] += 1

    def call_back(self, run_id: int, contact_id: int) -> None:
        self._call_backs[run_id, contact_id].append(self.timeline.now)
        self.kept["call-backs"] += 1

    def asked_now(self, answer: ManualAnswer) -> None:
        """A call by hand gets no attempt of its own, and nothing else that is promised yields to it."""
        self.kept["by hand"] += answer is ManualAnswer.ALLOWED

    # A call leaves

    def left(self, invite: Invite) -> None:
        """Check a call as it leaves."""
        run, campaign = self.referee.runs[invite.run_id], self.referee.campaign_of[invite.run_id]
        person, row = self.people[invite.contact_id], self.referee.attempts[invite.attempt_id]
        self.kept["calls"] += 1
        self._must(invite.run_id not in self._stopped, f"run {run.id} dials after its stop was answered")
        self._must(invite.run_id not in self._paused, f"run {run.id} dials while it is paused")
        self._must(not self._emergency, "a call leaves in an emergency stop")
        self._must(run.state is not RunState.COMPLETED, f"run {run.id} dials after its end")
        self._must(row.live, f"the attempt had ended {row.attempt.disposition} before its call left")
        for listed in (None, campaign.id if campaign.own_list else -1):
            self._must((invite.phone, listed) not in self._numbers, f"{invite.phone} is not to be called")
        asked = self._persons.intersection(person.phones)
        self._must(not asked, f"{invite.phone} is called, and whoever has {asked} asked not to be")
        self._one_call_to_a_number(invite, person)
        self._of_theirs(invite, person, campaign)
        self._lawful(invite, person, run.rules.calling_hours)
        self._limits(invite, person, campaign)
        self._attempts(invite, campaign)
        self._share(invite, campaign)
        self.invites.append(invite)
        self._of_contact[invite.run_id, invite.contact_id].append(invite)
        self._of_phone[invite.phone].append(invite)

    def _must(self, holds: bool, sentence: str) -> None:
        if not holds:
            raise BrokenPromiseError(f"{self.timeline.now:%Y-%m-%d %H:%M:%S.%f}: {sentence}")

    def _one_call_to_a_number(self, invite: Invite, person: Person) -> None:
        reserved_at = self.referee.attempts[invite.attempt_id].attempt.reserved_at
        for engine in self.engines.values():
            for call in engine.calls.values():
                own = (call.attempt.run_id, call.attempt.contact_id) == (invite.run_id, invite.contact_id)
                again = own and call.attempt.id != invite.attempt_id
                self._must(not again, f"two calls to contact {invite.contact_id} at once")
                # whoever has that number alone, and was reserved later, knows nothing of this contact
                theirs = call.attempt.phone in person.phones and call.attempt.reserved_at < reserved_at
                self._must(not theirs, f"{invite.phone} is called while another number of its contact is")
                same = call.attempt.phone == invite.phone and call.attempt.id != invite.attempt_id
                self._must(not same, f"two calls to {invite.phone} at once")

    def _of_theirs(self, invite: Invite, person: Person, campaign: Campaign) -> None:
        """A contact is called at its own numbers alone, at its first before others, and at another only after a call
        whose ending turns to it, or where the one before may not be called."""
        self._must(invite.phone in person.phones, f"{invite.phone} is no number of contact {person.id}")
        self._must(
            self.referee.attempts[invite.attempt_id].attempt.phone == invite.phone, "another number was reserved"
        )
        before = self._of_contact[invite.run_id, invite.contact_id]
        invalid = {
            one.phone
            for one in before
            if self.referee.attempts[one.attempt_id].attempt.disposition is Disposition.INVALID_NUMBER
        }
        barred = {phone for phone in person.phones if self.referee.listed(campaign, phone) != (False, False)} | invalid
        if not self._call_backs[invite.run_id, invite.contact_id]:
            self._must(invite.phone not in invalid, f"{invite.phone} is called again, and nobody has it")
        last = before[-1] if before else None
        expected = person.phone if last is None else last.phone
        if invite.phone == expected:
            rule = None if last is None else self._rule(campaign, last)
            # whoever asked for it may be called at the same again
            if rule is not None and rule.other_number and not self._call_backs[invite.run_id, invite.contact_id]:
                self._must(barred >= set(person.phones) - {expected}, f"contact {person.id} has other numbers")
            return
        self.kept["other numbers"] += 1
        turned = last is not None and (rule := self._rule(campaign, last)) is not None and rule.other_number
        self._must(turned or expected in barred, f"contact {person.id} is called at {invite.phone} for nothing")

    def _rule(self, campaign: Campaign, invite: Invite) -> RetryRule | None:
        how = self.referee.attempts[invite.attempt_id].attempt.disposition
        return next((one for one in campaign.rules.own.retry_rules if one.disposition is how), None)

    def _lawful(self, invite: Invite, person: Person, hours: CallingHours) -> None:
        timetable = rule_data.timetable(hours, invite.at)
        where = whereabouts(
            timetable.pack,
            phone=invite.phone,
            contact_zone=person.zone,
            contact_state=person.state,
            number_zones=person.zones_at(invite.phone),
            campaign_zone=hours.zone,
        )
        exceptions = {one.on: one.windows for one in hours.exceptions}
        plans = [(hours.windows, exceptions, frozenset[date]())]
        for rule in () if timetable.pack is None else timetable.pack.rules_of(where.places):
            closed = {day for code in rule.holidays for day in timetable.calendars[code].dates}
            for name in rule.dates:
                month, day = map(int, name.split("-"))
                closed |= {date(year, month, day) for year in (invite.at.year, invite.at.year + 1)}
            plans.append((rule.windows, {}, frozenset(closed)))
        for zone in where.zones:
            clocks = [at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for at in (invite.at, invite.at - SLACK)]
            for windows, exceptional, closed in plans:
                allowed = any(_open(windows, exceptional, closed, clock) for clock in clocks)
                self._must(allowed, f"contact {person.id} is called at {clocks[0]:%a %H:%M:%S} in {zone}")

    def _limits(self, invite: Invite, person: Person, campaign: Campaign) -> None:
        for limit in self.plan.limits:
            if limit.iid not in {None, campaign.iid} or limit.campaign_id not in {None, str(campaign.id)}:
                continue
            rule = limit.rule
            since = invite.at - timedelta(seconds=rule.window_seconds) + SLACK
            counted = 0
            for before in (one for phone in person.phones for one in self._of_phone[phone]):
                attempt = self.referee.attempts[before.attempt_id].attempt
                debt = self.people[before.contact_id].debt
                if rule.matter is not None and debt is not None and person.debt not in {None, debt}:
                    continue
                if rule.counts is Counted.ATTEMPTS:
                    counted += before.at > since
                elif attempt.disposition in COUNTED[rule.counts] and attempt.ended_at is not None:
                    counted += attempt.ended_at > since
            self._must(counted < rule.count, f"{invite.phone} has had {counted} {rule.counts}, {rule.count} at most")
            self.kept["limits"] += counted > 0

    def _attempts(self, invite: Invite, campaign: Campaign) -> None:
        before = self._of_contact[invite.run_id, invite.contact_id]
        asked = self._call_backs[invite.run_id, invite.contact_id]
        rules = campaign.rules
        self._must(
            len(before) < rules.max_attempts + len(asked), f"contact {invite.contact_id} is called too often in a run"
        )
        if not before:
            return
        last = self.referee.attempts[before[-1].attempt_id].attempt
        self._must(last.ended_at is not None, f"contact {invite.contact_id} is called before its last call was booked")
        ended_at = last.ended_at or invite.at
        if any(at >= before[-1].at for at in asked):
            return
        self.kept["retries"] += 1
        self.kept["machines"] += last.disposition is Disposition.ANSWERED_MACHINE
        self._must(
            not any(last.id in engine.told for engine in self.engines.values()),
            f"contact {invite.contact_id} is called again after a machine was told the message",
        )
        own = next((one for one in rules.own.retry_rules if one.disposition is last.disposition), None)
        final = {Disposition.UNKNOWN, Disposition.ANSWERED_HUMAN}
        if own is None or not own.other_number or invite.phone == last.phone:
            final.add(Disposition.INVALID_NUMBER)
        self._must(
            last.disposition not in final, f"contact {invite.contact_id} is called again after {last.disposition}"
        )
        seconds = rules.retry_seconds
        if own is not None and (own.seconds is not None or own.next_window):
            seconds = own.seconds or 0
        gap = (invite.at - ended_at + SLACK).total_seconds()
        self._must(gap >= seconds, f"contact {invite.contact_id} is called again after {gap:.1f} s, not {seconds}")
        if own is not None and own.most is not None:
            ended = [self.referee.attempts[one.attempt_id].attempt.disposition for one in before]
            self._must(ended.count(last.disposition) <= own.most, f"contact {invite.contact_id}: a retry too many")

    def _share(self, invite: Invite, campaign: Campaign) -> None:
        """No run dials beyond its share of lines and of calls a second."""
        trunk, live = campaign.trunk, [call for engine in self.engines.values() for call in engine.calls.values()]
        of_run = sum(call.attempt.run_id == invite.run_id for call in live)
        of_trunk = sum(call.attempt.trunk_id == trunk.id for call in live)
        of_application = sum(self.referee.runs[call.attempt.run_id].iid == campaign.iid for call in live)
        cap = self.plan.application_caps[campaign.iid]
        self._must(campaign.cap is None or of_run <= campaign.cap, f"{of_run} calls of a run at once")
        self._must(of_trunk <= trunk.max_channels, f"{of_trunk} calls of a trunk at once")
        self._must(cap is None or of_application <= cap, f"{of_application} calls of an application at once")
        since = invite.at - WINDOW
        recent = []
        for one in reversed(self.invites):
            if one.at <= since:
                break
            recent.append(one)
        of_trunk = 1 + sum(self.referee.campaign_of[one.run_id].trunk.id == trunk.id for one in recent)
        of_run = 1 + sum(one.run_id == invite.run_id for one in recent)
        for count, rate in ((of_trunk, trunk.calls_per_second), (of_run, campaign.rate)):
            most = None if rate is None else rate * (WINDOW.total_seconds() + LATE) + 1
            self._must(most is None or count <= most, f"{count} calls in a minute where {rate} a second may leave")

    # The rows

    def rows(self) -> None:
        """Check what has changed in the tables since the last step."""
        touched, self.referee.touched = self.referee.touched, set()
        for key in touched:
            self._contact(*key)

    def _contact(self, run_id: int, contact_id: int) -> None:
        row, attempts = self.referee.contacts[run_id][contact_id], self.referee.of_contact[run_id, contact_id]
        name = f"contact {contact_id} of run {run_id}"
        for one in attempts:
            bookings = self.referee.bookings[one.attempt.id]
            self._must(bookings == (0 if one.live else 1), f"an attempt of {name} has {bookings} dispositions")
        live, counted = (sum(one.live for one in attempts), sum(one.live or one.counts for one in attempts))
        for phone in row.phones:
            of_number = sum(one.live for one in self.referee.of_phone[phone])
            self._must(of_number <= 1, f"{of_number} live attempts to {phone}")
        taken = row.state in {STATE.CLAIMED, STATE.DIALING}
        self._must(live == taken, f"{name} is {row.state} and has {live} live attempts")
        self._must((row.state is STATE.WAITING) == (row.not_before is not None), f"{name} waits for nothing")
        self._must((row.state is STATE.DONE) == (row.reason is not None), f"{name} is done for no reason")
        self._must(row.attempts_count == counted, f"{name} counts {row.attempts_count} attempts, made {counted}")
        placed = len(self._of_contact[run_id, contact_id])
        self._must(placed <= row.attempts_count, f"{name}: {placed} calls, {row.attempts_count} attempts")

    def over(self) -> None:
        """Check what a day has come to."""
        for row in self.referee.attempts.values():
            self._must(not row.live, f"attempt {row.attempt.id} of contact {row.attempt.contact_id} has never ended")
        for run_id, rows in self.referee.contacts.items():
            run = self.referee.runs[run_id]
            self._must(run.state in {RunState.STOPPED, RunState.COMPLETED}, f"run {run_id} is still {run.state}")
            for contact_id, row in rows.items():
                self._contact(run_id, contact_id)
                fits = row.state is STATE.DONE or (row.state is STATE.PENDING and not row.attempts_count)
                self._must(fits, f"contact {contact_id} is lost: {row.state} after run {run_id} has ended")
        unknown = sum(row.attempt.disposition is Disposition.UNKNOWN for row in self.referee.attempts.values())
        self.kept["unknown"] += unknown


def _open(
    windows: Iterable[CallingWindow],
    exceptions: dict[date, tuple[DayWindow, ...]],
    closed: frozenset[date],
    at: datetime,
) -> bool:
    """Whether a wall clock lies within windows, those that go on after midnight among them."""
    today, before = at.date(), at.date() - timedelta(days=1)

    def of(day: date) -> list[tuple[time, time]]:
        if day in exceptions:
            return [(one.start, one.end) for one in exceptions[day]]
        if day in closed:
            return []
        return [(one.start, one.end) for one in windows if one.weekday == day.weekday()]

    clock = at.time()
    for start, end in of(today):
        if start <= clock and (clock < end or end <= start or end == time.max):
            return True
    own = today not in exceptions and today not in closed
    return own and any(end < start and clock < end for start, end in of(before))
