"""`python -m tests.benchmarks.pipeline [FOLDER] [--images 300]`: a bulk job through the whole stack.

Compares a job, from its submission to its end, with the bare loop (decode, network, encode, one photo after the other)
with the same engine, the same number of threads and the same JPEG files. Both run in turns, so that changes in the
machine's speed affect both. Then shows where the processor time goes beside the network: a job with strength 0 takes
the same way without the network. FOLDER holds photos; without it, the free pictures of scikit-image are taken. They
are scaled to a longest side of `--side` pixels, or to sides from half to twice of that with `--mixed`, and repeated
until there are enough.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from nst_core.client import Client
from nst_core.client.resources.jobs import Job, JobInput, JobRequest
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.local.embedded import Stack
from tests.benchmarks.bare import WARM_UP, Bare
from tests.benchmarks.machine import describe
from tests.benchmarks.usage import children, cpu_s, peak_bytes, resident_bytes
from tests.photos import encoded, pictures

PROCESSES = {"worker": "worker-1", "scheduler": "scheduler", "Redis": "redis", "storage server": "s3"}
#: Images between two looks at the worker's memory, if the job is that large.
SPAN = 1000
#: Looks at a job cost the scheduler a few milliseconds each.
LOOK_S = 5.0


@dataclass(kw_only=True)
class Whole:
    """What a job took."""

    seconds: float
    #: Processor time by process.
    cpu_s: dict[str, float]
    memory: list["Memory"] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The memory of a worker after some images of a job, in bytes."""

    images: int
    now: int
    #: The most since the last look.
    peak: int
    #: That of its child processes, which decode.
    decoders: int

    def __str__(self) -> str:
        now, peak, decoders = (value >> 20 for value in (self.now, self.peak, self.decoders))
        return f"{self.images:,} images: worker {now:,} MiB, since the last line up to {peak:,}; decoders {decoders:,}"


