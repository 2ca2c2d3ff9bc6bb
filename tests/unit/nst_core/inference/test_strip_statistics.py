"""Tests of nst_core.inference.strip_statistics."""

import numpy as np
import pytest

from nst_core.inference.halves import HalfOverflowError
from nst_core.inference.strip_statistics import Statistics


def test_statistics_of_parts_are_those_of_the_whole() -> None:
    values = np.random.default_rng(0).normal(30, 0.1, (1, 3, 60, 10))
    statistics = Statistics()
    for rows in (slice(0, 8), slice(8, 41), slice(41, 60)):
        part = values[:, :, rows]
        statistics.add(part[0, 0].size, part.mean((2, 3), keepdims=True), part.var((2, 3), keepdims=True))
    scale, shift = statistics.affine(np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.0, 0.0]), 1e-5)
    expected = np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1) / np.sqrt(values.var((2, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(scale, expected, rtol=1e-6)
    normalised = values * scale + shift
    np.testing.assert_allclose(normalised.mean((0, 2, 3)), [0.5, 0, 0], atol=1e-3)


def test_rounding_errors_of_a_flat_map_are_not_multiplied() -> None:
    statistics = Statistics()
    statistics.add(100, np.full((1, 1, 1, 1), 1000.0), np.full((1, 1, 1, 1), 1e-9))
    scale, shift = statistics.affine(np.ones(1), np.full(1, 0.25), 1e-5)
    assert scale.item() == 0
    assert shift.item() == 0.25


def test_the_largest_size_is_that_of_all_parts() -> None:
    statistics = Statistics()
    for mean in (3.0, -20.0, 5.0):
        statistics.add(9, np.full((1, 1, 1, 1), mean), np.full((1, 1, 1, 1), 4.0))
    assert statistics.largest.item() == 20 + 3 * 2


@pytest.mark.parametrize(("mean", "variance"), [(np.inf, 1.0), (1.0, np.inf), (np.nan, np.nan)])
def test_statistics_that_are_no_numbers_are_refused(mean: float, variance: float) -> None:
    with pytest.raises(HalfOverflowError):
        Statistics().add(9, np.full((1, 1, 1, 1), mean), np.full((1, 1, 1, 1), variance))
