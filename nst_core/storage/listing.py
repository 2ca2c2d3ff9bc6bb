"""Listings that are right on every S3 server, page by page, also on those that do not keep to Amazon's rules.

Some servers ignore StartAfter, or list its key once more. Some send short or empty pages with a token for the next one.
Some list keys in no order. A listing here always goes on behind a key, so it can be continued after a restart.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, NamedTuple, Protocol

from nst_core.errors import BlobAccessError, BlobInvalidError, BlobUnavailableError
from nst_core.storage.faults import Address, translated

#: Pages that one call reads at most. A server may send any number of empty ones.
MAX_PAGES = 200
#: Keys that are looked through at most if the server lists them in no order: each call reads all of them.
MAX_UNORDERED_PAGES = 1000
#: Listings whose last tokens are remembered.
_REMEMBERED = 256
#: Tokens of each that are remembered: a caller may continue from within a page, and several may list one prefix.
_MARKS = 8


class Prefix(Address, Protocol):
    """What is listed: a BlobUri."""

    @property
    def bucket(self) -> str: ...

    @property
    def key(self) -> str: ...


class Listed(NamedTuple):
    """What a listing says of an object."""

    #: What the storage calls its present content (its ETag); empty if it does not say.
    tag: str
    bytes: int


@dataclass(frozen=True)
class _Page:
    """One answer of the server."""

    #: By key, in the order of the answer.
    objects: dict[str, Listed]
    #: What gives the next page; not every server that has one gives a token.
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
        #: By bucket and prefix: keys up to which a listing was read, each with the token of what follows.
        self._marks: OrderedDict[tuple[str, str], OrderedDict[str, str]] = OrderedDict()
        #: Buckets that are gone on with by tokens, because the server does not begin behind StartAfter.
        self._by_token = set[str]()
        #: Buckets whose keys come in no order.
        self._unordered = set[str]()

    def list_objects(self, prefix: Prefix, *, after: str, limit: int) -> dict[str, Listed]:
        """Return up to `limit` objects under a prefix whose keys come after a key, in order, by key.

        Raises BlobUnavailableError if none was found within a number of pages; the next call continues from there.
        """
        if prefix.bucket not in self._unordered:
            found = self._in_order(prefix, after, limit)
            if found is not None:
                return found
            self._unordered.add(prefix.bucket)
        return self._out_of_order(prefix, after, limit)

    def _in_order(self, prefix: Prefix, after: str, limit: int) -> dict[str, Listed] | None:
        """Return the keys, or None if the server turns out to list them in no order."""
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
        """Return the smallest keys behind one of all that there are."""
        objects: dict[str, Listed] = {}
        for number, page in enumerate(self._read(prefix, {}, limit), 1):
            if number > MAX_UNORDERED_PAGES:
                raise BlobInvalidError(f"The storage lists {prefix} in no order, and there are too many objects.")
            objects |= {key: each for key, each in page.objects.items() if key > after}
            if len(objects) > 2 * limit:
                objects = {key: objects[key] for key in heapq.nsmallest(limit, objects)}
        return {key: objects[key] for key in heapq.nsmallest(limit, objects)}

    def _pages(self, prefix: Prefix, after: str, limit: int) -> Iterator[_Page]:
        """Yield pages from a place at or before a key on."""
        start = {"StartAfter": after} if after else {}
        token = self._token_before(prefix, after)
        if token is None:
            yield from self._read(prefix, start, limit)
            return
        pages = self._read(prefix, {"ContinuationToken": token}, limit)
        try:
            first = next(pages)
        except (BlobAccessError, BlobInvalidError):
            # The token is from an earlier call, and the server may have forgotten it.
            self._forget(prefix)
            pages = self._read(prefix, start, limit)
            first = next(pages)
        yield first
        yield from pages

    def _read(self, prefix: Prefix, where: dict[str, str], limit: int) -> Iterator[_Page]:
        """Yield pages to the end, or to one that the server has given before."""
        seen = set[str]()
        while True:
            page = self._page(prefix, where, limit)
            yield page
            go_on = page.token or page.last
            if not page.more or not go_on or go_on in seen:
                return
            seen.add(go_on)
            where = {"ContinuationToken": go_on} if page.token else {"StartAfter": go_on}

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
        """Return the token of the nearest place at or before a key, if StartAfter is of no use and one is known."""
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
