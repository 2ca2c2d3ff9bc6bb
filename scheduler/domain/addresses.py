"""Keys and addresses of objects: which ones are safe, and where tenants have their files."""

import re
from collections.abc import Iterator
from urllib.parse import unquote

from nst_core.errors import ConfigError

_MAX_KEY_BYTES = 1024
#: Most file systems limit names to this length.
_MAX_PART_BYTES = 255
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
#: Times that percent signs are decoded. Each takes a time that is linear in the key.
_MAX_DECODED = 4


def storable(text: str) -> bool:
    """Return whether databases and storages take a text: no NUL character and no unpaired surrogate."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def may_use(key: str, tenant: str, *, is_prefix: bool = False) -> bool:
    """Return whether a tenant's jobs may use a key, or all below a prefix, in the bucket that tenants share."""
    if key.startswith(f"tenants/{tenant}/"):
        return True
    # A prefix such as "" or "ten" reaches other tenants' keys too.
    return not key.startswith("tenants/") and not (is_prefix and "tenants/".startswith(key))


def job_key(tenant: str, job_id: str) -> str:
    """Return the prefix of a job's results in the bucket that tenants share, if the client names no other place."""
    return f"tenants/{tenant}/jobs/{job_id}/"


def upload_key(tenant: str, upload_id: str) -> str:
    """Return the prefix of an upload's files in the bucket that tenants share."""
    return f"tenants/{tenant}/uploads/{upload_id}/"


def scratch_key(tenant: str, job_id: str) -> str:
    """Return the prefix of a job's previews and checkpoints in the bucket that tenants share.

    It is never below the job's output, which another job may read as its input or write to as well.
    """
    return f"tenants/{tenant}/scratch/{job_id}/"


def is_scratch(key: str) -> bool:
    """Return whether a key of the bucket that tenants share is in the place of a job or of a run."""
    return re.match(r"tenants/[^/]+/(scratch|runs)/", key) is not None


def check_key(key: str) -> None:
    """Raise ConfigError unless `key` is a safe relative object key."""
    if not storable(key):
        raise ConfigError("A key must not have a NUL character or an unpaired surrogate.")
    if not key or len(key.encode()) > _MAX_KEY_BYTES:
        raise ConfigError(f"A key has from 1 to {_MAX_KEY_BYTES} bytes.")
    _check_parts(key)
    if any(len(part.encode()) > _MAX_PART_BYTES for part in key.split("/")):
        raise ConfigError(f"Each part of a key may have at most {_MAX_PART_BYTES} bytes.")


def check_address(bucket: str, key: str, *, is_prefix: bool = False) -> None:
    """Raise ConfigError unless an address means one object, or all below a prefix, to every storage and gateway.

    Some of them resolve `..`, drop empty parts, take a backslash for a slash, or decode percent signs. What looks like
    a place that a tenant may use could then be another one.
    """
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise ConfigError(f"{bucket[:80]!r} is not the name of a bucket.")
    if not key and not is_prefix:
        raise ConfigError("The address names no object: its key is empty.")
    key = key.removesuffix("/") if is_prefix else key
    if not storable(key):
        raise ConfigError("A key must not have a NUL character or an unpaired surrogate.")
    if len(key.encode()) > _MAX_KEY_BYTES:
        raise ConfigError(f"A key may have at most {_MAX_KEY_BYTES} bytes.")
    if key:
        _check_parts(key)


def _check_parts(key: str) -> None:
    for text in (key, *_decoded(key)):
        if any(part in ("", ".", "..") for part in text.split("/")):
            raise ConfigError("A key must not have empty parts, or parts . or ..")
        if any(ord(char) < 32 or ord(char) == 127 or char == "\\" for char in text):
            raise ConfigError("A key must not have control characters or backslashes.")
        if text.count("/") != key.count("/"):
            raise ConfigError("A key must not have a percent-encoded slash.")


def _decoded(key: str) -> Iterator[str]:
    """Yield what a key is after its percent signs are decoded once, twice and so on."""
    for _ in range(_MAX_DECODED):
        # Surrogates stand for bytes that are no UTF-8.
        decoded = unquote(key, errors="surrogateescape")
        if decoded == key:
            return
        yield decoded
        key = decoded
    raise ConfigError("A key must not be percent-encoded several times.")
