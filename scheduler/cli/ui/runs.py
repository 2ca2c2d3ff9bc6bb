"""What the commands show of runs, the trainings of styles."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from scheduler.cli.ui.styles import SHORT, flat
from scheduler.cli.ui.times import ago, duration_s, local_time, span, took
from scheduler.domain.runs import RunStatus
from scheduler.runs.resources import Run

_COLOURS = {
    RunStatus.SUCCEEDED: "green",
    RunStatus.FAILED: "red",
    RunStatus.CANCELLED: "magenta",
    RunStatus.PAUSED: "yellow",
    RunStatus.RUNNING: "cyan",
    RunStatus.EVALUATING: "cyan",
}
#: Of the others the speed is past.
_AT_WORK = frozenset({RunStatus.RUNNING, RunStatus.PAUSING, RunStatus.CANCELLING, RunStatus.EVALUATING})
#: Of a config, what people look for; --json has all.
_SHOWN_CONFIG = ("network", "size_px", "batch_size", "style_size_px", "content_layer", "learning_rate", "seed")
#: Skipped photos whose reasons are shown.
_SHOWN_REASONS = 5


def runs_table(runs: Sequence[Run], *, now: datetime | None = None) -> RenderableType:
    """Return runs as a table, one line each."""
    if not runs:
        return Text("There are no trainings yet.", style="dim")
    # Fits into 80 columns but for long names of styles, which take what is left.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True, collapse_padding=True)
    table.add_column("run", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("steps", no_wrap=True, justify="right")
    table.add_column("age", no_wrap=True, justify="right")
    table.add_column("style", no_wrap=True, ratio=1)
    for run in runs:
        steps, age = f"{run.step:,}/{run.steps:,}", ago(run.created_at, now or datetime.now(UTC))
        table.add_row(run.id, status_text(run.status), steps, age.removesuffix(" ago"), escape(run.name))
    return table


def run_page(run: Run) -> RenderableType:
    """Return all that is to say about one run."""
    grid = details_grid()
    rows: list[tuple[str, RenderableType | None]] = [
        ("run", Text(run.id, style="bold")),
        ("style", Text(run.name, style="bold")),
        ("status", status_text(run.status)),
        ("steps", f"{run.step:,} of {run.steps:,}"),
        ("preset", escape(_preset(run))),
        ("painting", escape(run.painting or "–")),
        ("data", escape(run.data or "–")),
        ("photos", photos_text(run)),
        ("warning", Text(warning, style="yellow") if (warning := warning_of(run)) else None),
        ("losses", losses_text(run) or None),
        ("speed", speed_text(run) or None),
        ("note", escape(run.note) if run.note else None),
        ("worker", escape(run.worker) if run.worker else None),
        ("work", _work(run)),
        ("checkpoints", ", ".join(f"{kept.step:,}" for kept in run.checkpoints) or None),
        ("config", escape(_config(run.config)) if run.config else None),
        ("evaluation", escape(_numbers(run.evaluation)) if run.evaluation else None),
        ("remarks", Text("\n".join(remarks), style="yellow") if (remarks := remarks_of(run)) else None),
        ("version", _version(run)),
        ("parent", escape(f"{run.parent.run} at step {run.parent.step:,}") if run.parent else None),
        ("about", escape(", ".join(f"{name}: {value}" for name, value in run.about.items())) or None),
        ("created", local_time(run.created_at)),
        ("took", took(run)),
        ("error", Text(f"{run.error.message} ({run.error.code})", style="red") if run.error else None),
    ]
    for name, value in rows:
        if value is not None:
            grid.add_row(name, value)
    return grid


def run_summary(run: Run) -> Text:
    """Return how a run has ended, or that it is paused."""
    at = f"at step {run.step:,} of {run.steps:,}"
    if run.status is RunStatus.SUCCEEDED:
        seconds = duration_s(run)
        after = f" after {run.steps:,} steps" + (f" in {span(seconds)}" if seconds else "")
        version = (run.version or "")[:SHORT]
        if run.published:
            return Text.assemble(("✓ ", "bold green"), f"{run.name} is trained{after}: version {version}.")
        made = f"Version {version} of {run.name} is trained{after}. To give it the name: "
        return Text.assemble(("✓ ", "bold green"), made, (f"nst runs publish {run.id}", "bold"))
    if run.status is RunStatus.PAUSED:
        text = Text.assemble(("! ", "bold yellow"), f"Paused {at}.")
    elif run.status is RunStatus.CANCELLED:
        text = Text.assemble(("✗ ", "bold magenta"), f"Cancelled {at}.")
    else:
        reason = f": {run.error.message} ({run.error.code})" if run.error else "."
        text = Text.assemble(("✗ ", "bold red"), f"The training failed {at}{reason}")
    return Text.assemble(text, " To go on: ", (f"nst runs resume {run.id}", "bold"))


def status_text(status: RunStatus) -> Text:
    """Return a status in its colour."""
    return Text(status.value, style=_COLOURS.get(status, "dim"))


def details_grid() -> Table:
    """Return an empty table of names and values."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


