"""Tests of nst_core.inference.blend."""

import subprocess
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest

from nst_core.errors import ConfigError
from nst_core.inference import blend as module
from nst_core.inference.blend import blend
from nst_core.inference.stylizer import Pixels
from nst_core.nets.tensors import LUMA


def picture(height: int = 24, width: int = 33, *, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def soft(height: int = 96, width: int = 128, *, low: int, high: int, seed: int) -> Pixels:
    """Return a picture with soft colours in a range."""
    coarse = np.random.default_rng(seed).uniform(low, high, (height // 16, width // 16, 3))
    return np.kron(coarse, np.ones((16, 16, 1))).round().astype(np.uint8)


def test_a_strength_of_1_is_the_painted_picture_itself() -> None:
    painted = picture(seed=1)
    assert blend(picture(), painted) is painted


def test_a_strength_of_0_is_the_photo_whatever_else_is_asked_for() -> None:
    for preserve_color in (False, True):
        result = blend(picture(), picture(seed=1), strength=0.0, preserve_color=preserve_color)
        np.testing.assert_array_equal(result, picture())


@pytest.mark.parametrize("strength", [0.25, 0.5, 0.9])
def test_soft_colours_follow_the_strength(strength: float) -> None:
    photo, painted = np.full((90, 140, 3), (10, 200, 90), np.uint8), np.full((90, 140, 3), (250, 100, 30), np.uint8)
    expected = photo + strength * (painted.astype(float) - photo)
    assert np.abs(blend(photo, painted, strength=strength) - expected).max() <= 0.51


@pytest.mark.parametrize(
    ("strength", "least", "most"), [(0.1, 0.0, 0.1), (0.25, 0.2, 0.4), (0.5, 0.8, 0.9), (0.7, 1, 1)]
)
def test_strokes_come_early_and_take_the_place_of_the_photos_texture(
    strength: float, least: float, most: float
) -> None:
    lines = np.zeros((96, 96, 3), np.uint8)
    lines[::2] = 60
    photo, painted = 90 + lines, 90 + np.swapaxes(lines, 0, 1)
    result = blend(photo, painted.copy(), strength=strength).astype(int)
    texture, strokes = np.abs(result[1:] - result[:-1]).mean() / 60, np.abs(result[:, 1:] - result[:, :-1]).mean() / 60
    assert least - 0.02 <= strokes <= most + 0.02
    assert texture + strokes == pytest.approx(1, abs=0.04)


def test_strength_is_continuous() -> None:
    photo, painted = picture(100, 120), picture(100, 120, seed=1)
    before = photo
    for strength in np.linspace(0, 1, 201):
        result = blend(photo, painted.copy(), strength=float(strength))
        assert np.abs(result.astype(int) - before).max() <= 6
        before = result
    np.testing.assert_array_equal(before, painted)


@pytest.mark.parametrize(("low", "high"), [(0, 90), (90, 255), (80, 170)])
def test_preserved_colours_have_the_photos_light(low: int, high: int) -> None:
    photo, painted = soft(low=60, high=230, seed=0), soft(low=low, high=high, seed=1)
    result = blend(photo, painted.copy(), preserve_color=True)
    before, after = photo @ np.array(LUMA), result @ np.array(LUMA)
    assert abs(after.mean() - before.mean()) <= 2
    assert abs(after.std() - before.std()) <= 2
    shape = np.corrcoef(after.ravel(), (painted @ np.array(LUMA)).ravel())[0, 1]
    assert shape > 0.99, "its shapes are those of the painted picture"


@pytest.mark.parametrize(("low", "high"), [(0, 255), (235, 255), (255, 255), (0, 12)])
def test_the_light_of_a_hard_a_bright_and_a_dark_photo_is_kept_too(low: int, high: int) -> None:
    photo, painted = soft(low=low, high=high, seed=0), picture(96, 128)
    photo[:20] = low
    result = blend(photo, painted, preserve_color=True)
    assert abs((result @ np.array(LUMA)).mean() - (photo @ np.array(LUMA)).mean()) <= 2


def test_contrast_is_at_most_doubled() -> None:
    photo, painted = soft(low=60, high=230, seed=0), soft(low=120, high=130, seed=1)
    result = blend(photo, painted.copy(), preserve_color=True)
    assert (result @ np.array(LUMA)).std() == pytest.approx(2 * (painted @ np.array(LUMA)).std(), rel=0.05)


def test_light_beyond_the_range_is_compressed_and_not_cut_off() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 256, 1), 3, axis=2)
    photo = np.where(ramp < 128, 20, 250).astype(np.uint8)
    result = blend(photo, ramp.copy(), preserve_color=True)[0, :, 0].astype(int)
    assert (np.diff(result) >= 0).all()
    assert (result[0], result[-1]) > (0, 200)
    assert result[-1] < 255


def test_preserved_colours_are_those_of_the_photo() -> None:
    # The YIQ matrix of NTSC, with only the middle range of colours, so that nothing is made paler.
    yiq = np.array([LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
    photo, painted = soft(low=112, high=144, seed=0), soft(low=0, high=255, seed=1)
    result = blend(photo, painted, preserve_color=True)
    assert np.abs(result @ yiq[1:].T - photo @ yiq[1:].T).max() <= 1


def test_a_colour_without_room_becomes_paler_and_keeps_its_hue_and_luminance() -> None:
    photo = np.array([[[255, 0, 0], [0, 90, 0]]], np.uint8)
    painted = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    red, green = blend(photo, painted, preserve_color=True)[0].astype(int)
    assert red[0] > red[1] == red[2]
    assert green[1] > green[0] == green[2]
    # Dark and light have changed sides, as they are in the painted picture.
    expected = sorted((photo @ np.array(LUMA)).ravel())
    np.testing.assert_allclose([red @ np.array(LUMA), green @ np.array(LUMA)], expected, atol=1)


def test_a_grey_photo_stays_grey_in_its_colours() -> None:
    grey = np.repeat(picture()[..., :1], 3, axis=2)
    result = blend(grey, picture(seed=1), preserve_color=True)
    assert np.ptp(result, axis=2).max() == 0


def test_flat_pictures_have_the_photos_light() -> None:
    flat = np.full((20, 20, 3), 40, np.uint8)
    np.testing.assert_array_equal(blend(flat + 100, flat.copy(), preserve_color=True), flat + 100)


def test_the_weight_says_where_the_photo_is_painted() -> None:
    weight = np.zeros((24, 33), np.uint8)
    weight[:, 11:22], weight[:, 22:] = 51, 255
    result = blend(picture(), picture(seed=1), weight=weight)
    np.testing.assert_array_equal(result[:, :11], picture()[:, :11])
    np.testing.assert_array_equal(result[:, 22:], picture(seed=1)[:, 22:])
    expected = picture() + 0.2 * (picture(seed=1).astype(float) - picture())
    assert np.abs(result - expected)[:, 11:22].max() <= 0.51


def test_weight_and_strength_are_multiplied() -> None:
    weight = np.full((24, 33), 255, np.uint8)
    options: dict[str, Any] = {"strength": 0.5, "preserve_color": True}
    result = blend(picture(), picture(seed=1), weight=weight, **options)
    np.testing.assert_array_equal(result, blend(picture(), picture(seed=1), **options))


def test_a_weight_is_stretched_to_the_photo() -> None:
    photo, painted = np.zeros((120, 80, 3), np.uint8), np.full((120, 80, 3), 255, np.uint8)
    result = blend(photo, painted, weight=np.array([[0, 255]], np.uint8))[..., 0].astype(int)
    assert np.ptp(result, axis=0).max() == 0
    assert (result[0, 0], result[0, -1]) == (0, 255)
    assert (np.diff(result[0]) >= 0).all()
    assert 0 < np.diff(result[0]).max() < 20


def test_bands_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    photo, painted, weight = picture(211, 90), picture(211, 90, seed=1), picture(37, 20, seed=2)[..., 0].copy()
    options: dict[str, Any] = {"strength": 0.7, "preserve_color": True, "weight": weight}
    whole = blend(photo, painted.copy(), **options)
    monkeypatch.setattr(module, "_BAND_PIXELS", 90 * 16)
    # Values between two pixels of a small picture may be rounded in another way.
    assert np.abs(blend(photo, painted.copy(), **options).astype(int) - whole).max() <= 1
    colours = blend(photo, painted.copy(), preserve_color=True)
    monkeypatch.undo()
    np.testing.assert_array_equal(blend(photo, painted.copy(), preserve_color=True), colours)


def test_a_very_wide_photo_needs_little_memory() -> None:
    photo, painted = picture(100, 32_768), picture(100, 32_768, seed=1)
    tracemalloc.start()
    blend(photo, painted, strength=0.5)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < photo.nbytes


def test_read_only_and_strided_pictures_are_taken() -> None:
    photo, painted = picture(), picture(seed=1)
    expected = blend(photo, painted.copy(), preserve_color=True)
    photo.flags.writeable = painted.flags.writeable = False
    np.testing.assert_array_equal(blend(photo, painted, preserve_color=True), expected)
    np.testing.assert_array_equal(blend(photo[::-1], painted[::-1], preserve_color=True)[::-1], expected)


@pytest.mark.parametrize("strength", [-0.01, 1.01, float("nan")])
def test_a_strength_out_of_range_is_refused(strength: float) -> None:
    with pytest.raises(ConfigError, match="strength must be from 0 to 1"):
        blend(picture(), picture(seed=1), strength=strength)


@pytest.mark.parametrize("painted", [picture(24, 32), picture()[..., :1], picture().astype(np.float32)])
def test_pictures_that_do_not_fit_are_refused(painted: Any) -> None:
    with pytest.raises(ConfigError, match="H x W x 3"):
        blend(picture(), painted)


@pytest.mark.parametrize("weight", [picture(), np.zeros((24, 33)), np.zeros((0, 33), np.uint8)])
def test_a_weight_of_another_shape_or_type_is_refused(weight: Any) -> None:
    with pytest.raises(ConfigError, match="The weight must be"):
        blend(picture(), picture(seed=1), weight=weight)


def test_torch_is_not_loaded() -> None:
    code = "import sys, nst_core.inference.blend; raise SystemExit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
