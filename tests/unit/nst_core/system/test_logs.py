"""Tests of nst_core.system.logs."""

import contextvars
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from nst_core.decoding.child import Child
from nst_core.errors import EngineError
from nst_core.settings import BrokerSettings, StorageSettings, secrets_of
from nst_core.system import logs
from nst_core.system.logs import JsonFormatter, Repeats, TextFormatter, about, without_secrets

PASSWORD = "p@ss/word-of-redis"
KEY = "nst_1a2b3c4d_" + "S" * 43


def record(text: str, *values: object) -> logging.LogRecord:
    return logging.LogRecord("celery", logging.ERROR, "file.py", 1, text, values, None)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """What a test hides is not hidden in others."""
    before = set(logs._hidden)
    yield
    logs._hidden.clear()
    logs._hidden.update(before)


def run(script: str, *, form: str = "json", code: int = 0) -> list[dict[str, Any]]:
    """Run a script whose output is JSON lines, and return them."""
    env = {"NST_LOG_FORMAT": form}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == code, done.stderr
    return [json.loads(line) for line in (done.stdout + done.stderr).splitlines()]


def test_line_is_logged_once_a_minute() -> None:
    now = [0.0]
    repeats = Repeats(clock=lambda: now[0])
    assert repeats.filter(record("cannot connect to %s", "redis"))
    now[0] = 59.0
    assert not repeats.filter(record("cannot connect to %s", "redis"))
    assert repeats.filter(record("cannot connect to %s", "another"))
    now[0] = 61.0
    assert repeats.filter(record("cannot connect to %s", "redis"))


def test_a_line_has_the_ids_of_what_it_is_about() -> None:
    made = record("two\nlines, and %s", "ünïcode\u2028\ud800")
    made.created = 1_700_000_000.9996
    with about(job_id="job_1", chunk_id=7), about(chunk_id=8, item=0):
        text = JsonFormatter().format(made)
        inherited = contextvars.copy_context()
    assert "\n" not in text
    assert text.isascii()
    line = json.loads(text)
    assert line.pop("pid") == logs._of_process["pid"]
    assert line == {
        "time": "2023-11-14T22:13:20.999Z",
        "level": "ERROR",
        "logger": "celery",
        "message": "two\nlines, and ünïcode\u2028\ud800",
        "role": logs._of_process["role"],
        "job_id": "job_1",
        "chunk_id": 8,
        "item": 0,
    }
    assert logs.current() == {}
    assert inherited.run(logs.current) == {"job_id": "job_1", "chunk_id": 8, "item": 0}


