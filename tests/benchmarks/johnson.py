"""`python -m tests.benchmarks.johnson --photos FOLDER --paintings FOLDER [STYLE…]`: how many iterations of L-BFGS a
style's network is worth.

Johnson, Alahi, Fei-Fei (2016, section 4.1, figure 5) compare the loss of one forward pass with that of optimising the
image itself, and find 50 to 100 iterations. The same is done here on every photo at 256 px, with the loss that the
style was trained for: layers, weights and the painting's longest side are in its card (`training`). The forward pass is
what the stylizer saves without the style's palette: clipped and rounded to 8 bits. L-BFGS (step 1, no line search, 100
corrections) starts from uniform noise and is not clipped, to its advantage.

A style is worth N iterations on a photo where L-BFGS has a lower loss for the first time after iteration N. FOLDER of
paintings has a picture `STYLE.*` for each style; neither it nor the photos come with the project.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from nst_core.inference.engines import load_stylizer
from nst_core.nets.families import without_palettes
from nst_core.nets.loss_network import load_loss_network
from nst_core.nets.tensors import to_tensor
from nst_core.nets.weights import dump_transformer, load_transformer_bytes
from nst_core.styles import ShippedStyle, shipped_styles
from nst_core.system.memory import keep_freed_memory
from nst_core.training.config import TrainConfig
from nst_core.training.descent import ImageObjective, descend
from tests.benchmarks.machine import describe
from tests.benchmarks.pictures import load_picture
from tests.shipped import shipped_style

SIZE_PX = 256
#: L-BFGS is followed no further; a network that is better still counts as this.
MAX_ITERATIONS = 300
#: Iterations whose median loss is printed beside the network's.
MILESTONES = (10, 25, 50)


def worth(objective: Callable[[Tensor], Tensor], loss: float, *, seed: int) -> tuple[int, list[float]]:
    """Return how many iterations a loss is worth, and the losses of L-BFGS at least as far as the last milestone."""
    curve: list[float] = []
    found = None
    for iteration, value in enumerate(islice(descend(objective, size_px=SIZE_PX, seed=seed), MAX_ITERATIONS)):
        curve.append(value)
        if found is None and value < loss:
            found = iteration
        if found is not None and iteration >= MILESTONES[-1]:
            break
    return MAX_ITERATIONS if found is None else found, curve


def photos_at(folder: Path) -> list[tuple[str, np.ndarray]]:
    """Return the photos of a folder as 256 x 256 crops of their middle."""
    crops = []
    for path in sorted(folder.iterdir()):
        with Image.open(path) as opened:
            crop = ImageOps.fit(opened.convert("RGB"), (SIZE_PX, SIZE_PX), Image.Resampling.LANCZOS)
        crops.append((path.name, np.array(crop)))
    return crops


def measure(style: ShippedStyle, painting: Path, photos: Sequence[tuple[str, np.ndarray]]) -> None:
    """Print what one style's network is worth."""
    name, config = style.name, TrainConfig.from_dict(style.card["training"])
    network = load_loss_network(config.layers).to(memory_format=torch.channels_last)
    objective = ImageObjective(config, network, load_picture(painting, long_side_px=config.style_size_px))
    stylizer = load_stylizer(dump_transformer(without_palettes(load_transformer_bytes(style.weights()))))
    losses, worths, curves = [], [], []
    started = time.perf_counter()
    for seed, (photo_name, photo) in enumerate(photos):
        objective.use(to_tensor(photo))
        with torch.inference_mode():
            loss = objective(to_tensor(stylizer(photo[None])[0])).item()
        iterations, curve = worth(objective, loss, seed=seed)
        losses.append(loss)
        worths.append(iterations)
        curves.append(curve)
        print(f"  {photo_name:<28} loss {loss:10,.0f}   worth {iterations:3d} iterations", flush=True)
    milestones = "   ".join(f"{m}: {median(curve[m] for curve in curves):,.0f}" for m in MILESTONES)
    print(f"{name}: median loss {median(losses):,.0f} in one pass; L-BFGS after {milestones}")
    quarters = np.percentile(worths, (25, 75))
    print(
        f"{name}: equals {median(worths):g} iterations (median of {len(photos)} photos, "
        f"quartiles {quarters[0]:g} and {quarters[1]:g}); {time.perf_counter() - started:.0f} s",
        flush=True,
    )


def main() -> None:
    """Parse the command line and measure every style that is named, or all that ship."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("styles", nargs="*", help="shipped styles, or NAME=FOLDER for an exported one")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--paintings", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="use only the first photos")
    args = parser.parse_args()
    keep_freed_memory()
    print(describe())
    photos = photos_at(args.photos)[: args.limit]
    for text in args.styles or [style.name for style in shipped_styles()]:
        name, _, folder = text.partition("=")
        style = ShippedStyle(name=name, folder=Path(folder)) if folder else shipped_style(name)
        measure(style, next(args.paintings.glob(f"{name}.*")), photos)


if __name__ == "__main__":
    main()
