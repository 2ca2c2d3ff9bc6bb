"""`nst doctor`: which settings it checks, and how it shows what it finds. tests/integration has its faults."""

import json
import os
from pathlib import Path

import pytest

from scheduler.cli.exits import ExitCode
from scheduler.local.home import Home
from scheduler.operations.doctor import variables
from tests.unit.scheduler.cli.conftest import Run


def test_a_home_without_nst_is_a_problem_with_a_remedy(nst: Run) -> None:
    code, out, error = nst("doctor", "--role", "scheduler")
    assert (code, error) == (ExitCode.FAILED, "")
    assert "✗ home " in out
    assert "Run `nst up`; or set the NST_* variables of a cluster, and leave out --home. (home_unknown)" in out
    assert out.splitlines()[-1].endswith(" skipped")


def test_what_nst_up_serves_is_not_asked_while_it_does_not_run(nst: Run, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.locked():
        pass
    values = {"NST_MESSAGE_SECRET": "x" * 32, "NST_DATABASE_URL": home.database_url, "NST_PORT": "0"}
    home.write_settings(values)
    diagnosis = json.loads(nst("doctor", "--role", "scheduler", "--json")[1])
    found = {each["check"]: each for each in diagnosis["findings"]}
    assert diagnosis["roles"] == ["scheduler"]
    assert diagnosis["home"] == str(home.folder)
    assert found["home"]["code"] == "home_stopped"
    assert found["settings_scheduler"]["status"] == "ok"
    for name in ("redis", "redis_clock", "storage", "storage_clock", "storage_styles"):
        assert found[name]["status"] == "skipped"
        assert found[name]["found"] == "It needs the servers of `nst up`, which does not run."
    assert found["database_schema"]["code"] == "schema_empty"
    assert "settings_worker" not in found
    assert "engine" not in found


def test_the_variables_of_a_home_replace_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NST_PORT", "1")
    before = {**os.environ}
    with variables({"NST_HOST": "h"}):
        assert "NST_PORT" not in os.environ
        assert os.environ["NST_HOST"] == "h"
    assert {**os.environ} == before
