"""The styles that ship with nst, by name."""

import numpy as np
from PIL import Image
from skimage import data

from nst_core.inference.stylizer import Pixels
from nst_core.styles import ShippedStyle, shipped_styles


def shipped_style(name: str) -> ShippedStyle:
    """Return a style in the package."""
    return next(style for style in shipped_styles() if style.name == name)


def sample_photos() -> list[Pixels]:
    """Return the free photos that the sheets of the styles show."""
    photos = (Image.fromarray(getattr(data, name)()).convert("RGB") for name in ("astronaut", "rocket", "chelsea"))
    return [np.array(photo) for photo in photos]
