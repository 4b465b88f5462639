"""The witness counts what left, whoever says what; and says so when it cannot see."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from outdial.demo.witness import BlindWitnessError, SimulatedWitness, require_sight
from outdial.telephony.call_records import count_started
from outdial.telephony.managed_config import RECORDS_FILE
from outdial.telephony.simulated import SentCall, SimulatedEngine

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def sent(*seconds: float) -> SimulatedEngine:
    engine = SimulatedEngine(engine_id="sim-1", seed=1)
    engine.sent += [SentCall(f"{at}", 1, 1, "+15550100001", AT + timedelta(seconds=at)) for at in seconds]
    return engine


async def test_calls_after_an_instant_are_counted_not_those_at_it():
    witness = SimulatedWitness(sent(-1, 0, 0.001, 5))
    assert await witness.calls_after(AT) == 2


async def test_a_witness_that_saw_all_calls_may_speak():
    await require_sight(SimulatedWitness(sent(1, 2)), AT, placed=2)


async def test_a_witness_that_missed_some_may_not():
    with pytest.raises(BlindWitnessError, match="3 calls were placed, but the simulated engine's list of calls show 2"):
        await require_sight(SimulatedWitness(sent(1, 2)), AT, placed=3)


class TestRecords:
    """Asterisk's own file, as it writes it."""

    @pytest.fixture
    def folder(self, tmp_path):
        begin = AT.timestamp()
        (tmp_path / RECORDS_FILE).write_text(
            f'"CHAN_START","{begin - 1:.6f}","{"a" * 32}",""\n'
            f'"CHAN_START","{begin - 0.99:.6f}","box-1764.0",""\n'
            f'"ANSWER","{begin + 1:.6f}","{"a" * 32}",""\n'
            f'"CHAN_START","{begin + 0.000001:.6f}","{"b" * 32}",""\n'
            f'"HANGUP","{begin + 2:.6f}","{"a" * 32}","{{""hangupcause"":16}}"\n'
            f'"CHAN_START","{begin + 3:.6f}","{"c" * 32}",""\n'
            '"CHAN_START","17'
        )
        return tmp_path

    def test_starts_of_both_ends_after_the_instant_count_and_nothing_else(self, folder):
        assert count_started(folder, AT) == 2
        assert count_started(folder, AT - timedelta(seconds=10)) == 4

    def test_no_file_yet_is_no_call_yet(self, tmp_path):
        assert count_started(tmp_path, AT) == 0
