"""`python -m tests.cluster`: jobs on containers of the images that `make images` built, while containers end."""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from nst_core import __version__
from tests.benchmarks.machine import describe
from tests.cluster.cases import CASES
from tests.cluster.cluster import SETUP, ImageCluster
from tests.cluster.containers import lacking, unpacked
from tests.cluster.one_machine import make_images, nst_up
from tests.faults.__main__ import say
from tests.faults.cases import Case
from tests.faults.matrix import Matrix, Options, find_cases
from tests.faults.table import as_markdown, as_text, rows_of
from tests.photos import small_photos

#: What is installed decides which engine "auto" means, and engines differ in the last bits.
ENGINE = {"NST_ENGINE": "native", "NST_PRECISION": "fp32"}
SCHEDULER, WORKER = f"nst-scheduler:{__version__}", f"nst-worker-cpu:{__version__}"


@contextmanager
def image_matrix(
    folder: Path,
    options: Options,
    *,
    scheduler: str = SCHEDULER,
    worker: str = WORKER,
    env: Mapping[str, str] = ENGINE,
) -> Iterator[Matrix]:
    """Yield a matrix whose clusters consist of containers of two images, and that compares them with `nst up`.

    `env` adds to the environment of both.
    """
    with ExitStack() as open_images:
        images = {
            role: open_images.enter_context(unpacked(name))
            for role, name in (("scheduler", scheduler), ("worker", worker))
        }
        make = lambda setup, home: ImageCluster(images, home, seed=options.seed, env=env)  # noqa: E731
        by_nst_up = _ByNstUp(folder, options, env)
        with Matrix(folder, options, say=say, make_cluster=make, by_nst_up=by_nst_up) as matrix:
            yield matrix


class _ByNstUp:
    """Runs the jobs of cases by `nst up`, the same job once."""

    def __init__(self, folder: Path, options: Options, env: Mapping[str, str]) -> None:
        self._folder = folder
        self._options = options
        self._env = env
        self._run = cache(self._run_once)

    def __call__(self, case: Case, items: int) -> Mapping[str, str]:
        return self._run(items, case.side_px, tuple(case.styles))

    def _run_once(self, items: int, side_px: int, styles: tuple[str, ...]) -> Mapping[str, str]:
        home = self._folder / f"nst-up-{items}-{side_px}-{'-'.join(styles)}"
        photos = small_photos(items, side_px=side_px)
        with nst_up(home, workers=SETUP.workers, env=self._env) as client:
            digests, engines = make_images(client, photos, styles=styles, precision=self._options.precision)
        say(f"nst up: {', '.join(f'{count} images by {engine}' for engine, count in engines.items())}")
        return digests


def main() -> int:
    """Parse the command line, run cases and print their table. Return 1 if a case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("--scheduler", default=SCHEDULER, help=f"its image; default: {SCHEDULER}")
    parser.add_argument("--worker", default=WORKER, help=f"its image; default: {WORKER}")
    parser.add_argument("--engine", default=ENGINE["NST_ENGINE"], help="NST_ENGINE of all workers; default: native")
    parser.add_argument("--precision", default="fp32", help="NST_PRECISION of all workers; default: fp32")
    parser.add_argument("--exact", action="store_true", help="let jobs ask for the same bytes from all engines")
    parser.add_argument("--case", default="all", help="such as I2, or I1,I3, or all")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="an empty folder for all data and logs, which stay there")
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    if missing := lacking():
        parser.error(f"this needs {missing}")
    options = Options(repeats=args.repeats, seed=args.seed, precision="exact" if args.exact else "auto")
    images = {"scheduler": args.scheduler, "worker": args.worker}
    env = {"NST_ENGINE": args.engine, "NST_PRECISION": args.precision}
    with (
        tempfile.TemporaryDirectory() as folder,
        image_matrix(args.keep or Path(folder), options, **images, env=env) as matrix,
    ):
        cases = find_cases(CASES, args.case.upper().split(","))
        runs = [run for case in cases for run in matrix.runs(case, SETUP.database)]
    print(describe())
    print(*(as_markdown if args.markdown else as_text)(rows_of(runs)), sep="\n", flush=True)
    return int(any(run.problems for run in runs))


if __name__ == "__main__":
    sys.exit(main())
