"""Redis, as scheduler and workers use it: the Celery app, the event stream, and hints about chunks and jobs.

Everything in Redis may vanish at any moment; nothing here is the truth about a job.
"""

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from celery import Celery
from kombu.exceptions import OperationalError
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from nst_core.errors import BrokerUnavailableError, ConfigError
from nst_core.protocol.chunks import ChunkMessage, dump_chunk
from nst_core.protocol.events import EVENTS_STREAM, Event, dump_event
from nst_core.protocol.segments import TRAIN_TASK, TrainSegment, dump_segment
from nst_core.protocol.signing import Signer
from nst_core.queue import transport as queue_transport
from nst_core.settings import BrokerSettings

#: Prefix of every key that Celery writes, so that the queue's own keys have names of ours.
KEY_PREFIX = "nst:"
#: Hints outlive any chunk, and go away by themselves.
HINT_TTL_S = 24 * 3600
#: Priorities of messages; kombu keeps a list of each, and 0 goes first.
_AHEAD, _BEHIND = 0, 9
#: Header of a message: the id of its chunk or run, and the number of the attempt.
_ATTEMPT = "nst_attempt"
#: What events are signed for; messages are signed for their queue.
_EVENT = "nst.event"


def make_celery(settings: BrokerSettings) -> Celery:
    """Return the Celery app with explicit names, JSON only, late acknowledgement and no result backend."""
    queue_transport.register()
    app = Celery("nst", broker=settings.redis_url.get_secret_value(), set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        result_backend=None,
        task_acks_late=True,
        # Every message names its queue, and every worker the queues it takes messages from.
        task_create_missing_queues=True,
        # A worker reserves only what it works on: a message held back by a killed worker would wait for its lease.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        # Remote control and events are fire-and-forget broadcasts; our own events say all there is to say.
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "global_keyprefix": KEY_PREFIX,
            "priority_steps": [_AHEAD, _BEHIND],
            "visibility_timeout": 3600,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,
        },
    )
    return app


def make_redis(settings: BrokerSettings, *, timeout_s: float = 10.0, retries: int = 3) -> redis.Redis:
    """Return a Redis client each of whose tries takes `timeout_s` at most; after so many `retries` it gives up."""
    return redis.Redis.from_url(
        settings.redis_url.get_secret_value(),
        retry=Retry(ExponentialWithJitterBackoff(base=1, cap=10), retries),
        socket_timeout=timeout_s,
        socket_connect_timeout=min(5.0, timeout_s),
        socket_keepalive=True,
        health_check_interval=25,
    )


@dataclass(frozen=True)
class StoredEvent:
    """An event's raw bytes and its place in the stream."""

    id: str
    data: bytes
    #: It has a valid signature; what one without says is to be ignored.
    is_genuine: bool = True


