"""How much memory an optimisation needs, in bytes; estimates like those in `nets.costs`. Never loads torch."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

from nst_core.gatys.config import GatysConfig
from nst_core.nets.costs import BASE_BYTES, FLOAT_BYTES, STEP_WASTE
from nst_core.nets.vgg_layers import BLOCKS, CHANNELS, layer_names

#: The most numbers per pixel that a classifier other than a VGG keeps.
_OTHER_FLOATS = 1500.0


def optimize_max_pixels(config: GatysConfig, budget_bytes: int) -> int:
    """Return how many pixels the result and the style picture may have with `budget_bytes` of memory."""
    free = budget_bytes - BASE_BYTES - kernel_bytes(config.network, config.layers)
    return max(0, free) // optimize_pixel_bytes(config)


def optimize_pixel_bytes(config: GatysConfig) -> int:
    """Return the bytes per pixel of the result, or of the style picture if that is larger."""
    loss = features(config.network, config.layers)
    floats = loss.kept + 2 * loss.largest
    for term, (kept, copies) in _TERM_COPIES.items():
        counts = [positions(config.network, layer) for layer in config.active(term)]
        floats += kept * sum(counts) + copies * max(counts, default=0.0)
    history = 6 * config.history if config.optimizer == "lbfgs" else 0
    return int(STEP_WASTE * FLOAT_BYTES * (floats + 24)) + FLOAT_BYTES * history


#: Numbers per feature that each term keeps for all layers, and that it needs in addition for one layer at a time.
_TERM_COPIES = {
    "gram": (0.0, 1.0),
    "histogram": (2.0, 10.0),
    "moments": (2.0, 4.0),
    # The style's features and their projections, and the gradient.
    "sliced": (3.0, 2.0),
    "mrf": (2.0, 8.0),
}
#: Numbers for each pair of channels: tiles of 6 x 6, in both directions.
_KERNEL_FLOATS = 2 * 6 * 6


@dataclass(frozen=True, kw_only=True)
class Features:
    """How many numbers per pixel of its picture a loss network has in memory."""

    #: Everything that is kept for the backward pass.
    kept: float
    #: The largest layer.
    largest: float


def features(network: str, layers: Collection[str]) -> Features:
    """Return what a loss network keeps for the backward pass through some of its layers."""
    if not layers:
        return Features(kept=0, largest=3)
    blocks = BLOCKS.get(network.partition("_")[0])
    if blocks is None:
        return Features(kept=_OTHER_FLOATS, largest=_OTHER_FLOATS / 8)
    deepest = max(int(layer[4]) for layer in layers)
    kept = 6.0  # the picture, normalised
    for block, count in enumerate(blocks[:deepest]):
        # The result of each convolution (its ReLU is in place) and of each pooling.
        kept += CHANNELS[block] * (count + 0.5) / 4**block
    kept += sum(positions(network, layer) for layer in layers if layer.startswith("conv"))
    return Features(kept=kept, largest=float(CHANNELS[0]))


def kernel_bytes(network: str, layers: Collection[str]) -> int:
    """Return what the transformed weights of a VGG take; see `nets.convolution.FrozenConv2d`."""
    if not layers or network.partition("_")[0] not in BLOCKS:
        return 0
    names = layer_names(network)
    channels = [CHANNELS[int(name[4]) - 1] for name in names[: 1 + max(map(names.index, layers))] if name[:4] == "conv"]
    # The first layer has three channels, and is not transformed.
    pairs = sum(before * after for before, after in pairwise(channels))
    return _KERNEL_FLOATS * FLOAT_BYTES * pairs


def positions(network: str, layer: str) -> float:
    """Return how many numbers a layer has per pixel of the picture."""
    if network.partition("_")[0] not in BLOCKS:
        return _OTHER_FLOATS / 8
    block = int(layer[4]) - 1
    return float(CHANNELS[block] / 4 ** (block + layer.startswith("pool")))
