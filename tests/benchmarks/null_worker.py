"""`python -m tests.benchmarks.null_worker`: a worker that takes every chunk and reports its images as done.

It stores nothing, so that a job costs only what scheduler and queue cost. It reports that each image took
`NST_NULL_ITEM_MS`, for chunks to have the size that they have with real networks.
"""

import os
from hashlib import sha256
from threading import Event
from typing import Any

from nst_core.protocol.chunks import StylizeChunk, load_chunk
from nst_core.protocol.events import ChunkFinished, ChunkStarted, ItemOutcome
from nst_core.settings import BrokerSettings
from tests.brokers import Broker
from worker.runtime.consumer import Consumer, serve, worker_name
from worker.runtime.pulse import Pulse

CONCURRENCY = 2
ITEM_MS = int(os.environ.get("NST_NULL_ITEM_MS", "250"))


def main() -> None:
    """Work until SIGTERM."""
    broker, name = Broker(BrokerSettings()), worker_name()

    def stylize(message: Any) -> None:
        chunk = load_chunk(StylizeChunk, message)
        broker.publish(ChunkStarted(chunk_id=chunk.chunk_id, attempt=chunk.attempt, worker=name))
        outcomes = tuple(
            ItemOutcome(
                index=item.index,
                ms=ITEM_MS,
                sha256=sha256(item.output.encode()).hexdigest(),
                bytes=1,
                width=1,
                height=1,
            )
            for item in chunk.items
        )
        broker.publish(ChunkFinished(chunk_id=chunk.chunk_id, attempt=chunk.attempt, outcomes=outcomes))

    queue = StylizeChunk.queue
    pulse = Pulse(broker.ping, stop=Event())
    serve(broker, {queue: Consumer(task=stylize, slots=CONCURRENCY)}, name=name, pulse=pulse)
    broker.close()


if __name__ == "__main__":
    main()
