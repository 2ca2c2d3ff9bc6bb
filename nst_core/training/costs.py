"""How much memory a training takes, in bytes. Estimates as in `nets.costs`. Never loads torch."""

from nst_core.gatys.config import VGG_BLOCKS
from nst_core.gatys.costs import Features, features, positions
from nst_core.nets.costs import (
    BASE_BYTES,
    FLOAT_BYTES,
    STEP_WASTE,
    STYLE_TILE_PIXELS,
    WASTE,
    stylize_bytes,
    weights_bytes,
)
from nst_core.nets.transformer_config import TransformerConfig
from nst_core.training.config import TrainConfig

#: The style picture as a file's pixels, resized, and as floats.
_STYLE_PICTURE_BYTES = 24
#: Pixels of a sample of a training, at most.
SAMPLE_PIXELS = 1024**2


def training_bytes(config: TrainConfig) -> int:
    """Return what a training takes: a step or a sample, whichever is larger, and the style picture."""
    pixels = config.batch_size * config.size_px**2
    passes = 1.0 + bool(config.stability_weight)
    if config.shift_weight:
        passes += 1 / config.batch_size if config.transformer.norm == "instance" else 1
    loss = features(config.network, config.layers)
    floats = passes * _training_floats(config.transformer) + loss.kept + 2 * loss.largest
    # Weights, gradients, and Adam's two moments.
    step = 4 * weights_bytes(config.transformer) + int(STEP_WASTE * FLOAT_BYTES * floats * pixels)
    sample = 4 * weights_bytes(config.transformer) + stylize_bytes(config.transformer, SAMPLE_PIXELS)
    return BASE_BYTES + max(step, sample) + _style_bytes(config, loss)


def _training_floats(config: TransformerConfig) -> float:
    """Return the numbers that a pass keeps of each pixel for the backward pass, and that this one needs besides."""
    w = config.width
    # Of each layer its padded input, the centred values and the result; the upsampled ones once more unpadded.
    down, block, up, head = 5.0 * w, 1.75 * w, 9.0 * w, w + 12
    return down + config.blocks * block + up + head + 6.0 * w


def _style_bytes(config: TrainConfig, loss: Features) -> int:
    """Return what the style picture takes: as pixels, and the features of a tile."""
    # Its shorter side is not known; few paintings are longer than 3 : 2.
    pixels = config.style_size_px**2 * 2 // 3
    tile = pixels if _is_whole(config) else min(pixels, STYLE_TILE_PIXELS)
    if config.style_crops:
        tile = config.size_px**2
    # Nothing is kept for a backward pass but the layers that are asked for.
    asked = sum(positions(config.network, layer) for layer in config.layers)
    return _STYLE_PICTURE_BYTES * pixels + int(WASTE * FLOAT_BYTES * (asked + 3 * loss.largest) * tile)


def _is_whole(config: TrainConfig) -> bool:
    """Return whether the features of the whole style picture are computed at once: only a VGG takes tiles."""
    return config.network.partition("_")[0] not in VGG_BLOCKS
