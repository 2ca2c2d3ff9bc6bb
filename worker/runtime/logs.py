"""How a worker logs."""

import logging
import time
import warnings
from typing import Any

from celery import signals
from celery.exceptions import SecurityWarning

from nst_core.clock import Clock

#: Seconds after which the same line is logged again.
_LOG_AGAIN_S = 60.0


def configure_logging(level: str) -> None:
    """Log to the standard error in one format, and keep Celery from setting up its own."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signals.setup_logging.connect(_leave_logging_alone)
    # The worker logs one line per chunk; Celery's lines about received and completed messages add nothing.
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    # While Redis refuses its commands, Celery tries to connect several times a second and logs each attempt.
    for name in ("celery.worker.consumer.consumer", "celery.worker.consumer.connection", "py.warnings"):
        logging.getLogger(name).addFilter(Repeats())
    # No content of a message is run as code, so a worker that runs as root is as safe as other programs of root.
    warnings.filterwarnings("ignore", category=SecurityWarning)


class Repeats(logging.Filter):
    """Drops lines that were logged less than a minute ago."""

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._logged: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record."""
        now, message = self._clock(), record.getMessage()
        self._logged = {text: at for text, at in self._logged.items() if now - at < _LOG_AGAIN_S}
        return self._logged.setdefault(message, now) == now


def _leave_logging_alone(**_: Any) -> None:
    """Replace Celery's own logging setup, which runs only if nothing handles the signal."""
