"""Adjusts leases and pauses in the database after the clock has jumped."""

from collections.abc import Mapping

from sqlalchemy import Connection, update

from nst_core.client.resources.webhooks import DeliveryStatus
from scheduler.domain.jobs import ChunkStatus
from scheduler.domain.runs import SegmentState
from scheduler.store.tables import chunks, deliveries, runs


def renew(
    connection: Connection, *, now: float, running_s: float, chunks_s: Mapping[str, float], segments_s: float
) -> None:
    """Restart all leases of chunks and segments now."""
    for method, lease_s in chunks_s.items():
        sent = (chunks.c.status == ChunkStatus.DISPATCHED, chunks.c.method == method)
        connection.execute(update(chunks).where(*sent).values(claimed_at=now, lease_until=now + lease_s))
    begun = chunks.c.status == ChunkStatus.RUNNING
    connection.execute(update(chunks).where(begun).values(lease_until=now + running_s))
    for live, lease_s in ((SegmentState.DISPATCHED, segments_s), (SegmentState.RUNNING, running_s)):
        connection.execute(update(runs).where(runs.c.live == live).values(lease_until=now + lease_s))


def move_pauses(connection: Connection, *, now: float, by_s: float) -> None:
    """Shift the ends of future pauses and of the leases of messages by some seconds."""
    paused = (chunks.c.status == ChunkStatus.PENDING, chunks.c.not_before > now)
    connection.execute(update(chunks).where(*paused).values(not_before=chunks.c.not_before + by_s))
    connection.execute(update(runs).where(runs.c.not_before > now).values(not_before=runs.c.not_before + by_s))
    for column in (deliveries.c.next_at, deliveries.c.lease_until):
        waiting = (deliveries.c.status == DeliveryStatus.PENDING, column > now)
        connection.execute(update(deliveries).where(*waiting).values({column: column + by_s}))
