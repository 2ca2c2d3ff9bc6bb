"""Which rows of a layer's input a strip of its output needs. Never loads torch."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Rows:
    """Rows `first` to `end` (not included) of a picture or map."""

    first: int
    end: int

    def __len__(self) -> int:
        return self.end - self.first

    def within(self, size: int, *, multiple: int = 1) -> tuple["Rows", npt.NDArray[np.int64]]:
        """Return the rows that exist in a map of `size` rows, and how many are missing before and after them.

        They begin and end at a multiple, or at the end of the map. So there may be more than enough: the number that is
        missing is negative then.
        """
        end = -(-self.end // multiple) * multiple
        kept = Rows(max(self.first // multiple * multiple, 0), min(end, size))
        return kept, np.array([kept.first - self.first, self.end - kept.end], np.int64)


def conv_source(rows: Rows, *, kernel: int, stride: int = 1) -> Rows:
    """Return the rows that a convolution with kernel // 2 rows of padding reads for some rows of its result."""
    margin = kernel // 2
    return Rows(rows.first * stride - margin, (rows.end - 1) * stride + margin + 1)


def head_source(rows: Rows) -> Rows:
    """Return the rows that the last convolution reads for some rows of the picture, of which it makes two at a time."""
    return Rows(rows.first - 4, rows.end + 4 + len(rows) % 2)


def up_source(rows: Rows, size: int, *, multiple: int = 2) -> tuple[Rows, Rows]:
    """Return what `Layers.up_at_once` reads for some rows of its result, and which they are of those that it makes.

    It makes pairs of rows of a map of `size` rows, from a multiple of `multiple` on, which is even.
    """
    made, _ = rows.within(size + size % 2, multiple=multiple)
    return Rows(made.first // 2 - 1, made.end // 2 + 1), Rows(rows.first - made.first, rows.end - made.first)


def strips(size: int, height: int) -> list[Rows]:
    """Return the rows of a map of `size` rows in strips of `height` rows; the last one has half to one and a half."""
    count = max(1, round(size / height))
    edges = [height * number for number in range(count)] + [size]
    return [Rows(first, end) for first, end in pairwise(edges)]
