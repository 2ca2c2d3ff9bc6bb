"""Finding a run by what people call it, and following it to its end."""

import re
from collections.abc import Sequence
from contextlib import suppress

import typer
from rich.text import Text

from nst_core.client import ApiError, Client, UnreachableError
from nst_core.errors import NstError
from scheduler.cli.exits import ExitCode
from scheduler.cli.session import Session
from scheduler.cli.ui.run_progress import training_board
from scheduler.cli.ui.runs import remarks_of, run_summary
from scheduler.domain.runs import RunStatus
from scheduler.runs.resources import Run, Sample

_RUN_ID = re.compile(r"run_[0-9a-f]{24}")


def is_run_id(text: str) -> bool:
    """Return whether a text is the id of a run rather than a style's name."""
    return _RUN_ID.fullmatch(text) is not None


def find_run(client: Client, text: str) -> Run:
    """Return the run of an id, or the newest of a style's name; raise ApiError (`not_found`) where there is none."""
    if is_run_id(text):
        return client.runs.get(text)
    run = client.runs.newest(text)
    if run is None:
        raise ApiError(status=404, code="not_found", detail=f"No training has made, or makes, a style {text!r}.")
    return run


def follow(session: Session, client: Client, run: Run) -> Run:
    """Show a run's progress until it is finished or paused, and return it; Ctrl-C leaves the run going."""

    def samples(run: Run) -> Sequence[tuple[Sample, str]]:
        with suppress(NstError):  # only pictures: the numbers are to go on
            return [(sample, client.runs.sample_url(run.id, sample)) for sample in client.runs.samples(run.id)]
        return ()

    try:
        with training_board(session.err, curve=lambda run: client.runs.curve_url(run.id), samples=samples) as show:
            return client.runs.wait(run.id, on_poll=show)
    except KeyboardInterrupt:
        session.err.print("")
        session.hint("The training goes on. Watch it with", "styles", "watch", run.name)
        session.hint("let it rest with", "runs", "pause", run.id)
        session.hint("or end it with", "runs", "cancel", run.id)
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except UnreachableError:
        session.hint("The training is kept. Once the API is there again, watch it with", "styles", "watch", run.name)
        raise


def report(session: Session, client: Client, run: Run) -> None:
    """Say how a run has ended, and where its pictures are."""
    session.err.print(run_summary(run), soft_wrap=True)
    for remark in remarks_of(run):
        session.err.print(Text.assemble(("! ", "yellow"), remark), soft_wrap=True)
    if run.status is RunStatus.SUCCEEDED:
        session.err.print(Text.assemble(("  preview ", "dim"), client.runs.sheet_url(run.id)), soft_wrap=True)
    if run.segments:
        session.err.print(Text.assemble(("  curve   ", "dim"), client.runs.curve_url(run.id)), soft_wrap=True)