class Broker:
    """The scheduler's and the workers' one way to Redis; raises BrokerUnavailableError where it does not answer."""

    def __init__(self, settings: BrokerSettings, *, patient: bool = True) -> None:
        """Open no connection yet. One that is not `patient` says within seconds that Redis does not answer."""
        self.celery = make_celery(settings)
        self._signer = Signer(settings.message_secret.get_secret_value())
        self._redis = make_redis(settings) if patient else make_redis(settings, timeout_s=2.0, retries=0)

    def ping(self) -> None:
        """Raise BrokerUnavailableError unless Redis answers."""
        with self._translated():
            self._redis.ping()

    def check_access(self) -> None:
        """Raise ConfigError if Redis refuses the user or the password; a Redis that does not answer is no such case."""
        try:
            self._redis.ping()
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError):
            raise ConfigError("Redis refuses the user or the password of NST_REDIS_URL.") from None
        except (redis.RedisError, OSError):
            pass  # it may come up later

    def send_chunk(self, chunk: ChunkMessage, *, ahead: bool = False) -> None:
        """Queue a chunk, and leave its attempt number where workers find outdated messages by it.

        One that is sent `ahead` is taken before all that are not.
        """
        with self._translated():
            self._redis.set(f"{KEY_PREFIX}attempt:{chunk.chunk_id}", chunk.attempt, ex=HINT_TTL_S)
            self.celery.send_task(
                chunk.queue,
                args=[self._signer.seal(chunk.queue, dump_chunk(chunk))],
                # To tell messages apart without a look at all their items.
                headers={_ATTEMPT: [chunk.chunk_id, chunk.attempt]},
                queue=chunk.queue,
                priority=_AHEAD if ahead else _BEHIND,
                retry=False,
            )

    def send_segment(self, segment: TrainSegment) -> None:
        """Queue a segment of a training, and leave its attempt number where workers find outdated messages by it."""
        with self._translated():
            self._redis.set(f"{KEY_PREFIX}attempt:{segment.run_id}", segment.attempt, ex=HINT_TTL_S)
            self.celery.send_task(
                TRAIN_TASK,
                args=[self._signer.seal(TRAIN_TASK, dump_segment(segment))],
                headers={_ATTEMPT: [segment.run_id, segment.attempt]},
                queue=TRAIN_TASK,
                retry=False,
            )

    def open(self, queue: str, message: Any) -> Any:
        """Return the values in a message that was taken from a queue.

        Raises ProtocolError if no process with the same NST_MESSAGE_SECRET has sent it to this queue.
        """
        return self._signer.open(queue, message)

    def withdraw_chunks(self, queue: str, attempts: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
        """Take the messages of attempts, each a chunk's id and a number, out of a queue.

        Returns those that no worker has ever had. Of the others a worker has the message, or had it, or it is lost.
        """
        untouched = set[tuple[int, int]]()
        with self._translated():
            for key, message, attempt in self._messages(queue) if attempts else ():
                # A worker may take it in between: only who removes it from the list has it.
                if attempt in attempts and self._redis.lrem(key, 1, message) and not _was_taken(message):
                    untouched.add(attempt)
        return untouched

    def queued_chunks(self, queue: str) -> set[tuple[int, int]]:
        """Return the attempts, each a chunk's id and a number, whose messages wait in a queue."""
        with self._translated():
            return {attempt for _, _, attempt in self._messages(queue)}

    def queued_segments(self) -> set[tuple[str, int]]:
        """Return the attempts, each a run's id and a number, whose messages wait in the queue of trainings."""
        with self._translated():
            return {attempt for _, _, attempt in self._messages(TRAIN_TASK)}

    def _messages(self, queue: str) -> Iterator[tuple[str, Any, tuple[Any, int]]]:
        """Yield all messages in a queue with their list and their attempt.

        The queue is short: no longer than the window of what is dispatched.
        """
        for key in queue_lists(queue):
            messages: Any = self._redis.lrange(key, 0, -1)
            for message in messages:
                attempt = _attempt_of(message)
                if attempt is not None:
                    yield key, message, attempt

    def queued(self, queue: str) -> int:
        """Return how many messages wait in a queue, not counting those that a worker has reserved."""
        with self._translated():
            return sum(int(self._redis.llen(key)) for key in queue_lists(queue))

    def is_outdated(self, id: int | str, attempt: int) -> bool:
        """Return whether a newer attempt at a chunk or at a run's segment is known to exist."""
        with self._translated():
            newest = _number(self._redis.get(f"{KEY_PREFIX}attempt:{id}"))
        return newest is not None and newest > attempt

    def outdate_chunk(self, id: int, attempt: int) -> None:
        """Tell whoever still has an attempt at a chunk that has ended to leave it."""
        with self._translated():
            self._redis.set(f"{KEY_PREFIX}attempt:{id}", attempt + 1, ex=HINT_TTL_S)

    def stop_segment(self, run_id: str, attempt: int) -> None:
        """Tell the worker that has this attempt at a run's segment to save what it has and to end."""
        with self._translated():
            self._redis.set(f"{KEY_PREFIX}stopped:{run_id}", attempt, ex=HINT_TTL_S)

    def is_stopped(self, run_id: str, attempt: int) -> bool:
        """Return whether `stop_segment` was called for this attempt, or a later one."""
        with self._translated():
            newest = _number(self._redis.get(f"{KEY_PREFIX}stopped:{run_id}"))
        return newest is not None and newest >= attempt

    def cancel_job(self, job_id: str) -> None:
        """Tell workers to begin no further image of a job."""
        with self._translated():
            self._redis.set(f"{KEY_PREFIX}cancelled:{job_id}", 1, ex=HINT_TTL_S)

    def revive_job(self, job_id: str) -> None:
        """Let workers begin images of a job again that was cancelled."""
        with self._translated():
            self._redis.delete(f"{KEY_PREFIX}cancelled:{job_id}")

    def is_cancelled(self, job_id: str) -> bool:
        """Return whether `cancel_job` was called for a job."""
        with self._translated():
            return bool(self._redis.exists(f"{KEY_PREFIX}cancelled:{job_id}"))

    def hold(self, role: str, holder: str, *, seconds: float) -> bool:
        """Take or keep a role of which there should be one holder at a time, for so long; return whether it is held.

        A convenience, and no lock: who was slow, or FLUSHALL, may make it two.
        """
        key, ms = f"{KEY_PREFIX}holder:{role}", round(seconds * 1000)
        with self._translated():
            if self._redis.set(key, holder, nx=True, px=ms):
                return True
            return self._redis.get(key) == holder.encode() and bool(self._redis.pexpire(key, ms))

    def let_go(self, role: str, holder: str) -> None:
        """Leave a role to others, where it is still held."""
        key = f"{KEY_PREFIX}holder:{role}"
        with self._translated():
            if self._redis.get(key) == holder.encode():
                self._redis.delete(key)

    def publish(self, event: Event) -> None:
        """Add an event to the stream."""
        self._add_event(dump_event(event))

    def _add_event(self, data: bytes) -> None:
        with self._translated():
            self._redis.xadd(EVENTS_STREAM, {"event": data, "signature": self._signer.sign(_EVENT, data)})

    def read_events(self, *, limit: int = 200, block_ms: int = 500) -> list[StoredEvent]:
        """Return the oldest events that were not dropped yet, waiting up to `block_ms` for one."""
        with self._translated():
            answer: Any = self._redis.xread({EVENTS_STREAM: "0"}, count=limit, block=block_ms)
        return [self._stored(entry_id, fields) for _, entries in answer or () for entry_id, fields in entries]

    def _stored(self, entry_id: bytes, fields: dict[bytes, bytes]) -> StoredEvent:
        data, signature = fields.get(b"event", b""), fields.get(b"signature", b"").decode(errors="replace")
        return StoredEvent(entry_id.decode(), data, is_genuine=self._signer.is_signed(_EVENT, data, signature))

    def drop_events(self, events: list[StoredEvent]) -> None:
        """Remove events whose effect is in the database."""
        with self._translated():
            self._redis.xdel(EVENTS_STREAM, *(event.id for event in events))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, OperationalError, OSError) as error:
            if isinstance(error, redis.ResponseError):
                # A server that became a replica keeps its connections. The address may lead to its successor by now.
                self._redis.connection_pool.disconnect(inuse_connections=False)
            raise BrokerUnavailableError(f"Redis does not answer: {error}") from error

    def close(self) -> None:
        """Close all connections."""
        self.celery.close()
        self._redis.close()


def queue_lists(queue: str) -> tuple[str, ...]:
    """Return the keys of the lists in which kombu keeps a queue, one for each priority."""
    return tuple(KEY_PREFIX + queue + (f"\x06\x16{priority}" if priority else "") for priority in (_AHEAD, _BEHIND))


def _attempt_of(message: bytes) -> tuple[int | str, int] | None:
    """Return the id and the number in a message's header; None if it is none of ours, which the worker says."""
    try:
        id, attempt = json.loads(message)["headers"][_ATTEMPT]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (id, attempt) if isinstance(id, int | str) and isinstance(attempt, int) else None


def _number(value: Any) -> int | None:
    """Return a hint of a number; None if there is none, or what is there is no number."""
    try:
        return None if value is None else int(value)
    except ValueError:
        return None


def _was_taken(message: bytes) -> bool:
    """Return whether a worker had a message and did not acknowledge it: kombu puts it back with a mark."""
    return bool(json.loads(message)["headers"].get("redelivered"))
