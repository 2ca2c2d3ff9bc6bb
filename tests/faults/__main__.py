"""`python -m tests.faults --case F4 --repeats 20 --seed 1`: the fault matrix. See README.md in this folder."""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from tests.benchmarks.machine import describe
from tests.faults import training
from tests.faults.cases import BOTH, CASES
from tests.faults.matrix import Matrix, Options, find_cases
from tests.faults.table import Run, append, as_markdown, as_text, load, rows_of
from tests.postgres import find_postgres

#: The case whose training worker dies after checkpoints. It runs on a separate stack.
TRAINING = "F16"
_STEPS, _KILLS, _SEGMENT_S = 120, 5, 0.5


def run_training(options: Options, database: str) -> Iterator[Run]:
    """Run a training without faults, then with its worker killed after each of the first checkpoints, and compare."""
    for repeat in range(options.repeats):
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder, _stack(Path(folder), database) as faults:
            undisturbed = faults.run(steps=_STEPS)
            kill = training.SegmentKiller(faults.stack, rng=random.Random(options.seed + repeat), most=_KILLS)
            disturbed = faults.run(steps=_STEPS, on_poll=kill)
        problem = ""
        try:
            assert kill.kills > 0, "nothing went wrong"
            training.check_same(disturbed, undisturbed)
        except AssertionError as error:
            problem = str(error)
        say(f"{TRAINING} {database} {repeat + 1}/{options.repeats}: {problem or 'passed'}, {kill.kills} kills")
        yield Run(
            case=TRAINING,
            title="training killed at each checkpoint",
            database=database,
            size=f"{_STEPS} steps",
            seconds=time.monotonic() - started,
            problems=(problem,) if problem else (),
            counted={"kills": kill.kills, "segments done again": disturbed.run.attempt - disturbed.run.segments},
        )


def _stack(folder: Path, database: str) -> AbstractContextManager[training.TrainingFaults]:
    return training.training_stack(folder, database=database, NST_TRAIN_SEGMENT_S=str(_SEGMENT_S))


def say(line: str) -> None:
    """Print progress to standard error, because standard output is for the table."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def run_all(args: argparse.Namespace) -> Iterator[Run]:
    """Run the cases that the command line names."""
    options = Options(
        repeats=args.repeats, seed=args.seed, items=args.items, freeze_s=args.freeze_s, item_ms=args.item_ms
    )
    databases = [args.database] if args.database else [name for name in BOTH if name == "sqlite" or find_postgres()]
    wanted = args.case.upper().split(",")
    with tempfile.TemporaryDirectory() as folder, Matrix(args.keep or Path(folder), options, say=say) as matrix:
        for database in databases:
            for case in find_cases(CASES, wanted) if wanted != [TRAINING] else ():
                if case.own_disk and os.geteuid() != 0:
                    say(f"{case.id} is left out: only root may mount a file system")
                    continue
                yield from matrix.runs(case, database)
    if TRAINING in wanted or "ALL" in wanted:
        for database in databases:
            yield from run_training(options, database)


def main() -> int:
    """Parse the command line, run cases and print their table. Return 1 if a case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--case", default="all", help="such as F4, or F1,F4, or all")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=BOTH, help="default: each that is installed")
    parser.add_argument("--items", type=int, help="default: 1,000 or 10,000, as each case has it")
    parser.add_argument("--item-ms", type=float, default=100.0, help="milliseconds that an image takes")
    parser.add_argument("--freeze-s", type=float, default=90.0, help="how long Redis is frozen")
    parser.add_argument("--keep", type=Path, help="an empty folder for all data and logs, which stay there")
    parser.add_argument("--log", type=Path, help="a file to add each run to; --repeats 0 prints the table of it alone")
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    runs = load(args.log) if args.log and args.log.exists() else []
    for run in run_all(args):
        runs.append(run)
        if args.log:
            append(args.log, run)
    print(describe())
    print(*(as_markdown if args.markdown else as_text)(rows_of(runs)), sep="\n", flush=True)
    return int(any(run.problems for run in runs))


if __name__ == "__main__":
    sys.exit(main())
