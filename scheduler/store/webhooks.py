"""Webhooks and their deliveries in the database.

Locks are taken in this order: events, webhooks, deliveries. Every change of a delivery or its webhook first locks the
webhook's row. So the limit of messages that are sent to a webhook at the same time holds for all schedulers together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from nst_core.client.resources.webhooks import DeliveryStatus
from scheduler.store.rows import build
from scheduler.store.tables import deliveries, webhooks

_WAITING = (webhooks.c.id, webhooks.c.tenant, webhooks.c.url, webhooks.c.failing_since)


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """A webhook: an address to which a tenant wants events sent. Times are seconds since 1970, UTC."""

    id: str
    tenant: str
    url: str
    #: Types of events; `*` stands for all.
    types: list[str]
    description: str
    enabled: bool
    #: Why nst disabled it: gone or failing; None if a client did.
    disabled_reason: str | None
    #: Encrypted, like the previous one.
    secret: str
    old_secret: str | None
    old_secret_until: float | None
    failing_since: float | None
    created_at: float

    def wants(self, type: str) -> bool:
        return "*" in self.types or type in self.types


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A message for a webhook."""

    id: int
    webhook_id: str
    message_id: str
    type: str
    body: bytes
    status: DeliveryStatus
    error: str | None
    failures: int
    #: Each at (seconds since 1970), status, error and ms; the newest last.
    tries: list[dict[str, Any]]
    next_at: float
    claims: int
    created_at: float
    done_at: float | None


class WebhookChanges(TypedDict, total=False):
    """The fields of a webhook that can change."""

    url: str
    types: list[str]
    description: str
    enabled: bool
    disabled_reason: str | None
    secret: str
    old_secret: str | None
    old_secret_until: float | None
    failing_since: float | None


class DeliveryChanges(TypedDict, total=False):
    """The columns of a delivery that a try can change."""

    status: DeliveryStatus
    error: str | None
    failures: int
    tries: list[dict[str, Any]]
    next_at: float
    lease_until: float
    done_at: float | None


def insert_webhook(connection: Connection, webhook: Webhook) -> None:
    """Add a webhook."""
    connection.execute(insert(webhooks).values(**vars(webhook)))


def find_webhook(connection: Connection, tenant: str, id: str) -> Webhook | None:
    """Return a tenant's webhook."""
    query = select(webhooks).where(webhooks.c.id == id, webhooks.c.tenant == tenant)
    row = connection.execute(query).first()
    return None if row is None else build(Webhook, row)


def lock_webhook(connection: Connection, id: str, *, tenant: str | None = None) -> Webhook | None:
    """Return a webhook and keep others from changing it and its deliveries; with a tenant, only that tenant's."""
    query = select(webhooks).where(webhooks.c.id == id)
    if tenant is not None:
        query = query.where(webhooks.c.tenant == tenant)
    row = connection.execute(query.with_for_update()).first()
    return None if row is None else build(Webhook, row)


def list_webhooks(connection: Connection, tenant: str, *, limit: int, after_id: str | None) -> list[Webhook]:
    """Return up to `limit` webhooks of a tenant, newest first, that are older than `after_id`."""
    query = select(webhooks).where(webhooks.c.tenant == tenant).order_by(webhooks.c.id.desc()).limit(limit)
    if after_id is not None:
        query = query.where(webhooks.c.id < after_id)
    return [build(Webhook, row) for row in connection.execute(query)]


def count_webhooks(connection: Connection, tenant: str) -> int:
    """Return how many webhooks a tenant has."""
    query = select(func.count()).select_from(webhooks).where(webhooks.c.tenant == tenant)
    return int(connection.execute(query).scalar_one())


def enabled_webhooks(connection: Connection, tenants: Sequence[str]) -> list[Webhook]:
    """Return the enabled webhooks of tenants, and keep others from changing them until the transaction ends."""
    query = select(webhooks).where(webhooks.c.tenant.in_(tenants), webhooks.c.enabled.is_(True))
    return [build(Webhook, row) for row in connection.execute(query.order_by(webhooks.c.id).with_for_update(read=True))]


def update_webhook(connection: Connection, id: str, **changes: Unpack[WebhookChanges]) -> None:
    """Set columns of a webhook."""
    connection.execute(update(webhooks).where(webhooks.c.id == id).values(dict(changes)))


def empty_webhook(connection: Connection, id: str, *, limit: int) -> int:
    """Remove up to `limit` deliveries of a webhook that is locked; return how many."""
    own = (deliveries.c.webhook_id == id,)
    last, count = _first(connection, own, limit)
    if count:
        connection.execute(delete(deliveries).where(*own, deliveries.c.id <= last))
    return count