def test_text_names_the_request() -> None:
    with about(request_id="req_1", job_id="job_1"):
        assert TextFormatter().format(record("a")).endswith(" ERROR celery [req_1]: a")
    assert TextFormatter().format(record("a")).endswith(" ERROR celery: a")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rediss://nst:p@ss@redis.internal:6379/0", "rediss://***@redis.internal:6379/0"),
        ("redis://:secret@[::1]:6379, then s3://nst/a@b.jpg", "redis://***@[::1]:6379, then s3://nst/a@b.jpg"),
        ("s3://nst/tenants/a/upl_1/me@example.com", "s3://nst/tenants/a/upl_1/me@example.com"),
        (f"Bearer {KEY}", "Bearer nst_1a2b3c4d_***"),
        ("whsec_" + "a+/=" * 8, "whsec_***"),
        ("The key nst_1a2b3c4d_… was revoked", "The key nst_1a2b3c4d_… was revoked"),
    ],
)
def test_secrets_are_known_by_their_form(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_secrets_of_settings_are_in_no_field_of_a_line() -> None:
    broker = BrokerSettings(
        redis_url=SecretStr("redis://:p%40ss%2Fword-of-redis@h:1/0"), message_secret=SecretStr("m" * 32)
    )
    storage = StorageSettings(s3_access_key=SecretStr("nst"), s3_secret_key=SecretStr("secret-of-storage"))
    assert secrets_of(broker) == ["p%40ss%2Fword-of-redis", PASSWORD, "m" * 32]
    logs.hide(*secrets_of(broker), *secrets_of(storage))
    try:
        raise ValueError(f"{'m' * 32} p%40ss%2Fword-of-redis")
    except ValueError:
        made = record("%s", "secret-of-storage")
        made.exc_info = sys.exc_info()
    with about(request_id=KEY, tenant=PASSWORD):
        for formatter in (JsonFormatter(), TextFormatter()):
            line = formatter.format(made)
            assert not [each for each in (*secrets_of(broker), "secret-of-storage", KEY) if each in line]
        assert "nst" in json.loads(JsonFormatter().format(record("bucket nst")))["message"]


EVERYTHING = f"""
import logging, threading, warnings
from nst_core.system.logs import configure, identify, tell
tell("before the settings", role="worker", level=logging.WARNING)
configure("worker", level="WARNING", form="json")
identify(worker="w@host")
logging.getLogger("celery").info("not shown")
logging.getLogger("sqlalchemy.pool").error("{KEY}")
warnings.warn("be warned")
def fail(): raise KeyError("in a thread")
thread = threading.Thread(target=fail, name="engine")
thread.start(); thread.join()
class Broken:
    def __del__(self): raise OSError("cannot be raised")
Broken()
raise ZeroDivisionError("at last")
"""


def test_warnings_libraries_and_uncaught_errors_are_lines_too() -> None:
    lines = run(EVERYTHING, code=1)
    assert [(line["level"], line["logger"]) for line in lines] == [
        ("WARNING", "nst_core.system.logs"),
        ("ERROR", "sqlalchemy.pool"),
        ("WARNING", "py.warnings"),
        ("CRITICAL", "nst_core.system.logs"),
        ("ERROR", "nst_core.system.logs"),
        ("CRITICAL", "nst_core.system.logs"),
    ]
    assert lines[1]["message"] == "nst_1a2b3c4d_***"
    assert "UserWarning: be warned" in lines[2]["message"]
    assert "the thread engine" in lines[3]["message"]
    errors = [line["exception"] for line in lines[3:]]
    assert all(error.startswith("Traceback (most recent call last):") for error in errors)
    assert [error.splitlines()[-1] for error in errors] == [
        "KeyError: 'in a thread'",
        "OSError: cannot be raised",
        "ZeroDivisionError: at last",
    ]
    assert {line["role"] for line in lines} == {"worker"}
    assert all(line["worker"] == "w@host" for line in lines[1:])


def test_a_process_that_cannot_start_says_so_in_the_format() -> None:
    (line,) = run("import sys; from worker.__main__ import main; sys.exit(main())", code=78)
    assert line["message"].startswith("The worker cannot start: NST_MESSAGE_SECRET must be set")
    assert (line["role"], line["level"]) == ("worker", "ERROR")


def test_a_process_that_reads_images_and_cannot_start_says_why_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('this numpy is broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("NST_LOG_FORMAT", "json")
    with pytest.raises(EngineError, match="ended during its start"):
        Child(memory_bytes=1 << 30, seconds=1)
    (line,) = map(json.loads, capfd.readouterr().err.splitlines())
    assert (line["role"], line["level"]) == ("decoder", "CRITICAL")
    assert line["exception"].endswith("ImportError: this numpy is broken")


def test_the_stacks_are_those_of_all_threads() -> None:
    ready, go = threading.Event(), threading.Event()

    def wait_in_a_thread() -> None:
        ready.set()
        go.wait()

    thread = threading.Thread(target=wait_in_a_thread)
    thread.start()
    ready.wait()
    found = logs.stacks()
    go.set()
    thread.join()
    assert "in wait_in_a_thread" in found
    assert "in test_the_stacks_are_those_of_all_threads" in found
