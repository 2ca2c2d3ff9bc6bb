"""Palettes: the colours that pixels become, the same with and without a compiler."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from nst_core.nets import native
from nst_core.nets.palettes import Palette, node_colours
from nst_core.nets.transformer_config import PALETTE_NUMBERS
from tests.unit.nst_core.nets.native_kit import needs_compiler

#: Every 13th colour.
COLOURS = np.stack(np.meshgrid(*[np.arange(0, 256, 13, dtype=np.uint8)] * 3), -1).reshape(-1, 3)


def palette_to(levels: npt.NDArray[np.float64]) -> Palette:
    """Return the palette with these levels at its nodes."""
    return Palette((levels - node_colours()).ravel() / 255)


def changed(palette: Palette, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    result = pixels.copy()
    palette(result)
    return result


def test_a_palette_of_zeros_changes_no_colour() -> None:
    assert np.array_equal(changed(Palette(np.zeros(PALETTE_NUMBERS)), COLOURS), COLOURS)


def test_colours_between_the_nodes_are_interpolated() -> None:
    nodes = node_colours()
    assert np.array_equal(changed(palette_to(nodes[:, ::-1]), COLOURS), COLOURS[:, ::-1])
    mixed = nodes @ np.array([[0.5, 0.25, 0], [0.5, 0.25, 0], [0, 0.5, 1]])
    expected = COLOURS @ np.array([[0.5, 0.25, 0], [0.5, 0.25, 0], [0, 0.5, 1]])
    assert np.abs(changed(palette_to(mixed), COLOURS) - expected).max() <= 0.5


def test_levels_that_are_no_colours_are_clipped_after_interpolation() -> None:
    stretched = changed(palette_to(2 * node_colours() - 128), COLOURS)
    assert np.array_equal(stretched, (2 * COLOURS.astype(int) - 128).clip(0, 255))
    assert changed(Palette(np.full(PALETTE_NUMBERS, 1e6)), COLOURS).min() == 255
    assert changed(Palette(np.full(PALETTE_NUMBERS, -1e6)), COLOURS).max() == 0


def test_one_node_changes_the_colours_around_it_alone() -> None:
    levels = node_colours()
    levels[(4 * 9 + 4) * 9 + 4] += [64, 0, -64]  # 128, 128, 128
    palette = palette_to(levels)
    assert changed(palette, np.full((1, 3), 128, np.uint8)).tolist() == [[192, 128, 64]]
    assert changed(palette, np.array([[112, 128, 128]], np.uint8)).tolist() == [[144, 128, 96]]
    far = COLOURS[(np.abs(COLOURS.astype(int) - 128) >= 32).any(1)]
    assert np.array_equal(changed(palette, far), far)


@needs_compiler
@pytest.mark.parametrize("threads", [1, 3])
def test_the_kernel_comes_to_the_same_bytes(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    random = np.random.default_rng(1)
    palette = Palette(random.normal(0, 0.5, PALETTE_NUMBERS))
    pixels = random.integers(0, 256, (2, 97, 131, 3), np.uint8)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        made = changed(palette, pixels)
    finally:
        torch.set_num_threads(before)
    monkeypatch.setattr(native, "library", lambda: None)
    monkeypatch.setattr("nst_core.nets.palettes._PIXELS", 1000)
    assert np.array_equal(made, changed(palette, pixels))
    assert not np.array_equal(made, pixels)


def test_numbers_that_are_none_change_nothing() -> None:
    assert np.array_equal(changed(Palette(np.full(PALETTE_NUMBERS, np.nan)), COLOURS), COLOURS)


def test_pixels_that_cannot_be_changed_where_they_are_are_refused() -> None:
    palette, pixels = Palette(np.zeros(PALETTE_NUMBERS)), COLOURS.reshape(20, -1, 3).copy()
    with pytest.raises(ValueError, match="contiguous"):
        palette(pixels[:, ::2])
    pixels.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        palette(pixels)
