"""A process is killed while it sends: another goes on where it was, in order and without a gap."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys

import pytest

from dialing import phones, set_stage
from outdial.secretbox import SecretBox
from outdial.services import sealing, webhooks
from outdial.services.webhook_keeper import WebhookCounts, WebhookKeeper
from outdial.services.webhook_post import WebhookPost
from waiting import until
from webhooks import attempts, insert_run, receiving, told

LEASE_SECONDS = 3.0

SENDS = """
import asyncio
from outdial.secretbox import SecretBox
from outdial.services.webhook_keeper import WebhookCounts, WebhookKeeper
from outdial.services.webhook_post import WebhookPost
from outdial.store.database import Database

async def main():
    database = await Database.open({dsn!r}, pool_size=4)
    async with WebhookPost(["127.0.0.1"]) as post:
        keeper = WebhookKeeper(database, SecretBox({key!r}), post, WebhookCounts(), lease_seconds={lease})
        await keeper.look()
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.timeout(120)
async def test_another_takes_over_from_one_that_was_killed(database, dsn):
    key = base64.urlsafe_b64encode(os.urandom(32)).decode()
    stage = await set_stage(database, SecretBox(key), phones(1))
    await sealing.seal_all(database)
    async with receiving() as receiver:
        made = await webhooks.create_webhook(
            database,
            stage.secrets,
            account_id=stage.owner.account_id,
            iid=None,
            url=receiver.url,
            events=["attempt.ended"],
            actor="test",
        )
        async with database.connection() as connection:
            run_id = await insert_run(connection, stage.owner, trunk_id=stage.trunk.id)
        ids = await attempts(database, run_id, range(1, 6))
        answer = receiver.answer

        def hang_at_the_third(got):
            if len(receiver.got) == 2:
                receiver.hold.clear()
            return answer(got)

        receiver.answer = hang_at_the_third
        sends = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            SENDS.format(dsn=dsn, key=key, lease=LEASE_SECONDS),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        await until(lambda: len(receiver.got) == 3, seconds=60)
        sends.send_signal(signal.SIGKILL)
        assert await sends.wait() == -signal.SIGKILL
        receiver.answer = answer
        receiver.hold.set()
        before = len(receiver.got)
        async with WebhookPost(["127.0.0.1"]) as post:
            keeper = WebhookKeeper(database, stage.secrets, post, WebhookCounts(), lease_seconds=LEASE_SECONDS)

            async def all_told() -> bool:
                await told(keeper)
                where = {"account_id": stage.owner.account_id, "iid": None, "limit": 10}
                found = await webhooks.deliveries(database, made.webhook.id, **where)
                return [one.state for one in found] == ["delivered"] * 5

            # once the lease is over, and not before
            await until(all_told, seconds=60)
            await keeper.close()
        got = [one.data["id"] for one in receiver.got]
        # what was answered and not written down comes again, from the first of them on, in order
        assert got[:before] == ids[:3]
        assert got[before:] == ids
        assert [receiver.got[number].id for number in range(3)] == [receiver.got[before + n].id for n in range(3)]
