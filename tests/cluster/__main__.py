"""`python -m tests.cluster`: jobs on containers of the images that `make images` built, while containers end."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nst_core import __version__
from tests.benchmarks.machine import describe
from tests.cluster.cases import CASES
from tests.cluster.cluster import SETUP, ImageCluster
from tests.cluster.containers import lacking, unpacked
from tests.faults.__main__ import say
from tests.faults.matrix import Matrix, Options, find_cases
from tests.faults.table import as_markdown, as_text, rows_of

SCHEDULER, WORKER = f"nst-scheduler:{__version__}", f"nst-worker-cpu:{__version__}"


@contextmanager
def image_matrix(
    folder: Path, options: Options, *, scheduler: str = SCHEDULER, worker: str = WORKER
) -> Iterator[Matrix]:
    """Yield a matrix whose clusters consist of containers of two images."""
    with ExitStack() as open_images:
        images = {
            role: open_images.enter_context(unpacked(name))
            for role, name in (("scheduler", scheduler), ("worker", worker))
        }
        make = lambda setup, home: ImageCluster(images, home, seed=options.seed)  # noqa: E731
        with Matrix(folder, options, say=say, make_cluster=make) as matrix:
            yield matrix


def main() -> int:
    """Parse the command line, run cases and print their table. Return 1 if a case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("--scheduler", default=SCHEDULER, help=f"its image; default: {SCHEDULER}")
    parser.add_argument("--worker", default=WORKER, help=f"its image; default: {WORKER}")
    parser.add_argument("--case", default="all", help="such as I2, or I1,I3, or all")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="an empty folder for all data and logs, which stay there")
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    if missing := lacking():
        parser.error(f"this needs {missing}")
    options = Options(repeats=args.repeats, seed=args.seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        image_matrix(args.keep or Path(folder), options, scheduler=args.scheduler, worker=args.worker) as matrix,
    ):
        cases = find_cases(CASES, args.case.upper().split(","))
        runs = [run for case in cases for run in matrix.runs(case, SETUP.database)]
    print(describe())
    print(*(as_markdown if args.markdown else as_text)(rows_of(runs)), sep="\n", flush=True)
    return int(any(run.problems for run in runs))


if __name__ == "__main__":
    sys.exit(main())
