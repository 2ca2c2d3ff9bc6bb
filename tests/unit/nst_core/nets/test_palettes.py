"""Palettes: the colours that levels become, the same with and without a compiler."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from nst_core.nets import native
from nst_core.nets.families import with_palettes
from nst_core.nets.palettes import Palette, finished, node_colours
from nst_core.nets.tensors import to_uint8
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.nets.transformer_config import PALETTE_NUMBERS
from tests.unit.nst_core.nets.native_kit import needs_compiler

#: Every 13th colour.
COLOURS = np.stack(np.meshgrid(*[np.arange(0, 256, 13, dtype=np.uint8)] * 3), -1).reshape(-1, 3)


@pytest.fixture(autouse=True, params=[pytest.param("kernel", marks=needs_compiler), "torch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test with torch, and with the kernel."""
    if request.param == "kernel":
        assert native.library() is not None
        monkeypatch.setattr(Palette, "__call__", Palette.by_kernel)


def palette_to(levels: npt.NDArray[np.float64]) -> Palette:
    """Return the palette with these levels at its nodes."""
    return Palette(torch.from_numpy(levels - nodes()).flatten() / 255)


def nodes() -> npt.NDArray[np.float64]:
    return node_colours().double().numpy()


def changed(palette: Palette, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    result: npt.NDArray[np.uint8] = palette(torch.from_numpy(pixels).float()[None])[0].numpy()
    return result


def test_a_palette_of_zeros_changes_no_colour() -> None:
    assert np.array_equal(changed(Palette(torch.zeros(PALETTE_NUMBERS)), COLOURS), COLOURS)


def test_colours_between_the_nodes_are_interpolated() -> None:
    assert np.array_equal(changed(palette_to(nodes()[:, ::-1]), COLOURS), COLOURS[:, ::-1])
    mixed = nodes() @ np.array([[0.5, 0.25, 0], [0.5, 0.25, 0], [0, 0.5, 1]])
    expected = COLOURS @ np.array([[0.5, 0.25, 0], [0.5, 0.25, 0], [0, 0.5, 1]])
    assert np.abs(changed(palette_to(mixed), COLOURS) - expected).max() <= 0.501


def test_levels_between_whole_ones_become_colours_of_their_own() -> None:
    palette = palette_to(4 * nodes() - 400)
    grey = torch.linspace(100, 101, 9)[:, None].expand(9, 3)
    assert palette(grey[None])[0, :, 0].tolist() == [0, 0, 1, 2, 2, 2, 3, 4, 4]  # halves to the even


def test_levels_that_are_no_colours_are_clipped_after_interpolation() -> None:
    stretched = changed(palette_to(2 * nodes() - 128), COLOURS)
    assert np.array_equal(stretched, (2 * COLOURS.astype(int) - 128).clip(0, 255))
    assert changed(Palette(torch.full([PALETTE_NUMBERS], 1e6)), COLOURS).min() == 255
    assert changed(Palette(torch.full([PALETTE_NUMBERS], -1e6)), COLOURS).max() == 0


def test_one_node_changes_the_colours_around_it_alone() -> None:
    levels = nodes()
    levels[(4 * 9 + 4) * 9 + 4] += [64, 0, -64]  # 128, 128, 128
    palette = palette_to(levels)
    assert changed(palette, np.full((1, 3), 128, np.uint8)).tolist() == [[192, 128, 64]]
    assert changed(palette, np.array([[112, 128, 128]], np.uint8)).tolist() == [[144, 128, 96]]
    far = COLOURS[(np.abs(COLOURS.astype(int) - 128) >= 32).any(1)]
    assert np.array_equal(changed(palette, far), far)


def test_numbers_that_are_none_change_nothing() -> None:
    assert np.array_equal(changed(Palette(torch.full([PALETTE_NUMBERS], torch.nan)), COLOURS), COLOURS)


@pytest.mark.parametrize("threads", [1, 3])
def test_pictures_come_close_to_float64_on_any_number_of_threads(threads: int) -> None:
    random = np.random.default_rng(1)
    palette = Palette(torch.from_numpy(random.normal(0, 0.5, PALETTE_NUMBERS)))
    levels = torch.from_numpy(random.uniform(0, 255, (97, 131, 3)).astype(np.float32)).transpose(0, 1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        made = palette(levels)
    finally:
        torch.set_num_threads(before)
    exact = interpolated(palette.table.double(), levels.double()).clamp(0, 255)
    assert (made - exact).abs().max() < 0.501


def interpolated(table: Tensor, levels: Tensor) -> Tensor:
    """Return the colours of levels, step by step."""
    first = (levels / 32).floor()
    total = torch.zeros(levels.shape, dtype=torch.float64)
    for corner in np.ndindex(2, 2, 2):
        red, green, blue = (first + torch.tensor(corner)).long().unbind(-1)
        shares = 1 - (levels / 32 - first - torch.tensor(corner)).abs()
        total += table[(red * 9 + green) * 9 + blue, :3] * shares.prod(-1, keepdim=True)
    return total


def test_without_a_compiler_torch_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    palette, levels = Palette(torch.rand(PALETTE_NUMBERS)), torch.rand(20, 30, 3) * 255
    monkeypatch.undo()
    expected = palette(levels)
    monkeypatch.setattr(native, "library", lambda: None)
    assert torch.equal(palette.by_kernel(levels), expected)


def test_a_picture_without_a_palette_is_rounded_only() -> None:
    net = TransformerNet(TransformerConfig(width=4, blocks=1))
    image = torch.rand(1, 3, 20, 30) * 1.4 - 0.2
    assert Palette.of(net) is None
    assert torch.equal(finished(image, None), to_uint8(image)[0])
    palette = Palette.of(with_palettes(net, torch.zeros(PALETTE_NUMBERS)))
    assert (finished(image, palette).int() - to_uint8(image)[0]).abs().max() <= 1
