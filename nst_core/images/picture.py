"""Decoded pictures, and limits of their size."""

from dataclasses import dataclass
from math import isqrt, prod

import numpy as np
import numpy.typing as npt

from nst_core.errors import ConfigError, ImageTooLargeError, ImageTooSmallError

#: What networks need; equal to `transformer.MIN_SIDE_PX`, which a module without torch cannot import.
DEFAULT_MIN_SIDE_PX = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A decoded image."""

    #: H x W x 3, sRGB, upright. Fully transparent pixels have the colours of their neighbours.
    rgb: npt.NDArray[np.uint8]
    #: H x W opacity, or None if every pixel is opaque.
    alpha: npt.NDArray[np.uint8] | None = None
    #: One sentence for the owner of the file, for example that it has more frames than this one.
    warning: str | None = None


#: The most pixels of a photo that is stylized, unless a worker has another limit.
MAX_PHOTO_PIXELS = 200_000_000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The allowed sizes of a picture, how far it is reduced, and whether its opacity counts."""

    #: The most pixels of the file; 200 megapixels are 600 MB as RGB.
    max_pixels: int = MAX_PHOTO_PIXELS
    #: The smallest side of the file and of the result.
    min_side_px: int = DEFAULT_MIN_SIDE_PX
    #: Longest side of the result; larger pictures are reduced to it.
    max_px: int | None = None
    #: Shorter side of the result; larger pictures are reduced to it. `max_px` comes first if both are given.
    shorter_px: int | None = None
    #: The most pixels of the result; None: no limit other than `max_pixels`.
    max_result_pixels: int | None = None
    #: The longest side of the result; None: no limit other than those above.
    max_result_side_px: int | None = None
    #: How a request asks for a smaller result.
    option: str = "max_px, --max-px"
    #: Leave opacity out: even fully transparent pixels keep the colours that they have in the file.
    ignore_alpha: bool = False

    def target(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the (width, height) to which a picture of this size is reduced.

        Raises ImageTooLargeError or ImageTooSmallError if the size, before or after, is outside of the limits.
        """
        width, height = size
        if width * height > self.max_pixels:
            raise ImageTooLargeError(
                f"The image is {width:,} x {height:,} pixels; the limit is {self.max_pixels:,} pixels in total."
            )
        self._check_sides(size)
        target = self.fitted(size)
        self._check_sides(target)
        if self.max_result_pixels is not None and target[0] * target[1] > self.max_result_pixels:
            raise ImageTooLargeError(
                f"The image is {target[0]:,} x {target[1]:,} pixels; the network takes {self.max_result_pixels:,} "
                f"here: ask for a result of at most {self._longest(target):,} pixels on its longer side "
                f"({self.option} {self._longest(target)})."
            )
        if self.max_result_side_px is not None and max(target) > self.max_result_side_px:
            raise ImageTooLargeError(
                f"The image is {target[0]:,} x {target[1]:,} pixels; the format of the result takes "
                f"{self.max_result_side_px:,} on a side here: ask for a result of at most that "
                f"({self.option} {self.max_result_side_px}), or in another format."
            )
        return target

    def fitted(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the (width, height) to which a picture of this size is reduced, whatever the limits of sizes are."""
        if self.max_px is None and self.shorter_px is not None and min(size) > self.shorter_px:
            scale = self.shorter_px / min(size)
            return round(size[0] * scale), round(size[1] * scale)
        return fitted_size(size, self.max_px)

    def _longest(self, size: tuple[int, int]) -> int:
        """Return the longer side of the largest result that `max_result_pixels` allows."""
        most = self.max_result_pixels or 0
        longest = isqrt(most * max(size) // min(size))
        # The shorter side is rounded, possibly up.
        while longest > 1 and prod(fitted_size(size, longest)) > most:
            longest -= 1
        return longest

    def _check_sides(self, size: tuple[int, int]) -> None:
        if min(size) < self.min_side_px:
            raise ImageTooSmallError(
                f"The image is {size[0]:,} x {size[1]:,} pixels; each side must have at least {self.min_side_px}."
            )


DEFAULT_LIMITS = Limits()


def fitted_size(size: tuple[int, int], max_px: int | None) -> tuple[int, int]:
    """Return (width, height) scaled down so that the longer is at most `max_px`; raise ConfigError if it is < 1."""
    if max_px is not None and max_px < 1:
        raise ConfigError(f"max_px must be at least 1, not {max_px!r}.")
    if max_px is None or max(size) <= max_px:
        return size
    scale = max_px / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
