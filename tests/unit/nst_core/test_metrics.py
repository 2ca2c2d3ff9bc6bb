"""Tests of nst_core.metrics."""

from nst_core.metrics import Observer, Stage, ignore


def test_stage_names_are_valid_labels() -> None:
    assert all(stage.value.isidentifier() for stage in Stage)


def test_default_observer_accepts_every_stage() -> None:
    observer: Observer = ignore
    for stage in Stage:
        observer(stage, 0.5)