def delete_webhook(connection: Connection, id: str) -> None:
    """Remove a webhook that is locked and has no deliveries."""
    connection.execute(delete(webhooks).where(webhooks.c.id == id))


def insert_deliveries(connection: Connection, rows: Sequence[dict[str, Any]], *, now: float) -> None:
    """Add deliveries that wait for their first try; each row has webhook_id, message_id, type and body."""
    fresh = {"status": DeliveryStatus.PENDING, "failures": 0, "tries": [], "claims": 0, "lease_until": 0.0}
    if rows:
        connection.execute(insert(deliveries), [{**fresh, "next_at": now, "created_at": now, **row} for row in rows])


def find_delivery(connection: Connection, webhook_id: str, id: int, *, lock: bool = False) -> Delivery | None:
    """Return a delivery of a webhook."""
    query = select(deliveries).where(deliveries.c.id == id, deliveries.c.webhook_id == webhook_id)
    row = connection.execute(query.with_for_update() if lock else query).first()
    return None if row is None else build(Delivery, row)


def find_message(connection: Connection, webhook_id: str, message_id: str) -> Delivery | None:
    """Return the delivery of a message to a webhook."""
    query = select(deliveries).where(deliveries.c.webhook_id == webhook_id, deliveries.c.message_id == message_id)
    row = connection.execute(query).first()
    return None if row is None else build(Delivery, row)


def list_deliveries(
    connection: Connection, webhook_id: str, *, limit: int, after_id: int | None, status: DeliveryStatus | None
) -> list[Delivery]:
    """Return up to `limit` deliveries of a webhook, newest first, that are older than `after_id`."""
    query = select(deliveries).where(deliveries.c.webhook_id == webhook_id).order_by(deliveries.c.id.desc())
    if after_id is not None:
        query = query.where(deliveries.c.id < after_id)
    if status is not None:
        query = query.where(deliveries.c.status == status)
    return [build(Delivery, row) for row in connection.execute(query.limit(limit))]


