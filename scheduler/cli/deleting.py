"""What the commands that delete have in common: the question before, and what is said after."""

import sys
from typing import Annotated

import typer
from rich.markup import escape
from rich.prompt import Confirm

from scheduler.cli.session import Session

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deleting.")]


def confirm(session: Session, question: str, *, yes: bool) -> None:
    """Ask a person whether to delete; raise typer.Abort if the answer is no.

    Without a terminal nobody can answer, so nothing is asked.
    """
    if yes or sys.stdin is None or not sys.stdin.isatty():
        return
    try:
        agreed = Confirm.ask(escape(question), console=session.err, default=False)
    except EOFError:
        agreed = False
    if not agreed:
        session.err.print("Nothing was deleted.")
        raise typer.Abort


def say_deleted(session: Session, what: str, rest: str) -> None:
    """Say on the standard error what was deleted, and what became of the rest."""
    session.err.print(f"Deleted {escape(what)}; {escape(rest)}", soft_wrap=True)
