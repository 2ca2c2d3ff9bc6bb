"""A broker for tests, which play scheduler and worker at once."""

from nst_core.queue.connection import queue_lists
from scheduler.control import broker
from worker.runtime.broker import WorkerBroker


class Broker(broker.Broker, WorkerBroker):
    """Both sides of Redis in one object."""

    def queued(self, queue: str) -> int:
        """Return how many messages wait in a queue, without those that a worker has reserved."""
        return sum(int(self._redis.llen(key)) for key in queue_lists(queue))
