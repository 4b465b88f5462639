"""Who answers a call that we are cancelling: the courtesy message, or the end; and what is written down of it."""

from __future__ import annotations

import pytest

from dialer.test_calls import ANSWERS, RINGS, flow, phone  # noqa: F401 - fixtures
from dialing import dialing, set_stage
from engines import simulated
from flows import lasting, message
from outdial.core.model import AttemptState, ConnectedCalls, Disposition, DoneReason, RingingCalls
from outdial.services import campaigns, courtesy, flows, runs
from outdial.services.stop import StopOptions, stop
from outdial.telephony.engine import CallState, CancelResult
from sounds import tone, wav
from waiting import until

LONG = 600.0


def late(engine, monkeypatch, *, until_answered) -> list[CancelResult]:
    """Let every cancel arrive only when the condition says so; return what each came to."""
    cancel, said = engine.cancel, []

    async def held(call_id: str) -> CancelResult:
        await until(lambda: until_answered(call_id))
        said.append(await cancel(call_id))
        return said[-1]

    monkeypatch.setattr(engine, "cancel", held)
    return said


class TestANode:
    @pytest.fixture
    def answered(self, phone):  # noqa: F811 - the fixture
        return lambda attempt_id: AttemptState.ANSWERED in phone.book.of(attempt_id)

    async def test_the_message_is_heard_instead_of_the_flow(self, phone, flow, answered, monkeypatch):  # noqa: F811
        said = late(phone.engine, monkeypatch, until_answered=answered)
        attempt_id = await phone.place(ANSWERS, flow=lasting(flow, LONG), courtesy=flow)
        phone.calls.hang_up_unanswered("hushed")
        # asked again and again, as a hushed node does
        phone.calls.hang_up_unanswered("hushed")
        await until(lambda: answered(attempt_id))
        (up,) = [news for news in phone.book.news if news.state is AttemptState.ANSWERED]
        assert up.reason == "answered as it was cancelled (hushed): hears the courtesy message"
        phone.calls.hang_up_unanswered("hushed")
        news = await phone.ended(attempt_id)
        assert (news.disposition, news.contact.done_reason) == (Disposition.ANSWERED_HUMAN, DoneReason.REACHED)
        # a second of sound at twenty times the speed
        assert (news.ended_at - news.answered_at).total_seconds() >= 0.05
        assert news.reason.startswith("answered as it was cancelled (hushed): ")
        assert said == [CancelResult.ANSWERED]

    async def test_who_puts_down_in_the_middle_is_not_said_to_have_heard_it(self, phone, flow, answered, monkeypatch):  # noqa: F811
        late(phone.engine, monkeypatch, until_answered=answered)
        attempt_id = await phone.place(ANSWERS, courtesy=lasting(flow, LONG))
        phone.calls.hang_up_unanswered("hushed")
        await until(lambda: answered(attempt_id))
        phone.calls.hang_up_all()
        news = await phone.ended(attempt_id)
        assert "s into the courtesy message" in news.reason

    async def test_without_a_message_they_are_hung_up_on_at_once(self, phone, flow, monkeypatch):  # noqa: F811
        hang_up = phone.engine.hang_up

        async def held(call_id: str) -> bool:
            await until(lambda: AttemptState.ANSWERED in phone.book.of(call_id))
            return await hang_up(call_id)

        monkeypatch.setattr(phone.engine, "hang_up", held)
        attempt_id = await phone.place(ANSWERS, flow=lasting(flow, LONG))
        phone.calls.hang_up_unanswered("hushed")
        news = await phone.ended(attempt_id)
        assert (news.disposition, news.reason) == (Disposition.ABANDONED, "answered as it was cancelled (hushed)")

    async def test_who_does_not_answer_is_cancelled(self, phone, flow):  # noqa: F811
        attempt_id = await phone.place(RINGS, flow=flow, courtesy=flow)
        phone.calls.hang_up_unanswered("hushed")
        news = await phone.ended(attempt_id)
        assert (news.disposition, news.reason) == (Disposition.CANCELLED, "hushed")

    async def test_a_message_that_cannot_be_played_is_said(self, phone, answered, monkeypatch, tmp_path):  # noqa: F811
        late(phone.engine, monkeypatch, until_answered=answered)
        attempt_id = await phone.place(ANSWERS, courtesy=message(tmp_path / "missing.wav", 1.0))
        phone.calls.hang_up_unanswered("hushed")
        news = await phone.ended(attempt_id)
        assert (news.disposition, news.reason) == (
            Disposition.ABANDONED,
            "answered as it was cancelled (hushed): the flow could not be played",
        )

    async def test_an_engine_that_cannot_be_heard_spares_nobody(self, phone, flow, monkeypatch):  # noqa: F811
        """The answer would not be told, and nobody would play anything."""
        said = late(phone.engine, monkeypatch, until_answered=lambda _: True)
        attempt_id = await phone.place(RINGS, flow=flow, courtesy=flow)
        phone.engine.disconnect()
        await until(lambda: phone.calls.up_since is None)

        async def gone() -> bool:
            return await phone.engine.calls() == []

        await until(gone)
        phone.engine.reconnect()
        assert (await phone.ended(attempt_id)).disposition is Disposition.CANCELLED
        assert said == []


