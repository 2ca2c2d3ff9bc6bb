"""Conversion of pictures to tensors and back."""

import numpy as np
import pytest
import torch

from nst_core.nets.tensors import to_tensor, to_uint8

pytestmark = pytest.mark.usefixtures("one_thread")


def pixels(height: int = 20, width: int = 30) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_picture_becomes_a_channels_last_tensor_in_0_to_1() -> None:
    tensor = to_tensor(pixels())
    assert tensor.shape == (1, 3, 20, 30)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    assert tensor[0, 1, 3, 4].item() == pytest.approx(pixels()[3, 4, 1] / 255)


def test_every_level_survives_a_round_trip() -> None:
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    np.testing.assert_array_equal(to_uint8(to_tensor(levels))[0].numpy(), levels)


def test_values_are_clipped_and_rounded() -> None:
    values = torch.tensor([-1.0, 0.49 / 255, 0.51 / 255, 254.6 / 255, 2.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_uint8(values)[0, 0, :, 0].tolist() == [0, 0, 1, 255, 255]
