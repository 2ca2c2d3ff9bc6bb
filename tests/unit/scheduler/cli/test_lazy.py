"""What `nst` imports, and that the list of commands agrees with the commands."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli.app import COMMANDS, command_line
from scheduler.cli.lazy import LazyCommand

#: Packages that take long to import.
HEAVY = ("PIL", "alembic", "boto3", "celery", "fastapi", "httpx", "numpy", "pydantic", "redis", "sqlalchemy", "torch")


def loaded_by(*arguments: str) -> tuple[set[str], set[str]]:
    """Run a command in a new interpreter; return the modules of nst and the heavy packages that it imported."""
    script = f"import json, sys\nfrom scheduler.cli.app import run\nrun({list(arguments)!r})\n"
    script += "print('\\n', json.dumps([*sys.modules]))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[4])
    names = set(json.loads(done.stdout.splitlines()[-1]))
    return {name for name in names if name.startswith(("nst_core", "scheduler", "worker"))}, names & set(HEAVY)


@pytest.mark.parametrize("arguments", [["--help"], [], ["--url", "x", "--version"]])
def test_help_imports_no_command_and_nothing_heavy(arguments: list[str]) -> None:
    own = {"nst_core", "nst_core.errors", "scheduler", "scheduler.cli"}
    own |= {f"scheduler.cli.{name}" for name in ("app", "exits", "lazy", "session")}
    assert loaded_by(*arguments) == (own, set())


@pytest.mark.parametrize("group", ["jobs", "styles", "runs", "uploads", "webhooks", "keys", "tenants"])
def test_a_command_that_speaks_to_the_api_imports_no_server(group: str) -> None:
    own, heavy = loaded_by(group, "list", "--help")
    assert f"scheduler.cli.commands.{group}" in own
    assert heavy <= {"httpx", "pydantic"}
    assert {name.split(".")[1] for name in own if name.startswith("scheduler.")}.isdisjoint({"store", "api", "local"})


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_summary_of_a_command_is_the_first_line_of_its_help(command: LazyCommand) -> None:
    assert command.help is not None
    assert command.load().help.partition("\n")[0] == command.help


def every_command(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield each command with its name, such as `jobs list`."""
    if isinstance(command, LazyCommand):
        command = command.load()
    yield " ".join(path), command
    for name, each in getattr(command, "commands", {}).items():
        yield from every_command(each, (*path, name))


def test_every_command_and_option_is_explained() -> None:
    missing = []
    for name, command in every_command(command_line()):
        if not (command.help or "").partition("\n")[0].endswith("."):
            missing.append(name)
        assert not any("completion" in each.name for each in command.params), name
        missing += [f"{name} {each.name}" for each in command.params if not (getattr(each, "help", "") or "").strip()]
    assert missing == []
