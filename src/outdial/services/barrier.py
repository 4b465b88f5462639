"""Making a run silent at its engines: fence and quiesce. Pause and stop use it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

import structlog

from outdial import clock
from outdial.core.errors import EngineUnavailableError
from outdial.core.model import ConnectedCalls, RingingCalls, Run, Transport
from outdial.core.permit import silent_after
from outdial.services.engines import Engines, reachable_from_anywhere
from outdial.services.insisting import insisting
from outdial.store import nodes as nodes_store
from outdial.store import trunks as trunks_store
from outdial.store.database import Connection, Database
from outdial.store.engines import EngineRow
from outdial.store.nodes import Serving
from outdial.telephony.engine import LINE_SECONDS, CallState, CancelResult, EngineControl, LiveCall, TrunkAddress

QUIET_SECONDS: Final = 0.02
"""Between the two empty listings that make an engine quiet: an INVITE was seen up to 3 ms after its channel was gone
from the listing (measured), and an originate that passed before the fence shows within 10 ms."""

RETRY_SECONDS: Final = 0.05
"""Between two tries to reach an engine that does not answer."""

UNHEARD_SECONDS: Final = 0.4
"""How much longer than a permit lives somebody who asked waits for an engine that says nothing from then on. The answer
itself takes less than the tenth that is left of the half second a stop may take beyond that time."""

ANSWER_SECONDS: Final = 1.0
"""How long an engine gets to answer at first, however late it is asked; any later try is as long as time is left."""

LINE_PATIENCE_SECONDS: Final = 1.0
"""How long the lines get to be found up, once what is known of them is new enough."""

INVITE_SECONDS: Final = 33.0
"""Longest time after which an INVITE that waits for its connection still leaves (RFC 3261, timer B: 64 × T1), and one
second more."""

LOOK_SECONDS: Final = 0.01
"""Between two looks at what the nodes have acknowledged."""

HANG_UPS: Final = 64
"""How many are under way at one engine at once. Each has a second for its answer, waiting for a connection included: of
thousands that are sent together the last would not be answered in time by an engine that is well."""

_log = structlog.get_logger()

_T = TypeVar("_T")

OnGone = Callable[[frozenset[str], datetime], None]
"""Told of attempts that were never seen answered, were hung up and are listed by their engine no more, and when it was
fenced: each at most once. Of calls over TCP and TLS nothing is told."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What becomes of the calls there are."""

    ringing: RingingCalls = RingingCalls.CANCEL
    connected: ConnectedCalls = ConnectedCalls.KEEP

    @property
    def spares_answered(self) -> bool:
        """Whether a call that was answered before it could be cancelled goes on, to hear a courtesy message."""
        return self.ringing is RingingCalls.CANCEL and self.connected is ConnectedCalls.KEEP


@dataclass(frozen=True, slots=True)
class Silence:
    """What was done at one engine."""

    engine_id: str
    silent: bool
    """Shown: no call of the run can leave it any more."""
    listed: bool = False
    """By its own listings: what is not among those ``talking`` or ``ringing`` is not there."""
    fenced_at: datetime | None = None
    quiesced_at: datetime | None = None
    cancelled: frozenset[str] = frozenset()
    """Attempts that it had, and hung up, after it listed them unanswered."""
    hung_up: frozenset[str] = frozenset()
    """Attempts that it had, and hung up, after it listed them answered."""
    crossed: frozenset[str] = frozenset()
    """Of those ``cancelled``, what showed answered after it was hung up: its node knows more of it."""
    over: frozenset[str] = frozenset()
    """What was to be hung up and was over by then, busy, say: it has hung up nothing."""
    talking: frozenset[str] = frozenset()
    """Attempts that are answered and go on, by its last word."""
    ringing: frozenset[str] = frozenset()
    """Attempts that are not answered and go on."""
    problem: str = ""
    """Why it is not silent."""


