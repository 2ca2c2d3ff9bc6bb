"""Object storage behind one small class; every fault of boto3 comes out as a BlobError."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
from pydantic import SecretStr

from nst_core.errors import (
    BlobAccessError,
    BlobError,
    BlobNotFoundError,
    BlobReplacedError,
    BlobTooLargeError,
    BlobUnavailableError,
    ConfigError,
)
from nst_core.settings import StorageSettings

#: The longest line that `BlobStore.lines` gives.
MAX_LINE_BYTES = 64 * 1024
_PART_BYTES = 8 * 2**20
#: boto3 otherwise holds ten parts at once, one in each of its threads.
_ONE_PART_AT_ONCE = TransferConfig(multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, use_threads=False)
_NOT_FOUND = {"NoSuchKey", "NoSuchBucket", "404", "NotFound"}
_DENIED = {"AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch"}


@dataclass(frozen=True)
class BlobUri:
    """The address of an object: s3://bucket/key."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> "BlobUri":
        """Return the address in `text`; raise ConfigError where it is none. The key may be empty (a whole bucket)."""
        bucket, slash, key = text.removeprefix("s3://").partition("/")
        if not text.startswith("s3://") or not bucket or (key and not slash):
            raise ConfigError(f"{text!r} is not an address like s3://bucket/key.")
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


class BlobStore:
    """Reads and writes whole objects. Safe to share between threads."""

    def __init__(self, settings: StorageSettings, *, client: Any = None, patient: bool = True) -> None:
        """Open a client for the storage that the settings name; nothing is sent yet.

        One that is not `patient` says within 10 s that the storage does not answer, and tries nothing twice.
        """
        self.bucket = settings.s3_bucket
        self._client = client or make_client(settings, patient=patient)

    def get(self, uri: BlobUri, *, max_bytes: int | None = None) -> bytes:
        """Return an object's bytes; raise BlobTooLargeError before reading more than `max_bytes`."""
        with translated(uri):
            response = self._client.get_object(Bucket=uri.bucket, Key=uri.key)
            body = response["Body"]
            with body:
                size = int(response["ContentLength"])
                if max_bytes is not None and size > max_bytes:
                    raise BlobTooLargeError(f"{uri} has {size:,} bytes; the limit is {max_bytes:,}.")
                data: bytes = body.read()
                return data

    def stream(self, uri: BlobUri, *, nbytes: int | None = None) -> Iterator[bytes]:
        """Return an object's bytes piece by piece; raises at once where there is no such object.

        Given the size that it must have, raises BlobReplacedError at once where it has another.
        """
        with translated(uri):
            answer = self._client.get_object(Bucket=uri.bucket, Key=uri.key)
        if nbytes is not None and answer["ContentLength"] != nbytes:
            answer["Body"].close()
            raise BlobReplacedError(f"{uri} has {answer['ContentLength']:,} bytes, not the {nbytes:,} that it had.")
        return _pieces(uri, answer["Body"], 1 << 20)

    def lines(self, uri: BlobUri) -> Iterator[bytes]:
        """Yield a text object's lines without reading it whole; raise BlobTooLargeError for one above 64 KiB."""
        rest = b""
        for piece in self.stream(uri):
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
            if len(rest) > MAX_LINE_BYTES:
                raise BlobTooLargeError(f"{uri} has a line of more than {MAX_LINE_BYTES:,} bytes.")
        if rest:
            yield rest

    def put(self, uri: BlobUri, data: bytes, *, content_type: str = "application/octet-stream") -> None:
        """Write an object whole."""
        with translated(uri):
            self._client.put_object(Bucket=uri.bucket, Key=uri.key, Body=data, ContentType=content_type)

    def put_file(self, uri: BlobUri, file: IO[bytes], *, content_type: str = "application/octet-stream") -> None:
        """Write an object from an open file, in parts of 8 MiB where it is large, of which one is in memory."""
        with translated(uri):
            self._client.upload_fileobj(
                file, uri.bucket, uri.key, ExtraArgs={"ContentType": content_type}, Config=_ONE_PART_AT_ONCE
            )

    def delete(self, uri: BlobUri) -> None:
        """Remove an object; nothing happens where there is none."""
        with translated(uri):
            self._client.delete_object(Bucket=uri.bucket, Key=uri.key)

    def exists(self, uri: BlobUri) -> bool:
        """Return whether there is an object of that key."""
        try:
            with translated(uri):
                self._client.head_object(Bucket=uri.bucket, Key=uri.key)
        except BlobNotFoundError:
            return False
        return True

    def list_keys(self, prefix: BlobUri, *, after: str = "", limit: int = 1000) -> list[str]:
        """Return up to `limit` (1 to 1000) keys under a prefix in order, after the key `after`."""
        return list(self.list_tags(prefix, after=after, limit=limit))

    def list_tags(self, prefix: BlobUri, *, after: str = "", limit: int = 1000) -> dict[str, str]:
        """Return keys as `list_keys` does, each with what the storage calls its present content (its ETag)."""
        with translated(prefix):
            response = self._client.list_objects_v2(
                Bucket=prefix.bucket, Prefix=prefix.key, StartAfter=after, MaxKeys=limit
            )
        return {entry["Key"]: entry.get("ETag", "") for entry in response.get("Contents", ())}

    def ping(self) -> None:
        """Raise a BlobError unless the storage answers for the bucket."""
        with translated(BlobUri(self.bucket, "")):
            self._client.head_bucket(Bucket=self.bucket)

    def ensure_bucket(self) -> None:
        """Create the bucket where it is missing."""
        with translated(BlobUri(self.bucket, "")):
            try:
                self._client.head_bucket(Bucket=self.bucket)
            except ClientError as error:
                if _code(error) not in _NOT_FOUND:
                    raise
                self._client.create_bucket(Bucket=self.bucket)


def make_client(settings: StorageSettings, *, patient: bool = True) -> Any:
    """Return a boto3 S3 client with bounded time-outs, and with retries if it is to be `patient`."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=_plain(settings.s3_access_key),
        aws_secret_access_key=_plain(settings.s3_secret_key),
        config=Config(
            connect_timeout=5 if patient else 2,
            # Of each wait for bytes, also for the answer to a large file that is complete.
            read_timeout=60 if patient else 7,
            max_pool_connections=32,
            retries={"mode": "standard", "total_max_attempts": 5 if patient else 1},
            # Servers other than Amazon's may not know the checksum trailers that boto3 sends since 1.36.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"} if settings.s3_endpoint else {},
        ),
    )


def _pieces(uri: BlobUri, body: Any, size: int) -> Iterator[bytes]:
    with translated(uri), body:
        yield from body.iter_chunks(size)


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


@contextmanager
def translated(uri: BlobUri) -> Iterator[None]:
    """Turn what botocore raises inside into a BlobError about `uri`."""
    try:
        yield
    except ClientError as error:
        raise _translate(error, uri) from error
    except ParamValidationError as error:
        raise BlobAccessError(f"{uri} is no address that can be asked for.") from error
    except BotoCoreError as error:
        raise BlobUnavailableError(f"The storage did not answer for {uri}: {error}") from error


def _translate(error: ClientError, uri: BlobUri) -> BlobError:
    code = _code(error)
    if code in _NOT_FOUND:
        return BlobNotFoundError(f"There is no object {uri}.")
    if code in _DENIED:
        return BlobAccessError(f"The storage refused access to {uri} ({code}).")
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
    if status >= 500 or status == 429:
        return BlobUnavailableError(f"The storage failed for {uri} ({code}).")
    return BlobAccessError(f"The storage refused the request for {uri} ({code}).")


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
