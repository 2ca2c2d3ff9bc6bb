"""A broker for tests that play both scheduler and worker."""

from queue import Empty
from typing import Any

from nst_core.queue.connection import queue_lists
from scheduler.control import broker
from worker.runtime.broker import WorkerBroker


class Broker(broker.Broker, WorkerBroker):
    """Both sides of Redis in one object."""

    def queued(self, queue: str) -> int:
        """Return how many messages wait in a queue, without those that a worker has reserved."""
        return sum(int(self._redis.llen(key)) for key in queue_lists(queue))

    def take(self, queue: str) -> Any:
        """Take the next message from a queue as a worker does. Return its values, or None if the queue is empty."""
        with self.celery.connection() as connection:
            simple = connection.SimpleQueue(queue)
            try:
                message = simple.get(block=False)
            except Empty:
                return None
            finally:
                simple.close()
            message.ack()
            return self.open(queue, message.payload[0][0])
