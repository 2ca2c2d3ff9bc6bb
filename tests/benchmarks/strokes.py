"""`python -m tests.benchmarks.strokes --photo FILE`: how alike the pictures of a photo are at 0.5, 2 and 12 megapixels.

The photo is scaled to each size and stylized, as the network paints and with the strokes `auto` and `varied`. Each
result is reduced to the smallest size; printed are the mean absolute differences of each two of them, in grey levels,
and seconds from photo to picture, without decoding and encoding. One time is that of a single call, after a first one
at that size.
"""

import argparse
import time
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from nst_core.inference.engines import load_stylizer
from nst_core.inference.painting import in_strokes
from nst_core.inference.selection import choose
from nst_core.inference.strokes import Stroke
from nst_core.inference.stylizer import Pixels, Stylizer
from nst_core.styles import shipped_styles
from nst_core.system.memory import bound_kernels, keep_freed_memory
from tests.benchmarks.machine import describe
from tests.shipped import shipped_style

_STROKES: tuple[Stroke | None, ...] = (None, "auto", "varied")
_MEGAPIXELS = (0.5, 2.0, 12.0)
#: The time at 12 megapixels is compared with that of this size, which the network paints as it is.
_WHOLE = 1.0


def main() -> None:
    """Measure each style and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.strokes", description=__doc__)
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--styles", nargs="+", default=[style.name for style in shipped_styles()])
    parser.add_argument("--sheet", type=Path, help="a JPEG file for the pictures that are compared")
    args = parser.parse_args()
    bound_kernels()
    keep_freed_memory()
    choice = choose("cpu")
    with Image.open(args.photo) as opened:
        photo = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    print(f"{describe()}\n{choice}, {args.photo.name}\n")
    columns = ["style", "stroke", *(f"{one:g} and {other:g} MP" for one, other in combinations(_MEGAPIXELS, 2))]
    columns += [f"{size:g} MP, s" for size in (*_MEGAPIXELS, _WHOLE)]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|", flush=True)
    rows = []
    for name in args.styles:
        stylizer = load_stylizer(shipped_style(name).weights(), choice=choice)
        for stroke in _STROKES:
            rows.append(measure(stylizer, photo, name, stroke))
    if args.sheet:
        Image.fromarray(np.concatenate(rows)).save(args.sheet, quality=92)


def measure(stylizer: Stylizer, photo: Pixels, name: str, stroke: Stroke | None) -> Pixels:
    """Print the row of a style and a stroke; return its pictures side by side."""
    pictures: list[Pixels] = []
    seconds: list[float] = []
    for megapixels in (*_MEGAPIXELS, _WHOLE):
        scaled = _scaled(photo, megapixels)
        for _ in range(2):
            started = time.perf_counter()
            picture = _painted(stylizer, scaled, stroke)
            spent = time.perf_counter() - started
        seconds.append(spent)
        if megapixels in _MEGAPIXELS:
            height, width = (pictures[0] if pictures else picture).shape[:2]
            pictures.append(np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS)))
    differences = [np.abs(one.astype(int) - other).mean() for one, other in combinations(pictures, 2)]
    cells = [name, str(stroke or "none"), *(f"{value:.1f}" for value in differences)]
    cells += [f"{value:.1f}" for value in seconds]
    print("| " + " | ".join(cells) + " |", flush=True)
    return np.concatenate(pictures, axis=1)


def _scaled(photo: Pixels, megapixels: float) -> Pixels:
    factor = (megapixels * 1e6 / (photo.shape[0] * photo.shape[1])) ** 0.5
    size = round(photo.shape[1] * factor), round(photo.shape[0] * factor)
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))


def _painted(stylizer: Stylizer, photo: Pixels, stroke: Stroke | None) -> Pixels:
    """Return the picture, made as a worker makes it."""
    return in_strokes(photo, stroke, lambda copy: stylizer(copy[None])[0], min_side_px=stylizer.min_side_px)


if __name__ == "__main__":
    main()
