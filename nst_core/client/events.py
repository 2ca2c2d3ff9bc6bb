"""Events as the API tells them, and how a stream of them is read."""

import json
from dataclasses import dataclass, field
from typing import Any

from nst_core.client.errors import UnreachableError

_ENDS = ("job.completed", "run.completed")


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a job or a run."""

    #: Where to go on: what comes later has a larger one.
    id: int
    #: Such as job.progress; a newer API may know others.
    type: str
    #: RFC 3339.
    timestamp: str
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def is_last(self) -> bool:
        return self.type in _ENDS


class EventParser:
    """Reads the lines of a stream (WHATWG HTML 9.2.6); what is none of ours is left out."""

    def __init__(self) -> None:
        self._id = ""
        self._type = ""
        self._data = ""

    def feed(self, line: str) -> Event | None:
        """Take a line without its end, and return the event that it completes."""
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "id":
                self._id = value
            elif name == "event":
                self._type = value
            elif name == "data":
                self._data += value + "\n"
            return None
        type_, data = self._type, self._data
        self._type, self._data = "", ""
        return _event(int(self._id), type_, data) if data and self._id.isdecimal() else None


def _event(id: int, type: str, data: str) -> Event:
    try:
        values = json.loads(data)
        return Event(id=id, type=type, timestamp=str(values["timestamp"]), data=dict(values["data"]))
    except (ValueError, KeyError, TypeError) as error:
        raise UnreachableError(f"The answer is none that this version of nst knows: {error!r}.") from error
