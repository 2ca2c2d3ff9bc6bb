"""How a scheduler that cannot start says so: one sentence, and exit code 78 for what does not pass by itself."""

import builtins
import socket
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from nst_core.extras import install_command
from nst_core.settings import unknown_variables
from scheduler.__main__ import main
from scheduler.access.keys import is_api_key
from scheduler.cli.app import run
from scheduler.local.servers import HOST, free_port
from scheduler.store.database import Database
from tests.postgres import find_postgres, run_postgres

PASSWORD = "do-not-print-me"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings with which a scheduler would get as far as to the storage."""
    monkeypatch.setenv("NST_DATABASE_URL", f"sqlite:///{tmp_path}/nst.db")
    monkeypatch.setenv("NST_PORT", "0")
    monkeypatch.setenv("NST_REDIS_URL", f"redis://{HOST}:{free_port()}/0")
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "PROFILE", "SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.setswitchinterval", lambda seconds: None)


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line after the words that it begins with."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("The scheduler cannot start: ")
    assert PASSWORD not in lines[0]
    return lines[0].removeprefix("The scheduler cannot start: ")


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"NST_MESSAGE_SECRET": PASSWORD}, "NST_MESSAGE_SECRET must be set to 32 random characters"),
        ({"NST_REDIS_URL": f"http://:{PASSWORD}@h"}, "NST_REDIS_URL must be an address like redis://"),
        ({"NST_S3_ENDPOINT": "storage:9000"}, "NST_S3_ENDPOINT must be an address like https://"),
        ({"NST_DATABASE_URL": f"mysql://nst:{PASSWORD}@h/nst"}, "NST_DATABASE_URL names mysql; nst takes SQLite"),
        ({"NST_DATABASE_URL": "here"}, "NST_DATABASE_URL is not an address like"),
        ({"NST_DATABASE_URL": "sqlite:////no/such/folder/nst.db"}, "NST_DATABASE_URL cannot be used: unable to open"),
        (
            {"NST_BOOTSTRAP_API_KEY": PASSWORD},
            "NST_BOOTSTRAP_API_KEY is not an API key; `nst bootstrap-key` prints one.",
        ),
        ({"NST_EXTRA_BUCKETS": "a,b"}, "NST_EXTRA_BUCKETS is not valid JSON"),
        ({"NST_DECODER_SECONDS": "0"}, "NST_DECODER_SECONDS Input should be greater than or equal to 1"),
        ({"NST_LOG_LEVEL": "LOUD"}, "NST_LOG_LEVEL Input should be 'DEBUG'"),
        ({"NST_PORT": "http"}, "NST_PORT Input should be a valid integer"),
        ({"NST_WEBHOOK_SECRET_KEY": PASSWORD}, "NST_WEBHOOK_SECRET_KEY is not the URL-safe base64"),
        ({"NST_WEBHOOK_CA_FILE": "/no/such/file"}, "NST_WEBHOOK_CA_FILE Path does not point to a file"),
        ({"NST_HOST": "203.0.113.1"}, "the API cannot listen at NST_HOST 203.0.113.1"),
        ({}, "This process has no credentials for the storage"),
    ],
    ids=lambda value: next(iter(value), "no credentials") if isinstance(value, dict) else "",
)
def test_a_wrong_setting_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str], sentence: str
) -> None:
    if variables.keys() & {"NST_WEBHOOK_SECRET_KEY"}:
        for name in ("NST_S3_ACCESS_KEY", "NST_S3_SECRET_KEY"):
            monkeypatch.setenv(name, "x")
        monkeypatch.setattr("nst_core.storage.blobs.BlobStore.ensure_bucket", lambda store: None)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main() == 78
    assert told(capsys).startswith(sentence)


def test_a_port_that_another_process_has_is_told_before_anything_is_begun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.create_server((HOST, 0)) as other:
        monkeypatch.setenv("NST_PORT", str(other.getsockname()[1]))
        assert main() == 78
    assert told(capsys).endswith(": another process listens there.")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "nst.db").write_bytes(b"no database at all" * 100)
    assert main() == 78
    assert told(capsys) == "NST_DATABASE_URL cannot be used: file is not a database"


def test_a_database_of_a_newer_version_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/nst.db")
    database.migrate()
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    assert main() == 78
    assert told(capsys).startswith("The database belongs to another version of nst")


def test_a_database_that_is_away_may_come_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NST_DATABASE_URL", f"postgresql://nst:{PASSWORD}@{HOST}:{free_port()}/nst")
    assert main() == 75
    assert told(capsys).startswith("The database does not answer")


def test_traces_without_opentelemetry_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "nst_core.system.otlp", raising=False)
    assert main() == 78
    reason = f"the Python package opentelemetry is missing; {install_command('tracing')} installs it."
    assert told(capsys) == f"OTEL_EXPORTER_OTLP_ENDPOINT is set, but {reason}"


def test_a_package_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "scheduler.app":
            raise ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main() == 78
    assert told(capsys) == f"the Python package uvicorn is missing; {install_command('scheduler')} installs it."


def test_a_bootstrap_key_can_be_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bootstrap-key"]) == 0
    first = capsys.readouterr().out.strip()
    run(["bootstrap-key"])
    assert is_api_key(first)
    assert first != capsys.readouterr().out.strip()


def test_variables_that_nothing_reads_are_told_with_what_may_be_meant() -> None:
    environment = {"NST_LOG_LEVL": "DEBUG", "NST_COLOUR": "x", "NST_LEASE_S": "1", "NST_DEVICE": "cpu", "PATH": "/bin"}
    assert unknown_variables(environment) == [
        "NST_COLOUR is not a setting of nst.",
        "NST_LOG_LEVL is not a setting of nst; did you mean NST_LOG_LEVEL?",
    ]


@pytest.mark.skipif(find_postgres() is None, reason="PostgreSQL's server programs are not installed")
def test_postgresql_that_refuses_the_user_is_a_wrong_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with run_postgres(tmp_path / "postgres") as address:
        url = make_url(address)
        with psycopg.connect(host=url.host, port=url.port, user="nst", dbname=url.database, autocommit=True) as admin:
            [(rules,)] = admin.execute("SHOW hba_file").fetchall()
            admin.execute("CREATE ROLE guest LOGIN PASSWORD 'right'")
            Path(rules).write_text(f"host all guest {HOST}/32 scram-sha-256\nhost all all {HOST}/32 trust\n")
            admin.execute("SELECT pg_reload_conf()")
        for wrong, words in (
            (url.set(username="guest", password=PASSWORD), "password authentication failed"),
            (url.set(username="guest"), "no password supplied"),
            (url.set(username="stranger"), 'role "stranger" does not exist'),
            (url.set(database="missing"), 'database "missing" does not exist'),
        ):
            monkeypatch.setenv("NST_DATABASE_URL", wrong.render_as_string(hide_password=False))
            assert main() == 78
            sentence = told(capsys)
            assert sentence.startswith("NST_DATABASE_URL cannot be used: ")
            assert words in sentence
