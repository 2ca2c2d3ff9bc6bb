"""Idempotency-Key: a request that is sent twice makes one resource.

A request claims its key, makes a resource, and records the resource's id with the key in the same transaction. If the
process dies before that, the claim expires. If it dies afterwards, a repeated request gets the resource. The key
outlives the resource, because a repeat that arrives after its deletion must not make another one.
"""

import hashlib
import json
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel

from nst_core.clock import Clock
from scheduler.domain.errors import InFlightError, KeyReusedError, NotFoundError, ResourceDeletedError
from scheduler.store import request_keys
from scheduler.store.database import Connection, Database
from scheduler.store.errors import DatabaseUnavailableError, RowConflictError
from scheduler.store.request_keys import RequestKey

_T = TypeVar("_T")
#: An older claim is taken over, because its process must have died.
_CLAIM_S = 60.0
#: How long a key is remembered.
KEPT_S = 48 * 3600.0
_PRUNED_AT_ONCE = 1000


def fingerprint(*parts: Any) -> str:
    """Return a hash by which a repeated request is recognised; the parts are models or values of JSON.

    Fields with their default value are left out, so that a repeat is recognised by a version that has more fields.
    """
    values = [
        part.model_dump(mode="json", exclude_defaults=True) if isinstance(part, BaseModel) else part for part in parts
    ]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to make the resource of a key. A request without a key needs no right."""

    tenant: str
    key: str | None = None
    claim: str = ""

    def complete(self, connection: Connection, resource_id: str) -> None:
        """Record what was made, in the transaction that adds it; raise InFlightError if the claim was taken over."""
        if self.key is None:
            return
        if not request_keys.complete(connection, self.tenant, self.key, claim=self.claim, resource_id=resource_id):
            raise InFlightError("Another request with this Idempotency-Key has taken over.")


class Accepted(NamedTuple, Generic[_T]):
    """What a request made, or what an earlier request with the same key made."""

    value: _T
    #: This request made it.
    is_new: bool


def looked_up(accepted: Accepted[str], find: Callable[[str], _T]) -> Accepted[_T]:
    """Return the resource of an id; raise ResourceDeletedError if `find` does not find it any more."""
    try:
        return Accepted(find(accepted.value), is_new=accepted.is_new)
    except NotFoundError as error:
        message = f"A request with this Idempotency-Key has made {accepted.value}, which was deleted since."
        raise ResourceDeletedError(message) from error


class Idempotency:
    """Lets each key make one resource."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def once(
        self, tenant: str, key: str | None, *, operation: str, fingerprint: str, make: Callable[[Claim], str]
    ) -> Accepted[str]:
        """Return the id of the resource that a request makes, and whether it is new.

        `make` adds the resource, completes the claim in the same transaction, and returns the resource's id. Raises
        KeyReusedError if the key was used with another operation or fingerprint, InFlightError while a request with it
        is in progress, and what `make` raises. After an error the key is free again.
        """
        if key is None:
            return Accepted(make(Claim(tenant=tenant)), is_new=True)
        claim = Claim(tenant=tenant, key=key, claim=secrets.token_hex(8))
        done = self._claim(claim, key, operation=operation, fingerprint=fingerprint)
        if done is not None:
            return Accepted(done, is_new=False)
        try:
            return Accepted(make(claim), is_new=True)
        except BaseException:
            # If this fails too, the claim expires.
            with suppress(DatabaseUnavailableError), self._database.write() as connection:
                request_keys.release(connection, tenant, key, claim=claim.claim)
            raise

    def prune(self) -> bool:
        """Forget some keys that are too old; return whether there was one."""
        before = self._clock() - KEPT_S
        with self._database.read() as connection:
            old = request_keys.old_keys(connection, created_before=before, limit=_PRUNED_AT_ONCE)
        if old:
            with self._database.write() as connection:
                request_keys.prune(connection, old, created_before=before)
        return bool(old)

    def _claim(self, claim: Claim, key: str, *, operation: str, fingerprint: str) -> str | None:
        """Claim a key; return its resource if there is one."""
        now = self._clock()
        new = RequestKey(
            tenant=claim.tenant,
            key=key,
            operation=operation,
            fingerprint=fingerprint,
            claim=claim.claim,
            resource_id=None,
            claimed_at=now,
        )
        try:
            with self._database.write() as connection:
                found = request_keys.find_key(connection, claim.tenant, key)
                if found is None:
                    request_keys.insert_key(connection, new)
                    return None
                if (found.operation, found.fingerprint) != (operation, fingerprint):
                    raise KeyReusedError("The Idempotency-Key was used before with a different request.")
                if found.resource_id is not None:
                    return found.resource_id
                if now - found.claimed_at < _CLAIM_S:
                    raise InFlightError("A request with this Idempotency-Key is at work; repeat it in a moment.")
                request_keys.take_over(connection, found, claim=claim.claim, now=now)
                return None
        except RowConflictError as error:
            # Another request with this key was first.
            raise InFlightError("A request with this Idempotency-Key is at work; repeat it in a moment.") from error
