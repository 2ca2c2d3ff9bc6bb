"""API keys: who sends a request and what it may do; how keys are made, rotated and revoked."""

import hashlib
import hmac
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from pydantic import SecretStr

from nst_core.client.resources.access import DEFAULT_OVERLAP_S, Scope
from nst_core.clock import Clock
from nst_core.errors import ConfigError
from scheduler.access.cache import TimedCache
from scheduler.access.limits import Limits, check_new_key
from scheduler.domain.cursors import place_after
from scheduler.domain.errors import (
    ConflictError,
    ForbiddenError,
    KeyExpiredError,
    KeyRevokedError,
    NotFoundError,
    RequestInvalidError,
    UnauthenticatedError,
)
from scheduler.domain.keys import new_api_key
from scheduler.store import keys as key_rows
from scheduler.store.database import Database, retried
from scheduler.store.errors import DatabaseUnavailableError
from scheduler.store.keys import ApiKey, KeyChanges

log = logging.getLogger(__name__)

#: A key that one process revoked stays valid in others for up to this time.
CACHE_S = 5.0
#: If a secret does not fit, the key is read again, since another process may have changed it: this often at most.
_AGAIN_S = 1.0
#: Per tenant; older revoked or expired keys are removed when new ones are made.
_DEAD_KEPT = 1000
_TOUCH_S = 60.0
#: Recording a key's use is not worth waiting for.
_TOUCH_WAIT_S = 0.1
_PATTERN = re.compile(r"nst_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")
#: No key has this prefix, and no secret has this hash.
_NO_PREFIX = "-" * 8
_NO_HASH = "-" * 64


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who a request is from."""

    tenant: str
    #: Of the key.
    prefix: str
    scopes: frozenset[str]

    def require(self, *any_of: str) -> None:
        """Raise ForbiddenError unless the caller has one of the scopes; with none named, all may pass."""
        if any_of and self.scopes.isdisjoint(any_of):
            raise ForbiddenError(f"This needs an API key with the scope {' or '.join(any_of)}.")


def is_api_key(text: str) -> bool:
    """Return whether a text has the form of an API key."""
    return _PATTERN.fullmatch(text) is not None


def checked_key(key: SecretStr | None) -> str | None:
    """Return the first key of the settings, if there is one; raise ConfigError if it has not the form of a key."""
    if key is not None and not is_api_key(key.get_secret_value()):
        raise ConfigError("NST_BOOTSTRAP_API_KEY is not an API key; `nst bootstrap-key` prints one.")
    return None if key is None else key.get_secret_value()


class Keys:
    """The API keys of all tenants. Safe to share between threads."""

    def __init__(self, database: Database, *, clock: Clock, limits: Callable[[str], Limits] | None = None) -> None:
        """`limits` says how many keys a tenant may have; without it, any number."""
        self._database = database
        self._clock = clock
        self._limits = limits
        #: Also caches prefixes without a key, so that every look-up takes the same time.
        self._rows: TimedCache[str, ApiKey | None] = TimedCache(ttl_s=CACHE_S, clock=clock)
        #: What was read again because a secret did not fit.
        self._again: TimedCache[str, ApiKey | None] = TimedCache(ttl_s=_AGAIN_S, clock=clock)
        #: When this process last recorded the use of each key.
        self._touched: dict[str, float] = {}

    def add(self, key: str, *, tenant: str, name: str = "", scopes: Iterable[str] = tuple(Scope)) -> None:
        """Add an API key that was made elsewhere. By default it has all scopes.

        A key whose prefix exists is left as it is, so that a revoked or rotated key does not become valid when a
        process starts. Raises ConfigError if the text does not have the form of a key.
        """
        match = _PATTERN.fullmatch(key)
        if match is None:
            raise ConfigError("An API key is nst_, 8 hex digits, _ and 43 characters of URL-safe base64.")
        row = ApiKey(
            prefix=match[1],
            sha256=_sha256(key),
            tenant=tenant,
            name=name,
            scopes=_ordered(scopes),
            created_at=self._clock(),
        )

        def add() -> ApiKey | None:
            with self._database.write() as connection:
                found = key_rows.find_key(connection, row.prefix)
                if found is None:
                    key_rows.insert_key(connection, row)
            return found

        found = retried(add)
        self._forget(row.prefix)
        if found is not None and (found.revoked_at is not None or found.sha256 != row.sha256):
            log.warning("The key nst_%s_… was revoked or rotated; it is left as it is.", row.prefix)

    def now(self) -> float:
        """Return the time that decides when keys expire."""
        return self._clock()

    def authenticate(self, text: str) -> Caller:
        """Return the caller that a key belongs to.

        Raises UnauthenticatedError if there is no such key, KeyExpiredError if it has expired or was
        rotated some time ago, and KeyRevokedError.
        """
        match = _PATTERN.fullmatch(text)
        prefix = match[1] if match else _NO_PREFIX
        digest, now = _sha256(text), self._clock()
        found = self._look_up(prefix, digest)
        is_current, is_previous = _fits(found, digest)
        if found is None or not (is_current or is_previous):
            raise UnauthenticatedError("The API key is not valid.")
        if found.revoked_at is not None:
            raise KeyRevokedError("The API key was revoked.")
        if found.expires_at is not None and now >= found.expires_at:
            raise KeyExpiredError("The API key has expired.")
        if not is_current and now >= (found.previous_until or 0.0):
            raise KeyExpiredError("The API key was rotated; this secret has expired.")
        self._touch(found, now)
        return Caller(tenant=found.tenant, prefix=found.prefix, scopes=frozenset(found.scopes))

    def create(
        self,
        caller: Caller,
        *,
        name: str,
        scopes: Iterable[str],
        tenant: str | None = None,
        expires_at: float | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key and return it with its secret, which cannot be shown again.

        Raises ForbiddenError for scopes that the caller lacks, for another tenant (except admins), or an expiry after
        that of the caller's own key; RequestInvalidError for an expiry in the past; QuotaExceededError if the
        tenant has as many keys as it may have.
        """
        tenant = caller.tenant if tenant is None else tenant
        self._check_manages(caller, tenant)
        wanted, now = _ordered(scopes), self._clock()
        if expires_at is not None and expires_at <= now:
            raise RequestInvalidError("The end is in the past.", pointer="/expires_at")
        _check_within(caller, self.own(caller), scopes=wanted, expires_at=expires_at)
        limits = None if self._limits is None else self._limits(tenant)

        def create() -> tuple[ApiKey, str]:
            text = new_api_key()
            prefix = text[4:12]
            key = ApiKey(
                prefix=prefix,
                sha256=_sha256(text),
                tenant=tenant,
                name=name,
                scopes=wanted,
                created_at=now,
                expires_at=expires_at,
            )
            with self._database.write() as connection:
                if limits is not None:
                    check_new_key(connection, tenant, limits=limits, now=now)
                key_rows.forget_dead(connection, tenant, now=now, keep=_DEAD_KEPT)
                key_rows.insert_key(connection, key)
            return key, text

        # The random prefix may be taken, with a chance of one in four billion.
        key, text = retried(create)
        self._forget(key.prefix)
        return key, text

    def all(self, caller: Caller, *, tenant: str | None, limit: int, after: str | None) -> Sequence[ApiKey]:
        """Return the keys of a tenant (by default the caller's), newest first, including revoked and expired ones.

        `after` is the place of one as text, or its prefix; raises RequestInvalidError for an unknown prefix.
        """
        tenant = caller.tenant if tenant is None else tenant
        self._check_manages(caller, tenant)
        with self._database.read() as connection:
            place = place_after(after, lambda prefix: key_rows.find_key(connection, prefix, tenant=tenant))
            return key_rows.list_keys(connection, tenant, limit=limit, after=place)

    def get(self, caller: Caller, prefix: str) -> ApiKey:
        """Return a key; raise NotFoundError if the caller may manage no key with that prefix."""
        with self._database.read() as connection:
            return _known(key_rows.find_key(connection, prefix, tenant=_reach(caller)), prefix)

    def own(self, caller: Caller) -> ApiKey:
        """Return the key that the caller used."""
        with self._database.read() as connection:
            return _known(key_rows.find_key(connection, caller.prefix, tenant=caller.tenant), caller.prefix)

    def revoke(self, caller: Caller, prefix: str) -> None:
        """Revoke a key forever. Revoking it twice changes nothing.

        Raises ForbiddenError if the key may do more than that of the caller, or is valid for longer.
        """
        own = self.own(caller)
        with self._database.write() as connection:
            key = _known(key_rows.find_key(connection, prefix, tenant=_reach(caller), lock=True), prefix)
            _check_within(caller, own, scopes=key.scopes, expires_at=key.expires_at)
            if key.revoked_at is None:
                key_rows.update_key(connection, prefix, revoked_at=self._clock())
        self._forget(prefix)

    def rotate(self, caller: Caller, prefix: str, *, overlap_s: float = DEFAULT_OVERLAP_S) -> tuple[ApiKey, str]:
        """Give a key a new secret and return both. The current one stays valid for `overlap_s` seconds.

        Raises ForbiddenError if the key may do more than that of the caller, which would gain by the secret, or is
        valid for longer, and ConflictError if the key is revoked or expired.
        """
        own, now = self.own(caller), self._clock()
        text = new_api_key(prefix)
        with self._database.write() as connection:
            key = _known(key_rows.find_key(connection, prefix, tenant=_reach(caller), lock=True), prefix)
            _check_within(caller, own, scopes=key.scopes, expires_at=key.expires_at)
            if key.revoked_at is not None or (key.expires_at is not None and now >= key.expires_at):
                raise ConflictError(f"The key {prefix} is no longer valid; create a new one.")
            values: KeyChanges = {
                "sha256": _sha256(text),
                "previous_sha256": key.sha256,
                "previous_until": now + overlap_s,
            }
            key_rows.update_key(connection, prefix, **values)
        self._forget(prefix)
        return replace(key, **values), text

    def _look_up(self, prefix: str, digest: str) -> ApiKey | None:
        """Return a key as it was at most `CACHE_S` ago, or now, if a secret with this hash does not fit that."""
        is_cached = True

        def find() -> ApiKey | None:
            nonlocal is_cached
            is_cached = False
            return self._find(prefix)

        found = self._rows.get(prefix, find)
        if any(_fits(found, digest)) or not is_cached:
            return found
        again = self._again.get(prefix, find)
        if any(_fits(again, digest)):
            self._rows.drop(prefix)
        return again

    def _forget(self, prefix: str) -> None:
        """Read a key again when it is needed next."""
        self._rows.drop(prefix)
        self._again.drop(prefix)

    def _find(self, prefix: str) -> ApiKey | None:
        with self._database.read() as connection:
            return key_rows.find_key(connection, prefix)

    def _touch(self, key: ApiKey, now: float) -> None:
        """Record that a key is in use, at most once a minute, unless the database is busy."""
        noted = (key.last_used_at or 0.0, self._touched.get(key.prefix, 0.0))
        # A time to come was noted before the clock was set back.
        if any(0 <= now - at < _TOUCH_S for at in noted):
            return
        self._touched[key.prefix] = now
        try:
            with self._database.write(wait_s=_TOUCH_WAIT_S) as connection:
                key_rows.touch_key(connection, key.prefix, now=now, older_than=now - _TOUCH_S)
        except DatabaseUnavailableError as error:
            log.debug("The use of nst_%s_… was not noted: %s", key.prefix, error.message)

    def _check_manages(self, caller: Caller, tenant: str) -> None:
        caller.require(*((Scope.KEYS_WRITE, Scope.ADMIN) if tenant == caller.tenant else (Scope.ADMIN,)))


