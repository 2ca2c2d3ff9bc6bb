"""What every command shares: where the API is, and the two consoles.

The HTTP client and pydantic are imported when they are used, so that `nst --help` is quick.
"""

import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.text import Text

from scheduler.cli.exits import UsageError

if TYPE_CHECKING:
    from nst_core.client import Client

DEFAULT_HOME = Path("~/.nst")
_MOST_PER_PAGE = 200
_Value = TypeVar("_Value")


class Silence:
    """Prints a note, once, that the API has not answered yet."""

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
    """The options before the command, and the consoles."""

    url: str | None = None
    api_key: str | None = None
    home: Path = DEFAULT_HOME
    #: Standard output: tables for people, JSON for programs.
    out: Console = field(default_factory=lambda: Console(highlight=False, width=None if sys.stdout.isatty() else 160))
    #: Standard error: progress, notes and errors.
    err: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    def client(self) -> "Client":
        """Return a client for the API that is named by the options, the environment or the home folder."""
        from nst_core.client import Client
        from scheduler.cli.transfer.files import pause
        from scheduler.local.home import Home

        last = None if self.url and self.api_key else Home(self.home).read_client()
        url = self.url or (last and last.url)
        if not url:
            raise UsageError("No API is known: run `nst up`, or give --url and --api-key (NST_URL, NST_API_KEY).")
        # The key in the home folder belongs to that stack; it must not be sent to another API.
        own_key = last.api_key if last is not None and _same_address(last.url, url) else ""
        return Client(url, self.api_key or own_key, sleep=pause, on_silence=Silence(self.err, url))

    def show(self, value: _Value, view: Callable[[_Value], RenderableType], *, as_json: bool) -> None:
        """Print a value on standard output: as JSON, or as `view` shows it to people."""
        if as_json:
            print_json(value)
        else:
            self.out.print(view(value))

    def show_answer(
        self, ask: Callable[["Client"], _Value], view: Callable[[_Value], RenderableType], *, as_json: bool
    ) -> None:
        """Print what the API answers, as `show` does; `ask` gets a client that is closed afterwards."""
        with self.client() as client:
            self.show(ask(client), view, as_json=as_json)

    def note(self, text: str | Text) -> None:
        """Print a line on standard error; a long one is not folded, and nothing in it is markup."""
        self.err.print(text, soft_wrap=True, markup=False)

    def hint(self, text: str, *words: str) -> None:
        """Suggest a command to run next, with the same --url and --home as this one."""
        given = []
        # Without them, the command would take what the environment says.
        if self.url is not None and self.url != os.environ.get("NST_URL"):
            given += ["--url", self.url]
        if self.home != Path(os.environ.get("NST_HOME") or DEFAULT_HOME):
            given += ["--home", str(self.home)]
        command = shlex.join(["nst", *given, *words])
        self.err.print(f"{text} [bold]{escape(command)}[/]", soft_wrap=True)


def _same_address(one: str, other: str) -> bool:
    """Return whether two texts are the address of the same API: a last slash and upper case make no difference."""
    import httpx

    try:
        return httpx.URL(one.rstrip("/")) == httpx.URL(other.rstrip("/"))
    except (httpx.InvalidURL, ValueError):
        return False


def session_of(context: typer.Context) -> Session:
    """Return the session of the command."""
    session = context.find_object(Session)
    assert session is not None
    return session


def first(listed: Callable[..., Iterable[_Value]], limit: int, **filters: Any) -> list[_Value]:
    """Return at most `limit` entries of a list of the client, asking for no more than are needed."""
    return list(islice(listed(page=min(limit, _MOST_PER_PAGE), **filters), limit))


def print_json(value: Any) -> None:
    """Write a value of the API, or a list of them, to standard output as JSON."""
    from pydantic import TypeAdapter

    plain = TypeAdapter(Any).dump_python(value, mode="json")
    text = json.dumps(plain, indent=2, ensure_ascii=False)
    # Undecodable bytes of a file name are lone surrogates here; escape them, so that the output is valid UTF-8.
    text = re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text)
    sys.stdout.write(text + "\n")