def losses_text(run: Run) -> str:
    """Return the last losses by term, without those that play no part; empty before the first."""
    return ", ".join(f"{name} {value:.4g}" for name, value in (run.losses or {}).items() if value)


def speed_text(run: Run) -> str:
    """Return how fast a run gets on and how long it still needs, as far as that is known."""
    if run.status not in _AT_WORK:
        return ""
    parts = []
    if run.steps_per_s:
        parts.append(f"{run.steps_per_s:.3g} steps/s")
    if run.eta_s is not None and run.step < run.steps:
        parts.append(f"{span(run.eta_s)} left")
    return ", ".join(parts)


def photos_text(run: Run) -> Text | None:
    """Return how many photos there are, and which were skipped and why; None before they were listed."""
    photos = run.photos
    if photos is None:
        return None
    text = f"{photos.count:,}"
    if photos.held_out:
        text += f", {photos.held_out:,} held out"
    if not photos.skipped:
        return Text(text)
    shown = list(photos.reasons.items())[:_SHOWN_REASONS]
    lines = [f"{text}, {photos.skipped:,} skipped", *(f"{name}: {reason}" for name, reason in shown)]
    if photos.skipped > len(shown) > 0:
        lines.append(f"and {photos.skipped - len(shown):,} more")
    return Text("\n".join(lines))


def remarks_of(run: Run) -> list[str]:
    """Return what the evaluation found that people would not like, a sentence each."""
    remarks = (run.evaluation or {}).get("remarks")
    return [str(remark) for remark in remarks] if isinstance(remarks, list) else []


def warning_of(run: Run) -> str | None:
    """Return what a run warns of."""
    return run.warning or (run.photos.warning if run.photos else None)


def _preset(run: Run) -> str:
    parts = [run.preset or "–"]
    parts += [f"stroke {run.stroke:g}"] if run.stroke is not None else []
    parts += [f"strength {run.strength:g}"] if run.strength is not None else []
    parts += ["exact"] if run.exact else []
    return ", ".join(parts)


def _config(config: dict[str, Any]) -> str:
    return ", ".join(f"{name} {config[name]}" for name in _SHOWN_CONFIG if name in config)


def _numbers(evaluation: dict[str, Any]) -> str:
    """Return the numbers of an evaluation, in four digits."""
    texts = []
    for name, text in flat(evaluation).items():
        try:
            texts.append(f"{name} {float(text):.4g}")
        except ValueError:
            continue  # lists and sentences are for --json
    return ", ".join(texts)


def _work(run: Run) -> str:
    text = f"{run.segments:,} segments, attempt {run.attempt:,}"
    return f"{text}, [red]{run.failures:,} failed in a row[/]" if run.failures else text


def _version(run: Run) -> str | None:
    if run.version is None:
        return None
    return f"{run.version}  ({'published' if run.published else 'not published'})"
