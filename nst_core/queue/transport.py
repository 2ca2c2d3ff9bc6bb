"""Celery's way to Redis, made robust against messages that are none, and against a Redis that refuses commands."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from redis.exceptions import ResponseError

_log = logging.getLogger(__name__)


class Channel(kombu_redis.Channel):
    """A channel that drops what is no message, whose error would end the worker, and connections that are of no use."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            # It is no longer in the queue, so it does no harm a second time.
            _log.error("dropped a message that nst did not send: %r", error)
            return True

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """Give a client, and connect anew after an error: a server that became a replica keeps its connections."""
        try:
            with super().conn_or_acquire(client) as given:
                yield given
        except ResponseError:
            self.pool.disconnect(inuse_connections=False)
            raise


class Transport(kombu_redis.Transport):
    """Kombu's transport with this module's channel. Whatever Redis answers, the worker connects again.

    During a failover Redis answers READONLY, LOADING, MASTERDOWN, NOREPLICAS or CLUSTERDOWN, with a full disk or memory
    MISCONF or OOM, during a long script BUSY, and it ends waiting commands by UNBLOCKED. All of these pass, and the
    address may lead to another server by then.
    """

    Channel = Channel
    connection_errors = (*kombu_redis.Transport.connection_errors, ResponseError)


def register() -> None:
    """Let kombu use this transport for redis:// and rediss:// in this process."""
    name = f"{__name__}:{Transport.__name__}"
    TRANSPORT_ALIASES.update(redis=name, rediss=name)
