"""Luminance, colour and blur of pictures, in grey levels."""

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from nst_core.nets.tensors import LUMA

Pixels = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float64]

#: Rows for Y, Cb, Cr of ITU-R BT.601, without the offset of the colours.
_YCC = np.array([LUMA, (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)])


def luminance(picture: Pixels) -> Plane:
    """Return the luminance of a picture, H x W."""
    plane: Plane = picture @ _YCC[0]
    return plane


def colours(picture: Pixels) -> Plane:
    """Return luminance, Cb and Cr of a picture, H x W x 3; grey has Cb and Cr of 0."""
    planes: Plane = picture @ _YCC.T
    return planes


def blurred(plane: Plane, deviation_px: float) -> Plane:
    """Return an H x W plane after a Gaussian blur; the edge is repeated outwards."""
    reach = max(1, round(3 * deviation_px))
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / deviation_px) ** 2)
    line = line / line.sum()
    rows = F.pad(torch.from_numpy(plane)[None, None], (reach, reach, reach, reach), mode="replicate")
    result: Plane = F.conv2d(F.conv2d(rows, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1))[0, 0].numpy()
    return result


def tiles(plane: Plane, side_px: int) -> Plane:
    """Return the whole tiles of an H x W plane, rows x columns x side x side."""
    rows, columns = (side // side_px for side in plane.shape)
    cut = plane[: rows * side_px, : columns * side_px].reshape(rows, side_px, columns, side_px)
    return cut.transpose(0, 2, 1, 3)
