"""Plots the losses of a training: weighted losses by step, raw and smoothed, on a log scale."""

import io
from collections.abc import Iterator, Sequence
from math import ceil, floor, log10
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from nst_core.system.whole_files import write_whole
from nst_core.training.step_losses import StepLosses

WIDTH_PX, HEIGHT_PX = 1000, 560
#: Left, top, right and bottom of the area of the curves.
_AREA = (84, 60, 976, 500)
#: The picture is drawn larger by this factor and then reduced, because Pillow's lines have no smooth edges.
_SCALE = 2
#: Colours that differ for colour-blind eyes too (Okabe & Ito 2008).
_COLORS = {
    "total": (40, 40, 40),
    "content": (0, 114, 178),
    "style": (213, 94, 0),
    "tv": (0, 158, 115),
    "stability": (204, 121, 167),
    "shift": (230, 159, 0),
    "grid": (86, 180, 233),
}
_INK, _GRID, _FINE_GRID = (70, 70, 70), (205, 205, 205), (236, 236, 236)

Values = npt.NDArray[np.float64]


def plot_losses(losses: Sequence[StepLosses], path: Path, *, title: str) -> None:
    """Write a PNG of the losses whose values are above 0; with no losses it has empty axes."""
    steps = np.array([each.step for each in losses], dtype=float)
    series = {name: np.array([getattr(each, name) for each in losses], dtype=float) for name in _COLORS}
    series = {name: values for name, values in series.items() if (values > 0).any()}
    canvas = _Canvas(steps, series)
    canvas.draw_axes(title)
    for name, values in series.items():
        canvas.draw_band(values, _COLORS[name])
    for (
        name,
        values,
    ) in series.items():  # draw the total first and broader, so that it stays visible if one loss almost equals it
        canvas.draw_curve(values, _COLORS[name], width=5.0 if name == "total" else 2.5)
    canvas.draw_legend(series)
    buffer = io.BytesIO()
    canvas.image.reduce(_SCALE).save(buffer, "PNG", optimize=True)
    write_whole(path, buffer.getvalue())


