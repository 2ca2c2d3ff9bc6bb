"""Log lines: text for people, or one JSON object each, with the ids of what a line is about and without secrets.

A process calls `configure` once, when it knows its settings. Code logs as usual. Where a request, a chunk or an image
begins, `about` sets its ids, and every line that is logged inside has them, also those of libraries. Threads do not
inherit them: whoever gives work to another thread runs it in a copy of the context (`contextvars.copy_context`).

deploy/monitoring/README.md has a table of all fields.
"""

import faulthandler
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TypedDict, Unpack

from nst_core.clock import Clock

_log = logging.getLogger(__name__)
#: Seconds after which the same line is logged again.
_LOG_AGAIN_S = 60.0
#: What stands for a secret.
HIDDEN = "***"
#: A shorter value may be a word that lines have for another reason, such as the name of a bucket.
_MIN_SECRET_CHARACTERS = 8
#: Secrets by their form: what is before the @ of an address, API keys, and the secrets of webhooks.
_SECRETS = re.compile(r"(?<=://)[^\s/]*(?=@)|(?<=\bnst_[0-9a-f]{8}_)[\w-]{43}|(?<=\bwhsec_)[\w+/=-]{20,}")
_hidden: set[str] = set()
#: Libraries that log every step, at INFO, or the headers of every request, at DEBUG.
_CHATTY = ("alembic", "boto3", "botocore", "s3transfer", "urllib3")
#: Of every line of this process.
_of_process: dict[str, Any] = {"role": "", "pid": 0}


class Ids(TypedDict, total=False):
    """What a line may be about."""

    request_id: str
    tenant: str
    job_id: str
    chunk_id: int
    #: The index of the image in its job.
    item: int
    run_id: str
    #: The number of the attempt at the chunk, or of the run's segment.
    attempt: int
    worker: str
    trace_id: str


_ids = ContextVar[Ids]("ids")


@contextmanager
def about(**ids: Unpack[Ids]) -> Iterator[None]:
    """Add ids to all lines that are logged in the `with` block, by this thread and by copies of its context."""
    token = _ids.set({**current(), **ids})
    try:
        yield
    finally:
        _ids.reset(token)


def current() -> Ids:
    """Return the ids of a line that would be logged now."""
    return _ids.get(Ids())


def hide(*secrets: str) -> None:
    """Replace these values wherever a line has them. Values of less than 8 characters are not replaced."""
    _hidden.update(each for each in secrets if len(each) >= _MIN_SECRET_CHARACTERS)


def without_secrets(text: str) -> str:
    """Return a text without the values of `hide`, passwords in addresses, API keys and secrets of webhooks."""
    for secret in sorted(_hidden, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _SECRETS.sub(HIDDEN, text)


class TextFormatter(logging.Formatter):
    """Lines for people. Of the ids they have that of the request; sentences name what else they are about."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s%(request)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        found = current().get("request_id")
        record.request = f" [{found}]" if found else ""
        return without_secrets(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object in a line for each record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_of_process,
            **current(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps({k: without_secrets(v) if isinstance(v, str) else v for k, v in line.items()})


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


def configure(role: str, *, level: str = "INFO", form: str | None = None) -> None:
    """Log all of this process to the standard error: every library, warnings, and errors that nothing has caught.

    `role` says what kind of process it is. `form` is "text" or "json", by default as NST_LOG_FORMAT says. A second call
    changes the role and the level. A program that has configured logging itself keeps that.
    """
    _of_process.update(role=role, pid=os.getpid())
    root = logging.getLogger()
    if not root.handlers:
        root.setLevel(level)
        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter() if (form or wanted_form()) == "json" else TextFormatter())
        root.addHandler(handler)
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
        logging.captureWarnings(True)
        sys.excepthook = _log_uncaught
        threading.excepthook = _log_uncaught_of_thread
        sys.unraisablehook = _log_unraisable
    elif any(isinstance(each.formatter, TextFormatter | JsonFormatter) for each in root.handlers):
        root.setLevel(level)


def identify(worker: str) -> None:
    """Add the worker's name to all lines of this process."""
    _of_process["worker"] = worker


def wanted_form() -> str:
    """Return "json" if NST_LOG_FORMAT says so, otherwise "text"; for lines before the settings are known."""
    return "json" if os.environ.get("NST_LOG_FORMAT", "").strip().lower() == "json" else "text"


def tell(sentence: str, *, role: str, level: int = logging.ERROR) -> None:
    """Write a sentence to the standard error, before the settings are known: as it is, or in a JSON line."""
    if wanted_form() == "json":
        configure(role)
        _log.log(level, "%s", sentence)
    else:
        print(sentence, file=sys.stderr)


def stacks() -> str:
    """Return the stacks of all threads, as text."""
    # A file in memory, because faulthandler writes to files only. It needs no other thread and reads no source.
    file = os.memfd_create("stacks")
    try:
        faulthandler.dump_traceback(file, all_threads=True)
        return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")
    finally:
        os.close(file)


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None, where: str = "the process"
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        _log.critical("nothing caught an error of %s", where, exc_info=(kind, error, trace))


def _log_uncaught_of_thread(arguments: threading.ExceptHookArgs) -> None:
    kind, error, trace, thread = arguments
    if error is not None and not issubclass(kind, SystemExit):
        _log_uncaught(kind, error, trace, f"the thread {thread.name}" if thread is not None else "a thread")


def _log_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    error = unraisable.exc_value
    what = f"{unraisable.err_msg or 'an error was ignored in'} {unraisable.object!r}"
    _log.error("%s", what, exc_info=None if error is None else (type(error), error, unraisable.exc_traceback))
