"""`python -m tests.hostile`: hostile input cannot stop the product, tested on a real stack with two workers.

A hostile tenant sends mutated and inflated files of every format as photos of jobs, as paintings of optimisations and
styles, as photos of a training, and as weights of imports, and mutated requests to every route. Meanwhile another
tenant's job of 16 photos runs repeatedly. A separate process measures from outside: the gaps between answers
of `/livez`, the gaps between a worker's events about its current chunk, and the memory of every process.

Good jobs are compared with their time during a job of valid photos of the same hostile tenant, which shares the
workers equally and is at least as long. Their time alone is printed too. Time in which the machine did not
run the watcher is subtracted from the gaps, and printed.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.benchmarks.machine import describe
from tests.hostile import phases
from tests.hostile.files import HostileFile, hostile_files
from tests.hostile.ground import Beside, Ground, ground, median_of, watched
from tests.hostile.phases import Result
from tests.hostile.report import Limits, Measured, print_report
from tests.photos import small_photos

_GOOD_PHOTOS = 16


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, run everything, and print the table. Return 1 if a guarantee was broken."""
    args = _parse(argv)
    limits = Limits(gap_s=args.gap_s, worker_mb=args.worker_mb, scheduler_mb=args.scheduler_mb, ratio=args.ratio)
    print(describe(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        home = (args.keep or Path(folder)) / "home"
        with ground(home, good_photos=_GOOD_PHOTOS) as here:
            measured = _run(here, args)
    return print_report(measured, limits, shown=args.shown)


def _run(here: Ground, args: argparse.Namespace) -> Measured:
    measured = Measured()
    if args.times:
        _say("good jobs alone")
        measured.alone_s = median_of(args.times, here.good_job)
        _say(f"good jobs alone take {measured.alone_s:.2f} s; now beside sound photos of the other tenant")
        measured.plain_s = _beside_plain(here, args.times)
        _say(f"beside sound photos they take {measured.plain_s:.2f} s; now the hostile ones")
    until = time.monotonic() + args.seconds
    with watched(here) as seen:
        for phase in _phases(here, args, until):
            started = time.monotonic()
            with Beside(here) as beside:
                result = phase()
            measured.results.append(result)
            measured.beside[result.name] = list(beside.seconds)
            took = time.monotonic() - started
            _say(f"{result.name}: {result.sent} sent in {took:.0f} s, {len(result.problems)} problems")
    measured.seen = seen
    measured.deaths = list(here.deaths)
    return measured


def _phases(here: Ground, args: argparse.Namespace, until: float) -> Iterator[Callable[[], Result]]:
    """Yield the actions of the hostile tenant. Each gets a share of the time."""

    def share(part: float) -> float:
        now = time.monotonic()
        return now + (until - now) * part

    def some(count: int, *, seed: int) -> list[HostileFile]:
        return list(hostile_files(count, seed=seed, largest=min(args.largest, 10**4)))

    def everything() -> Iterator[HostileFile]:
        return hostile_files(args.files, seed=args.seed, largest=args.largest)

    few = max(8, args.files // 100)
    ways: dict[str, Callable[[], Result]] = {
        "photos": lambda: phases.photos_of_jobs(here, everything(), until=share(0.6)),
        "paintings": lambda: phases.paintings_of_jobs(here, some(few, seed=args.seed + 1), until=share(0.3)),
        "styles": lambda: phases.paintings_of_styles(here, some(few, seed=args.seed + 2), until=share(0.3)),
        "training": lambda: phases.training_data(here, some(few, seed=args.seed + 3), until=share(0.3)),
        "weights": lambda: phases.imported_weights(here, few, seed=args.seed + 4, until=share(0.4)),
        "requests": lambda: phases.requests(here, args.requests, seed=args.seed + 5, until=until),
    }
    yield from (ways[name] for name in args.ways.split(","))


def _beside_plain(here: Ground, times: int) -> float:
    """Return the median time of good jobs during a long job of valid photos."""
    photos = small_photos(200).items()
    prefix = here.put(HostileFile(f"{copy}-{name}", data) for copy in range(20) for name, data in photos)
    job = here.submit(prefix)
    while not here.hostile.job(job.id).counts.running:
        time.sleep(0.05)
    try:
        return median_of(times, here.good_job)
    finally:
        here.hostile.cancel(job.id)
        here.hostile.wait(job.id, timeout_s=120)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--files", type=int, default=2000, help="hostile photos; the other ways get a hundredth each")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--largest", type=int, default=10**6, help="how often a thing is in a grown file at most")
    parser.add_argument("--seconds", type=float, default=1200, help="time for all that is hostile together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--times", type=int, default=3, help="good jobs alone, and beside sound photos; 0: none")
    parser.add_argument("--gap-s", type=float, default=2.0, help="longest silence of a process")
    parser.add_argument("--worker-mb", type=float, default=4000, help="most memory of a worker")
    parser.add_argument("--scheduler-mb", type=float, default=800, help="most memory of the scheduler")
    parser.add_argument("--ratio", type=float, default=1.5, help="longest good job beside, against beside sound photos")
    parser.add_argument("--shown", type=int, default=20, help="problems of each kind that are printed")
    parser.add_argument("--ways", default="photos,paintings,styles,training,weights,requests")
    parser.add_argument("--keep", type=Path, help="an empty folder for the stack's data and logs, which stay there")
    return parser.parse_args(argv)


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
