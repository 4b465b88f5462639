"""Ends the live calls to a number that is not to be called any more, and books those that nobody else does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from outdial import clock
from outdial.core.errors import EngineUnavailableError, StopNotProvenError
from outdial.core.model import AttemptState, ConnectedCalls, Disposition, DoneReason, RunContactState
from outdial.core.phone import mask
from outdial.core.retry import Finish, after_number_stopped
from outdial.core.transfer import attempt_of_leg
from outdial.services import lines
from outdial.services.engines import Engines
from outdial.store import attempts as attempts_store
from outdial.store import runs as runs_store
from outdial.store import transfers as transfers_store
from outdial.store import wide_stops as store
from outdial.store.attempts import AttemptNews, ContactNews
from outdial.store.database import Database
from outdial.store.wide_stops import NumberCall
from outdial.telephony.engine import CancelResult

NUMBER_SECONDS: Final = 3.0
"""How long a number's calls are cancelled before that is given up for now, beyond two leases of a dead node."""

_LOOK_SECONDS: Final = 0.02

_UNANSWERED: Final = frozenset({AttemptState.RESERVED, AttemptState.DIALING, AttemptState.RINGING})


@dataclass(frozen=True, slots=True)
class NumberCalls:
    """The live calls to one number, which nothing can add to any more, or to any number of whoever has it."""

    database: Database
    engines: Engines
    account_id: str
    phone: str
    actor: str
    of_person: bool
    """Nobody who has the number is called at another."""

    async def end(self, connected: ConnectedCalls) -> tuple[int, int, int]:
        """Cancel what is not answered, end conversations when asked to; return how many of each, and how many
        conversations go on. Raises StopNotProvenError."""
        # of a node that has died the calls are another's after its lease
        deadline = clock.boottime() + NUMBER_SECONDS + 2 * self.engines.ttl_seconds
        cancelled, hung_up = set[str](), set[str]()
        while True:
            problem, kept = "", 0
            for call in await self._live():
                keeps = connected is ConnectedCalls.KEEP and call.attempt_id not in cancelled
                if call.state == AttemptState.ANSWERED and keeps:
                    kept += 1
                    continue
                try:
                    result, talked = await self._end(call, keeps=keeps)
                    if result is CancelResult.ANSWERED:
                        kept += 1
                    elif result is CancelResult.CANCELLED:
                        (hung_up if talked else cancelled).add(call.attempt_id)
                        problem = "a call to it is being cancelled"
                    elif call.attempt_id in cancelled | hung_up:
                        await self._book(call, talked=call.attempt_id in hung_up)
                    else:
                        problem = f"the engine {call.engine_id} does not know the call that is being placed"
                except EngineUnavailableError as error:
                    problem = error.message
            if not problem:
                return len(cancelled), len(hung_up), kept
            if clock.boottime() > deadline:
                raise StopNotProvenError(
                    f"{mask(self.phone)} is on the do-not-call list and will not be called again, but {problem}."
                )
            await asyncio.sleep(_LOOK_SECONDS)

    async def require_lines(self) -> None:
        """Raise StopNotProvenError while a call that was cancelled may leave when its connection comes up."""
        phones = [self.phone]
        if self.of_person:
            async with self.database.connection() as connection:
                phones = await store.numbers_with(connection, self.account_id, phones)
        problem = await lines.waited_for(self.database, self.engines, self.account_id, phones)
        if problem:
            raise StopNotProvenError(
                f"{mask(self.phone)} is on the do-not-call list, but a call to it that was cancelled before it rang "
                f"may leave yet: {problem}."
            )

    async def _live(self) -> Sequence[NumberCall]:
        async with self.database.connection() as connection:
            return await store.calls_to(connection, self.account_id, self.phone, of_person=self.of_person)

    async def _end(self, call: NumberCall, *, keeps: bool) -> tuple[CancelResult, bool]:
        """End the call, or leave it alone when it is a conversation that is to be kept; tell also whether it was one.

        The engine decides that: what the database says is behind it by the 50 ms for which news is gathered, by more
        when node or database are slow, and a conversation must not be cut for it. The reverse harms nobody: one that is
        over may count as one that goes on.
        """
        control = await self.engines.control(call.engine_id)
        talked = call.state not in _UNANSWERED
        if keeps or attempt_of_leg(call.attempt_id) is not None:
            result = await control.cancel(call.attempt_id)
            if keeps or result is not CancelResult.ANSWERED:
                return result, talked
            # of a transfer's second call only the engine could tell
            talked = True
        return (CancelResult.CANCELLED if await control.hang_up(call.attempt_id) else CancelResult.GONE), talked

    async def _book(self, call: NumberCall, *, talked: bool) -> None:
        """Book a call that the engine has no more, in case its node does not."""
        if attempt_of_leg(call.attempt_id) is not None:
            async with self.database.connection() as connection:
                await transfers_store.end(
                    connection, call.attempt_id, answered=talked, outcome="" if talked else Disposition.CANCELLED
                )
            return
        unanswered = call.state in _UNANSWERED
        contact = ContactNews(
            state=RunContactState.DONE, done_reason=DoneReason.DNC if unanswered else DoneReason.REACHED
        )
        if unanswered and not self.of_person:
            contact = await self._elsewhere(call, contact)
        news = AttemptNews(
            id=call.attempt_id,
            state=AttemptState.ENDED,
            by=self.actor,
            disposition=Disposition.CANCELLED if unanswered else Disposition.ANSWERED_HUMAN,
            # where its node has not told: it was placed a moment after that, and not when it is hung up
            dialed_at=call.reserved_at,
            ended_at=max(clock.now(), call.reserved_at),
            reason="number stopped",
            contact=contact,
        )
        async with self.database.connection() as connection:
            await attempts_store.book(connection, [news])

    async def _elsewhere(self, call: NumberCall, done: ContactNews) -> ContactNews:
        """Return what becomes of a contact whose call was cancelled: done, but for one with another number."""
        async with self.database.connection() as connection:
            found = await store.attempt_of(connection, call.attempt_id)
            if found is None:
                return done
            run = await runs_store.by_id(connection, found.run_id)
        decided = after_number_stopped(attempts_count=found.number, rules=run.rules)
        if isinstance(decided, Finish):
            return done
        return ContactNews(
            RunContactState.WAITING, after_seconds=decided.after_seconds, done_reason=done.done_reason, other=True
        )
