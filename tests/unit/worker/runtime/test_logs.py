"""Tests of worker.runtime.logs."""

import logging

from worker.runtime.logs import Repeats


def record(text: str, *values: object) -> logging.LogRecord:
    return logging.LogRecord("celery", logging.ERROR, "file.py", 1, text, values, None)


def test_line_is_logged_once_a_minute() -> None:
    now = [0.0]
    repeats = Repeats(clock=lambda: now[0])
    assert repeats.filter(record("cannot connect to %s", "redis"))
    now[0] = 59.0
    assert not repeats.filter(record("cannot connect to %s", "redis"))
    assert repeats.filter(record("cannot connect to %s", "another"))
    now[0] = 61.0
    assert repeats.filter(record("cannot connect to %s", "redis"))
