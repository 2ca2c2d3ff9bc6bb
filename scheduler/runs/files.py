"""What a run has in storage for people: losses and their curve, samples, preview sheet and painting."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from nst_core.errors import BlobNotFoundError, ConfigError
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.training.step_losses import StepLosses
from scheduler.domain import addresses
from scheduler.domain.errors import NotFoundError
from scheduler.domain.runs import SAMPLES, Run, place_key
from scheduler.runs.losses import as_csv, draw, stored_losses
from scheduler.runs.paintings import media_type
from scheduler.store import segments as segment_rows
from scheduler.store.database import Database

#: As `segments.sample_uri` writes it.
_SAMPLE = re.compile(r"(?P<name>.+)_(?P<step>\d{8,})\.jpg", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A photo as the network of a run stylized it after some steps."""

    name: str
    step: int
    uri: str
    file: str


class RunFiles:
    """Reads from the places of runs; raises NotFoundError for what is not there yet."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    def losses(self, run: Run) -> Iterator[bytes]:
        """Return the losses as a CSV file in pieces, with a line for each step of accepted segments."""
        return as_csv(self._losses(run))

    def curve(self, run: Run) -> bytes:
        """Return the losses as a picture, a PNG."""
        return draw(self._losses(run), title=f"{run.spec.about.get('title', run.name)}: weighted losses")

    def samples(self, run: Run) -> list[Sample]:
        """Return the samples in the order of steps."""
        prefix = self._uri(run, SAMPLES)
        found, after = [], ""
        while keys := self._blobs.list_keys(prefix, after=after):
            for key in keys:
                file = key.removeprefix(prefix.key)
                if match := _SAMPLE.fullmatch(file):
                    uri = str(BlobUri(prefix.bucket, key))
                    found.append(Sample(name=match["name"], step=int(match["step"]), uri=uri, file=file))
            after = keys[-1]
        return sorted(found, key=lambda sample: (sample.step, sample.name))

    def sample(self, run: Run, file: str) -> Iterator[bytes]:
        """Return the bytes of a sample, a JPEG."""
        try:
            addresses.check_key(file)
        except ConfigError as error:
            raise NotFoundError(f"{run.id} has no sample {file!a}.") from error
        return self._stream(self._uri(run, SAMPLES + file), f"{run.id} has no sample {file!r}.")

    def sheet(self, run: Run) -> Iterator[bytes]:
        """Return the bytes of the preview sheet, a JPEG."""
        missing = f"{run.id} has no preview sheet yet: it is {run.status}."
        if run.result is None:
            raise NotFoundError(missing)
        return self._stream(BlobUri.parse(run.result["sheet"]), missing)

    def painting(self, run: Run) -> tuple[str, Iterator[bytes]]:
        """Return the media type and the bytes of the painting, as it was submitted."""
        uri = run.spec.painting.uri
        return media_type(uri), self._stream(BlobUri.parse(uri), f"The painting of {run.id} is not in storage.")

    def _losses(self, run: Run) -> Iterator[list[StepLosses]]:
        with self._database.read() as connection:
            segments = segment_rows.list_segments(connection, run.id)
        losses = stored_losses(self._blobs, segments)
        first = next(losses, None)
        if first is None:
            raise NotFoundError(f"{run.id} has no losses yet: it is {run.status}.")
        return chain([first], losses)

    def _uri(self, run: Run, name: str) -> BlobUri:
        return BlobUri(self._blobs.bucket, place_key(run.tenant, run.id) + name)

    def _stream(self, uri: BlobUri, missing: str) -> Iterator[bytes]:
        try:
            return self._blobs.stream(uri)
        except BlobNotFoundError as error:
            raise NotFoundError(missing) from error
