"""What each error of an S3 server, the network or boto3 means: who is to blame, and whether it is temporary.

The table follows the error codes of Amazon S3, and those that MinIO, Ceph, SeaweedFS, rclone and others add to them.
An answer to HEAD has no body, and so no code other than the HTTP status.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Protocol

import botocore.exceptions as boto
from urllib3.exceptions import HTTPError

from nst_core.errors import (
    BlobAccessError,
    BlobConflictError,
    BlobError,
    BlobInvalidError,
    BlobNotFoundError,
    BlobUnavailableError,
    StorageClockError,
    StorageIdentityError,
)


class Fault(Enum):
    """The meaning of an error of the storage."""

    NOT_FOUND = BlobNotFoundError  # there is no such object or bucket
    DENIED = BlobAccessError  # because of the object or of the caller: the code does not tell which
    INVALID = BlobInvalidError  # such an object cannot exist, or cannot be read in its present state
    CONFLICT = BlobConflictError  # the condition of a conditional write does not hold
    PASSING = BlobUnavailableError  # the same request may succeed later
    IDENTITY = StorageIdentityError  # the credentials of the process
    CLOCK = StorageClockError  # the clock of the machine


_CODES: Mapping[Fault, str] = {
    Fault.NOT_FOUND: "NoSuchKey NoSuchBucket NoSuchVersion NotFound",
    Fault.DENIED: "AccessDenied Forbidden AllAccessDisabled PermanentRedirect AuthorizationHeaderMalformed",
    Fault.INVALID: """
        KeyTooLong KeyTooLongError InvalidURI InvalidBucketName InvalidObjectName EntityTooLarge InvalidRange
        MethodNotAllowed InvalidObjectState ObjectLocked XMinioInvalidObjectName XMinioParentIsObject
        XMinioObjectExistsAsDirectory MaxMessageLengthExceeded MetadataTooLarge InvalidStorageClass NotImplemented
    """,
    Fault.CONFLICT: "PreconditionFailed ConditionalRequestConflict",
    Fault.PASSING: """
        RequestTimeout RequestTimeoutException OperationAborted SlowDown SlowDownRead SlowDownWrite TooManyRequests
        TooManyRequestsException Throttling ThrottlingException ThrottledException RequestThrottled
        RequestThrottledException RequestLimitExceeded BandwidthLimitExceeded ProvisionedThroughputExceededException
        LimitExceededException TransactionInProgressException PriorRequestNotComplete EC2ThrottledException
        InternalError InternalFailure InternalServerError ServiceUnavailable ServerBusy Busy ServerNotInitialized
        XMinioServerNotInitialized IncompleteBody BadDigest XAmzContentSHA256Mismatch XAmzContentChecksumMismatch
        ClientDisconnected NoSuchUpload InvalidPart TemporaryRedirect Redirect QuotaExceeded InsufficientCapacity
        XMinioStorageFull XMinioAdminBucketQuotaExceeded BucketQuotaExceeded
    """,
    Fault.IDENTITY: """
        InvalidAccessKeyId SignatureDoesNotMatch ExpiredToken ExpiredTokenException InvalidToken InvalidTokenId
        TokenRefreshRequired InvalidClientTokenId UnrecognizedClientException InvalidSecurity MissingSecurityHeader
        MissingAuthenticationToken MissingAuthenticationTokenException IncompleteSignature InvalidSignatureException
        AuthFailure Unauthorized UnauthorizedAccess AccountProblem NotSignedUp AccessKeyDisabled InvalidAccessKey
        CredentialsNotSupported XMinioInvalidIAMCredentials
    """,
    Fault.CLOCK: "RequestTimeTooSkewed RequestExpired RequestInTheFuture",
}
_FAULTS = {code: fault for fault, codes in _CODES.items() for code in codes.split()}
#: By HTTP status, for codes that are not in the table. Other 4xx may be because of the object or of the caller.
_STATUSES = {
    401: Fault.IDENTITY,
    404: Fault.NOT_FOUND,
    408: Fault.PASSING,
    409: Fault.PASSING,
    410: Fault.NOT_FOUND,
    412: Fault.CONFLICT,
    413: Fault.INVALID,
    414: Fault.INVALID,
    416: Fault.INVALID,
    425: Fault.PASSING,
    429: Fault.PASSING,
}
#: What boto3 raises before it sends anything, because it has no credentials.
_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.SSOError,
    boto.LoginError,
    boto.NoAuthTokenError,
    boto.ProfileNotFound,
    boto.MetadataRetrievalError,
    boto.RefreshWithMFAUnsupportedError,
)
_SENTENCES = {
    Fault.NOT_FOUND: "There is no object {uri}.",
    Fault.DENIED: "The storage refused the request for {uri} ({code}).",
    Fault.INVALID: "The storage cannot serve {uri} ({code}).",
    Fault.CONFLICT: "Another process has written {uri} ({code}).",
    Fault.PASSING: "The storage failed for {uri} ({code}).",
    Fault.IDENTITY: "The storage does not accept the credentials of this process ({code}, for {uri}).",
    Fault.CLOCK: "The storage does not accept the clock of this machine ({code}, for {uri}).",
}


class Address(Protocol):
    """The address that an error is about, as text: a BlobUri."""

    def __str__(self) -> str: ...


@contextmanager
def translated(uri: Address) -> Iterator[None]:
    """Turn errors that boto3 raises inside into a BlobError about `uri`."""
    try:
        yield
    except boto.ClientError as error:
        raise blob_error(error, uri) from error
    except boto.ParamValidationError as error:
        raise BlobInvalidError(f"{uri} is not a valid address.") from error
    except _NO_CREDENTIALS as error:
        raise StorageIdentityError(f"This process has no credentials for the storage: {error}") from error
    except (boto.BotoCoreError, HTTPError, ConnectionError, TimeoutError) as error:
        raise BlobUnavailableError(f"The storage did not answer for {uri}: {error}") from error


def blob_error(error: boto.ClientError, uri: Address) -> BlobError:
    """Return the BlobError for an error answer of the storage about `uri`."""
    fault = fault_of(error)
    result: BlobError = fault.value(_SENTENCES[fault].format(uri=uri, code=code_of(error)))
    return result


def fault_of(error: boto.ClientError) -> Fault:
    """Return the meaning of an error answer, by its code, or by its HTTP status if the code is unknown."""
    found = _FAULTS.get(code_of(error))
    if found is not None:
        return found
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
    return _STATUSES.get(status, Fault.DENIED if 300 <= status < 500 else Fault.PASSING)


def code_of(error: boto.ClientError) -> str:
    """Return the code of an answer: a word, or the HTTP status if it had no body."""
    return str(error.response.get("Error", {}).get("Code", ""))
