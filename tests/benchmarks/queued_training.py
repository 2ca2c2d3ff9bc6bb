"""`python -m tests.benchmarks.queued_training --photos FOLDER --painting FILE`: training through the queue, and bare.

Both train the same style for the same steps on the same photos. The bare loop is `python -m nst_core train` with
neither samples nor a plot, and one checkpoint, at the end. The queue is the whole stack on this machine: the run is
submitted through the API and trained by a worker in segments, with a checkpoint in the storage after each, progress,
leases and losses.
Compared are the steps after the first `--warm-up` ones, by the clock on the wall: compiling is left out of both, and
all else is in.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scheduler.embedded import Stack
from scheduler.run_resources import TrainRequest
from tests.benchmarks.machine import describe
from tests.faults.harness import upload

OPTIONS = {"batch_size": 2}


def bare(painting: Path, photos: Path, scratch: Path, *, steps: int, warm_up: int) -> float:
    """Return the steps per second of the loop in a process of its own."""
    config = {**OPTIONS, "transformer": {"output": "tanh"}, "steps": steps}
    command = [sys.executable, "-m", "nst_core", "train", "--painting", str(painting), "--photos", str(photos)]
    command += ["--run", str(scratch / "bare"), "--config", json.dumps(config), "--no-plot"]
    command += ["--checkpoint-every", str(steps), "--sample-every", str(steps)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        begun = 0.0
        for line in process.stdout:
            if line.startswith(f"step {warm_up} "):
                begun = time.perf_counter()
            if line.startswith(f"step {steps} "):
                return (steps - warm_up) / (time.perf_counter() - begun)
    raise SystemExit("The bare loop ended before its last step.")


def queued(painting: Path, photos: Path, scratch: Path, *, steps: int, warm_up: int) -> tuple[float, int]:
    """Return the steps per second of a run through the queue, and of how many segments it was."""
    with Stack(scratch / "home", workers=1) as stack, stack.client() as client:
        uris = upload(client, {path.name: path.read_bytes() for path in sorted(photos.iterdir())})
        request = TrainRequest(
            name="benchmark",
            data=uris[0].rpartition("/")[0] + "/",
            preset="standard",
            steps=steps,
            options=OPTIONS,
            initial="none",
            held_out=1,
        )
        run = client.runs.train(request, painting=painting)
        marks: dict[int, float] = {}
        while max(marks, default=0) < steps:
            run = client.runs.get(run.id)
            if run.status.is_terminal and run.step < steps:
                raise SystemExit(f"The run ended early: {run.error}")
            marks.setdefault(run.step, time.perf_counter())
            time.sleep(1.0)
        first = min(step for step in marks if step >= warm_up)
        return (steps - first) / (marks[steps] - marks[first]), run.segments


def main() -> None:
    """Parse the command line, run the two in turns, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--painting", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--warm-up", type=int, default=20)
    args = parser.parse_args()
    print(describe(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        # Compiled anew by the first of the two, and found by the other.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(folder) / "compiled")
        given = {"steps": args.steps, "warm_up": args.warm_up}
        alone = bare(args.painting, args.photos, Path(folder), **given)
        print(f"bare loop       {alone:.3f} steps/s", flush=True)
        through, segments = queued(args.painting, args.photos, Path(folder), **given)
        print(f"through a queue {through:.3f} steps/s in {segments} segments; ratio {through / alone:.3f}", flush=True)
        again = bare(args.painting, args.photos, Path(folder) / "again", **given)
        print(f"bare loop       {again:.3f} steps/s; ratio to the mean of both {2 * through / (alone + again):.3f}")


if __name__ == "__main__":
    main()
