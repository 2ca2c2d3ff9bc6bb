"""Tests of nst_core.inference.row_ranges."""

import pytest
import torch
from torch.nn import functional as F

from nst_core.inference.row_ranges import Rows, conv_source, head_source, strips, up_source


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (9, 1)])
def test_a_convolution_of_the_source_rows_gives_the_wanted_rows(kernel: int, stride: int) -> None:
    size = 41
    x, weights = torch.rand(1, 1, size, 1), torch.rand(1, 1, kernel, 1)
    whole = F.conv2d(F.pad(x, [0, 0, kernel // 2, kernel // 2]), weights, stride=stride)
    for wanted in strips(whole.shape[2], 8):
        source, missing = conv_source(wanted, kernel=kernel, stride=stride).within(size)
        part = F.pad(x[:, :, source.first : source.end], [0, 0, int(missing[0]), int(missing[1])])
        result = F.conv2d(part, weights, stride=stride)
        assert torch.allclose(result, whole[:, :, wanted.first : wanted.end])


@pytest.mark.parametrize("wanted", [Rows(0, 8), Rows(4, 9), Rows(5, 12), Rows(7, 8)])
def test_rows_made_in_pairs(wanted: Rows) -> None:
    for multiple in (2, 4):
        source, place = up_source(wanted, 12, multiple=multiple)
        made = range(2 * (source.first + 1), 2 * (source.end - 1))
        assert list(made)[place.first : place.end] == list(range(wanted.first, wanted.end))
        assert made.start % multiple == 0
        assert made.stop % multiple == 0


def test_no_rows_after_the_last_pair_are_made() -> None:
    assert up_source(Rows(8, 14), 14, multiple=4) == (Rows(3, 8), Rows(0, 6))
    assert up_source(Rows(8, 13), 13, multiple=4) == (Rows(3, 8), Rows(0, 5))
    assert up_source(Rows(5, 12), 15, multiple=4) == (Rows(1, 7), Rows(1, 8))


def test_rows_can_begin_and_end_at_multiples_where_more_than_enough_are_there() -> None:
    kept, missing = Rows(7, 18).within(30, multiple=4)
    assert kept == Rows(4, 20)
    assert missing.tolist() == [-3, -2]
    kept, missing = Rows(-1, 18).within(19, multiple=4)
    assert kept == Rows(0, 19)
    assert missing.tolist() == [1, -1]


def test_the_last_convolution_makes_rows_in_pairs() -> None:
    assert head_source(Rows(8, 16)) == Rows(4, 20)
    assert head_source(Rows(8, 17)) == Rows(4, 22)


@pytest.mark.parametrize("size", [1, 7, 8, 11, 12, 13, 20, 100])
def test_strips_cover_all_rows_once_and_none_is_small(size: int) -> None:
    parts = strips(size, 8)
    assert [row for part in parts for row in range(part.first, part.end)] == list(range(size))
    assert all(len(part) == 8 for part in parts[:-1])
    assert len(parts) == 1 or 4 <= len(parts[-1]) <= 12
