"""`python -m tests.benchmarks.pipeline [FOLDER]`: the whole stack against the bare Stylizer, same photos, same run.

Both alternate, round by round, so that changes in the machine's speed affect both equally. The stack's time goes
from the submission of the job to its last status: planning, storage, decoding, encoding and reports included.
FOLDER holds photos (all are used); without it, the free pictures of scikit-image are taken.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nst_core.styles import shipped_styles
from scheduler.local.embedded import Stack
from tests.benchmarks.machine import describe
from tests.faults.harness import check_complete, finish, submit, upload
from tests.photos import encoded, pictures


def main() -> None:
    """Measure in turns and print the ratio."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.pipeline", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="photos; the free ones of scikit-image without it")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or write_pictures(Path(scratch) / "photos")
        measure(folder, Path(scratch) / "home", rounds=args.rounds)


def write_pictures(folder: Path, *, copies: int = 6) -> Path:
    """Write the free pictures several times over, and return their folder."""
    folder.mkdir()
    for name, picture in pictures():
        for number in range(copies):
            (folder / f"{name}_{number}.jpg").write_bytes(encoded(picture, "JPEG"))
    return folder


def measure(folder: Path, home: Path, *, rounds: int) -> None:
    """Run both in turns over a folder of photos and print each round and the medians."""
    styles = [style.name for style in shipped_styles()]
    photos = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    count = len(photos) * len(styles)
    print(describe())
    print(f"{len(photos)} photos x {len(styles)} styles = {count} images, {rounds} rounds")
    bare, whole = [], []
    for number in range(1, rounds + 1):
        bare.append(run_bare(folder, styles))
        with Stack(home, workers=1) as stack, stack.client() as client:
            uris = upload(client, photos)
            # A worker that has just started must load its first network. That is not measured for the other either.
            finish(stack, client, submit(client, uris[:1], styles))
            started = time.perf_counter()
            outcome = finish(stack, client, submit(client, uris, styles))
            whole.append(time.perf_counter() - started)
        check_complete(outcome)
        assert len(outcome.results) == count
        print(
            f"round {number}: bare {count / bare[-1]:.3f} images/s, "
            f"whole stack {count / whole[-1]:.3f} images/s, ratio {bare[-1] / whole[-1]:.3f}"
        )
    ratio = statistics.median(b / w for b, w in zip(bare, whole, strict=True))
    print(
        f"median: bare {count / statistics.median(bare):.3f} images/s, "
        f"whole stack {count / statistics.median(whole):.3f} images/s, ratio {ratio:.3f}"
    )


def run_bare(folder: Path, styles: list[str]) -> float:
    """Return the seconds of the bare Stylizer in a separate process."""
    command = [sys.executable, "-m", "tests.benchmarks.bare", str(folder), *styles]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
