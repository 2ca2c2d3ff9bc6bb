"""Tests of worker.settings."""

import pytest
from pydantic import ValidationError

from nst_core.training.sources import MAX_FILE_BYTES
from scheduler.access.limits import Limits
from worker.settings import WorkerSettings


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NST_REDIS_URL", "redis://:secret@redis:6379/2")
    monkeypatch.setenv("NST_CONCURRENCY", "3")
    monkeypatch.setenv("NST_THREADS", "4")
    monkeypatch.setenv("NST_ENGINE", "eager")
    monkeypatch.setenv("NST_PRECISION", "bf16")
    settings = WorkerSettings()
    assert (settings.concurrency, settings.threads) == (3, 4)
    assert (settings.engine, settings.precision) == ("eager", "bf16")
    assert settings.redis_url.get_secret_value() == "redis://:secret@redis:6379/2"
    assert "secret@" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [("NST_CONCURRENCY", "-1"), ("NST_LOG_LEVEL", "LOUD"), ("NST_THREADS", "x"), ("NST_PRECISION", "fp64")],
)
def test_invalid_settings_are_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        WorkerSettings()


def test_a_worker_may_leave_out_some_kinds_of_work_but_not_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NST_CONCURRENCY", "0")
    monkeypatch.setenv("NST_OPTIMIZE_CONCURRENCY", "0")
    assert WorkerSettings().train_concurrency == 1
    monkeypatch.setenv("NST_TRAIN_CONCURRENCY", "0")
    with pytest.raises(ValidationError, match="takes nothing"):
        WorkerSettings()


def test_an_optimisation_may_have_all_memory_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NST_MAX_OPTIMIZE_BYTES", "null")
    assert WorkerSettings().max_optimize_bytes is None


def test_what_may_be_uploaded_is_not_too_large_for_workers() -> None:
    assert WorkerSettings().max_input_bytes == MAX_FILE_BYTES == Limits().max_upload_bytes
