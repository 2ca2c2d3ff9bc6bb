"""Object storage in one small class; every error of boto3 becomes a BlobError (see `faults`)."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any

import boto3
import botocore.session
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.handlers import add_expect_header
from botocore.utils import determine_content_length
from pydantic import SecretStr

from nst_core.errors import (
    BlobError,
    BlobInvalidError,
    BlobNotFoundError,
    BlobReplacedError,
    BlobTooLargeError,
    BlobUnavailableError,
    ConfigError,
)
from nst_core.settings import StorageSettings
from nst_core.storage.bodies import OnPiece, after, body_of, exactly, pieces_of, size_of, whole
from nst_core.storage.faults import Fault, code_of, fault_of, translated
from nst_core.storage.listing import Listings

#: The longest line that `BlobStore.lines` yields.
MAX_LINE_BYTES = 64 * 1024
_PART_BYTES = 8 * 2**20
#: By default boto3 holds ten parts at the same time, one in each of its threads.
_ONE_PART_AT_ONCE = TransferConfig(multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, use_threads=False)
#: Bodies up to this size are sent without asking. Servers read that much of a request that they refuse.
_UNASKED_BYTES = 256 << 10
#: Attempts at a download: boto3 retries requests, but not a download that breaks off.
_DOWNLOADS = 3
#: Seconds that an answer may stay unread: nginx closes a connection after 60 by default, and others sooner.
_UNREAD_S = 5.0
#: The longest part of a key (between slashes) for servers that keep objects as files.
_MAX_PART_BYTES = 255


def _ignore() -> None:
    pass


@dataclass(frozen=True)
class BlobUri:
    """The address of an object: s3://bucket/key."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> "BlobUri":
        """Parse an address; raise ConfigError if it is not valid. An empty key names a whole bucket."""
        bucket, slash, key = text.removeprefix("s3://").partition("/")
        if not text.startswith("s3://") or not bucket or (key and not slash):
            raise ConfigError(f"{text!r} is not an address like s3://bucket/key.")
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


