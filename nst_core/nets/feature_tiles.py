"""Features of a large picture, tile by tile, so that sums over all positions need little memory."""

from collections.abc import Iterator
from math import isqrt

from torch import Tensor

from nst_core.nets.costs import STYLE_TILE_PIXELS
from nst_core.nets.loss_network import VGG, LossNetwork


def feature_tiles(
    network: LossNetwork, picture: Tensor, *, tile_pixels: int = STYLE_TILE_PIXELS
) -> Iterator[dict[str, Tensor]]:
    """Yield the features of a picture, 1 x 3 x H x W, by layer; each position is in exactly one tile.

    A tile of the picture has at most `tile_pixels`, or as many as one position of the deepest layer sees. Except for
    rounding, the features are those of the whole picture. If a layer has no position in a tile, its map is empty. Only
    for a VGG the picture is cut into tiles: other classifiers may have layers that see the whole picture.
    """
    body = network.body
    height, width = picture.shape[2:]
    if height * width <= tile_pixels or not isinstance(body, VGG):
        yield network(picture)
        return
    step, margin = body.step, body.margin
    side = max(step, (isqrt(tile_pixels) - 2 * margin) // step * step)
    for top in range(0, height, side):
        for left in range(0, width, side):
            y, x = max(0, top - margin), max(0, left - margin)
            tile = picture[..., y : top + side + margin, x : left + side + margin]
            features = network(tile)
            rows = (top - y, None if top + side >= height else top + side - y)
            columns = (left - x, None if left + side >= width else left + side - x)
            cut: dict[str, Tensor] = {}
            for layer, values in features.items():
                gap = body.layer_step(layer)
                cut[layer] = values[..., _positions(rows, gap), _positions(columns, gap)]
            yield cut


def _positions(pixels: tuple[int, int | None], step: int) -> slice:
    """Return the positions of a layer that cover a range of pixels, whose ends must be multiples of the step."""
    first, end = pixels
    return slice(first // step, None if end is None else end // step)
