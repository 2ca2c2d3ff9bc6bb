"""Items in the database: each is one input with one style."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, delete, func, insert, or_, select, update

from nst_core.client.resources.items import ItemStatus
from nst_core.protocol.chunks import ChunkItem
from nst_core.protocol.events import ItemOutcome, ItemProgress
from scheduler.domain.codes import Failure
from scheduler.domain.jobs import ChunkStatus, Reopening
from scheduler.store.database import Database
from scheduler.store.tables import chunks, items

UNFINISHED = (ItemStatus.PENDING, ItemStatus.RUNNING)
#: Jobs whose items are looked up in one query.
_JOBS_AT_ONCE = 100
#: The columns that an outcome sets.
_MADE = (
    "sha256",
    "bytes",
    "width",
    "height",
    "ms",
    "engine",
    "precision",
    "error_code",
    "error_message",
    "warning",
)


@dataclass(frozen=True, kw_only=True)
class NewItem:
    """A planned item. An item with an error has already failed and gets no chunk."""

    index: int
    input: str
    custom_id: str | None
    #: The s3:// address of the photo's own mask.
    mask: str | None
    #: Those of its own masks of the job's regions; None: that of the job.
    regions: tuple[str | None, ...] = ()
    style: str
    version: str
    output: str
    error: Failure | None = None


@dataclass(frozen=True, kw_only=True)
class Item:
    """An item in the database."""

    index: int
    input: str
    custom_id: str | None
    #: The s3:// address of the photo's own mask.
    mask: str | None
    #: Those of its own masks of the job's regions, if it has any.
    regions: list[str | None] | None = None
    style: str
    status: ItemStatus
    output: str
    attempt: int | None
    sha256: str | None
    bytes: int | None
    width: int | None
    height: int | None
    ms: int | None
    #: The engine that made the result, and its precision; None if the method has no engines.
    engine: str | None
    precision: str | None
    error_code: str | None
    error_message: str | None
    #: One sentence if the output may not be what its owner expects.
    warning: str | None
    #: The progress of its optimisation: the fields of ItemProgress except the index.
    progress: dict[str, Any] | None


#: The fields of an item in the order of the columns of `_SELECT`.
_FIELDS = tuple(Item.__dataclass_fields__)
_SELECT = select(*(items.c["position" if name == "index" else name] for name in _FIELDS))


def insert_planned(connection: Connection, job_id: str, groups: Sequence[Sequence[NewItem]], *, method: str) -> None:
    """Add groups of items, each of one style, and a chunk for each group.

    Items that have already failed get no chunk.
    """
    good = [[item for item in group if item.error is None] for group in groups]
    good = [group for group in good if group]
    ids = add_chunks(connection, job_id, [(group[0].style, group[0].version) for group in good], method=method)
    chunk_of = {item.index: chunk_id for group, chunk_id in zip(good, ids, strict=True) for item in group}
    rows = [
        {
            "job_id": job_id,
            "position": item.index,
            "chunk_id": chunk_of.get(item.index),
            "input": item.input,
            "custom_id": item.custom_id,
            "mask": item.mask,
            "regions": list(item.regions) or None,
            "style": item.style,
            "output": item.output,
            "claimed_output": item.output if item.error is None else None,
            "status": ItemStatus.FAILED if item.error else ItemStatus.PENDING,
            "error_code": item.error.code if item.error else None,
            "error_message": item.error.message if item.error else None,
        }
        for group in groups
        for item in group
    ]
    if rows:
        connection.execute(insert(items), rows)


def add_chunks(
    connection: Connection, job_id: str, styles: Sequence[tuple[str, str]], *, method: str, deaths: int = 0
) -> list[int]:
    """Add a waiting chunk for each name and version of a style, and return their ids in the same order."""
    if not styles:
        return []
    rows = [
        {
            "job_id": job_id,
            "method": method,
            "style": style,
            "version": version,
            "status": ChunkStatus.PENDING,
            "deaths": deaths,
        }
        for style, version in styles
    ]
    added = insert(chunks).returning(chunks.c.id, sort_by_parameter_order=True)
    return list(connection.execute(added, rows).scalars())


def move_to_chunks(connection: Connection, job_id: str, chunk_of: Mapping[int, int]) -> None:
    """Move items, by index, to other chunks."""
    if not chunk_of:
        return
    own = (items.c.job_id == job_id, items.c.position == bindparam("of_position"))
    rows = [{"of_position": index, "to_chunk": chunk_id} for index, chunk_id in chunk_of.items()]
    connection.execute(update(items).where(*own).values(chunk_id=bindparam("to_chunk")), rows)


def list_unchunked(connection: Connection, job_id: str, *, limit: int) -> list[tuple[int, str]]:
    """Return index and style of the first pending items of a job that are in no chunk."""
    query = select(items.c.position, items.c.style).where(
        items.c.job_id == job_id, items.c.status == ItemStatus.PENDING, items.c.chunk_id.is_(None)
    )
    return [(row.position, row.style) for row in connection.execute(query.order_by(items.c.position).limit(limit))]


def reopen(connection: Connection, job_id: str, reopening: Reopening, *, limit: int) -> Counter[ItemStatus]:
    """Reset up to `limit` items to pending, the first ones, without a chunk; return the change of counts.

    Items that planning refused stay as they are.
    """
    values: dict[str, Any] = {"status": ItemStatus.PENDING, "chunk_id": None, "attempt": None, "ms": None}
    values |= {"error_code": None, "error_message": None, "warning": None, "progress": None}
    changes = Counter[ItemStatus]()
    for query in _reopenable(job_id, reopening):
        rest = limit - changes[ItemStatus.PENDING]
        changes.update(_move_first(connection, query, values, limit=rest))
    return changes


def count_reopenable(connection: Connection, job_id: str, reopening: Reopening) -> int:
    """Return how many items `reopen` would reset without a limit."""
    counts = (select(func.count()).select_from(items).where(*query) for query in _reopenable(job_id, reopening))
    return sum(int(connection.execute(count).scalar_one()) for count in counts)


def taken_outputs(connection: Connection, job_id: str, outputs: Sequence[str]) -> set[str]:
    """Return which of the outputs belong to items of the job already."""
    query = select(items.c.claimed_output).where(items.c.job_id == job_id, items.c.claimed_output.in_(outputs))
    return set(connection.execute(query).scalars())


def kept_outputs(connection: Connection, job_ids: Sequence[str], outputs: Sequence[str]) -> set[str]:
    """Return which of the outputs are images of the jobs, or will be."""
    kept: set[str] = set()
    for start in range(0, len(job_ids), _JOBS_AT_ONCE):
        some = items.c.job_id.in_(job_ids[start : start + _JOBS_AT_ONCE])
        alive = items.c.status.in_((ItemStatus.SUCCEEDED, *UNFINISHED))
        query = select(items.c.claimed_output).where(some, items.c.claimed_output.in_(outputs), alive)
        kept.update(connection.execute(query).scalars())
    return kept


def list_items(
    connection: Connection,
    job_id: str,
    *,
    limit: int,
    after: int = -1,
    status: ItemStatus | None = None,
    code: str | None = None,
    style: str | None = None,
) -> list[Item]:
    """Return up to `limit` items in order, after the index `after`: all, or those of a status, an error or a style."""
    query = _SELECT.where(items.c.job_id == job_id, items.c.position > after)
    if status is not None:
        query = query.where(items.c.status == status)
    if code is not None:
        # No others have one, and those that failed are few and have an index.
        query = query.where(items.c.status == ItemStatus.FAILED, items.c.error_code == code)
    if style is not None:
        query = query.where(items.c.style == style)
    return [_item(row) for row in connection.execute(query.order_by(items.c.position).limit(limit))]


def iterate_items(
    database: Database, job_id: str, status: ItemStatus, *, after: int = -1, last: int | None = None, page: int = 1000
) -> Iterator[Item]:
    """Yield all items of a job with a status in order, a page at a time: those after `after`, and none after `last`."""
    while True:
        with database.read() as connection:
            found = list_items(connection, job_id, limit=page, after=after, status=status)
        for item in found:
            if last is not None and item.index > last:
                return
            yield item
        if len(found) < page:
            return
        after = found[-1].index


def nth_item(connection: Connection, job_id: str, status: ItemStatus, *, after: int, n: int) -> int | None:
    """Return the index of the n-th item (from 1) with a status after an index; None if there are fewer."""
    query = select(items.c.position).where(items.c.job_id == job_id, items.c.status == status, items.c.position > after)
    found: int | None = connection.execute(query.order_by(items.c.position).offset(n - 1).limit(1)).scalar()
    return found


def repeated_items(connection: Connection, job_id: str, *, after: int, limit: int) -> list[Item]:
    """Return succeeded items of a job, those after `after` in order, that took more than one attempt."""
    query = _SELECT.where(
        items.c.job_id == job_id,
        items.c.status == ItemStatus.SUCCEEDED,
        items.c.position > after,
        items.c.attempt > 1,
    )
    return [_item(row) for row in connection.execute(query.order_by(items.c.position).limit(limit))]


def set_result(connection: Connection, job_id: str, found: Item, *, sha256: str, size: int) -> None:
    """Record the stored object of a succeeded item, unless the item was processed again in the meantime."""
    connection.execute(
        update(items)
        .where(
            items.c.job_id == job_id,
            items.c.position == found.index,
            items.c.status == ItemStatus.SUCCEEDED,
            items.c.attempt == found.attempt,
            items.c.sha256 == found.sha256,
        )
        # Another attempt made it, perhaps with another engine.
        .values(sha256=sha256, bytes=size, engine=None, precision=None)
    )


def find_item(connection: Connection, job_id: str, index: int) -> Item | None:
    """Return one item."""
    row = connection.execute(_SELECT.where(items.c.job_id == job_id, items.c.position == index)).first()
    return None if row is None else _item(row)


def chunk_items(connection: Connection, chunk_id: int) -> list[ChunkItem]:
    """Return the unfinished items of a chunk in the format of messages."""
    rows = connection.execute(_unfinished(chunk_id).order_by(items.c.position))
    return [
        ChunkItem(
            index=row.position,
            input=row.input,
            output=row.output,
            mask=row.mask,
            regions=tuple(row.regions or ()),
        )
        for row in rows
    ]


def set_unfinished(
    connection: Connection, chunk_id: int, status: ItemStatus, *, error: Failure | None = None
) -> Counter[ItemStatus]:
    """Give the unfinished items of a chunk a status; return the change of counts."""
    own = (items.c.chunk_id == chunk_id, items.c.status.in_(UNFINISHED))
    changes: Counter[ItemStatus] = Counter()
    for before, count in connection.execute(select(items.c.status, func.count()).where(*own).group_by(items.c.status)):
        changes[ItemStatus(before)] -= count
        changes[status] += count
    values: dict[str, Any] = {"status": status}
    if error is not None:
        values |= {"error_code": error.code, "error_message": error.message}
    connection.execute(update(items).where(*own).values(values))
    return changes


def apply_outcomes(
    connection: Connection, chunk_id: int, attempt: int, outcomes: Sequence[ItemOutcome]
) -> tuple[list[ItemOutcome], Counter[ItemStatus]]:
    """Write outcomes to those items of the chunk that are unfinished; return them, and the change of counts."""
    changes: Counter[ItemStatus] = Counter()
    applied: list[ItemOutcome] = []
    if not outcomes:
        return applied, changes
    unfinished = select(items.c.position, items.c.status).where(
        items.c.chunk_id == chunk_id, items.c.status.in_(UNFINISHED)
    )
    before = {row.position: row.status for row in connection.execute(unfinished)}
    rows = []
    for outcome in outcomes:
        status = before.pop(outcome.index, None)
        if status is None:  # an earlier event reported it
            continue
        applied.append(outcome)
        after = ItemStatus.SUCCEEDED if outcome.succeeded else ItemStatus.FAILED
        rows.append(
            {"of_position": outcome.index, "new_status": after} | {f"new_{n}": getattr(outcome, n) for n in _MADE}
        )
        changes[status] -= 1
        changes[after] += 1
    if rows:
        own = (items.c.chunk_id == chunk_id, items.c.position == bindparam("of_position"))
        values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in ("status", *_MADE)}
        connection.execute(update(items).where(*own).values(attempt=attempt, **values), rows)
    return applied, changes


def set_progress(connection: Connection, chunk_id: int, progress: Sequence[ItemProgress]) -> bool:
    """Record the progress of unfinished items of a chunk; return whether an item reached a new maximum."""
    if not progress:
        return False
    before = {row.position: row.progress for row in connection.execute(_unfinished(chunk_id))}
    known = [each for each in progress if each.index in before]
    if known:
        own = (items.c.chunk_id == chunk_id, items.c.position == bindparam("of_position"))
        rows = [
            {"of_position": each.index, "now": {name: value for name, value in vars(each).items() if name != "index"}}
            for each in known
        ]
        connection.execute(
            update(items).where(*own).values(progress=bindparam("now", type_=items.c.progress.type)), rows
        )
    return any(each.iteration > (before[each.index] or {}).get("iteration", 0) for each in known)


def cancel_pending(connection: Connection, job_id: str, *, limit: int) -> Counter[ItemStatus]:
    """Cancel up to `limit` pending items of a job, except those in chunks that were sent; return the change of counts.

    Call it with the job locked, like every function that changes items, so that no worker has the items.
    """
    in_hand = (ChunkStatus.DISPATCHED, ChunkStatus.RUNNING)
    sent = select(chunks.c.id).where(chunks.c.job_id == job_id, chunks.c.status.in_(in_hand))
    at_rest = or_(items.c.chunk_id.is_(None), items.c.chunk_id.not_in(sent))
    pending = (items.c.job_id == job_id, items.c.status == ItemStatus.PENDING, at_rest)
    return _move_first(connection, pending, {"status": ItemStatus.CANCELLED}, limit=limit)


def delete_items(connection: Connection, job_id: str, *, limit: int) -> int:
    """Delete the first items of a job and return how many there were."""
    first = select(items.c.position).where(items.c.job_id == job_id).order_by(items.c.position).limit(limit)
    positions = list(connection.execute(first).scalars())
    if positions:
        own = (items.c.job_id == job_id, items.c.position <= positions[-1])
        connection.execute(delete(items).where(*own))
    return len(positions)


def _reopenable(job_id: str, reopening: Reopening) -> Iterator[tuple[ColumnElement[bool], ...]]:
    """Yield what is true for the items of each status, one status at a time, as the index has them."""
    # A refused item never claimed its output.
    own = (items.c.job_id == job_id, items.c.claimed_output.is_not(None))
    codes = () if reopening.codes is None else (items.c.error_code.in_(reopening.codes),)
    yield (*own, items.c.status == ItemStatus.FAILED, *codes)
    if reopening.cancelled:
        yield (*own, items.c.status == ItemStatus.CANCELLED)


def _move_first(
    connection: Connection, query: Sequence[ColumnElement[bool]], values: Mapping[str, Any], *, limit: int
) -> Counter[ItemStatus]:
    """Give the first items that match another status, and other values; return the change of counts."""
    found = select(items.c.position, items.c.status).where(*query).order_by(items.c.position).limit(limit)
    rows = connection.execute(found).all()
    changes = Counter[ItemStatus]({values["status"]: len(rows)})
    if rows:
        changes.subtract(row.status for row in rows)
        connection.execute(update(items).where(*query, items.c.position <= rows[-1].position).values(dict(values)))
    return changes


def _unfinished(chunk_id: int) -> Select[Any]:
    return select(items).where(items.c.chunk_id == chunk_id, items.c.status.in_(UNFINISHED))


def _item(row: Any) -> Item:
    # By position, not by name, for speed: the reports of a job read all of its items.
    return Item(**dict(zip(_FIELDS, row, strict=True)))
