"""Checks of Redis: access, version, eviction, its clock, and whether it is the database that schedulers use."""

import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import redis

from nst_core.clock import Clock
from nst_core.queue.connection import MARK_KEY, distrust, make_redis, mark_of
from nst_core.settings import BrokerSettings
from scheduler.local.servers import MIN_REDIS
from scheduler.operations.clocks import clock_finding
from scheduler.operations.findings import Finding, ok, problem, warning

_TIMEOUT_S = 3.0
#: Numbers of databases in which the mark of this installation is looked for; servers have 16 unless they are told.
_DATABASES = 16


def check_redis(settings: BrokerSettings, *, clock: Clock = time.time) -> Iterator[Finding]:
    """Yield the findings about the server and the database of NST_REDIS_URL."""
    with closing(make_redis(settings, timeout_s=_TIMEOUT_S, retries=0)) as client:
        place = client.connection_pool.connection_kwargs
        name = f"Redis at {place.get('host')}:{place.get('port')}"
        try:
            # One answer has all that INFO knows, also the policy, for which CONFIG would need another right.
            info: Any = client.info()
            seconds, microseconds = client.time()
            measured = clock()
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
            found = f"{name} refuses the user or the password of NST_REDIS_URL ({error})."
            yield problem("redis", "redis_refused", found, "Correct NST_REDIS_URL, or the rights of its user.")
            return
        except (redis.RedisError, OSError) as error:
            if (reason := distrust(error)) is not None:
                found = f"The certificate of {name} cannot be checked: {reason}"
                remedy = "Name its authority at the end of NST_REDIS_URL (?ssl_ca_certs=FILE), or correct the host."
                yield problem("redis", "redis_untrusted", found, remedy)
                return
            found = f"{name} does not answer: {error}"
            yield problem("redis", "redis_unreachable", found, "Start it, or correct NST_REDIS_URL, or the network.")
            return
        yield ok("redis", f"{name} answers.")
        yield _version(str(info["redis_version"]))
        yield _eviction(str(info["maxmemory_policy"]), int(info["maxmemory"]))
        yield _database(client, settings, int(place.get("db") or 0))
        yield clock_finding("redis_clock", "Redis", seconds + microseconds / 1e6 - measured)


def _version(text: str) -> Finding:
    found, least = tuple(int(part) for part in text.split(".")[:2]), ".".join(map(str, MIN_REDIS))
    if found < MIN_REDIS:
        return problem("redis_version", "redis_old", f"Redis is {text}; nst needs {least}.", "Install a newer one.")
    return ok("redis_version", f"Redis is {text}.")


def _eviction(policy: str, limit: int) -> Finding:
    if policy == "noeviction":
        return ok("redis_eviction", "Redis drops nothing when its memory is full (noeviction).")
    remedy = "Set maxmemory-policy to noeviction, in redis.conf or by CONFIG SET."
    if limit:
        found = f"Redis drops keys when its {limit:,} bytes are full ({policy}), and with them work and events."
        return problem("redis_eviction", "redis_evicts", found, remedy)
    found = f"Redis would drop keys if its memory was limited ({policy})."
    return warning("redis_eviction", "redis_may_evict", found, remedy)


def _database(client: redis.Redis, settings: BrokerSettings, number: int) -> Finding:
    """Look for the mark that a running scheduler renews in its database."""
    own = mark_of(settings).encode()
    mark = client.get(MARK_KEY)
    if mark == own:
        return ok("redis_database", f"A scheduler of this installation uses the database {number}.")
    others = list(_marked(client, own))
    if others:
        found = f"NST_REDIS_URL names the database {number}, but the scheduler uses {others[0]}."
        remedy = f"Let NST_REDIS_URL end with /{others[0]}, or correct that of the scheduler."
        return problem("redis_database", "redis_database_wrong", found, remedy)
    if mark is not None:
        found = f"The database {number} is used by a scheduler with another NST_MESSAGE_SECRET."
        remedy = "Use the secret of that scheduler; or, if it belongs to another installation, a database of your own."
        return problem("redis_database", "redis_database_foreign", found, remedy)
    found = f"No running scheduler of this installation uses the database {number}."
    remedy = "Start a scheduler and repeat this. If one runs, compare its NST_REDIS_URL and NST_MESSAGE_SECRET."
    return warning("redis_database", "redis_database_unmarked", found, remedy)


def _marked(client: redis.Redis, mark: bytes) -> Iterator[int]:
    """Yield the numbers of databases of the server that have the mark, as far as the user may look."""
    place = {**client.connection_pool.connection_kwargs}
    with suppress(redis.RedisError, OSError):
        for number in range(_DATABASES):
            pool = redis.ConnectionPool(
                connection_class=client.connection_pool.connection_class, **{**place, "db": number}
            )
            with closing(redis.Redis(connection_pool=pool)) as other:
                found = other.get(MARK_KEY)
            pool.disconnect()
            if found == mark:
                yield number
