"""Results of a job as one zip file, created while it is sent.

Only the names are kept in memory. Images pass through in pieces of 1 MiB and are not compressed again. Because a file
of a million images has a million names, long jobs come in parts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from zipstream import ZIP_STORED, ZipStream

from nst_core.client.resources.items import ItemStatus
from nst_core.errors import BlobNotFoundError, BlobReplacedError
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.domain.jobs import ERRORS_NAME, RESULTS_NAME, Job
from scheduler.jobs.finalizer import dump, report_lines
from scheduler.store.database import Database
from scheduler.store.items import Item, iterate_items, nth_item

#: The maximum number of images in one file; their names take about 30 MB.
MAX_IMAGES = 50_000
MISSING_NAME = "missing.jsonl"


@dataclass(frozen=True, kw_only=True)
class ResultZip:
    """A part of a job's results as a zip file."""

    data: Iterator[bytes]
    #: The item after which the next part begins; None for the last part.
    next_after: int | None


@dataclass
class _Part:
    job: Job
    after: int
    #: The index of the last item; None for the last part.
    last: int | None
    missing: list[Item] = field(default_factory=list)


class ResultZipper:
    """Makes zip files of results."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    def zip(self, job: Job, *, after: int = -1, limit: int = MAX_IMAGES) -> ResultZip:
        """Return the images of a finished job that come after an item, up to `limit` of them, and its reports.

        The names are those in the storage below the job's output prefix, which are unique in a job. results.jsonl is
        about the images of this part, errors.jsonl about all that failed. An image that is not in the storage any
        more, or was replaced by another, is left out and named in missing.jsonl.
        """
        with self._database.read() as connection:
            last = nth_item(connection, job.id, ItemStatus.SUCCEEDED, after=after, n=limit)
            more = last is not None and nth_item(connection, job.id, ItemStatus.SUCCEEDED, after=last, n=1) is not None
        part = _Part(job=job, after=after, last=last if more else None)
        return ResultZip(data=self._stream(part), next_after=part.last)

    def _stream(self, part: _Part) -> Iterator[bytes]:
        archive = ZipStream(compress_type=ZIP_STORED)
        prefix = part.job.spec.output.prefix
        for item in self._succeeded(part):
            try:
                data = self._blobs.stream(BlobUri.parse(item.output), nbytes=item.bytes)
            except (BlobNotFoundError, BlobReplacedError):
                part.missing.append(item)
                continue
            archive.add(data, item.output.removeprefix(prefix), size=item.bytes)
            yield from archive.file()
        for name in (RESULTS_NAME, ERRORS_NAME):
            archive.add(dump(report_lines(self._database, part.job, name, after=part.after, last=part.last)), name)
            yield from archive.file()
        if part.missing:
            archive.add(dump({"id": item.index, "output": item.output} for item in part.missing), MISSING_NAME)
            yield from archive.file()
        yield from archive.finalize()

    def _succeeded(self, part: _Part) -> Iterator[Item]:
        return iterate_items(self._database, part.job.id, ItemStatus.SUCCEEDED, after=part.after, last=part.last)
