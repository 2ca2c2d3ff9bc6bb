"""Tests of nst_core.inference.strokes."""

import subprocess
import sys
import tracemalloc
from hashlib import sha256

import numpy as np
import pytest
from PIL import Image

from nst_core.inference import strokes
from nst_core.inference.strokes import (
    REFERENCE_PIXELS,
    StrokeSize,
    carried_over,
    copy_to_paint,
    fine_stroke,
    largest_photo,
    painted_size,
)
from nst_core.inference.stylizer import Pixels


def photo(height: int, width: int) -> Pixels:
    """Return a soft photo with sharp vertical lines."""
    coarse = np.random.default_rng(0).integers(40, 200, (height // 16 + 2, width // 16 + 2, 3), np.uint8)
    soft = np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    soft[:, ::8] //= 2
    return soft


@pytest.mark.parametrize(
    ("size", "stroke", "painted"),
    [
        ((1000, 2000), None, (1000, 2000)),
        ((1000, 2000), 1.0, (1000, 2000)),
        ((1000, 2000), 2.0, (500, 1000)),
        ((1000, 2000), 0.5, (2000, 4000)),
        ((1000, 2001), 4.0, (250, 500)),
        ((4000, 9000), "auto", (667, 1500)),
        ((1000, 1000), "auto", (1000, 1000)),
        ((500, 500), "auto", (1000, 1000)),
        ((100, 100), "auto", (200, 200)),
    ],
)
def test_the_size_of_the_copy(size: tuple[int, int], stroke: StrokeSize | None, painted: tuple[int, int]) -> None:
    assert painted_size(*size, stroke) == painted


def test_no_side_of_the_copy_is_too_small_for_the_network() -> None:
    assert painted_size(40, 4000, 4.0, min_side_px=16) == (16, 1600)
    assert painted_size(20, 30, 4.0, min_side_px=16) == (16, 24)
    assert painted_size(16, 30, 4.0, min_side_px=16) == (16, 30)


def test_auto_paints_copies_of_one_size_whatever_the_size_of_the_photo() -> None:
    sizes = {painted_size(round(side * 0.75), side, "auto") for side in (816, 1155, 4000, 10_000)}
    heights = [height for height, _ in sizes]
    assert max(heights) - min(heights) <= 1
    assert all(abs(height * width / REFERENCE_PIXELS - 1) < 0.01 for height, width in sizes)


@pytest.mark.parametrize(("stroke", "most"), [(None, 4_000_000), (1.0, 4_000_000), (2.0, 16_000_000), (0.5, 1_000_000)])
def test_the_largest_photo(stroke: StrokeSize | None, most: int) -> None:
    assert largest_photo(4_000_000, stroke) == most


def test_auto_has_no_largest_photo_unless_the_network_cannot_paint_the_copy() -> None:
    assert largest_photo(REFERENCE_PIXELS, "auto") > 10**12
    assert largest_photo(500_000, "auto") == 500_000


def test_without_another_size_nothing_changes() -> None:
    whole = photo(40, 60)
    assert copy_to_paint(whole, (40, 60)) is whole
    painted = 255 - whole
    assert carried_over(whole, whole, painted) is painted


#: Prints how many bytes making a copy of a photo of 6 megapixels takes, the copy included.
COPY = """
from pathlib import Path
import numpy as np
from nst_core.inference.strokes import copy_to_paint

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))

photo = np.full((2000, 3000, 3), 7, np.uint8)
copy_to_paint(photo[:64, :64], (60, 60))
before = status("VmRSS")
copy = copy_to_paint(photo, (1905, 2857))
print(status("VmHWM") - before)
"""


def test_a_copy_takes_little_more_memory_than_its_bytes() -> None:
    # What Pillow takes is in the memory of the process alone.
    done = subprocess.run([sys.executable, "-c", COPY], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 3 * 1905 * 2857 + 4.5 * 2000 * 3000


@pytest.mark.parametrize(("size", "copy_size"), [((401, 603), (267, 402)), ((90, 1), (30, 1)), ((50, 75), (100, 150))])
def test_a_copy_has_the_bytes_of_all_channels_at_once(size: tuple[int, int], copy_size: tuple[int, int]) -> None:
    whole = photo(*size)
    way = Image.Resampling.LANCZOS if copy_size < size else Image.Resampling.BICUBIC
    expected = np.asarray(Image.fromarray(whole).resize(copy_size[::-1], way))
    np.testing.assert_array_equal(copy_to_paint(whole, copy_size), expected)


def test_a_copy_that_was_not_changed_gives_the_photo() -> None:
    whole = photo(400, 600)
    copy = copy_to_paint(whole, (200, 300))
    sharp = carried_over(whole, copy, copy)
    blurred = np.array(Image.fromarray(copy).resize((600, 400), Image.Resampling.BICUBIC))
    assert np.abs(sharp.astype(int) - whole).mean() < 0.4 * np.abs(blurred.astype(int) - whole).mean()


def test_the_painting_reduced_is_the_painted_copy() -> None:
    whole = photo(400, 600)
    copy = copy_to_paint(whole, (200, 300))
    painted = np.clip(copy.astype(int) // 2 + np.array([60, 20, 0]), 0, 255).astype(np.uint8)
    reduced = np.array(Image.fromarray(carried_over(whole, copy, painted)).resize((300, 200), Image.Resampling.LANCZOS))
    assert np.abs(reduced.astype(int) - painted).mean() < 3


def test_a_painting_without_lines_gets_none() -> None:
    whole = photo(400, 600)
    copy = copy_to_paint(whole, (200, 300))
    even = np.full_like(copy, 90)
    assert np.abs(carried_over(whole, copy, even).astype(int) - 90).max() <= 1


def test_a_larger_copy_is_reduced_again() -> None:
    whole = photo(40, 60)
    copy = copy_to_paint(whole, (80, 120))
    assert copy.shape == (80, 120, 3)
    result = carried_over(whole, copy, copy)
    assert result.shape == whole.shape
    assert np.abs(result.astype(int) - whole).mean() < 4


def test_strips_make_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = photo(400, 600)
    copy = copy_to_paint(whole, (180, 270))
    at_once = carried_over(whole, copy, 255 - copy)
    monkeypatch.setattr(strokes, "_STRIP_PIXELS", 600 * 24)
    assert np.abs(carried_over(whole, copy, 255 - copy).astype(int) - at_once).max() <= 1


def pattern(height: int, width: int) -> Pixels:
    rows, columns = np.indices((height, width))
    return np.stack([rows * 3 + columns, rows * columns // 7, columns * 5], 2).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "copy_size", "digest"),
    [
        ((401, 603), (267, 402), "cbe152acd46e04cb"),
        ((1001, 37), (500, 19), "6fe13f2213268a1f"),
        ((33, 1000), (27, 833), "059f2693e750085b"),
        ((2, 50), (1, 25), "4071274bc1538621"),
    ],
)
def test_parts_of_the_copy_give_the_bytes_that_the_whole_copy_gave(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], copy_size: tuple[int, int], digest: str
) -> None:
    monkeypatch.setattr(strokes, "_STRIP_PIXELS", 2**14)
    copy = pattern(*copy_size)[::-1]
    painted = copy // 2 + pattern(*copy_size[::-1]).swapaxes(0, 1) // 3
    assert sha256(carried_over(pattern(*size), copy, painted).tobytes()).hexdigest()[:16] == digest


@pytest.mark.parametrize("size", [(800, 1200), (1200, 800), (16, 60_000), (60_000, 16)])
def test_the_change_takes_little_memory_beside_the_pictures(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.setattr(strokes, "_STRIP_PIXELS", 2**16)
    whole = pattern(*size)
    copy = copy_to_paint(whole, painted_size(*size, 1.2))
    painted = 255 - copy
    tracemalloc.start()
    result = carried_over(whole, copy, painted)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2 * result.nbytes + 6 * 2**20  # as floats, the copy takes 40 MB


def test_a_very_wide_photo_is_painted_on_its_side(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = photo(30, 6000)
    copy = copy_to_paint(whole, (25, 5000))
    upright = carried_over(whole, copy, 255 - copy)
    monkeypatch.setattr(strokes, "_STRIP_PIXELS", 2**16)
    turned = carried_over(whole, copy, 255 - copy)
    assert turned.flags.c_contiguous
    assert np.abs(turned.astype(int) - upright).max() <= 1


def test_it_never_loads_torch() -> None:
    script = "import sys, nst_core.inference.strokes; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize(("size", "stroke"), [((100, 100), 1.0), ((1000, 1000), 1.0), ((2000, 8000), 4.0)])
def test_fine_strokes_grow_with_large_photos(size: tuple[int, int], stroke: float) -> None:
    assert fine_stroke(*size) == stroke
    assert painted_size(*size, "fine") == painted_size(*size, stroke)
