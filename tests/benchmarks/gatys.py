"""`python -m tests.benchmarks.gatys [--photo P] [--painting P]`: seconds to the loss that the PyTorch tutorial reaches.

The recipe of the tutorial "Neural Transfer Using PyTorch" is written out as it is there: eager, float32, L-BFGS of
torch with its defaults, clamping before each of 300 evaluations, from the photo. `GatysOptimizer` has the same loss,
network, photo and painting. Both work in turns, a part at a time, so that what else the machine does slows both. The
same float32 function then says, outside of the time taken, from which iteration on our picture is no worse than the
last one of the tutorial. Without pictures of yours: two of scikit-image. Our kernels are compiled before, as a worker
does when it starts.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from skimage import data
from torch import Tensor
from torch.nn import functional as F

from nst_core.gatys.config import GatysConfig
from nst_core.gatys.optimizer import GatysOptimizer, StyleSource
from nst_core.gatys.presets import preset
from nst_core.nets import native
from nst_core.nets.loss_network import LossNetwork, load_loss_network
from nst_core.nets.tensors import to_tensor
from nst_core.system.memory import keep_freed_memory
from tests.benchmarks.machine import describe

EVALUATIONS = 300
ITERATIONS_A_TURN = 10
CONTENT_LAYER = "conv2_2"
STYLE_LAYERS = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1")
STYLE_WEIGHT = 1e6


class Tutorial:
    """The loss of the tutorial, and its loop."""

    def __init__(self, network: LossNetwork, photo: Tensor, painting: Tensor) -> None:
        self.network = network
        with torch.no_grad():
            self.content = network(photo)[CONTENT_LAYER]
            style = network(painting)
            self.grams = {layer: self.gram(style[layer]) for layer in STYLE_LAYERS}

    @staticmethod
    def gram(features: Tensor) -> Tensor:
        """Return the Gram matrix over C H W of 1 x C x H x W."""
        _, c, h, w = features.shape
        flat = features.view(c, h * w)
        return torch.mm(flat, flat.t()).div(c * h * w)

    def loss(self, image: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        features = self.network(image)
        style = torch.stack([F.mse_loss(self.gram(features[layer]), gram) for layer, gram in self.grams.items()])
        return F.mse_loss(features[CONTENT_LAYER], self.content) + STYLE_WEIGHT * style.sum()

    def run(self, photo: Tensor) -> Iterator[Tensor]:
        """Yield the picture after each step of L-BFGS, which has up to 25 evaluations, until 300 are done."""
        image = photo.clone().requires_grad_()
        optimizer: Any = torch.optim.LBFGS([image])  # its step is not typed
        done = 0

        def closure() -> Tensor:
            nonlocal done
            with torch.no_grad():
                image.clamp_(0, 1)
            optimizer.zero_grad()
            loss = self.loss(image)
            torch.autograd.backward(loss)
            done += 1
            return loss

        while done < EVALUATIONS:
            optimizer.step(closure)
            yield image.detach().clamp(0, 1)


def ours(config: GatysConfig, photo: Tensor, painting: Tensor) -> Iterator[Tensor]:
    """Yield the picture after each iteration of the optimizer."""
    optimizer = GatysOptimizer(config, content=photo, styles=[StyleSource(image=painting)], device=torch.device("cpu"))
    while not optimizer.done:
        optimizer.step()
        yield optimizer.result()


class Timed:
    """Pictures, and the seconds until each was there, without those in which nobody asked for it."""

    def __init__(self, pictures: Iterator[Tensor]) -> None:
        self._pictures = pictures
        self.pictures: list[Tensor] = []
        self.seconds: list[float] = []

    def more(self, count: int) -> bool:
        """Go on by so many pictures; return whether there may be more."""
        for _ in range(count):
            started = time.perf_counter()
            picture = next(self._pictures, None)
            if picture is None:
                return False
            before = self.seconds[-1] if self.seconds else 0.0
            self.seconds.append(before + time.perf_counter() - started)
            self.pictures.append(picture)
        return True


def race(tutorial: Tutorial, config: GatysConfig, photo: Tensor, painting: Tensor) -> None:
    """Run both in turns and print how long each took to the same loss."""
    theirs, own = Timed(tutorial.run(photo)), Timed(ours(config, photo, painting))
    while theirs.more(1):
        own.more(ITERATIONS_A_TURN)
    with torch.no_grad():
        goal = tutorial.loss(theirs.pictures[-1]).item()
        losses: list[float] = []
        while not losses or losses[-1] > goal:
            if len(losses) == len(own.pictures) and not own.more(1):
                break
            losses.append(tutorial.loss(own.pictures[len(losses)]).item())
    print(f"tutorial:       loss {goal:.4f} after {EVALUATIONS} evaluations, {theirs.seconds[-1]:.1f} s")
    reached, seconds = "reached" if losses[-1] <= goal else "NOT reached", own.seconds[len(losses) - 1]
    print(f"GatysOptimizer: loss {losses[-1]:.4f} {reached} after {len(losses)} iterations, {seconds:.1f} s")
    print(f"ratio {seconds / theirs.seconds[-1]:.3f}")


def picture(path: Path | None, fallback: str, side_px: int) -> Tensor:
    """Return the middle of a picture, square."""
    image = Image.open(path) if path else Image.fromarray(np.asarray(getattr(data, fallback)()))
    cropped = ImageOps.fit(image.convert("RGB"), (side_px, side_px), Image.Resampling.LANCZOS)
    return to_tensor(np.array(cropped)).contiguous()  # what L-BFGS of torch needs


def main() -> None:
    """Parse the command line and run both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path)
    parser.add_argument("--painting", type=Path)
    parser.add_argument("--size", type=int, default=256)
    args = parser.parse_args()
    keep_freed_memory()
    native.library()
    print(describe())
    photo, painting = picture(args.photo, "astronaut", args.size), picture(args.painting, "coffee", args.size)
    config = preset("pytorch_tutorial", size_px=args.size, style_size_px=args.size, iterations=1000)
    network = load_loss_network([*STYLE_LAYERS], name=config.network, scale=config.feature_scale)
    tutorial = Tutorial(network, photo, painting)
    race(tutorial, config, photo, painting)


if __name__ == "__main__":
    main()
