"""What a worker logs, and how: its own lines, and those of Celery that say something."""

import logging
import time
import warnings
from typing import Any

from celery import signals
from celery.exceptions import SecurityWarning

from nst_core.clock import Clock

#: A fault of Redis that lasts is logged again after this time.
_LOG_AGAIN_S = 60.0


def configure_logging(level: str) -> None:
    """Log to the standard error in one format, and keep Celery from setting up its own."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signals.setup_logging.connect(_leave_logging_alone)
    # A chunk has one line of its own; Celery's lines of what it received and what it completed add nothing.
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    # While Redis refuses its commands, Celery tries to connect several times a second, and says so each time.
    for name in ("celery.worker.consumer.consumer", "celery.worker.consumer.connection", "py.warnings"):
        logging.getLogger(name).addFilter(Repeats())
    # Nothing that a message has in it is run, so a worker of root is no more dangerous than other programs of root.
    warnings.filterwarnings("ignore", category=SecurityWarning)


class Repeats(logging.Filter):
    """Drops what was logged less than a minute ago already."""

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._logged: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is to be logged."""
        now, message = self._clock(), record.getMessage()
        self._logged = {text: at for text, at in self._logged.items() if now - at < _LOG_AGAIN_S}
        return self._logged.setdefault(message, now) == now


def _leave_logging_alone(**_: Any) -> None:
    """Stand in for Celery's own set-up of logging."""
