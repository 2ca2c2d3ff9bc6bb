"""What the features of a style picture are reduced to before an optimisation, tile by tile."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from nst_core.gatys.scales import Size, resize_guide, size_of
from nst_core.losses.gram import gram_matrix
from nst_core.nets.feature_tiles import Place, Tile


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedStyle:
    """A style, prepared for the objective of one scale."""

    #: 1 x 1 x h x w luminance or 1 x 3 x h x w RGB.
    image: Tensor
    weight: float
    #: Guides with the sizes of the content picture and of the style picture, or None.
    region: Tensor | None
    style_region: Tensor | None


@dataclass(frozen=True, kw_only=True, eq=False)
class StyleTargets:
    """What the parts of the loss need of a style."""

    style: PreparedStyle
    #: Gram matrices of the style picture, 1 x C x C, by layer of the Gram term.
    grams: Mapping[str, Tensor]
    #: Its features, by layer of the other style terms.
    maps: Mapping[str, Tensor]
    #: Height and width of the picture's features, by layer.
    sizes: Mapping[str, Size]

    @property
    def share(self) -> float:
        """The style's weight times the fraction of the picture that its region covers.

        A departure from Gatys et al. 2017, whose guided losses count the same for regions of any size. Each Gram matrix
        is that of its region alone, so without this factor the pixels of a small region would change faster.
        """
        style = self.style
        return style.weight if style.region is None else style.weight * float(style.region.mean())

    def guide(self, layer: str) -> Tensor | None:
        """Return the region at a layer of the picture."""
        return _guide(self.style.region, self.sizes[layer])

    def style_guide(self, layer: str) -> Tensor | None:
        """Return the style's own region at a layer of the style picture that has a map."""
        return _guide(self.style.style_region, size_of(self.maps[layer]))


def style_targets(
    style: PreparedStyle,
    cuts: Iterable[tuple[Tile, Mapping[str, Tensor]]],
    *,
    gram_layers: Iterable[str],
    map_layers: Iterable[str],
    sizes: Mapping[str, Size],
) -> StyleTargets:
    """Return the targets of a style, given the features of the tiles of its picture by layer."""
    gram_layers, maps = list(gram_layers), FeatureMaps(map_layers)
    grams: dict[str, Tensor] = {}
    for tile, features in cuts:
        maps.add(tile, features)
        for layer in gram_layers:
            values = features[layer]
            if values.numel():
                size = tile.map_size(layer, values)
                share = gram_share(values, _guide(style.style_region, size), tile.place(layer), size=size)
                grams[layer] = grams[layer] + share if layer in grams else share
    return StyleTargets(style=style, grams=grams, maps=maps.maps, sizes=sizes)


class FeatureMaps:
    """The features of a whole picture at some layers, put together from those of its tiles."""

    def __init__(self, layers: Iterable[str]) -> None:
        """Start without any tile."""
        self.maps: dict[str, Tensor] = {}
        self._layers = tuple(layers)

    def add(self, tile: Tile, features: Mapping[str, Tensor]) -> None:
        """Take over the features of a tile."""
        for layer in self._layers:
            values = features[layer]
            if not tile.steps:
                self.maps[layer] = values
            elif values.numel():
                if layer not in self.maps:
                    shape = (*values.shape[:2], *tile.map_size(layer, values))
                    self.maps[layer] = values.new_empty(shape, dtype=torch.promote_types(values.dtype, torch.float32))
                self.maps[layer][..., *tile.place(layer)] = values


def gram_share(values: Tensor, guide: Tensor | None, place: Place, *, size: Size) -> Tensor:
    """Return a tile's share of a Gram matrix, N x C x C: the shares of all tiles sum to that of the whole map.

    `values`: the features of the tile, and `place` where they are in a map of that size; `guide`: that of the map.
    """
    if guide is None:
        return gram_matrix(values) * (values[0, 0].numel() / prod(size))
    part = guide[..., *place]
    return gram_matrix(values, weights=part) * (part.sum() / guide.sum().clamp_min(torch.finfo(guide.dtype).tiny))


def _guide(region: Tensor | None, size: Size) -> Tensor | None:
    return None if region is None else resize_guide(region, size)
