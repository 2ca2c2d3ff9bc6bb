"""How jobs, their images and dry runs are shown."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.text import Text

from nst_core.client.resources.items import Item
from nst_core.client.resources.jobs import Check, Job, JobStatus, Priority
from nst_core.client.resources.styles import Preset
from scheduler.cli.transfer.names import readable
from scheduler.cli.ui.progress import finished
from scheduler.cli.ui.tables import fixed, listing, none_of, number, page, rest
from scheduler.cli.ui.times import ago, duration_s, local_time, span, took
from scheduler.cli.ui.words import PARTIAL, count_of, marked, status_text

#: Failed images that are shown before the rest is only counted.
_SHOWN_FAILURES = 5
_STOPS = {"cancel": "by a client", "deadline": "the deadline has passed", "max_failures": "too many failures"}


def jobs_table(jobs: Sequence[Job], *, filtered: bool = False, now: datetime | None = None) -> RenderableType:
    """Return jobs as a table of 80 columns; the styles take what is left, in several lines if need be."""

    def row(job: Job) -> Iterator[RenderableType]:
        images = Text(f"{finished(job.counts):,}/{job.counts.total:,}")
        if job.counts.failed:
            images.append(f" ✗{job.counts.failed:,}", style="red")
        yield job.id
        yield status_text(job.status, PARTIAL if job.status is JobStatus.PARTIALLY_SUCCEEDED else None)
        yield images
        yield ago(job.created_at, now)
        yield ", ".join(style.name for style in job.styles)

    columns = (fixed("job"), fixed("status"), number("images"), number("created"), rest("styles"))
    return listing(columns, (list(row(job)) for job in jobs), empty=none_of("jobs", filtered=filtered, yet=True))


def job_page(job: Job, failures: Iterable[Item] = ()) -> RenderableType:
    """Return everything about one job, with its first failures."""
    return Group(page(_job_rows(job)), failures_list(job, failures))


def _job_rows(job: Job) -> Iterator[tuple[str, RenderableType | None]]:
    counts, source = job.counts, job.input
    names = ("succeeded", "failed", "cancelled", "running", "pending")
    by_status = ", ".join(f"{getattr(counts, name):,} {name}" for name in names if getattr(counts, name))
    status = status_text(job.status)
    if job.stop:
        status.append(f"  ({_STOPS.get(job.stop, job.stop)})", style="dim")
    yield "job", Text(job.id, style="bold")
    yield "your id", job.client_id
    yield "status", status
    yield "images", f"{counts.total:,}" + (f"  ({by_status})" if by_status else "")
    yield "method", job.method
    yield "paintings", ", ".join(job.paintings)
    if not job.paintings:
        parts = ((style.name, (f" {style.version[:12]}", "dim")) for style in job.styles)
        yield "styles", Text(", ").join(Text.assemble(*each) for each in parts)
    yield "input", source.prefix or source.manifest or f"{source.count or 0:,} addresses"
    yield "regions", "\n".join(f"{each.style.name} in {each.mask or 'masks of photos'}" for each in job.regions)
    yield "mask", job.mask
    yield "output", job.output.prefix
    yield "options", _options(job)
    yield "priority", None if job.priority == Priority.NORMAL else str(job.priority)
    yield "deadline", local_time(job.deadline) if job.deadline else None
    yield "failures", None if job.max_failures is None else f"{job.max_failures:,} at most"
    yield "attempts", None if job.max_attempts is None else f"{job.max_attempts} at most"
    yield "created", local_time(job.created_at)
    yield "took", took(job)
    yield "metadata", ", ".join(f"{key}={value}" for key, value in job.metadata.items())
    yield "error", Text(f"{job.error.message} ({job.error.code})", style="red") if job.error else None


def _options(job: Job) -> str:
    parts = [f"strength {job.strength:g}"]
    if job.optimize is not None:
        config = job.optimize.config
        known = [f"{name} {config[name]}" for name in ("iterations", "size_px", "color") if name in config]
        parts = [f"preset {job.optimize.preset}", *known]
    parts += ["colours kept"] if job.preserve_color else []
    parts += {"protect": ["faces protected"], "fine": ["faces in fine strokes"]}.get(job.faces or "", [])
    parts += ["exact"] if job.precision == "exact" else []
    parts += [f"look {job.look}"] if job.look is not None else []
    stroke = f"{job.stroke:g}" if isinstance(job.stroke, float) else job.stroke
    parts += [f"stroke {stroke}"] if stroke is not None else []
    parts += [f"forms {job.forms}"] if job.forms is not None else []
    parts += [f"sides {job.upscale} times as long"] if job.upscale > 1 else []
    parts += [f"format {job.output.format}, quality {job.output.quality}"]
    parts += [f"at most {job.output.max_px} px"] if job.output.max_px else []
    return ", ".join(parts)


def failures_list(job: Job, failures: Iterable[Item], paths: Mapping[str, Path] | None = None) -> RenderableType:
    """Return the first failed images with their reasons; `paths` are files on this machine by their addresses."""
    shown = [item for item, _ in zip(failures, range(_SHOWN_FAILURES), strict=False)]
    lines: list[RenderableType] = []
    for item in shown:
        reason = f"{item.error.message} ({item.error.code})" if item.error else "The reason is not known."
        path = (paths or {}).get(item.input)
        name = item.input.removeprefix(job.input.prefix or "") if path is None else str(path)
        lines.append(Text.assemble(("✗ ", "red"), readable(name), (f"  {item.style}: ", "dim"), reason))
    if job.counts.failed > len(shown) > 0:
        more = job.counts.failed - len(shown)
        lines.append(Text(f"  and {more:,} more: nst jobs results {job.id} --errors", style="dim"))
    return Group(*lines)


def job_summary(job: Job, place: str) -> Text:
    """Return one line about a finished job."""
    done, counts = job.counts.succeeded, job.counts
    if job.status is JobStatus.SUCCEEDED:
        text = count_of(done, "image")
    elif job.status is JobStatus.PARTIALLY_SUCCEEDED:
        text = f"{done:,} of {count_of(counts.total, 'image')}"
    elif job.status in (JobStatus.CANCELLED, JobStatus.EXPIRED):
        text = f"{job.status.value.capitalize()} after {done:,} of {count_of(counts.total, 'image')}"
    else:
        reason = f": {job.error.message} ({job.error.code})" if job.error else ""
        return marked(job.status, f"The job failed{reason}")
    seconds = duration_s(job)
    if seconds and done:
        rate = done / seconds
        text += f" in {span(seconds)}" + (f" ({rate:.1f} images/s)" if rate >= 0.1 else "")
    return marked(job.status, text, f" → {place}" if place and done else "")


def items_table(job: Job, items: Sequence[Item], *, filtered: bool = False) -> RenderableType:
    """Return images of a job as a table, with a second line for warnings."""

    def rows() -> Iterator[Sequence[RenderableType]]:
        for item in items:
            name = _Tail(item.input.removeprefix(job.input.prefix or "").removeprefix("s3://"))
            status = status_text(item.status, item.error.code if item.error is not None else None)
            yield f"{item.id:,}", name, item.style, status, f"{item.width} x {item.height}" if item.width else ""
            if item.warning is not None:
                yield "", Text(item.warning, style="yellow"), "", "", ""

    columns = (number(""), rest("image"), fixed("style"), fixed("status"), number("size"))
    return listing(columns, rows(), empty=none_of("images", filtered=filtered, yet=True))


class _Tail:
    """A name on one line that is cut at its start, because images differ in the ends of their names."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        yield Text(self._name if len(self._name) <= width else "…" + self._name[len(self._name) - width + 1 :])

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(12, len(self._name)), len(self._name))


