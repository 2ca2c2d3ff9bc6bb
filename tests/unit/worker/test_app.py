"""Tests of worker.app."""

from pathlib import Path
from threading import Event

import pytest
import torch

from nst_core.inference.stylizer import EXACT, EngineChoice
from worker import app
from worker.app import _chosen, _passes
from worker.runtime.engine import Engine
from worker.runtime.health import SelfTest
from worker.runtime.watchdog import EX_TEMPFAIL, Watchdog
from worker.settings import WorkerSettings


def test_a_worker_in_which_an_engine_hangs_ends(monkeypatch: pytest.MonkeyPatch, settings: WorkerSettings) -> None:
    codes: list[int] = []
    engine, answered = Engine(), Event()
    watchdog = Watchdog(stuck_after_s=600, engine_busy_s=lambda: 0.0, leave=codes.append)

    def hang(*_: object, **__: object) -> EngineChoice:
        answered.wait(60)
        return EXACT

    def load() -> None:
        raise TimeoutError

    monkeypatch.setattr(app, "choose", hang)
    monkeypatch.setattr(app, "_CHOICE_S", 0.1)
    with pytest.raises(TimeoutError):
        _chosen(settings, torch.device("cpu"), engine, watchdog)
    assert codes == [EX_TEMPFAIL]
    with pytest.raises(TimeoutError):
        _passes(SelfTest(load, engine=engine), watchdog)  # type: ignore[arg-type]
    assert codes == [EX_TEMPFAIL, EX_TEMPFAIL]
    answered.set()
    engine.close()


def test_workers_with_cache_folders_of_their_own_choose_alike(settings: WorkerSettings, tmp_path: Path) -> None:
    engine = Engine()
    watchdog = Watchdog(stuck_after_s=600, engine_busy_s=lambda: 0.0)
    other = settings.model_copy(update={"cache_dir": tmp_path / "other"})
    first, second = (_chosen(each, torch.device("cpu"), engine, watchdog) for each in (settings, other))
    assert first == second
    engine.close()
