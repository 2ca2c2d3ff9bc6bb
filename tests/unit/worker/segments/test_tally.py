"""Tests of worker.segments.tally."""

import pytest

from nst_core.training.step_losses import StepLosses
from tests.unit.worker.methods.test_report import ManualClock
from worker.segments.tally import LAST_STEPS, Tally


def losses(step: int, style: float = 1.0) -> StepLosses:
    return StepLosses(step=step, content=2.0, style=style, tv=0.5)


def test_progress_is_empty_before_the_first_step() -> None:
    progress = Tally().progress(7, note="loading")
    assert (progress.step, progress.losses, progress.steps_per_s, progress.note) == (7, {}, 0.0, "loading")


def test_losses_are_means_over_the_last_steps() -> None:
    tally = Tally()
    for step in range(1, LAST_STEPS + 3):
        tally.add(losses(step, style=100.0 if step <= 2 else 3.0))
    expected = {"content": 2.0, "style": 3.0, "tv": 0.5, "stability": 0.0, "shift": 0.0, "grid": 0.0, "total": 5.5}
    assert tally.progress(22).losses == expected


def test_speed_counts_from_the_end_of_the_first_step() -> None:
    clock = ManualClock()
    tally = Tally(clock=clock)
    clock.now += 60  # compiling
    for step in range(1, 4):
        clock.now += 0.5
        tally.add(losses(step))
    assert tally.progress(3).steps_per_s == pytest.approx(2.0)


def test_a_pause_does_not_count_in_the_speed() -> None:
    clock = ManualClock()
    tally = Tally(clock=clock)
    for step in (1, 2):
        clock.now += 0.5
        tally.add(losses(step))
    clock.now += 3600
    tally.begin()
    tally.add(losses(3))
    assert tally.progress(3).steps_per_s == pytest.approx(2.0), "the last that is known"
    clock.now += 0.25
    tally.add(losses(4))
    assert tally.progress(4).steps_per_s == pytest.approx(4.0)