def check_page(check: Check) -> RenderableType:
    """Return what a job would do, and what is wrong with it."""
    lines: list[RenderableType] = []
    if check.items:
        more = "more than " if check.truncated else ""
        images = count_of(check.items - check.failing, "image")
        line = marked("succeeded" if check.valid else "failed", f"{more}{count_of(check.photos, 'photo')}, {images}")
        if check.failing:
            line.append(f", {check.failing:,} would fail at once", style="red")
        if check.estimated_s is not None:
            line.append(f", about {span(check.estimated_s)} with the present workers")
        lines.append(line)
    if check.objects_checked is not None and check.objects_checked < check.photos:
        text = f"  Only {check.objects_checked:,} of {count_of(check.photos, 'photo')} were looked up in the storage."
        lines.append(Text(text, style="dim"))
    for problem in check.problems[:_SHOWN_FAILURES]:
        # A message about a line of a manifest names that line itself.
        where = problem.pointer or (problem.input if problem.line is None else None)
        place = (f"{where}: " if where else "", "dim")
        lines.append(Text.assemble(("✗ ", "red"), place, problem.message, f" ({problem.code})"))
    if len(check.problems) > _SHOWN_FAILURES:
        lines.append(Text("  and more: --json shows the first 100", style="dim"))
    return Group(*lines)


def presets_table(presets: Sequence[Preset]) -> RenderableType:
    """Return presets as a table."""
    rows = [(Text(preset.name, style="bold"), preset.summary) for preset in presets]
    return listing((fixed("preset"), rest("what it does")), rows, empty="There are no presets.")
