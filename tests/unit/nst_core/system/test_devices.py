"""Tests of nst_core.system.devices: what can be said without a GPU."""

import subprocess
import sys

import torch

from nst_core.nets.operators import _mirrored, reflect_pad
from nst_core.system.devices import bf16_pays, on_device

SCRIPT = """
import torch
from nst_core.devices import exact_float32
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


def test_padding_that_keeps_the_memory_format_is_that_of_torch() -> None:
    picture = torch.rand(2, 5, 9, 7).contiguous(memory_format=torch.channels_last)
    for padding in (1, 4):
        result = _mirrored(_mirrored(picture, padding, 2), padding, 3)
        assert torch.equal(result, reflect_pad(picture, padding))
        assert result.is_contiguous(memory_format=torch.channels_last)
