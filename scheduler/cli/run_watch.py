"""Finding a training by its id or style, and following it until it ends."""

import re
from collections.abc import Sequence
from contextlib import suppress

from rich.text import Text

from nst_core.client import ApiError, Client
from nst_core.client.resources.runs import Run, RunStatus, Sample
from nst_core.errors import NstError
from scheduler.cli.following import watching
from scheduler.cli.session import Session
from scheduler.cli.ui.run_progress import training_board
from scheduler.cli.ui.runs import remarks_of, run_summary

_RUN_ID = re.compile(r"run_[0-9a-f]{24}")


def is_run_id(text: str) -> bool:
    """Return whether a text is the id of a run, and not the name of a style."""
    return _RUN_ID.fullmatch(text) is not None


def find_run(client: Client, text: str) -> Run:
    """Return the run with an id, or the newest of a style's name; raise ApiError (`not_found`) if there is none."""
    if is_run_id(text):
        return client.runs.get(text)
    run = client.runs.newest(text)
    if run is None:
        raise ApiError(status=404, code="not_found", detail=f"There is no training of a style {text!r}.")
    return run


def follow(session: Session, client: Client, run: Run) -> Run:
    """Show the progress of a run until it is finished or paused, and return it. Ctrl-C does not stop the run."""

    def samples(run: Run) -> Sequence[tuple[Sample, str]]:
        with suppress(NstError):  # without the pictures, the numbers are still shown
            return [(sample, client.runs.sample_url(run.id, sample)) for sample in client.runs.samples(run.id)]
        return ()

    others = [("pause it with", ["runs", "pause", run.id]), ("or cancel it with", ["runs", "cancel", run.id])]
    board = training_board(session.err, curve=lambda run: client.runs.curve_url(run.id), samples=samples)
    with watching(session, "training", ["styles", "watch", run.name], *others), board as show:
        return client.runs.wait(run.id, on_poll=show)


def report(session: Session, client: Client, run: Run) -> None:
    """Print how a run ended, and where its pictures are."""
    session.note(run_summary(run))
    for remark in remarks_of(run):
        session.note(Text.assemble(("! ", "yellow"), remark))
    if run.status is RunStatus.SUCCEEDED:
        session.note(Text.assemble(("  preview ", "dim"), client.runs.sheet_url(run.id)))
    if run.segments:
        session.note(Text.assemble(("  curve   ", "dim"), client.runs.curve_url(run.id)))
