"""Tests of nst_core.upscaling.upscaler."""

import numpy as np
import pytest
import torch
from PIL import Image

from nst_core.inference.likeness import psnr_db
from nst_core.upscaling import upscaler
from nst_core.upscaling.network import FACTORS, Factor, UpscaleNet
from nst_core.upscaling.upscaler import Pixels, Upscaler, enlarged_opacity, load_upscaler
from tests.photos import small_photos

pytestmark = pytest.mark.usefixtures("one_thread")


def picture(height: int, width: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (16, 5), (40, 61)])
def test_every_size_gets_factor_times_as_long_sides(factor: Factor, height: int, width: int) -> None:
    assert load_upscaler(factor)(picture(height, width)).shape == (factor * height, factor * width, 3)


def test_tiles_have_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    large = picture(70, 50)
    whole = load_upscaler(2)(large)
    monkeypatch.setattr(upscaler, "_TILE_PX", 17)
    in_tiles = load_upscaler(2)(large)
    assert np.abs(whole.astype(int) - in_tiles).max() <= 1, "products may be summed in another order"


def test_each_tile_of_a_large_picture_is_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upscaler, "_TILE_PX", 17)
    tiles = list[None]()
    load_upscaler(2)(picture(20, 50), lambda: tiles.append(None))
    assert len(tiles) == 2 * 3


def test_a_flat_picture_stays_flat() -> None:
    for factor in FACTORS:
        for value in (0, 100, 255):
            result = load_upscaler(factor)(np.full((20, 20, 3), value, np.uint8))
            assert np.abs(result.astype(int) - value).max() <= 3
            assert result.std() < 1


def test_a_photo_comes_back_nearer_than_by_a_bicubic_enlargement(photos: list[Pixels]) -> None:
    for factor in FACTORS:
        gains = []
        for photo in photos:
            height, width = (side // factor for side in photo.shape[:2])
            part = np.ascontiguousarray(photo[: height * factor, : width * factor])
            small = Image.fromarray(part).resize((width, height), Image.Resampling.BICUBIC)
            bicubic = np.asarray(small.resize((width * factor, height * factor), Image.Resampling.BICUBIC))
            ours = load_upscaler(factor)(np.array(small))
            gains.append(psnr_db(ours, part) - psnr_db(bicubic, part))
        assert np.mean(gains) > 0.2


@pytest.fixture
def photos() -> list[Pixels]:
    from io import BytesIO

    files = [*small_photos(3, side_px=300).values()]
    return [np.array(Image.open(BytesIO(data)).convert("RGB")) for data in files]


def test_opacity_is_enlarged_too() -> None:
    opacity = np.zeros((6, 8), np.uint8)
    opacity[:, 4:] = 255
    large = enlarged_opacity(opacity, 4)
    assert large.shape == (24, 32)
    assert large[:, :12].max() == 0
    assert large[:, 20:].min() == 255


def test_an_untrained_network_enlarges_bicubically() -> None:
    small = picture(30, 30)
    image = torch.from_numpy(small).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(image, scale_factor=2, mode="bicubic").clamp(0, 255).round()
    ours = Upscaler(UpscaleNet(2))(small)
    assert np.abs(ours.astype(int) - expected[0].permute(1, 2, 0).numpy())[4:-4, 4:-4].max() <= 1
