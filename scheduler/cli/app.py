"""The commands of `nst` and the options before them; errors become one line and an exit code."""

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.main import get_command

from nst_core import __version__
from nst_core.errors import NstError
from scheduler.cli.exits import ExitCode, code_for_error
from scheduler.cli.lazy import LazyCommand
from scheduler.cli.session import DEFAULT_HOME, Session

# Click's usage error; typer has it under two names, depending on its version.
_ParserError: type[Exception] = typer.BadParameter.__mro__[1]

_ACCESS = "Access"
_HERE = "On this machine"
_CLUSTER = "Processes of a cluster"
_BACKUPS = "scheduler.operations.backups"
#: In the order of the help. A summary is the first line of the command's own help.
COMMANDS = (
    LazyCommand("stylize", "stylize:stylize", help="Stylize photos and write the results."),
    LazyCommand(
        "optimize", "optimize:optimize", help="Make photos look like any painting, slowly, and write the results."
    ),
    LazyCommand("jobs", "jobs:app", help="List, show, watch and control jobs; fetch their results."),
    LazyCommand("styles", "styles:app", help="List, show and train styles; import, export and publish them."),
    LazyCommand("runs", "runs:app", help="List, show, pause, extend and fork trainings; fetch their pictures."),
    LazyCommand("uploads", "uploads:app", help="List and delete uploaded photos."),
    LazyCommand("webhooks", "webhooks:app", help="Send events to an address; list, test and replay deliveries."),
    LazyCommand("presets", "optimize:presets", help="List the presets of nst optimize."),
    LazyCommand("keys", "keys:app", help="Create, list, show, rotate and revoke API keys.", panel=_ACCESS),
    LazyCommand("tenants", "tenants:app", help="Manage tenants (administrators only).", panel=_ACCESS),
    LazyCommand("whoami", "keys:whoami", help="Show your key, your permissions and your limits.", panel=_ACCESS),
    LazyCommand("demo", "demo:demo", help="Stylize sample photos with every style.", panel=_HERE),
    LazyCommand("up", "local:up", help="Run all of nst on this machine until you press Ctrl-C.", panel=_HERE),
    LazyCommand(
        "backup",
        f"{_BACKUPS}:backup",
        help="Write all data of a home folder to one file.",
        panel=_HERE,
    ),
    LazyCommand("restore", f"{_BACKUPS}:restore", help="Make a new home folder of a backup.", panel=_HERE),
    LazyCommand("scheduler", "local:scheduler", help="Run a scheduler: the API and the control loops.", panel=_CLUSTER),
    LazyCommand("worker", "local:worker", help="Run a worker.", panel=_CLUSTER),
    LazyCommand(
        "doctor",
        "scheduler.operations.doctor:doctor",
        help="Check this machine's settings and servers.",
        panel=_CLUSTER,
    ),
    LazyCommand(
        "db",
        "scheduler.operations.database:app",
        help="Show, check and migrate the schema of the database.",
        panel=_CLUSTER,
    ),
    LazyCommand("bootstrap-key", "local:bootstrap_key", help="Print a new first API key.", panel=_CLUSTER),
)

#: Options before the command, which are understood after it too.
_EVERYWHERE = ("--url", "--api-key", "--home")
#: Commands that have such an option of their own.
_OWN = {"webhooks update": "--url", **dict.fromkeys(("up", "demo", "backup", "restore"), "--home")}

