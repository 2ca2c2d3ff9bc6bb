"""Uploads in the database, with their last use."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    Text,
    and_,
    cast,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from nst_core.client.resources.jobs import TERMINAL
from scheduler.domain.cursors import Place
from scheduler.store.rows import build
from scheduler.store.runs import ENDED
from scheduler.store.tables import jobs, runs, uploads


@dataclass(frozen=True, kw_only=True)
class Upload:
    """An upload: a prefix for photos. Times are seconds since 1970, UTC."""

    tenant: str
    id: str
    created_at: float
    #: When the last file was added, rounded to the hour.
    used_at: float
    #: It is being deleted.
    pruned: bool = False

    @property
    def place(self) -> Place:
        """Its place in the list of its tenant."""
        return Place(self.created_at, self.id)


def insert_upload(connection: Connection, upload: Upload) -> None:
    """Add an upload; RowConflictError says that another transaction was first."""
    connection.execute(insert(uploads).values(vars(upload)))


def find_upload(connection: Connection, tenant: str, id: str, *, lock: bool = False) -> Upload | None:
    """Return an upload, also one that is being deleted; with `lock`, nobody else changes it in this transaction."""
    query = select(uploads).where(uploads.c.tenant == tenant, uploads.c.id == id)
    row = connection.execute(query.with_for_update() if lock else query).first()
    return None if row is None else build(Upload, row)


def list_uploads(connection: Connection, tenant: str, *, limit: int, after: Place | None) -> list[Upload]:
    """Return up to `limit` uploads of a tenant, newest first, that follow the place `after`."""
    query = select(uploads).where(uploads.c.tenant == tenant, uploads.c.pruned.is_(False))
    if after is not None:
        same_time = and_(uploads.c.created_at == after.created_at, uploads.c.id < after.id)
        query = query.where(or_(uploads.c.created_at < after.created_at, same_time))
    query = query.order_by(uploads.c.created_at.desc(), uploads.c.id.desc()).limit(limit)
    return [build(Upload, row) for row in connection.execute(query)]


def count_uploads(connection: Connection, tenant: str) -> int:
    """Return how many uploads a tenant has."""
    query = select(func.count()).select_from(uploads).where(uploads.c.tenant == tenant)
    return int(connection.execute(query).scalar_one())


def update_upload(
    connection: Connection, tenant: str, id: str, *, used_at: float | None = None, pruned: bool = False
) -> None:
    """Record when an upload was used, or that it is being deleted."""
    values: dict[str, Any] = {} if used_at is None else {"used_at": used_at}
    if pruned:
        values["pruned"] = True
    connection.execute(update(uploads).where(uploads.c.tenant == tenant, uploads.c.id == id).values(values))


def delete_upload(connection: Connection, tenant: str, id: str) -> None:
    """Forget an upload that has no files any more."""
    connection.execute(delete(uploads).where(uploads.c.tenant == tenant, uploads.c.id == id))


def prunable_uploads(
    connection: Connection, *, used_before: float | None, without: Sequence[str], limit: int = 10
) -> list[Upload]:
    """Return uploads that are being deleted, and those that were last used before a time, but none of `without`."""
    old: ColumnElement[bool] = uploads.c.pruned.is_(True)
    if used_before is not None:
        old = or_(old, and_(uploads.c.pruned.is_(False), uploads.c.used_at < used_before))
    query = select(uploads).where(old, uploads.c.id.not_in(without))
    return [build(Upload, row) for row in connection.execute(query.order_by(uploads.c.used_at).limit(limit))]


def is_in_use(connection: Connection, tenant: str, id: str, *, place: str, since: float | None = None) -> bool:
    """Return whether a job or a run names an upload that has not ended, or that ended at or after a time.

    `place` is the s3:// address that the files of the upload are below. What has ended may be retried, resumed or
    extended. What the lines of a manifest name is not known here.
    """
    named = f"%/{id}/%"
    open_job: ColumnElement[bool] = jobs.c.status.not_in(TERMINAL)
    open_run: ColumnElement[bool] = runs.c.status.not_in(ENDED)
    if since is not None:
        open_job, open_run = or_(open_job, _last_use(jobs) >= since), or_(open_run, _last_use(runs) >= since)
    by_job = or_(
        cast(jobs.c.spec, Text).like(named),
        cast(jobs.c.input_uris, Text).like(named),
        _is_below(place, jobs.c.spec["input"]["prefix"].as_string()),
    )
    by_run = or_(cast(runs.c.spec, Text).like(named), _is_below(place, runs.c.spec["photos"].as_string()))
    of_jobs = exists().where(jobs.c.tenant == tenant, open_job, by_job)
    of_runs = exists().where(runs.c.tenant == tenant, open_run, by_run)
    return bool(connection.execute(select(or_(of_jobs, of_runs))).scalar())


def _is_below(place: str, prefix: ColumnElement[str]) -> ColumnElement[bool]:
    """Return whether a prefix, which need not end in a slash, is that of a place or of a folder around it."""
    return func.substr(literal(place), 1, func.length(prefix)) == prefix


def _last_use(table: Table) -> ColumnElement[float]:
    return func.coalesce(table.c.finished_at, table.c.created_at)
