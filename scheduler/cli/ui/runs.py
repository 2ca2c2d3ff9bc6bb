"""How trainings are shown."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from nst_core.client.resources.runs import Run, RunStatus
from scheduler.cli.ui.styles import SHORT, numbers, settings
from scheduler.cli.ui.tables import fixed, listing, none_of, number, page, rest
from scheduler.cli.ui.times import ago, local_time, span
from scheduler.cli.ui.words import marked, status_text

#: The statuses in which the last speed is still true.
_AT_WORK = frozenset({RunStatus.RUNNING, RunStatus.PAUSING, RunStatus.CANCELLING, RunStatus.EVALUATING})
#: Skipped photos whose reasons are shown.
_SHOWN_REASONS = 5


def runs_table(runs: Sequence[Run], *, filtered: bool = False, now: datetime | None = None) -> RenderableType:
    """Return trainings as a table of 80 columns; long names of styles take what is left."""
    columns = (fixed("run"), fixed("status"), number("steps"), number("age"), rest("style", no_wrap=True))
    rows = [
        (
            run.id,
            status_text(run.status),
            f"{run.step:,}/{run.steps:,}",
            ago(run.created_at, now).removesuffix(" ago"),
            run.name,
        )
        for run in runs
    ]
    return listing(columns, rows, empty=none_of("trainings", filtered=filtered, yet=True))


def run_page(run: Run) -> Table:
    """Return everything about one training."""
    return page(_run_rows(run))


def _run_rows(run: Run) -> Iterator[tuple[str, RenderableType | None]]:
    failures = (f", {run.failures:,} failed in a row" if run.failures else "", "red")
    yield "run", Text(run.id, style="bold")
    yield "style", Text(run.name, style="bold")
    yield "status", status_text(run.status)
    yield "steps", f"{run.step:,} of {run.steps:,}"
    yield "preset", _preset(run)
    yield "painting", run.painting or "–"
    yield "data", run.data or "–"
    yield "photos", photos_text(run)
    yield "warning", Text(warning, style="yellow") if (warning := warning_of(run)) else None
    yield "losses", losses_text(run)
    yield "speed", speed_text(run)
    yield "note", run.note
    yield "worker", run.worker
    yield "work", Text.assemble(f"{run.segments:,} segments, attempt {run.attempt:,}", failures)
    yield "checkpoints", ", ".join(f"{kept.step:,}" for kept in run.checkpoints)
    yield "config", settings(run.config or {})
    yield "evaluation", numbers(run.evaluation or {})
    yield "remarks", Text("\n".join(remarks), style="yellow") if (remarks := remarks_of(run)) else None
    yield "version", f"{run.version}  ({'' if run.published else 'not '}published)" if run.version else None
    yield "parent", f"{run.parent.run} at step {run.parent.step:,}" if run.parent else None
    yield "about", ", ".join(f"{name}: {value}" for name, value in run.about.items())
    yield "created", local_time(run.created_at)
    yield "took", span(run.work_s) if run.work_s else "–"
    yield "error", Text(f"{run.error.message} ({run.error.code})", style="red") if run.error else None


def run_summary(run: Run) -> Text:
    """Return how a training ended, or that it is paused, and the command that continues."""
    at = f"at step {run.step:,} of {run.steps:,}"
    if run.status is RunStatus.SUCCEEDED:
        # Not from start to end: it may have been paused for days, or extended after weeks.
        after = f" after {run.steps:,} steps" + (f" in {span(run.work_s)}" if run.work_s else "")
        version = (run.version or "")[:SHORT]
        if run.published:
            return marked(run.status, f"{run.name} is trained{after}: version {version}.")
        made = f"Version {version} of {run.name} is trained{after}. To publish it: "
        return marked(run.status, made).append(f"nst runs publish {run.id}", style="bold")
    if run.status in (RunStatus.PAUSED, RunStatus.CANCELLED):
        text = f"{run.status.value.capitalize()} {at}."
    else:
        reason = f": {run.error.message} ({run.error.code})" if run.error else "."
        text = f"The training failed {at}{reason}"
    return marked(run.status, text, " To continue: ").append(f"nst runs resume {run.id}", style="bold")


def losses_text(run: Run) -> str:
    """Return the last losses by term, without those that are zero; empty before the first."""
    return ", ".join(f"{name} {value:.4g}" for name, value in (run.losses or {}).items() if value)


def speed_text(run: Run) -> str:
    """Return the speed of a training and the time that is left, as far as they are known."""
    if run.status not in _AT_WORK:
        return ""
    parts = []
    if run.steps_per_s:
        parts.append(f"{run.steps_per_s:.3g} steps/s")
    if run.eta_s is not None and run.step < run.steps:
        parts.append(f"{span(run.eta_s)} left")
    return ", ".join(parts)


def photos_text(run: Run) -> str:
    """Return how many photos there are, and which were skipped and why."""
    photos = run.photos
    text = f"{photos.count:,}"
    if photos.held_out:
        text += f", {photos.held_out:,} held out"
    if not photos.skipped:
        return text
    shown = list(photos.reasons.items())[:_SHOWN_REASONS]
    lines = [f"{text}, {photos.skipped:,} skipped", *(f"{name}: {reason}" for name, reason in shown)]
    if photos.skipped > len(shown) > 0:
        lines.append(f"and {photos.skipped - len(shown):,} more")
    return "\n".join(lines)


def remarks_of(run: Run) -> list[str]:
    """Return the defects that the evaluation found, a sentence each."""
    remarks = (run.evaluation or {}).get("remarks")
    return [str(remark) for remark in remarks] if isinstance(remarks, list) else []


def warning_of(run: Run) -> str | None:
    """Return the warning of a training, or None."""
    return run.warning or run.photos.warning


def _preset(run: Run) -> str:
    parts = [run.preset or "–"]
    parts += [f"family {run.family}"] if run.family else []
    parts += [f"stroke {run.stroke:g}"] if run.stroke is not None else []
    parts += [f"strength {run.strength:g}"] if run.strength is not None else []
    parts += ["exact"] if run.exact else []
    return ", ".join(parts)
