"""Pictures whose look is known."""

import numpy as np

from nst_core.looks.planes import Pixels, Plane


def grey(plane: Plane) -> Pixels:
    """Return an H x W plane of grey levels as a picture."""
    return np.repeat(np.clip(np.rint(plane), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def flat(level: float = 128, *, height: int = 256, width: int = 320) -> Plane:
    """Return a plane of one grey level."""
    return np.full((height, width), float(level))


def noise(deviation: float, *, seed: int = 0, height: int = 256, width: int = 320) -> Plane:
    """Return white noise."""
    return np.random.default_rng(seed).normal(0, deviation, (height, width))
