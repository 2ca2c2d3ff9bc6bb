"""Which queues the worker takes its next message from."""

from collections import Counter
from collections.abc import Callable, Mapping

from celery.worker import state
from kombu.utils.scheduling import round_robin_cycle


class QueueTurns(round_robin_cycle):
    """Queues take turns, and one whose tasks hold all their slots is passed over.

    Each kind of work has slots of its own: optimisations and trainings, which take minutes, cannot hold the threads
    that stylize chunks of some seconds need, and a worker with a free slot never waits. kombu asks `consume` for the
    queues before each poll of Redis, and tells `rotate` which of them gave a message.
    """

    def __init__(self, slots: Mapping[str, int], beat: Callable[[], object] = lambda: None) -> None:
        """Take up to so many messages of each queue at a time; its task has the queue's name. Each poll is a `beat`."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._slots = dict(slots)
        self._beat = beat

    def consume(self, n: int) -> list[str]:
        """Return the queues of which a message may be taken now, the one that gave the last message at the end."""
        self._beat()
        # Celery's own record, so that no message is forgotten however it ends. Copied first: tasks end on other
        # threads meanwhile.
        reserved = Counter(request.name for request in list(state.requests.values()))
        return [queue for queue in self.items[:n] if reserved[queue] < self._slots[queue]]