class TestAStop:
    """Phones that ring for some seconds and answer, and whose cancels arrive when they have."""

    @pytest.fixture
    async def stage(self, database, secret_box):
        made = await set_stage(database, secret_box, [f"+1555{n:04d}910" for n in range(4)], seconds=60)
        await flows.add_flow(database, made.owner.iid, "sorry", wav(tone(440, rate=8000, seconds=4.0), rate=8000))
        await courtesy.set_courtesy(
            database, iid=made.owner.iid, campaign_id=made.campaign_id, flow="sorry", actor="test"
        )
        return made

    async def start(self, stage):
        asked = {"iid": stage.owner.iid, "campaign_id": stage.campaign_id, "actor": "test"}
        return (await runs.start(stage.database, stage.secrets, **asked)).run

    async def all_ring(self, stage, run) -> None:
        async def ringing() -> bool:
            return (await runs.progress(stage.database, run.id)).live.get(AttemptState.RINGING, 0) == 4

        await until(ringing)

    async def attempts(self, stage):
        async with stage.database.connection() as connection:
            return await connection.fetch("SELECT state, disposition, change_reason FROM attempts")

    async def press(self, stage, engines, **wishes):
        return await stop(
            stage.database,
            engines,
            iid=stage.owner.iid,
            campaign_id=stage.campaign_id,
            actor="supervisor",
            options=StopOptions(**wishes),
        )

    async def test_who_answers_before_the_cancel_hears_the_message_and_nobody_waits_for_it(
        self, stage, engines, tmp_path, monkeypatch
    ):
        async with simulated(speed=1.0) as engine, dialing(stage, engine, tmp_path, engines=engines):
            run = await self.start(stage)
            await self.all_ring(stage, run)
            answered: set[str] = set()

            async def up(call_id: str) -> bool:
                answered.update(call.id for call in await engine.calls() if call.state is CallState.ANSWERED)
                return call_id in answered

            said = late(engine, monkeypatch, until_answered=up)
            report = (await self.press(stage, engines)).report
            # by the stop, and by the node on its behalf
            assert set(said) == {CancelResult.ANSWERED}
            # they hear it now
            assert report.cancelled_count == 0
            assert len(await engine.calls()) == 4

            async def over() -> bool:
                return await engine.calls() == [] and all(row["state"] == "ended" for row in await self.attempts(stage))

            # seconds, not the minute of the flow
            await until(over, seconds=15)
        for row in await self.attempts(stage):
            assert (row["disposition"], row["change_reason"]) == (
                "answered_human",
                "answered as it was cancelled (stop): heard the courtesy message",
            )

    async def test_a_stop_that_hangs_up_spares_nobody(self, stage, engines, tmp_path, monkeypatch):
        async with simulated(speed=1.0) as engine, dialing(stage, engine, tmp_path, engines=engines):
            run = await self.start(stage)
            await self.all_ring(stage, run)
            said = late(engine, monkeypatch, until_answered=lambda _: True)
            await self.press(stage, engines, connected=ConnectedCalls.HANG_UP)
            assert said == []
            assert await engine.calls() == []

    async def test_who_may_ring_on_hears_the_flow(self, stage, engines, tmp_path):
        async with simulated(speed=1.0) as engine, dialing(stage, engine, tmp_path, engines=engines):
            run = await self.start(stage)
            await self.all_ring(stage, run)
            await self.press(stage, engines, ringing=RingingCalls.LET_RING)

            async def all_answered() -> bool:
                return [row["state"] for row in await self.attempts(stage)] == ["answered"] * 4

            await until(all_answered)
            assert {row["change_reason"] for row in await self.attempts(stage)} == {""}

    async def test_a_run_keeps_what_it_was_started_with_and_the_flow_stays_while_it_is_needed(self, stage):
        run = await self.start(stage)
        sorry = run.courtesy_flow_id
        assert sorry is not None
        async with stage.database.connection() as connection:
            # whatever becomes of the campaign's own
            await connection.execute("UPDATE campaigns SET courtesy_flow_id = NULL")
        assert (await runs.progress(stage.database, run.id)).run.courtesy_flow_id == sorry
        with pytest.raises(Exception, match="is played by the campaign"):
            await flows.remove_flow(stage.database, iid=stage.owner.iid, flow_id=sorry, actor="test")

    async def test_a_clone_has_it_too_and_an_update_leaves_it(self, stage):
        made = await campaigns.clone_campaign(
            stage.database, iid=stage.owner.iid, campaign_id=stage.campaign_id, actor="test"
        )
        assert made.courtesy_flow_name == "sorry"