def any_due(connection: Connection, *, now: float) -> bool:
    """Return whether there are deliveries to try."""
    due = (deliveries.c.status == DeliveryStatus.PENDING, deliveries.c.next_at <= now, deliveries.c.lease_until <= now)
    return connection.execute(select(deliveries.c.id).where(*due).limit(1)).first() is not None


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A webhook with messages that are due or being sent."""

    id: str
    tenant: str
    url: str
    #: The last tries have failed.
    failing: bool
    #: The time since which its first message is due; 0 if the messages are being sent.
    since: float = 0.0
    #: Messages that are being sent.
    in_hand: int = 0


def in_hand(connection: Connection, *, now: float) -> list[Waiting]:
    """Return the webhooks that messages are being sent to, by any scheduler."""
    query = (
        select(*_WAITING, func.count().label("sending"))
        .join(deliveries, deliveries.c.webhook_id == webhooks.c.id)
        .where(deliveries.c.status == DeliveryStatus.PENDING, deliveries.c.lease_until > now)
        .group_by(*_WAITING)
    )
    return [_waiting(row, in_hand=row.sending) for row in connection.execute(query)]


def due_webhooks(
    connection: Connection, *, now: float, without: Sequence[str] = (), per_tenant: int = 100
) -> list[Waiting]:
    """Return enabled webhooks, except those in `without`, with messages that are due and not being sent.

    These are at most `per_tenant` webhooks of each tenant, the ones that have waited longest. The query reads only the
    first message of each webhook.
    """
    first = (
        select(deliveries.c.next_at)
        .where(
            deliveries.c.webhook_id == webhooks.c.id,
            deliveries.c.status == DeliveryStatus.PENDING,
            deliveries.c.next_at <= now,
            deliveries.c.lease_until <= now,
        )
        .order_by(deliveries.c.next_at)
        .limit(1)
        .scalar_subquery()
    )
    enabled = select(*_WAITING, first.label("since")).where(webhooks.c.enabled.is_(True), webhooks.c.id.not_in(without))
    due = enabled.subquery("due")
    place = func.row_number().over(partition_by=due.c.tenant, order_by=(due.c.since, due.c.id))
    placed = select(due, place.label("place")).where(due.c.since.is_not(None)).subquery("placed")
    query = select(placed).where(placed.c.place <= per_tenant).order_by(placed.c.since, placed.c.id)
    return [_waiting(row, since=row.since) for row in connection.execute(query)]


def claim_due(
    connection: Connection, webhook_id: str, *, now: float, lease_s: float, room: int, at_once: int
) -> tuple[Webhook, list[Delivery]] | None:
    """Begin tries at up to `room` due messages of a webhook, so that at most `at_once` are being sent.

    A claim lasts for `lease_s`, so that the claims of a scheduler that dies expire. Returns None if another scheduler
    has locked the webhook, or if it is no longer enabled.
    """
    query = select(webhooks).where(webhooks.c.id == webhook_id, webhooks.c.enabled.is_(True))
    found = connection.execute(query.with_for_update(skip_locked=True)).first()
    if found is None:
        return None
    own = (deliveries.c.webhook_id == webhook_id, deliveries.c.status == DeliveryStatus.PENDING)
    # The count stops at the limit. It stays correct, because the webhook is locked.
    busy = select(deliveries.c.id).where(*own, deliveries.c.lease_until > now).limit(at_once)
    count = min(room, at_once - len(connection.execute(busy).all()))
    due = select(deliveries).where(*own, deliveries.c.next_at <= now, deliveries.c.lease_until <= now)
    rows = connection.execute(due.order_by(deliveries.c.next_at, deliveries.c.id).limit(max(0, count))).all()
    for row in rows:
        values = {"lease_until": now + lease_s, "claims": row.claims + 1}
        connection.execute(update(deliveries).where(deliveries.c.id == row.id).values(values))
    return build(Webhook, found), [build(Delivery, row, claims=row.claims + 1) for row in rows]


def _waiting(row: Any, *, since: float = 0.0, in_hand: int = 0) -> Waiting:
    failing = row.failing_since is not None
    return Waiting(id=row.id, tenant=row.tenant, url=row.url, failing=failing, since=since, in_hand=in_hand)


def update_delivery(connection: Connection, id: int, **changes: Unpack[DeliveryChanges]) -> None:
    """Set columns of a delivery."""
    connection.execute(update(deliveries).where(deliveries.c.id == id).values(dict(changes)))


def fail_pending(connection: Connection, webhook_id: str, error: str, *, now: float, limit: int | None = None) -> int:
    """End the waiting deliveries of a webhook that is locked, up to `limit` of them; return how many."""
    waiting = (deliveries.c.webhook_id == webhook_id, deliveries.c.status == DeliveryStatus.PENDING)
    last, count = _first(connection, waiting, limit)
    if count:
        values = {"status": DeliveryStatus.FAILED, "error": error, "done_at": now, "lease_until": 0.0}
        connection.execute(update(deliveries).where(*waiting, deliveries.c.id <= last).values(values))
    return count


def replay(connection: Connection, webhook_id: str, id: int, *, now: float) -> None:
    """Let a delivery of a webhook that is locked wait for a first try again, unless it is waiting already."""
    ended = (deliveries.c.id == id, deliveries.c.status != DeliveryStatus.PENDING)
    own = (deliveries.c.webhook_id == webhook_id, *ended)
    connection.execute(update(deliveries).where(*own).values(_fresh(now)))


def replay_failed(
    connection: Connection, webhook_id: str, *, since: float, after_id: int, now: float, limit: int
) -> tuple[int, int]:
    """Let failed deliveries of a webhook that is locked wait for a first try again.

    They are the first `limit` of those that were created at or after `since` and have larger ids than `after_id`.
    Returns the last id, and how many there were.
    """
    failed = (deliveries.c.webhook_id == webhook_id, deliveries.c.status == DeliveryStatus.FAILED)
    query = (*failed, deliveries.c.created_at >= since, deliveries.c.id > after_id)
    last, count = _first(connection, query, limit)
    if count:
        connection.execute(update(deliveries).where(*query, deliveries.c.id <= last).values(_fresh(now)))
    return last, count


def _fresh(now: float) -> dict[str, Any]:
    values = {"status": DeliveryStatus.PENDING, "error": None, "failures": 0, "next_at": now, "done_at": None}
    return {**values, "lease_until": 0.0}


def _first(connection: Connection, query: Sequence[ColumnElement[bool]], limit: int | None) -> tuple[int, int]:
    """Return the id of the last of the first deliveries that match, and how many they are."""
    ids = list(
        connection.execute(select(deliveries.c.id).where(*query).order_by(deliveries.c.id).limit(limit)).scalars()
    )
    return (ids[-1] if ids else 0), len(ids)


def old_deliveries(connection: Connection, *, done_before: float, limit: int) -> list[int]:
    """Return the ids of up to `limit` deliveries that ended before a time."""
    old = select(deliveries.c.id).where(
        deliveries.c.status != DeliveryStatus.PENDING, deliveries.c.done_at < done_before
    )
    return list(connection.execute(old.order_by(deliveries.c.done_at).limit(limit)).scalars())


def delete_deliveries(connection: Connection, ids: Sequence[int]) -> None:
    """Delete deliveries, except those that a client has replayed in the meantime."""
    connection.execute(
        delete(deliveries).where(deliveries.c.id.in_(ids), deliveries.c.status != DeliveryStatus.PENDING)
    )
