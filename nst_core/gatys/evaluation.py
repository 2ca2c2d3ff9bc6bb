"""The gradient of an objective: of the whole picture at once, or tile by tile with the memory of one tile.

The loss is a function of a few sums over the tiles, such as Gram matrices. So a first pass of the loss network sums
them, without a gradient. They give the loss and its derivatives by the sums. A second pass goes through each tile again
and takes the gradient of its sums times these derivatives. Where margins overlap, gradients add up. Except for
rounding, loss and gradient are those of the whole picture.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from nst_core.gatys.config import MAP_TERMS
from nst_core.gatys.lbfgs import Evaluate
from nst_core.gatys.objective import NAMES, Objective, rgb
from nst_core.gatys.parts import LayerPart
from nst_core.gatys.targets import FeatureMaps
from nst_core.losses.balance import balanced_weights, gradient_norm
from nst_core.nets import native
from nst_core.nets.feature_tiles import Tile


def evaluator(objective: Objective, *, compiled: bool) -> Evaluate:
    """Return the function from a picture to the weighted parts of its loss, P, and the gradient of their sum.

    What passes the loss network in tiles is not compiled.
    """
    forward: Callable[[Tensor], Tensor] = torch.compile(objective, dynamic=False) if compiled else objective

    def evaluate(canvas: Tensor) -> tuple[Tensor, Tensor]:
        with native.integers(objective.multiplies_integers):
            if objective.tile_pixels is not None:
                return _evaluate_tiles(objective, canvas, objective.weights)
            with torch.enable_grad():
                x = canvas.detach().requires_grad_()
                parts = forward(x)
                (gradient,) = torch.autograd.grad(parts.sum(), x)
            return parts.detach(), gradient.contiguous()

    return evaluate


def balance(objective: Objective, canvas: Tensor) -> None:
    """Set the weights of the balanced terms from the lengths of their gradients at a picture; see `GatysConfig`."""
    numbers = {key: number for number, key in enumerate(objective.keys)}
    style = [number for (term, _), number in numbers.items() if term == NAMES["gram"]]
    # The weights with which each gradient is computed, and its wanted length.
    chosen = {"": torch.zeros_like(objective.weights)}
    chosen[""][style] = objective.weights[style]
    ratios: dict[str, float] = {}
    for (term, layer), number in numbers.items():
        if term in MAP_TERMS:
            chosen[str(number)] = torch.zeros_like(objective.weights)
            chosen[str(number)][number] = 1
            ratios[str(number)] = objective.config.active(term)[layer]
    weights = balanced_weights(_norms(objective, canvas, chosen), reference="", ratios=ratios)
    for name in ratios:
        objective.weights[int(name)] = weights[name]


def _norms(objective: Objective, canvas: Tensor, chosen: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the lengths of the gradients with each of the chosen weights."""
    if objective.tile_pixels is not None:
        return {name: _evaluate_tiles(objective, canvas, each)[1].norm().item() for name, each in chosen.items()}
    with torch.enable_grad():
        x = canvas.detach().requires_grad_()
        parts = objective.unweighted(x)
        losses = {name: (parts * weights)[weights != 0].sum() for name, weights in chosen.items()}
        return {name: gradient_norm(loss, x).item() for name, loss in losses.items()}


def _evaluate_tiles(objective: Objective, canvas: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted parts of a picture's loss, P, and the gradient of their sum; weights of 0 leave parts out."""
    factors = weights.tolist()
    parts, gradient = canvas.new_zeros(len(factors)), torch.zeros_like(canvas)
    layer_parts = {
        number: part for number, part in enumerate(objective.parts) if isinstance(part, LayerPart) and factors[number]
    }
    known = _measure(objective, canvas, layer_parts)
    for number, part in enumerate(objective.parts):
        if number in layer_parts:
            # What becomes a slope is not kept as a measure: both may be maps of the whole picture.
            parts[number], known[number] = _slope(layer_parts[number].loss, known.pop(number), factors[number])
        elif factors[number]:
            parts[number], slope = _slope(partial(_image_loss, part), canvas, factors[number])
            gradient += slope
        objective.on_tile()
    if layer_parts:
        for tile in objective.tiles(canvas):
            gradient[..., *tile.source] += _tile_gradient(objective, tile, canvas, layer_parts, known)
            objective.on_tile()
    return parts, gradient


@torch.no_grad()
def _measure(objective: Objective, canvas: Tensor, parts: Mapping[int, LayerPart]) -> dict[int, Tensor]:
    """Return what parts need to know of a picture, by their numbers."""
    mapped = {number: part.layer for number, part in parts.items() if part.needs_map}
    maps = FeatureMaps(set(mapped.values()))
    sums: dict[int, Tensor] = {}
    for tile, features in objective.cuts(canvas, narrow=objective.narrow):
        maps.add(tile, features)
        for number, part in parts.items():
            values = features[part.layer]
            if number not in mapped and values.numel():
                share = part.measure(values, tile.place(part.layer))
                sums[number] = sums[number] + share if number in sums else share
    return sums | {number: maps.maps[layer] for number, layer in mapped.items()}


def _image_loss(part: nn.Module, canvas: Tensor) -> Tensor:
    loss: Tensor = part({}, rgb(canvas))
    return loss


@torch.enable_grad()
def _slope(loss: Callable[[Tensor], Tensor], at: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """Return a loss times a factor, and its derivative."""
    x = at.detach().requires_grad_()
    value = factor * loss(x)
    (slope,) = torch.autograd.grad(value, x)
    return value.detach(), slope


@torch.enable_grad()
def _tile_gradient(
    objective: Objective, tile: Tile, canvas: Tensor, parts: Mapping[int, LayerPart], slopes: Mapping[int, Tensor]
) -> Tensor:
    """Return the gradient of a tile and its margin, given the derivatives of the loss by the measures of parts."""
    x = tile.of(canvas).detach().requires_grad_()
    features = tile.cut(objective.features_of(x, narrow=objective.narrow))
    total = x.new_zeros(())
    for number, part in parts.items():
        values, place = features[part.layer], tile.place(part.layer)
        if values.numel():
            slope = slopes[number][..., *place] if part.needs_map else slopes[number]
            total = total + (slope * part.measure(values, place)).sum()
    (gradient,) = torch.autograd.grad(total, x)
    return gradient
