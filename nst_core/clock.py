"""Time as a parameter, so that tests decide what time it is."""

from collections.abc import Callable

#: Returns seconds since 1970, UTC (such as `time.time`), or seconds of a steady clock (such as `time.monotonic`).
Clock = Callable[[], float]
