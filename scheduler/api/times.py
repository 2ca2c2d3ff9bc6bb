"""Times in requests and answers."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
#: Python's calendar ends a year later, wherever on earth one is.
_LAST = datetime(9998, 12, 31, tzinfo=UTC)


def _check(value: datetime) -> datetime:
    if not _FIRST <= value <= _LAST:
        raise ValueError("a time is between the years 1970 and 9998")
    return value


#: A time with its offset, which any calendar knows in any time zone.
Moment = Annotated[AwareDatetime, AfterValidator(_check)]


def moment(seconds: float) -> datetime:
    """Return the time of a Unix timestamp, and the last one of `Moment` for all that is later."""
    return datetime.fromtimestamp(min(seconds, _LAST.timestamp()), UTC)


def moment_if(seconds: float | None) -> datetime | None:
    """Return the time of a Unix timestamp, if there is one."""
    return None if seconds is None else moment(seconds)
