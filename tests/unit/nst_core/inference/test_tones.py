"""The photo's drawing in the tones of a painted picture."""

import hashlib
import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from skimage import data

from nst_core.inference.luminance import grey_levels
from nst_core.inference.stylizer import Pixels
from nst_core.inference.tones import toned

PHOTO: Pixels = np.asarray(data.astronaut())[:256, 96:352].copy()  # type: ignore[no-untyped-call]
#: Another drawing, in other light and other colours.
PAINTED: Pixels = np.asarray(data.coffee())[:256, :256][:, :, ::-1].copy()  # type: ignore[no-untyped-call]
NOWHERE, EVERYWHERE = np.zeros((1, 1), np.uint8), np.full((1, 1), 255, np.uint8)


def drawn(photo: Pixels, painted: Pixels) -> Pixels:
    """Return the photo in the tones of a picture, which stays as it is."""
    return toned(photo, painted.copy(), NOWHERE, EVERYWHERE)


def sepia(levels: npt.NDArray[np.int64]) -> Pixels:
    """Return grey levels in brown."""
    result: Pixels = np.rint(np.stack([levels, 0.8 * levels, 0.5 * levels], -1)).astype(np.uint8)
    return result


def test_what_is_painted_fully_stays_as_it_is() -> None:
    np.testing.assert_array_equal(toned(PHOTO, PAINTED.copy(), EVERYWHERE, EVERYWHERE), PAINTED)


def test_the_drawing_is_that_of_the_photo_and_the_light_that_of_the_painting() -> None:
    result, photo, painted = (grey_levels(each).ravel() for each in (drawn(PHOTO, PAINTED), PHOTO, PAINTED))
    ranks = np.stack([each.argsort().argsort() for each in (result, photo, painted)])
    alike = np.asarray(np.corrcoef(ranks))
    assert alike[0, 1] > 0.97 > 0.3 > alike[0, 2]
    shares = np.linspace(5, 85, 17)
    assert np.abs(np.percentile(result, shares) - np.percentile(painted, shares)).max() < 8
    assert np.abs(np.percentile(photo, shares) - np.percentile(painted, shares)).max() > 50


def test_colours_are_those_that_the_painting_has_at_their_level() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (96, 96))
    photo = np.repeat(np.random.default_rng(1).integers(0, 256, (96, 96, 1)), 3, axis=2).astype(np.uint8)
    result = drawn(photo, sepia(levels))
    expected = sepia(np.arange(256))
    nearest = np.abs(grey_levels(expected[None])[0] - grey_levels(result)[..., None]).argmin(-1)
    assert np.abs(result.astype(int) - expected[nearest])[grey_levels(result) > 30].max() < 12