class BlobStore:
    """Reads and writes whole objects. Safe to share between threads."""

    def __init__(self, settings: StorageSettings, *, client: Any = None, patient: bool = True) -> None:
        """Make a client for the storage in the settings; nothing is sent yet.

        A client that is not `patient` reports within 10 s that the storage does not answer, and retries nothing.
        """
        self.bucket = settings.s3_bucket
        self._client = client or make_client(settings, patient=patient)
        self._listings = Listings(self._client)

    def get(
        self,
        uri: BlobUri,
        *,
        max_bytes: int | None = None,
        on_size: Callable[[int], object] | None = None,
        on_piece: OnPiece = _ignore,
    ) -> bytes:
        """Return an object's bytes; raise BlobTooLargeError before reading more than `max_bytes`.

        `on_size` is called with the number of bytes before they are read, and may wait until there is room for them. It
        is called again if the object must be opened again: what it holds then is to be kept.
        """
        for tries_left in reversed(range(_DOWNLOADS)):
            answer = self._open_with_room(uri, max_bytes, on_size)
            try:
                return whole(uri, answer, max_bytes, on_piece)
            except BlobUnavailableError:
                if not tries_left:
                    raise
        raise AssertionError  # the last try returns or raises

    def stream(self, uri: BlobUri, *, nbytes: int | None = None) -> Iterator[bytes]:
        """Return an object's bytes piece by piece; raises immediately if there is no such object.

        If `nbytes` is given and the object has another size, raises BlobReplacedError: immediately if the storage
        reports the size, otherwise when too many or too few bytes have arrived.
        """
        answer = self._open(uri)
        size = size_of(answer)
        if nbytes is not None and size is not None and size != nbytes:
            answer["Body"].close()
            raise BlobReplacedError(f"{uri} has {size:,} bytes, not the {nbytes:,} that it had.")
        pieces = pieces_of(uri, answer)
        return pieces if nbytes is None or size is not None else exactly(nbytes, pieces, uri)

    def lines(self, uri: BlobUri) -> Iterator[bytes]:
        """Yield the lines of a text object piece by piece; raise BlobTooLargeError for a line above 64 KiB."""
        rest = b""
        for piece in self.stream(uri):
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
            if len(rest) > MAX_LINE_BYTES:
                raise BlobTooLargeError(f"{uri} has a line of more than {MAX_LINE_BYTES:,} bytes.")
        if rest:
            yield rest

    def stream_from(self, uri: BlobUri, *, start: int = 0, tag: str | None = None) -> tuple[str, Iterator[bytes]]:
        """Return an object's ETag and its stored bytes from the offset `start`; no bytes if that is its end or beyond.

        If `tag` is given and the object has another ETag, raises BlobReplacedError.
        """
        span = {"Range": f"bytes={start}-"} if start else {}
        try:
            with translated(uri):
                answer = self._client.get_object(Bucket=uri.bucket, Key=uri.key, **span)
        except BlobError as error:
            cause = error.__cause__
            if start and isinstance(cause, ClientError) and cause.response["Error"].get("Code") == "InvalidRange":
                return tag or "", iter(())
            raise
        found = str(answer.get("ETag", ""))
        if tag and found and found != tag:
            answer["Body"].close()
            raise BlobReplacedError(f"{uri} was replaced while it was read.")
        # Some servers always send the whole object; others send a part with the status of a whole one.
        return found, after(uri, answer["Body"], 0 if "ContentRange" in answer else start)

    def put(
        self,
        uri: BlobUri,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        on_piece: OnPiece = _ignore,
    ) -> None:
        """Write an object."""
        body = body_of(data, on_piece)
        with self._writing(uri):
            self._client.put_object(Bucket=uri.bucket, Key=uri.key, Body=body, ContentType=content_type)

    def put_if(
        self, uri: BlobUri, data: bytes, *, tag: str | None, content_type: str, on_piece: OnPiece = _ignore
    ) -> None:
        """Write an object if the present one has the ETag `tag`, or, if `tag` is None, if no object has that key.

        Raises BlobConflictError otherwise. Servers without conditional writes write it in any case; see `conditional`.
        """
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        body = body_of(data, on_piece)
        with self._writing(uri):
            self._client.put_object(Bucket=uri.bucket, Key=uri.key, Body=body, ContentType=content_type, **condition)

    def put_file(
        self,
        uri: BlobUri,
        file: IO[bytes],
        *,
        content_type: str = "application/octet-stream",
        on_piece: OnPiece = _ignore,
    ) -> None:
        """Write an object from an open file. A large one is sent in parts of 8 MiB, one of which is in memory."""
        with self._writing(uri):
            self._client.upload_fileobj(
                file,
                uri.bucket,
                uri.key,
                ExtraArgs={"ContentType": content_type},
                Callback=lambda nbytes: on_piece(),
                Config=_ONE_PART_AT_ONCE,
            )

    def delete(self, uri: BlobUri) -> None:
        """Delete an object if it exists."""
        with translated(uri):
            self._client.delete_object(Bucket=uri.bucket, Key=uri.key)

    def exists(self, uri: BlobUri) -> bool:
        """Return whether an object has that key."""
        try:
            with translated(uri):
                self._client.head_object(Bucket=uri.bucket, Key=uri.key)
        except BlobNotFoundError:
            return False
        return True

    def size(self, uri: BlobUri) -> int | None:
        """Return the size of an object in bytes; None if it does not exist or the storage does not say."""
        try:
            with translated(uri):
                size: int | None = self._client.head_object(Bucket=uri.bucket, Key=uri.key).get("ContentLength")
        except BlobNotFoundError:
            return None
        return size

    def tag(self, uri: BlobUri) -> str | None:
        """Return the ETag of an object, which identifies its content; None if the storage does not say."""
        with translated(uri):
            tag: str | None = self._client.head_object(Bucket=uri.bucket, Key=uri.key).get("ETag")
        return tag

    def list_keys(self, prefix: BlobUri, *, after: str = "", limit: int = 1000) -> list[str]:
        """Return up to `limit` (1 to 1000) keys under a prefix, sorted, after the key `after`; no keys at the end."""
        return list(self.list_tags(prefix, after=after, limit=limit))

    def list_tags(self, prefix: BlobUri, *, after: str = "", limit: int = 1000) -> dict[str, str]:
        """Return keys as `list_keys` does, each with its ETag."""
        return {key: each.tag for key, each in self._listings.list_objects(prefix, after=after, limit=limit).items()}

    def list_sizes(self, prefix: BlobUri, *, after: str = "", limit: int = 1000) -> dict[str, int]:
        """Return keys as `list_keys` does, each with its size in bytes."""
        return {key: each.bytes for key, each in self._listings.list_objects(prefix, after=after, limit=limit).items()}

    def ping(self) -> None:
        """Raise a BlobError unless the storage gives access to the bucket."""
        with translated(BlobUri(self.bucket, "")):
            self._client.head_bucket(Bucket=self.bucket)

    def ensure_bucket(self) -> None:
        """Create the bucket if it is missing."""
        with translated(BlobUri(self.bucket, "")):
            try:
                self._client.head_bucket(Bucket=self.bucket)
            except ClientError as error:
                if fault_of(error) is not Fault.NOT_FOUND:
                    raise
                self._client.create_bucket(Bucket=self.bucket)

    def _open(self, uri: BlobUri) -> Any:
        with translated(uri):
            return self._client.get_object(Bucket=uri.bucket, Key=uri.key)

    def _open_with_room(self, uri: BlobUri, max_bytes: int | None, on_size: Callable[[int], object] | None) -> Any:
        """Open an object of at most `max_bytes` when there is room for it.

        Servers and proxies close a connection whose client reads nothing, so after a longer wait it is opened again.
        """
        while True:
            answer = self._open(uri)
            size = size_of(answer)
            with ExitStack() as unread:
                unread.callback(answer["Body"].close)
                if max_bytes is not None and size is not None and size > max_bytes:
                    raise BlobTooLargeError(f"{uri} has {size:,} bytes; the limit is {max_bytes:,}.")
                # If the server does not say the size, assume the limit.
                expected = max_bytes if size is None else size
                asked_at = time.monotonic()
                if on_size is not None and expected is not None:
                    on_size(expected)
                if time.monotonic() - asked_at < _UNREAD_S:
                    unread.pop_all()
                    return answer

    @contextmanager
    def _writing(self, uri: BlobUri) -> Iterator[None]:
        """Turn errors of a write into BlobErrors, with the reason if the write can never succeed."""
        try:
            with translated(uri):
                yield
        except BlobUnavailableError as error:
            cause = error.__cause__
            internal = isinstance(cause, ClientError) and code_of(cause).startswith("Internal")
            if internal and (obstacle := self._obstacle(uri)):
                raise BlobInvalidError(f"The storage cannot store {uri}: {obstacle}.") from error
            raise

    def _obstacle(self, uri: BlobUri) -> str:
        """Return why a server that keeps objects as files cannot store one with this key; empty if it can.

        Such servers, for example rclone, answer with an internal error and no reason.
        """
        parts = uri.key.split("/")
        if any(len(part.encode(errors="replace")) > _MAX_PART_BYTES for part in parts):
            return f"a part of its key has more than {_MAX_PART_BYTES} bytes"
        try:
            for count in range(1, len(parts)):
                above = BlobUri(uri.bucket, "/".join(parts[:count]))
                if above.key and self.exists(above):
                    return f"{above} is an object, and cannot be a folder too"
            # rclone lists a folder as an object after an attempt to write an object in its place.
            ghost = uri.key in self.list_keys(uri, limit=1) and not self.exists(uri)
            if ghost or self.list_keys(BlobUri(uri.bucket, uri.key + "/"), limit=1):
                return "there is a folder of that name"
        except BlobError:
            pass  # the first error is enough
        return ""


