"""Tests of nst_core.inference.native_network: its pictures are those of the network in PyTorch."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
import torch

from nst_core.inference.eager import EagerStylizer
from nst_core.inference.native_kernels import Kernels
from nst_core.inference.native_network import NativeNetwork, Workspace, Workspaces
from nst_core.inference.stylizer import Precision
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from tests.unit.nst_core.inference.test_openvino_graph import photo
from tests.unit.nst_core.nets.native_kit import needs_compiler

#: Multiples of 4, and sizes that are cropped in the first, the second or both upsampled maps.
SIZES = [(64, 64), (66, 64), (65, 64), (67, 70), (63, 101), (16, 17), (62, 58)]
CONFIGS = [
    TransformerConfig(blocks=2, output="tanh"),
    TransformerConfig(blocks=0, output="linear", norm_eps=1e-3, crop="end"),
]


@needs_compiler
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(("precision", "most"), [("fp32", 1), ("int16", 6)])
def test_pictures_of_all_sizes_are_those_of_the_reference(
    config: TransformerConfig, precision: Precision, most: int
) -> None:
    torch.manual_seed(0)
    net = TransformerNet(config).eval().requires_grad_(False)
    net.head.weight.mul_(20)  # a picture with contrast
    network, reference = NativeNetwork(net, Kernels(net, precision), Workspaces(1)), EagerStylizer(net)
    for size in SIZES:
        picture = photo(*size)
        expected = reference(picture)[0].astype(int)
        assert np.ptp(expected) > 100
        assert np.abs(network(picture[0]) - expected).max() <= most


def test_memory_stays_for_the_next_photo_until_it_is_released() -> None:
    workspace = Workspace()
    large = workspace.buffer("map", 1000)
    assert workspace.buffer("map", 10) is large
    assert workspace.buffer("map", 2000).numel() == 2000
    assert workspace.buffer("map", 2000, torch.float16).dtype == torch.float16
    workspace.release()
    assert workspace.buffer("map", 10).numel() == 10


def test_who_needs_a_workspace_waits_for_a_free_one() -> None:
    workspaces, lent = Workspaces(2), Event()

    def borrow() -> Workspace:
        lent.set()
        with workspaces.one() as workspace:
            return workspace

    with ThreadPoolExecutor(1) as other:
        with workspaces.one() as first, workspaces.one() as second:
            assert first is not second
            waiting = other.submit(borrow)
            assert lent.wait(30)
            first.buffer("map", 1000)
            workspaces.release()  # of those that nobody uses
            assert first.buffer("map", 10).numel() == 1000
            assert not waiting.done()
        assert waiting.result(30) in (first, second)
    workspaces.release()
    assert first.buffer("map", 10).numel() == 10


def test_the_workspace_that_was_used_last_is_the_next_also_after_an_error() -> None:
    workspaces = Workspaces(2)
    with pytest.raises(MemoryError), workspaces.one() as first:
        raise MemoryError
    with workspaces.one() as again:
        assert again is first
