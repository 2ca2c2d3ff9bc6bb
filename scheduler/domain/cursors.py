"""Cursors of lists by time: where the next page begins, even if the entry before it was deleted in the meantime."""

import math
import re
from collections.abc import Callable
from typing import NamedTuple, Protocol

from scheduler.domain.errors import RequestInvalidError

_TEXT = re.compile(r"(\w{1,40})-([0-9]{1,20}\.[0-9]{1,20})", re.ASCII)


class Place(NamedTuple):
    """The place of an entry in a list, newest first."""

    #: Seconds since 1970.
    created_at: float
    id: str

    def dump(self) -> str:
        """Return the place as text that may stand where an id may: the id, a dash and the time."""
        return f"{self.id}-{float(self.created_at)!r}"

    @classmethod
    def load(cls, text: str) -> "Place | None":
        """Return the place of a text, or None if it is something else, such as an id alone."""
        match = _TEXT.fullmatch(text)
        if match is None or not math.isfinite(created_at := float(match[2])):
            return None
        return cls(created_at, match[1])


class Placed(Protocol):
    """An entry of a list by time."""

    @property
    def place(self) -> Place:
        """Its place in the list."""


def place_after(after_id: str | None, find: Callable[[str], Placed | None]) -> Place | None:
    """Return the place that an `after_id` means: one as text, or that of the entry that `find` returns for an id.

    Raises RequestInvalidError if there is no such entry: a page without entries would look like the end of the list.
    """
    if after_id is None:
        return None
    if (place := Place.load(after_id)) is not None:
        return place
    found = find(after_id)
    if found is None:
        raise RequestInvalidError(f"The list has no entry {after_id!r}.", pointer="/after_id")
    return found.place
