"""The input of jobs: photos from a list, a prefix of the storage, or a manifest, page by page.

A page has limits of photos, requests and time. It ends with a cursor at which any scheduler can continue, even if the
page has no photo.
"""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath

from nst_core.clock import Clock
from nst_core.formats import IMAGE_SUFFIXES
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.domain import addresses, codes
from scheduler.domain.codes import Failure
from scheduler.domain.jobs import JobSpec

#: The maximum number of listings for one page, and the time after which no further one begins.
MOST_LISTINGS, MOST_S = 10, 2.0
_LISTED_AT_ONCE = 1000
_UNSTORABLE = Failure(codes.INPUT_INVALID, "The object's key has characters that cannot be stored.")


@dataclass(frozen=True, kw_only=True)
class InputEntry:
    """One photo of a job's input, or the error of its line in the manifest."""

    uri: str
    custom_id: str | None = None
    #: The s3:// address of the photo's own mask.
    mask: str | None = None
    #: The s3:// addresses of the photo's own masks of the job's regions; None: that of the job.
    regions: tuple[str | None, ...] = ()
    #: The folder below the job's prefix, with a trailing slash; outputs keep it.
    folder: str = ""
    error: Failure | None = None
    #: The number of its line in the manifest, from 1.
    line: int | None = None


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """The position in a job's input from which reading continues."""

    #: For a prefix: the last key that was listed.
    key: str = ""
    #: For a manifest: the byte at which the next line begins, and the number of lines before it.
    offset: int = 0
    line: int = 0
    #: For a manifest: what is known about its format; see `manifests`.
    kind: dict[str, str] = field(default_factory=dict)
    #: The number of objects below the prefix without the suffix of a photo.
    skipped: int = 0
    #: Reading ended with an error; a retry of the job continues here.
    broken: bool = False
    #: The job was stopped here, and a retry left the rest unread; one of cancelled items continues here.
    left: bool = False

    def dump(self) -> str:
        """Return the cursor as text, escaped because keys may have characters that databases refuse."""
        return json.dumps({name: value for name, value in asdict(self).items() if value})

    @classmethod
    def load(cls, text: str) -> "Cursor":
        """Return the cursor of a text; an empty text means the beginning."""
        return cls(**json.loads(text)) if text else cls()


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some photos of an input, in order."""

    entries: Sequence[InputEntry]
    #: Where the next page begins.
    cursor: Cursor
    is_last: bool


#: Returns the s3:// addresses among the given ones that are results of jobs, written or planned.
Results = Callable[[Collection[str]], Collection[str]]


def read_prefix(blobs: BlobStore, spec: JobSpec, cursor: Cursor, *, limit: int, timer: Clock, results: Results) -> Page:
    """Return up to `limit` photos below a job's prefix.

    Results of this job and of earlier ones are skipped. If the results have a folder of their own, these are all
    objects in it. Results among the photos are recognised by their keys.
    """
    prefix = BlobUri.parse(str(spec.input.prefix))
    entries: list[InputEntry] = []
    key, skipped, began = cursor.key, cursor.skipped, timer()
    overlap = results_overlap(spec)
    for number in range(MOST_LISTINGS):
        # If all objects are photos, the first listing fills the page exactly.
        most = _LISTED_AT_ONCE if number else min(_LISTED_AT_ONCE, max(limit, 100))
        keys = blobs.list_keys(prefix, after=key, limit=most)
        known = set(results([str(BlobUri(prefix.bucket, each)) for each in keys])) if keys and overlap else set()
        for each in keys:
            if len(entries) == limit:
                break
            key = each
            if _is_own(blobs, spec, prefix, each) or str(BlobUri(prefix.bucket, each)) in known:
                continue
            if PurePosixPath(each).suffix.lower() in IMAGE_SUFFIXES:
                entries.append(_entry(prefix, each))
            else:
                skipped += not each.endswith("/")
        if not keys or len(entries) == limit or timer() - began >= MOST_S:
            break
    new = Cursor(key=key, skipped=skipped)
    return Page(entries=entries, cursor=new, is_last=not keys)


def results_overlap(spec: JobSpec) -> bool:
    """Return whether results of a job with a prefix may be among its photos."""
    source, output = BlobUri.parse(str(spec.input.prefix)), BlobUri.parse(spec.output.prefix)
    return source.bucket == output.bucket and source.key.startswith(output.key)


def _is_own(blobs: BlobStore, spec: JobSpec, prefix: BlobUri, key: str) -> bool:
    output = BlobUri.parse(spec.output.prefix)
    in_folder = prefix.bucket == output.bucket and not results_overlap(spec) and key.startswith(output.key)
    return in_folder or (prefix.bucket == blobs.bucket and addresses.is_scratch(key))


def _entry(prefix: BlobUri, key: str) -> InputEntry:
    if not addresses.storable(key):
        return InputEntry(uri=f"s3://{prefix.bucket}/{key!a}", error=_UNSTORABLE)
    base = prefix.key.rfind("/") + 1
    return InputEntry(uri=str(BlobUri(prefix.bucket, key)), folder=key[base : key.rfind("/") + 1])
