"""Every error that nst raises on purpose.

NstError
├── ConfigError            config_invalid
├── WeightsError           weights_invalid
├── TrainingDivergedError  training_diverged
├── EngineError            engine_failed (retryable)
├── ImageError
│   ├── ImageDecodeError       image_undecodable
│   ├── ImageTooSmallError     image_too_small
│   ├── ImageTooLargeError     image_too_large
│   └── ImageFormatError       image_format_unsupported
├── BlobError
│   ├── BlobNotFoundError      blob_not_found
│   ├── BlobReplacedError      blob_replaced
│   ├── BlobAccessError        blob_access_denied
│   ├── BlobTooLargeError      blob_too_large
│   ├── BlobInvalidError       blob_invalid
│   ├── BlobConflictError      blob_conflict (retryable)
│   ├── StorageCallerError
│   │   ├── StorageIdentityError   storage_identity_refused (retryable)
│   │   └── StorageClockError      storage_clock_refused (retryable)
│   └── BlobUnavailableError   blob_unavailable (retryable)
├── DiskError              disk_failed (retryable)
├── BrokerUnavailableError broker_unavailable (retryable)
└── ProtocolError          message_invalid

`code` is stable and meant for programs; the message is one sentence for people. `retryable` says whether the same
call may succeed later although nothing was changed.
"""

from typing import ClassVar


class NstError(Exception):
    """An error with a stable code and one sentence that says what is wrong."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ConfigError(NstError):
    """A setting or option has a value that is not allowed."""

    code = "config_invalid"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        """`field` is the name of the option that is wrong, if it is a single one."""
        super().__init__(message)
        self.field = field


class WeightsError(NstError):
    """A weights file is damaged, or does not fit the network that it names."""

    code = "weights_invalid"


class TrainingDivergedError(NstError):
    """The losses or the weights of a training became infinite or NaN, so it cannot continue."""

    code = "training_diverged"


class EngineError(NstError):
    """The network failed on an image, usually because memory was short."""

    code = "engine_failed"
    # Another worker, or this one later, may have the memory or a device that works.
    retryable = True


class ImageError(NstError):
    """An image cannot be used."""


class ImageDecodeError(ImageError):
    """The bytes are empty, truncated, or not an image."""

    code = "image_undecodable"


class ImageTooSmallError(ImageError):
    """The image is smaller than the network's smallest side."""

    code = "image_too_small"


class ImageTooLargeError(ImageError):
    """The image has more pixels than the limit."""

    code = "image_too_large"


class ImageFormatError(ImageError):
    """The image's format is not supported."""

    code = "image_format_unsupported"


class BlobError(NstError):
    """An object in storage cannot be read or written."""


class BlobNotFoundError(BlobError):
    """No object has that key."""

    code = "blob_not_found"


class BlobReplacedError(BlobError):
    """The object was replaced by another one."""

    code = "blob_replaced"


class BlobAccessError(BlobError):
    """The storage refused the request, because of the object or of the caller; `storage.self_test` tells which."""

    code = "blob_access_denied"


class BlobTooLargeError(BlobError):
    """The object has more bytes than the limit."""

    code = "blob_too_large"


class BlobInvalidError(BlobError):
    """The storage cannot store or serve an object with that key or content."""

    code = "blob_invalid"


class BlobConflictError(BlobError):
    """Another process has written the object in the meantime."""

    code = "blob_conflict"
    retryable = True


class BlobUnavailableError(BlobError):
    """The storage did not answer, or answered with a temporary fault."""

    code = "blob_unavailable"
    retryable = True


class StorageCallerError(BlobError):
    """The storage refuses every request of this process; the object is not to blame."""

    # Another process may have valid credentials, and this one may get new ones.
    retryable = True


class StorageIdentityError(StorageCallerError):
    """The storage does not accept the credentials of this process: they are missing, wrong or expired."""

    code = "storage_identity_refused"


class StorageClockError(StorageCallerError):
    """The storage refuses requests because the clock of this machine is wrong."""

    code = "storage_clock_refused"


class DiskError(NstError):
    """A disk of this machine is full, read-only or broken."""

    code = "disk_failed"
    retryable = True


class BrokerUnavailableError(NstError):
    """Redis did not answer."""

    code = "broker_unavailable"
    retryable = True


class ProtocolError(NstError):
    """A message or event does not have the fields of its type."""

    code = "message_invalid"
