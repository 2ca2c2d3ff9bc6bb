"""Parts of the loss: one term at one layer, summed over the styles.

A part is a module that takes the features of the picture by layer and the picture itself, RGB, and returns a scalar.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from nst_core.gatys.config import GatysConfig
from nst_core.gatys.scales import Size, resize_guide, size_of
from nst_core.losses.content import ContentLoss
from nst_core.losses.gram import GramLoss, gram_matrix
from nst_core.losses.histogram import HistogramLoss
from nst_core.losses.moments import MomentsLoss, moments
from nst_core.losses.mrf import MRFLoss
from nst_core.losses.sliced import SlicedLoss


@dataclass(frozen=True, kw_only=True, eq=False)
class StyleFeatures:
    """The features of a style, from which its targets are made."""

    #: Features of the style picture, by layer.
    features: Mapping[str, Tensor]
    weight: float
    #: Guides with the sizes of the content picture and of the style picture, or None.
    region: Tensor | None
    style_region: Tensor | None
    #: Height and width of the picture's features, by layer.
    sizes: Mapping[str, Size]

    @property
    def share(self) -> float:
        """The style's weight times the fraction of the picture that its region covers.

        A departure from Gatys et al. 2017, whose guided losses count the same for regions of any size. Each Gram matrix
        is that of its region alone, so without this factor the pixels of a small region would change faster.
        """
        return self.weight if self.region is None else self.weight * float(self.region.mean())

    def guide(self, layer: str) -> Tensor | None:
        """Return the region at a layer of the picture."""
        return None if self.region is None else resize_guide(self.region, self.sizes[layer])

    def style_guide(self, layer: str) -> Tensor | None:
        """Return the style's own region at a layer of the style picture."""
        return None if self.style_region is None else resize_guide(self.style_region, size_of(self.features[layer]))


class ContentPart(nn.Module):
    """The content loss at a layer."""

    target: Tensor

    def __init__(self, layer: str, target: Tensor) -> None:
        """Store the features of the content."""
        super().__init__()
        self.layer = layer
        self.loss = ContentLoss()
        self.register_buffer("target", target)

    def forward(self, features: Mapping[str, Tensor], image: Tensor) -> Tensor:
        loss: Tensor = self.loss(features[self.layer], self.target)
        return loss


class ImagePart(nn.Module):
    """A loss of the picture itself."""

    def __init__(self, loss: nn.Module) -> None:
        """Store the loss."""
        super().__init__()
        self.loss = loss

    def forward(self, features: Mapping[str, Tensor], image: Tensor) -> Tensor:
        loss: Tensor = self.loss(image)
        return loss


class GramPart(nn.Module):
    """The losses of all styles on Gram matrices at a layer.

    The Gram matrix of the whole picture is computed once, and one for each region (guided Gram matrices, Gatys et al.
    2017, "Controlling Perceptual Factors in Neural Style Transfer", section 4).
    """

    def __init__(self, config: GatysConfig, layer: str, styles: Sequence[StyleFeatures]) -> None:
        """Compute the styles' Gram matrices."""
        super().__init__()
        self.layer = layer
        self.shares = [style.share for style in styles]
        targets = [gram_matrix(style.features[layer], weights=style.style_guide(layer)) for style in styles]
        self.losses = nn.ModuleList(GramLoss(target, normalization=config.gram_normalization) for target in targets)
        self.guides = [style.guide(layer) for style in styles]

    def forward(self, features: Mapping[str, Tensor], image: Tensor) -> Tensor:
        values = features[self.layer]
        whole = gram_matrix(values) if None in self.guides else None
        total = image.new_zeros(())
        for module, share, guide in zip(self.losses, self.shares, self.guides, strict=True):
            loss = cast(GramLoss, module)
            matrix = cast(Tensor, whole) if guide is None else gram_matrix(values, weights=guide)
            total = total + share * loss.of_gram(matrix)
        return total


class FeaturePart(nn.Module):
    """The losses of all styles on histograms, on moments, on projections or on patches at a layer.

    A region selects the positions where the guide exceeds half of its largest value.
    """

    def __init__(self, config: GatysConfig, term: str, layer: str, styles: Sequence[StyleFeatures]) -> None:
        """Compute the styles' targets for a term: histogram, moments, sliced or mrf."""
        super().__init__()
        self.layer = layer
        self.shares = [style.share for style in styles]
        targets = [_select(style.features[layer], _positions(style.style_guide(layer))) for style in styles]
        self.losses = nn.ModuleList(_feature_loss(config, term, target) for target in targets)
        self.positions = [_positions(style.guide(layer)) for style in styles]

    def forward(self, features: Mapping[str, Tensor], image: Tensor) -> Tensor:
        total = image.new_zeros(())
        for loss, share, positions in zip(self.losses, self.shares, self.positions, strict=True):
            total = total + share * loss(_select(features[self.layer], positions))
        return total


Part = ContentPart | ImagePart | GramPart | FeaturePart


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
