"""The command line: `nst`. It speaks to the API through the HTTP client only."""

from scheduler.cli.app import main, run

__all__ = ["main", "run"]
