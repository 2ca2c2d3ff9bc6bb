"""The table of what cases came to, as text and as Markdown."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.faults.matrix import Row

_HEADS = ("case", "fault", "database", "items", "passed", "recovery s", "again", "note")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table, as text."""

    id: str
    title: str
    database: str
    items: str
    passed: str
    #: Median and longest.
    recovery_s: str = "-"
    #: Items that were done again: median and most.
    again: str = "-"
    note: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells from left to right."""
        return (
            self.id,
            self.title,
            self.database,
            self.items,
            self.passed,
            self.recovery_s,
            self.again,
            self.note,
        )


def line_of(row: Row) -> Line:
    """Return the line of a case on a database."""
    problems = Counter(problem for run in row.runs for problem in run.problems)
    recovery = row.recovery_s
    wastes = [run.waste for run in row.runs]
    return Line(
        id=row.case.id,
        title=row.case.title,
        database=row.database,
        items=f"{row.items:,}",
        passed=f"{row.passed}/{len(row.runs)}",
        recovery_s=f"{recovery[0]:.1f} / {recovery[1]:.1f}" if recovery else "-",
        again=f"{statistics.median(wastes):g} / {max(wastes)}",
        note="; ".join([f"{times} × {problem}" for problem, times in problems.items()] or _notes(row)),
    )


def _notes(row: Row) -> Iterator[str]:
    """Yield what happened in all runs together, and what took longest."""
    for what, times in sum((run.counted for run in row.runs), Counter[str]()).items():
        yield f"{times:,} {what}"
    for what in dict.fromkeys(what for run in row.runs for what in run.longest_s):
        yield f"{what} {max(run.longest_s.get(what, 0.0) for run in row.runs):.1f} s at most"


def as_text(lines: Sequence[Line]) -> Iterator[str]:
    """Yield the lines of a table in columns; notes stand below their line."""
    rows = [_HEADS[:-1], *(line.cells[:-1] for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    yield from (_aligned(rows[0], widths), "  ".join("-" * width for width in widths))
    for line in lines:
        yield _aligned(line.cells[:-1], widths)
        if line.note:
            yield f"{'':<{widths[0]}}  {line.note}"


def markdown_head() -> str:
    """Return the head of a Markdown table."""
    return f"| {' | '.join(_HEADS)} |\n|{'---|' * len(_HEADS)}"


def as_markdown(line: Line) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(cell.replace('|', '/') for cell in line.cells)} |"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()
