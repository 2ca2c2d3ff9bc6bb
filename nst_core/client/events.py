"""Reads a stream of server-sent events."""

import json

from nst_core.client.answers import not_understood
from nst_core.client.resources.events import Event


class EventParser:
    """Reads the lines of a stream (WHATWG HTML 9.2.6); events without an id or data are skipped."""

    def __init__(self) -> None:
        self._id = ""
        self._type = ""
        self._data = ""

    def feed(self, line: str) -> Event | None:
        """Take a line without its line break; return the event that it completes, or None."""
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
        return _event(self._id, type_, data) if data and self._id.isdecimal() else None


def _event(id: str, type: str, data: str) -> Event:
    try:
        return Event.model_validate({**json.loads(data), "id": int(id), "type": type})
    except (ValueError, TypeError, RecursionError) as error:
        raise not_understood(error) from error
