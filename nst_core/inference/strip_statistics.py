"""Mean and variance of the maps of a picture in strips. Never loads torch."""

from typing import Any

import numpy as np

from nst_core.inference.halves import HalfOverflowError, largest

Array = np.ndarray[Any, Any]
#: A variance below this share of the squared mean consists of rounding errors; see `transformer.InstanceNorm`.
_ROUNDING = 1e-11


class Statistics:
    """Mean and variance of each channel, from those of strips; exact, since they are combined in float64.

    Chan, Golub, LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979).
    """

    def __init__(self) -> None:
        #: What no value exceeds in size, of each channel.
        self.largest: Any = 0.0
        self._count = 0
        self._mean: Any = 0.0
        self._squares: Any = 0.0

    def add(self, count: int, mean: Array, variance: Array) -> None:
        """Add the statistics of `count` values of each channel; raise HalfOverflowError if they are not finite."""
        self.largest = np.maximum(self.largest, largest(count, mean, variance))
        if not np.isfinite(self.largest).all():
            raise HalfOverflowError
        total = self._count + count
        difference = mean.astype(np.float64) - self._mean
        self._squares = self._squares + variance.astype(np.float64) * count
        self._squares = self._squares + difference**2 * (self._count * count / total)
        self._mean = self._mean + difference * (count / total)
        self._count = total

    def affine(self, weight: Array, bias: Array, eps: float) -> tuple[Array, Array]:
        """Return scale and shift, 1 x C x 1 x 1 each, that normalise with the weight and bias of a layer, C each."""
        weight, bias = weight.reshape(1, -1, 1, 1), bias.reshape(1, -1, 1, 1)
        variance = self._squares / self._count
        one = np.where(variance > _ROUNDING * self._mean**2, 1 / np.sqrt(variance + eps), 0.0)  # as kernels do
        return (weight * one).astype(np.float32), (bias - self._mean * weight * one).astype(np.float32)
