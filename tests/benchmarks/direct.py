"""`python -m tests.benchmarks.direct STYLE PREFIX < ADDRESSES`: a worker's pipeline without scheduler and queue.

Reads s3:// addresses of photos, a line each, stylizes them as one chunk, puts the images below the prefix, and prints
the seconds that this took, after a first image that is not measured. Configured as a worker is, by `NST_*` variables.
"""

import os
import sys
import time

from nst_core.protocol.chunks import ChunkItem, StyleRef, StylizeChunk, StylizeOptions
from tests.shipped import shipped_style
from worker.settings import WorkerSettings


def main(style: str, prefix: str) -> None:
    """Measure and print one number."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as a worker does, before torch is imported
    import torch

    from nst_core.inference.engines import load_stylizer
    from nst_core.storage.blobs import BlobStore
    from nst_core.system.memory import keep_freed_memory
    from worker.methods.stylize.pipeline import Pipeline
    from worker.runtime.engine import Engine

    keep_freed_memory()
    settings = WorkerSettings()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    addresses = sys.stdin.read().split()
    items = tuple(
        ChunkItem(index=number, input=address, output=f"{prefix}{number:06d}.jpg")
        for number, address in enumerate(addresses)
    )

    stylizer, engine = load_stylizer(shipped_style(style).weights()), Engine()
    pipeline = Pipeline(settings, blobs=BlobStore(settings), engine=engine)

    def run(some: tuple[ChunkItem, ...]) -> float:
        started = time.perf_counter()
        reference = StyleRef(name=style, version="0" * 64)
        chunk = StylizeChunk(
            job_id="direct",
            chunk_id=1,
            attempt=1,
            items=some,
            style=reference,
            options=StylizeOptions(),
        )
        outcomes = list(pipeline.run(chunk, stylizer, going=lambda: True))
        assert len(outcomes) == len(some)
        assert all(outcome.succeeded for outcome in outcomes)
        return time.perf_counter() - started

    run(items[:1])
    print(run(items))
    pipeline.close()
    engine.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
