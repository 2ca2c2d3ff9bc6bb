"""The other pictures of a training: the style, and samples that show the progress."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from nst_core.decoding.decoder import decode
from nst_core.errors import ConfigError, ImageError, ImageTooSmallError
from nst_core.images import Limits, Picture, encode
from nst_core.nets.grain import noise
from nst_core.nets.palettes import Palette, finished
from nst_core.nets.tensors import to_tensor
from nst_core.nets.transformer import TransformerNet
from nst_core.system.whole_files import write_whole
from nst_core.training.paintings import style_size

Pixels = npt.NDArray[np.uint8]
#: Longest side of a sample: a network takes about 1 GB for a million pixels.
SAMPLE_MAX_PX = 1024


def read_file(path: Path) -> bytes:
    """Return a file's bytes; raise ConfigError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error


def load_style(path: Path, *, size_px: int) -> Tensor:
    """Return a style picture as `parse_style` does; raise ConfigError also if the file cannot be read."""
    return parse_style(read_file(path), size_px=size_px, name=str(path))


def parse_style(data: bytes, *, size_px: int, name: str) -> Tensor:
    """Return the style picture in a file's bytes with its longest side at `size_px`, 1 x 3 x H x W in 0 to 1.

    `name` begins error messages. Raises ImageError if it is not a picture, and ImageTooSmallError if the shorter side
    is under 16 pixels before or after resizing.
    """
    image = Image.fromarray(_decode(data, name, max_px=None).rgb)
    try:
        size = style_size(image.size, size_px)
    except ImageTooSmallError as error:
        raise ImageTooSmallError(f"{name}: {error.message}") from error
    return to_tensor(np.array(image.resize(size, Image.Resampling.LANCZOS)))


def load_sample(path: Path) -> Tensor:
    """Return a photo with a longest side of at most SAMPLE_MAX_PX, 1 x 3 x H x W in 0 to 1; raise as `load_style`."""
    return parse_sample(read_file(path), name=str(path))


def parse_sample(data: bytes, *, name: str) -> Tensor:
    """Return the photo in a file's bytes as `load_sample` does; raise ImageError if it is not a picture."""
    return to_tensor(_decode(data, name, max_px=SAMPLE_MAX_PX).rgb)


def save_sample(picture: Pixels, path: Path) -> None:
    """Write an H x W x 3 picture as a JPEG file atomically."""
    write_whole(path, dump_sample(picture))


def dump_sample(picture: Pixels) -> bytes:
    """Return an H x W x 3 picture as the bytes of a JPEG file."""
    return encode(Picture(rgb=picture), "jpg")


def stylized(net: TransformerNet, photo: Tensor) -> Pixels:
    """Return what a network makes of a photo, 1 x 3 x H x W in 0 to 1, as engines do: with its grain and its palette.

    The result is H x W x 3.
    """
    grain, device = net.config.grain, next(net.parameters()).device
    with torch.inference_mode():
        if grain:
            levels = torch.from_numpy(noise(photo.shape[2], photo.shape[3], grain)).permute(2, 0, 1).float()
            photo = (photo + levels.to(photo.device) / 255).clamp(0, 1)
        result: Pixels = finished(net(photo.to(device)), Palette.of(net)).cpu().contiguous().numpy()
    return result


def _decode(data: bytes, name: str, *, max_px: int | None) -> Picture:
    try:
        return decode(data, Limits(max_px=max_px))
    except ImageError as error:
        raise type(error)(f"{name}: {error.message}") from error
