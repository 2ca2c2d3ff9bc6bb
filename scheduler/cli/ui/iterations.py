"""Progress of optimisations on the standard error: a bar for each image on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from scheduler.cli.ui.progress import JobLines, finished, notes
from scheduler.resources import Item, Job

Show = Callable[[Job, Sequence[Item]], None]


@contextmanager
def iteration_bars(console: Console, note: Callable[[], str] = str) -> Iterator[Show]:
    """Show how a job's images get on; the function that it yields takes the job and its running items.

    `note` adds a few words about the job.
    """
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, expand=True) as progress:
        yield _Bars(progress, note)


def loss_of(item: Item) -> str:
    """Return the total loss of an item at its last iteration, for people."""
    return f"loss {sum(item.progress.losses.values()):.4g}" if item.progress and item.progress.losses else ""


def name_of(job: Job, item: Item) -> str:
    """Return what tells an item from the others of its job."""
    photo = item.input.rpartition("/")[2]
    return photo if len(job.styles) == 1 else f"{photo} × {item.style}"


class _Bars:
    """A bar for the job, and one for each image whose iterations are known."""

    def __init__(self, progress: Progress, note: Callable[[], str]) -> None:
        self._progress = progress
        self._note = note
        self._job = progress.add_task("queued", total=None, note="")
        self._images: dict[int, TaskID] = {}

    def __call__(self, job: Job, running: Sequence[Item]) -> None:
        self._progress.update(
            self._job,
            description=job.status.value,
            completed=finished(job.counts),
            total=job.counts.total or None,
            note=notes(job, self._note),
        )
        known = {item.id: item for item in running if item.progress is not None}
        for gone in self._images.keys() - known.keys():
            self._progress.remove_task(self._images.pop(gone))
        for item in known.values():
            assert item.progress is not None
            if item.id not in self._images:
                self._images[item.id] = self._progress.add_task(escape(name_of(job, item)), note="")
            self._progress.update(
                self._images[item.id],
                completed=item.progress.iteration,
                total=item.progress.iterations,
                note=loss_of(item),
            )


class _Lines:
    """Writes a line when a job's status changes, and at each tenth of the iterations of an image."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._job_lines = JobLines(console)
        self._tenths: dict[int, int] = {}

    def __call__(self, job: Job, running: Sequence[Item]) -> None:
        self._job_lines(job)
        for item in running:
            progress = item.progress
            if progress is None:
                continue
            tenth = progress.iteration * 10 // progress.iterations
            if self._tenths.get(item.id) != tenth:
                self._tenths[item.id] = tenth
                name, loss = name_of(job, item), loss_of(item)
                text = f"{job.id} {name}: iteration {progress.iteration} of {progress.iterations}"
                self._console.print(f"{text}, {loss}" if loss else text, soft_wrap=True, markup=False)
