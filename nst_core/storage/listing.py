"""Correct listings, page by page, also on S3 servers that do not follow Amazon's rules.

Some servers ignore StartAfter, or list its key once more. Some send short or empty pages with a token for the next one.
Some list keys unsorted. A listing here always continues after a key, so it can be resumed after a restart.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, NamedTuple, Protocol

from nst_core.errors import BlobAccessError, BlobInvalidError, BlobUnavailableError
from nst_core.storage.faults import Address, translated

#: The most pages that one call reads. A server may send any number of empty pages.
MAX_PAGES = 200
#: The most pages of a server that lists keys unsorted: each call reads all of them.
MAX_UNORDERED_PAGES = 1000
#: The number of listings whose last tokens are remembered.
_REMEMBERED = 256
#: The tokens per listing: a caller may continue in the middle of a page, and several may list one prefix.
_MARKS = 8


class Prefix(Address, Protocol):
    """A prefix to list: a BlobUri."""

    @property
    def bucket(self) -> str: ...

    @property
    def key(self) -> str: ...


class Listed(NamedTuple):
    """An object in a listing."""

    #: The ETag; empty if the storage does not say.
    tag: str
    bytes: int


@dataclass(frozen=True)
class _Page:
    """One answer of the server."""

    #: Objects by key, in the order of the answer.
    objects: dict[str, Listed]
    #: The token for the next page; not every server sends one.
    token: str | None
    #: Whether there is another page.
    more: bool

    @property
    def last(self) -> str | None:
        """The last key."""
        return next(reversed(self.objects), None)


class Listings:
    """Lists the buckets of one client. Safe to share between threads."""

    def __init__(self, client: Any, *, max_pages: int = MAX_PAGES) -> None:
        self._client = client
        self._max_pages = max_pages
        self._lock = Lock()
        #: By bucket and prefix: the keys up to which a listing was read, each with the token of the following page.
        self._marks: OrderedDict[tuple[str, str], OrderedDict[str, str]] = OrderedDict()
        #: Buckets whose listings continue with tokens, because the server ignores StartAfter.
        self._by_token = set[str]()
        #: Buckets whose keys come unsorted.
        self._unordered = set[str]()

    def list_objects(self, prefix: Prefix, *, after: str, limit: int) -> dict[str, Listed]:
        """Return up to `limit` objects under a prefix whose keys come after `after`, sorted by key.

        Raises BlobUnavailableError if none was found within a number of pages; the next call continues from there.
        """
        if prefix.bucket not in self._unordered:
            found = self._in_order(prefix, after, limit)
            if found is not None:
                return found
            self._unordered.add(prefix.bucket)
        return self._out_of_order(prefix, after, limit)

    def _in_order(self, prefix: Prefix, after: str, limit: int) -> dict[str, Listed] | None:
        """Return the objects, or None if the server lists keys unsorted."""
        found: dict[str, Listed] = {}
        newest, seen = after, ""
        for number, page in enumerate(self._pages(prefix, after, limit), 1):
            keys = list(page.objects)
            if keys != sorted(keys) or (keys and keys[0] < seen):
                return None
            if keys and keys[0] < after:
                self._by_token.add(prefix.bucket)
            found |= {key: each for key, each in page.objects.items() if key > newest}
            seen = keys[-1] if keys else seen
            newest = max(newest, seen)
            if page.token is not None:
                self._mark(prefix, newest, page.token)
            if len(found) >= limit or (found and number >= self._max_pages):
                break
            if number >= self._max_pages and page.token is not None:
                self._by_token.add(prefix.bucket)
                raise BlobUnavailableError(f"The storage has listed {number} pages of {prefix} without a new object.")
        return {key: found[key] for key in list(found)[:limit]}

    def _out_of_order(self, prefix: Prefix, after: str, limit: int) -> dict[str, Listed]:
        """Return the objects with the smallest keys after `after`, from a listing of all."""
        objects: dict[str, Listed] = {}
        for number, page in enumerate(self._read(prefix, {}, limit), 1):
            if number > MAX_UNORDERED_PAGES:
                raise BlobInvalidError(f"The storage lists {prefix} unsorted, and there are too many objects.")
            objects |= {key: each for key, each in page.objects.items() if key > after}
            if len(objects) > 2 * limit:
                objects = {key: objects[key] for key in heapq.nsmallest(limit, objects)}
        return {key: objects[key] for key in heapq.nsmallest(limit, objects)}

    def _pages(self, prefix: Prefix, after: str, limit: int) -> Iterator[_Page]:
        """Yield pages, beginning at or before the key `after`."""
        start = {"StartAfter": after} if after else {}
        token = self._token_before(prefix, after)
        if token is None:
            yield from self._read(prefix, start, limit)
            return
        pages = self._read(prefix, {"ContinuationToken": token}, limit)
        try:
            first = next(pages)
        except (BlobAccessError, BlobInvalidError):
            # The token is from an earlier call, and may have expired.
            self._forget(prefix)
            pages = self._read(prefix, start, limit)
            first = next(pages)
        yield first
        yield from pages

    def _read(self, prefix: Prefix, where: dict[str, str], limit: int) -> Iterator[_Page]:
        """Yield pages until the end, or until the server repeats a page."""
        seen = set[str]()
        while True:
            page = self._page(prefix, where, limit)
            yield page
            following = page.token or page.last
            if not page.more or not following or following in seen:
                return
            seen.add(following)
            where = {"ContinuationToken": following} if page.token else {"StartAfter": following}

    def _page(self, prefix: Prefix, where: dict[str, str], limit: int) -> _Page:
        with translated(prefix):
            answer = self._client.list_objects_v2(Bucket=prefix.bucket, Prefix=prefix.key, MaxKeys=limit, **where)
        entries = [entry for entry in answer.get("Contents", ()) if entry.get("Key", "").startswith(prefix.key)]
        token = answer.get("NextContinuationToken") or None
        return _Page(
            objects={
                entry["Key"]: Listed(entry.get("ETag", ""), int(entry.get("Size", 0)))
                for entry in entries
                if entry.get("Key")
            },
            token=token,
            more=bool(answer.get("IsTruncated", token is not None)),
        )

    def _token_before(self, prefix: Prefix, after: str) -> str | None:
        """Return the known token of the nearest place at or before a key, if the server ignores StartAfter."""
        if prefix.bucket not in self._by_token:
            return None
        with self._lock:
            marks: Mapping[str, str] = self._marks.get((prefix.bucket, prefix.key)) or {}
            before = [key for key in marks if key <= after]
            return marks[max(before)] if before else None

    def _mark(self, prefix: Prefix, key: str, token: str) -> None:
        with self._lock:
            marks: OrderedDict[str, str] = self._marks.setdefault((prefix.bucket, prefix.key), OrderedDict())
            self._marks.move_to_end((prefix.bucket, prefix.key))
            marks[key] = token
            marks.move_to_end(key)
            if len(marks) > _MARKS:
                marks.popitem(last=False)
            if len(self._marks) > _REMEMBERED:
                self._marks.popitem(last=False)

    def _forget(self, prefix: Prefix) -> None:
        with self._lock:
            self._marks.pop((prefix.bucket, prefix.key), None)
