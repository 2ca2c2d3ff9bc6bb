"""`python -m tests.benchmarks.overhead FOLDER [--count 1000]`: what scheduler and queue cost a job of real photos.

A job runs on the whole stack of this machine, from its submission to its last status. The other way is a worker's
pipeline alone (`tests.benchmarks.direct`): the same photos from the same storage, the images into the same storage, all
as one chunk, while scheduler, Redis and worker are stopped. They take turns. Photos are of FOLDER, scaled to a longest
side of 512 px.
"""

import argparse
import io
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from nst_core.client import Client
from scheduler.local.embedded import BUCKET, Stack
from tests.benchmarks.machine import describe
from tests.faults.harness import check_complete, finish, submit, upload

STYLE = "udnie"
SIDE_PX = 512
SCHEDULING = ("scheduler", "redis")


def read_photos(folder: Path, count: int) -> dict[str, bytes]:
    """Return the first photos of a folder and those below, with a longest side of 512 px, as JPEG files."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if len(paths) < count:
        raise SystemExit(f"{folder} has {len(paths):,} photos; {count:,} are wanted.")
    photos = {}
    for number, path in enumerate(paths[:count]):
        with Image.open(path) as image:
            scale = SIDE_PX / max(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            buffer = io.BytesIO()
            image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=92)
        photos[f"{number:06d}.jpg"] = buffer.getvalue()
    return photos


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_direct(stack: Stack, uris: list[str], number: int) -> float:
    """Return the seconds of the pipeline alone. The rest of the stack is stopped meanwhile."""
    storage = stack.addresses.storage
    env = os.environ | {
        "NST_S3_ENDPOINT": storage.s3_endpoint or "",
        "NST_S3_ACCESS_KEY": storage.s3_access_key.get_secret_value() if storage.s3_access_key else "",
        "NST_S3_SECRET_KEY": storage.s3_secret_key.get_secret_value() if storage.s3_secret_key else "",
        "NST_THREADS": str(os.cpu_count()),
        "NO_PROXY": "127.0.0.1,localhost",
    }
    others = [stack.children[name] for name in (*SCHEDULING, "worker-1")]
    for child in others:
        child.send_signal(signal.SIGSTOP)
    try:
        command = [sys.executable, "-m", "tests.benchmarks.direct", STYLE, f"s3://{BUCKET}/direct/{number}/"]
        done = subprocess.run(command, env=env, input="\n".join(uris), capture_output=True, text=True, check=True)
    finally:
        for child in others:
            child.send_signal(signal.SIGCONT)
    return float(done.stdout)


def run_job(stack: Stack, client: Client, uris: list[str]) -> tuple[float, float]:
    """Return the seconds of a job, and the processor time that scheduler and Redis used meanwhile."""
    # Processes that were stopped may have to reconnect.
    finish(stack, client, submit(client, uris[:4], [STYLE]))
    pids = [stack.children[name].pid for name in SCHEDULING]
    before, started = sum(map(cpu_s, pids)), time.perf_counter()
    job = client.wait(submit(client, uris, [STYLE]).id)
    seconds = time.perf_counter() - started
    spent_s = sum(map(cpu_s, pids)) - before
    check_complete(finish(stack, client, job))
    return seconds, spent_s


def main() -> None:
    """Measure in turns, and print each round and the medians."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.overhead", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    photos = read_photos(args.folder, args.count)
    print(describe(), flush=True)
    print(f"{len(photos):,} photos of {SIDE_PX} px in the style {STYLE}, {args.rounds} rounds", flush=True)
    ratios = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(Path(folder) / "home", workers=1) as stack,
        stack.client() as client,
    ):
        uris = upload(client, photos)
        for number in range(1, args.rounds + 1):
            direct = run_direct(stack, uris, number)
            whole, spent_s = run_job(stack, client, uris)
            ratios.append(whole / direct)
            print(
                f"round {number}: pipeline alone {direct:.1f} s, job {whole:.1f} s, ratio {ratios[-1]:.4f}; "
                f"scheduler and Redis had {spent_s:.1f} s of processor time",
                flush=True,
            )
    print(f"median ratio {statistics.median(ratios):.4f}")


if __name__ == "__main__":
    main()
