"""Results of the fault matrix: records in a file, and their table as text and as Markdown."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

_HEADS = ("case", "fault", "database", "items", "passed", "recovery s", "again", "note")


class Run(BaseModel):
    """The result of one run of a case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    case: str
    title: str
    database: str
    #: The size of the job: items, or steps.
    size: str
    seconds: float
    #: The time from each fault, or its end, until all work continued.
    recovery_s: tuple[float, ...] = ()
    #: The number of items that were done again; None if that does not apply.
    waste: int | None = None
    problems: tuple[str, ...] = ()
    #: How often each thing happened, and its longest time.
    counted: dict[str, int] = Field(default_factory=dict)
    longest_s: dict[str, float] = Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Row:
    """All runs of a case on one database with jobs of one size."""

    runs: Sequence[Run]

    @property
    def passed(self) -> int:
        """The number of runs that passed."""
        return sum(not run.problems for run in self.runs)

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells from left to right. Times and repetitions are the median and the maximum."""
        first = self.runs[0]
        recovery = [seconds for run in self.runs for seconds in run.recovery_s]
        wastes = [run.waste for run in self.runs if run.waste is not None]
        return (
            first.case,
            first.title,
            first.database,
            first.size,
            f"{self.passed}/{len(self.runs)}",
            f"{statistics.median(recovery):.1f} / {max(recovery):.1f}" if recovery else "-",
            f"{statistics.median(wastes):g} / {max(wastes)}" if wastes else "-",
            "; ".join(self._problems() or self._notes()),
        )

    def _problems(self) -> list[str]:
        problems = Counter(chain.from_iterable(run.problems for run in self.runs))
        return [f"{times} × {problem}" for problem, times in problems.items()]

    def _notes(self) -> Iterator[str]:
        """Yield the sums over all runs, and the longest times."""
        counted = Counter[str]()
        for run in self.runs:
            counted.update(run.counted)
        yield from (f"{times:,} {what}" for what, times in counted.items() if times)
        for what in dict.fromkeys(chain.from_iterable(run.longest_s for run in self.runs)):
            yield f"{what} {max(run.longest_s.get(what, 0.0) for run in self.runs):.1f} s at most"


def rows_of(runs: Sequence[Run]) -> list[Row]:
    """Group the runs by case, database and size, in the order of the matrix."""
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.case, run.database, run.size), []).append(run)
    return [Row(runs=groups[key]) for key in sorted(groups, key=_place)]


def _place(key: tuple[str, str, str]) -> tuple[int, str, bool, int]:
    case, database, size = key
    number = case[1:].rstrip("H")
    return int(number), case, database != "sqlite", int(size.split()[0].replace(",", ""))


def append(path: Path, run: Run) -> None:
    """Append a run to a file with one JSON object per line."""
    with path.open("a") as file:
        file.write(f"{run.model_dump_json()}\n")


def load(path: Path) -> list[Run]:
    """Return all runs in a file."""
    return [Run.model_validate_json(line) for line in path.read_text().splitlines()]


def as_text(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of a table in columns. Notes follow their line."""
    cells = [_HEADS, *(row.cells for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEADS) - 1)]
    yield from (_aligned(cells[0], widths), "  ".join("-" * width for width in widths))
    for row in cells[1:]:
        yield _aligned(row, widths)
        if row[-1]:
            yield f"{'':<{widths[0]}}  {row[-1]}"


def as_markdown(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield f"| {' | '.join(_HEADS)} |"
    yield f"|{'---|' * len(_HEADS)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row.cells)} |"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=False)).rstrip()
