"""Builds pages of lists."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from nst_core.client.resources.pages import Page
from scheduler.domain.errors import RequestInvalidError

#: The most bytes of a page's entries; a larger entry has a page of its own.
MAX_PAGE_BYTES = 2 * 2**20
#: Entries that are usually read at a time, so that memory does not grow with the size of a page.
_BATCH = 50
_Row = TypeVar("_Row")
_PageT = TypeVar("_PageT", bound=Page[Any, Any])


def collect(
    cls: type[_PageT],
    find: Callable[[int, Any], Sequence[_Row]],
    make: Callable[[_Row], Any],
    *,
    limit: int,
    after_id: str | int | None,
    place: Callable[[_Row], str] | None = None,
    batch: int = _BATCH,
) -> _PageT:
    """Return a page of at most `limit` entries and about MAX_PAGE_BYTES.

    `find` takes the maximum number of rows and the id of the row before the first; `make` turns a row into an entry.
    Where the order is not that of the ids, `place` says what to give `find` instead of a row's id: with an id alone,
    the list could not go on after a row that was deleted. `batch` is the number of rows that are read at a time.
    """
    entries: list[Any] = []
    nbytes, has_more, after = 0, False, after_id
    while not has_more:
        wanted = min(batch, limit + 1 - len(entries))
        found = find(wanted, after)
        for row in found:
            made = make(row)
            nbytes += len(made.model_dump_json())
            has_more = len(entries) == limit or (bool(entries) and nbytes > MAX_PAGE_BYTES)
            if has_more:
                break
            entries.append(made)
            after = getattr(made, cls.id_field) if place is None else place(row)
        if len(found) < wanted:
            break
    return _page(cls, entries, has_more=has_more, last_id=after)


def cut(cls: type[_PageT], entries: Sequence[Any], *, limit: int, after_id: str | None) -> _PageT:
    """Return a page of a list in memory; raise RequestInvalidError for an unknown `after_id`."""
    ids = [getattr(entry, cls.id_field) for entry in entries]
    if after_id is not None and after_id not in ids:
        raise RequestInvalidError(f"The list has no entry {after_id!r}.", pointer="/after_id")
    start = 0 if after_id is None else ids.index(after_id) + 1
    shown = entries[start : start + limit]
    last_id = getattr(shown[-1], cls.id_field) if shown else None
    return _page(cls, shown, has_more=len(entries) > start + limit, last_id=last_id)


def _page(cls: type[_PageT], entries: Sequence[Any], *, has_more: bool, last_id: Any) -> _PageT:
    first_id = getattr(entries[0], cls.id_field) if entries else None
    return cls(data=entries, first_id=first_id, last_id=last_id if entries else None, has_more=has_more)
