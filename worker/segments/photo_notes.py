"""The skipped photos of a run, stored next to its checkpoints for the workers of later segments."""

import json
import logging
from collections.abc import Sequence

from nst_core.errors import BlobError, BlobNotFoundError
from nst_core.protocol.events import PhotoReport
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.training.photos import PhotoStream

_log = logging.getLogger(__name__)
_NAME = "photos.json"
#: Reasons that are reported to the scheduler.
_TOLD = 100


class PhotoNotes:
    """Notes about a run's photos, such as unusable ones.

    For people only: notes never cause a photo to be skipped unread.
    """

    def __init__(self, blobs: BlobStore, place: str, *, held_out: int, warnings: Sequence[str] = ()) -> None:
        """Read the notes in a run's place; start with empty notes if there are none or they cannot be read.

        `warnings` are sentences for each report.
        """
        self._blobs = blobs
        self._uri = BlobUri.parse(place + _NAME)
        self._held_out = held_out
        self._warnings = tuple(warnings)
        self._skipped = self._read()
        self._written = dict(self._skipped)

    def report(self, photos: PhotoStream) -> PhotoReport:
        """Return what is known now."""
        self._skipped |= photos.skipped
        warnings = [*self._warnings, *([photos.warning] if photos.warning else [])]
        return PhotoReport(
            count=photos.describe()["count"],
            held_out=self._held_out,
            skipped=len(self._skipped),
            reasons=dict(sorted(self._skipped.items())[:_TOLD]),
            warning=" ".join(warnings) or None,
        )

    def save(self) -> None:
        """Write the notes of the last report if they have changed."""
        if self._skipped == self._written:
            return
        data = json.dumps({"skipped": self._skipped}, indent=2, sort_keys=True).encode()
        try:
            self._blobs.put(self._uri, data, content_type="application/json")
        except BlobError as error:
            _log.warning("%s cannot be written: %s", self._uri, error)
        else:
            self._written = dict(self._skipped)

    def _read(self) -> dict[str, str]:
        try:
            return {
                str(name): str(reason) for name, reason in json.loads(self._blobs.get(self._uri))["skipped"].items()
            }
        except BlobNotFoundError:
            return {}
        except (BlobError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            _log.warning("%s cannot be read: %s", self._uri, error)
            return {}
