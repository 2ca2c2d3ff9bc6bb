"""Pages of listings: how each listing of the API is cut, and how its next page is asked for."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, Field

from scheduler.domain.errors import RequestInvalidError

#: Of the entries of a page: one that is larger is alone on its page.
MAX_PAGE_BYTES = 2 * 2**20
#: Entries that are read at once. Memory is taken for these alone, however large a page may be.
_BATCH = 50
_Row = TypeVar("_Row")
_View = TypeVar("_View", bound=BaseModel)
_Id = TypeVar("_Id", str, int)


class Page(BaseModel, Generic[_View, _Id]):
    """A page of a listing."""

    data: list[_View]
    first_id: _Id | None = Field(description="Id of the first entry.")
    last_id: _Id | None = Field(description="Id of the last entry, which is the `after_id` of the next page.")
    has_more: bool = Field(description="Whether there is a next page.")

    @classmethod
    def collect(
        cls,
        find: Callable[[int, Any], Sequence[_Row]],
        view: Callable[[_Row], _View],
        *,
        limit: int,
        after_id: _Id | None,
        id: str = "id",
    ) -> Self:
        """Return a page of at most `limit` entries and about MAX_PAGE_BYTES.

        `find` gets how many entries to read at most, and the id that they come behind; `view` shows one. `id` is the
        field by which entries are named.
        """
        views: list[_View] = []
        nbytes, has_more, after = 0, False, after_id
        while not has_more:
            wanted = min(_BATCH, limit + 1 - len(views))
            found = find(wanted, after)
            for row in found:
                made = view(row)
                nbytes += len(made.model_dump_json())
                has_more = len(views) == limit or (bool(views) and nbytes > MAX_PAGE_BYTES)
                if has_more:
                    break
                views.append(made)
            if len(found) < wanted:
                break
            after = getattr(views[-1], id)
        ids = [getattr(each, id) for each in views]
        return cls(data=views, first_id=ids[0] if ids else None, last_id=ids[-1] if ids else None, has_more=has_more)

    @classmethod
    def of(cls, found: Iterable[_View], *, limit: int, id: str = "id") -> Self:
        """Return a page of at most `limit` entries; one more that was found says that there is a next page.

        `id` is the field by which entries are named.
        """
        views = list(found)
        ids = [getattr(view, id) for view in views[:limit]]
        return cls(
            data=views[:limit],
            first_id=ids[0] if ids else None,
            last_id=ids[-1] if ids else None,
            has_more=len(views) > limit,
        )

    @classmethod
    def of_all(cls, views: Sequence[_View], *, limit: int, after_id: _Id | None, id: str = "id") -> Self:
        """Return a page of a listing that is known as a whole; raise RequestInvalidError for an unknown `after_id`."""
        ids = [getattr(view, id) for view in views]
        if after_id is not None and after_id not in ids:
            raise RequestInvalidError(f"The listing has no entry {after_id!r}.", pointer="/after_id")
        start = 0 if after_id is None else ids.index(after_id) + 1
        return cls.of(views[start : start + limit + 1], limit=limit, id=id)
