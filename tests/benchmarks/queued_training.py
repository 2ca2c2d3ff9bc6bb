"""`python -m tests.benchmarks.queued_training --photos FOLDER --painting FILE`: training through the queue, and bare.

Both train the same style on the same photos. The bare loop is `python -m nst_core train` with neither samples, plots
nor checkpoints. The queue is the whole stack on this machine: the run is submitted through the API and trained by a
worker in segments, with a checkpoint in the storage after each, progress, leases and losses. They take turns, so that
changes in the machine's speed affect both equally. During a turn of the bare loop the run is paused, and during a turn
of the run the bare process is stopped. A turn of the queue lasts from the request to resume until the run is paused
again, so that it includes dispatch, checkpoint and report.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean

from nst_core.client import Client
from nst_core.client.resources.runs import Run, RunStatus, TrainRequest
from scheduler.local.embedded import Stack
from tests.benchmarks.machine import describe
from tests.faults.harness import upload

STEPS = 100_000
OPTIONS = {"batch_size": 2}


class Bare:
    """The bare loop in a separate process, which runs only in its turns."""

    def __init__(self, painting: Path, photos: Path, scratch: Path) -> None:
        config = {**OPTIONS, "transformer": {"output": "tanh"}, "steps": STEPS}
        command = [sys.executable, "-m", "nst_core", "train", "--painting", str(painting), "--photos", str(photos)]
        command += ["--run", str(scratch / "bare"), "--config", json.dumps(config), "--no-plot"]
        command += ["--checkpoint-every", str(STEPS), "--sample-every", str(STEPS)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._step = 0

    def step(self) -> int:
        """Return the last reported step, which is a multiple of ten."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._step = int(line.split()[1])
        return self._step

    def turn(self, seconds: float) -> float:
        """Let it run for about this time, between two multiples of ten steps, and return its steps per second."""
        self._process.send_signal(signal.SIGCONT)
        first, begun = self._next()
        last, now = first, begun
        while now < begun + seconds:
            last, now = self._next()
        self._process.send_signal(signal.SIGSTOP)
        return (last - first) / (now - begun)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _next(self) -> tuple[int, float]:
        before = self.step()
        while self.step() == before:
            if self._process.poll() is not None:
                raise SystemExit("The bare loop ended.")
            time.sleep(0.005)
        return self._step, time.perf_counter()


def queue_turn(client: Client, run: Run, seconds: float) -> float:
    """Continue the run for about this time, and return its steps per second, from request to request."""
    first, begun = client.runs.get(run.id).step, time.perf_counter()
    client.runs.resume(run.id)
    time.sleep(seconds)
    pause(client, run)
    return (client.runs.get(run.id).step - first) / (time.perf_counter() - begun)


def pause(client: Client, run: Run) -> None:
    """Pause a run, and return when it is paused."""
    client.runs.pause(run.id)
    while client.runs.get(run.id).status is not RunStatus.PAUSED:
        time.sleep(0.1)


def main() -> None:
    """Parse the command line, let the two take turns, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--painting", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--turn", type=float, default=60.0, help="seconds")
    args = parser.parse_args()
    print(describe(), flush=True)
    rates: dict[str, list[float]] = {"bare": [], "queue": []}
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder) / "home") as stack, stack.client() as client:
        uris = upload(client, {path.name: path.read_bytes() for path in sorted(args.photos.iterdir())})
        data = uris[0].rpartition("/")[0] + "/"
        request = TrainRequest(name="benchmark", data=data, steps=STEPS, options=OPTIONS, initial="none", held_out=1)
        run = client.runs.train(request, painting=args.painting)
        while client.runs.get(run.id).step < 10:  # it is compiled by then
            time.sleep(1.0)
        pause(client, run)
        bare = Bare(args.painting, args.photos, Path(folder))
        try:
            bare.turn(1.0)
            for number in range(1, args.rounds + 1):
                rates["bare"].append(bare.turn(args.turn))
                rates["queue"].append(queue_turn(client, run, args.turn))
                print(
                    f"round {number}: " + ", ".join(f"{kind} {each[-1]:.3f}" for kind, each in rates.items()),
                    flush=True,
                )
        finally:
            bare.close()
        segments = client.runs.get(run.id).segments
    alone, through = fmean(rates["bare"]), fmean(rates["queue"])
    print(f"bare loop {alone:.3f} steps/s; through the queue {through:.3f} in {segments} segments")
    print(
        f"ratio {through / alone:.3f}; by round "
        + ", ".join(f"{q / b:.3f}" for b, q in zip(*rates.values(), strict=True))
    )


if __name__ == "__main__":
    main()
