"""Times and durations for people."""

from datetime import UTC, datetime

from scheduler.cli.ui import times

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_lengths_of_time_are_short() -> None:
    assert [times.span(seconds) for seconds in (4.24, 61, 7385)] == ["4.2 s", "1:01", "2:03:05"]
    assert times.ago(datetime(2026, 11, 20, 12, tzinfo=UTC), NOW) == "2 d ago"
    assert times.ago(None, NOW) == "–"
