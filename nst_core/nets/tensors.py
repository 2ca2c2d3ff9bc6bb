"""Pictures as tensors and back."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

#: Weights of R, G, B in the luminance Y of YIQ and YCbCr (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)


def to_tensor(rgb: npt.NDArray[np.uint8], *, device: torch.device | None = None) -> Tensor:
    """Return an H x W x 3 uint8 picture as a float32 1 x 3 x H x W tensor, 0 to 1, in channels_last memory format.

    It is moved to the device (the CPU by default) as bytes and converted there.
    """
    pixels = torch.from_numpy(rgb)
    if device is not None and device.type == "cuda":
        # Only pinned memory can be copied while the host continues.
        pixels = pixels.pin_memory().to(device, non_blocking=True)
    return from_uint8(pixels)


def from_uint8(pixels: Tensor) -> Tensor:
    """Return an H x W x 3 uint8 picture as float32 1 x 3 x H x W, 0 to 1, in channels_last, on the same device."""
    return pixels.permute(2, 0, 1)[None].float().div_(255)


def to_uint8(image: Tensor) -> Tensor:
    """Return an N x 3 x H x W picture in 0 to 1, clipped and rounded, as N x H x W x 3 uint8."""
    return image.float().clamp(0, 1).mul(255).round_().to(torch.uint8).permute(0, 2, 3, 1)
