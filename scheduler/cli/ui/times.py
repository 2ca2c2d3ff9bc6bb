"""Times and lengths of time for people."""

from datetime import UTC, datetime
from typing import Protocol


class Timed(Protocol):
    """Whatever has a beginning and an end, as RFC 3339."""

    @property
    def started_at(self) -> str | None:
        """The beginning of the work."""

    @property
    def finished_at(self) -> str | None:
        """The end."""


def duration_s(timed: Timed, *, now: datetime | None = None) -> float | None:
    """Return how long a job or a run has run, to its end or to now; None before its beginning."""
    if timed.started_at is None:
        return None
    end = _time(timed.finished_at) if timed.finished_at else now or datetime.now(UTC)
    return max(0.0, (end - _time(timed.started_at)).total_seconds())


def took(timed: Timed) -> str:
    """Return how long a job or a run has run, for people."""
    seconds = duration_s(timed)
    return "–" if seconds is None else span(seconds)


def span(seconds: float) -> str:
    """Return a length of time: 4.2 s, 3:05 or 2:03:05."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def ago(moment: str | None, now: datetime) -> str:
    """Return how long ago an RFC 3339 time was, roughly."""
    if moment is None:
        return "–"
    seconds = max(0.0, (now - _time(moment)).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def local_time(moment: str | None) -> str:
    """Return an RFC 3339 time as the clock on the wall had it."""
    return f"{_time(moment).astimezone():%Y-%m-%d %H:%M:%S}" if moment else "–"


def _time(moment: str) -> datetime:
    return datetime.fromisoformat(moment)
