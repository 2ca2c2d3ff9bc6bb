"""`python -m tests.benchmarks.cold [--rounds 3]`: how long the first photo takes.

First: from the start of a worker's process to the end of a job of one photo that waits for it. In the first round the
machine has no choice of an engine yet. Then: the whole command `nst stylize one.jpg` on a running stack, with styles
that the worker has not loaded, and again with the same styles.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nst_core.client.resources.jobs import Job, JobInput, JobRequest
from nst_core.styles import shipped_styles
from scheduler.local.embedded import Stack
from scheduler.local.supervisor import ServiceState, StackEvent
from tests.benchmarks.machine import describe
from tests.benchmarks.pipeline import write_photos


def main() -> None:
    """Measure, and print each time."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cold", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=512, help="longest side of the photo in pixels")
    args = parser.parse_args()
    print(describe(), flush=True)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed nst is compiled
    warm_up, *styles = (style.name for style in shipped_styles())
    with tempfile.TemporaryDirectory() as scratch:
        home, photos = Path(scratch, "home"), Path(scratch, "photos")
        write_photos(None, photos, count=1, side_px=args.side, mixed=False)
        (photo,) = photos.iterdir()
        starts = [start_s(home, photo, warm_up) for _ in range(args.rounds)]
        print(f"from a worker's start to its first image: {listed(starts)}", flush=True)
        with Stack(home, workers=1) as stack:
            stylize_s(stack, photo, warm_up)
            for what in ("not loaded", "loaded"):
                seconds = [stylize_s(stack, photo, style) for style in styles]
                print(f"nst stylize, style {what}: {listed(seconds)}", flush=True)


def start_s(home: Path, photo: Path, style: str) -> float:
    """Return the seconds from the start of a worker to the end of a job that waits for it."""
    with Stack(home, workers=0) as stack, stack.client() as client:
        place = client.create_upload()
        client.upload(place.id, photo.name, photo.read_bytes())
        job = client.submit(JobRequest(input=JobInput(prefix=place.prefix), styles=(style,)))
    started: list[float] = []

    def note(event: StackEvent) -> None:
        if event.name == "worker-1" and event.state is ServiceState.STARTING:
            started.append(time.time())

    with Stack(home, workers=1, on_event=note) as stack, stack.client() as client:
        job = checked(client.wait(job.id))
    assert job.finished_at is not None
    return job.finished_at.timestamp() - started[0]


def stylize_s(stack: Stack, photo: Path, style: str) -> float:
    """Return the seconds of the whole command."""
    result = photo.with_name("result.jpg")
    result.unlink(missing_ok=True)
    env = os.environ | {"NST_URL": stack.url, "NST_API_KEY": stack.api_key}
    command = [sys.executable, "-m", "scheduler.cli", "stylize", str(photo), "-s", style, "-o", str(result)]
    started = time.perf_counter()
    subprocess.run(command, env=env, check=True, capture_output=True)
    seconds = time.perf_counter() - started
    assert result.stat().st_size
    return seconds


def checked(job: Job) -> Job:
    """Return a job; end the program if it failed."""
    if job.counts.succeeded != job.counts.total:
        raise SystemExit(f"The job ended as {job.status}: {job.counts}.")
    return job


def listed(seconds: list[float]) -> str:
    """Return times and their median as text."""
    return f"{', '.join(f'{each:.2f}' for each in seconds)} s, median {statistics.median(seconds):.2f} s"


if __name__ == "__main__":
    main()
