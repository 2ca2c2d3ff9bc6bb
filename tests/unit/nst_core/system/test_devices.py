"""Tests of nst_core.system.devices that need no GPU."""

import subprocess
import sys

import pytest
import torch

from nst_core.errors import ConfigError
from nst_core.system.devices import bf16_pays, on_device, repeatable, resolve_device, training_precision

SCRIPT = """
import torch
from nst_core.system.devices import exact_float32
parts = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
before = {part.fp32_precision for part in parts}
exact_float32()
print("tf32" in before, {part.fp32_precision for part in parts})
"""


def test_float32_is_computed_in_float32() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == "True {'ieee'}\n"


def test_a_cpu_needs_no_context() -> None:
    with on_device(torch.device("cpu")):
        assert isinstance(bf16_pays(torch.device("cpu")), bool)


@pytest.mark.parametrize(
    ("abilities", "capability", "precision"),
    [
        ({"amx_bf16": True}, "AVX512", "bf16"),
        ({"avx512_bf16": True}, "AVX512", "int16"),
        ({}, "AVX2", "int16"),
        ({}, "DEFAULT", "fp32"),
    ],
)
def test_trainings_have_the_fastest_precision_of_a_processor(
    abilities: dict[str, bool], capability: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    assert training_precision(torch.device("cpu")) == precision


def test_auto_prefers_a_gpu() -> None:
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["", "gpu", "meta", "cuda:99", "cuda:x", "cpu;"])
def test_missing_device_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        resolve_device(name)


def test_repeatable_convolutions_are_asked_for_and_no_longer_afterwards() -> None:
    seen = [torch.backends.cudnn.deterministic]
    with repeatable():
        seen.append(torch.backends.cudnn.deterministic)
    assert [*seen, torch.backends.cudnn.deterministic] == [False, True, False]
