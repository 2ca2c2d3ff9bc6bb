"""What the commands that delete have in common: a question before, and a note after."""

import sys

import typer
from rich.markup import escape
from rich.prompt import Confirm

from scheduler.cli.session import Session


def confirm(session: Session, question: str, *, yes: bool) -> None:
    """Ask whether to delete; raise typer.Abort if the answer is no.

    Nothing is asked without a terminal, because nobody could answer.
    """
    if yes or sys.stdin is None or not sys.stdin.isatty():
        return
    try:
        agreed = Confirm.ask(escape(question), console=session.err, default=False)
    except EOFError:
        agreed = False
    if not agreed:
        session.note("Nothing was deleted.")
        raise typer.Abort


def say_deleted(session: Session, what: str, rest: str) -> None:
    """Print on standard error what was deleted, and what happens to the rest."""
    session.note(f"Deleted {what}; {rest}")
