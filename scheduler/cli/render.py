"""What the commands show of jobs."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from scheduler.cli.progress import finished
from scheduler.cli.times import ago, duration_s, local_time, took
from scheduler.domain import JobStatus
from scheduler.resources import Item, Job, Preset

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


def presets_table(presets: Sequence[Preset]) -> RenderableType:
    """Return presets as a table, one line each."""
    table = Table("preset", "what it does", box=box.SIMPLE_HEAD, pad_edge=False)
    for preset in presets:
        table.add_row(Text(preset.name, style="bold"), escape(preset.summary))
    return table


def status_text(status: JobStatus) -> Text:
    """Return a status in its colour."""
    return Text(status.value, style=_COLOURS.get(status, "dim"))


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
