"""The loss of a picture (the weighted sum of all terms of a config) and its gradient."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from nst_core.errors import ConfigError
from nst_core.gatys.config import BALANCED_TERMS, STYLE_TERMS, GatysConfig
from nst_core.gatys.parts import ContentPart, FeaturePart, GramPart, ImagePart, Part, StyleFeatures
from nst_core.gatys.scales import size_of
from nst_core.losses.balance import balanced_weights
from nst_core.losses.laplacian import LaplacianLoss
from nst_core.losses.sliced import SlicedLoss
from nst_core.losses.tv import TVLoss
from nst_core.nets.loss_network import VGG, LossNetwork

#: Names of terms in results that differ from the names of the config's fields.
NAMES = {"gram": "style"}


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedStyle:
    """A style, prepared for the objective of one scale."""

    #: 1 x 1 x h x w luminance or 1 x 3 x h x w RGB.
    image: Tensor
    weight: float
    region: Tensor | None
    style_region: Tensor | None


class Features(nn.Module):
    """The loss network in float32, and optionally a copy in bfloat16."""

    def __init__(self, network: LossNetwork, *, bf16: bool) -> None:
        """Take over a network and convert it to the channels_last memory format."""
        super().__init__()
        if any(tensor.is_inference() for tensor in (*network.parameters(), *network.buffers())):
            # Tensors made in inference mode cannot take part in a backward pass; their copies can.
            network = copy.deepcopy(network)
        self.network = network.to(memory_format=torch.channels_last)
        # A copy instead of autocast, which would cast all weights at every evaluation.
        self.narrow_body = copy.deepcopy(network.body).to(torch.bfloat16) if bf16 else None

    def forward(self, image: Tensor, *, narrow: bool) -> dict[str, Tensor]:
        """Return the features of N x 3 x H x W pictures by layer, bfloat16 if `narrow`."""
        x = ((image - self.network.mean) / self.network.std).contiguous(memory_format=torch.channels_last)
        if narrow and self.narrow_body is not None:
            return cast(dict[str, Tensor], self.narrow_body(x.to(torch.bfloat16)))
        body = self.network.body
        # Also without a gradient, so that a picture without a difference to its target has exactly no loss.
        return body(x, as_trained=True) if isinstance(body, VGG) else cast(dict[str, Tensor], body(x))


class Objective(nn.Module):
    """The terms of a config for pictures of one size. All targets are computed once, in float32.

    A part of the loss is one term at one layer (or pooling), summed over the styles.
    """

    weights: Tensor

    def __init__(
        self, config: GatysConfig, *, features: Features | None, content: Tensor, styles: Sequence[PreparedStyle]
    ) -> None:
        """Compute the targets; `content`, N x 1 or 3 x H x W, has the size and the channels of the pictures to come.

        `features` may be None if no term needs any.
        """
        super().__init__()
        self.config = config
        self.features = features
        #: Whether features are bfloat16; the caller may turn that off later.
        self.narrow = features is not None and features.narrow_body is not None
        self._drawn = 0
        parts: dict[tuple[str, str], Part] = {}
        weights: list[float] = []

        def add(term: str, key: object, weight: float, part: Part) -> None:
            parts[NAMES.get(term, term), str(key)] = part
            weights.append(weight)

        with torch.no_grad():
            wanted = self._features(content, narrow=False)
            for layer, weight in config.active("content").items():
                add("content", layer, weight, ContentPart(layer, wanted[layer]))
            sizes = {layer: size_of(values) for layer, values in wanted.items()}
            lent = [self._style_features(style, sizes) for style in styles if config.uses_style]
            for term in STYLE_TERMS:
                for layer, weight in config.active(term).items():
                    part = GramPart(config, layer, lent) if term == "gram" else FeaturePart(config, term, layer, lent)
                    add(term, layer, weight, part)
            for pool_px, weight in config.active("laplacian").items():
                edges = LaplacianLoss(_rgb(content), pool_px=pool_px)
                add("laplacian", pool_px, weight, ImagePart(edges))
        if config.tv_weight:
            add("tv", "", config.tv_weight, ImagePart(TVLoss(config.tv_kind)))
        self.keys = tuple(parts)
        self.parts = nn.ModuleList(parts.values())
        self.register_buffer("weights", torch.tensor(weights, device=content.device))

    def forward(self, canvas: Tensor) -> Tensor:
        """Return the weighted parts, P, of the picture 1 x 1 or 3 x H x W, in the order of `keys`."""
        return self._parts(canvas) * self.weights

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

    def balance(self, canvas: Tensor) -> None:
        """Set the weights of the balanced terms from the lengths of their gradients at a picture; see `GatysConfig`."""
        with torch.enable_grad():
            x = canvas.detach().requires_grad_()
            parts = self._parts(x)
            style = [i for i, (term, _) in enumerate(self.keys) if term == NAMES["gram"]]
            losses = {"": (parts * self.weights)[style].sum()}
            ratios = {}
            for i, (term, layer) in enumerate(self.keys):
                if term in BALANCED_TERMS:
                    losses[str(i)] = parts[i]
                    ratios[str(i)] = self.config.active(term)[layer]
            for name, weight in balanced_weights(losses, at=x, reference="", ratios=ratios).items():
                if name:
                    self.weights[int(name)] = weight

    def _parts(self, canvas: Tensor) -> Tensor:
        features = self._features(canvas, narrow=self.narrow)
        return torch.stack([cast(Tensor, part(features, _rgb(canvas))) for part in self.parts])

    def _features(self, canvas: Tensor, *, narrow: bool) -> dict[str, Tensor]:
        return {} if self.features is None else self.features(_rgb(canvas), narrow=narrow)

    def _style_features(self, style: PreparedStyle, sizes: Mapping[str, tuple[int, int]]) -> StyleFeatures:
        return StyleFeatures(
            features=self._features(style.image, narrow=False),
            weight=style.weight,
            region=style.region,
            style_region=style.style_region,
            sizes=sizes,
        )


def evaluator(objective: Objective, *, compiled: bool) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return the function from a picture to the weighted parts of its loss, P, and the gradient of their sum."""
    forward: Callable[[Tensor], Tensor] = torch.compile(objective, dynamic=False) if compiled else objective

    def evaluate(canvas: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = canvas.detach().requires_grad_()
            parts = forward(x)
            (gradient,) = torch.autograd.grad(parts.sum(), x)
        return parts.detach(), gradient.contiguous()

    return evaluate


def check_network(config: GatysConfig, network: LossNetwork) -> None:
    """Raise ConfigError if the network was built without a layer that the config needs."""
    missing = set(config.layers) - set(network.layers)
    if missing:
        raise ConfigError(f"The loss network was built without {', '.join(sorted(missing))}.")


def _rgb(canvas: Tensor) -> Tensor:
    """Return a luminance as a grey RGB picture, and RGB unchanged."""
    return canvas.expand(-1, 3, -1, -1)