@dataclass(frozen=True, slots=True)
class Target:
    """A run to be made silent."""

    run: Run
    """As it was committed: no longer active, at its new epoch."""
    permits: Mapping[str, Sequence[tuple[int, str]]]
    """Engine id → epochs and nodes a permit of the run may be found under."""
    committed: float
    """Boot time just after the commit."""
    transport: Transport
    ttl_seconds: float
    """The longest life of a permit of any node that served the run."""

    addresses: Mapping[str, Sequence[tuple[str, int]]] = field(default_factory=dict)
    """Engine id → hosts and ports its calls went to lately."""

    @property
    def expired_at(self) -> float:
        """Boot time from which on every permit of the run has certainly run out."""
        return silent_after(self.committed, ttl_seconds=self.ttl_seconds)

    @property
    def settled_at(self) -> float:
        """Boot time at which a healthy engine has certainly become silent."""
        line = 0.0 if self.transport is Transport.UDP else LINE_SECONDS
        return max(self.expired_at, self.committed + line)

    @property
    def unheard_until(self) -> float:
        """Boot time until which somebody who asked waits for an engine that says nothing."""
        return self.committed + max(self.ttl_seconds, ANSWER_SECONDS) + UNHEARD_SECONDS


async def target_of(connection: Connection, run: Run, engines: Engines) -> Target:
    """Return what is to be made silent, for a run whose new state was committed a moment ago at the latest."""
    serving = await nodes_store.serving(connection, run.id)
    return Target(
        run=run,
        addresses=await nodes_store.addresses_of_run(connection, run.id),
        permits=await nodes_store.permits_of_run(connection, run.id),
        committed=clock.boottime(),
        transport=await trunks_store.transport_of(connection, run.trunk_id),
        ttl_seconds=max([engines.ttl_seconds, *(node.ttl_seconds for node in serving)]),
    )


async def calls_let_through(engine: EngineControl, run_id: int | None = None) -> Sequence[LiveCall]:
    """Return the engine's calls, of one run or of all, once everything shows that was let through before its permit was
    removed: in one of two listings, a moment apart, as a stop looks. Raises EngineUnavailableError."""
    before = await engine.calls(run_id)
    await asyncio.sleep(QUIET_SECONDS)
    now = await engine.calls(run_id)
    return [*now, *(call for call in before if call.id not in {each.id for each in now})]


async def silence(
    engines: Engines,
    target: Target,
    wishes: Wishes,
    *,
    deadline: float,
    database: Database,
    on_gone: OnGone | None = None,
    unheard_until: float | None = None,
) -> list[Silence]:
    """Fence and quiesce the run at each of its engines, side by side, until boot time ``deadline``.

    An engine that cannot be reached is tried again until then, and one that was not heard at all until
    ``unheard_until``, where that is given and comes first. One that lives inside another process is silent once its
    nodes say so or their leases have run out for as long as a permit lives.
    """
    if not target.permits:
        return []
    rows = await engines.rows(list(target.permits))
    return await _all(
        _Engine(engines, row, target, wishes, deadline, database, on_gone, unheard_until).silence()
        for row in rows.values()
    )


def problems(silences: Sequence[Silence]) -> str:
    """Return a sentence with each engine that is not shown to be silent; empty where all are."""
    return " ".join(f"{one.engine_id}: {one.problem}" for one in silences if not one.silent)


async def nothing_waits_for_the_line(engines: Engines, database: Database, run: Run, engine_id: str) -> bool:
    """Whether no call of the run that was cancelled before this is asked can leave the engine any more.

    Over TCP and TLS that takes some seconds to know. Raises EngineUnavailableError.
    """
    async with database.connection() as connection:
        target = await target_of(connection, run, engines)
    if target.transport is Transport.UDP:
        return True
    row = (await engines.rows([engine_id]))[engine_id]
    asking = _Engine(engines, row, target, Wishes(), target.committed, database)
    return await asking.nothing_waits_for_the_line(await engines.control(engine_id))


