"""Progress of transfers and jobs on the standard error: bars on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from scheduler.domain import Counts
from scheduler.resources import Job


class RateColumn(ProgressColumn):
    """Images a second over the last half minute."""

    def render(self, task: Task) -> Text:
        speed = None if task.finished else task.speed
        return Text(f"{speed:.1f} img/s" if speed else "", style="cyan")


def finished(counts: Counts) -> int:
    """Return how many items have reached their end."""
    return counts.succeeded + counts.failed + counts.cancelled


@contextmanager
def transfer_bar(console: Console, title: str, total: int | None) -> Iterator[Callable[[], None]]:
    """Show how many files are through; the function that it yields counts one more."""
    if not console.is_terminal:
        yield lambda: None
        return
    with _bar(console) as progress:
        task = progress.add_task(title, total=total, note="")
        yield lambda: progress.advance(task)


@contextmanager
def job_bar(console: Console) -> Iterator[Callable[[Job], None]]:
    """Show how a job gets on; the function that it yields takes the job as it stands."""
    if not console.is_terminal:
        yield JobLines(console)
        return
    with _bar(console) as progress:
        task = progress.add_task("queued", total=None, note="")

        def update(job: Job) -> None:
            counts = job.counts
            note = f"[red]{counts.failed} failed[/]" if counts.failed else ""
            progress.update(
                task,
                description=job.status.value,
                completed=finished(counts),
                total=counts.total or None,
                note=note,
            )

        yield update


class JobLines:
    """Writes a line when a job's status changes, and at each tenth of its images."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: tuple[str, int] | None = None

    def __call__(self, job: Job) -> None:
        counts = job.counts
        tenth = finished(counts) * 10 // counts.total if counts.total else 0
        if self._last != (job.status.value, tenth):
            self._last = (job.status.value, tenth)
            failed = f", {counts.failed} failed" if counts.failed else ""
            self._console.print(f"{job.id} {job.status}: {finished(counts)} of {counts.total}{failed}", soft_wrap=True)


def _bar(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<12}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
        console=console,
        expand=True,
    )
