"""The command line: `nst`. It speaks to the API through the HTTP client only."""

import errno
import os
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from nst_core import __version__
from nst_core.errors import NstError
from scheduler.cli.commands import (
    demo,
    jobs,
    keys,
    local,
    optimize,
    runs,
    styles,
    stylize,
    tenants,
    webhooks,
)
from scheduler.cli.commands import (
    uploads as stored_uploads,
)
from scheduler.cli.exits import ExitCode, code_for_error
from scheduler.cli.session import DEFAULT_HOME, Session

# Click's usage error; typer has it under two names, depending on its version.
_ParserError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="nst",
    help="Neural style transfer in bulk: give photos the look of a painting.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("stylize")(stylize.stylize)
app.command("optimize")(optimize.optimize)
app.add_typer(jobs.app, name="jobs")
app.add_typer(styles.app, name="styles")
app.add_typer(runs.app, name="runs")
app.add_typer(stored_uploads.app, name="uploads")
app.add_typer(webhooks.app, name="webhooks")
app.command("presets")(optimize.presets)
app.add_typer(keys.app, name="keys", rich_help_panel="Who may do what")
app.add_typer(tenants.app, name="tenants", rich_help_panel="Who may do what")
app.command("whoami", rich_help_panel="Who may do what")(keys.whoami)
app.command("demo", rich_help_panel="On this machine")(demo.demo)
app.command("up", rich_help_panel="On this machine")(local.up)
app.command("scheduler", rich_help_panel="One process of a cluster")(local.scheduler)
app.command("worker", rich_help_panel="One process of a cluster")(local.worker)
app.command("bootstrap-key", rich_help_panel="One process of a cluster")(local.bootstrap_key)


def _print_version(is_asked_for: bool) -> None:
    if is_asked_for:
        version()
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    url: Annotated[
        str | None, typer.Option("--url", envvar="NST_URL", help="The API's address. Default: what `nst up` runs.")
    ] = None,
    api_key: Annotated[str | None, typer.Option("--api-key", envvar="NST_API_KEY", help="The API's key.")] = None,
    home: Annotated[
        Path, typer.Option("--home", envvar="NST_HOME", help="The folder of `nst up`.", file_okay=False)
    ] = DEFAULT_HOME,
    version: Annotated[
        bool,
        typer.Option("--version", "-V", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Keep the options for the command."""
    context.obj = Session(url=url, api_key=api_key, home=home)


@app.command()
def version() -> None:
    """Print the version."""
    sys.stdout.write(f"nst {__version__}\n")


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; an error becomes one line on the standard error."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        words = hoisted(sys.argv[1:] if arguments is None else arguments)
        result = app(args=words, prog_name="nst", standalone_mode=False)
    except NstError as error:
        return _fail(console, f"{error.message} ({error.code})", code_for_error(error))
    except _ParserError as error:
        return _fail_usage(console, error)
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has gone, as `head` does; nothing more can be written, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        name = errno.errorcode.get(error.errno or 0, "os_error")
        return _fail(console, f"{where}{error.strerror or error} ({name})", ExitCode.LOCAL)
    return int(result or ExitCode.OK)


def hoisted(arguments: Sequence[str]) -> list[str]:
    """Return the words of a command with --url and --api-key before its name, wherever they were given.

    `nst webhooks` has a --url of its own.
    """
    words = list(arguments)
    start = 0
    while start < len(words) and words[start].startswith("-"):
        start += 2 if words[start] in ("--url", "--api-key", "--home") else 1
    own = ("--api-key",) if words[start : start + 1] == ["webhooks"] else ("--api-key", "--url")
    front, rest = words[:start], list[str]()
    later = iter(words[start:])
    for word in later:
        if word == "--":
            rest += [word, *later]
        elif word.partition("=")[0] in own:
            front += [word] if "=" in word else [word, *islice(later, 1)]
        else:
            rest.append(word)
    return front + rest


def main() -> None:
    """Run the command of the process's arguments and exit."""
    sys.exit(run())


def _fail_usage(console: Console, error: Exception) -> int:
    """Say what is wrong with the words of a command, and where its help is."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return ExitCode.USAGE  # the help page was printed instead
    message = str(getattr(error, "format_message", error.__str__)()).rstrip()
    if not message.endswith((".", "?", "!")):
        message += "."
    command = getattr(getattr(error, "ctx", None), "command_path", "nst")
    return _fail(console, f"{message} See {command} --help. (usage)", ExitCode.USAGE)


def _fail(console: Console, message: str, code: ExitCode) -> int:
    console.print(f"[bold red]nst: error:[/] {escape(message)}", soft_wrap=True)
    return code
