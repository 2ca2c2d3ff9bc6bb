"""Where the jobs and runs of a tenant may read and write: every check of an address in a request."""

from dataclasses import dataclass

from nst_core.errors import ConfigError
from nst_core.storage.blobs import BlobUri
from scheduler.domain import addresses
from scheduler.domain.errors import RequestInvalidError


@dataclass(frozen=True, kw_only=True)
class Permissions:
    """What one tenant may read and write.

    In the shared bucket, everything below `tenants/` belongs to one tenant each, whatever the lists say: a tenant has
    access to its own part and never to another one.
    """

    tenant: str
    #: The bucket that tenants share.
    shared: str
    #: What may be used if there is no list: all buckets of the installation for its first tenant, none for others.
    buckets: frozenset[str]
    #: Prefixes; None if there is no list.
    read: tuple[BlobUri, ...] | None = None
    write: tuple[BlobUri, ...] | None = None

    def may_read(self, uri: BlobUri, *, is_prefix: bool = False) -> bool:
        """Return whether an object, or everything below a prefix, may be read."""
        if uri.bucket == self.shared and not addresses.may_use(uri.key, self.tenant, is_prefix=is_prefix):
            return False
        return self._is_in(self.read, uri)

    def may_write(self, uri: BlobUri) -> bool:
        """Return whether results may be written to a key, or below a prefix.

        In the shared bucket, nobody may write to the styles or to the private files of jobs and runs.
        """
        if uri.bucket == self.shared and (
            not addresses.may_use(uri.key, self.tenant)
            or uri.key.startswith("styles/")
            or addresses.is_scratch(uri.key)
        ):
            return False
        return self._is_in(self.write, uri)

    def readable(self, text: str, *, pointer: str, is_prefix: bool = False) -> BlobUri:
        """Return the address of an object or a prefix to read; raise RequestInvalidError if it may not be read."""
        uri = _parse(text, pointer=pointer, is_prefix=is_prefix)
        if not self.may_read(uri, is_prefix=is_prefix):
            raise RequestInvalidError(f"{text} is not in a place that jobs may use.", pointer=pointer)
        return uri

    def output_prefix(self, text: str, *, pointer: str) -> str:
        """Return a prefix for results, with a trailing slash; raise RequestInvalidError if it may not be written."""
        prefix = text if text.endswith("/") else text + "/"
        uri = _parse(prefix, pointer=pointer, is_prefix=True)
        if not self.may_write(uri):
            raise RequestInvalidError(f"{prefix} is not in a place that jobs may use.", pointer=pointer)
        _check_key(uri, pointer=pointer)
        return prefix

    def _is_in(self, places: tuple[BlobUri, ...] | None, uri: BlobUri) -> bool:
        if uri.bucket == self.shared and uri.key.startswith(f"tenants/{self.tenant}/"):
            return True
        if places is None:
            return uri.bucket in self.buckets
        return any(uri.bucket == place.bucket and uri.key.startswith(place.key) for place in places)


def checked_prefixes(prefixes: tuple[str, ...] | None, *, pointer: str) -> tuple[str, ...] | None:
    """Return prefixes with a trailing slash each; raise RequestInvalidError for one that is invalid.

    Without the slash, `s3://b/photos` would include `s3://b/photos-of-others/`.
    """
    if prefixes is None:
        return None
    kept = []
    for number, text in enumerate(prefixes):
        uri = _parse(text, pointer=f"{pointer}/{number}", is_prefix=True)
        _check_key(uri, pointer=f"{pointer}/{number}")
        kept.append(str(uri) if not uri.key or uri.key.endswith("/") else f"{uri}/")
    return tuple(kept)


def _parse(text: str, *, pointer: str, is_prefix: bool) -> BlobUri:
    if not addresses.storable(text):
        raise RequestInvalidError("The address has characters that cannot be stored.", pointer=pointer)
    try:
        uri = BlobUri.parse(text)
        addresses.check_address(uri.bucket, uri.key, is_prefix=is_prefix)
    except ConfigError as error:
        raise RequestInvalidError(error.message, pointer=pointer) from error
    return uri


def _check_key(uri: BlobUri, *, pointer: str) -> None:
    try:
        if uri.key:
            addresses.check_key(uri.key.removesuffix("/"))
    except ConfigError as error:
        raise RequestInvalidError(error.message, pointer=pointer) from error