def smoothed(values: Values, width: int) -> Values:
    """Return a moving geometric mean over `width` values, fewer at the ends; values of 0 or less are ignored."""
    positive = values > 0
    logs = np.where(positive, np.log(np.where(positive, values, 1.0)), 0.0)
    reach = width // 2
    first = np.maximum(np.arange(len(values)) - reach, 0)
    last = np.minimum(np.arange(len(values)) + reach + 1, len(values))
    sums, counts = (np.concatenate([[0.0], np.cumsum(each)]) for each in (logs, positive))
    number = counts[last] - counts[first]
    means = (sums[last] - sums[first]) / np.maximum(number, 1)
    return np.where(number > 0, np.exp(means), np.nan)


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Return round numbers from `low` to `high`, about `count` of them and 1, 2 or 5 times a power of ten apart."""
    raw = max(high - low, 1e-300) / count
    power = 10.0 ** floor(log10(raw))
    gap = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    return [number * gap for number in range(ceil(low / gap - 1e-9), floor(high / gap + 1e-9) + 1)]


def readable(value: float) -> str:
    """Return a number as a short text: four digits, or all digits before the point."""
    return f"{value:,.0f}" if 1000 <= value < 1e8 else f"{value:.4g}"


class _Canvas:
    """A picture with the scales of its axes."""

    def __init__(self, steps: Values, series: dict[str, Values]) -> None:
        self.image = Image.new("RGB", (WIDTH_PX * _SCALE, HEIGHT_PX * _SCALE), "white")
        self._draw = ImageDraw.Draw(self.image)
        self._steps = steps
        self._last = max(float(steps[-1]), 1.0) if len(steps) else 1.0
        positive = np.concatenate([values[values > 0] for values in series.values()] or [np.array([0.1, 10.0])])
        low, high = np.log10(positive.min()), np.log10(positive.max())
        margin = max(0.04 * (high - low), 0.02)
        self._low, self._high = float(low - margin), float(high + margin)

    def _x(self, step: float) -> float:
        left, _, right, _ = _AREA
        return left + (right - left) * step / self._last

    def _y(self, value: float) -> float:
        _, top, _, bottom = _AREA
        return bottom - (bottom - top) * (log10(value) - self._low) / (self._high - self._low)

    def _line(self, points: list[tuple[float, float]], color: tuple[int, int, int], width: float) -> None:
        scaled = [(x * _SCALE, y * _SCALE) for x, y in points]
        self._draw.line(scaled, fill=color, width=round(width * _SCALE), joint="curve")

    def _text(self, x: float, y: float, text: str, *, anchor: str, size: int = 14) -> None:
        font = ImageFont.load_default(size * _SCALE)
        self._draw.text((x * _SCALE, y * _SCALE), text, fill=_INK, font=font, anchor=anchor)

    def draw_axes(self, title: str) -> None:
        left, top, right, bottom = _AREA
        self._text(left, 10, " ".join(title.split()), anchor="lt", size=17)  # an anchor takes a single line
        self._text((left + right) / 2, HEIGHT_PX - 8, "step (pale: single steps, dark: smoothed)", anchor="mb")
        for value, labelled in self._levels():
            y = self._y(value)
            self._line([(left, y), (right, y)], _GRID if labelled else _FINE_GRID, 1)
            if labelled:
                self._text(left - 8, y, readable(value), anchor="rm")
        for step in nice_ticks(0, self._last, min(8, int(self._last))):
            self._line([(self._x(step), bottom), (self._x(step), bottom + 5)], _INK, 1)
            self._text(self._x(step), bottom + 9, f"{step:,.0f}", anchor="mt")
        self._line([(left, top), (left, bottom), (right, bottom)], _INK, 1.5)

    def _levels(self) -> list[tuple[float, bool]]:
        """Return where horizontal lines go, and which have a label: at least two."""
        decades = range(floor(self._low), ceil(self._high) + 1)
        for labelled in ((1,), (1, 2, 5), tuple(range(1, 10))):
            levels = [(factor * 10.0**power, factor in labelled) for power in decades for factor in range(1, 10)]
            shown = [(value, label) for value, label in levels if self._low <= log10(value) <= self._high]
            if sum(label for _, label in shown) >= 3:
                return shown
        return [(value, True) for value in nice_ticks(10**self._low, 10**self._high, 5) if value > 0]

    def _by_column(self, values: Values) -> Iterator[tuple[int, Values]]:
        """Yield the columns of pixels that have values above 0, with these values."""
        columns = np.array([self._x(step) for step in self._steps]).round().astype(int)
        starts = np.flatnonzero(np.diff(columns, prepend=-1))
        for column, group in zip(columns[starts], np.split(values, starts[1:]), strict=True):
            if (group > 0).any():
                yield int(column), group[group > 0]

    def draw_band(self, values: Values, color: tuple[int, int, int]) -> None:
        """Draw a pale band from the least to the greatest value of each column."""
        pale = (color[0] // 4 + 191, color[1] // 4 + 191, color[2] // 4 + 191)
        above, below = float("inf"), float("-inf")
        for column, group in self._by_column(values):
            top, bottom = self._y(group.max()), self._y(group.min())
            # Start where the previous column ended, so that there are no gaps.
            self._line([(column, min(top, below) - 0.5), (column, max(bottom, above) + 0.5)], pale, 1.5)
            above, below = top, bottom

    def draw_curve(self, values: Values, color: tuple[int, int, int], *, width: float) -> None:
        """Draw the smoothed values."""
        mean = smoothed(values, max(1, len(values) // 50))
        points = [(float(column), self._y(float(group.mean()))) for column, group in self._by_column(mean)]
        if len(points) == 1:  # draw a dash for a single point
            points = [(points[0][0] + offset, points[0][1]) for offset in (-4, 4)]
        self._line(points, color, width)

    def draw_legend(self, series: dict[str, Values]) -> None:
        x = float(_AREA[0])
        for name, values in series.items():
            last = smoothed(values, max(1, len(values) // 50))[-1]
            text = f"{name} {readable(last)}"
            self._line([(x, 44), (x + 22, 44)], _COLORS[name], 4)
            self._text(x + 30, 44, text, anchor="lm")
            x += 30 + ImageFont.load_default(14 * _SCALE).getlength(text) / _SCALE + 28
