"""Progress of transfers and jobs on the standard error: bars on a terminal, plain lines elsewhere."""

import time
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

from scheduler.domain.jobs import Counts
from scheduler.resources import Job

#: Seconds between two lines about a transfer.
LINE_EVERY_S = 3.0


class RateColumn(ProgressColumn):
    """Images a second over the last half minute."""

    def render(self, task: Task) -> Text:
        speed = None if task.finished else task.speed
        return Text(f"{speed:.1f} img/s" if speed else "", style="cyan")


def finished(counts: Counts) -> int:
    """Return how many items have reached their end."""
    return counts.succeeded + counts.failed + counts.cancelled


@contextmanager
def transfer_bar(console: Console, title: str, total: int, *, done: int = 0) -> Iterator[Callable[[], None]]:
    """Show how many files are through; the function that it yields counts one more."""
    if not console.is_terminal:
        yield TransferLines(console, title, total, done)
        return
    with _bar(console) as progress:
        task = progress.add_task(title, total=total, completed=done, note="")
        yield lambda: progress.advance(task)


class TransferLines:
    """Writes a line each few seconds while files are transferred, and none for what is done at once."""

    def __init__(
        self, console: Console, title: str, total: int, done: int = 0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._title = title
        self._total = total
        self._done = done
        self._clock = clock
        self._said_at = clock()

    def __call__(self) -> None:
        self._done += 1
        if self._clock() - self._said_at >= LINE_EVERY_S:
            self._said_at = self._clock()
            self._console.print(f"{self._title}: {self._done:,} of {self._total:,} files", soft_wrap=True)


@contextmanager
def job_bar(console: Console, note: Callable[[], str] = str) -> Iterator[Callable[[Job], None]]:
    """Show how a job gets on; the function that it yields takes the job as it stands. `note` adds a few words."""
    if not console.is_terminal:
        yield JobLines(console)
        return
    with _bar(console) as progress:
        task = progress.add_task("queued", total=None, note="")

        def update(job: Job) -> None:
            counts = job.counts
            progress.update(
                task,
                description=job.status.value,
                completed=finished(counts),
                total=counts.total or None,
                note=notes(job, note),
            )

        yield update


def notes(job: Job, more: Callable[[], str]) -> str:
    """Return what a job's bar says at its end, with markup."""
    failed = f"[red]{job.counts.failed:,} failed[/]" if job.counts.failed else ""
    return " ".join(filter(None, (failed, more())))


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
