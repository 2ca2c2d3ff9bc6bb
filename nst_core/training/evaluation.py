"""Measures a trained network on photos that it was not trained on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, median
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

from nst_core.looks.fog import find_fog
from nst_core.looks.halo import find_halos
from nst_core.looks.lattice import find_lattice
from nst_core.looks.similarity import ssim
from nst_core.nets.families import without_palettes
from nst_core.nets.loss_network import LossNetwork
from nst_core.nets.tensors import to_tensor
from nst_core.nets.transformer import MIN_SIDE_PX, TransformerNet
from nst_core.system.pieces import Runner, at_once
from nst_core.training.blemishes import blemishes_of, mean_blemishes
from nst_core.training.config import TrainConfig
from nst_core.training.descent import ImageObjective, descend
from nst_core.training.pictures import stylized

Pixels = npt.NDArray[np.uint8]

#: Iterations of L-BFGS to compare with; Johnson et al. (2016) compare with at least as many.
ITERATIONS = 50
#: Photos that are optimised for the comparison; it takes most of the time. One has to do after fewer steps than
#: these, so that the comparison does not take longer than most such trainings.
OPTIMISED, FEW_STEPS = 4, 100
#: Longest side, and smallest shorter side, of the pictures that are checked for blemishes.
LOOKED_AT_PX = 512
_SHORT_SIDE_PX = 64
#: A photo is measured whole if its sides are at most in this ratio; of a longer one, the middle is measured.
_LONGEST = LOOKED_AT_PX // MIN_SIDE_PX
#: A loss of L-BFGS below this counts as this one: some losses can become 0.
_LEAST_LOSS = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Means over photos, and what they were measured on."""

    photos: int
    #: Weighted losses of squares of the training's size, and their sum.
    content: float
    style: float
    tv: float
    total: float
    #: Structural similarity of picture and photo, 1 for equal ones (Wang et al. 2004).
    ssim: float
    #: The total loss as a multiple of the lowest in 50 iterations of plain L-BFGS from noise; median of some photos.
    loss_over_lbfgs50: float
    #: The iterations after which L-BFGS is better for the first time; 50 if it never is; median.
    worth_iterations: float
    blotches: float
    frame: float
    grid: float
    #: Of `looks`, in grey levels, medians of the photos that have flat areas or strong edges: texture that repeats,
    #: colours that drift in flat areas, and rims along edges. None if no photo has any.
    lattice: float | None = None
    fog: float | None = None
    halo: float | None = None
    #: One sentence for each blemish that people would see.
    remarks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers in four digits, as JSON-ready values."""
        values = {name: float(f"{value:.4g}") for name, value in vars(self).items() if isinstance(value, float)}
        return {**vars(self), **values, "remarks": list(self.remarks)}


def measured_part(photo: Pixels, *, size_px: int) -> Pixels:
    """Return the part of a photo that can be measured for trainings at `size_px`, in the size to be shown.

    Both are H x W x 3. Every photo that can be trained on can be measured.
    """
    image = Image.fromarray(photo)
    width, height = (min(side, _LONGEST * min(image.size)) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    part = image.crop((left, top, left + width, top + height))
    longest = max(LOOKED_AT_PX, 2 * size_px)
    part.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.array(part)


def evaluate(
    transformer: TransformerNet,
    *,
    photos: Iterable[Pixels],
    style: Tensor,
    network: LossNetwork,
    config: TrainConfig,
    on_piece: Runner = at_once,
) -> Evaluation:
    """Measure a network on photos, H x W x 3 uint8 each, one after the other; `style` is 1 x 3 x H x W in 0 to 1.

    Losses are those of pictures without the palette, which no training knows of; all else is what users see. The device
    is that of the network. `on_piece` runs each part of the work, which takes at most some seconds on a CPU, so that
    other work can run in between.
    """
    device, plain = next(transformer.parameters()).device, without_palettes(transformer)
    objective = ImageObjective(config, network, on_piece(lambda: style.to(device)), on_piece=on_piece)
    terms, similarities, ratios, worths, blemished, looks = [], [], [], [], [], []
    for number, photo in enumerate(photos):
        square = _fitted(photo, config.size_px)
        picture = on_piece(partial(stylized, plain, to_tensor(square)))
        losses = on_piece(partial(_losses, objective, square, picture, device))
        terms.append(losses)
        if number < (OPTIMISED if config.steps >= FEW_STEPS else 1):
            course = descend(objective, size_px=config.size_px, seed=number, device=device)
            worth, lowest = _descend(course, sum(losses), on_piece)
            worths.append(worth)
            ratios.append(sum(losses) / max(lowest, _LEAST_LOSS))
        small = _reduced(photo)
        made = on_piece(partial(stylized, transformer, to_tensor(small)))
        similarities.append(on_piece(partial(ssim, to_tensor(small), to_tensor(made))))
        blemished.append(on_piece(partial(blemishes_of, small, made)))
        looks.append(on_piece(partial(_looks, small, made)))
    blemishes = mean_blemishes(blemished)
    lattice, fog, halo = (_typical(values) for values in zip(*looks, strict=True))
    content, style_loss, tv = (fmean(values) for values in zip(*terms, strict=True))
    return Evaluation(
        photos=len(terms),
        content=content,
        style=style_loss,
        tv=tv,
        total=content + style_loss + tv,
        ssim=fmean(similarities),
        loss_over_lbfgs50=median(ratios),
        worth_iterations=median(worths),
        blotches=blemishes.blotches,
        frame=blemishes.frame,
        grid=blemishes.grid,
        lattice=lattice,
        fog=fog,
        halo=halo,
        remarks=tuple(blemishes.remarks),
    )


def _looks(photo: Pixels, picture: Pixels) -> tuple[float | None, float | None, float | None]:
    """Return lattice, fog and halo of a picture, in grey levels."""
    lattice, halos = find_lattice(photo, picture), find_halos(photo, picture)
    return (
        lattice.contrast if lattice else None,
        find_fog(photo, picture),
        abs(halos.stronger.overshoot) if halos else None,
    )


def _typical(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return median(found) if found else None


def _losses(objective: ImageObjective, photo: Pixels, picture: Pixels, device: torch.device) -> list[float]:
    objective.use(to_tensor(photo).to(device))
    with torch.inference_mode():
        values: list[float] = objective.terms(to_tensor(picture).to(device)).tolist()
    return values


def _descend(course: Iterator[float], loss: float, on_piece: Runner) -> tuple[int, float]:
    """Return after how many iterations L-BFGS is better than a loss, and its lowest loss in ITERATIONS of them."""
    curve = [on_piece(lambda: next(course)) for _ in range(ITERATIONS + 1)]
    better = [iteration for iteration, value in enumerate(curve) if value < loss]
    # Use the lowest loss, not the last one: without a line search, the loss may diverge.
    return (better[0] if better else ITERATIONS), min(curve)


def _fitted(photo: Pixels, side_px: int) -> Pixels:
    """Return the middle of a photo as a square."""
    image = ImageOps.fit(Image.fromarray(photo), (side_px, side_px), Image.Resampling.LANCZOS)
    return np.array(image)


def _reduced(photo: Pixels) -> Pixels:
    """Return a photo in the size in which blemishes are searched."""
    image = Image.fromarray(photo)
    scale = max(min(1.0, LOOKED_AT_PX / max(image.size)), _SHORT_SIDE_PX / min(image.size))
    width, height = (round(side * scale) for side in image.size)
    return np.array(image.resize((width, height), Image.Resampling.LANCZOS))
