"""How much memory a pass of a network needs, in bytes, by its config and number of pixels. Never loads torch.

All results estimate the most that a process needs at once, in addition to what it has before. They hold for a CPU in
float32 and not compiled, which needs the most, and are too high rather than too low.
`python -m tests.benchmarks.memory` compares them with what processes really need. See `gatys.costs` and
`training.costs` for the other kinds of work.
"""

from math import prod

from nst_core.nets.transformer_config import TransformerConfig
from nst_core.system.memory import KEPT_BYTES

FLOAT_BYTES = 4
#: Factor for what the allocator loses between tensors of many sizes, and for copies in layouts of convolutions.
WASTE = 2.0
#: The same if blocks are mapped one by one; see `memory.memory_for`.
_MAPPED_WASTE = 1.2
#: The same in trainings and optimisations, whose tensors have the same sizes again and again.
STEP_WASTE = 1.35
#: What even the smallest work needs: buffers of kernels, code, threads.
BASE_BYTES = 250 * 2**20
#: A picture as bytes, as floats, and a result as floats and as bytes.
_PICTURE_BYTES = 40
#: Pixels of a strip of a large picture. A larger one computes fewer rows twice and takes more memory.
STRIP_PIXELS = 2**19
#: A strip may take as much memory as so many pixels of a whole picture. It can have half as many rows again, and comes
#: with rows around it. How many, a graph learns when it runs, so that its maps do not share memory.
STRIP_ROOM = int(4.5 * STRIP_PIXELS)
#: What the stored maps of a large picture take in memory at most; what is more is in temporary files. With 1, 2 and 4
#: GiB none, one and both maps of 100 megapixels were in memory, and the picture took 70, 65 and 66 s on two cores.
MAPS_IN_MEMORY = 2**31
#: A picture and its result as bytes.
_PHOTO_AND_RESULT = 6
#: Pixels of a style picture whose features are computed at once; larger ones are cut into tiles.
STYLE_TILE_PIXELS = 2**20


def stylize_bytes(config: TransformerConfig, pixels: int) -> int:
    """Return what one pass of a network over a picture needs, including its weights."""
    needed = _stylize_pixel_bytes(config) * pixels
    most = min(WASTE * needed, max(KEPT_BYTES, _MAPPED_WASTE * needed))
    return BASE_BYTES + weights_bytes(config) + int(most)


def max_pixels(config: TransformerConfig, budget_bytes: int) -> int:
    """Return how many pixels a picture may have so that a pass stays within the budget; 0 if none fits."""
    free = budget_bytes - BASE_BYTES - weights_bytes(config)
    waste = WASTE if free <= KEPT_BYTES else _MAPPED_WASTE
    return max(0, int(free / waste) // _stylize_pixel_bytes(config))


def strips_bytes(config: TransformerConfig, pixels: int, *, room: int = STRIP_ROOM) -> int:
    """Return what a pass over a picture in strips needs, including its weights, without its stored maps.

    The largest strip takes as much as `room` pixels of a whole picture. See `inference.strips`, and `maps_in_memory`
    for the maps.
    """
    strip = _stylize_pixel_bytes(config) * room
    return BASE_BYTES + weights_bytes(config) + strip + _PHOTO_AND_RESULT * pixels


def maps_in_memory(
    config: TransformerConfig, pixels: int, budget_bytes: int | None = None, *, room: int = STRIP_ROOM
) -> int:
    """Return how many bytes the maps of a picture in strips may take in memory; the rest is in temporary files."""
    free = MAPS_IN_MEMORY if budget_bytes is None else budget_bytes - strips_bytes(config, pixels, room=room)
    return max(0, min(MAPS_IN_MEMORY, free))


def strips_max_pixels(config: TransformerConfig, budget_bytes: int) -> int:
    """Return how many pixels a picture in strips may have so that it stays within the budget; 0 if none fits.

    One that is so wide that its strips take more than `STRIP_ROOM` needs more.
    """
    return max(0, (budget_bytes - strips_bytes(config, 0)) // _PHOTO_AND_RESULT)


def weights_bytes(config: TransformerConfig) -> int:
    """Return what the weights of a network take in memory."""
    return FLOAT_BYTES * sum(map(prod, config.tensor_shapes().values()))


def _stylize_pixel_bytes(config: TransformerConfig) -> int:
    w = config.width
    padded = config.padding == "reflect"
    # The input of the last upsampling, its double, and either that one padded or the convolution's result; transposed,
    # the input and the result before it is cropped.
    last = 2.7 * w if config.upsample == "transposed" else (4.5 if padded else 3.5) * w
    norm = 3 * w + 0.5 * w  # a layer of the full size beside its mean-free copy and the squares
    head = (2.0 if padded else 1.0) * w + 12
    largest = max(last, norm, head)
    return _PICTURE_BYTES + int(FLOAT_BYTES * largest)
