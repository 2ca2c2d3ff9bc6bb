"""Checks of photos: each engine and precision against the reference on the CPU."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from torch import nn

from nst_core.errors import ImageTooLargeError
from nst_core.inference.any_size import AnySizeStylizer
from nst_core.inference.cuda import DTYPES, PROBED, CudaStylizer, PhotoNorm, probe
from nst_core.inference.cuda_card import Card, runner_of
from nst_core.inference.eager import EagerStylizer
from nst_core.inference.stylizer import Pixels, Precision
from nst_core.nets import grain
from nst_core.nets.families import without_palettes
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.nets.weights import load_transformer_bytes
from nst_core.system.devices import bf16_pays
from tests.gpu.ground import LEAST_DB, Ground, NotPossibleError, expect, farthest, photo, photos, psnr_db, reference

#: Batches to compare: a usual size, odd sides, and a photo without structure.
_SHAPES, _QUICK_SHAPES = ((256, 320), (333, 217)), ((32, 40), (17, 29))
#: What a strip of a million pixels may take of a GPU's memory.
_STRIP_BYTES = 6 * 2**30


def _batches(ground: Ground) -> list[Pixels]:
    shapes = _QUICK_SHAPES if ground.quick else _SHAPES
    return [*(photos(2, *shape) for shape in shapes), np.full((1, *shapes[0], 3), 190, np.uint8)]


def eager(ground: Ground) -> str:
    """The reference engine on the GPU is the reference engine on the CPU."""
    worst = 0
    for style in ground.styles():
        stylizer = EagerStylizer.load(style.weights(), device=ground.device)
        for batch in _batches(ground):
            worst = max(worst, farthest(stylizer(batch), reference(style, batch)))
            expect(worst <= 1, f"{style.name} at {batch.shape} is {worst} of 255 from the reference")
    return f"at most {worst} of 255 from the CPU"


def precision(ground: Ground, narrow: Precision) -> str:
    """The engine for GPUs comes to the pictures of the reference."""
    if narrow == "bf16" and ground.on_gpu and not bf16_pays(ground.device):
        raise NotPossibleError("this GPU has no bfloat16")
    worst, least_db = 0, float("inf")
    for style in ground.styles():
        stylizer = CudaStylizer.load(style.weights(), device=ground.device, precision=narrow)
        for batch in _batches(ground):
            result, expected = stylizer(batch), reference(style, batch)
            worst, least_db = max(worst, farthest(result, expected)), min(least_db, psnr_db(result, expected))
            where = f"{style.name} at {batch.shape}: {worst} of 255, {least_db:.1f} dB"
            expect(worst <= 1 if narrow == "fp32" else least_db >= LEAST_DB, where)
        expect(stylizer.choice.precision == narrow, f"{style.name} does not run in {narrow}")
    return f"at most {worst} of 255 from the CPU, {least_db:.1f} dB or more"


def overflow(ground: Ground) -> str:
    """A style whose values are too large for float16 runs in float32."""
    torch.manual_seed(0)
    net = TransformerNet(TransformerConfig(width=8, blocks=1)).eval().requires_grad_(False)
    net.down1.conv.weight.data.mul_(1e5)
    net.head.weight.data.mul_(10)
    batch = photos(1, 48, 64)
    expected = EagerStylizer(net)(batch)
    stylizer = CudaStylizer(net, device=ground.device, precision="fp16")
    distance = farthest(stylizer(batch), expected)
    expect(distance <= 1, f"the picture is {distance} of 255 from the reference")
    expect(stylizer.choice.precision == "fp32", "the style still runs in float16")
    return "in float32 from then on"


def memory_format(ground: Ground) -> str:
    """No layer converts its input: all maps are in channels_last."""
    stylizer = CudaStylizer.load(ground.styles()[0].weights(), device=ground.device, precision=probed(ground.device))
    odd: list[str] = []

    def look(name: str) -> None:
        def hook(layer: nn.Module, inputs: tuple[torch.Tensor, ...], result: torch.Tensor) -> None:
            for each in (inputs[0], result):
                if not each.is_contiguous(memory_format=torch.channels_last):
                    odd.append(f"{name} {tuple(each.shape)}")

        stylizer.net.get_submodule(name).register_forward_hook(hook)

    layers = [name for name, layer in stylizer.net.named_modules() if isinstance(layer, nn.Conv2d | PhotoNorm)]
    for name in layers:
        look(name)
    for shape in ((64, 96), (65, 99)):
        stylizer(photos(1, *shape))
    expect(len(layers) > 30, "the layers were not found")
    expect(not odd, f"not in channels_last: {', '.join(odd[:4])}")
    return f"{len(layers)} layers"


@cache
def probed(device: torch.device) -> Precision:
    """Return the precision that a worker would use; on a CPU, one that the probe finds with little work."""
    return probe(device, shapes=PROBED if device.type == "cuda" else ((8, 8, 16),))


def fastest(ground: Ground) -> str:
    """The probe finds a precision, and a narrow one if the GPU has instructions for it."""
    found = probed(ground.device)
    expect(found in DTYPES, f"there is no precision {found}")
    if ground.on_gpu and torch.cuda.get_device_capability(ground.device) >= (7, 0):
        expect(found != "fp32", "float32 is said to be the fastest")
    return f"{found} is the fastest"


def mixed_sizes(ground: Ground) -> str:
    """A photo's bytes depend neither on its batch, nor on the turn, nor on graphs."""
    sides = ground.pick(96, 20)
    shapes = [(sides + 13 * number, 2 * sides - 17 * (number % 4)) for number in range(ground.pick(10, 2))]
    stylizer = CudaStylizer.load(ground.styles()[0].weights(), device=ground.device, precision=probed(ground.device))
    batches = {shape: photos(ground.pick(9, 3), *shape) for shape in shapes}
    alone = {shape: np.concatenate([stylizer(each[None]) for each in batch]) for shape, batch in batches.items()}
    for turn in range(3):
        for shape, batch in batches.items():
            expect(np.array_equal(stylizer(batch), alone[shape]), f"{shape} differs in turn {turn}")
    runner = runner_of(ground.device)
    if isinstance(runner, Card):
        expect(runner.graphs.enabled and len(runner.graphs) > 0, "no graph was recorded")
        return f"{len(shapes)} sizes, {len(runner.graphs)} graphs"
    return f"{len(shapes)} sizes"


