"""Parts of the loss: one term at one layer, summed over the styles.

A part takes two steps, so that a picture too large for its features can be cut into tiles. `measure` returns what the
loss needs to know of a tile, and `loss` is a function of what is known of all tiles. Measures of tiles are summed, or
are put together to the map of the whole picture if the part `needs_map`. Called as a module, a part takes both steps
for the whole picture.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from nst_core.gatys.config import GatysConfig
from nst_core.gatys.targets import StyleTargets, gram_share
from nst_core.losses.content import ContentLoss
from nst_core.losses.gram import GramLoss
from nst_core.losses.histogram import HistogramLoss
from nst_core.losses.moments import MomentsLoss, moments
from nst_core.losses.mrf import MRFLoss
from nst_core.losses.sliced import SlicedLoss
from nst_core.nets.feature_tiles import Place

#: The place of a tile that is the whole picture.
WHOLE: Place = slice(None), slice(None)


class ImagePart(nn.Module):
    """A loss of the picture itself, RGB, which is never cut."""

    def __init__(self, loss: nn.Module) -> None:
        """Store the loss."""
        super().__init__()
        self.loss = loss

    def forward(self, features: Mapping[str, Tensor], image: Tensor) -> Tensor:
        loss: Tensor = self.loss(image)
        return loss


class LayerPart(nn.Module):
    """A part of the loss at a layer of the loss network."""

    needs_map = False

    def __init__(self, layer: str) -> None:
        super().__init__()
        self.layer = layer

    def measure(self, values: Tensor, place: Place) -> Tensor:
        """Return what the loss needs of a tile, given the tile's features and their place in the map of the layer."""
        raise NotImplementedError

    def loss(self, measured: Tensor) -> Tensor:
        """Return the loss of a picture, given the measures of its tiles."""
        raise NotImplementedError

    def forward(self, features: Mapping[str, Tensor], image: Tensor) -> Tensor:
        return self.loss(self.measure(features[self.layer], WHOLE))


class ContentPart(LayerPart):
    """The content loss at a layer."""

    target: Tensor

    def __init__(self, layer: str, target: Tensor) -> None:
        """Store the features of the content."""
        super().__init__(layer)
        self._distance = ContentLoss()
        # As the features of pictures come.
        self.register_buffer("target", target.contiguous(memory_format=torch.channels_last))

    def measure(self, values: Tensor, place: Place) -> Tensor:
        """Return the tile's share of the loss."""
        distance: Tensor = self._distance(values, self.target[..., *place])
        return distance * (values.numel() / self.target.numel())

    def loss(self, measured: Tensor) -> Tensor:
        """Return the sum of the shares as it is."""
        return measured


class GramPart(LayerPart):
    """The losses of all styles on Gram matrices at a layer.

    The Gram matrix of the whole picture is computed once, and one for each region (guided Gram matrices, Gatys et al.
    2017, "Controlling Perceptual Factors in Neural Style Transfer", section 4).
    """

    def __init__(self, config: GatysConfig, layer: str, styles: Sequence[StyleTargets]) -> None:
        """Store the styles' Gram matrices."""
        super().__init__(layer)
        self.shares = [style.share for style in styles]
        self.losses = nn.ModuleList(
            GramLoss(style.grams[layer], normalization=config.gram_normalization) for style in styles
        )
        guides = [style.guide(layer) for style in styles]
        #: The different guides, and which one each style has.
        self.guides = ([None] if None in guides else []) + [guide for guide in guides if guide is not None]
        self.numbers = _numbers(guides)
        self.size = styles[0].sizes[layer]

    def measure(self, values: Tensor, place: Place) -> Tensor:
        """Return the tile's shares of the Gram matrices of all guides, K x C x C."""
        return torch.cat([gram_share(values, guide, place, size=self.size) for guide in self.guides])

    def loss(self, measured: Tensor) -> Tensor:
        """Return the loss of K x C x C Gram matrices."""
        total = measured.new_zeros(())
        for module, share, number in zip(self.losses, self.shares, self.numbers, strict=True):
            total = total + share * cast(GramLoss, module).of_gram(measured[number : number + 1])
        return total


class FeaturePart(LayerPart):
    """The losses of all styles on histograms, on moments, on projections or on patches at a layer.

    A region selects the positions where the guide exceeds half of its largest value.
    """

    needs_map = True

    def __init__(self, config: GatysConfig, term: str, layer: str, styles: Sequence[StyleTargets]) -> None:
        """Compute the styles' targets for a term: histogram, moments, sliced or mrf."""
        super().__init__(layer)
        self.shares = [style.share for style in styles]
        targets = [_select(style.maps[layer], _positions(style.style_guide(layer))) for style in styles]
        self.losses = nn.ModuleList(_feature_loss(config, term, target) for target in targets)
        self.positions = [_positions(style.guide(layer)) for style in styles]

    def measure(self, values: Tensor, place: Place) -> Tensor:
        """Return the features as they are: ranks and patches are those among all positions."""
        return values

    def loss(self, measured: Tensor) -> Tensor:
        """Return the loss of the map of the whole picture."""
        total = measured.new_zeros((), dtype=torch.float32)
        for loss, share, positions in zip(self.losses, self.shares, self.positions, strict=True):
            total = total + share * loss(_select(measured, positions))
        return total


def _numbers(guides: Sequence[Tensor | None]) -> list[int]:
    """Return the number of each style's guide, if all styles without one share the first."""
    numbers, following = [], int(None in guides)
    for guide in guides:
        numbers.append(0 if guide is None else following)
        following += guide is not None
    return numbers


def _feature_loss(config: GatysConfig, term: str, target: Tensor) -> nn.Module:
    if term == "histogram":
        return HistogramLoss(target)
    if term == "moments":
        return MomentsLoss(*moments(target))
    if term == "sliced":
        return SlicedLoss(target, seed=config.seed)
    return MRFLoss(target, stride=config.mrf_stride)


def _positions(guide: Tensor | None) -> Tensor | None:
    """Return the indices of the positions that a guide selects, in reading order."""
    return None if guide is None else torch.nonzero(guide.flatten() > guide.max() / 2)[:, 0]


def _select(features: Tensor, positions: Tensor | None) -> Tensor:
    """Return the features at some positions as N x C x M x 1, or all features unchanged."""
    return features if positions is None else features.flatten(2)[:, :, positions, None]
