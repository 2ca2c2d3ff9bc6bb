"""Progress of transfers and jobs on standard error: bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from nst_core.client.resources.items import Item
from nst_core.client.resources.jobs import Counts, Job

#: Seconds between two lines about a transfer.
LINE_EVERY_S = 3.0
#: Images of a job that have a bar or lines of their own.
_SHOWN_IMAGES = 16
#: Yields the running images of a job.
Running = Callable[[], Iterator[Item]]


class RateColumn(ProgressColumn):
    """Images per second over the last half minute."""

    def render(self, task: Task) -> Text:
        speed = None if task.finished or task.fields.get("is_image") else task.speed
        return Text(f"{speed:.1f} img/s" if speed else "", style="cyan")


def finished(counts: Counts) -> int:
    """Return how many images are finished, whether they succeeded or not."""
    return counts.succeeded + counts.failed + counts.cancelled


@contextmanager
def transfer_bar(console: Console, title: str, total: int, *, done: int = 0) -> Iterator[Callable[[], None]]:
    """Show how many files are done; the function that it yields counts one more."""
    if not console.is_terminal:
        yield TransferLines(console, title, total, done)
        return
    with _bar(console) as progress:
        task = progress.add_task(title, total=total, completed=done, note="")
        yield lambda: progress.advance(task)


class TransferLines:
    """Prints a line every few seconds while files are transferred, and none for a short transfer."""

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
def job_bar(
    console: Console, running: Running = lambda: iter(()), note: Callable[[], str] = str
) -> Iterator[Callable[[Job], None]]:
    """Show the progress of a job; the function that it yields takes the job as it is now.

    Images that report iterations are shown too. `running` yields the running images, and `note` returns a few words
    about the job.
    """
    images = _RunningImages(running)
    if not console.is_terminal:
        yield JobLines(console, images)
        return
    with _bar(console) as progress:
        yield _JobBars(progress, images, note)


def loss_of(item: Item) -> str:
    """Return the total loss of an image after its last iteration, such as loss 2.5; empty if it is not known."""
    return f"loss {sum(item.progress.losses.values()):.4g}" if item.progress and item.progress.losses else ""


def name_of(job: Job, item: Item) -> str:
    """Return a name that no other image of the job has."""
    photo = item.input.rpartition("/")[2]
    return photo if len(job.styles) == 1 else f"{photo} × {item.style}"


class _RunningImages:
    """The running images of a job that report iterations.

    The API is no longer asked once an image is finished and none has reported any: the images of this job never do.
    """

    def __init__(self, running: Running) -> None:
        self._running = running
        self._reported = False

    def of(self, job: Job) -> Sequence[Item]:
        """Return the first of them."""
        if not job.counts.running or (finished(job.counts) and not self._reported):
            return ()
        found = [item for item in islice(self._running(), _SHOWN_IMAGES) if item.progress is not None]
        self._reported = self._reported or bool(found)
        return found


class _JobBars:
    """A bar for the job, and one for each image that reports iterations."""

    def __init__(self, progress: Progress, images: _RunningImages, note: Callable[[], str]) -> None:
        self._progress = progress
        self._images = images
        self._note = note
        self._job = progress.add_task("queued", total=None, note="")
        self._tasks: dict[int, TaskID] = {}

    def __call__(self, job: Job) -> None:
        failed = f"[red]{job.counts.failed:,} failed[/]" if job.counts.failed else ""
        self._progress.update(
            self._job,
            description=job.status.value,
            completed=finished(job.counts),
            total=job.counts.total or None,
            note=" ".join(filter(None, (failed, self._note()))),
        )
        known = {item.id: item for item in self._images.of(job)}
        for gone in self._tasks.keys() - known.keys():
            self._progress.remove_task(self._tasks.pop(gone))
        for item in known.values():
            assert item.progress is not None
            if item.id not in self._tasks:
                title = escape(name_of(job, item))
                self._tasks[item.id] = self._progress.add_task(title, note="", is_image=True)
            done, total = item.progress.iteration, item.progress.iterations
            self._progress.update(self._tasks[item.id], completed=done, total=total, note=loss_of(item))


class JobLines:
    """Prints a line when a job's status changes, at each tenth of its images, and at each tenth of an image."""

    def __init__(self, console: Console, images: _RunningImages | None = None) -> None:
        self._console = console
        self._images = images
        self._last: tuple[str, int] | None = None
        self._tenths: dict[int, int] = {}

    def __call__(self, job: Job) -> None:
        counts = job.counts
        tenth = finished(counts) * 10 // counts.total if counts.total else 0
        if self._last != (job.status.value, tenth):
            self._last = (job.status.value, tenth)
            failed = f", {counts.failed} failed" if counts.failed else ""
            self._say(f"{job.id} {job.status}: {finished(counts)} of {counts.total}{failed}")
        for item in self._images.of(job) if self._images else ():
            assert item.progress is not None
            done, total = item.progress.iteration, item.progress.iterations
            if self._tenths.get(item.id) != done * 10 // total:
                self._tenths[item.id] = done * 10 // total
                text = f"{job.id} {name_of(job, item)}: iteration {done} of {total}"
                self._say(", ".join(filter(None, (text, loss_of(item)))))

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False)


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
