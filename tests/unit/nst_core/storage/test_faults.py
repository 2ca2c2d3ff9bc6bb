"""The errors for storage faults, tested with a real server that imitates them and with boto3's own errors."""

from collections.abc import Iterator

import botocore.exceptions as boto
import pytest

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
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.storage.faults import translated
from scheduler.local.servers import HOST, free_port
from tests.playing_s3 import PlayingServer, playing, uri

ANSWERS: list[tuple[int, str, type[BlobError]]] = [
    (404, "NoSuchKey", BlobNotFoundError),
    (404, "NoSuchBucket", BlobNotFoundError),
    (403, "AccessDenied", BlobAccessError),
    (400, "InvalidRequest", BlobAccessError),
    (403, "SomethingNew", BlobAccessError),
    (418, "SomethingNew", BlobAccessError),
    (400, "KeyTooLongError", BlobInvalidError),
    (400, "XMinioParentIsObject", BlobInvalidError),
    (403, "InvalidObjectState", BlobInvalidError),
    (412, "PreconditionFailed", BlobConflictError),
    (409, "ConditionalRequestConflict", BlobConflictError),
    (400, "RequestTimeout", BlobUnavailableError),
    (409, "OperationAborted", BlobUnavailableError),
    (409, "SomethingNew", BlobUnavailableError),
    (429, "TooManyRequests", BlobUnavailableError),
    (429, "SomethingNew", BlobUnavailableError),
    (503, "SlowDown", BlobUnavailableError),
    (400, "ThrottlingException", BlobUnavailableError),
    (500, "InternalError", BlobUnavailableError),
    (507, "XMinioStorageFull", BlobUnavailableError),
    (400, "BadDigest", BlobUnavailableError),
    (403, "QuotaExceeded", BlobUnavailableError),
    (403, "InvalidAccessKeyId", StorageIdentityError),
    (403, "SignatureDoesNotMatch", StorageIdentityError),
    (400, "ExpiredToken", StorageIdentityError),
    (400, "InvalidToken", StorageIdentityError),
    (401, "Unauthorized", StorageIdentityError),
    (401, "SomethingNew", StorageIdentityError),
    (403, "AccountProblem", StorageIdentityError),
    (403, "RequestTimeTooSkewed", StorageClockError),
    (403, "RequestExpired", StorageClockError),
]


@pytest.fixture(scope="module")
def one_server() -> Iterator[PlayingServer]:
    with playing() as server:
        yield server


@pytest.fixture
def server(one_server: PlayingServer) -> PlayingServer:
    one_server.reset()
    return one_server


@pytest.mark.parametrize(("status", "code", "expected"), ANSWERS)
def test_each_error_answer_raises_the_matching_error(
    server: PlayingServer, status: int, code: str, expected: type[BlobError]
) -> None:
    store = server.store(patient=False)
    server.put("photo.jpg")
    server.quirks.refuse = lambda call: (status, code)
    for act in (
        lambda: store.get(uri("photo.jpg")),
        lambda: store.put(uri("photo.jpg"), b"x"),
        lambda: store.list_keys(uri("photo")),
    ):
        with pytest.raises(BlobError) as caught:
            act()
        assert type(caught.value) is expected
        assert caught.value.retryable == (expected not in (BlobNotFoundError, BlobAccessError, BlobInvalidError))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, BlobAccessError),  # the error for an expired token if the answer has no body
        (401, StorageIdentityError),
        (403, BlobAccessError),
        (404, BlobNotFoundError),
        (429, BlobUnavailableError),
        (503, BlobUnavailableError),
    ],
)
def test_an_answer_without_a_body_is_classified_by_its_status(
    server: PlayingServer, status: int, expected: type[BlobError]
) -> None:
    server.quirks.refuse = lambda call: (status, "IsNotSentToHead")
    with pytest.raises(BlobError) as caught:
        server.store(patient=False).tag(uri("photo.jpg"))
    assert type(caught.value) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (boto.NoCredentialsError(), StorageIdentityError),
        (boto.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), StorageIdentityError),
        (boto.CredentialRetrievalError(provider="sso", error_msg="expired"), StorageIdentityError),
        (boto.UnauthorizedSSOTokenError(), StorageIdentityError),
        (boto.EndpointConnectionError(endpoint_url="http://x"), BlobUnavailableError),
        (boto.ReadTimeoutError(endpoint_url="http://x"), BlobUnavailableError),
        (ConnectionResetError(), BlobUnavailableError),
        (boto.ParamValidationError(report="no"), BlobInvalidError),
    ],
)
def test_errors_of_boto3_are_translated(error: Exception, expected: type[BlobError]) -> None:
    with pytest.raises(BlobError) as caught, translated(uri("photo.jpg")):
        raise error
    assert type(caught.value) is expected


def test_a_process_without_credentials_has_no_identity(
    server: PlayingServer, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", f"{tmp_path}/none")
    monkeypatch.setenv("AWS_CONFIG_FILE", f"{tmp_path}/none")
    settings = server.settings.model_copy(update={"s3_access_key": None, "s3_secret_key": None})
    with pytest.raises(StorageIdentityError, match="no credentials"):
        BlobStore(settings, patient=False).get(uri("photo.jpg"))


def test_a_port_where_nothing_listens_counts_as_unavailable_storage(server: PlayingServer) -> None:
    settings = server.settings.model_copy(update={"s3_endpoint": f"http://{HOST}:{free_port()}"})
    with pytest.raises(BlobUnavailableError):
        BlobStore(settings, patient=False).get(uri("photo.jpg"))


def test_an_invalid_bucket_name_is_not_requested(server: PlayingServer) -> None:
    with pytest.raises(BlobInvalidError, match="not a valid address"):
        server.store().get(BlobUri("no bucket", "photo.jpg"))
    assert server.calls == []
