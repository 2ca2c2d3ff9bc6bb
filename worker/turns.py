"""Which queues the worker takes its next message from."""

from collections import Counter
from collections.abc import Mapping

from celery.worker import state
from kombu.utils.scheduling import round_robin_cycle

from nst_core.protocol import Method


class QueueTurns(round_robin_cycle):
    """Queues take turns, and one whose tasks hold all their slots is passed over.

    Each method has slots of its own: optimisations, which take minutes, cannot hold the threads that stylize chunks
    of some seconds need, and a worker with a free slot never waits. kombu asks `consume` for the queues before each
    poll of Redis, and tells `rotate` which of them gave a message.
    """

    def __init__(self, slots: Mapping[Method, int]) -> None:
        """Take up to so many messages of each method at a time."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._slots = {method.queue: (method.task, count) for method, count in slots.items()}

    def consume(self, n: int) -> list[str]:
        """Return the queues of which a message may be taken now, the one that gave the last message at the end."""
        # Celery's own record, so that no message is forgotten however it ends. Copied first: tasks end on other
        # threads meanwhile.
        reserved = Counter(request.name for request in list(state.requests.values()))
        return [queue for queue in self.items[:n] if self._is_free(queue, reserved)]

    def _is_free(self, queue: str, reserved: Mapping[str, int]) -> bool:
        task, count = self._slots[queue]
        return reserved[task] < count
