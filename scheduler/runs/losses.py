"""The losses of a run: the files of its accepted segments as one."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from nst_core.errors import BlobNotFoundError
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.styles import PLOT_NAME
from nst_core.training.curve import CURVE_NAME, LAST_STEPS, last_losses, read_losses
from nst_core.training.plot import plot_losses
from scheduler.domain.runs import Segment


def csv_lines(blobs: BlobStore, segments: Sequence[Segment]) -> Iterator[bytes]:
    """Yield the lines of the segments' losses in the order of steps, with one header; none without files."""
    header = None
    for segment in segments:
        if segment.losses is None:
            continue
        try:
            lines = blobs.lines(BlobUri.parse(segment.losses))
            first = next(lines, None)
        except BlobNotFoundError:
            continue  # a gap in the curve is better than no curve
        if header is None and first is not None:
            header = first
            yield header.rstrip(b"\r") + b"\n"
        for line in lines:
            if line.strip():
                yield line.rstrip(b"\r") + b"\n"


def draw(lines: Iterator[bytes], *, title: str) -> bytes:
    """Return the curve of `csv_lines` as a PNG."""
    with tempfile.TemporaryDirectory() as folder:
        plot_losses(read_losses(_write(lines, Path(folder))), Path(folder) / PLOT_NAME, title=title)
        return (Path(folder) / PLOT_NAME).read_bytes()


def final_losses(blobs: BlobStore, segments: Sequence[Segment]) -> dict[str, float]:
    """Return the means of the weighted losses over the last steps, as cards have them; none without files."""
    first, steps = len(segments), 0
    while first > 0 and steps < LAST_STEPS:
        first -= 1
        steps += segments[first].to_step - segments[first].from_step
    with tempfile.TemporaryDirectory() as folder:
        found = read_losses(_write(csv_lines(blobs, segments[first:]), Path(folder)))
    return last_losses(found) if found else {}


def _write(lines: Iterator[bytes], folder: Path) -> Path:
    path = folder / CURVE_NAME
    with open(path, "wb") as file:
        file.writelines(lines)
    return path