class _Engine:
    """One engine that is to become silent. What was cancelled is kept over every try."""

    def __init__(
        self,
        engines: Engines,
        row: EngineRow,
        target: Target,
        wishes: Wishes,
        deadline: float,
        database: Database,
        on_gone: OnGone | None = None,
        unheard_until: float | None = None,
    ) -> None:
        self._engines = engines
        self._row = row
        self._target = target
        self._deadline = deadline
        # of one that is retired, or in another process, the end of its permits and leases is waited for
        waits_for_answer = row.retired_at is None and reachable_from_anywhere(row)
        self._unheard_until = unheard_until if waits_for_answer else None
        """None: it has been heard, or is waited for until the deadline."""
        self._problem = ""
        self._database = database
        self._on_gone = on_gone
        self._quiesce = _Quiesce(target.run, wishes, ttl_seconds=target.ttl_seconds, on_gone=self._tell_gone)
        self._fenced_at: datetime | None = None
        self._fenced_since: float | None = None
        """Boot time at which the engine first answered a fence of the run as it is now."""

    async def silence(self) -> Silence:
        while True:
            try:
                return await self._ask(await self._engines.control(self._row.id))
            except EngineUnavailableError as error:
                self._problem = error.message
            expired = clock.boottime() >= self._target.expired_at
            if expired and self._row.retired_at is not None:
                return self._found(silent=True, problem="retired")
            foreign = not reachable_from_anywhere(self._row)
            if foreign and await _nodes_are_done(self._database, self._target, self._row.id, expired=expired):
                self._fenced_at = clock.now()
                return self._found(silent=True, quiesced_at=clock.now())
            pause = LOOK_SECONDS if foreign else RETRY_SECONDS
            unheard = self._unheard_until is not None and clock.boottime() + pause >= self._unheard_until
            if unheard or clock.boottime() >= self._deadline:
                return self._found(silent=False, problem=self._problem)
            await asyncio.sleep(pause)

    async def _ask(self, control: EngineControl) -> Silence:
        """Fence and quiesce at an engine that answers. Raises EngineUnavailableError."""
        while True:
            # asked before the fence: a permit that is put after it is noted until then, and nobody notes one any more
            being_made = await self._is_being_made()
            await self._fence(control)
            self._fenced_at = clock.now()
            if not await self._quiesce.until_quiet(control, self._deadline):
                return self._found(silent=False, problem=f"Calls of the run still show at the engine {control.id}.")
            if not being_made:
                break
            # what comes of a permit that is still being put has run out when its note has, and what is let through
            # meanwhile is found by doing all this once more
            while await self._is_being_made():
                if clock.boottime() >= self._deadline:
                    return self._found(silent=False, problem=f"A permit may still be put at the engine {control.id}.")
                await asyncio.sleep(LOOK_SECONDS)
        if self._target.transport is not Transport.UDP and not await self.nothing_waits_for_the_line(control):
            return self._found(
                silent=False,
                problem=f"The line of the trunk is down at the engine {control.id}: a call that did not "
                "ring yet would leave when it comes up.",
            )
        return self._found(silent=True, quiesced_at=clock.now(), listed=True)

    async def _fence(self, control: EngineControl) -> None:
        """Fence, unless the engine says nothing for as long as it is waited for. Raises EngineUnavailableError."""
        left = None
        if self._unheard_until is not None:
            left = self._unheard_until - clock.boottime()
            left = left if self._problem else max(left, ANSWER_SECONDS)
        try:
            async with asyncio.timeout(left):
                await control.fence(self._target.run.id, self._target.permits.get(control.id, ()))
        except TimeoutError as error:
            # what it said before tells more
            problem = self._problem or f"The engine {control.id} does not answer."
            raise EngineUnavailableError(problem) from error
        self._unheard_until = None
        self._fenced_since = self._engines.fenced_since(self._target.run.id, self._target.run.epoch, control.id)

    async def nothing_waits_for_the_line(self, control: EngineControl) -> bool:
        """Whether no INVITE can be waiting for a TCP or TLS connection any more, asked until the deadline.

        A connection that was up at an instant after the last call was placed has sent what waited for it; and nothing
        waits for longer than an INVITE is tried (RFC 3261 timer B, 32 s; pjproject drops what waits for a connection
        then).
        """
        known_from = clock.boottime() + LINE_SECONDS
        # a quiesce that took its time must not use up the time that an answer about the line takes
        deadline = max(self._deadline, known_from + LINE_PATIENCE_SECONDS)
        # what it says is too old to tell anything; but an engine that nobody has asked begins to ask by that
        await self._lines_are_up(control)
        while True:
            if self._was_fenced_before(INVITE_SECONDS):
                return True
            if clock.boottime() >= known_from and await self._lines_are_up(control):
                return True
            if clock.boottime() >= deadline:
                return False
            await asyncio.sleep(RETRY_SECONDS)

    def _was_fenced_before(self, seconds: float) -> bool:
        """Whether no call can have been placed for the last so many seconds: none is once a fence was answered and the
        permits have run out that were under way.

        An engine that had not answered may have been frozen, with a call in it that had passed. And the database's
        clock, by which others' fences could be told, may be stepped.
        """
        if self._fenced_since is None:
            return False
        silent = silent_after(self._fenced_since, ttl_seconds=self._target.ttl_seconds)
        return clock.boottime() - silent >= seconds

    async def _lines_are_up(self, control: EngineControl) -> bool:
        """Whether the line to every address that the run's calls went to is up: each is a connection of its own."""
        for host, port in self._target.addresses.get(self._row.id, ()):
            address = TrunkAddress(host, port)
            if not await control.line_up(self._target.run.trunk_id, address):
                # nobody dials the run any more, so nobody else asks a restarted engine for it
                await control.ask_line(await self._engines.trunk(self._target.run.trunk_id), address)
                return False
        return True

    async def _is_being_made(self) -> bool:
        serving = await _serving(self._database, self._target)
        return any(node.making for node in serving if node.engine_id == self._row.id)

    def _tell_gone(self, attempt_ids: frozenset[str]) -> None:
        # over TCP and TLS an INVITE that is not listed any more may wait for its connection
        udp = self._target.transport is Transport.UDP
        if udp and self._on_gone is not None and self._fenced_at is not None:
            self._on_gone(attempt_ids, self._fenced_at)

    def _found(
        self, *, silent: bool, quiesced_at: datetime | None = None, listed: bool = False, problem: str = ""
    ) -> Silence:
        return Silence(
            self._row.id,
            silent=silent,
            listed=listed,
            fenced_at=self._fenced_at,
            quiesced_at=quiesced_at,
            cancelled=frozenset(self._quiesce.cancelled),
            hung_up=frozenset(self._quiesce.hung_up),
            crossed=frozenset(self._quiesce.crossed),
            over=frozenset(self._quiesce.over) if listed else frozenset(),
            talking=self._quiesce.talking,
            ringing=self._quiesce.ringing,
            problem=problem,
        )


