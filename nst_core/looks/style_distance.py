"""How far a picture is from a painting, in layers that no style is trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nst_core.errors import ConfigError
from nst_core.losses.gram import gram_matrix

#: The style losses of this project end at relu4_3, and its content losses at relu3_3.
STYLE_LAYERS = ("relu4_1", "relu5_1")
CONTENT_LAYER = "relu4_2"
#: Longest sides of the painting. The strokes of a network are of one size, which may be any of these.
PAINTING_PX = (384, 512, 768, 1024)


class Distance(NamedTuple):
    """Two relative distances of the features of a layer: 0 for equal ones, about 1 for those of another picture."""

    #: |G - A| / |A| for the Gram matrices G of the picture and A of the painting, in the Frobenius norm.
    gram: float
    #: |(m, s) - (m_s, s_s)| / |(m_s, s_s)| for means and deviations of the channels (Huang, Belongie 2017).
    moments: float


@dataclass(frozen=True, kw_only=True)
class _Statistics:
    gram: Tensor
    moments: Tensor


class StyleDistance:
    """The distances to a painting that is given in several sizes."""

    def __init__(self, paintings: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Hold the features of the painting by size and layer, 1 x C x H x W each.

        Raises ConfigError if there is no size.
        """
        if not paintings:
            raise ConfigError("A distance to a painting needs the painting in at least one size.")
        self._targets = {
            px: {layer: _statistics(values) for layer, values in features.items()} for px, features in paintings.items()
        }

    def __call__(self, features: Mapping[str, Tensor]) -> dict[str, Distance]:
        """Return for each layer the distances of a picture; each is that to the nearest size of the painting."""
        found = {}
        for layer in next(iter(self._targets.values())):
            own = _statistics(features[layer])
            all_sizes = [_distance(own, targets[layer]) for targets in self._targets.values()]
            found[layer] = Distance(*(min(values) for values in zip(*all_sizes, strict=True)))
        return found


def _statistics(features: Tensor) -> _Statistics:
    flat = features.flatten(2)
    moments = torch.cat([flat.mean(dim=2), flat.std(dim=2, correction=0)], dim=1)
    return _Statistics(gram=gram_matrix(features), moments=moments)


def _distance(own: _Statistics, target: _Statistics) -> Distance:
    return Distance(_relative(own.gram, target.gram), _relative(own.moments, target.moments))


def _relative(own: Tensor, target: Tensor) -> float:
    return float((own - target).norm() / target.norm().clamp_min(torch.finfo(target.dtype).tiny))
