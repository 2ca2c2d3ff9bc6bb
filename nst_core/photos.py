"""Training photos as an endless, addressable stream: the same batch for the same step, whatever happened before.

Each crop is drawn from a generator seeded with (seed, position), so a resumed training sees exactly the photos that
an undisturbed one would have seen, with no data position to save.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from nst_core.errors import ConfigError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


def list_photos(folder: Path) -> list[Path]:
    """Return the photos under `folder` in name order; raise ConfigError where there is none."""
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not found:
        raise ConfigError(f"There are no photos ({', '.join(sorted(SUFFIXES))}) under {folder}.")
    return found


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return the shuffled order of `count` photos in one epoch."""
    return np.random.default_rng((seed, epoch)).permutation(count)


class PhotoStream:
    """Random square crops of photos, each photo once an epoch.

    A crop comes from the photo resized so that its short side is uniform in [size_px, zoom * size_px], and is
    mirrored half of the time. Photos smaller than that are enlarged: high-resolution photos are as smooth.
    """

    def __init__(self, photos: Sequence[Path], *, size_px: int, batch_size: int, seed: int, zoom: float = 1.6) -> None:
        self.photos = list(photos)
        self.size_px = size_px
        self.batch_size = batch_size
        self.seed = seed
        self.zoom = zoom

    def batch(self, step: int) -> Tensor:
        """Return the batch of step 0, 1, 2, ...: float32 batch_size x 3 x size_px x size_px, RGB, 0 to 1."""
        first = step * self.batch_size
        return torch.stack([self._crop(first + i) for i in range(self.batch_size)])

    def _crop(self, position: int) -> Tensor:
        epoch, index = divmod(position, len(self.photos))
        path = self.photos[epoch_order(self.seed, epoch, len(self.photos))[index]]
        rng = np.random.default_rng((self.seed, epoch, index))
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
        scale = self.size_px * rng.uniform(1.0, self.zoom) / min(image.size)
        width, height = (max(self.size_px, round(side * scale)) for side in image.size)
        left, top = (int(rng.integers(0, side - self.size_px + 1)) for side in (width, height))
        # Resizing only the crop's own box costs the same however large the photo is.
        fx, fy = image.width / width, image.height / height
        box = (left * fx, top * fy, (left + self.size_px) * fx, (top + self.size_px) * fy)
        image = image.resize((self.size_px, self.size_px), Image.Resampling.BICUBIC, box=box)
        if rng.random() < 0.5:
            image = ImageOps.mirror(image)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
