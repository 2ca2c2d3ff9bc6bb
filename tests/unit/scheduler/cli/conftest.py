"""The command line against a real HTTP server with prepared answers."""

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scheduler.cli.app import run
from tests.unit.scheduler.canned_api import Answer, CannedApi, canned_api

Run = Callable[..., tuple[int, str, str]]
STYLE = {
    "name": "great_wave",
    "version": "ab" * 32,
    "index": 0,
    "card": {"title": "The Great Wave", "artist": "Hokusai"},
}


@pytest.fixture
def api() -> Iterator[CannedApi]:
    with canned_api() as server:
        server.on("GET", "/v1/styles?limit=200", Answer(body={"data": [STYLE]}))
        server.on("GET", "/v1/styles/great_wave", Answer(body=STYLE))
        yield server


@pytest.fixture
def nst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command with an empty home; returns its exit code, standard output and standard error."""
    monkeypatch.delenv("NST_URL", raising=False)
    monkeypatch.delenv("NST_API_KEY", raising=False)
    monkeypatch.setenv("NST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.with_name(f"{tmp_path.name}-cache")))  # not among the photos

    def nst(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        sys.stdout.flush()
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return nst


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no command wait for an answer of the person who runs the tests."""
    monkeypatch.setattr("sys.stdin", io.StringIO())


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client of commands not wait between its tries."""
    monkeypatch.setattr("scheduler.cli.transfer.files.pause", lambda seconds: None)


@pytest.fixture
def here(api: CannedApi, nst: Run) -> Run:
    """Runs a command with the prepared API."""
    return lambda *arguments: nst("--url", api.url, "--api-key", "nst_key", *arguments)
