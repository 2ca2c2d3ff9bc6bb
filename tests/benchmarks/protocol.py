"""`python -m tests.benchmarks.protocol`: microseconds per message between scheduler and workers.

The event is a ChunkProgress with one outcome. The chunk is a StylizeChunk of 16 photos. Each figure is the best of
five rounds.
"""

import timeit
from collections.abc import Callable

from nst_core.protocol.chunks import ChunkItem, StyleRef, StylizeChunk, StylizeOptions, dump_chunk, load_chunk
from nst_core.protocol.events import ChunkProgress, ItemOutcome, dump_event, load_event
from tests.benchmarks.machine import describe

ROUNDS = 5
EVENT = ChunkProgress(
    chunk_id=7,
    attempt=2,
    outcomes=(ItemOutcome(index=3, ms=120, sha256="0" * 64, bytes=31_000, width=512, height=384),),
)
CHUNK = StylizeChunk(
    job_id="job_0123456789ab0123456789ab",
    chunk_id=7,
    attempt=2,
    style=StyleRef(name="wave", version="ab" * 32, weights="s3://nst/styles/ab.safetensors"),
    options=StylizeOptions(),
    items=tuple(
        ChunkItem(index=index, input=f"s3://nst/in/{index:06d}.jpg", output=f"s3://nst/out/{index:06d}__wave.jpg")
        for index in range(16)
    ),
)


def measure(call: Callable[[], object]) -> float:
    """Return the microseconds of one call."""
    call()  # adapters are built at their first use
    timer = timeit.Timer(call)
    number, _ = timer.autorange()
    return min(timer.repeat(ROUNDS, number)) / number * 1e6


def main() -> None:
    """Print the figures."""
    event, chunk = dump_event(EVENT), dump_chunk(CHUNK)
    calls: dict[str, Callable[[], object]] = {
        "load_event": lambda: load_event(event),
        "dump_event": lambda: dump_event(EVENT),
        "load_chunk": lambda: load_chunk(StylizeChunk, chunk),
        "dump_chunk": lambda: dump_chunk(CHUNK),
    }
    print(describe())
    for name, call in calls.items():
        print(f"{name}: {measure(call):.1f} us")


if __name__ == "__main__":
    main()
