"""Clocks are parameters, so that tests can set the time."""

from collections.abc import Callable

#: Returns seconds: since 1970, UTC (like `time.time`), or of a steady clock (like `time.monotonic`).
Clock = Callable[[], float]
