"""What the commands show to people."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from scheduler.cli.progress import finished
from scheduler.domain import JobStatus
from scheduler.resources import Item, Job, Preset, Style

_COLOURS = {
    JobStatus.SUCCEEDED: "green",
    JobStatus.PARTIALLY_SUCCEEDED: "yellow",
    JobStatus.FAILED: "red",
    JobStatus.CANCELLED: "magenta",
    JobStatus.RUNNING: "cyan",
}
#: Failed items that are shown before the rest is only counted.
_SHOWN_FAILURES = 5


def jobs_table(jobs: Sequence[Job], *, now: datetime | None = None) -> RenderableType:
    """Return jobs as a table, one line each."""
    if not jobs:
        return Text("There are no jobs yet.", style="dim")
    # Fits into 80 columns but for the styles, which take what is left.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
    table.add_column("job", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("images", no_wrap=True, justify="right")
    table.add_column("created", no_wrap=True, justify="right")
    table.add_column("styles", no_wrap=True, ratio=1)
    for job in jobs:
        counts = job.counts
        images = Text(f"{finished(counts):,}/{counts.total:,}")
        if counts.failed:
            images.append(f" ✗{counts.failed:,}", style="red")
        # The one long status would push the styles out.
        short = Text("partial", style="yellow") if job.status is JobStatus.PARTIALLY_SUCCEEDED else None
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
    given = source.prefix or source.manifest or f"{len(source.uris or ()):,} addresses"
    by_status = [
        f"{getattr(counts, name):,} {name}"
        for name in ("succeeded", "failed", "cancelled", "running", "pending")
        if getattr(counts, name)
    ]
    rows: list[tuple[str, RenderableType]] = [
        ("job", Text(job.id, style="bold")),
        ("status", status_text(job.status)),
        ("images", f"{counts.total:,}" + (f"  ({', '.join(by_status)})" if by_status else "")),
        ("method", job.method.value),
        ("paintings", escape(", ".join(job.paintings)))
        if job.paintings
        else ("styles", ", ".join(f"{style.name} [dim]{style.version[:12]}[/]" for style in job.styles)),
        ("input", escape(given)),
        ("output", escape(job.output.prefix or "")),
        ("options", escape(_options(job))),
        ("created", _local_time(job.created_at)),
        ("took", took(job)),
    ]
    if job.metadata:
        rows.append(("metadata", escape(", ".join(f"{key}={value}" for key, value in job.metadata.items()))))
    if job.error is not None:
        rows.append(("error", Text(f"{job.error.message} ({job.error.code})", style="red")))
    for name, value in rows:
        grid.add_row(name, value)
    return Group(grid, failures_list(job, failures))


def failures_list(job: Job, failures: Iterable[Item]) -> RenderableType:
    """Return the first failed items with their reasons, or nothing."""
    shown = [item for item, _ in zip(failures, range(_SHOWN_FAILURES), strict=False)]
    lines: list[RenderableType] = []
    for item in shown:
        reason = f"{item.error.message} ({item.error.code})" if item.error else "no reason is known"
        name = item.input.removeprefix(job.input.prefix or "")
        lines.append(Text.assemble(("✗ ", "red"), name, (f"  {item.style}: ", "dim"), reason))
    if job.counts.failed > len(shown) > 0:
        rest = job.counts.failed - len(shown)
        lines.append(Text(f"  and {rest:,} more: nst jobs results {job.id} --errors", style="dim"))
    return Group(*lines)


def job_summary(job: Job, place: str) -> Text:
    """Return one line about a finished job."""
    counts = job.counts
    if job.status is JobStatus.SUCCEEDED:
        text = Text.assemble(("✓ ", "bold green"), f"{counts.succeeded:,} images")
    elif job.status is JobStatus.PARTIALLY_SUCCEEDED:
        text = Text.assemble(("! ", "bold yellow"), f"{counts.succeeded:,} of {counts.total:,} images")
    elif job.status is JobStatus.CANCELLED:
        text = Text.assemble(("✗ ", "bold magenta"), f"Cancelled after {counts.succeeded:,} of {counts.total:,} images")
    else:
        reason = f": {job.error.message} ({job.error.code})" if job.error else ""
        return Text.assemble(("✗ ", "bold red"), f"The job failed{reason}")
    seconds = duration_s(job)
    if seconds and counts.succeeded:
        text.append(f" in {seconds:.1f} s ({counts.succeeded / seconds:.1f} images/s)")
    return text.append(f" → {place}" if place and counts.succeeded else "")


def styles_table(styles: Sequence[Style]) -> RenderableType:
    """Return styles as a table, one line each."""
    table = Table("style", "painting", "artist", "year", "version", box=box.SIMPLE_HEAD, pad_edge=False)
    for style in styles:
        card = style.card
        table.add_row(
            Text(style.name, style="bold"),
            *(escape(str(card.get(key, "–"))) for key in ("title", "artist", "year")),
            Text(style.version[:12], style="dim"),
        )
    return table


def presets_table(presets: Sequence[Preset]) -> RenderableType:
    """Return presets as a table, one line each."""
    table = Table("preset", "what it does", box=box.SIMPLE_HEAD, pad_edge=False)
    for preset in presets:
        table.add_row(Text(preset.name, style="bold"), escape(preset.summary))
    return table


def style_page(style: Style) -> RenderableType:
    """Return a style's card."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", justify="right")
    grid.add_column(overflow="fold")
    grid.add_row("style", Text(style.name, style="bold"))
    grid.add_row("version", style.version)
    for key, value in style.card.items():
        if not isinstance(value, dict | list) and key not in ("name", "version"):
            grid.add_row(key.replace("_", " "), escape(str(value)))
    return grid


def status_text(status: JobStatus) -> Text:
    """Return a status in its colour."""
    return Text(status.value, style=_COLOURS.get(status, "dim"))


def duration_s(job: Job, *, now: datetime | None = None) -> float | None:
    """Return how long a job has run, from its first image to its end or to now."""
    if job.started_at is None:
        return None
    end = _time(job.finished_at) if job.finished_at else now or datetime.now(UTC)
    return max(0.0, (end - _time(job.started_at)).total_seconds())


def took(job: Job) -> str:
    """Return how long a job has run, for people."""
    seconds = duration_s(job)
    return "–" if seconds is None else span(seconds)


def span(seconds: float) -> str:
    """Return a length of time: 4.2 s, 3:05 or 2:03:05."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def ago(moment: str | None, now: datetime) -> str:
    """Return how long ago an RFC 3339 time was, roughly."""
    if moment is None:
        return "–"
    seconds = max(0.0, (now - _time(moment)).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


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


def _time(moment: str) -> datetime:
    return datetime.fromisoformat(moment)


def _local_time(moment: str | None) -> str:
    return f"{_time(moment).astimezone():%Y-%m-%d %H:%M:%S}" if moment else "–"