def make_client(settings: StorageSettings, *, patient: bool = True) -> Any:
    """Return a boto3 S3 client with time-outs, and with retries if it is `patient`."""
    session = botocore.session.get_session()
    # Times in answers stay text: nothing here uses them, and parsing one takes a third of a download's processor time.
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=lambda value: value)
    client = boto3.session.Session(botocore_session=session).client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=_plain(settings.s3_access_key),
        aws_secret_access_key=_plain(settings.s3_secret_key),
        config=Config(
            connect_timeout=5 if patient else 2,
            # The limit of each wait for bytes, also for the answer to a large upload.
            read_timeout=60 if patient else 7,
            max_pool_connections=32,
            retries={"mode": "standard", "total_max_attempts": 5 if patient else 1},
            # Other servers than Amazon S3 may not support the checksum trailers that boto3 sends since 1.36.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"} if settings.s3_endpoint else {},
        ),
    )
    client.meta.events.unregister("before-call.s3", add_expect_header)
    client.meta.events.register("before-call.s3", _expect_if_large)
    return client


def _expect_if_large(model: Any, params: dict[str, Any], **_: Any) -> None:
    """Let the server say that it wants a large body before it is sent.

    boto3 does so for every body, which costs a round trip, and reads the answer byte by byte.
    """
    if (determine_content_length(params.get("body")) or 0) > _UNASKED_BYTES:
        add_expect_header(model, params)


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