_app = typer.Typer(
    name="nst",
    help="Neural style transfer in bulk: give photos the look of a painting.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_asked_for: bool) -> None:
    if is_asked_for:
        version()
        raise typer.Exit


@_app.callback()
def options(
    context: typer.Context,
    url: Annotated[
        str | None,
        typer.Option("--url", envvar="NST_URL", help="Address of the API. Default: the one `nst up` started."),
    ] = None,
    api_key: Annotated[str | None, typer.Option("--api-key", envvar="NST_API_KEY", help="Key for the API.")] = None,
    home: Annotated[
        Path, typer.Option("--home", envvar="NST_HOME", help="Folder where `nst up` keeps its data.", file_okay=False)
    ] = DEFAULT_HOME,
    version: Annotated[
        bool,
        typer.Option("--version", "-V", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Keep the options for the command."""
    context.obj = Session(url=url, api_key=api_key, home=home)


@_app.command()
def version() -> None:
    """Print the version."""
    sys.stdout.write(f"nst {__version__}\n")


def command_line() -> Any:
    """Return the group of all commands."""
    group: Any = get_command(_app)
    own = list(group.commands.values())
    group.commands.clear()
    for command in (*COMMANDS, *own):
        if isinstance(command, LazyCommand):
            command.last_line = partial(_also, command)
        group.add_command(command)
    return group


def _also(command: LazyCommand, words: str) -> str | None:
    """Return the last line of the help of a command, or of one of a group: the options of `nst` that it takes too."""
    if command.name in ("doctor", "db"):
        return "Also takes --home: see nst --help."
    if command.rich_help_panel in (_HERE, _CLUSTER):
        return None
    names = [name for name in _EVERYWHERE if name != _OWN.get(words)]
    return f"Also takes {', '.join(names[:-1])} and {names[-1]}: see nst --help."


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; an error is printed as one line on standard error."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        words = hoisted(sys.argv[1:] if arguments is None else arguments)
        result = command_line()(args=words, prog_name="nst", standalone_mode=False)
        sys.stdout.flush()
    except NstError as error:
        return _fail(console, f"{error.message} ({error.code})", code_for_error(error))
    except ValueError as error:
        from pydantic import ValidationError

        if not isinstance(error, ValidationError):
            raise
        from nst_core.client.resources.sentences import explain

        return _fail(console, f"{explain(error)} (request_invalid)", ExitCode.REFUSED)
    except _ParserError as error:
        return _fail_usage(console, error)
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of the pipe, such as `head`, has exited. Nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        name = errno.errorcode.get(error.errno or 0, "os_error")
        return _fail(console, f"{where}{error.strerror or error} ({name})", ExitCode.LOCAL)
    return int(result or ExitCode.OK)


def hoisted(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with --url, --api-key and --home moved before the command, wherever they were given.

    What a command has an option of its own for stays where it is.
    """
    words = list(arguments)
    start = 0
    while start < len(words) and words[start].startswith("-"):
        start += 2 if words[start] in _EVERYWHERE else 1
    front, rest, command = words[:start], list[str](), list[str]()
    later = iter(words[start:])
    for word in later:
        own = {_OWN.get(" ".join(command[:length])) for length in (1, 2)}
        if word == "--":
            rest += [word, *later]
        elif (name := word.partition("=")[0]) in _EVERYWHERE and name not in own:
            front += [word] if "=" in word else [word, *islice(later, 1)]
        else:
            rest.append(word)
            command += [word] if not word.startswith("-") else []
    return front + rest


def main() -> None:
    """Run the command given on the command line and exit."""
    code = run()
    with suppress(OSError):  # nobody reads it
        sys.stdout.flush()
        sys.stderr.flush()
    # Python's own exit frees all modules one by one, which takes 0.2 s.
    os._exit(code)


def _fail_usage(console: Console, error: Exception) -> int:
    """Print what is wrong with the arguments, and which help to read."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return ExitCode.USAGE  # the help page was printed instead
    message = str(getattr(error, "format_message", error.__str__)()).rstrip()
    message = message.replace(": Value error, ", ": ")  # words of pydantic, which Typer uses for choices
    if not message.endswith((".", "?", "!")):
        message += "."
    command = getattr(getattr(error, "ctx", None), "command_path", "nst")
    return _fail(console, f"{message} See {command} --help. (usage)", ExitCode.USAGE)


def _fail(console: Console, message: str, code: ExitCode) -> int:
    console.print(f"[bold red]nst: error:[/] {escape(message)}", soft_wrap=True)
    return code
