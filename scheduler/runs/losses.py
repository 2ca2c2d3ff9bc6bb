"""The losses of a run: the files of its accepted segments as one."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from nst_core.errors import BlobNotFoundError
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.styles import PLOT_NAME
from nst_core.training.curve import LAST_STEPS, dump_losses, last_losses, parse_losses
from nst_core.training.plot import plot_losses
from nst_core.training.step_losses import StepLosses
from scheduler.domain.runs import Segment


def stored_losses(blobs: BlobStore, segments: Sequence[Segment]) -> Iterator[list[StepLosses]]:
    """Yield the losses of each segment that has some, in the order of steps.

    Each file is read by its own header: a worker of another version may have written other columns.
    """
    for segment in segments:
        if segment.losses is None:
            continue
        try:
            lines = blobs.lines(BlobUri.parse(segment.losses))
            found = list(parse_losses(line.decode(errors="replace") for line in lines))
        except BlobNotFoundError:
            continue  # a gap in the curve is better than no curve
        if found:
            yield found


def as_csv(losses: Iterable[Sequence[StepLosses]]) -> Iterator[bytes]:
    """Yield the losses of segments as a CSV file in pieces."""
    for number, found in enumerate(losses):
        yield dump_losses(found, header=number == 0).replace(b"\r\n", b"\n")


def draw(losses: Iterable[Sequence[StepLosses]], *, title: str) -> bytes:
    """Return the curve of the losses of segments as a PNG."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PLOT_NAME
        plot_losses(list(chain.from_iterable(losses)), path, title=title)
        return path.read_bytes()


def final_losses(blobs: BlobStore, segments: Sequence[Segment]) -> dict[str, float]:
    """Return the means of the weighted losses over the last steps, as cards have them; none without files."""
    first, steps = len(segments), 0
    while first > 0 and steps < LAST_STEPS:
        first -= 1
        steps += segments[first].to_step - segments[first].from_step
    found = list(chain.from_iterable(stored_losses(blobs, segments[first:])))
    return last_losses(found) if found else {}
