"""How much two pictures are alike. Never loads torch."""

from typing import Any

import numpy as np
import numpy.typing as npt


def psnr_db(picture: npt.NDArray[np.number[Any]], reference: npt.NDArray[np.number[Any]]) -> float:
    """Return the peak signal-to-noise ratio in dB of two pictures, 0 to 255; infinite if they are equal."""
    error = float(np.mean(np.square(picture.astype(np.float64) - reference)))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))