def _reach(caller: Caller) -> str | None:
    """Return the tenant whose keys a caller manages, or None for all; raise ForbiddenError if it manages none."""
    caller.require(Scope.KEYS_WRITE, Scope.ADMIN)
    return None if Scope.ADMIN in caller.scopes else caller.tenant


def _check_within(caller: Caller, own: ApiKey, *, scopes: Iterable[str], expires_at: float | None) -> None:
    """Raise ForbiddenError if a key has scopes that the caller lacks, or is valid for longer than its `own` key."""
    missing = [scope for scope in scopes if scope not in caller.scopes]
    if missing:
        raise ForbiddenError(f"A key can only grant scopes that it has; yours lacks {', '.join(missing)}.")
    if own.expires_at is not None and (expires_at is None or expires_at > own.expires_at):
        raise ForbiddenError("Your key expires, so it cannot create, rotate or revoke a key that is valid for longer.")


def _fits(key: ApiKey | None, digest: str) -> tuple[bool, bool]:
    """Return whether a hash is that of a key's current secret, and whether it is that of the previous one."""
    # Both are always compared, so that the time reveals nothing.
    is_current = hmac.compare_digest(key.sha256 if key else _NO_HASH, digest)
    is_previous = hmac.compare_digest((key and key.previous_sha256) or _NO_HASH, digest)
    return is_current, is_previous


def _known(key: ApiKey | None, prefix: str) -> ApiKey:
    if key is None:
        raise NotFoundError(f"There is no key {prefix}.")
    return key


def _ordered(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return scopes once each, in the order of `Scope`."""
    wanted = set(scopes)
    return tuple(scope.value for scope in Scope if scope in wanted)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
