"""Accepted segments of runs in the database."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from scheduler.domain.runs import Segment
from scheduler.store.rows import build
from scheduler.store.runs import stored_file
from scheduler.store.tables import segments


def insert_segment(connection: Connection, run_id: str, segment: Segment) -> None:
    """Add a segment."""
    checkpoint = segment.checkpoint
    values = {name: value for name, value in vars(segment).items() if name != "checkpoint"}
    values |= {
        "run_id": run_id,
        "checkpoint_uri": None if checkpoint is None else checkpoint.uri,
        "checkpoint_sha256": None if checkpoint is None else checkpoint.sha256,
    }
    connection.execute(insert(segments).values(values))


def list_segments(connection: Connection, run_id: str) -> list[Segment]:
    """Return all segments of a run in order."""
    query = select(segments).where(segments.c.run_id == run_id).order_by(segments.c.attempt)
    return [_segment(row) for row in connection.execute(query)]


def kept_checkpoints(
    connection: Connection, run_ids: Sequence[str], *, newest: int | None = None
) -> dict[str, list[Segment]]:
    """Return, for each run, the segments whose checkpoint is in storage, in order: all, or only the `newest`."""
    found: dict[str, list[Segment]] = {}
    for run_id in run_ids:
        query = select(segments).where(segments.c.run_id == run_id, segments.c.checkpoint_uri.is_not(None))
        rows = connection.execute(query.order_by(segments.c.attempt.desc()).limit(newest)).all()
        found[run_id] = [_segment(row) for row in reversed(rows)]
    return found


def count_segments(connection: Connection, run_ids: Sequence[str]) -> dict[str, int]:
    """Return how many segments each run has."""
    query = select(segments.c.run_id, func.count()).where(segments.c.run_id.in_(run_ids)).group_by(segments.c.run_id)
    return dict.fromkeys(run_ids, 0) | {row[0]: row[1] for row in connection.execute(query)}


def forget_checkpoints(connection: Connection, run_id: str, attempts: Sequence[int]) -> None:
    """Record that the checkpoints of some attempts are not kept."""
    own = (segments.c.run_id == run_id, segments.c.attempt.in_(attempts))
    connection.execute(update(segments).where(*own).values(checkpoint_uri=None, checkpoint_sha256=None))


def _segment(row: Any) -> Segment:
    return build(Segment, row, checkpoint=stored_file(row.checkpoint_uri, row.checkpoint_sha256))
