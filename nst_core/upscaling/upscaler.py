"""Enlarges pictures of any size, in tiles without seams."""

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from nst_core.nets.tensors import from_uint8, to_uint8
from nst_core.upscaling.network import MARGIN, Factor, UpscaleNet, load_upscale_net

Pixels = npt.NDArray[np.uint8]
#: The side of a tile, in pixels of the small picture: its maps take 40 MB.
_TILE_PX = 256


class Upscaler:
    """Enlarges pictures with a network, on the CPU: the same pictures beside every engine."""

    def __init__(self, net: UpscaleNet) -> None:
        """Use a network."""
        self._net = net

    @torch.inference_mode()
    def __call__(self, picture: Pixels, progress: Callable[[], object] = lambda: None) -> Pixels:
        """Return an H x W x 3 uint8 picture with factor H x factor W pixels. Beyond its edges their pixels continue.

        A large picture takes minutes; `progress` is called after each tile.
        """
        height, width = picture.shape[:2]
        factor = self._net.factor
        result = np.empty((factor * height, factor * width, 3), np.uint8)
        rows, columns = (np.arange(-MARGIN, side + MARGIN).clip(0, side - 1) for side in (height, width))
        for top in range(0, height, _TILE_PX):
            for left in range(0, width, _TILE_PX):
                bottom, right = min(top + _TILE_PX, height), min(left + _TILE_PX, width)
                own = np.ix_(rows[top : bottom + 2 * MARGIN], columns[left : right + 2 * MARGIN])
                tile = from_uint8(torch.from_numpy(picture[own]))
                made = to_uint8(self._net(tile))[0].numpy()
                result[factor * top : factor * bottom, factor * left : factor * right] = made
                progress()
        return result


def enlarged_opacity(opacity: Pixels, factor: Factor) -> Pixels:
    """Return an H x W opacity with factor H x factor W pixels."""
    height, width = opacity.shape
    size = (factor * width, factor * height)
    return np.asarray(Image.fromarray(opacity).resize(size, Image.Resampling.BICUBIC))


@cache
def load_upscaler(factor: Factor) -> Upscaler:
    """Return the upscaler with the weights in the package; raise WeightsError if they are damaged."""
    return Upscaler(load_upscale_net(factor))
