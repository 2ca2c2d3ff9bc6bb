"""How much memory an optimisation needs, and how it keeps within a limit; see `nets.costs`. Never loads torch."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

from nst_core.gatys.config import MAP_TERMS, GatysConfig
from nst_core.nets.costs import BASE_BYTES, FLOAT_BYTES, STEP_WASTE, WASTE
from nst_core.nets.vgg_layers import BLOCKS, CHANNELS, layer_names

#: The most numbers per pixel that a classifier other than a VGG keeps.
_OTHER_FLOATS = 1500.0


#: The memory that one optimisation may take by default.
DEFAULT_MAX_BYTES = 8_000_000_000
#: Pixels of a tile of a picture that is too large for the features of the whole; a larger one has less margin.
TILES = (2**20, 2**19, 2**18)
#: The least pairs that L-BFGS keeps for such a picture. Nocedal & Wright (2006), section 7.2: 3 to 20 give satisfactory
#: results.
LEAST_HISTORY = 5


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How an optimisation keeps within its memory."""

    #: The most pixels that pass the loss network at once; None: the whole picture.
    tile_pixels: int | None
    #: Pairs of steps and gradients that L-BFGS keeps.
    history: int


def plan(config: GatysConfig, pixels: int, budget_bytes: int) -> Plan:
    """Return how to optimise a picture within `budget_bytes` of memory.

    `pixels` are those of the result, or of the style picture if that is larger, at most `optimize_max_pixels`. Tiles
    take about twice the time, so the whole picture comes first, and then the largest tile that leaves the memory for
    the config's history. If none does, the smallest tile leaves it for as much history as possible.
    """
    for tile_pixels in (None, *TILES):
        found = Plan(tile_pixels=tile_pixels, history=config.history)
        if optimize_bytes(config, pixels, found) <= budget_bytes:
            return found
    without = Plan(tile_pixels=TILES[-1], history=0)
    history = (budget_bytes - optimize_bytes(config, pixels, without)) // (pixels * _PAIR_BYTES)
    return Plan(tile_pixels=TILES[-1], history=history)


def optimize_bytes(config: GatysConfig, pixels: int, plan: Plan) -> int:
    """Return what an optimisation of a picture needs by a plan, including the loss network."""
    history = _history_bytes(config, plan.history)
    if plan.tile_pixels is None:
        return _fixed_bytes(config) + pixels * (_whole_pixel_bytes(config) + history)
    tile = plan.tile_pixels * _tile_pixel_bytes(config)
    return _fixed_bytes(config) + tile + pixels * (_kept_pixel_bytes(config) + history)


def optimize_max_pixels(config: GatysConfig, budget_bytes: int) -> int:
    """Return how many pixels the result and the style picture may have with `budget_bytes` of memory."""
    free = budget_bytes - _fixed_bytes(config)
    most = free // (_whole_pixel_bytes(config) + _history_bytes(config, config.history))
    if config.layers and config.network.partition("_")[0] in BLOCKS:  # no other network can be cut
        least = _kept_pixel_bytes(config) + _history_bytes(config, min(config.history, LEAST_HISTORY))
        most = max(most, (free - TILES[-1] * _tile_pixel_bytes(config)) // least)
    return max(0, most)


def _whole_pixel_bytes(config: GatysConfig) -> int:
    """Return the bytes per pixel of a picture that is not cut, without the history."""
    loss = features(config.network, config.layers)
    floats = _PICTURE_FLOATS + loss.kept + 2 * loss.largest
    for term, (kept, copies) in _TERM_COPIES.items():
        counts = [positions(config.network, layer) for layer in config.active(term)]
        floats += kept * sum(counts) + copies * max(counts, default=0.0)
    return int(STEP_WASTE * FLOAT_BYTES * floats)


def _tile_pixel_bytes(config: GatysConfig) -> int:
    """Return the bytes per pixel of a tile; tiles have many sizes."""
    loss = features(config.network, config.layers)
    grams = [positions(config.network, layer) for layer in config.active("gram")]
    return int(WASTE * FLOAT_BYTES * (loss.kept + 2 * loss.largest + max(grams, default=0.0)))


def _kept_pixel_bytes(config: GatysConfig) -> int:
    """Return the bytes per pixel of a picture in tiles, without the history: what is kept of the whole picture."""
    floats = _PICTURE_FLOATS + sum(positions(config.network, layer) for layer in config.active("content"))
    for term in MAP_TERMS:
        kept, copies = _TERM_COPIES[term]
        counts = [positions(config.network, layer) for layer in config.active(term)]
        # The map of the picture, which its gradient replaces.
        floats += (1 + kept) * sum(counts) + copies * max(counts, default=0.0)
    return int(STEP_WASTE * FLOAT_BYTES * floats)


def _history_bytes(config: GatysConfig, history: int) -> int:
    return history * _PAIR_BYTES if config.optimizer == "lbfgs" else 0


def _fixed_bytes(config: GatysConfig) -> int:
    return BASE_BYTES + kernel_bytes(config.network, config.layers)


#: Numbers per pixel of the picture: itself, its gradient, and what an optimizer computes of them.
_PICTURE_FLOATS = 24
#: A step and a change of the gradient of L-BFGS.
_PAIR_BYTES = FLOAT_BYTES * 2 * 3
#: Numbers per feature that each term keeps for all layers, and that it needs in addition for one layer at a time.
_TERM_COPIES = {
    "gram": (0.0, 1.0),
    "histogram": (2.0, 2.0),
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
