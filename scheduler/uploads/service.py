"""Uploads: places in the storage for photos of clients that have no credentials of their own there."""

import re
import secrets
from collections.abc import Callable
from typing import IO

from nst_core.clock import Clock
from nst_core.errors import ConfigError
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.access.limits import check_new_upload
from scheduler.access.tenants import Tenants
from scheduler.domain import addresses
from scheduler.domain.cursors import place_after
from scheduler.domain.errors import ConflictError, InUseError, NotFoundError, RequestInvalidError
from scheduler.store import uploads as rows
from scheduler.store.database import Database
from scheduler.store.errors import RowConflictError
from scheduler.store.uploads import Upload

_PATTERN = re.compile(r"upl_[0-9a-f]{24}")
#: The use of an upload is noted once in this time.
_NOTED_S = 3600.0


class UploadService:
    """The operations of uploads. Every look-up is limited to the tenant that asks."""

    def __init__(
        self, database: Database, blobs: BlobStore, *, clock: Clock, tenants: Tenants, wake: Callable[[], None]
    ) -> None:
        """`wake` is called when there is something to remove."""
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._tenants = tenants
        self._wake = wake

    def create(self, tenant: str, upload_id: str | None = None) -> Upload:
        """Make a place for photos, or return that of an id of the client's own.

        Raises QuotaExceededError if the tenant has as many as it may have.
        """
        if upload_id is None:
            return self._add(tenant, f"upl_{secrets.token_hex(12)}")
        _check_id(upload_id)
        self._use(tenant, upload_id)
        return self.get(tenant, upload_id)

    def get(self, tenant: str, upload_id: str) -> Upload:
        """Return an upload; raise NotFoundError if the tenant has none of that id."""
        with self._database.read() as connection:
            found = rows.find_upload(connection, tenant, upload_id)
        if found is None or found.pruned:
            raise _unknown(upload_id)
        return found

    def all(self, tenant: str, *, limit: int, after: str | None) -> list[Upload]:
        """Return a tenant's uploads, newest first; `after` is the place of one as text, or its id.

        Raises RequestInvalidError for an unknown id.
        """
        with self._database.read() as connection:
            place = place_after(after, lambda id: rows.find_upload(connection, tenant, id))
            return rows.list_uploads(connection, tenant, limit=limit, after=place)

    def prefix(self, upload: Upload) -> str:
        """Return the s3:// address that all files of an upload are below."""
        return str(self._uri(upload.tenant, upload.id, ""))

    def files(self, tenant: str, upload_id: str, *, limit: int, after: str | None) -> list[tuple[str, int]]:
        """Return up to `limit` files of an upload by path, in order, with their sizes in bytes."""
        _check_id(upload_id)
        if after is not None:
            _check_path(after, pointer="/after_id")
        prefix = self._uri(tenant, upload_id, "")
        found = self._blobs.list_sizes(prefix, after="" if after is None else prefix.key + after, limit=limit)
        return [(key.removeprefix(prefix.key), size) for key, size in found.items()]

    def check(self, tenant: str, upload_id: str, path: str) -> None:
        """Raise what `put` would raise, before the file has come; note that the upload is in use.

        An id that nobody has used becomes an upload: clients may choose ids of their own, such as a hash.
        """
        _check_id(upload_id)
        _check_path(path, pointer="/path")
        self._use(tenant, upload_id)

    def put(self, tenant: str, upload_id: str, path: str, file: IO[bytes]) -> str:
        """Store a file at `path` in an upload and return its s3:// address."""
        self.check(tenant, upload_id, path)
        uri = self._uri(tenant, upload_id, path)
        self._blobs.put_file(uri, file)
        return str(uri)

    def delete(self, tenant: str, upload_id: str) -> None:
        """Hide an upload at once, and let its files be removed soon.

        Raises NotFoundError, and InUseError if a job or a training that has not ended names it.
        """
        with self._database.write() as connection:
            found = rows.find_upload(connection, tenant, upload_id, lock=True)
            if found is None or found.pruned:
                raise _unknown(upload_id)
            if rows.is_in_use(connection, tenant, upload_id, place=self.prefix(found)):
                raise InUseError(f"{upload_id} is the input of a job or a training that has not ended.")
            rows.update_upload(connection, tenant, upload_id, pruned=True)
        self._wake()

    def _use(self, tenant: str, upload_id: str) -> None:
        now = self._clock()
        with self._database.read() as connection:
            found = rows.find_upload(connection, tenant, upload_id)
        if found is None:
            self._add(tenant, upload_id)
        elif found.pruned:
            raise ConflictError(f"{upload_id} is being deleted; create another one, or wait until it is gone.")
        elif now - found.used_at > _NOTED_S:
            with self._database.write() as connection:
                rows.update_upload(connection, tenant, upload_id, used_at=now)

    def _add(self, tenant: str, upload_id: str) -> Upload:
        now = self._clock()
        upload = Upload(tenant=tenant, id=upload_id, created_at=now, used_at=now)
        limits = self._tenants.limits(tenant)
        try:
            with self._database.write() as connection:
                check_new_upload(connection, tenant, limits=limits)
                rows.insert_upload(connection, upload)
        except RowConflictError:
            return self.get(tenant, upload_id)  # of two first files at once, the other was first
        return upload

    def _uri(self, tenant: str, upload_id: str, path: str) -> BlobUri:
        return BlobUri(self._blobs.bucket, addresses.upload_key(tenant, upload_id) + path)


def _check_id(upload_id: str) -> None:
    if not _PATTERN.fullmatch(upload_id):
        raise _unknown(upload_id)


def _check_path(path: str, *, pointer: str) -> None:
    try:
        addresses.check_key(path)
    except ConfigError as error:
        raise RequestInvalidError(error.message, pointer=pointer) from error


def _unknown(upload_id: str) -> NotFoundError:
    return NotFoundError(f"There is no upload {upload_id[:80]!r}.")
