"""What the commands show of jobs."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from nst_core.protocol.chunks import ItemStatus
from scheduler.cli.options import PARTIAL
from scheduler.cli.transfer.names import readable
from scheduler.cli.ui.progress import finished
from scheduler.cli.ui.times import ago, duration_s, local_time, span, took
from scheduler.cli.ui.words import count_of
from scheduler.domain.jobs import JobStatus, Priority
from scheduler.resources import Check, Item, Job, Preset

_COLOURS = {
    JobStatus.SUCCEEDED: "green",
    JobStatus.PARTIALLY_SUCCEEDED: "yellow",
    JobStatus.FAILED: "red",
    JobStatus.CANCELLED: "magenta",
    JobStatus.EXPIRED: "magenta",
    JobStatus.PAUSED: "yellow",
    JobStatus.RUNNING: "cyan",
}
_ITEM_COLOURS = {
    ItemStatus.SUCCEEDED: "green",
    ItemStatus.FAILED: "red",
    ItemStatus.CANCELLED: "magenta",
    ItemStatus.RUNNING: "cyan",
}
#: Failed items that are shown before the rest is only counted.
_SHOWN_FAILURES = 5


def jobs_table(jobs: Sequence[Job], *, now: datetime | None = None) -> RenderableType:
    """Return jobs as a table, one line each."""
    if not jobs:
        return Text("There are no jobs yet.", style="dim")
    # Fits into 80 columns; the styles take what is left, in several lines if need be.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True, padding=(0, 1, 0, 0))
    table.add_column("job", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("images", no_wrap=True, justify="right")
    table.add_column("created", no_wrap=True, justify="right")
    table.add_column("styles", overflow="fold", ratio=1)
    for job in jobs:
        counts = job.counts
        images = Text(f"{finished(counts):,}/{counts.total:,}")
        if counts.failed:
            images.append(f" ✗{counts.failed:,}", style="red")
        # The one long status would push the styles out.
        short = Text(PARTIAL, style="yellow") if job.status is JobStatus.PARTIALLY_SUCCEEDED else None
        created = ago(job.created_at, now or datetime.now(UTC))
        styles = ", ".join(style.name for style in job.styles)
        table.add_row(job.id, short or status_text(job.status), images, created, styles)
    return table


def job_page(job: Job, failures: Iterable[Item] = ()) -> RenderableType:
    """Return all that is to say about one job."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", justify="right")
    grid.add_column(overflow="fold")
    source, counts = job.input, job.counts
    given = source.prefix or source.manifest or f"{source.count or 0:,} addresses"
    by_status = [
        f"{getattr(counts, name):,} {name}"
        for name in ("succeeded", "failed", "cancelled", "running", "pending")
        if getattr(counts, name)
    ]
    rows: list[tuple[str, RenderableType]] = [
        ("job", Text(job.id, style="bold")),
        *((("your id", escape(job.client_id)),) if job.client_id else ()),
        ("status", _status(job)),
        ("images", f"{counts.total:,}" + (f"  ({', '.join(by_status)})" if by_status else "")),
        ("method", job.method.value),
        ("paintings", escape(", ".join(job.paintings)))
        if job.paintings
        else ("styles", ", ".join(f"{style.name} [dim]{style.version[:12]}[/]" for style in job.styles)),
        ("input", escape(given)),
        ("output", escape(job.output.prefix or "")),
        ("options", escape(_options(job))),
        *_limits(job),
        ("created", local_time(job.created_at)),
        ("took", took(job)),
    ]
    if job.metadata:
        rows.append(("metadata", escape(", ".join(f"{key}={value}" for key, value in job.metadata.items()))))
    if job.error is not None:
        rows.append(("error", Text(f"{job.error.message} ({job.error.code})", style="red")))
    for name, value in rows:
        grid.add_row(name, value)
    return Group(grid, failures_list(job, failures))


def failures_list(job: Job, failures: Iterable[Item], paths: Mapping[str, Path] | None = None) -> RenderableType:
    """Return the first failed items with their reasons, or nothing; `paths` are files of this machine by address."""
    shown = [item for item, _ in zip(failures, range(_SHOWN_FAILURES), strict=False)]
    lines: list[RenderableType] = []
    for item in shown:
        reason = f"{item.error.message} ({item.error.code})" if item.error else "no reason is known"
        path = (paths or {}).get(item.input)
        name = item.input.removeprefix(job.input.prefix or "") if path is None else str(path)
        lines.append(Text.assemble(("✗ ", "red"), readable(name), (f"  {item.style}: ", "dim"), reason))
    if job.counts.failed > len(shown) > 0:
        rest = job.counts.failed - len(shown)
        lines.append(Text(f"  and {rest:,} more: nst jobs results {job.id} --errors", style="dim"))
    return Group(*lines)


