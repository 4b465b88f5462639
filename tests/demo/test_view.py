"""The picture: its numbers, its rate, and that every call that ended is in one of them."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from outdial.core.model import Disposition, RunState
from outdial.demo import view
from outdial.services.runs import RunProgress
from support.progress import PROGRESS, RUN


def drawn(progress: RunProgress, hint: str = "") -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(view.picture(progress, 19.5, hint))
    return console.file.getvalue()


def test_the_numbers():
    assert view.counts(PROGRESS) == {
        "placed": 61,
        "ringing": 7,
        "answered": 38,
        "busy": 6,
        "no answer": 4,
        "cancelled": 1,
        "other": 5,
    }


def test_every_call_that_ended_unanswered_is_in_exactly_one_number():
    for kind in Disposition:
        found = view.counts(replace(PROGRESS, dispositions={kind: 1}))
        ended = sum(found[name] for name in ("busy", "no answer", "cancelled", "other"))
        assert ended == (0 if kind in {Disposition.ANSWERED_HUMAN, Disposition.ANSWERED_MACHINE} else 1), kind


def test_the_picture_shows_state_progress_numbers_and_what_to_do():
    text = drawn(PROGRESS, "Press Enter to stop now.")
    assert "active" in text
    assert "40 of 100 contacts done, 9 wait for another try" in text
    assert "19.5" in text
    assert "Press Enter to stop now." in text


@pytest.mark.parametrize("state", list(RunState))
def test_every_state_has_its_word(state):
    assert state.value in drawn(replace(PROGRESS, run=replace(RUN, state=state)))


def test_before_anything_is_loaded_it_draws_too():
    assert "0 of 0 contacts" in drawn(replace(PROGRESS, contacts={}, dispositions={}, live={}, placed=0, answered=0))


def test_the_plain_line_holds_the_same():
    assert view.plain_line(PROGRESS, 19.5) == (
        "active: placed 61, ringing 7, answered 38, busy 6, no answer 4, cancelled 1, other 5, 19.5 calls/s"
    )


class TestMeter:
    def test_the_first_sample_has_no_rate(self):
        assert view.Meter().rate(10.0, 5) == 0.0

    def test_a_steady_pace_is_met(self):
        meter = view.Meter()
        rates = [meter.rate(tick * 0.2, tick * 4) for tick in range(50)]
        assert rates[-1] == pytest.approx(20.0)

    def test_after_a_stop_it_falls_to_nothing_within_its_time(self):
        meter = view.Meter()
        for tick in range(50):
            meter.rate(tick * 0.2, tick * 4)
        rates = [meter.rate(10 + tick * 0.2, 200) for tick in range(20)]
        assert rates[-1] == 0.0
        assert rates == sorted(rates, reverse=True)
