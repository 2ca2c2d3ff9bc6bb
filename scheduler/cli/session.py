"""What every command shares: where the API is, and the two consoles."""

import json
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.markup import escape

from nst_core.client import Client
from scheduler.cli.exits import UsageError
from scheduler.cli.transfer.names import quoted
from scheduler.local.home import Home

DEFAULT_HOME = Path("~/.nst")


class Silence:
    """Says once that the API takes its time."""

    def __init__(self, console: Console, url: str) -> None:
        self._console = console
        self._url = url
        self._said = False

    def __call__(self) -> None:
        if not self._said:
            self._said = True
            text = f"No answer from {self._url} yet; still trying. Is the API running there (nst up)?"
            self._console.print(text, style="yellow", soft_wrap=True, markup=False)


@dataclass(frozen=True, kw_only=True)
class Session:
    """The options that stand before the command."""

    url: str | None = None
    api_key: str | None = None
    home: Path = DEFAULT_HOME
    #: Tables for people, and JSON for programs.
    out: Console = field(default_factory=lambda: Console(highlight=False, width=None if sys.stdout.isatty() else 160))
    #: Progress, notes and errors.
    err: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    def client(self) -> Client:
        """Return a client for the API that the options, the environment or the home folder name."""
        last = None if self.url and self.api_key else Home(self.home).read_client()
        url = self.url or (last and last.url)
        if not url:
            raise UsageError("No API is known: run `nst up`, or give --url and --api-key (NST_URL, NST_API_KEY).")
        # The key of the home folder is for that stack alone: it is sent nowhere else.
        own_key = last.api_key if last is not None and last.url == url else ""
        return Client(url, self.api_key or own_key, on_silence=Silence(self.err, url))

    def hint(self, text: str, *words: str) -> None:
        """Say which command to give next, with the options that this one was given before its name."""
        given = []
        if self.url is not None and "NST_URL" not in os.environ:
            given += ["--url", self.url]
        if self.home != DEFAULT_HOME and "NST_HOME" not in os.environ:
            given += ["--home", str(self.home)]
        command = quoted(["nst", *given, *words])
        self.err.print(f"{text} [bold]{escape(command)}[/]", soft_wrap=True)


def session_of(context: typer.Context) -> Session:
    """Return the session that the main callback made."""
    session = context.find_object(Session)
    assert session is not None
    return session


def print_json(value: Any) -> None:
    """Write a dataclass, or a list of them, to the standard output as JSON."""
    plain = TypeAdapter(Any).dump_python(value, mode="json")
    text = json.dumps(plain, indent=2, ensure_ascii=False)
    # Bytes of a file's name that are no UTF-8 come as halves of surrogate pairs, as os.fsencode takes them.
    text = re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text)
    sys.stdout.write(text + "\n")
