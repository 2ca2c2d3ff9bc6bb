"""The loss of a picture: the weighted sum of all terms of a config."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from nst_core.errors import ConfigError
from nst_core.gatys.config import STYLE_TERMS, GatysConfig
from nst_core.gatys.parts import ContentPart, FeaturePart, GramPart, ImagePart, LayerPart
from nst_core.gatys.scales import Size, size_of
from nst_core.gatys.targets import FeatureMaps, PreparedStyle, StyleTargets, style_targets
from nst_core.losses.laplacian import LaplacianLoss
from nst_core.losses.sliced import SlicedLoss
from nst_core.losses.tv import TVLoss
from nst_core.nets import native
from nst_core.nets.feature_tiles import Tile, tiles
from nst_core.nets.loss_network import VGG, LossNetwork
from nst_core.system.devices import TrainingPrecision

#: Names of terms in results that differ from the names of the config's fields.
NAMES = {"gram": "style"}


class Features(nn.Module):
    """The loss network in float32, and optionally in a narrow precision too."""

    def __init__(self, network: LossNetwork, precision: TrainingPrecision) -> None:
        """Take over a network and convert it to the channels_last memory format."""
        super().__init__()
        self.precision = precision
        if any(tensor.is_inference() for tensor in (*network.parameters(), *network.buffers())):
            # Tensors made in inference mode cannot take part in a backward pass; their copies can.
            network = copy.deepcopy(network)
        self.network = network.to(memory_format=torch.channels_last)
        # A copy instead of autocast, which would cast all weights at every evaluation.
        self.narrow_body = copy.deepcopy(network.body).to(torch.bfloat16) if precision == "bf16" else None

    def forward(self, image: Tensor, *, narrow: bool) -> dict[str, Tensor]:
        """Return the features of N x 3 x H x W pictures by layer; in the narrow precision if `narrow`."""
        x = ((image - self.network.mean) / self.network.std).contiguous(memory_format=torch.channels_last)
        if narrow and self.narrow_body is not None:
            return cast(dict[str, Tensor], self.narrow_body(x.to(torch.bfloat16)))
        body = self.network.body
        with native.integers(narrow and self.precision == "int16"):
            # Also without a gradient, so that a picture without a difference to its target has exactly no loss.
            return body(x, as_trained=True) if isinstance(body, VGG) else cast(dict[str, Tensor], body(x))


class Objective(nn.Module):
    """The terms of a config for pictures of one size. All targets are computed once, in float32.

    A part of the loss is one term at one layer (or pooling), summed over the styles.
    """

    weights: Tensor

    def __init__(
        self,
        config: GatysConfig,
        *,
        features: Features | None,
        content: Tensor,
        styles: Sequence[PreparedStyle],
        tile_pixels: int | None = None,
        on_tile: Callable[[], object] = lambda: None,
    ) -> None:
        """Compute the targets; `content`, N x 1 or 3 x H x W, has the size and the channels of the pictures to come.

        `features` may be None if no term needs any. With `tile_pixels`, all pictures pass the loss network in tiles;
        `on_tile` is called after each.
        """
        super().__init__()
        self.config = config
        self.features = features
        self.tile_pixels = tile_pixels
        self.on_tile = on_tile
        #: Whether features have the narrow precision; the caller may turn that off later.
        self.narrow = features is not None and features.precision != "fp32"
        self._drawn = 0
        parts: dict[tuple[str, str], LayerPart | ImagePart] = {}
        weights: list[float] = []

        def add(term: str, key: object, weight: float, part: LayerPart | ImagePart) -> None:
            parts[NAMES.get(term, term), str(key)] = part
            weights.append(weight)

        with torch.no_grad():
            wanted, sizes = FeatureMaps(config.active("content")), dict[str, Size]()
            for tile, values in self.cuts(content, narrow=False):
                wanted.add(tile, values)
                sizes |= {layer: tile.map_size(layer, values[layer]) for layer in values}
            for layer, weight in config.active("content").items():
                add("content", layer, weight, ContentPart(layer, wanted.maps[layer]))
            targets = [self._targets(style, sizes) for style in styles if config.uses_style]
            for term in STYLE_TERMS:
                for layer, weight in config.active(term).items():
                    gram = term == "gram"
                    add(
                        term,
                        layer,
                        weight,
                        GramPart(config, layer, targets) if gram else FeaturePart(config, term, layer, targets),
                    )
            for pool_px, weight in config.active("laplacian").items():
                edges = LaplacianLoss(rgb(content), pool_px=pool_px)
                add("laplacian", pool_px, weight, ImagePart(edges))
        if config.tv_weight:
            add("tv", "", config.tv_weight, ImagePart(TVLoss(config.tv_kind)))
        self.keys = tuple(parts)
        self.parts = nn.ModuleList(parts.values())
        self.register_buffer("weights", torch.tensor(weights, device=content.device))

    def forward(self, canvas: Tensor) -> Tensor:
        """Return the weighted parts, P, of the picture 1 x 1 or 3 x H x W, in the order of `keys`, without tiles."""
        return self.unweighted(canvas) * self.weights

    def unweighted(self, canvas: Tensor) -> Tensor:
        """Return the parts, P, of a picture, all with the weight 1, without tiles."""
        features = self.features_of(canvas, narrow=self.narrow)
        return torch.stack([cast(Tensor, part(features, rgb(canvas))) for part in self.parts])

    @property
    def multiplies_integers(self) -> bool:
        """Whether evaluations multiply 16-bit integers now."""
        return self.narrow and self.features is not None and self.features.precision == "int16"

    def features_of(self, picture: Tensor, *, narrow: bool) -> dict[str, Tensor]:
        """Return the features of a picture, or of a tile with its margin, by layer."""
        return {} if self.features is None else self.features(rgb(picture), narrow=narrow)

    def tiles(self, picture: Tensor) -> Iterator[Tile]:
        """Yield the tiles of a picture."""
        if self.features is not None:
            yield from tiles(self.features.network, size_of(picture), tile_pixels=self.tile_pixels)

    def cuts(self, picture: Tensor, *, narrow: bool) -> Iterator[tuple[Tile, dict[str, Tensor]]]:
        """Yield the tiles of a picture, and the features of each one by layer."""
        for tile in self.tiles(picture):
            yield tile, tile.cut(self.features_of(tile.of(picture), narrow=narrow))
            self.on_tile()

    def losses(self, parts: Sequence[float]) -> dict[str, float]:
        """Return the sum of the weighted parts of each term."""
        totals: dict[str, float] = {}
        for (term, _), value in zip(self.keys, parts, strict=True):
            totals[term] = totals.get(term, 0.0) + value
        return totals

    def draw(self, number: int) -> bool:
        """Draw the directions of the sliced term with this number; return whether the loss is another one now."""
        losses = [module for module in self.modules() if isinstance(module, SlicedLoss)]
        changed, self._drawn = bool(losses) and number != self._drawn, number
        for loss in losses if changed else ():
            loss.draw(number)
        return changed

    def _targets(self, style: PreparedStyle, sizes: dict[str, Size]) -> StyleTargets:
        active = {term: self.config.active(term) for term in STYLE_TERMS}
        return style_targets(
            style,
            self.cuts(style.image, narrow=False),
            gram_layers=active.pop("gram"),
            map_layers={layer for layers in active.values() for layer in layers},
            sizes=sizes,
        )


def check_network(config: GatysConfig, network: LossNetwork) -> None:
    """Raise ConfigError if the network was built without a layer that the config needs."""
    missing = set(config.layers) - set(network.layers)
    if missing:
        raise ConfigError(f"The loss network was built without {', '.join(sorted(missing))}.")


def rgb(canvas: Tensor) -> Tensor:
    """Return a luminance as a grey RGB picture, and RGB unchanged."""
    return canvas.expand(-1, 3, -1, -1)
