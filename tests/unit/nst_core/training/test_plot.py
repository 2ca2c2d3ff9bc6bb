"""The plot of the losses: correct curves for any number of steps."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from nst_core.training.plot import HEIGHT_PX, WIDTH_PX, nice_ticks, plot_losses, readable, smoothed
from nst_core.training.step_losses import StepLosses

BLUE, RED, GREEN = (0, 114, 178), (213, 94, 0), (0, 158, 115)


def drawn(path: Path, losses: list[StepLosses]) -> npt.NDArray[np.int64]:
    plot_losses(losses, path / "losses.png", title="Test")
    with Image.open(path / "losses.png") as image:
        assert image.format == "PNG"
        assert image.size == (WIDTH_PX, HEIGHT_PX)
        return np.asarray(image.convert("RGB")).astype(np.int64)


def curve(pixels: npt.NDArray[np.int64], color: tuple[int, int, int]) -> dict[int, float]:
    """Return the mean height above the lower edge of a colour's pixels below the legend, by column."""
    close = np.abs(pixels - color).sum(2) < 30
    close[:60] = False
    return {int(x): float(HEIGHT_PX - np.flatnonzero(close[:, x]).mean()) for x in np.flatnonzero(close.any(0))}


def test_curves_follow_their_losses(tmp_path: Path) -> None:
    losses = [
        StepLosses(step=step, content=10.0 * 1.01**step, style=1e5 * 0.99**step, tv=0.0) for step in range(1, 401)
    ]
    pixels = drawn(tmp_path, losses)
    content, style = curve(pixels, BLUE), curve(pixels, RED)
    columns = sorted(content.keys() & style.keys())
    assert columns[-1] - columns[0] > 0.7 * WIDTH_PX
    # Growth and decay by a constant factor are straight lines on a log scale.
    assert np.corrcoef(columns, [content[x] for x in columns])[0, 1] > 0.99
    assert np.corrcoef(columns, [style[x] for x in columns])[0, 1] < -0.99
    assert curve(pixels, GREEN) == {}, "a loss that is nothing has no curve"


def test_one_spike_is_visible_and_does_not_bend_the_curve(tmp_path: Path) -> None:
    losses = [StepLosses(step=step, content=100.0, style=1.0, tv=0.0) for step in range(1, 1001)]
    losses[499] = StepLosses(step=500, content=10_000.0, style=1.0, tv=0.0)
    pixels = drawn(tmp_path, losses)
    heights = list(curve(pixels, BLUE).values())
    assert max(heights) - min(heights) < 50
    assert (pixels[80:180, 500:560] < 230).any()


@pytest.mark.parametrize("count", [0, 1, 2, 5000])
def test_any_number_of_steps_can_be_drawn(tmp_path: Path, count: int) -> None:
    losses = [StepLosses(step=step, content=1.0 + step % 3, style=5.0, tv=0.1) for step in range(1, count + 1)]
    found = curve(drawn(tmp_path, losses), GREEN)
    assert bool(found) == bool(count)


def test_equal_tiny_and_huge_values_can_be_drawn(tmp_path: Path) -> None:
    for content, style in ((1.0, 1.0), (1e-12, 1e-11), (1e20, 1e-20)):
        losses = [StepLosses(step=step, content=content, style=style, tv=0.0) for step in (1, 2, 3)]
        pixels = drawn(tmp_path, losses)
        assert curve(pixels, RED) or curve(pixels, BLUE)


@pytest.mark.parametrize("title", ["two\nlines", "\ttab\r\n", "", "\udcff", "a" * 1000])
def test_any_name_of_a_folder_or_a_painting_can_be_the_title(tmp_path: Path, title: str) -> None:
    plot_losses([StepLosses(step=1, content=1.0, style=5.0, tv=0.1)], tmp_path / "losses.png", title=title)
    assert (tmp_path / "losses.png").exists()


def test_smoothing_is_the_geometric_mean_of_the_available_values() -> None:
    np.testing.assert_allclose(smoothed(np.array([1.0, 100.0, 1.0]), 3), [10, 100 ** (1 / 3), 10])
    np.testing.assert_allclose(smoothed(np.array([0.0, 4.0, 0.0, 0.0]), 3), [4, 4, 4, np.nan])
    np.testing.assert_allclose(smoothed(np.array([3.0, 5.0]), 1), [3, 5])


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [(0, 10, 5, [0, 2, 4, 6, 8, 10]), (0, 2000, 8, [0, 500, 1000, 1500, 2000]), (0, 3, 3, [0, 1, 2, 3])],
)
def test_ticks_are_round_numbers(low: float, high: float, count: int, expected: list[float]) -> None:
    assert nice_ticks(low, high, count) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "text"), [(123456.7, "123,457"), (12.34567, "12.35"), (1e-5, "1e-05"), (1.0, "1"), (3e9, "3e+09")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert readable(value) == text
