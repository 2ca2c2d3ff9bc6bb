"""`python -m tests.benchmarks.large [--megapixels 4 12 25 100]`: seconds and memory of large photos, and their seams.

Each photo has a process of its own, which stylizes a small photo first. Photos go through the network whole or in
strips, as our engines decide; `--strips` cuts all of them. Printed are the seconds of that one call, and the peak
resident memory of the process (VmHWM), photo and result included. Photos of up to 12 megapixels are computed in both
ways, and the largest difference of the two pictures is printed, in grey levels.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from nst_core.system.memory import bound_kernels, keep_freed_memory
from tests.benchmarks.machine import describe
from tests.benchmarks.memory import status_bytes
from tests.benchmarks.photos import soft_photo
from tests.shipped import shipped_style

_STYLE = "the_scream"
#: Megapixels up to which strips are compared with the whole.
_COMPARED = 12.0
_WARM_PX = 256


def main() -> None:
    """Measure each size and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.large", description=__doc__)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[4.0, 12.0, 25.0, 100.0])
    parser.add_argument("--strips", action="store_true", help="cut every photo")
    parser.add_argument("--engine", default="auto", help="as NST_ENGINE")
    parser.add_argument("--precision", default="auto", help="as NST_PRECISION")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(case(**json.loads(args.case))))
        return
    print(describe())
    columns = ("photo", "engine", "way", "s", "s per megapixel", "peak MiB", "largest difference")
    print("\n| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|", flush=True)
    for megapixels in args.megapixels:
        both = megapixels <= _COMPARED
        measure(megapixels, [False, True] if both else [args.strips], engine=args.engine, precision=args.precision)


def measure(megapixels: float, cuts: list[bool], **choice: str) -> None:
    """Run one size in some ways, forced into strips or not, each in a process of its own, and print a row for each."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(megapixels * 1e6 / height)
    with tempfile.TemporaryDirectory() as scratch:
        photo, output, first = Path(scratch) / "photo.npy", Path(scratch) / "picture.npy", None
        np.save(photo, soft_photo(width, height))
        for cut in cuts:
            values = {"photo": str(photo), "output": str(output), "cut": cut, **choice}
            command = [sys.executable, "-m", "tests.benchmarks.large", "--case", json.dumps(values)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            picture = np.load(output)
            difference = "" if first is None else str(int(np.abs(picture.astype(np.int16) - first).max()))
            first = picture if first is None else first
            cells = [f"{width:,} x {height:,}", found["engine"], found["way"], f"{found['seconds']:.1f}"]
            cells += [f"{found['seconds'] * 1e6 / (width * height):.2f}", f"{found['peak'] >> 20:,}", difference]
            print("| " + " | ".join(cells) + " |", flush=True)


def case(*, photo: str, output: str, cut: bool, engine: str, precision: str) -> dict[str, Any]:
    """Stylize one photo in this fresh process, save the picture, and return what was measured."""
    bound_kernels()  # before torch is imported, as a worker does
    keep_freed_memory()
    from nst_core.inference.any_size import WHOLE_PIXELS, AnySizeStylizer
    from nst_core.inference.engines import ENGINES
    from nst_core.inference.selection import choose

    choice = choose("cpu", engine=engine, precision=precision)
    runner = ENGINES[choice.engine](shipped_style(_STYLE).weights(), device="cpu", precision=choice.precision)
    passes: list[None] = []
    stylizer = AnySizeStylizer(runner, whole_pixels=0 if cut else WHOLE_PIXELS, progress=lambda: passes.append(None))
    stylizer(soft_photo(_WARM_PX, _WARM_PX)[None])
    passes.clear()
    pixels = np.load(photo)
    started = time.perf_counter()
    picture = stylizer(pixels[None])[0]
    seconds = time.perf_counter() - started
    peak = status_bytes("VmHWM")
    np.save(output, picture)
    way = f"strips, {len(passes)} passes" if passes else "whole"
    return {"engine": str(stylizer.choice), "way": way, "seconds": seconds, "peak": peak}


if __name__ == "__main__":
    main()