def job_summary(job: Job, place: str) -> Text:
    """Return one line about a finished job."""
    counts = job.counts
    if job.status is JobStatus.SUCCEEDED:
        text = Text.assemble(("✓ ", "bold green"), count_of(counts.succeeded, "image"))
    elif job.status is JobStatus.PARTIALLY_SUCCEEDED:
        text = Text.assemble(("! ", "bold yellow"), f"{counts.succeeded:,} of {count_of(counts.total, 'image')}")
    elif job.status in (JobStatus.CANCELLED, JobStatus.EXPIRED):
        word = job.status.value.capitalize()
        text = Text.assemble(
            ("✗ ", "bold magenta"), f"{word} after {counts.succeeded:,} of {count_of(counts.total, 'image')}"
        )
    else:
        reason = f": {job.error.message} ({job.error.code})" if job.error else ""
        return Text.assemble(("✗ ", "bold red"), f"The job failed{reason}")
    seconds = duration_s(job)
    if seconds and counts.succeeded:
        text.append(f" in {span(seconds)}")
        if (rate := counts.succeeded / seconds) >= 0.1:
            text.append(f" ({rate:.1f} images/s)")
    return text.append(f" → {place}" if place and counts.succeeded else "")


def items_table(job: Job, items: Sequence[Item]) -> RenderableType:
    """Return images of a job as a table, one line each."""
    if not items:
        return Text("There are no such images.", style="dim")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
    table.add_column("", no_wrap=True, justify="right")
    table.add_column("image", ratio=1)
    table.add_column("style", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("size", no_wrap=True, justify="right")
    for item in items:
        name = _Tail(item.input.removeprefix(job.input.prefix or "").removeprefix("s3://"))
        status = item.error.code if item.error is not None else item.status.value
        size = f"{item.width} x {item.height}" if item.width else ""
        colour = _ITEM_COLOURS.get(item.status, "dim")
        table.add_row(f"{item.id:,}", name, escape(item.style), Text(status, style=colour), size)
        if item.warning is not None:
            table.add_row("", Text(item.warning, style="yellow"), "", "", "")
    return table


class _Tail:
    """A name in one line, of which the end is kept: it tells images apart."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        yield Text(self._name if len(self._name) <= width else "…" + self._name[len(self._name) - width + 1 :])

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(12, len(self._name)), len(self._name))


def check_page(check: Check) -> RenderableType:
    """Return what a job would do."""
    lines: list[RenderableType] = []
    if check.items:
        more = "more than " if check.truncated else ""
        line = Text.assemble(("✓ ", "bold green") if check.valid else ("✗ ", "bold red"))
        line.append(f"{more}{count_of(check.photos, 'photo')}, {count_of(check.items - check.failing, 'image')}")
        if check.failing:
            line.append(f", {check.failing:,} would fail at once", style="red")
        if check.estimated_s is not None:
            line.append(f", about {span(check.estimated_s)} with the present workers")
        lines.append(line)
    if check.objects_checked is not None and check.objects_checked < check.photos:
        text = f"  {check.objects_checked:,} of {count_of(check.photos, 'photo')} were looked for in the storage"
        lines.append(Text(text, style="dim"))
    for problem in check.problems[:_SHOWN_FAILURES]:
        # The sentence about a line names it already.
        where = problem.pointer or (problem.input if problem.line is None else None)
        lines.append(
            Text.assemble(("✗ ", "red"), (f"{where}: " if where else "", "dim"), problem.message, f" ({problem.code})")
        )
    if len(check.problems) > _SHOWN_FAILURES:
        lines.append(Text("  and more: --json shows the first 100", style="dim"))
    return Group(*lines)


def presets_table(presets: Sequence[Preset]) -> RenderableType:
    """Return presets as a table, one line each."""
    table = Table("preset", "what it does", box=box.SIMPLE_HEAD, pad_edge=False)
    for preset in presets:
        table.add_row(Text(preset.name, style="bold"), escape(preset.summary))
    return table


def status_text(status: JobStatus) -> Text:
    """Return a status in its colour."""
    return Text(status.value, style=_COLOURS.get(status, "dim"))


def _status(job: Job) -> Text:
    text = status_text(job.status)
    reasons = {"cancel": "by a client", "deadline": "the deadline has passed", "max_failures": "too many failures"}
    return text.append(f"  ({reasons.get(job.stop, job.stop)})", style="dim") if job.stop else text


def _limits(job: Job) -> list[tuple[str, RenderableType]]:
    """Return what limits a job, where that is not as usual."""
    rows: list[tuple[str, RenderableType]] = []
    if job.priority != Priority.NORMAL:
        rows.append(("priority", escape(job.priority)))
    if job.deadline is not None:
        rows.append(("deadline", local_time(job.deadline)))
    if job.max_failures is not None:
        rows.append(("failures", f"{job.max_failures:,} at most"))
    if job.max_attempts is not None:
        rows.append(("attempts", f"{job.max_attempts} at most"))
    return rows


def _options(job: Job) -> str:
    if job.optimize is not None:
        config = job.optimize.config
        named = [f"{name} {config.get(name)}" for name in ("iterations", "size_px", "color")]
        parts = [f"preset {job.optimize.preset}", *named]
    else:
        parts = [f"strength {job.strength:g}"]
    if job.preserve_color:
        parts.append("colours kept")
    parts.append(f"format {job.output.format}, quality {job.output.quality}")
    if job.output.max_px:
        parts.append(f"at most {job.output.max_px} px")
    return ", ".join(parts)
