"""How much memory a training needs, in bytes; estimates like those in `nets.costs`. Never loads torch."""

from nst_core.gatys.costs import Features, features, kernel_bytes, positions
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
from nst_core.nets.vgg_layers import BLOCKS
from nst_core.training.config import TrainConfig

#: Bytes per pixel of the style picture: as pixels of the file, resized, and as floats.
_STYLE_PICTURE_BYTES = 24
#: The style picture's share of a square: its shorter side is unknown, and few paintings are longer than 3 : 2.
_STYLE_SHARE = 2 / 3
#: The most pixels of a sample of a training.
SAMPLE_PIXELS = 1024**2


def training_bytes(config: TrainConfig) -> int:
    """Return what a training needs for a step or a sample, whichever needs more, and for the style picture."""
    pixels = config.batch_size * config.size_px**2
    passes = 1.0 + bool(config.stability_weight)
    if config.shift_weight:
        passes += 1 / config.batch_size if config.transformer.norm == "instance" else 1
    loss = features(config.network, config.layers)
    floats = passes * _training_floats(config.transformer) + loss.kept + 2 * loss.largest
    # Weights, gradients, and Adam's two moments.
    step = 4 * weights_bytes(config.transformer) + int(STEP_WASTE * FLOAT_BYTES * floats * pixels)
    # The estimate of a pass has its own weights and base.
    sample = 3 * weights_bytes(config.transformer) + stylize_bytes(config.transformer, SAMPLE_PIXELS) - BASE_BYTES
    kernels = kernel_bytes(config.network, config.layers)
    return BASE_BYTES + kernels + max(step, sample) + _style_bytes(config, loss)


def style_pixels(config: TrainConfig) -> int:
    """Return how many pixels of the style picture, or of its crops, pass the loss network before the first step."""
    if config.style_crops:
        return config.style_crops * min(config.size_px, config.style_size_px) ** 2
    return int(config.style_size_px**2 * _STYLE_SHARE)


def _training_floats(config: TransformerConfig) -> float:
    """Return how many numbers per pixel a pass keeps for the backward pass, and this one needs in addition."""
    w = config.width
    # For each layer its padded input, the centred values and the result; upsampled ones also unpadded.
    down, block, up, head = 5.0 * w, 1.75 * w, 9.0 * w, w + 12
    return down + config.blocks * block + up + head + 6.0 * w


def _style_bytes(config: TrainConfig, loss: Features) -> int:
    """Return what the style picture needs: its pixels, and the features of a tile."""
    pixels = int(config.style_size_px**2 * _STYLE_SHARE)
    tile = pixels if _is_whole(config) else min(pixels, STYLE_TILE_PIXELS)
    if config.style_crops:
        tile = config.size_px**2
    # Only the requested layers are kept, because there is no backward pass.
    asked = sum(positions(config.network, layer) for layer in config.layers)
    return _STYLE_PICTURE_BYTES * pixels + int(WASTE * FLOAT_BYTES * (asked + 3 * loss.largest) * tile)


def _is_whole(config: TrainConfig) -> bool:
    """Return whether the features of the style picture are computed as a whole: only a VGG takes tiles."""
    return config.network.partition("_")[0] not in BLOCKS
