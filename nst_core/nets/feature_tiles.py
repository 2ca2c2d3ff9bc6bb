"""Tiles of a large picture, so that the features of the whole need little memory."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from math import inf
from typing import TypeVar

import torch
from torch import Tensor

from nst_core.nets.costs import STYLE_TILE_PIXELS
from nst_core.nets.loss_network import VGG, LossNetwork
from nst_core.system.pieces import Runner, at_once

_T = TypeVar("_T")

#: Rows and columns.
Place = tuple[slice, slice]


@dataclass(frozen=True, kw_only=True)
class Span:
    """A tile along one side of its picture, in pixels; an end is None if it is the picture's."""

    #: Where the margin before the tile begins, and where the tile itself does.
    start: int = 0
    first: int = 0
    #: Where the tile ends, and where the margin after it does.
    end: int | None = None
    stop: int | None = None

    def positions(self, step: int, origin: int = 0) -> slice:
        """Return the positions of a layer that cover the tile, in a map that begins at the pixel `origin`."""
        return slice((self.first - origin) // step, None if self.end is None else (self.end - origin) // step)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A part of a picture, with the margin that its features see."""

    rows: Span = Span()
    columns: Span = Span()
    #: Height and width of the picture.
    size: tuple[int, int]
    #: The pixels of the picture between two positions of each layer; empty if the tile is the whole picture.
    steps: Mapping[str, int]

    @property
    def source(self) -> Place:
        """The pixels of the tile and its margin."""
        return slice(self.rows.start, self.rows.stop), slice(self.columns.start, self.columns.stop)

    def of(self, picture: Tensor) -> Tensor:
        """Return the tile and its margin, a view of a picture, N x C x H x W."""
        return picture[..., *self.source]

    def cut(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the features of the tile itself, by layer, given those of the tile and its margin."""
        cut: dict[str, Tensor] = {}
        for layer, values in features.items():
            step = self.steps.get(layer, 1)
            rows, columns = (span.positions(step, span.start) for span in (self.rows, self.columns))
            cut[layer] = values[..., rows, columns]
        return cut

    def place(self, layer: str) -> Place:
        """Return where the tile's own features are in the map of the whole picture."""
        step = self.steps.get(layer, 1)
        return self.rows.positions(step), self.columns.positions(step)

    def map_size(self, layer: str, values: Tensor) -> tuple[int, int]:
        """Return height and width of a layer of the whole picture; `values` are its features in this tile."""
        if not self.steps:
            return values.shape[-2], values.shape[-1]
        height, width = self.size
        return height // self.steps[layer], width // self.steps[layer]


def tiles(network: LossNetwork, size: tuple[int, int], *, tile_pixels: int | None) -> Iterator[Tile]:
    """Yield the tiles of a picture of a height and width; each position of each layer is in exactly one of them.

    A tile and its margin have at most `tile_pixels`, or as many as one position of the deepest layer sees. Except for
    rounding, the features of a tile are those of the whole picture. If a layer has no position in a tile, its map is
    empty. With `tile_pixels` None the whole picture is one tile, and so it is for networks other than a VGG: they may
    have layers that see all of it.
    """
    body = network.body
    if tile_pixels is None or not isinstance(body, VGG):
        yield Tile(size=size, steps={})
        return
    sides = _sides(size, step=body.step, margin=body.margin, tile_pixels=tile_pixels)
    rows, columns = (
        [
            Span(
                start=max(0, first - body.margin),
                first=first,
                end=first + side if first + side < length else None,
                stop=first + side + body.margin,
            )
            for first in range(0, length, side)
        ]
        for length, side in zip(size, sides, strict=True)
    )
    steps = {layer: body.layer_step(layer) for layer in network.layers}
    for row, column in product(rows, columns):
        yield Tile(rows=row, columns=column, size=size, steps=steps)


@cache
def _sides(size: tuple[int, int], *, step: int, margin: int, tile_pixels: int) -> tuple[int, int]:
    """Return height and width of the tiles, without margins, with which the fewest pixels are computed."""
    best, fewest = (step, step), inf
    height, width = size
    for columns in range(1, -(-width // step) + 1):
        wide = _share(width, columns, step)
        most = tile_pixels // (wide + margin * min(columns - 1, 2))
        for rows in range(1, -(-height // step) + 1):
            high = _share(height, rows, step)
            if high + margin * min(rows - 1, 2) <= most:
                pixels = (width + 2 * margin * (columns - 1)) * (height + 2 * margin * (rows - 1))
                if pixels < fewest:
                    best, fewest = (high, wide), pixels
                break
    return best


def _share(length: int, count: int, step: int) -> int:
    """Return the length of each of `count` parts, rounded up to a multiple of the step."""
    return -(-length // (count * step)) * step


def feature_tiles(
    network: LossNetwork, picture: Tensor, *, tile_pixels: int = STYLE_TILE_PIXELS
) -> Iterator[dict[str, Tensor]]:
    """Yield the features of a picture, 1 x 3 x H x W, by layer, one tile after the other; see `tiles`."""
    return made_of_tiles(lambda features: features, network, picture, tile_pixels=tile_pixels)


def made_of_tiles(
    make: Callable[[dict[str, Tensor]], _T],
    network: LossNetwork,
    picture: Tensor,
    *,
    tile_pixels: int = STYLE_TILE_PIXELS,
    on_piece: Runner = at_once,
) -> Iterator[_T]:
    """Yield what `make` makes of the features of each tile; see `feature_tiles`. Each tile is a piece of the work."""

    def made(tile: Tile) -> _T:
        with torch.no_grad():  # here, because it holds for one thread alone
            return make(tile.cut(network(tile.of(picture))))

    height, width = picture.shape[2:]
    for tile in tiles(network, (height, width), tile_pixels=tile_pixels):
        yield on_piece(partial(made, tile))
