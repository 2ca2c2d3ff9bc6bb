"""Tests of nst_core.inference.openvino_int8."""

import numpy as np
import torch

from nst_core.inference.openvino_int8 import Calibration, leaves
from nst_core.nets.transformer import TransformerConfig, TransformerNet

NET = TransformerNet(TransformerConfig(width=8, blocks=2)).eval()


def test_pictures_are_always_the_same_and_differ_from_each_other() -> None:
    pictures = leaves()
    assert [picture.shape for picture in pictures] == [(1, 256, 256, 3)] * len(pictures)
    leaves.cache_clear()
    assert all(np.array_equal(one, other) for one, other in zip(pictures, leaves(), strict=True))
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


def test_ranges_hold_all_values_that_each_convolution_read() -> None:
    tensors = {name: value.float().numpy() for name, value in NET.state_dict().items()}
    ranges = Calibration(NET.config, tensors).ranges
    names = [name for name, layer in NET.named_modules() if getattr(layer, "kernel_size", None) == (3, 3)]
    # The convolutions after upsampling are computed in another way, in floats.
    assert sorted(ranges) == sorted(set(names) - {"up1.conv", "up2.conv"})
    seen = dict.fromkeys(ranges, (0.0, 0.0))

    def note(name: str, x: torch.Tensor) -> None:
        least, largest = seen[name]
        seen[name] = min(least, float(x.min())), max(largest, float(x.max()))

    handles = [
        NET.get_submodule(name).register_forward_pre_hook(lambda _, inputs, name=name: note(name, inputs[0]))
        for name in ranges
    ]
    with torch.no_grad():
        for picture in leaves():
            NET(torch.from_numpy(picture).permute(0, 3, 1, 2).float() / 255)
    for handle in handles:
        handle.remove()
    for name, limits in ranges.items():
        np.testing.assert_allclose(limits, seen[name], rtol=1e-3, atol=1e-3)
