"""Tests of nst_core.inference.any_size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nst_core.errors import ConfigError, ImageTooLargeError
from nst_core.inference.any_size import AnySizeStylizer
from nst_core.inference.cuda import CudaStylizer
from nst_core.inference.eager import EagerStylizer
from nst_core.inference.painting import in_strokes, margin
from nst_core.inference.strokes import Stroke
from nst_core.nets.costs import maps_in_memory, strips_bytes, stylize_bytes
from nst_core.nets.families import with_palettes
from nst_core.nets.grain import grained
from nst_core.nets.palettes import Palette, finished
from nst_core.nets.tensors import to_tensor
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.nets.transformer_config import PALETTE_NUMBERS
from tests.unit.nst_core.inference.test_openvino_graph import photo

CONFIG = TransformerConfig(width=8, blocks=1)
ENGINE = EagerStylizer(TransformerNet(CONFIG))


def test_small_photos_go_to_the_engine_and_large_ones_are_cut() -> None:
    strips: list[None] = []
    stylizer = AnySizeStylizer(ENGINE, whole_pixels=64 * 64, progress=lambda: strips.append(None))
    small, large = photo(64, 64), photo(80, 64)
    assert np.array_equal(stylizer(small), ENGINE(small))
    assert strips == []
    assert np.abs(stylizer(large).astype(int) - ENGINE(large)).max() <= 1
    assert len(strips) > 8  # one for each pass at least


def test_a_photo_without_memory_for_the_whole_is_cut() -> None:
    strips: list[None] = []
    engine = CudaStylizer(TransformerNet(CONFIG), device="cpu")
    budget = stylize_bytes(CONFIG, 256 * 64)
    stylizer = AnySizeStylizer(engine, budget_bytes=budget, progress=lambda: strips.append(None))
    stylizer(photo(256, 64))
    assert strips == []
    stylizer(photo(272, 64))
    assert strips != []


def test_the_reference_never_cuts_a_smaller_photo_for_lack_of_memory() -> None:
    """Its bytes would be others than those of a worker with more memory; so it refuses the photo."""
    budget = stylize_bytes(CONFIG, 256 * 64)
    stylizer = AnySizeStylizer(ENGINE, budget_bytes=budget, whole_pixels=272 * 64)
    assert stylizer.max_pixels(budget) == ENGINE.max_pixels(budget)
    assert np.array_equal(stylizer(photo(256, 64)), ENGINE(photo(256, 64)))
    with pytest.raises(ImageTooLargeError, match=r"64 x 272 pixels .*max_px.*another precision than exact"):
        stylizer(photo(272, 64))


def test_what_has_room_for_the_photos_that_are_not_cut_paints_larger_ones_in_strips() -> None:
    budget = strips_bytes(CONFIG, 10**6)
    assert AnySizeStylizer(ENGINE, whole_pixels=200_000).max_pixels(budget) == 10**6


@pytest.mark.parametrize("size", [(16, 20_000), (160, 2_000)])
def test_strips_that_have_no_room_in_the_budget_are_refused(size: tuple[int, int]) -> None:
    """A very wide photo has large strips, although it has no more pixels than another one."""
    engine = CudaStylizer(TransformerNet(CONFIG), device="cpu")
    needed = strips_bytes(CONFIG, size[0] * size[1], room=engine.strip_size.room(*size))
    picture = np.zeros((1, *size, 3), np.uint8)
    stylizer = AnySizeStylizer(engine, budget_bytes=needed - 1, whole_pixels=0)
    with pytest.raises(ImageTooLargeError, match=f"{size[1]:,} x {size[0]:,} pixels"):
        stylizer(picture)


def test_the_widest_photos_are_refused_before_they_take_memory() -> None:
    # One byte for all of its pixels.
    picture = np.broadcast_to(np.zeros((1, 1, 1, 1), np.uint8), (1, 200, 1_000_000, 3))
    budget = 2 * 2**30
    for engine in (ENGINE, CudaStylizer(TransformerNet(CONFIG), device="cpu")):
        stylizer = AnySizeStylizer(engine, budget_bytes=budget, whole_pixels=10**6)
        assert stylizer.max_pixels(budget) > 200 * 1_000_000
        with pytest.raises(ImageTooLargeError, match="1,000,000 x 200 pixels"):
            stylizer(picture)


@pytest.mark.parametrize("stroke", ["auto", "fine", "varied", 3.0])
def test_a_copy_of_a_thin_photo_is_refused_if_the_network_has_no_memory_for_it(stroke: Stroke) -> None:
    """No side of a copy is under the network's smallest, so that a thin photo is hardly reduced for any stroke."""
    engine = EagerStylizer(TransformerNet(TransformerConfig(width=8, blocks=1, upsample="transposed")))
    budget = stylize_bytes(engine.config, 10**5)
    stylizer = AnySizeStylizer(engine, budget_bytes=budget)
    with pytest.raises(ImageTooLargeError, match=f"x {16 if stroke == 3.0 else 16 + 2 * margin(16)} pixels"):
        in_strokes(np.zeros((20, 200_000, 3), np.uint8), stroke, lambda copy: stylizer(copy[None])[0], min_side_px=16)


