"""Photos of any size for benchmarks of engines. Never loads torch."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from nst_core.inference.stylizer import Pixels


class Photos:
    """Photos of a folder, or soft noise."""

    def __init__(self, folder: Path | None) -> None:
        """Take the files of a folder."""
        self._files = sorted(folder.iterdir()) if folder else []

    def of_size(self, number: int, size: tuple[int, int]) -> Pixels:
        """Return the middle of a photo, resized to a width and height, as H x W x 3."""
        if not self._files:
            return soft_photo(*size, seed=number)
        with Image.open(self._files[number % len(self._files)]) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
        return np.array(ImageOps.fit(image, size, Image.Resampling.LANCZOS))


def soft_photo(width: int, height: int, *, seed: int = 0) -> Pixels:
    """Return noise with the spectrum of a photo: the finer, the weaker."""
    random, photo = np.random.default_rng(seed), np.zeros((height, width, 3), np.float32)
    for cells in (3, 12, 48, 192):
        noise = Image.fromarray(random.integers(0, 256, (cells, cells, 3), np.uint8))
        photo += (np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), np.float32) - 127.5) / cells**0.5
    pixels: Pixels = np.clip(photo + 127.5, 0, 255).astype(np.uint8)
    return pixels
