"""How many contacts are on a do-not-call list: counted after a save, and ahead of an occurrence."""

from __future__ import annotations

import asyncio

import pytest

from dialing import phones, set_stage
from outdial.services import dnc, schedules
from scheduling import enable, fall_due, history


@pytest.fixture
async def stage(database, secret_box):
    return await set_stage(database, secret_box, phones(20))


class TestScrubs:
    async def _scrub(self, stage):
        await schedules._Scrubber(stage.database).look()
        return (await schedules.show(stage.database, iid=stage.owner.iid, campaign_id=stage.campaign_id)).scrub

    async def _block(self, stage, *numbers: str, iid=None, name=None) -> None:
        await dnc.add_numbers(
            stage.database,
            account_id=stage.owner.account_id,
            iid=iid,
            list_name=name,
            phones=numbers,
            actor="test",
        )

    async def test_after_it_is_saved_its_contacts_are_compared(self, stage):
        numbers = phones(20)
        await self._block(stage, numbers[0], numbers[1])
        # of another campaign's list: does not count
        await self._block(stage, numbers[2], iid=stage.owner.iid, name="Elsewhere")
        scrub = await self._scrub(stage)
        assert (scrub.contacts_count, scrub.dnc_count) == (20, 2)
        assert len(await history(stage.database, "scrub")) == 1

    async def test_who_may_be_called_at_another_number_is_none_of_them(self, stage):
        listed, free, others = phones(20)[0], "+15550000999", phones(20)[1]
        async with stage.database.connection() as connection:
            for phone in (listed, others):
                await connection.execute("UPDATE contacts SET other_phones = $2 WHERE phone = $1", phone, [free])
        await self._block(stage, listed)
        assert (await self._scrub(stage)).dnc_count == 0
        await self._block(stage, free)
        async with stage.database.connection() as connection:
            await connection.execute("UPDATE campaigns SET updated_at = clock_timestamp()")
        assert (await self._scrub(stage)).dnc_count == 1

    async def test_once_is_enough_until_it_is_saved_again(self, stage):
        first = await self._scrub(stage)
        assert await self._scrub(stage) == first
        async with stage.database.connection() as connection:
            await connection.execute("UPDATE campaigns SET updated_at = clock_timestamp()")
        assert (await self._scrub(stage)).at > first.at

    async def test_a_quarter_of_an_hour_ahead_of_an_occurrence_they_are_compared_again(self, stage):
        await enable(stage)
        first = await self._scrub(stage)
        await self._block(stage, phones(1)[0])
        await fall_due(stage, ago=-16 * 60)
        assert await self._scrub(stage) == first
        async with stage.database.connection() as connection:
            # 14 minutes to go, and the look before was ten minutes ago
            await connection.execute("UPDATE schedules SET next_at = clock_timestamp() + interval '14 minutes'")
            await connection.execute("UPDATE scrubs SET at = clock_timestamp() - interval '10 minutes'")
            await connection.execute("UPDATE campaigns SET updated_at = clock_timestamp() - interval '1 hour'")
        second = await self._scrub(stage)
        assert second.dnc_count == 1
        assert await self._scrub(stage) == second

    async def test_two_who_look_at_once_do_not_do_it_twice(self, stage):
        await asyncio.gather(self._scrub(stage), self._scrub(stage))
        assert len(await history(stage.database, "scrub")) == 1
