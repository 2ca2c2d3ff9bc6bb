"""`python -m tests.benchmarks.engines [--photos FOLDER]`: our engines beside plain ones, on one machine, in one run.

Each engine has a process of its own and gets the same photos. They run in turns, photo by photo, so that changes in the
machine's speed affect all of them equally. Before that, each has one photo of the size that is not counted, except in
the first pass over the mixed folder: each photo has another size there, and the second pass has the same photos again.

Times are medians for one photo, of the mixed folder means. PSNR and largest differences are those to our `eager` in
fp32, in grey levels. "x plain PyTorch" is how many times as fast as that an engine is, "x best plain" the same for the
fastest plain engine of the same precision. The run ends with an error if pictures of plain PyTorch and `eager` differ
by more than one grey level. At sides that are no multiples of 4, as most in the mixed folder, plain networks make a
larger picture and cut it, so theirs differ from ours there.

`--layers` prints instead where our engines spend their time, at the first size, and the share of bare convolutions.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nst_core.inference.stylizer import Pixels
from nst_core.nets.families import without_palettes
from nst_core.nets.weights import dump_transformer, load_transformer_bytes
from tests.benchmarks.engine_process import EAGER, OURS, EngineProcess, Kind
from tests.benchmarks.machine import describe
from tests.benchmarks.photos import Photos
from tests.shipped import shipped_style

_STYLE = "the_scream"
_SIZES = (256, 512, 1024, 2048)
_MOST_PHOTOS = 40
#: Pixels of all photos of a size: there are fewer photos if they are larger.
_PIXELS = 10_000_000
#: Sides of the mixed folder.
_LEAST_PX, _MOST_PX = 240, 800


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.engines", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=_SIZES, help="sides of squares, in pixels")
    parser.add_argument("--rounds", type=int, default=7, help="the fewest photos of each size")
    parser.add_argument("--photos", type=Path, help="a folder; without it, photos are soft noise")
    parser.add_argument("--mixed", type=int, default=_MOST_PHOTOS, help="photos in the mixed folder; 0 for none")
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile of the plain network too, which takes long"
    )
    parser.add_argument(
        "--layers", action="store_true", help="the time of each layer of our engines, for the first size"
    )
    args = parser.parse_args()
    from nst_core.nets import native
    from tests.benchmarks.engine_kinds import kinds
    from tests.benchmarks.engine_layers import print_layers, print_native_layers

    print(describe())
    photos = Photos(args.photos)
    if args.layers:
        photo = photos.of_size(0, (args.sizes[0], args.sizes[0]))
        print_layers(_weights(), photo, rounds=args.rounds)
        if native.library() is not None:
            print_native_layers(_weights(), photo, rounds=args.rounds)
        return
    found = kinds(compiled=args.compile)
    print(f"style {_STYLE}, photos: {args.photos.name if args.photos else 'soft noise'}\n")
    _print_head()
    for side in args.sizes:
        count = min(_MOST_PHOTOS, max(args.rounds, _PIXELS // side**2))
        squares = [(side, side)] * count
        [run] = measure(found, photos, squares, warm=True)
        _print_rows(f"{side} x {side}, {count} photos", run, statistics.median)
    if args.mixed:
        sides = np.random.default_rng(0).integers(_LEAST_PX, _MOST_PX, (args.mixed, 2)).tolist()
        runs = measure(found, photos, [(width, height) for width, height in sides], passes=2)
        for name, run in zip(("first pass", "second pass"), runs, strict=True):
            _print_rows(f"{args.mixed} sizes, {name}", run, statistics.fmean)


def _weights() -> bytes:
    """Return the weights of the style without its grain and its palette: plain networks know of none."""
    net = without_palettes(load_transformer_bytes(shipped_style(_STYLE).weights()))
    net.config = replace(net.config, grain=0.0)
    return dump_transformer(net)


@dataclass
class Results:
    """What one engine did in one pass: a value for each photo."""

    seconds: list[float] = field(default_factory=list)
    psnr_db: list[float] = field(default_factory=list)
    largest: list[int] = field(default_factory=list)


Run = dict[Kind, Results]


def measure(
    found: Sequence[Kind], photos: Photos, sizes: Sequence[tuple[int, int]], *, passes: int = 1, warm: bool = False
) -> Iterator[Run]:
    """Yield what fresh engines did in each pass over photos of some sizes; `warm` ones have seen the first size."""
    with ExitStack() as stack:
        weights = _weights()
        processes = {kind: stack.enter_context(EngineProcess(kind, weights)) for kind in found}
        if warm:
            for process in processes.values():
                process(photos.of_size(0, sizes[0]))
        for _ in range(passes):
            run: Run = {kind: Results() for kind in found}
            for number, size in enumerate(sizes):
                _one_photo(processes, photos.of_size(number, size), run)
            yield run


def _one_photo(processes: dict[Kind, EngineProcess], photo: Pixels, run: Run) -> None:
    reference: Pixels | None = None
    for kind, process in processes.items():
        seconds, picture = process(photo)
        reference = picture if reference is None else reference
        difference = np.abs(picture.astype(np.int16) - reference)
        error = float(np.mean(np.square(difference, dtype=np.float64)))
        run[kind].seconds.append(seconds)
        run[kind].psnr_db.append(float(10 * np.log10(255**2 / error)) if error else float("inf"))
        run[kind].largest.append(int(difference.max()))
        # At other sides than multiples of 4 plain networks make a larger picture, which is cut.
        if kind == EAGER and run[kind].largest[-1] > 1 and photo.shape[0] % 4 == photo.shape[1] % 4 == 0:
            sys.exit(f"Plain PyTorch and eager differ by {run[kind].largest[-1]} grey levels.")


def _print_head() -> None:
    names = ["photos", "engine", "precision", "ms", "x plain PyTorch", "x best plain"]
    names += ["PSNR, dB, median", "least", "largest difference"]
    print("| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|", flush=True)


def _print_rows(name: str, run: Run, typical: Callable[[list[float]], float]) -> None:
    times = {kind: typical(results.seconds) for kind, results in run.items()}
    for kind, results in run.items():
        plain = [seconds for other, seconds in times.items() if other.plain and other.precision == kind.precision]
        cells = [name, kind.name, kind.precision, f"{1000 * times[kind]:,.0f}", f"{times[EAGER] / times[kind]:.2f}"]
        cells.append(f"{min(plain) / times[kind]:.2f}" if plain else "")
        if kind == OURS:
            cells += ["", "", ""]
        else:
            decibels = (statistics.median(results.psnr_db), min(results.psnr_db))
            cells += [*(f"{value:.1f}" for value in decibels), str(max(results.largest))]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
