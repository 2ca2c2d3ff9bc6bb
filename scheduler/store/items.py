"""Items in the database: one input with one style each."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, insert, select, update

from nst_core.protocol import ChunkItem, ItemOutcome, ItemProgress, ItemStatus, Method
from scheduler.store.database import Database
from scheduler.store.tables import chunks, items

UNFINISHED = (ItemStatus.PENDING, ItemStatus.RUNNING)


@dataclass(frozen=True, kw_only=True)
class NewItem:
    """An item as planned; one with an error is born failed and goes to no chunk."""

    index: int
    input: str
    custom_id: str | None
    style: str
    version: str
    output: str
    error: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Item:
    """An item as the store has it."""

    index: int
    input: str
    custom_id: str | None
    style: str
    status: ItemStatus
    output: str
    attempt: int | None
    sha256: str | None
    bytes: int | None
    width: int | None
    height: int | None
    ms: int | None
    error_code: str | None
    error_message: str | None
    #: How far its optimisation has come: the fields of ItemProgress but the index.
    progress: dict[str, Any] | None


def insert_chunk(connection: Connection, job_id: str, planned: Sequence[NewItem], *, method: Method) -> None:
    """Add items of one style, and the chunk that they go to unless they are born failed."""
    good = [item for item in planned if item.error is None]
    chunk_id = None
    if good:
        values = {
            "job_id": job_id,
            "method": method,
            "style": good[0].style,
            "version": good[0].version,
            "status": "pending",
        }
        chunk_id = connection.execute(insert(chunks).values(values).returning(chunks.c.id)).scalar_one()
    rows = [
        {
            "job_id": job_id,
            "position": item.index,
            "chunk_id": chunk_id if item.error is None else None,
            "input": item.input,
            "custom_id": item.custom_id,
            "style": item.style,
            "output": item.output,
            "claimed_output": item.output if item.error is None else None,
            "status": ItemStatus.FAILED if item.error else ItemStatus.PENDING,
            "error_code": item.error[0] if item.error else None,
            "error_message": item.error[1] if item.error else None,
        }
        for item in planned
    ]
    connection.execute(insert(items), rows)


def taken_outputs(connection: Connection, job_id: str, outputs: Sequence[str]) -> set[str]:
    """Return which of the outputs belong to items of the job already."""
    query = select(items.c.claimed_output).where(items.c.job_id == job_id, items.c.claimed_output.in_(outputs))
    return set(connection.execute(query).scalars())


def list_items(
    connection: Connection, job_id: str, *, limit: int, after: int = -1, status: ItemStatus | None = None
) -> list[Item]:
    """Return up to `limit` items in order, after the index `after`."""
    query = select(items).where(items.c.job_id == job_id, items.c.position > after)
    if status is not None:
        query = query.where(items.c.status == status)
    return [_item(row) for row in connection.execute(query.order_by(items.c.position).limit(limit))]


def iterate_items(database: Database, job_id: str, status: ItemStatus, *, page: int = 1000) -> Iterator[Item]:
    """Yield all items of a job with a status in order, a page at a time."""
    after = -1
    while True:
        with database.read() as connection:
            found = list_items(connection, job_id, limit=page, after=after, status=status)
        yield from found
        if len(found) < page:
            return
        after = found[-1].index


def find_item(connection: Connection, job_id: str, index: int) -> Item | None:
    """Return one item."""
    row = connection.execute(select(items).where(items.c.job_id == job_id, items.c.position == index)).first()
    return None if row is None else _item(row)


def chunk_items(connection: Connection, chunk_id: int) -> list[ChunkItem]:
    """Return the unfinished items of a chunk as a message carries them."""
    rows = connection.execute(_unfinished(chunk_id).order_by(items.c.position))
    return [ChunkItem(index=row.position, input=row.input, output=row.output) for row in rows]


def set_unfinished(
    connection: Connection,
    chunk_id: int,
    status: ItemStatus,
    *,
    only: Sequence[int] | None = None,
    error: tuple[str, str] | None = None,
) -> Counter[ItemStatus]:
    """Give the unfinished items of a chunk (or `only` some of them) a status; return the change of counts."""
    changes: Counter[ItemStatus] = Counter()
    for row in connection.execute(_unfinished(chunk_id)):
        if only is None or row.position in only:
            changes[ItemStatus(row.status)] -= 1
            changes[status] += 1
    condition = [items.c.chunk_id == chunk_id, items.c.status.in_(UNFINISHED)]
    if only is not None:
        condition.append(items.c.position.in_(only))
    values: dict[str, Any] = {"status": status}
    if error is not None:
        values |= {"error_code": error[0], "error_message": error[1]}
    connection.execute(update(items).where(*condition).values(values))
    return changes


def apply_outcomes(
    connection: Connection, chunk_id: int, attempt: int, outcomes: Sequence[ItemOutcome]
) -> Counter[ItemStatus]:
    """Write outcomes to those items of the chunk that are unfinished; return the change of counts."""
    before = {row.position: ItemStatus(row.status) for row in connection.execute(_unfinished(chunk_id))}
    changes: Counter[ItemStatus] = Counter()
    for outcome in outcomes:
        status = before.pop(outcome.index, None)
        if status is None:  # an earlier event said it already
            continue
        after = ItemStatus.SUCCEEDED if outcome.succeeded else ItemStatus.FAILED
        values = {
            "status": after,
            "attempt": attempt,
            "sha256": outcome.sha256,
            "bytes": outcome.bytes,
            "width": outcome.width,
            "height": outcome.height,
            "ms": outcome.ms,
            "error_code": outcome.error_code,
            "error_message": outcome.error_message,
        }
        own = (items.c.chunk_id == chunk_id, items.c.position == outcome.index)
        connection.execute(update(items).where(*own).values(values))
        changes[status] -= 1
        changes[after] += 1
    return changes


def set_progress(connection: Connection, chunk_id: int, progress: Sequence[ItemProgress]) -> bool:
    """Note how far unfinished items of a chunk have come; return whether one was never as far before."""
    before = {row.position: row.progress for row in connection.execute(_unfinished(chunk_id))}
    advanced = False
    for each in progress:
        if each.index not in before:
            continue
        values = {name: value for name, value in vars(each).items() if name != "index"}
        own = (items.c.chunk_id == chunk_id, items.c.position == each.index)
        connection.execute(update(items).where(*own).values(progress=values))
        advanced |= each.iteration > (before[each.index] or {}).get("iteration", 0)
    return advanced


def cancel_pending(connection: Connection, job_id: str) -> Counter[ItemStatus]:
    """Cancel the items of a job that are in no worker's hands; return the change of counts.

    To be called under the job's lock, as all changes of items are: then those are exactly the pending ones.
    """
    pending = (items.c.job_id == job_id, items.c.status == ItemStatus.PENDING)
    count = connection.execute(update(items).where(*pending).values(status=ItemStatus.CANCELLED)).rowcount
    return Counter({ItemStatus.PENDING: -count, ItemStatus.CANCELLED: count})


def _unfinished(chunk_id: int) -> Select[Any]:
    return select(items).where(items.c.chunk_id == chunk_id, items.c.status.in_(UNFINISHED))


def _item(row: Any) -> Item:
    return Item(
        **{name: getattr(row, name) for name in Item.__dataclass_fields__ if name not in ("index", "status")},
        index=row.position,
        status=ItemStatus(row.status),
    )
