"""Progress of a training on standard error: a bar and live numbers on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn
from rich.style import Style
from rich.text import Text

from nst_core.client.resources.runs import Run, RunStatus, Sample
from scheduler.cli.ui.runs import losses_text, photos_text, speed_text, warning_of
from scheduler.cli.ui.tables import page
from scheduler.cli.ui.words import status_text

#: Shows a run as it is now; called after each look at it.
Show = Callable[[Run], None]
#: Returns the samples of a run with their addresses.
Newest = Callable[[Run], Sequence[tuple[Sample, str]]]
#: How many of the newest samples are shown.
_SHOWN_SAMPLES = 3


@contextmanager
def training_board(console: Console, *, curve: Callable[[Run], str], samples: Newest) -> Iterator[Show]:
    """Show the progress of a run; the function that it yields takes the run as it is now.

    `curve` returns the address of its loss curve. `samples` is called once for each segment.
    """
    pictures = _Pictures(samples)
    if not console.is_terminal:
        yield _Lines(console, pictures)
        return
    board = _Board(curve, pictures)
    with Live(get_renderable=board.render, console=console, refresh_per_second=4) as live:

        def show(run: Run) -> None:
            board.update(run)
            live.refresh()

        yield show


class _Pictures:
    """The newest samples, which are looked up when a segment has ended."""

    def __init__(self, find: Newest) -> None:
        self._find = find
        self._seen: tuple[int, str] | None = None
        self._last: Sequence[tuple[Sample, str]] = ()

    def of(self, run: Run) -> Sequence[tuple[Sample, str]]:
        """Return the samples of the last step that has any."""
        seen = (run.segments, run.status.value)
        if run.step and seen != self._seen:
            found = self._find(run)
            newest = max((sample.step for sample, _ in found), default=0)
            self._last = [pair for pair in found if pair[0].step == newest]
            self._seen = seen
        return self._last


class _Spinner(SpinnerColumn):
    """Turns until the run is finished or paused."""

    def render(self, task: Task) -> RenderableType:
        return Text(" ") if task.fields["at_rest"] else self.spinner.render(task.get_time())


class _Board:
    """A bar with the numbers below it."""

    def __init__(self, curve: Callable[[Run], str], pictures: _Pictures) -> None:
        self._curve = curve
        self._pictures = pictures
        self._bar = Progress(
            _Spinner(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[steps]}"),
            TextColumn("{task.fields[speed]}", style="cyan"),
            expand=True,
        )
        self._task = self._bar.add_task("", total=None, steps="", speed="", at_rest=False)
        self._details: RenderableType = Text("")

    def update(self, run: Run) -> None:
        self._bar.update(
            self._task,
            description=status_text(run.status).markup,
            completed=run.step,
            # The progress of an evaluation is not known; the bar only shows that it is running.
            total=None if run.status is RunStatus.EVALUATING else run.steps,
            at_rest=run.status.is_terminal or run.status is RunStatus.PAUSED,
            steps=f"{run.step:,}/{run.steps:,}",
            speed=speed_text(run),
        )
        self._details = page(self._rows(run))

    def render(self) -> RenderableType:
        return Group(self._bar, self._details)

    def _rows(self, run: Run) -> Iterator[tuple[str, RenderableType | None]]:
        yield "losses", losses_text(run)
        yield "photos", photos_text(run)
        if warning := warning_of(run):
            yield "warning", Text(warning, style="yellow")
        if run.failures:
            reason = f": {run.error.message} ({run.error.code})" if run.error else ""
            yield "trouble", Text(f"{run.failures:,} failed in a row{reason}", style="red")
        yield "note", run.note
        if run.segments:
            yield "curve", _link(self._curve(run))
        pictures = self._pictures.of(run)
        for sample, url in pictures[:_SHOWN_SAMPLES]:
            yield f"step {sample.step:,}", _link(url)
        if len(pictures) > _SHOWN_SAMPLES:
            more = f"and {len(pictures) - _SHOWN_SAMPLES} more: nst runs samples {run.name} -o FOLDER"
            yield "", Text(more, style="dim")


class _Lines:
    """Prints a line when a run's status or its failures change, at each tenth of its steps, and for new samples."""

    def __init__(self, console: Console, pictures: _Pictures) -> None:
        self._console = console
        self._pictures = pictures
        self._last: tuple[object, ...] | None = None
        self._warned: str | None = None
        self._sampled = 0

    def __call__(self, run: Run) -> None:
        if (warning := warning_of(run)) and warning != self._warned:
            self._warned = warning
            self._say(run, f"warning: {warning}")
        skipped = run.photos.skipped
        now = (run.status, run.step * 10 // max(1, run.steps), run.failures, skipped)
        if now != self._last:
            self._last = now
            parts = [f"{run.status}: step {run.step:,} of {run.steps:,}"]
            parts += [part for part in (losses_text(run), speed_text(run), run.note) if part]
            parts += [f"{skipped:,} photos skipped"] if skipped else []
            parts += [f"{run.failures:,} failed in a row"] if run.failures else []
            self._say(run, ", ".join(parts))
        for sample, url in self._pictures.of(run):
            if sample.step > self._sampled:
                self._say(run, f"sample at step {sample.step:,}: {url}")
        self._sampled = max((sample.step for sample, _ in self._pictures.of(run)), default=self._sampled)

    def _say(self, run: Run, text: str) -> None:
        self._console.print(f"{run.id} {text}", soft_wrap=True, markup=False)


def _link(url: str) -> Text:
    # A terminal can open it although it is folded at the end of the line.
    return Text(url, style=Style(link=url))
