"""How long items take: measured when they are done, and used to size chunks and to estimate how long a job takes.

A chunk should be long enough that its overhead does not matter, and short enough that little is lost if a worker dies.
That is about a minute of work, in enough pieces that every worker has some.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import ceil, log2

from nst_core.clock import Clock
from nst_core.protocol.chunks import StyleRef, StylizeOptions
from nst_core.protocol.events import ItemOutcome
from scheduler.domain.jobs import JobSpec
from scheduler.jobs.methods import find_method
from scheduler.store import rates as rate_rows
from scheduler.store.database import Connection
from scheduler.store.rates import Pace

MAX_CHUNK = 1000
#: A worker that has not reported for this time is not counted.
_SEEN_S = 60.0
#: A worker is recorded as seen at most this often.
_NOTE_S = 10.0
_DAY_S = 24 * 3600.0


def px_class(spec: JobSpec) -> int:
    """Return the longest side of a job's results, rounded up to a power of two; 0 for the photos' own sizes.

    Times within a class differ by a factor of four at most.
    """
    longest_px = find_method(spec.method).longest_side_px(spec)
    return 0 if not longest_px else 1 << (longest_px - 1).bit_length()


def stroke_class(options: StylizeOptions) -> str:
    """Return auto, fine or varied, or the size of the strokes, rounded up to a power of two; 1 if none is set.

    A network paints fewer pixels for larger strokes. Times within a class differ by a factor of four at most. If
    results are enlarged, the class says how much: auto/4.
    """
    stroke, upscale = options.stroke, options.upscale
    of_strokes = stroke if isinstance(stroke, str) else f"{2.0 ** ceil(log2(stroke or 1)):g}"
    return of_strokes if upscale == 1 else f"{of_strokes}/{upscale}"


def pace(spec: JobSpec, style: StyleRef) -> Pace:
    """Return what the times of a job's items in one of its styles depend on, besides the style's version."""
    return Pace(
        method=spec.method,
        px_class=px_class(spec),
        precision=spec.options.precision,
        stroke=stroke_class(spec.options_of(style)),
    )


def chunk_size(mean_ms: float | None, *, target_ms: float, first_guess: int, items: int | None, workers: int) -> int:
    """Return how many items a chunk should have, 1 to 1000, to take `target_ms`.

    `first_guess` is used if no times are known. `items` is the number of items for all `workers` together, if known.
    """
    size = first_guess if mean_ms is None else round(target_ms / max(mean_ms, 1.0))
    if items is not None and workers:
        # Two chunks for each worker, so that the others do not wait long for the one with the last chunk.
        size = min(size, -(-items // (2 * workers)))
    return max(1, min(size, MAX_CHUNK))


def passes(spec: JobSpec) -> int:
    """Return how many styles paint each photo: that of the item, and those of the job's regions.

    Times are kept for one of them, so that jobs with and without regions know each other's.
    """
    return 1 + len(spec.options.regions)


class ItemTimes:
    """The measured times of items, and the number of workers."""

    def __init__(self, *, clock: Clock, first_guess: int = 16, target_s: float = 60.0) -> None:
        """A chunk has `first_guess` items while no times are known, and takes about `target_s` afterwards."""
        self._clock = clock
        self._first_guess = first_guess
        self._target_ms = target_s * 1000
        self._noted: dict[str, float] = {}

    def note(self, connection: Connection, spec: JobSpec, name: str, outcomes: Sequence[ItemOutcome]) -> None:
        """Record the times of completed items of the style with a name."""
        times = [outcome.ms for outcome in outcomes if outcome.succeeded]
        if times:
            style, now = spec.style(name), self._clock()
            total_ms = round(sum(times) / passes(spec))
            at = pace(spec, style)
            rate_rows.add_times(connection, at, style.version, count=len(times), total_ms=total_ms, now=now)

    def see(self, connection: Connection, worker: str) -> None:
        """Record that a worker has reported."""
        now = self._clock()
        if not 0 <= now - self._noted.get(worker, -_NOTE_S) < _NOTE_S:
            rate_rows.see_worker(connection, worker, now=now)
            self._noted = {name: at for name, at in self._noted.items() if now - at < _SEEN_S} | {worker: now}

    def workers(self, connection: Connection) -> int:
        """Return how many workers have reported in the last minute."""
        return rate_rows.count_workers(connection, since=self._clock() - _SEEN_S)

    def sizes(self, connection: Connection, spec: JobSpec, *, items: int | None) -> dict[str, int]:
        """Return the size of a job's chunks by the name of the style; `items` is their total number, if known."""
        fixed = find_method(spec.method).chunk_items
        if fixed is not None:
            return {style.name: fixed for style in spec.styles}
        workers = self.workers(connection)
        means = self._means(connection, spec)
        return {
            name: chunk_size(
                mean_ms, target_ms=self._target_ms, first_guess=self._first_guess, items=items, workers=workers
            )
            for name, mean_ms in means.items()
        }

    def estimate_s(self, connection: Connection, spec: JobSpec, items: Mapping[str, int]) -> float | None:
        """Estimate how long items, counted by the name of their style, take with the present workers.

        None if there is no measurement yet. Workers that process several images at once need less time.
        """
        means = self._means(connection, spec)
        total_ms = 0.0
        for name, count in items.items():
            mean_ms = means[name]
            if mean_ms is None:
                return None
            total_ms += count * mean_ms
        return total_ms / 1000 / max(1, self.workers(connection))

    def guess_ms(self, method: str) -> float:
        """Return how long an item takes while no times are known: as long as a first chunk of its size implies."""
        return self._target_ms / (find_method(method).chunk_items or self._first_guess)

    def tidy(self, connection: Connection) -> None:
        """Delete workers and times that are long out of date."""
        now = self._clock()
        rate_rows.forget(connection, workers_before=now - _DAY_S, rates_before=now - 90 * _DAY_S)

    def _means(self, connection: Connection, spec: JobSpec) -> dict[str, float | None]:
        styles_of = defaultdict(list)
        for style in spec.styles:
            styles_of[pace(spec, style)].append(style)
        alike = find_method(spec.method).styles_alike
        means: dict[str, float | None] = {}
        for at, styles in styles_of.items():
            own = rate_rows.find_means_ms(connection, at, [style.version for style in styles])
            any_style = rate_rows.find_mean_ms_of_all(connection, at) if alike else None
            means |= {style.name: own.get(style.version, any_style) for style in styles}
        return {name: None if mean_ms is None else mean_ms * passes(spec) for name, mean_ms in means.items()}
