"""What every engine that runs a trained style has in common. Never loads torch."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from nst_core.errors import ConfigError, ImageTooSmallError

Pixels = npt.NDArray[np.uint8]
#: The type of the numbers in the convolutions. Sums, normalisation and the picture itself are float32 in all of them.
Precision = Literal["fp32", "int16", "bf16", "fp16", "int8"]


@dataclass(frozen=True, kw_only=True)
class EngineChoice:
    """An engine by its name in `engines.ENGINES`, and the precision in which it runs."""

    engine: str
    precision: Precision

    def __str__(self) -> str:
        return f"{self.engine} in {self.precision}"


#: The reference: the same bytes on every machine of one kind of processor, whatever other engines it has.
EXACT = EngineChoice(engine="eager", precision="fp32")

#: Grey levels. In int16, pictures of a gradient of so many came to 22 to 41 dB, those of noise or of a dot of one level
#: to 19 to 32 dB, and in floats all to 54 dB at least. Smooth gradients of more levels come to 32 dB at least.
_NEARLY_FLAT = 32
#: About how many grey levels there are from the darkest to the lightest spot of grain of deviation 1.
_GRAIN_RANGE = 8


class Stylizer(Protocol):
    """A style that is ready to use on one device. Safe to call from several threads."""

    @property
    def choice(self) -> EngineChoice:
        """The engine, and the precision in which this style really runs: a style may need a better one."""
        ...

    @property
    def nbytes(self) -> int:
        """The memory that the loaded style takes, in bytes."""
        ...

    @property
    def min_side_px(self) -> int:
        """The smallest height and width that a photo may have, in pixels."""
        ...

    @property
    def max_batch(self) -> int:
        """The most photos per call that the engine runs together; 1 if a larger batch is no faster."""
        ...

    def max_pixels(self, budget_bytes: int) -> int:
        """Return how many pixels a photo may have so that its pass takes at most `budget_bytes` of memory."""
        ...

    def __call__(self, batch: Pixels) -> Pixels:
        """Return the stylized photos of a uint8 N x H x W x 3 batch of RGB photos, in the same shape.

        The result for a photo does not depend on the other photos of its batch. Raises ConfigError for another shape
        or type, ImageTooSmallError for a side under `min_side_px`, and ImageTooLargeError if the device has too little
        memory.
        """
        ...


def check_call(batch: Pixels, *, min_side_px: int) -> None:
    """Raise the errors of `Stylizer.__call__` for its arguments."""
    if batch.ndim != 4 or batch.shape[3] != 3 or batch.dtype != np.uint8:
        raise ConfigError(f"A batch must be N x H x W x 3 of uint8, not {batch.shape} of {batch.dtype}.")
    height, width = batch.shape[1:3]
    if min(height, width) < min_side_px:
        raise ImageTooSmallError(
            f"The image is {width:,} x {height:,} pixels; each side must have at least {min_side_px}."
        )


def is_nearly_flat(photo: Pixels, grain: float) -> bool:
    """Return whether the pixels of a photo, with its network's grain, differ by a few levels in all channels.

    Normalisation would multiply rounding errors of 16-bit integers: floats are for it.
    """
    most = _NEARLY_FLAT - _GRAIN_RANGE * grain
    parts = (photo[:1], photo[::64], photo)  # a few rows decide it for most photos
    return most >= 0 and all(bool((np.ptp(part, axis=(0, 1)) <= most).all()) for part in parts)


def is_flat(photo: Pixels) -> bool:
    """Return whether all pixels of a photo are equal.

    Its maps have no variance, and normalisation would multiply rounding errors: it is for the reference.
    """
    first = photo[:1, :1]
    return bool((photo[0] == first).all() and (photo == first).all())  # the first row decides it for most photos
