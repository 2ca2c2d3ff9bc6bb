"""What scheduler and workers share of Redis: the Celery app, the client, and the names of keys.

Anything in Redis may vanish at any time. The truth about a job is in the database alone.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import redis
from celery import Celery
from kombu.exceptions import OperationalError
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from nst_core.errors import BrokerUnavailableError, ConfigError
from nst_core.protocol.signing import Signer
from nst_core.queue import transport as queue_transport
from nst_core.settings import BrokerSettings

#: Prefix of every key. Celery uses it too, so that its keys cannot collide with those of other programs.
KEY_PREFIX = "nst:"
#: Priorities of messages. Kombu keeps a list for each, and workers empty the list of 0 first.
AHEAD, BEHIND = 0, 9
#: What events are signed for. Messages are signed for their queue.
EVENT_PURPOSE = "nst.event"
#: Key of the mark of an installation. A running scheduler renews it, so that others can tell which database is theirs.
MARK_KEY = f"{KEY_PREFIX}installation"


def mark_of(settings: BrokerSettings) -> str:
    """Return the mark of an installation, which is that of all processes with the same NST_MESSAGE_SECRET."""
    return Signer(settings.message_secret.get_secret_value()).sign(MARK_KEY, b"")


def attempt_key(id: int | str) -> str:
    """Return the key of the newest attempt at a chunk, or at a segment of a run."""
    return f"{KEY_PREFIX}attempt:{id}"


def claim_key(id: int | str, attempt: int) -> str:
    """Return the key of the worker that has begun an attempt at a chunk, or at a segment of a run."""
    return f"{KEY_PREFIX}begun:{id}:{attempt}"


def cancelled_key(job_id: str) -> str:
    """Return the key that exists while a job is cancelled."""
    return f"{KEY_PREFIX}cancelled:{job_id}"


def stopped_key(run_id: str) -> str:
    """Return the key of the newest attempt of a run that has to stop."""
    return f"{KEY_PREFIX}stopped:{run_id}"


def queue_lists(queue: str) -> tuple[str, ...]:
    """Return the keys of the lists in which kombu keeps a queue, one for each priority."""
    return tuple(KEY_PREFIX + queue + (f"\x06\x16{priority}" if priority else "") for priority in (AHEAD, BEHIND))


def make_celery(settings: BrokerSettings) -> Celery:
    """Return the Celery app: explicit names, JSON only, late acknowledgement, no result backend."""
    queue_transport.register()
    url = settings.redis_url.get_secret_value()
    app = Celery("nst", broker=url, set_as_current=False)
    app.conf.update(
        # Without this, kombu would trust every server that speaks TLS. What the address says itself comes first.
        broker_use_ssl={"ssl_cert_reqs": ssl.CERT_REQUIRED} if urlsplit(url).scheme == "rediss" else None,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        result_backend=None,
        task_acks_late=True,
        # Every message names its queue, and every worker the queues it takes messages from.
        task_create_missing_queues=True,
        # A worker reserves only what it works on. Otherwise, if it is killed, reserved messages wait for their leases.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        # Remote control and Celery's events are broadcasts that may get lost. Workers report by our own events.
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "global_keyprefix": KEY_PREFIX,
            "priority_steps": [AHEAD, BEHIND],
            "visibility_timeout": 3600,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,
        },
    )
    return app


def make_redis(settings: BrokerSettings, *, timeout_s: float = 10.0, retries: int = 3) -> redis.Redis:
    """Return a Redis client. Each try takes at most `timeout_s` seconds, and a command is tried 1 + `retries` times."""
    return redis.Redis.from_url(
        settings.redis_url.get_secret_value(),
        retry=Retry(ExponentialWithJitterBackoff(base=1, cap=10), retries),
        socket_timeout=timeout_s,
        socket_connect_timeout=min(5.0, timeout_s),
        socket_keepalive=True,
        health_check_interval=25,
    )


#: The parts of OpenSSL that read files of certificates. Handshakes belong to its part SSL.
_READERS = ("ASN1", "PEM", "X509")


def distrust(error: BaseException) -> str | None:
    """Return why the certificate of a Redis server could not be checked; None if an error is about something else."""
    cause: BaseException | None = error
    while cause is not None:
        # The only files that a connection reads are those of certificates. A handshake that breaks off is another
        # SSLError, and Redis may come up later.
        if isinstance(cause, ssl.SSLCertVerificationError | FileNotFoundError | PermissionError | IsADirectoryError):
            return str(cause)
        if isinstance(cause, ssl.SSLError) and cause.library in _READERS:
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    return None


class QueueConnection:
    """A connection to Redis. Its methods raise BrokerUnavailableError if Redis does not answer."""

    def __init__(self, settings: BrokerSettings, *, patient: bool = True) -> None:
        """Open no connection yet. If not `patient`, give up within seconds when Redis does not answer."""
        self.celery = make_celery(settings)
        self._signer = Signer(settings.message_secret.get_secret_value())
        self._mark = mark_of(settings)
        self._redis = make_redis(settings) if patient else make_redis(settings, timeout_s=2.0, retries=0)

    def ping(self) -> None:
        """Raise BrokerUnavailableError unless Redis answers."""
        with self._translated():
            self._redis.ping()

    def check_access(self) -> None:
        """Raise ConfigError if either side refuses the other: a password, or a certificate.

        Redis that does not answer is no error here.
        """
        try:
            self._redis.ping()
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError):
            raise ConfigError("Redis refuses the user or the password of NST_REDIS_URL.") from None
        except (redis.RedisError, OSError) as error:
            # Other errors are no wrong setting: it may come up later.
            if (reason := distrust(error)) is not None:
                raise ConfigError(
                    f"The certificate of the server of NST_REDIS_URL cannot be checked: {reason}. An authority of your"
                    " own is named at the end of the address: ?ssl_ca_certs=FILE"
                ) from None

    def close(self) -> None:
        """Close all connections."""
        self.celery.close()
        self._redis.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, OperationalError, OSError) as error:
            if isinstance(error, redis.ResponseError):
                # A server that became a replica keeps its connections. The address may lead to its successor by now.
                self._redis.connection_pool.disconnect(inuse_connections=False)
            raise BrokerUnavailableError(f"Redis does not answer: {error}") from error
