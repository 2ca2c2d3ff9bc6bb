"""Training photos as an endless, addressable stream: the same batch for the same step, whatever happened before.

Each crop is drawn from a generator seeded with (seed, position), so a resumed training sees exactly the photos that
an undisturbed one would have seen, with no data position to save.
"""

from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from itertools import groupby
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from nst_core.decoding.decoder import decode
from nst_core.errors import ConfigError, ImageError, ImageTooSmallError
from nst_core.images.picture import Limits
from nst_core.nets.transformer import MIN_SIDE_PX
from nst_core.training.sources import PhotoSource, few_photos

Pixels = npt.NDArray[np.uint8]


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """Return the shuffled order of `count` photos in one epoch, read-only."""
    order = np.random.default_rng((seed, epoch)).permutation(count)
    order.flags.writeable = False
    return order


def decode_photo(data: bytes, *, size_px: int, zoom: float) -> Pixels:
    """Return a photo, H x W x 3, large enough for its crops; raise ImageError if it cannot be used."""
    # The size that the largest zoom needs for photos up to 2 : 1; JPEG files decode faster at a reduced size. Longer
    # photos are decoded again.
    needed = ceil(size_px * zoom)
    rgb = decode(data, Limits(max_px=2 * needed, min_side_px=1)).rgb
    height, width = rgb.shape[:2]
    if max(height, width) == 2 * needed and min(height, width) < needed:
        rgb = decode(data, Limits(shorter_px=needed, min_side_px=MIN_SIDE_PX)).rgb
    elif min(height, width) < MIN_SIDE_PX:
        raise ImageTooSmallError(f"The image is {width} x {height} pixels; each side must have at least {MIN_SIDE_PX}.")
    return rgb


def reduce_photo(data: bytes, *, size_px: int, zoom: float) -> bytes:
    """Return a file from which `decode_photo` makes the same pixels, faster to read and not larger.

    Large photos become bitmaps of what crops need, which are read in a tenth of the time and smaller than their
    JPEG files; small ones stay as they are. Raises ImageError if the photo cannot be used.
    """
    out, rgb = BytesIO(), decode_photo(data, size_px=size_px, zoom=zoom)
    Image.fromarray(rgb).save(out, "BMP")
    if len(reduced := out.getvalue()) >= len(data):
        return data
    # A bitmap of almost 2 : 1 may be reduced once more.
    same = np.array_equal(decode_photo(reduced, size_px=size_px, zoom=zoom), rgb)
    return reduced if same else data


def none_usable(count: int, skipped: Mapping[str, str]) -> ConfigError:
    """Return the error of `count` photos that were all skipped, given the reasons by name."""
    return ConfigError(f"None of the {count:,} photos can be used ({some_reasons(skipped)}).")


def some_reasons(skipped: Mapping[str, str]) -> str:
    """Return why the first three photos were skipped, given the reasons by name."""
    return "; ".join(f"{name}: {reason}" for name, reason in list(skipped.items())[:3])


class PhotoStream:
    """Random square crops of photos, each photo once an epoch, `crops_per_photo` crops at a time.

    A crop comes from the photo resized so that its short side is uniform in [size_px, zoom * size_px], and is mirrored
    half of the time. Smaller photos are enlarged, which makes them as smooth as high-resolution photos.

    An unusable photo (damaged, too small, no image) is listed in `skipped` with the reason, and the next good one in
    the epoch's order takes its place: the photo at a position depends on the seed and the files only. Several threads
    may request batches at the same time.
    """

    def __init__(
        self,
        source: PhotoSource,
        *,
        size_px: int,
        batch_size: int,
        seed: int,
        zoom: float = 1.6,
        crops_per_photo: int = 1,
    ) -> None:
        """Use the photos of `source`; nothing is read yet."""
        self.size_px = size_px
        self.batch_size = batch_size
        self.seed = seed
        self.zoom = zoom
        self.crops_per_photo = crops_per_photo
        #: Why a photo was skipped, by name.
        self.skipped: dict[str, str] = {}
        self._source = source
        self._names = list(source.names)

    @property
    def warning(self) -> str | None:
        """One sentence if the photos are so few that the result may suffer."""
        return few_photos(len(self._names) - len(self.skipped))

    def describe(self) -> dict[str, Any]:
        """Return how many photos there are and a SHA-256 of their names, as JSON-ready values."""
        return {"count": len(self._names), "names_sha256": sha256("\n".join(self._names).encode()).hexdigest()}

    def batch(self, step: int) -> Tensor:
        """Return the batch of step 0, 1, 2, ...: float32 batch_size x 3 x size_px x size_px, RGB, 0 to 1.

        Raises ConfigError if no photo at all can be used.
        """
        crops: list[Pixels] = []
        positions = range(step * self.batch_size, (step + 1) * self.batch_size)
        for turn, group in groupby(positions, key=lambda position: position // self.crops_per_photo):
            photo = self._photo(turn)
            crops += [self._crop(photo, position) for position in group]
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255  # N, 3, H, W in channels_last

    def _photo(self, turn: int) -> Image.Image:
        count = len(self._names)
        epoch, index = divmod(turn, count)
        order = epoch_order(self.seed, epoch, count)
        for number in (*range(index, count), *range(index)):
            name = self._names[order[number]]
            if name in self.skipped:
                continue
            try:
                rgb = decode_photo(self._source.read(name), size_px=self.size_px, zoom=self.zoom)
                return Image.fromarray(rgb)
            except ImageError as error:
                self.skipped[name] = error.message
        raise none_usable(count, self.skipped)

    def _crop(self, photo: Image.Image, position: int) -> Pixels:
        epoch, index = divmod(position, len(self._names) * self.crops_per_photo)
        rng = np.random.default_rng((self.seed, epoch, index))
        scale = self.size_px * rng.uniform(1.0, self.zoom) / min(photo.size)
        width, height = (max(self.size_px, round(side * scale)) for side in photo.size)
        left, top = (int(rng.integers(0, side - self.size_px + 1)) for side in (width, height))
        # Resizing only the crop's own box costs the same however large the photo is.
        fx, fy = photo.width / width, photo.height / height
        box = (left * fx, top * fy, (left + self.size_px) * fx, (top + self.size_px) * fy)
        crop = photo.resize((self.size_px, self.size_px), Image.Resampling.BICUBIC, box=box)
        if rng.random() < 0.5:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.asarray(crop)
