"""Times and durations for people."""

from datetime import UTC, datetime
from typing import Protocol


class Timed(Protocol):
    """Anything with a start and an end."""

    @property
    def started_at(self) -> datetime | None:
        """The start of the work."""

    @property
    def finished_at(self) -> datetime | None:
        """The end."""


def duration_s(timed: Timed, *, now: datetime | None = None) -> float | None:
    """Return the seconds from the start to the end, or to now; None before the start."""
    if timed.started_at is None:
        return None
    end = timed.finished_at or now or datetime.now(UTC)
    return max(0.0, (end - timed.started_at).total_seconds())


def took(timed: Timed) -> str:
    """Return how long a job took, such as 4.2 s."""
    seconds = duration_s(timed)
    return "–" if seconds is None else span(seconds)


def span(seconds: float) -> str:
    """Return a duration such as 4.2 s, 3:05 or 2:03:05."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """Return roughly how long ago a time was, such as 20 min ago."""
    if moment is None:
        return "–"
    seconds = max(0.0, ((now or datetime.now(UTC)) - moment).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def local_time(moment: datetime | None) -> str:
    """Return a time in this machine's time zone."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment else "–"
