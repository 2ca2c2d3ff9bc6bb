"""Progress of a training on the standard error: live numbers and a bar on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn
from rich.style import Style
from rich.text import Text

from scheduler.cli.ui.runs import details_grid, losses_text, photos_text, speed_text, status_text, warning_of
from scheduler.domain.runs import RunStatus
from scheduler.runs.resources import Run, Sample

#: Shows a run; called again each time it was looked at.
Show = Callable[[Run], None]
#: Samples of a run, and their addresses for people.
Newest = Callable[[Run], Sequence[tuple[Sample, str]]]
#: Of the newest samples.
_SHOWN_SAMPLES = 3


@contextmanager
def training_board(console: Console, *, curve: Callable[[Run], str], samples: Newest) -> Iterator[Show]:
    """Show how a run gets on; the function that it yields takes the run as it stands.

    `curve` gives the address of its losses, `samples` those of what there is of its newest samples; it is asked once
    for each segment.
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
    """The newest samples, looked for when a segment has ended."""

    def __init__(self, find: Newest) -> None:
        self._find = find
        self._seen: tuple[int, str] | None = None
        self._last: Sequence[tuple[Sample, str]] = ()

    def of(self, run: Run) -> Sequence[tuple[Sample, str]]:
        """Return those of the last step that has any."""
        seen = (run.segments, run.status.value)
        if run.step and seen != self._seen:
            found = self._find(run)
            newest = max((sample.step for sample, _ in found), default=0)
            self._last = [pair for pair in found if pair[0].step == newest]
            self._seen = seen
        return self._last


class _Spinner(SpinnerColumn):
    """Turns until the run is finished or paused, whatever its steps."""

    def render(self, task: Task) -> RenderableType:
        return Text(" ") if task.fields["at_rest"] else self.spinner.render(task.get_time())


class _Board:
    """A bar, and below it the numbers."""

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
            # There is no telling how far an evaluation is; the bar only shows that something is done.
            total=None if run.status is RunStatus.EVALUATING else run.steps,
            at_rest=run.status.is_terminal or run.status is RunStatus.PAUSED,
            steps=f"{run.step:,}/{run.steps:,}",
            speed=speed_text(run),
        )
        grid = details_grid()
        for name, value in self._rows(run):
            grid.add_row(name, value)
        self._details = grid

    def render(self) -> RenderableType:
        return Group(self._bar, self._details)

    def _rows(self, run: Run) -> Iterator[tuple[str, RenderableType]]:
        if losses := losses_text(run):
            yield "losses", losses
        if photos := photos_text(run):
            yield "photos", photos
        if warning := warning_of(run):
            yield "warning", Text(warning, style="yellow")
        if run.failures:
            reason = f": {run.error.message} ({run.error.code})" if run.error else ""
            yield "trouble", Text(f"{run.failures:,} failed in a row{reason}", style="red")
        if run.note:
            yield "note", escape(run.note)
        if run.segments:
            yield "curve", _link(self._curve(run))
        pictures = self._pictures.of(run)
        for sample, url in pictures[:_SHOWN_SAMPLES]:
            yield f"step {sample.step:,}", _link(url)
        if len(pictures) > _SHOWN_SAMPLES:
            more = f"and {len(pictures) - _SHOWN_SAMPLES} more: nst runs samples {run.name} -o FOLDER"
            yield "", Text(more, style="dim")


class _Lines:
    """Writes a line when a run's status or trouble changes, at each tenth of its steps, and for new samples."""

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
        skipped = run.photos.skipped if run.photos else 0
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
    # One link, though it is folded at the end of the line.
    return Text(url, style=Style(link=url))
