"""`python -m tests.benchmarks.presets --photo PHOTO --painting PAINTING --to FOLDER`: every preset of the optimizer on
one photo and one painting.

Writes each result and a sheet of all, and prints a table: content and style loss in one common measure (VGG16,
relu4_2; relu1_1 to relu5_1, Gram / (C H W), means of squares), and the seconds. Two claims are put to the test:

- Risser, Wilmot, Barnes (2017): histogram losses avoid the instabilities of Gram matrices. Textures of the painting
  are synthesised from noise with the Gram terms of `risser2017`, with and without its histograms: the share of tiles
  whose brightness or contrast no tile of the painting has, and the distance of the tones.
- Li, Xu, Nie, Liu (2017): the Laplacian term keeps fine lines. `li2017_laplacian` against itself without the term: the
  correlation of the picture's Laplacian with the photo's, at full resolution.
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from nst_core.gatys.config import GatysConfig
from nst_core.gatys.optimizer import StyleSource, optimize
from nst_core.gatys.presets import PRESETS, preset
from nst_core.losses.content import ContentLoss
from nst_core.losses.gram import GramLoss, gram_matrix
from nst_core.nets.loss_network import load_loss_network
from nst_core.nets.tensors import to_uint8
from nst_core.system.memory import keep_freed_memory
from tests.benchmarks.machine import describe
from tests.benchmarks.measures import Picture, line_correlation, tone_distance, unstable_tiles
from tests.benchmarks.pictures import load_picture

CONTENT_LAYER = "relu4_2"
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
SEEDS = (0, 1)
#: Widths of lines; the preset's own term has 4.
POOLS_PX = (1, 2, 4)
_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The photo and the painting, 1 x 3 x H x W."""

    photo: Tensor
    painting: Tensor


class Measure:
    """Content and style losses that are computed the same way for all presets."""

    def __init__(self, pair: Pair) -> None:
        self._network = load_loss_network([CONTENT_LAYER, *STYLE_LAYERS])
        with torch.no_grad():
            self._content = self._network(pair.photo)[CONTENT_LAYER]
            style = self._network(pair.painting)
        self._styles = {layer: GramLoss(gram_matrix(style[layer]), normalization="chw") for layer in STYLE_LAYERS}

    @torch.no_grad()
    def __call__(self, image: Tensor) -> tuple[float, float]:
        features = self._network(image)
        content = ContentLoss()(features[CONTENT_LAYER], self._content)
        return content.item(), sum(loss(features[layer]).item() for layer, loss in self._styles.items())


def run(config: GatysConfig, pair: Pair) -> tuple[Tensor, float]:
    """Return the picture that a config makes, and how many seconds it took."""
    started = time.perf_counter()
    image = optimize(config, content=pair.photo, styles=[StyleSource(image=pair.painting)], device=_CPU)
    return image, time.perf_counter() - started


def compare_presets(pair: Pair, *, size_px: int, folder: Path) -> None:
    """Print the table of all presets, and write their pictures."""
    measure = Measure(pair)
    print(f"{'preset':<18} {'content':>10} {'style':>12} {'iterations':>10} {'seconds':>8}")
    print(f"{'the photo':<18} {measure(pair.photo)[0]:10,.0f} {measure(pair.photo)[1]:12,.0f}")
    pictures = {"photo": array(pair.photo)}
    for name in PRESETS:
        config = preset(name, size_px=size_px, style_size_px=size_px)
        image, seconds = run(config, pair)
        content, style = measure(image)
        coarse = config.coarse_iterations or config.iterations
        iterations = coarse * (config.scales - 1) + config.iterations
        print(f"{name:<18} {content:10,.0f} {style:12,.0f} {iterations:10,} {seconds:8.0f}", flush=True)
        pictures[name] = array(image)
        Image.fromarray(pictures[name]).save(folder / f"{name}.png")
    sheet(pictures, array(pair.painting)).save(folder / "presets.jpg", quality=88)


def compare_histograms(pair: Pair, *, size_px: int, folder: Path) -> None:
    """Print what histograms change in textures from noise."""
    with_histograms = preset("risser2017", size_px=size_px, style_size_px=size_px, content={}, initial="noise")
    painting = array(pair.painting)
    for name, config in (
        ("Gram", replace(with_histograms, histogram={}, balance=False)),
        ("Gram and histograms", with_histograms),
    ):
        textures = [array(run(replace(config, seed=seed), pair)[0]) for seed in SEEDS]
        unstable = fmean(unstable_tiles(texture, painting) for texture in textures)
        tones = fmean(tone_distance(texture, painting) for texture in textures)
        print(f"texture, {name:<20} unstable tiles {unstable:6.1%}   tones off by {tones:5.2f} grey levels", flush=True)
        for seed, texture in zip(SEEDS, textures, strict=True):
            Image.fromarray(texture).save(folder / f"texture_{name.replace(' ', '_')}_{seed}.png")


def compare_laplacian(pair: Pair, *, size_px: int, folder: Path) -> None:
    """Print what the Laplacian term changes in the lines of the photo."""
    with_laplacian = preset("li2017_laplacian", size_px=size_px, style_size_px=size_px)
    for name, config in (("without", replace(with_laplacian, laplacian={})), ("with", with_laplacian)):
        image = array(run(config, pair)[0])
        kept = ", ".join(f"{line_correlation(image, array(pair.photo), pool_px=px):.3f} at {px} px" for px in POOLS_PX)
        print(f"{name:<8} Laplacian: lines correlate with the photo's {kept}", flush=True)
        Image.fromarray(image).save(folder / f"lines_{name}.png")


def array(image: Tensor) -> Picture:
    """Return a 1 x 3 x H x W picture in 0 to 1 as H x W x 3 uint8."""
    return np.asarray(to_uint8(image)[0].numpy())


def sheet(pictures: dict[str, Picture], painting: Picture, *, columns: int = 4, width: int = 320) -> Image.Image:
    """Return a sheet of pictures with their names below; the painting comes second."""
    font = ImageFont.load_default(size=15)
    named = list(pictures.items())
    cells = [named[0], ("painting", painting), *named[1:]]
    ratio = named[0][1].shape[0] / named[0][1].shape[1]
    height, line = round(width * ratio), 24
    rows = -(-len(cells) // columns)
    result = Image.new("RGB", (columns * width, rows * (height + line)), "white")
    draw = ImageDraw.Draw(result)
    for number, (name, picture) in enumerate(cells):
        x, y = number % columns * width, number // columns * (height + line)
        image = Image.fromarray(picture)
        image.thumbnail((width - 8, height - 8), Image.Resampling.LANCZOS)
        result.paste(image, (x + (width - image.width) // 2, y + (height - image.height) // 2))
        draw.text((x + width // 2, y + height + line // 2), name, fill="black", anchor="mm", font=font)
    return result


def main() -> None:
    """Parse the command line and make all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--painting", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True, help="the folder for the pictures")
    parser.add_argument("--size", type=int, default=384, help="longest side of all pictures")
    parser.add_argument("--only", choices=("presets", "histograms", "laplacian"), action="append")
    args = parser.parse_args()
    keep_freed_memory()
    print(describe())
    args.to.mkdir(parents=True, exist_ok=True)
    pair = Pair(
        photo=load_picture(args.photo, long_side_px=args.size),
        painting=load_picture(args.painting, long_side_px=args.size),
    )
    comparisons = {"presets": compare_presets, "histograms": compare_histograms, "laplacian": compare_laplacian}
    for name in args.only or comparisons:
        comparisons[name](pair, size_px=args.size, folder=args.to)


if __name__ == "__main__":
    main()
