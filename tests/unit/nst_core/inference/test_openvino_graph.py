"""Tests of nst_core.inference.openvino_graph: its networks give the pictures of the reference."""

import itertools

import numpy as np
import pytest
import torch

from nst_core.inference.eager import EagerStylizer
from nst_core.inference.openvino_engine import OpenvinoStylizer
from nst_core.inference.stylizer import Pixels
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.styles import shipped_styles

#: Multiples of 4, and sizes that are cropped in the first, the second or both upsampled maps.
SIZES = [(64, 64), (66, 64), (65, 64), (67, 70), (63, 101), (16, 17), (62, 58)]


def photo(height: int, width: int) -> Pixels:
    """Return a soft random photo."""
    coarse = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=torch.Generator().manual_seed(height))
    soft = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)
    pixels: Pixels = (soft * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return pixels


@pytest.fixture(scope="module")
def both() -> tuple[EagerStylizer, OpenvinoStylizer]:
    """Return a shipped style, run by the reference and by the engine."""
    weights = shipped_styles()[0].weights()
    return EagerStylizer.load(weights), OpenvinoStylizer.load(weights)


def difference(stylizers: tuple[EagerStylizer, OpenvinoStylizer], batch: Pixels) -> int:
    """Return how far the pictures of both are apart, 0 to 255."""
    expected, actual = (stylizer(batch) for stylizer in stylizers)
    return int(np.abs(expected.astype(int) - actual).max())


@pytest.mark.parametrize("size", SIZES)
def test_pictures_are_those_of_the_reference(
    both: tuple[EagerStylizer, OpenvinoStylizer], size: tuple[int, int]
) -> None:
    assert difference(both, photo(*size)) <= 1


@pytest.mark.parametrize(
    ("norm", "upsample", "padding", "crop", "head_norm"),
    list(
        itertools.product(
            ("instance", "batch"),
            ("nearest", "transposed"),
            ("reflect", "zero", "same"),
            ("layers", "end", "start"),
            (False, True),
        )
    ),
)
def test_every_kind_of_network_gives_the_pictures_of_the_reference(
    norm: str, upsample: str, padding: str, crop: str, head_norm: bool
) -> None:
    torch.manual_seed(0)
    config = TransformerConfig.from_dict(
        {"width": 8, "blocks": 1, "norm": norm, "upsample": upsample, "padding": padding}
        | {"crop": crop, "head_norm": head_norm, "output": "tanh" if head_norm else "linear"}
    )
    net = TransformerNet(config).eval()
    for name, value in net.state_dict().items():
        if "norm" in name and value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.1)
    if not head_norm:
        net.head.weight.data.mul_(10)  # so that the picture has contrast
    stylizers = EagerStylizer(net), OpenvinoStylizer(net)
    for size in ((64, 64), (45, 50)):
        assert stylizers[0](photo(*size)).std() > 3
        assert difference(stylizers, photo(*size)) <= 1
