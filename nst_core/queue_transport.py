"""Celery's way to Redis, made robust against messages that are none."""

import logging
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis

_log = logging.getLogger(__name__)


class Channel(kombu_redis.Channel):
    """A channel that drops what is no message. Kombu's own lets its error end the worker."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            # It is no longer in the queue, so it does no harm a second time.
            _log.error("dropped a message that nst did not send: %r", error)
            return True


class Transport(kombu_redis.Transport):
    """Kombu's transport with this module's channel."""

    Channel = Channel


def register() -> None:
    """Let kombu use this transport for redis:// and rediss:// in this process."""
    name = f"{__name__}:{Transport.__name__}"
    TRANSPORT_ALIASES.update(redis=name, rediss=name)