def threads(ground: Ground) -> str:
    """Threads may share styles."""
    side = ground.pick(128, 24)
    stylizers = [
        CudaStylizer.load(style.weights(), device=ground.device, precision="fp32") for style in ground.styles()
    ]
    work = [
        (stylizers[number % len(stylizers)], photos(2, side + number % 3, side)) for number in range(ground.pick(48, 6))
    ]
    expected = [stylizer(batch) for stylizer, batch in work]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda each: each[0](each[1]), work))
    same = sum(np.array_equal(result, alone) for result, alone in zip(results, expected, strict=True))
    expect(same == len(work), f"{len(work) - same} of {len(work)} results differ")
    return f"{len(work)} calls"


def large(ground: Ground) -> str:
    """A photo of a modern camera, in one piece."""
    height, width = ground.pick(4000, 96), ground.pick(6000, 128)
    weights, batch = ground.styles()[0].weights(), photo(height, width)[None]
    try:
        expected = EagerStylizer.load(weights, device=ground.device)(batch)
    except ImageTooLargeError as error:
        raise NotPossibleError(error.message) from error
    result = CudaStylizer.load(weights, device=ground.device, precision=probed(ground.device))(batch)
    db = psnr_db(result, expected)
    expect(db >= LEAST_DB, f"{db:.1f} dB from the reference")
    return f"{width} x {height}, {db:.1f} dB"


def strips(ground: Ground) -> str:
    """A photo in strips is that of the whole."""
    style, batch = ground.styles()[0], photo(ground.pick(1501, 70), ground.pick(1203, 41))[None]
    least_db = float("inf")
    for narrow in {"fp32", probed(ground.device)}:
        # Without its palette, which would spread the levels that differ.
        net = without_palettes(load_transformer_bytes(style.weights()))
        engine = CudaStylizer(net, device=ground.device, precision=narrow)
        result, whole = (AnySizeStylizer(engine, whole_pixels=most)(batch) for most in (1, batch.size))
        where = f"{narrow}: {farthest(result, whole)} of 255 from the whole, {psnr_db(result, whole):.1f} dB"
        expect(farthest(result, whole) <= 1 if narrow == "fp32" else psnr_db(result, whole) >= LEAST_DB, where)
        least_db = min(least_db, psnr_db(result, whole))
    return f"{batch.shape[2]} x {batch.shape[1]}, {least_db:.1f} dB or more from the whole"


def huge(ground: Ground) -> str:
    """A photo of 100 megapixels needs little memory, and has no seams: where it repeats, the result repeats too."""
    side = ground.pick(5 * grain.SIDE_PX, 20)  # the grain repeats as well
    tiled = np.tile(photo(side, side), (4, 4, 1))[None]
    engine = CudaStylizer.load(ground.styles()[0].weights(), device=ground.device, precision=probed(ground.device))
    if ground.on_gpu:
        engine.release()
        torch.cuda.reset_peak_memory_stats(ground.device)
    result = AnySizeStylizer(engine, whole_pixels=1)(tiled)[0]
    # The edges of the picture are far from both.
    one, other = (result[at : at + side, at : at + side] for at in (side, 2 * side))
    size = f"{tiled.shape[2]:,} x {tiled.shape[1]:,}"
    if not ground.on_gpu:
        return f"{size}, too small for seams"
    used = torch.cuda.max_memory_allocated(ground.device)
    expect(used <= _STRIP_BYTES, f"it took {used >> 20} MiB of the GPU")
    db = psnr_db(one, other)
    expect(db >= LEAST_DB, f"where the photo repeats, results are {db:.1f} dB apart")
    return f"{size}, {db:.1f} dB where it repeats, {used >> 20} MiB of the GPU"
