"""`python -m tests.benchmarks.bare FOLDER STYLE`: the bare loop from a photo's file to the result's, one by one.

Decodes, stylizes and encodes the photos of a folder as JPEG in one thread, with the engine and the threads of a worker
with the same `NST_*` variables, but without storage, queue and child processes. Prints a `Bare` as JSON.
"""

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from nst_core.system.files import usable_cache_folder
from nst_core.system.memory import bound_kernels, keep_freed_memory

#: Photos before the measurement.
WARM_UP = 3


@dataclass(frozen=True, kw_only=True)
class Bare:
    """What the photos took, after a few that are not measured."""

    seconds: float
    #: Processor time of the network, and of decoding and encoding, for all photos.
    network_cpu_s: float
    codecs_cpu_s: float
    engine: str


def main(folder: Path, style: str) -> None:
    """Measure and print."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as a worker does, before torch is imported
    bound_kernels()
    import torch

    from nst_core.images import Picture, decode, encode
    from nst_core.inference.engines import load_stylizer
    from nst_core.inference.selection import choose
    from tests.shipped import shipped_style
    from worker.settings import WorkerSettings

    keep_freed_memory()
    settings = WorkerSettings()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    kept = usable_cache_folder(settings.cache_dir)
    choice = choose("cpu", engine=settings.engine, precision=settings.precision, folder=kept)
    stylize = load_stylizer(shipped_style(style).weights(), choice=choice)
    paths = sorted(folder.iterdir())
    for path in paths[:WARM_UP]:
        stylize(decode(path.read_bytes()).rgb[None])
    network = 0.0
    started, cpu = time.perf_counter(), time.process_time()
    for path in paths:
        photo = decode(path.read_bytes()).rgb[None]
        before = time.process_time()
        result = stylize(photo)[0]
        network += time.process_time() - before
        encode(Picture(rgb=result), "jpg")
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(
        json.dumps(asdict(Bare(seconds=seconds, network_cpu_s=network, codecs_cpu_s=cpu - network, engine=str(choice))))
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
