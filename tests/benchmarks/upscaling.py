"""`python -m tests.benchmarks.upscaling --photos FOLDER`: how near enlarged pictures come to the large ones.

Each photo, and its picture in a shipped style, is reduced and enlarged again, by a bicubic filter and by the network of
`nst_core.upscaling`. Printed are PSNR and SSIM of luminance to what was reduced, as the papers measure them: medians
over the photos, without a border of as many pixels as the factor. Then the seconds for a megapixel of the result.
"""

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps

from nst_core.inference.engines import load_stylizer
from nst_core.inference.likeness import psnr_db
from nst_core.inference.luminance import grey_levels
from nst_core.inference.selection import choose
from nst_core.inference.stylizer import Pixels
from nst_core.looks.similarity import ssim
from nst_core.upscaling.network import FACTORS, Factor
from nst_core.upscaling.upscaler import load_upscaler
from tests.benchmarks.machine import describe
from tests.shipped import shipped_style

_FILTER = Image.Resampling.BICUBIC
_TIMED_PX = 512
Grey = npt.NDArray[np.float32]


def main() -> None:
    """Measure photos and pictures, and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.upscaling", description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--match", default="*", help="only files with such names, for example 'kodim*'")
    parser.add_argument("--styles", nargs="+", default=["great_wave", "starry_night"])
    args = parser.parse_args()
    print(f"{describe()}\n")
    photos = [_read(path) for path in sorted(args.photos.glob(args.match))]
    sets = {"photos": photos}
    for name in args.styles:
        stylizer = load_stylizer(shipped_style(name).weights(), choice=choose("cpu"))
        sets[name] = [stylizer(photo[None])[0] for photo in photos]
    print(f"| {len(photos)} pictures | factor | bicubic, PSNR and SSIM | network | seconds for a megapixel |")
    print("|---|---|---|---|---|")
    for factor in FACTORS:
        seconds = _seconds(factor)
        for name, pictures in sets.items():
            rows = [_measured(_cut(picture, factor), factor) for picture in pictures]
            texts = []
            for ways in zip(*rows, strict=True):
                psnr_db, likeness = (median(values) for values in zip(*ways, strict=True))
                texts.append(f"{psnr_db:.2f} dB, {likeness:.3f}")
            print(f"| {name} | {factor} | {' | '.join(texts)} | {seconds:.2f} |", flush=True)


def _read(path: Path) -> Pixels:
    with Image.open(path) as opened:
        return np.array(ImageOps.exif_transpose(opened).convert("RGB"))


def _cut(picture: Pixels, factor: Factor) -> Pixels:
    height, width = (side // factor * factor for side in picture.shape[:2])
    return np.ascontiguousarray(picture[:height, :width])


def _measured(picture: Pixels, factor: Factor) -> list[tuple[float, float]]:
    """Return PSNR in dB and SSIM of both enlargements."""
    height, width = picture.shape[:2]
    small = Image.fromarray(picture).resize((width // factor, height // factor), _FILTER)
    enlarged = [np.asarray(small.resize((width, height), _FILTER)), load_upscaler(factor)(np.array(small))]
    inner = slice(factor, -factor)
    original, *results = (grey_levels(each)[inner, inner] for each in (picture, *enlarged))
    return [(psnr_db(result, original), ssim(_image(result), _image(original))) for result in results]


def _image(grey: Grey) -> torch.Tensor:
    return torch.from_numpy(grey)[None, None].expand(1, 3, -1, -1) / 255


def _seconds(factor: Factor) -> float:
    picture = np.random.default_rng(0).integers(0, 256, (_TIMED_PX, _TIMED_PX, 3), np.uint8)
    times = []
    for _ in range(4):
        started = time.perf_counter()
        load_upscaler(factor)(picture)
        times.append(time.perf_counter() - started)
    return min(times) / (factor**2 * _TIMED_PX**2 / 1e6)


if __name__ == "__main__":
    main()
