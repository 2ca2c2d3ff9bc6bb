"""How long items take and how many workers there are, in the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, case, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from scheduler.store.tables import rates, workers

#: The mean covers about this many recent items, so that it adapts quickly to a faster machine.
_MEMORY = 500


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What the time of an item depends on, besides its style: the columns of `rates` with these names."""

    method: str
    #: See `scheduler.jobs.item_times.px_class`.
    px_class: int
    #: The option of the job: auto or exact.
    precision: str
    #: See `scheduler.jobs.item_times.stroke_class`.
    stroke: str


def add_times(connection: Connection, pace: Pace, version: str, *, count: int, total_ms: int, now: float) -> None:
    """Add the times of `count` items to their mean."""
    own = (*_at(pace), rates.c.version == version)
    weight = case((rates.c.samples > _MEMORY, _MEMORY), else_=rates.c.samples) + count
    mean = rates.c.mean_ms + (total_ms - count * rates.c.mean_ms) / weight
    change = update(rates).where(*own).values(samples=rates.c.samples + count, mean_ms=mean, updated_at=now)
    if connection.execute(change).rowcount:
        return
    values = vars(pace) | {"version": version}
    # If another scheduler was first, these few items are not counted.
    _insert_new(connection, rates, values | {"samples": count, "mean_ms": total_ms / count, "updated_at": now})


def find_means_ms(connection: Connection, pace: Pace, versions: Sequence[str]) -> dict[str, float]:
    """Return the mean times of the style versions that have any."""
    own = (*_at(pace), rates.c.version.in_(versions))
    return {
        row.version: row.mean_ms for row in connection.execute(select(rates.c.version, rates.c.mean_ms).where(*own))
    }


def find_mean_ms_of_all(connection: Connection, pace: Pace) -> float | None:
    """Return the mean over all style versions; None if no item was done yet."""
    mean = func.sum(rates.c.mean_ms * rates.c.samples) / func.sum(rates.c.samples)
    found = connection.execute(select(mean).where(*_at(pace))).scalar()
    return None if found is None else float(found)


def see_worker(connection: Connection, name: str, *, now: float) -> None:
    """Record that a worker has reported."""
    if not connection.execute(update(workers).where(workers.c.name == name).values(seen_at=now)).rowcount:
        _insert_new(connection, workers, {"name": name, "seen_at": now})


def count_workers(connection: Connection, *, since: float) -> int:
    """Return how many workers have reported since a time."""
    query = select(func.count()).select_from(workers).where(workers.c.seen_at >= since)
    return int(connection.execute(query).scalar_one())


def forget(connection: Connection, *, workers_before: float, rates_before: float) -> None:
    """Delete workers that have not reported, and rates that have not changed, since a time."""
    connection.execute(delete(workers).where(workers.c.seen_at < workers_before))
    connection.execute(delete(rates).where(rates.c.updated_at < rates_before))


def _at(pace: Pace) -> list[ColumnElement[bool]]:
    return [rates.c[name] == value for name, value in vars(pace).items()]


def _insert_new(connection: Connection, table: Table, values: dict[str, Any]) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(postgresql.insert(table).values(values).on_conflict_do_nothing())
    else:
        connection.execute(sqlite.insert(table).values(values).on_conflict_do_nothing())
