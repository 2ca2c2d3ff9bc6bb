"""Tests of worker.runtime.limits."""

import pytest
import torch

from nst_core.gatys.costs import DEFAULT_MAX_BYTES
from nst_core.nets.costs import max_pixels
from nst_core.nets.transformer_config import TransformerConfig
from nst_core.system import memory
from worker.runtime.limits import optimize_bytes, work_bytes
from worker.settings import WorkerSettings

CPU = torch.device("cpu")


def test_a_worker_uses_four_fifths_of_the_memory_or_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "total_bytes", lambda: 20 * 2**30)
    assert work_bytes(WorkerSettings(), CPU) == 15 * 2**30
    assert work_bytes(WorkerSettings(memory_bytes=5 * 2**30), CPU) == 4 * 2**30


def test_a_phone_photo_passes_by_default_on_16_gib_and_not_on_4(monkeypatch: pytest.MonkeyPatch) -> None:
    phone_px = 4032 * 3024
    for total, passes in ((16, True), (4, False)):
        monkeypatch.setattr(memory, "total_bytes", lambda total=total: total * 2**30)
        assert (max_pixels(TransformerConfig(), work_bytes(WorkerSettings(), CPU)) >= phone_px) is passes


def test_an_optimisation_uses_the_memory_of_its_own_setting_or_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "total_bytes", lambda: 64 * 2**30)
    assert optimize_bytes(WorkerSettings(), CPU) == WorkerSettings().max_optimize_bytes == DEFAULT_MAX_BYTES
    assert optimize_bytes(WorkerSettings(max_optimize_bytes=None), CPU) == work_bytes(WorkerSettings(), CPU)
    assert optimize_bytes(WorkerSettings(memory_bytes=3 * 2**30), CPU) == 2 * 2**30
