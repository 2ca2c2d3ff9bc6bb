"""How Celery logs in a worker."""

import logging
import os
import sys
import warnings
from typing import Any

from celery import signals
from celery.apps import worker as celery_worker
from celery.exceptions import SecurityWarning

from nst_core.system.logs import Repeats

_log = logging.getLogger(__name__)


def tame_celery(level: str) -> None:
    """Keep Celery from setting up logging of its own, from printing, and from saying everything twice."""
    signals.setup_logging.connect(_leave_logging_alone)
    celery_worker.safe_say = _say
    # The worker logs one line per chunk; Celery's lines about received and completed messages add nothing.
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    # While Redis refuses its commands, Celery tries to connect several times a second and logs each attempt.
    for name in ("celery.worker.consumer.consumer", "celery.worker.consumer.connection", "py.warnings"):
        logging.getLogger(name).addFilter(Repeats())
    # No content of a message is run as code, so a worker that runs as root is as safe as other programs of root.
    warnings.filterwarnings("ignore", category=SecurityWarning)


def _leave_logging_alone(**_: Any) -> None:
    """Replace Celery's own logging setup, which runs only if nothing handles the signal."""


def _say(sentence: str, file: object = None) -> None:
    """Log what Celery would print, in its signal handlers."""
    # Formatted and written here: a handler's stream may be in the middle of another line.
    record = _log.makeRecord(_log.name, logging.INFO, __file__, 0, sentence, (), None)
    if _log.isEnabledFor(record.levelno):
        for formatter in {handler.formatter for handler in logging.getLogger().handlers if handler.formatter}:
            os.write((sys.__stderr__ or sys.stderr).fileno(), f"{formatter.format(record)}\n".encode())
