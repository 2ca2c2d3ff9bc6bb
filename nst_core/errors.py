"""Every error that nst raises on purpose.

NstError
├── ConfigError            config_invalid
├── WeightsError           weights_invalid
├── TrainingDivergedError  training_diverged
├── StyleNotFoundError     style_not_found
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
call may succeed later with nothing changed.
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


class WeightsError(NstError):
    """A weights file is damaged, or does not fit the network that it names."""

    code = "weights_invalid"


class TrainingDivergedError(NstError):
    """The losses or the weights of a training became infinite or no numbers; it cannot go on."""

    code = "training_diverged"


class StyleNotFoundError(NstError):
    """No style has that name or version."""

    code = "style_not_found"


class EngineError(NstError):
    """The network failed on an image, most often for want of memory."""

    code = "engine_failed"
    # Another worker, or this one at another moment, may have the memory or a device in better health.
    retryable = True


class ImageError(NstError):
    """An image cannot be used."""


class ImageDecodeError(ImageError):
    """The bytes are empty, truncated, or no image at all."""

    code = "image_undecodable"


class ImageTooSmallError(ImageError):
    """The image is smaller than the network's smallest side."""

    code = "image_too_small"


class ImageTooLargeError(ImageError):
    """The image has more pixels than the limit."""

    code = "image_too_large"


class ImageFormatError(ImageError):
    """The image's format is none of those supported."""

    code = "image_format_unsupported"


class BlobError(NstError):
    """An object in storage cannot be read or written."""


class BlobNotFoundError(BlobError):
    """No object has that key."""

    code = "blob_not_found"


class BlobReplacedError(BlobError):
    """The object is not the one that was written."""

    code = "blob_replaced"


class BlobAccessError(BlobError):
    """The storage refused the request, because of the object or of who asks; `storage.self_test` tells which."""

    code = "blob_access_denied"


class BlobTooLargeError(BlobError):
    """The object has more bytes than the limit."""

    code = "blob_too_large"


class BlobInvalidError(BlobError):
    """The storage cannot have an object of that key or content, whoever asks."""

    code = "blob_invalid"


class BlobConflictError(BlobError):
    """The object was written by somebody else since it was looked at."""

    code = "blob_conflict"
    retryable = True


class BlobUnavailableError(BlobError):
    """The storage did not answer, or answered with a passing fault."""

    code = "blob_unavailable"
    retryable = True


class StorageCallerError(BlobError):
    """The storage refuses this process, whatever it asks for; no object is to blame."""

    # Another process may have better credentials, and this one may be given new ones.
    retryable = True


class StorageIdentityError(StorageCallerError):
    """The storage does not accept the credentials of this process: they are missing, wrong, or expired."""

    code = "storage_identity_refused"


class StorageClockError(StorageCallerError):
    """The clock of this machine differs so much from the storage's that requests are refused."""

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