def test_a_drawing_in_ink_stays_without_colour() -> None:
    ink = np.repeat(PAINTED[..., :1] // 128 * 255, 3, axis=2)
    assert np.ptp(PHOTO.astype(int), axis=2).mean() > 25
    assert np.ptp(drawn(PHOTO, ink).astype(int), axis=2).max() <= 1


def test_some_of_the_photos_own_colour_is_left() -> None:
    photo = np.full((64, 64, 3), 128, np.uint8)
    photo[:32] = (190, 106, 82)  # of about the same level
    result = drawn(photo, PAINTED[:64, :64]).astype(int)
    assert result[:32, :, 0].mean() - result[:32, :, 2].mean() > result[32:, :, 0].mean() - result[32:, :, 2].mean() + 8


def test_no_tone_is_lighter_or_darker_than_those_of_the_painting() -> None:
    photo = PHOTO.copy()
    photo[::50, ::50] = 255
    photo[1::50, ::50] = 0
    painted = 60 + PAINTED // 3
    levels = grey_levels(np.repeat(drawn(photo, painted).max(axis=2, keepdims=True), 3, axis=2))
    assert levels.max() <= painted.max() + 0.35 * 255 / 3
    grey = np.repeat(grey_levels(photo)[..., None].astype(np.uint8), 3, axis=2)
    result = grey_levels(drawn(grey, painted))
    assert grey_levels(painted).min() - 1 <= result.min() <= result.max() <= grey_levels(painted).max() + 1


def test_tones_are_those_around_a_face() -> None:
    # A wall that is white in the photo, and strokes of all tones in the picture.
    photo, painted = PHOTO.copy(), PAINTED.copy()
    photo[:, 128:], painted[:, 128:] = 250, np.arange(128)[None, :, None] * 2
    near = np.zeros((1, 2), np.uint8)
    near[0, 0] = 255
    near = near.repeat(128, axis=1)
    left = grey_levels(toned(photo, painted.copy(), NOWHERE, near)[:, :128]).mean()
    assert abs(left - grey_levels(painted[:, :128]).mean()) < 5
    nowhere = grey_levels(toned(photo, painted.copy(), NOWHERE, NOWHERE)[:, :128]).mean()
    assert abs(nowhere - grey_levels(painted[:, :128]).mean()) > 20


@pytest.mark.parametrize(("share", "change"), [(0.0, 0.5), (0.02, 2.0)])
def test_a_weak_painting_leaves_the_photo(share: float, change: float) -> None:
    result = toned(PHOTO, PHOTO.copy(), NOWHERE, EVERYWHERE, share=share)
    assert np.abs(result.astype(int) - PHOTO).mean() <= change


def test_in_between_both_are_mixed() -> None:
    half = toned(PHOTO, PAINTED.copy(), np.full((1, 1), 51, np.uint8), EVERYWHERE).astype(float)
    expected = 0.8 * drawn(PHOTO, PAINTED) + 0.2 * PAINTED
    assert np.abs(half - expected).max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (700, 2)])
@pytest.mark.parametrize("level", [0, 77, 255])
def test_flat_pictures_of_any_shape_stay_flat(shape: tuple[int, int], level: int) -> None:
    flat = np.full((*shape, 3), level, np.uint8)
    between = np.broadcast_to(np.array([131, 130, 131], np.uint8), (*shape, 3))
    for photo in (np.full((*shape, 3), 130, np.uint8), flat, between):
        assert np.abs(drawn(photo, flat).astype(int) - level).max() <= 1


def test_a_large_photo_has_the_tones_of_a_small_one_and_needs_no_memory_of_its_own() -> None:
    large = [np.asarray(Image.fromarray(each).resize((1280, 1280), 0)) for each in (PHOTO, PAINTED)]
    result = large[1].copy()
    assert toned(large[0], result, NOWHERE, EVERYWHERE) is result
    small = drawn(PHOTO, PAINTED)
    assert np.abs(result[2::5, 2::5].astype(int) - small).max() <= 4


@pytest.mark.parametrize(
    ("places", "level", "most"),
    [
        ([(0, 0), (407, 620)], 255, 8 * 2**20),  # small faces in corners
        ([(200, 300)], 128, 16 * 2**20),  # so dim that no place is left of it when it is stretched
    ],
)
def test_a_large_photo_with_small_faces_needs_little_memory(
    places: list[tuple[int, int]], level: int, most: int
) -> None:
    photo = np.broadcast_to(np.arange(3000)[:, None] // 12, (2000, 3000, 3)).astype(np.uint8, order="C")
    painted, near = 255 - photo, np.zeros((427, 640), np.uint8)
    for row, column in places:
        size = 20 if level == 255 else 1
        near[row : row + size, column : column + size] = level
    tracemalloc.start()
    toned(photo, painted, 255 - near, near)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < most


def test_the_bytes_are_the_same_on_every_processor() -> None:
    rows, columns = np.indices((90, 70))
    photo = np.stack([rows * 2, columns * 3, (rows * columns) % 256], 2).astype(np.uint8)
    painted = np.stack([columns * 2, (rows * 7) % 200, rows + columns], 2).astype(np.uint8)
    weight = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert hashlib.sha256(toned(photo, painted, weight, weight).tobytes()).hexdigest()[:16] == "b9bfdd554088ddf7"
