"""Tests of nst_core.metrics."""

from nst_core.metrics import Stage, TickOutcome


def test_stage_names_are_valid_labels() -> None:
    assert all(stage.value.isidentifier() for stage in Stage)


def test_outcomes_of_ticks_are_valid_labels() -> None:
    assert all(outcome.value.isidentifier() for outcome in TickOutcome)
