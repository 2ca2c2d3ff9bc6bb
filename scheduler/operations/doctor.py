"""`nst doctor`: checks the settings of this machine, and what they name."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.text import Text

from nst_core import __version__
from scheduler.cli.commands.parameters import AsJson
from scheduler.cli.exits import ExitCode
from scheduler.cli.session import print_json, session_of
from scheduler.local.home import Home
from scheduler.operations.checklist import Role, all_checks
from scheduler.operations.findings import Finding, Status, run_all
from scheduler.operations.places import home_of

_MARKS = {Status.OK: ("✓", "green"), Status.WARNING: ("!", "yellow"), Status.PROBLEM: ("✗", "bold red")}


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All findings, as `--json` prints them."""

    #: Whether there is no problem.
    ok: bool
    version: str
    roles: tuple[Role, ...]
    #: The home folder whose settings were checked; None for those of the environment.
    home: str | None
    findings: tuple[Finding, ...]


def doctor(
    context: typer.Context,
    roles: Annotated[
        list[Role] | None,
        typer.Option("--role", help="What this machine runs. Can be repeated. Default: scheduler and worker."),
    ] = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Check this machine's settings and servers.

    It looks at Redis, the storage, the database, clocks, disks, ports, weights and the engine for photos, each for a
    limited time. Each problem has a remedy. What needs a Python package that is not installed here is skipped.

    The settings are those of the NST_* environment variables. Without NST_MESSAGE_SECRET, or with --home, they are
    those of `nst up` in the home folder. The exit code is 1 if there is a problem, otherwise 0.
    """
    session = session_of(context)
    home = home_of(session, unless="NST_MESSAGE_SECRET")
    diagnosis = diagnose(tuple(roles or Role), home)
    if as_json:
        print_json(diagnosis)
    else:
        session.out.print(_view(diagnosis), soft_wrap=True)
    return ExitCode.OK if diagnosis.ok else ExitCode.FAILED


def diagnose(roles: Sequence[Role], home: Home | None) -> Diagnosis:
    """Run all checks of some roles, with the settings of a home folder or of the environment."""
    if home is None:
        findings = run_all(all_checks(roles))
    else:
        with variables(home.read_settings() or {}):
            findings = run_all(all_checks(roles, home))
    return Diagnosis(
        ok=all(finding.status is not Status.PROBLEM for finding in findings),
        version=__version__,
        roles=tuple(roles),
        home=None if home is None else str(home.folder),
        findings=tuple(findings),
    )


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Let the environment have these NST_* variables and no other ones during the block."""
    before = {**os.environ}
    try:
        for name in before:
            if name.startswith("NST_"):
                del os.environ[name]
        os.environ.update(values)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _view(diagnosis: Diagnosis) -> Text:
    """Show each finding in a line, with its remedy below."""
    lines = []
    for finding in diagnosis.findings:
        mark, style = _MARKS.get(finding.status, ("-", "dim"))
        lines.append(Text.assemble((f"{mark} {finding.check:20}", style), finding.found))
        if finding.remedy:
            lines.append(Text(f"  {'':20}{finding.remedy} ({finding.code})", style="dim"))
    counts = {status: sum(finding.status is status for finding in diagnosis.findings) for status in Status}
    lines.append(Text("\n" + ", ".join(f"{count} {status}" for status, count in counts.items())))
    return Text("\n").join(lines)
