"""The losses of a training as a CSV file with a line per step."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean

from nst_core.system.whole_files import write_whole
from nst_core.training.step_losses import TERMS, StepLosses

CURVE_NAME = "losses.csv"
COLUMNS = ("step", *TERMS, "total", "learning_rate", "seconds")
#: Steps in the mean that represents a training: the losses of a single step depend on its photos.
LAST_STEPS = 100


class LossCurve:
    """A CSV file with one line per step, and COLUMNS as its first line."""

    def __init__(self, path: Path, *, step: int) -> None:
        """Continue after `step` steps.

        Lines of later steps are dropped, because their results were lost when their process died.
        """
        self._path = path
        self._waiting: list[StepLosses] = []
        kept = [losses for losses in read_losses(path) if losses.step <= step]
        write_whole(path, dump_losses(kept))

    def append(self, losses: StepLosses) -> None:
        """Add the next step's line, which `flush` writes."""
        self._waiting.append(losses)

    def flush(self) -> None:
        """Write all lines."""
        with open(self._path, "a", newline="") as file:
            file.write(_lines(map(_row, self._waiting)))
        self._waiting.clear()


def read_losses(path: Path) -> list[StepLosses]:
    """Return the losses of a curve in the order of steps; an empty list if there is no file.

    An incomplete line is left out.
    """
    if not path.exists():
        return []
    with open(path, newline="", errors="replace") as file:
        return sorted(parse_losses(file), key=lambda losses: losses.step)


def parse_losses(lines: Iterable[str]) -> Iterator[StepLosses]:
    """Yield the losses of the lines of a curve, of which the first names the columns.

    An incomplete line is left out.
    """
    found = (_losses(row) for row in csv.DictReader(lines))
    return (losses for losses in found if losses is not None)


def dump_losses(losses: Iterable[StepLosses], *, header: bool = True) -> bytes:
    """Return some steps as a CSV file with COLUMNS as its first line, or as the rest of one without a `header`."""
    return _lines([*([COLUMNS] if header else []), *map(_row, losses)]).encode()


def last_losses(losses: Sequence[StepLosses]) -> dict[str, float]:
    """Return the mean of each weighted loss over the last steps, to four digits, and of how many steps it is."""
    last = losses[-LAST_STEPS:]
    means = {name: float(f"{fmean(getattr(each, name) for each in last):.4g}") for name in (*TERMS, "total")}
    return {**means, "mean_of_last_steps": len(last)}


def _row(losses: StepLosses) -> Sequence[object]:
    return [*(getattr(losses, name) for name in COLUMNS[:-1]), f"{losses.seconds:.4f}"]


def _lines(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _losses(row: dict[str, str]) -> StepLosses | None:
    # The last value of a torn line may be short and yet a number; the seconds, which come last, are no result.
    try:
        # A curve that a former version began has no column for a newer term.
        values = {name: float(row.get(name, 0.0)) for name in COLUMNS if name not in ("step", "total")}
        return StepLosses(step=int(row["step"]), **values)
    except (KeyError, TypeError, ValueError):
        return None
