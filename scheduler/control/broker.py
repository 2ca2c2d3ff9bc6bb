"""The scheduler's side of Redis: sends work, reads events, and leaves hints for workers.

Anything in Redis may vanish at any time. The truth about a job is in the database alone.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from nst_core.protocol.chunks import ChunkMessage, dump_chunk
from nst_core.protocol.events import EVENTS_STREAM
from nst_core.protocol.segments import TRAIN_TASK, TrainSegment, dump_segment
from nst_core.queue.connection import (
    AHEAD,
    BEHIND,
    EVENT_PURPOSE,
    KEY_PREFIX,
    MARK_KEY,
    QueueConnection,
    attempt_key,
    cancelled_key,
    claim_key,
    queue_lists,
    stopped_key,
)

#: Hints live longer than any chunk, and expire.
_HINT_TTL_S = 24 * 3600
#: The mark of the installation is renewed every second.
_MARK_TTL_S = 60
#: Header of a message: the id of its chunk or run, and the number of the attempt.
_ATTEMPT = "nst_attempt"


@dataclass(frozen=True)
class StoredEvent:
    """An event's bytes, and its id in the stream."""

    id: str
    data: bytes
    #: Whether its signature is valid. Events without a valid signature must be ignored.
    is_genuine: bool = True


class Broker(QueueConnection):
    """Redis as the scheduler uses it. Raises BrokerUnavailableError if it does not answer."""

    def send_chunk(self, chunk: ChunkMessage, *, ahead: bool = False) -> None:
        """Queue a chunk, and note its attempt, so that workers recognize outdated messages.

        Workers take chunks that are sent `ahead` before all others.
        """
        with self._translated():
            self._note(chunk.chunk_id, chunk.attempt)
            self.celery.send_task(
                chunk.queue,
                args=[self._signer.seal(chunk.queue, dump_chunk(chunk))],
                # Tells messages apart without parsing their items.
                headers={_ATTEMPT: [chunk.chunk_id, chunk.attempt]},
                queue=chunk.queue,
                priority=AHEAD if ahead else BEHIND,
                retry=False,
            )

    def send_segment(self, segment: TrainSegment) -> None:
        """Queue a segment of a training, and note its attempt, so that workers recognize outdated messages."""
        with self._translated():
            self._note(segment.run_id, segment.attempt)
            self.celery.send_task(
                TRAIN_TASK,
                args=[self._signer.seal(TRAIN_TASK, dump_segment(segment))],
                headers={_ATTEMPT: [segment.run_id, segment.attempt]},
                queue=TRAIN_TASK,
                retry=False,
            )

    def _note(self, id: int | str, attempt: int) -> None:
        self._redis.set(attempt_key(id), attempt, ex=_HINT_TTL_S)
        # A database that was restored gives numbers again that workers may have begun.
        self._redis.delete(claim_key(id, attempt))

    def withdraw_chunks(self, queue: str, attempts: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
        """Remove the messages of attempts (pairs of chunk id and attempt number) from a queue.

        Return the attempts that no worker ever had. For the others, a worker has or had the message, or it is lost.
        """
        untouched = set[tuple[int, int]]()
        with self._translated():
            for key, message, attempt in self._messages(queue) if attempts else ():
                # A worker may take the message at the same time. Whoever removes it from the list has it.
                if attempt in attempts and self._redis.lrem(key, 1, message) and not _was_taken(message):
                    untouched.add(attempt)
        return untouched

    def queued_chunks(self, queue: str) -> set[tuple[int, int]]:
        """Return the attempts (pairs of chunk id and attempt number) whose messages wait in a queue."""
        with self._translated():
            return {attempt for _, _, attempt in self._messages(queue)}

    def queued_segments(self) -> set[tuple[str, int]]:
        """Return the attempts (pairs of run id and attempt number) whose messages wait in the queue of trainings."""
        with self._translated():
            return {attempt for _, _, attempt in self._messages(TRAIN_TASK)}

    def _messages(self, queue: str) -> Iterator[tuple[str, Any, tuple[Any, int]]]:
        """Yield each message in a queue, with its list and its attempt.

        Queues are short: the dispatcher's window limits them.
        """
        for key in queue_lists(queue):
            messages: Any = self._redis.lrange(key, 0, -1)
            for message in messages:
                attempt = _attempt_of(message)
                if attempt is not None:
                    yield key, message, attempt

    def outdate_chunk(self, id: int, attempt: int) -> None:
        """Tell workers that still work on an attempt of a chunk that has ended to stop."""
        with self._translated():
            self._redis.set(attempt_key(id), attempt + 1, ex=_HINT_TTL_S)

    def stop_segment(self, run_id: str, attempt: int) -> None:
        """Tell the worker of this attempt to save a checkpoint and stop."""
        with self._translated():
            self._redis.set(stopped_key(run_id), attempt, ex=_HINT_TTL_S)

    def cancel_job(self, job_id: str) -> None:
        """Tell workers not to begin any more images of a job."""
        with self._translated():
            self._redis.set(cancelled_key(job_id), 1, ex=_HINT_TTL_S)

    def revive_job(self, job_id: str) -> None:
        """Let workers begin images of a job that was cancelled before."""
        with self._translated():
            self._redis.delete(cancelled_key(job_id))

    def hold(self, role: str, holder: str, *, seconds: float) -> bool:
        """Take or keep a role for some seconds; return False if another holder has it.

        This is not a lock: after FLUSHALL, or if a holder is slow, two may have the role. Also marks the database as
        the one of this installation, for `nst doctor`.
        """
        key, ms = f"{KEY_PREFIX}holder:{role}", round(seconds * 1000)
        with self._translated():
            self._redis.set(MARK_KEY, self._mark, ex=_MARK_TTL_S)
            if self._redis.set(key, holder, nx=True, px=ms):
                return True
            return self._redis.get(key) == holder.encode() and bool(self._redis.pexpire(key, ms))

    def let_go(self, role: str, holder: str) -> None:
        """Give up a role, if the holder still has it."""
        key = f"{KEY_PREFIX}holder:{role}"
        with self._translated():
            if self._redis.get(key) == holder.encode():
                self._redis.delete(key)

    def read_events(self, *, limit: int = 200, block_ms: int = 500) -> list[StoredEvent]:
        """Return the oldest events in the stream, waiting up to `block_ms` for one."""
        with self._translated():
            answer: Any = self._redis.xread({EVENTS_STREAM: "0"}, count=limit, block=block_ms)
        return [self._stored(entry_id, fields) for _, entries in answer or () for entry_id, fields in entries]

    def _stored(self, entry_id: bytes, fields: dict[bytes, bytes]) -> StoredEvent:
        data, signature = fields.get(b"event", b""), fields.get(b"signature", b"").decode(errors="replace")
        return StoredEvent(entry_id.decode(), data, is_genuine=self._signer.is_signed(EVENT_PURPOSE, data, signature))

    def unread_events(self) -> tuple[int, float]:
        """Return the number of events in the stream, and how many seconds ago the oldest of them was sent."""
        with self._translated():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.xlen(EVENTS_STREAM)
            pipeline.xrange(EVENTS_STREAM, count=1)
            pipeline.time()
            length, oldest, (seconds, microseconds) = pipeline.execute()
        if not oldest:
            return length, 0.0
        # An id begins with the time of Redis in milliseconds.
        sent_ms = int(oldest[0][0].partition(b"-")[0])
        return length, max(0.0, seconds + microseconds / 1e6 - sent_ms / 1000)

    def drop_events(self, events: list[StoredEvent]) -> None:
        """Remove events from the stream whose effect is in the database."""
        with self._translated():
            self._redis.xdel(EVENTS_STREAM, *(event.id for event in events))


def _attempt_of(message: bytes) -> tuple[int | str, int] | None:
    """Return the id and the attempt number in a message's header; None if nst did not send the message."""
    try:
        id, attempt = json.loads(message)["headers"][_ATTEMPT]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (id, attempt) if isinstance(id, int | str) and isinstance(attempt, int) else None


def _was_taken(message: bytes) -> bool:
    """Return whether a worker took a message and did not acknowledge it. Kombu marks such messages."""
    return bool(json.loads(message)["headers"].get("redelivered"))