def main() -> None:
    """Measure in turns, and print each round and the medians."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.pipeline", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="photos; the free ones of scikit-image without it")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3, help="0: only the job, once")
    parser.add_argument("--side", type=int, default=512, help="longest side of the photos in pixels")
    parser.add_argument("--mixed", action="store_true", help="photos of many sizes")
    parser.add_argument("--style", default="udnie")
    args = parser.parse_args()
    print(describe())
    print(f"{args.images:,} JPEG files of {args.side} px{', mixed sizes' * args.mixed}, style {args.style}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        photos = Path(scratch, "photos")
        write_photos(args.folder, photos, count=args.images, side_px=args.side, mixed=args.mixed)
        with Stack(Path(scratch, "home"), workers=1) as stack, stack.client() as client:
            measure(stack, client, photos, style=args.style, rounds=args.rounds)


def write_photos(source: Path | None, folder: Path, *, count: int, side_px: int, mixed: bool) -> None:
    """Write JPEG files, each of other bytes than the others."""
    folder.mkdir()
    found = list(_read(source))
    for number in range(count):
        picture = found[number % len(found)]
        # Steps of the golden ratio: any number of them is spread evenly.
        spread = 2.0 ** (2 * (number * 0.618034 % 1) - 1) if mixed else 1.0
        scale = spread * side_px / max(picture.size)
        scaled = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
        scaled.putpixel((0, 0), (number % 256, number // 256 % 256, number // 65_536 % 256))
        (folder / f"{number:06d}.jpg").write_bytes(encoded(scaled, "JPEG"))


def measure(stack: Stack, client: Client, photos: Path, *, style: str, rounds: int) -> None:
    """Run the bare loop and jobs in turns; print what they took."""
    place, names = client.create_upload(), sorted(path.name for path in photos.iterdir())
    count = len(names)
    blobs = BlobStore(stack.addresses.storage)
    for name in names:
        blobs.put(BlobUri.parse(place.prefix + name), (photos / name).read_bytes())
    everything = JobInput(prefix=place.prefix)
    # A worker that has just started loads the network first.
    run_job(stack, client, JobInput(uris=tuple(place.prefix + name for name in names[:WARM_UP])), style)
    pairs = []
    for number in range(1, rounds + 1):
        bare, whole = run_bare(stack, photos, style), run_job(stack, client, everything, style)
        pairs.append((bare, whole))
        print(
            f"round {number}: bare loop {count / bare.seconds:.2f} images/s ({bare.engine}), "
            f"job {count / whole.seconds:.2f} images/s, ratio {bare.seconds / whole.seconds:.3f}",
            flush=True,
        )
        print_memory(whole)
    if not pairs:
        whole = run_job(stack, client, everything, style)
        print(f"job {count / whole.seconds:.2f} images/s")
        print_memory(whole)
        return
    print(f"median ratio {statistics.median(bare.seconds / whole.seconds for bare, whole in pairs):.3f}")
    without = run_job(stack, client, everything, style, strength=0.0)
    client_s = storage_client_s(stack, photos)
    bares, wholes = zip(*pairs, strict=True)
    rows = {
        "bare loop: network": statistics.median(bare.network_cpu_s for bare in bares),
        "bare loop: decode and encode": statistics.median(bare.codecs_cpu_s for bare in bares),
        "worker beside the network, decode and encode included": without.cpu_s["worker"],
        "of that, storage client": client_s,
    }
    rows |= {name: statistics.median(job.cpu_s[name] for job in wholes) for name in PROCESSES if name != "worker"}
    rows["scheduler, Redis and storage client"] = rows["scheduler"] + rows["Redis"] + client_s
    print("processor time per image:")
    for name, seconds in rows.items():
        print(f"{1000 * seconds / count:8.1f} ms  {name}")
    print(f"without the network the job runs at {count / without.seconds:.0f} images/s")


def run_bare(stack: Stack, photos: Path, style: str) -> Bare:
    """Run the bare loop in a process of its own, while the stack is idle."""
    env = os.environ | {
        "NST_THREADS": str(os.cpu_count()),
        "NST_CACHE_DIR": str(stack.home.cache),
        "NST_MESSAGE_SECRET": stack.addresses.broker.message_secret.get_secret_value(),
    }
    command = [sys.executable, "-m", "tests.benchmarks.bare", str(photos), style]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return Bare(**json.loads(done.stdout))


def run_job(stack: Stack, client: Client, photos: JobInput, style: str, *, strength: float = 1.0) -> Whole:
    """Run a job to its end."""
    pids = {name: stack.children[process].pid for name, process in PROCESSES.items()}
    memory: list[Memory] = []

    def look(job: Job) -> None:
        if job.counts.succeeded >= SPAN * (len(memory) + 1):
            worker = pids["worker"]
            decoders = sum(map(resident_bytes, children(worker)))
            now, peak = resident_bytes(worker), peak_bytes(worker)
            memory.append(Memory(images=job.counts.succeeded, now=now, peak=peak, decoders=decoders))

    before = {name: cpu_s(pid) for name, pid in pids.items()}
    job = client.submit(JobRequest(input=photos, styles=(style,), strength=strength))
    job = client.wait(job.id, on_poll=look, poll_s=LOOK_S)
    spent = {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
    if job.counts.succeeded != job.counts.total or job.finished_at is None:
        raise SystemExit(f"The job ended as {job.status}: {job.counts}.")
    return Whole(seconds=(job.finished_at - job.created_at).total_seconds(), cpu_s=spent, memory=memory)


def storage_client_s(stack: Stack, photos: Path) -> float:
    """Return the processor time of reading and writing each photo once, in this thread."""
    blobs, data = BlobStore(stack.addresses.storage), [path.read_bytes() for path in photos.iterdir()]
    uris = [BlobUri(blobs.bucket, f"client/{number:06d}.jpg") for number in range(len(data))]
    blobs.exists(uris[0])  # the client connects, and loads what it needs
    started = time.thread_time()
    for uri, each in zip(uris, data, strict=True):
        blobs.put_if(uri, each, tag=None, content_type="image/jpeg")
        blobs.get(uri)
    return time.thread_time() - started


def print_memory(job: Whole) -> None:
    """Print the worker's memory after each thousand images."""
    for memory in job.memory:
        print(memory, flush=True)


def _read(source: Path | None) -> Iterator[Image.Image]:
    if source is None:
        yield from (picture for _, picture in pictures())
        return
    for path in sorted(source.rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
            with Image.open(path) as image:
                yield image.convert("RGB")


if __name__ == "__main__":
    main()
