"""How much memory work takes, in bytes, from its config and the number of pixels alone. Never loads torch.

All results are estimates of the most that a process has at once beyond what it has before the work, on a CPU in
float32 and not compiled, which takes the most. They are meant to be somewhat too high rather than too low;
`python -m tests.benchmarks.memory` puts them beside what processes really take.
"""

from collections.abc import Collection
from dataclasses import dataclass
from math import prod

from nst_core.gatys.config import VGG_BLOCKS, GatysConfig
from nst_core.nets.transformer_config import TransformerConfig
from nst_core.system.memory import KEPT_BYTES
from nst_core.training.config import TrainConfig

_FLOAT_BYTES = 4
#: What the allocator loses between tensors of many sizes, and what convolutions copy into a layout of their own.
_WASTE = 2.0
#: The same if blocks are mapped one by one, as `memory.memory_for` has it for more than it keeps.
_MAPPED_WASTE = 1.2
#: The same in trainings and optimisations, whose tensors have the same sizes again and again.
_STEP_WASTE = 1.35
#: What any work takes, however small: buffers of kernels, code, threads.
_BASE_BYTES = 250 * 2**20
_VGG_CHANNELS = (64, 128, 256, 512, 512)
#: Numbers that a classifier other than a VGG keeps for each pixel, at most.
_OTHER_FLOATS = 1500.0
#: A picture as bytes, as floats, and a result as floats and as bytes.
_PICTURE_BYTES = 40
#: The style picture as a file's pixels, resized, and as floats.
_STYLE_PICTURE_BYTES = 24
#: Pixels of a style picture whose features are computed at once; larger ones are cut into tiles.
STYLE_TILE_PIXELS = 2**20
#: Pixels of a sample of a training, at most.
SAMPLE_PIXELS = 1024**2


def stylize_bytes(config: TransformerConfig, pixels: int) -> int:
    """Return what one pass of a network over a picture takes, its weights included."""
    needed = _stylize_pixel_bytes(config) * pixels
    most = min(_WASTE * needed, max(KEPT_BYTES, _MAPPED_WASTE * needed))
    return _BASE_BYTES + weights_bytes(config) + int(most)


