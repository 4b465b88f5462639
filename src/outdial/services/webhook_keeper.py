"""Tells webhooks what has happened; every process that serves the API does, and any number may at once.

What is new is read from the seals of the history, for which a round of sealing is made first. Each lane, which is what
one webhook has to be told of one run, is sent in order by one task at a time, under a lease; so a receiver that hangs
or fails holds up its own lanes and nothing else. A lane that is never empty makes room, after each batch, for those
that are due, and the lane of no run (opt-outs) has a place of its own. A process that is killed loses its leases, and
another sends again what it had not settled: a message may come twice, and is never left out.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import msgspec
import structlog

from outdial import clock
from outdial.core.errors import DatabaseUnavailableError, OutdialError
from outdial.core.webhook import GONE, RETRIED_FOR, is_dead, message, message_id, pause_seconds
from outdial.secretbox import SecretBox
from outdial.services import sealing
from outdial.services.webhook_post import Answer, WebhookPost, secrets_of
from outdial.store import history
from outdial.store import webhook_deliveries as store
from outdial.store import webhooks as webhooks_store
from outdial.store.database import Database
from outdial.store.webhook_deliveries import Failure, Lane, Waiting

LOOK_SECONDS: Final = 1.0
"""Between two looks for what has happened."""

TIDY_SECONDS: Final = 60.0
"""Between two looks for what is over."""

LANES: Final = 8
"""Runs of which messages are under way at once to one webhook, from one process; the lane of no run comes on top."""

BATCH: Final = 50
"""Messages of a lane that are read at once, and the most that are sent again when a process is killed."""

BATCH_SECONDS: Final = 5.0
"""After so long of sending it is written down what came of it."""

LEASE_SECONDS: Final = 30.0
"""How long a lane waits for a process that was killed: longer than a batch and its last answer take."""

TROUBLE_SECONDS: Final = 60.0
"""Before a lane is tried again that this process cannot send."""

MOST_WAITING: Final = 100_000
"""Of one webhook, all of its runs together: the history is read in the order in which it came. The rest stays in the
history until there is room."""

DELIVERED_KEPT: Final = timedelta(hours=24)
DEAD_KEPT: Final = timedelta(days=30)
TIDY_LOT: Final = 5_000

ACTOR: Final = "outdial"

_log = structlog.get_logger()


@dataclass(slots=True)
class WebhookCounts:
    """Tries of this process, since it began."""

    delivered: int = 0
    failed: int = 0
    """Tries that did not deliver."""
    dead: int = 0
    """Messages given up."""


async def keep(database: Database, secrets: SecretBox, post: WebhookPost, counts: WebhookCounts) -> None:
    """Look for ever; ends by cancel."""
    async with post:
        keeper = WebhookKeeper(database, secrets, post, counts)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_again(keeper.look, LOOK_SECONDS), name="webhooks look")
                # however much there is to delete, what has happened is told meanwhile
                group.create_task(_again(keeper.tidy, TIDY_SECONDS), name="webhooks tidy")
        finally:
            await keeper.close()


async def _again(work: Callable[[], Awaitable[None]], seconds: float) -> None:
    while True:
        try:
            await work()
        except DatabaseUnavailableError as error:
            _log.warning("webhooks_wait_for_database", reason=error.message)
        await asyncio.sleep(seconds)


class WebhookKeeper:
    """Sends what there is to be sent; ``draw`` gives the jitter of pauses, from 0 to 1."""

    def __init__(
        self,
        database: Database,
        secrets: SecretBox,
        post: WebhookPost,
        counts: WebhookCounts,
        *,
        draw: Callable[[], float] = random.random,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._post = post
        self._counts = counts
        self._draw = draw
        self._lease = timedelta(seconds=lease_seconds)
        self._runs: dict[str, set[asyncio.Task[None]]] = defaultdict(set)
        """By webhook, what is sending it lanes of runs here."""
        self._of_no_run: set[asyncio.Task[None]] = set()
        """What is sending other lanes here."""

    async def look(self) -> None:
        """Read what is new, and have sent what is due; does not wait for what is being sent. Raises
        DatabaseUnavailableError."""
        async with self._database.connection() as connection:
            wanted = await store.any_webhook(connection)
        if wanted:
            await sealing.seal_some(self._database)
            while await self._spread():
                await self._claim()
            await self._claim()

    async def until_idle(self) -> None:
        """Wait until nothing is being sent here."""
        while tasks := self._tasks():
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Break off what is being sent, with its results written down and its lanes given back."""
        tasks = self._tasks()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [task for tasks in (self._of_no_run, *self._runs.values()) for task in tasks]

    async def _spread(self) -> bool:
        """Read a part of what each webhook has not read yet; return whether there was anything."""
        async with self._database.connection() as connection:
            behind = await store.behind(connection)
        found = 0
        for webhook_id in behind:
            async with self._database.transaction() as connection:
                found += await store.spread(connection, webhook_id, most_waiting=MOST_WAITING)
        return found > 0

    async def _claim(self) -> None:
        busy = {webhook_id: len(tasks) for webhook_id, tasks in self._runs.items() if tasks}
        async with self._database.connection() as connection:
            lanes = await store.claim(connection, busy, most=LANES, lease=self._lease)
        for lane in lanes:
            tasks = self._of_no_run if lane.lane == store.NO_RUN else self._runs[lane.webhook_id]
            task = asyncio.create_task(self._send(lane), name=f"webhook {lane.webhook_id}")
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _send(self, lane: Lane) -> None:
        """Send a lane until it is empty, fails, or is another's; after each batch, in its place, the one that has been
        due for longest."""
        try:
            while await self._batch(lane):
                lane = await self._next(lane)
        except asyncio.CancelledError:
            await self._give_back(lane, 0)
            raise
        except DatabaseUnavailableError as error:
            # the lease ends by itself
            _log.warning("webhook_waits_for_database", webhook_id=lane.webhook_id, reason=error.message)
        except OutdialError as error:
            _log.error("webhook_not_sent", webhook_id=lane.webhook_id, reason=error.message)
            await self._give_back(lane, TROUBLE_SECONDS)
        except Exception:  # noqa: BLE001 - told with its traceback; it must not keep other messages from being sent
            _log.exception("webhook_not_sent", webhook_id=lane.webhook_id)

    async def _next(self, lane: Lane) -> Lane:
        if lane.lane == store.NO_RUN:
            return lane
        async with self._database.transaction() as connection:
            return await store.make_room(connection, lane, lease=self._lease) or lane

    async def _give_back(self, lane: Lane, seconds: float) -> None:
        try:
            async with self._database.connection() as connection:
                await store.release(connection, lane, pause_seconds=seconds)
        except DatabaseUnavailableError as error:
            _log.warning("webhook_waits_for_database", webhook_id=lane.webhook_id, reason=error.message)

    async def _batch(self, lane: Lane) -> bool:
        """Send the next messages of a lane; return whether to go on."""
        began = clock.boottime()
        async with self._database.connection() as connection:
            if not await store.renew(connection, lane, lease=self._lease):
                return False
            target = await webhooks_store.target(connection, lane.webhook_id)
            waiting = await store.next_ones(connection, lane, limit=BATCH)
        if target is None:
            await self._give_back(lane, 0)
            return False
        secrets = secrets_of(self._secrets, target)
        delivered: list[tuple[int, int]] = []
        failed: tuple[Waiting, Answer] | None = None
        try:
            for one in waiting:
                # what was frozen over its lease sends nothing more: another does
                if clock.boottime() - began > min(BATCH_SECONDS, self._lease.total_seconds() / 2):
                    break
                happening = one.happening
                name = message_id(happening.event, happening.history_id)
                answer = await self._post.post(target.url, secrets, name, msgspec.json.encode(message(happening)))
                if not answer.delivered:
                    failed = one, answer
                    break
                delivered.append((one.id, answer.status or 0))
        finally:
            # when it is broken off too
            going_on = await self._settle(lane, target.url, delivered, failed)
        return going_on

    async def _settle(
        self, lane: Lane, url: str, delivered: list[tuple[int, int]], failed: tuple[Waiting, Answer] | None
    ) -> bool:
        failure = None if failed is None else self._failure(*failed)
        async with self._database.transaction() as connection:
            going_on = await store.settle(connection, lane, delivered, failure)
        counts = going_on is not None
        if counts and failure is not None and failure.status == GONE:
            await self._switch_off(lane.webhook_id, url)
        self._counts.delivered += len(delivered)
        if failure is not None:
            self._counts.failed += 1
            dead = failure.dead and counts
            self._counts.dead += dead
            log = _log.error if dead else _log.warning
            log(
                "webhook_message_dead" if dead else "webhook_message_failed",
                webhook_id=lane.webhook_id,
                delivery_id=failure.delivery_id,
                problem=failure.problem,
                status=failure.status,
                again_in_seconds=None if dead else round(failure.pause_seconds, 1),
            )
        return bool(going_on)

    async def _switch_off(self, webhook_id: str, url: str) -> None:
        """Tell a webhook nothing more, unless it has another address by now than the one that has answered so."""
        reason = f"the receiver answered {GONE} Gone"
        # not with what has come of the tries, which locks the lane: whoever changes a webhook locks that first
        async with self._database.transaction() as connection:
            account_id = await webhooks_store.switch_off(connection, webhook_id, reason, url=url)
            if account_id is not None:
                await history.append(
                    connection,
                    account_id,
                    "webhook",
                    "switched_off",
                    actor=ACTOR,
                    webhook_id=webhook_id,
                    reason=reason,
                )

    def _failure(self, one: Waiting, answer: Answer) -> Failure:
        return Failure(
            delivery_id=one.id,
            status=answer.status,
            problem=answer.problem,
            dead=is_dead(one.waiting_since, now=clock.now()),
            pause_seconds=pause_seconds(one.tries + 1, asked=answer.retry_after, draw=self._draw()),
        )

    async def tidy(self) -> None:
        """Give up what has waited too long, and delete what is kept no longer. Raises DatabaseUnavailableError."""
        while True:
            async with self._database.transaction() as connection:
                given_up = await store.expire(connection, older_than=RETRIED_FOR, limit=TIDY_LOT)
            if given_up:
                self._counts.dead += len(given_up)
                _log.error("webhook_messages_dead", count=len(given_up), webhook_ids=sorted(set(given_up)))
            async with self._database.transaction() as connection:
                gone = await store.tidy(connection, delivered=DELIVERED_KEPT, dead=DEAD_KEPT, limit=TIDY_LOT)
            if max(len(given_up), gone) < TIDY_LOT:
                return
