"""Which maps float16 can hold. Never loads torch.

Maps are float16 where that saves memory or time: those of pictures in strips between passes, and in int16 all of them.
A value beyond the range becomes infinite, or the largest one, and the picture wrong, or one colour. A network may have
such values and do no harm in float32, since its normalisation takes their scale out again. For the photos that need it,
all of its maps are float32.
"""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
#: A map whose values are surely smaller is not looked at: a little under the largest value of float16, since statistics
#: are rounded too.
_SURE = 60_000
#: The bits of the largest value of float16; those of infinity and of what is not a number are larger. With the sign of
#: negative values, they are large numbers without a sign.
_LARGEST_BITS, _SIGN_BIT = 0x7BFF, 0x8000


class HalfOverflowError(Exception):
    """A map has values that float16 does not hold."""


def largest(count: int, mean: Array, variance: Array) -> Array:
    """Return for each channel a size that none of `count` values with such statistics exceeds."""
    with np.errstate(invalid="ignore", over="ignore"):
        # Furthest from the mean is a value if all others are equal.
        sizes: Array = np.abs(mean) + np.sqrt(count * np.asarray(variance, np.float64))
    return sizes


def check(values: Array, sizes: Array) -> None:
    """Raise HalfOverflowError if values, float16, may have been too large for it before they were rounded.

    `sizes` are what they do not exceed, so that only the maps of odd networks are looked at.
    """
    if (sizes < _SURE).all():
        return
    if values.view(np.int16).max() >= _LARGEST_BITS or values.view(np.uint16).max() >= _LARGEST_BITS | _SIGN_BIT:
        raise HalfOverflowError