def max_pixels(config: TransformerConfig, budget_bytes: int) -> int:
    """Return how many pixels a picture may have so that a pass of the network takes the budget at most; 0 for none."""
    free = budget_bytes - _BASE_BYTES - weights_bytes(config)
    waste = _WASTE if free <= KEPT_BYTES else _MAPPED_WASTE
    return max(0, int(free / waste) // _stylize_pixel_bytes(config))


def weights_bytes(config: TransformerConfig) -> int:
    """Return what the weights of a network take in memory."""
    return _FLOAT_BYTES * sum(map(prod, config.tensor_shapes().values()))


def training_bytes(config: TrainConfig) -> int:
    """Return what a training takes: a step or a sample, whichever is larger, and the style picture."""
    pixels = config.batch_size * config.size_px**2
    passes = 1.0 + bool(config.stability_weight)
    if config.shift_weight:
        passes += 1 / config.batch_size if config.transformer.norm == "instance" else 1
    loss = _features(config.network, config.layers)
    floats = passes * _training_floats(config.transformer) + loss.kept + 2 * loss.largest
    # Weights, gradients, and Adam's two moments.
    step = 4 * weights_bytes(config.transformer) + int(_STEP_WASTE * _FLOAT_BYTES * floats * pixels)
    sample = 4 * weights_bytes(config.transformer) + stylize_bytes(config.transformer, SAMPLE_PIXELS)
    return _BASE_BYTES + max(step, sample) + _style_bytes(config, loss)


def optimize_bytes(config: GatysConfig, pixels: int, style_pixels: int | None = None) -> int:
    """Return what an optimisation takes for a result of so many pixels; the style picture has as many by default."""
    return _BASE_BYTES + int(optimize_pixel_bytes(config) * max(pixels, style_pixels or pixels))


def optimize_max_pixels(config: GatysConfig, budget_bytes: int) -> int:
    """Return how many pixels the result and the style picture of an optimisation may have, for so many bytes."""
    return max(0, budget_bytes - _BASE_BYTES) // optimize_pixel_bytes(config)


def optimize_pixel_bytes(config: GatysConfig) -> int:
    """Return what an optimisation takes for each pixel of the result, or of the style picture if that is larger."""
    loss = _features(config.network, config.layers)
    floats = loss.kept + 2 * loss.largest
    for term, (kept, copies) in _TERM_COPIES.items():
        positions = [_positions(config.network, layer) for layer in config.active(term)]
        floats += kept * sum(positions) + copies * max(positions, default=0.0)
    history = 6 * config.history if config.optimizer == "lbfgs" else 0
    return int(_STEP_WASTE * _FLOAT_BYTES * (floats + 24)) + _FLOAT_BYTES * history


#: How many numbers each term keeps for every feature of a layer, and needs besides for one layer at a time.
_TERM_COPIES = {"gram": (0.0, 1.0), "histogram": (2.0, 10.0), "moments": (2.0, 4.0), "mrf": (2.0, 8.0)}


@dataclass(frozen=True, kw_only=True)
class _Features:
    """What a loss network has of each pixel of its picture, as numbers."""

    #: All that is kept for the backward pass.
    kept: float
    #: The largest layer.
    largest: float


def _features(network: str, layers: Collection[str]) -> _Features:
    if not layers:
        return _Features(kept=0, largest=3)
    blocks = VGG_BLOCKS.get(network.partition("_")[0])
    if blocks is None:
        return _Features(kept=_OTHER_FLOATS, largest=_OTHER_FLOATS / 8)
    deepest = max(int(layer[4]) for layer in layers)
    kept = 6.0  # the picture, normalised
    for block, count in enumerate(blocks[:deepest]):
        # Each convolution's result, the ReLU of those that are asked for before it, and the pooled ones.
        kept += _VGG_CHANNELS[block] * (count + 0.5) / 4**block
    kept += sum(_positions(network, layer) for layer in layers if layer.startswith("conv"))
    return _Features(kept=kept, largest=float(_VGG_CHANNELS[0]))


def _positions(network: str, layer: str) -> float:
    """Return how many numbers a layer has for each pixel of the picture."""
    if network.partition("_")[0] not in VGG_BLOCKS:
        return _OTHER_FLOATS / 8
    block = int(layer[4]) - 1
    return float(_VGG_CHANNELS[block] / 4 ** (block + layer.startswith("pool")))


def _stylize_pixel_bytes(config: TransformerConfig) -> int:
    w = config.width
    padded = config.padding == "reflect"
    # The input of the last upsampling, its double, and either that one padded or the convolution's result; transposed,
    # the input and the result before it is cropped.
    last = 2.7 * w if config.upsample == "transposed" else (4.5 if padded else 3.5) * w
    norm = 3 * w + 0.5 * w  # a layer of the full size beside its mean-free copy and the squares
    head = (2.0 if padded else 1.0) * w + 12
    largest = max(last, norm, head)
    return _PICTURE_BYTES + int(_FLOAT_BYTES * largest)


def _training_floats(config: TransformerConfig) -> float:
    """Return the numbers that a pass keeps of each pixel for the backward pass, and that this one needs besides."""
    w = config.width
    # Of each layer its padded input, the centred values and the result; the upsampled ones once more unpadded.
    down, block, up, head = 5.0 * w, 1.75 * w, 9.0 * w, w + 12
    return down + config.blocks * block + up + head + 6.0 * w


def _style_bytes(config: TrainConfig, loss: _Features) -> int:
    """Return what the style picture takes: as pixels, and the features of a tile."""
    # Its shorter side is not known; few paintings are longer than 3 : 2.
    pixels = config.style_size_px**2 * 2 // 3
    tile = pixels if _is_whole(config) else min(pixels, STYLE_TILE_PIXELS)
    if config.style_crops:
        tile = config.size_px**2
    # Nothing is kept for a backward pass but the layers that are asked for.
    asked = sum(_positions(config.network, layer) for layer in config.layers)
    return _STYLE_PICTURE_BYTES * pixels + int(_WASTE * _FLOAT_BYTES * (asked + 3 * loss.largest) * tile)


def _is_whole(config: TrainConfig) -> bool:
    """Return whether the features of the whole style picture are computed at once: only a VGG takes tiles."""
    return config.network.partition("_")[0] not in VGG_BLOCKS
