"""Picture files as tensors."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from nst_core.nets.tensors import to_tensor


def load_picture(path: Path, *, long_side_px: int | None = None) -> Tensor:
    """Return a picture file as 1 x 3 x H x W RGB in 0 to 1, resized to a longest side if one is given."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    if long_side_px is not None:
        scale = long_side_px / max(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    return to_tensor(np.array(image))
