"""The queues from which the worker takes its next message."""

from collections import Counter
from collections.abc import Callable, Mapping

from celery.worker import state
from kombu.utils.scheduling import round_robin_cycle


class QueueTurns(round_robin_cycle):
    """Queues take turns, and a queue whose tasks hold all its slots is skipped.

    Each kind of work has its own slots: optimisations and trainings, which take minutes, cannot occupy the threads for
    chunks that take seconds, and a worker with a free slot never waits. kombu calls `consume` for the queues before
    each poll of Redis, and `rotate` with the queue that gave a message.
    """

    def __init__(self, slots: Mapping[str, int], beat: Callable[[], object] = lambda: None) -> None:
        """Take up to `slots` messages of each queue, whose task has the same name. Each poll calls `beat`."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._slots = dict(slots)
        self._beat = beat

    def consume(self, n: int) -> list[str]:
        """Return the queues from which a message may be taken now; the queue of the last message comes last."""
        self._beat()
        # Celery's own record, so that every message counts until it ends. Copied first, because tasks end on other
        # threads meanwhile.
        reserved = Counter(request.name for request in list(state.requests.values()))
        return [queue for queue in self.items[:n] if reserved[queue] < self._slots[queue]]
