"""Commands that run nst: everything on this machine, or one process of a cluster."""

import logging
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from nst_core import __version__
from nst_core.errors import NstError
from nst_core.settings import unknown_variables
from nst_core.system.logs import configure, wanted_form
from scheduler.cli.exits import ExitCode, code_for_error
from scheduler.cli.session import DEFAULT_HOME, Session, session_of
from scheduler.domain.keys import new_api_key
from scheduler.local.embedded import Stack
from scheduler.local.supervisor import ServiceState, StackEvent

log = logging.getLogger(__name__)
#: The default port of the API, the same as for `nst scheduler`.
DEFAULT_PORT = 8700
_MARKS = {ServiceState.READY: "[green]✓[/]", ServiceState.DIED: "[bold red]✗[/]", ServiceState.KILLED: "[bold red]✗[/]"}


def up(
    context: typer.Context,
    home: Annotated[
        Path | None, typer.Option(help="Folder for data, logs and keys. Default: the --home of nst.", file_okay=False)
    ] = None,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Number of worker processes.")] = 1,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the API. Default: the same as last time, else 8700.")
    ] = None,
) -> ExitCode:
    """Run all of nst on this machine until you press Ctrl-C.

    Starts Redis, S3 storage, the scheduler and workers. They listen on this machine only, and are restarted when they
    fail. Unfinished jobs continue at the next start. A script that runs `nst up` in the background, where the shell
    ignores Ctrl-C, stops it with `kill`.
    """
    session = session_of(context)
    folder = home or session.home
    if wanted_form() == "json":
        return _up_with_logs(Stack(folder, workers=workers, port=port, first_port=DEFAULT_PORT, on_event=_log_event))
    console = session.out
    console.print(f"[bold]nst {__version__}[/]  home {escape(str(folder))}")
    for warning in unknown_variables():
        console.print(f"[yellow]{escape(warning)}[/]", soft_wrap=True)
    lines = ServiceLines(console)
    stack = Stack(folder, workers=workers, port=port, first_port=DEFAULT_PORT, on_event=lines)
    try:
        with terminable(), stack:
            _welcome(console, session, stack, folder)
            stack.wait()
    except KeyboardInterrupt:
        console.print("Stopped. Unfinished jobs continue at the next start.")
    return ExitCode.OK


def _up_with_logs(stack: Stack) -> ExitCode:
    """Run all of nst, and log to the standard error instead of printing for people."""
    configure("up")
    for warning in unknown_variables():
        log.warning("%s", warning)
    try:
        with suppress(KeyboardInterrupt), terminable(), stack:
            key = stack.home.folder / "api_key"
            log.info("nst %s listens on %s; the API key is in %s", __version__, stack.url, key)
            stack.wait()
    except NstError as error:
        log.critical("%s (%s)", error.message, error.code)
        return code_for_error(error)
    return ExitCode.OK


def _log_event(event: StackEvent) -> None:
    level = logging.WARNING if event.state in (ServiceState.DIED, ServiceState.KILLED) else logging.INFO
    log.log(level, "%s %s%s", event.name, event.state, f": {event.detail}" if event.detail else "")


def scheduler() -> None:
    """Run a scheduler: the API and the control loops.

    Its settings come from NST_* environment variables.
    """
    _become("scheduler")


def worker() -> None:
    """Run a worker.

    Its settings come from NST_* environment variables.
    """
    _become("worker")


def bootstrap_key() -> None:
    """Print a new first API key.

    Set it as NST_BOOTSTRAP_API_KEY of the scheduler: the key is valid from the start and has all permissions.
    """
    sys.stdout.write(f"{new_api_key()}\n")


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM do the same as Ctrl-C; a second one counts as a second Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _become(package: str) -> None:
    # -P: otherwise a folder named `worker` in the current folder would be taken for the package.
    os.execv(sys.executable, [sys.executable, "-P", "-m", package])


def _welcome(console: Console, session: Session, stack: Stack, folder: Path) -> None:
    where = "" if folder == session.home == DEFAULT_HOME else f" --home {shlex.quote(str(folder))}"
    key_file = shlex.quote(str(stack.home.folder / "api_key"))
    busy = f"  [dim](another process uses port {stack.busy_port})[/]" if stack.busy_port else ""
    console.print(f"\nAPI  [bold]{stack.url}[/]{busy}\nkey  [bold]{stack.api_key}[/]\n", soft_wrap=True)
    for command in (
        f"nst{where} styles list",
        f"nst{where} stylize photo.jpg --style great_wave -o stylized/",
        f'curl -H "Authorization: Bearer $(cat {key_file})" {stack.url}/v1/styles',
    ):
        console.print(f"  [cyan]{escape(command)}[/]", soft_wrap=True)
    console.print(f"\n[dim]{how_to_stop()}[/]")


def how_to_stop() -> str:
    """Return how to stop this process: with Ctrl-C, unless the shell that started it ignores that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return (
            f"Run `kill {os.getpid()}` to stop. Ctrl-C is ignored, because this process was started in the background."
        )
    return "Press Ctrl-C to stop, twice to stop immediately."


class ServiceLines:
    """Prints on a console what happens to the services."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stopping = False

    def __call__(self, event: StackEvent) -> None:
        if event.state in _MARKS:
            detail = f": [dim]{escape(event.detail)}[/]" if event.detail else ""
            self._console.print(f"  {_MARKS[event.state]} {event.name} {event.state}{detail}", soft_wrap=True)
        elif event.state is ServiceState.STOPPING and not self._stopping:
            self._stopping = True
            self._console.print("[bold]Stopping[/] all processes; workers finish the images that they have started")