def test_the_largest_photo_has_room_in_the_budget() -> None:
    stylizer = AnySizeStylizer(ENGINE)
    for budget in (4 * 2**30, 16 * 2**30):
        most = stylizer.max_pixels(budget)
        assert strips_bytes(CONFIG, most) + maps_in_memory(CONFIG, most, budget) <= budget
        assert most > ENGINE.max_pixels(budget)
    assert stylizer.max_pixels(4 * 2**30) > 200_000_000
    assert stylizer.max_pixels(0) == 0


@pytest.mark.parametrize("size", [(64, 64), (65, 64), (64, 66), (67, 65)])
@pytest.mark.parametrize("largest", [1.0, 1e6])
def test_maps_are_in_memory_if_there_is_room(
    size: tuple[int, int], largest: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if sides are no multiples of 4, and if values are so large that the maps are float32."""
    net = TransformerNet(CONFIG)
    with torch.no_grad():
        net.get_parameter("down3.norm.weight").fill_(largest)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "no folder"))
    assert AnySizeStylizer(EagerStylizer(net), whole_pixels=0)(photo(*size)).shape == (1, *size, 3)


def test_a_network_that_cannot_be_cut_has_the_limit_of_its_engine() -> None:
    engine = EagerStylizer(TransformerNet(TransformerConfig(width=8, blocks=1, norm="batch")))
    stylizer = AnySizeStylizer(engine, whole_pixels=64 * 64)
    assert stylizer.max_pixels(2**32) == engine.max_pixels(2**32)
    assert np.array_equal(stylizer(photo(80, 80)), engine(photo(80, 80)))


def test_photos_get_the_grain_of_the_network_whole_and_in_strips() -> None:
    net = TransformerNet(CONFIG)
    engine, plain = EagerStylizer(net), photo(80, 64)
    seen = grained(plain[0], 6.0)[None]
    expected = engine(seen)
    net.config = replace(CONFIG, grain=6.0)
    assert np.array_equal(AnySizeStylizer(engine)(plain), expected)
    strips = AnySizeStylizer(engine, whole_pixels=0)(plain).astype(int)
    assert np.abs(strips - expected).max() <= 1
    assert np.abs(strips - AnySizeStylizer(ENGINE)(plain)).max() > 1


@pytest.mark.parametrize("whole_pixels", [1 << 20, 0])
def test_pictures_get_the_colours_of_the_palette_whole_and_in_strips(whole_pixels: int) -> None:
    torch.manual_seed(2)
    net = TransformerNet(CONFIG).eval().requires_grad_(False)
    net = with_palettes(net, torch.rand(PALETTE_NUMBERS) - 0.5)
    batch = np.concatenate([photo(64, 80), photo(64, 80)[:, ::-1]])
    before = batch.copy()
    made = AnySizeStylizer(EagerStylizer(net), whole_pixels=whole_pixels)(batch)
    expected = np.stack([finished(net(to_tensor(each)), Palette.of(net)).numpy() for each in batch])
    assert np.abs(made.astype(int) - expected).max() <= 1
    assert np.array_equal(batch, before)


def test_it_is_the_engine_in_all_other_ways() -> None:
    stylizer = AnySizeStylizer(ENGINE, whole_pixels=64 * 64)
    assert stylizer.choice == ENGINE.choice
    assert (stylizer.nbytes, stylizer.min_side_px, stylizer.max_batch) == (ENGINE.nbytes, 16, 1)
    with pytest.raises(ConfigError):
        stylizer(photo(80, 80)[0])