async def _all(works: Iterable[Awaitable[_T]]) -> list[_T]:
    """Return what each has to say, once all have ended; raise the error of the first that failed.

    None may be left running behind an error: what is listed next may be a conversation by then.
    """
    found: list[_T] = []
    for each in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(each, BaseException):
            raise each
        found.append(each)
    return found


async def _nodes_are_done(database: Database, target: Target, engine_id: str, *, expired: bool) -> bool:
    """Whether every node with this engine has dropped the run, or its lease and its permits have run out."""
    serving = await _serving(database, target)
    return all(
        node.dropped_epoch >= target.run.epoch or (expired and not node.lease_live)
        for node in serving
        if node.engine_id == engine_id
    )


async def _serving(database: Database, target: Target) -> list[Serving]:
    async def read() -> list[Serving]:
        async with database.connection() as connection:
            return await nodes_store.serving(connection, target.run.id)

    return await insisting(read)


class _Quiesce:
    """Ends what is to end, and looks until nothing is left that could still send an INVITE."""

    def __init__(
        self,
        run: Run,
        wishes: Wishes,
        *,
        ttl_seconds: float,
        on_gone: Callable[[frozenset[str]], None] | None = None,
    ) -> None:
        self._run_id = run.id
        self._wishes = wishes
        self._looks_again = wishes.spares_answered and run.courtesy_flow_id is not None
        """Whether it matters if a call was answered since the listing: looking costs a request for each."""
        self._ttl_seconds = ttl_seconds
        self._dialing_since: dict[str, float] = {}
        self._on_gone = on_gone
        self._gone: set[str] = set()
        self._answered: set[str] = set()
        self._to_end: set[str] = set()
        """Listed, and to be hung up."""
        self.talking: frozenset[str] = frozenset()
        self.ringing: frozenset[str] = frozenset()
        self.cancelled: set[str] = set()
        self.hung_up: set[str] = set()

    @property
    def crossed(self) -> set[str]:
        """What was cancelled, and seen answered after that."""
        return self.cancelled & self._answered

    @property
    def over(self) -> set[str]:
        """What was to be hung up, once nothing is listed any more that is: it had ended before its turn came."""
        return self._to_end - self.cancelled - self.hung_up

    async def until_quiet(self, control: EngineControl, deadline: float) -> bool:
        """Return True after two quiet listings in a row, False when ``deadline`` passes first."""
        quiet = 0
        while True:
            quiet = 0 if await self._look(control, deadline) else quiet + 1
            if quiet == 2:  # noqa: PLR2004 - the barrier's rule, see QUIET_SECONDS
                return True
            if clock.boottime() >= deadline:
                return False
            await asyncio.sleep(QUIET_SECONDS)

    async def _look(self, control: EngineControl, deadline: float) -> bool:
        """Hang up what is to end, as much as is begun by ``deadline`` or within a second; return whether anything was
        open."""
        calls = await control.calls(self._run_id)
        answered = {call.id for call in calls if call.state is CallState.ANSWERED}
        unanswered = {call.id: call.state for call in calls if call.state is not CallState.ANSWERED}
        # what was answered as it was hung up is its node's to tell for as long as it may
        self._answered |= answered
        gone = frozenset(self.cancelled - unanswered.keys() - self.crossed - self._gone)
        if gone and self._on_gone is not None:
            self._gone |= gone
            self._on_gone(gone)
        ending = answered if self._wishes.connected is ConnectedCalls.HANG_UP else set()
        cancelling: set[str] = set()
        if self._wishes.ringing is RingingCalls.CANCEL:
            cancelling = set(unanswered)
            left = bool(unanswered)
        else:
            dialing = [id_ for id_, state in unanswered.items() if state is CallState.DIALING]
            # each is looked at, so that they are waited for side by side and not one after the other
            left = bool([id_ for id_ in dialing if self._may_be_unsent(id_)])
        # whoever was answered before they could be cancelled talks on, unless that is to end as well
        self._to_end = (self._to_end - answered) | ending | cancelling
        self.talking = frozenset(answered - ending - self.cancelled)
        self.ringing = frozenset(unanswered.keys() - cancelling)
        places = asyncio.Semaphore(HANG_UPS)
        fails = False
        until = max(deadline, clock.boottime() + ANSWER_SECONDS)

        async def in_turn(each: Callable[[EngineControl, str], Awaitable[None]], call_id: str) -> None:
            nonlocal fails
            async with places:
                if fails or clock.boottime() >= until:
                    return
                try:
                    await each(control, call_id)
                except EngineUnavailableError:
                    fails = True
                    raise

        await _all(
            [
                *(in_turn(self._hang_up, call_id) for call_id in ending),
                *(in_turn(self._cancel, call_id) for call_id in cancelling),
            ]
        )
        return left or bool(ending)

    async def _hang_up(self, control: EngineControl, call_id: str) -> None:
        if await control.hang_up(call_id) and call_id not in self.cancelled:
            self.hung_up.add(call_id)

    async def _cancel(self, control: EngineControl, call_id: str) -> None:
        if not self._looks_again:
            found = CancelResult.CANCELLED if await control.hang_up(call_id) else CancelResult.GONE
        else:
            found = await control.cancel(call_id)
        if found is CancelResult.CANCELLED:
            self.cancelled.add(call_id)
        elif found is CancelResult.ANSWERED:
            # its INVITE has left, and the next listing shows it answered: a conversation, unless it was hung up before
            self._answered.add(call_id)
            self._to_end.discard(call_id)

    def _may_be_unsent(self, call_id: str) -> bool:
        """Whether the INVITE of a call that is to ring on may not have left yet; it leaves within milliseconds, or on
        a connection that was down when it came up."""
        since = self._dialing_since.setdefault(call_id, clock.boottime())
        return clock.boottime() - since < self._ttl_seconds


async def quiet(control: EngineControl, run: Run, wishes: Wishes, *, ttl_seconds: float) -> bool:
    """Fence and quiesce one engine from the process it lives in; False when calls of the run still show after one TTL.

    Raises EngineUnavailableError.
    """
    await control.fence(run.id)
    quiesced = _Quiesce(run, wishes, ttl_seconds=ttl_seconds)
    return await quiesced.until_quiet(control, clock.boottime() + ttl_seconds)
