"""Object storage behind one small class; every fault of boto3 comes out as a BlobError (see `blob_faults`)."""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError
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
from nst_core.storage.faults import Fault, code_of, fault_of, translated
from nst_core.storage.listing import Listings

#: The longest line that `BlobStore.lines` gives.
MAX_LINE_BYTES = 64 * 1024
_PART_BYTES = 8 * 2**20
#: boto3 otherwise holds ten parts at once, one in each of its threads.
_ONE_PART_AT_ONCE = TransferConfig(multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, use_threads=False)
_PIECE_BYTES = 1 << 20
#: boto3 tries a request again, but not a download that breaks off.
_DOWNLOADS = 3
#: Servers that keep objects as files take no longer part of a key.
_MAX_PART_BYTES = 255


@dataclass(frozen=True)
class BlobUri:
    """The address of an object: s3://bucket/key."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> "BlobUri":
        """Return the address in `text`; raise ConfigError if it is none. The key may be empty (a whole bucket)."""
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
        self._listings = Listings(self._client)

    def get(
        self, uri: BlobUri, *, max_bytes: int | None = None, on_size: Callable[[int], object] | None = None
    ) -> bytes:
        """Return an object's bytes; raise BlobTooLargeError before reading more than `max_bytes`.

        `on_size` is told the number of bytes before they are read, and may wait until there is room for them.
        """
        for tries_left in reversed(range(_DOWNLOADS)):
            answer = self._open(uri)
            try:
                return _whole(uri, answer, max_bytes, on_size)
            except BlobUnavailableError:
                if not tries_left:
                    raise
        raise AssertionError  # the last try returns or raises

    def stream(self, uri: BlobUri, *, nbytes: int | None = None) -> Iterator[bytes]:
        """Return an object's bytes piece by piece; raises at once if there is no such object.

        Given the size that it must have, raises BlobReplacedError if it has another: at once if the storage says so,
        else when the bytes turn out to be too many or too few.
        """
        answer = self._open(uri)
        size = _size_of(answer)
        if nbytes is not None and size is not None and size != nbytes:
            answer["Body"].close()
            raise BlobReplacedError(f"{uri} has {size:,} bytes, not the {nbytes:,} that it had.")
        pieces = _pieces(uri, answer)
        return pieces if nbytes is None or size is not None else _exactly(nbytes, pieces, uri)

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

    def stream_from(self, uri: BlobUri, *, start: int = 0, tag: str | None = None) -> tuple[str, Iterator[bytes]]:
        """Return what the storage calls an object's content (its ETag), and its bytes as stored from `start` on.

        There are none from its end on. Given the tag that it must have, raises BlobReplacedError if it has another.
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
        # Some servers send all of it in any case; others send a part and the status for all.
        return found, _from(uri, answer["Body"], 0 if "ContentRange" in answer else start)

    def put(self, uri: BlobUri, data: bytes, *, content_type: str = "application/octet-stream") -> None:
        """Write an object whole."""
        with self._writing(uri):
            self._client.put_object(Bucket=uri.bucket, Key=uri.key, Body=data, ContentType=content_type)

    def put_if(self, uri: BlobUri, data: bytes, *, tag: str | None, content_type: str) -> None:
        """Write an object whole if it still has a tag (see `tag`), or, if `tag` is None, if no object has that key.

        Raises BlobConflictError otherwise. Servers that know no conditional writes write it in any case; `fences`
        finds out which those are.
        """
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        with self._writing(uri):
            self._client.put_object(Bucket=uri.bucket, Key=uri.key, Body=data, ContentType=content_type, **condition)

    def put_file(self, uri: BlobUri, file: IO[bytes], *, content_type: str = "application/octet-stream") -> None:
        """Write an object from an open file, in parts of 8 MiB if it is large, of which one is in memory."""
        with self._writing(uri):
            self._client.upload_fileobj(
                file, uri.bucket, uri.key, ExtraArgs={"ContentType": content_type}, Config=_ONE_PART_AT_ONCE
            )

    def delete(self, uri: BlobUri) -> None:
        """Remove an object; nothing happens if there is none."""
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

    def size(self, uri: BlobUri) -> int | None:
        """Return how many bytes an object has; None if there is no such object, or the storage does not say."""
        try:
            with translated(uri):
                size: int | None = self._client.head_object(Bucket=uri.bucket, Key=uri.key).get("ContentLength")
        except BlobNotFoundError:
            return None
        return size

    def tag(self, uri: BlobUri) -> str | None:
        """Return what the storage calls an object's present content (its ETag); None if it does not say."""
        with translated(uri):
            tag: str | None = self._client.head_object(Bucket=uri.bucket, Key=uri.key).get("ETag")
        return tag

    def list_keys(self, prefix: BlobUri, *, after: str = "", limit: int = 1000) -> list[str]:
        """Return up to `limit` (1 to 1000) keys under a prefix in order, after the key `after`; none at the end."""
        return list(self.list_tags(prefix, after=after, limit=limit))

    def list_tags(self, prefix: BlobUri, *, after: str = "", limit: int = 1000) -> dict[str, str]:
        """Return keys as `list_keys` does, each with what the storage calls its present content (its ETag)."""
        return {key: each.tag for key, each in self._listings.list_objects(prefix, after=after, limit=limit).items()}

    def list_sizes(self, prefix: BlobUri, *, after: str = "", limit: int = 1000) -> dict[str, int]:
        """Return up to `limit` (1 to 1000) keys under a prefix in order, after the key `after`, with sizes in bytes."""
        return {key: each.bytes for key, each in self._listings.list_objects(prefix, after=after, limit=limit).items()}

    def ping(self) -> None:
        """Raise a BlobError unless the storage answers for the bucket."""
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

    @contextmanager
    def _writing(self, uri: BlobUri) -> Iterator[None]:
        """Turn faults of a write into BlobErrors, and say why if it can never go well."""
        try:
            with translated(uri):
                yield
        except BlobUnavailableError as error:
            cause = error.__cause__
            internal = isinstance(cause, ClientError) and code_of(cause).startswith("Internal")
            if internal and (obstacle := self._obstacle(uri)):
                raise BlobInvalidError(f"The storage cannot have {uri}: {obstacle}.") from error
            raise

    def _obstacle(self, uri: BlobUri) -> str:
        """Return why a server that keeps objects as files cannot have one of this key; empty if it can.

        Such servers, rclone among them, answer with an internal error and no reason.
        """
        parts = uri.key.split("/")
        if any(len(part.encode(errors="replace")) > _MAX_PART_BYTES for part in parts):
            return f"a part of its key has more than {_MAX_PART_BYTES} bytes"
        try:
            for count in range(1, len(parts)):
                above = BlobUri(uri.bucket, "/".join(parts[:count]))
                if above.key and self.exists(above):
                    return f"{above} is an object, and cannot be a folder too"
            # rclone lists a folder as an object after a try to write one in its place.
            ghost = uri.key in self.list_keys(uri, limit=1) and not self.exists(uri)
            if ghost or self.list_keys(BlobUri(uri.bucket, uri.key + "/"), limit=1):
                return "there is a folder of that name"
        except BlobError:
            pass  # the first error says enough
        return ""


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


def _size_of(answer: Any) -> int | None:
    """Return how many bytes an answer's object has; None if the server does not say, or sends them compressed."""
    size = answer.get("ContentLength")
    return None if size is None or _is_zipped(answer) else int(size)


def _is_zipped(answer: Any) -> bool:
    return "gzip" in str(answer.get("ContentEncoding", "")).replace(" ", "").split(",")


def _whole(uri: BlobUri, answer: Any, max_bytes: int | None, on_size: Callable[[int], object] | None) -> bytes:
    size, body = _size_of(answer), answer["Body"]
    if max_bytes is not None and size is not None and size > max_bytes:
        body.close()
        raise BlobTooLargeError(f"{uri} has {size:,} bytes; the limit is {max_bytes:,}.")
    # Some servers do not say how large an object is: as large as it may be, then.
    expected = max_bytes if size is None else size
    if on_size is not None and expected is not None:
        on_size(expected)
    if size is not None:
        with translated(uri), body:
            data: bytes = body.read()
            return data
    read = bytearray()
    for piece in _pieces(uri, answer):
        read += piece
        if max_bytes is not None and len(read) > max_bytes:
            raise BlobTooLargeError(f"{uri} has more than {max_bytes:,} bytes, which is the limit.")
    return bytes(read)


def _pieces(uri: BlobUri, answer: Any) -> Iterator[bytes]:
    """Yield an object's bytes as they come, of about 1 MiB each."""
    with translated(uri), answer["Body"]:
        pieces = answer["Body"].iter_chunks(_PIECE_BYTES)
        yield from _unzipped(uri, pieces) if _is_zipped(answer) else pieces


def _unzipped(uri: BlobUri, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what was compressed for its transport or in the storage; unchanged if it only says so."""
    unzip, first = zlib.decompressobj(wbits=31), next(pieces, b"")
    if not first.startswith(b"\x1f\x8b"):
        yield first
        yield from pieces
        return
    piece: bytes | None = first
    try:
        while piece is not None and not unzip.eof:
            yield unzip.decompress(piece, _PIECE_BYTES)
            piece = unzip.unconsumed_tail or next(pieces, None)
    except zlib.error as error:
        raise BlobInvalidError(f"{uri} is said to be compressed, and cannot be read so.") from error
    if not unzip.eof:
        raise BlobUnavailableError(f"The storage sent only the beginning of {uri}.")


def _exactly(nbytes: int, pieces: Iterator[bytes], uri: BlobUri) -> Iterator[bytes]:
    count = 0
    for piece in pieces:
        count += len(piece)
        if count > nbytes:
            break
        yield piece
    if count != nbytes:
        raise BlobReplacedError(f"{uri} does not have the {nbytes:,} bytes that it had.")


def _from(uri: BlobUri, body: Any, skip: int) -> Iterator[bytes]:
    """Yield what a body has after its first `skip` bytes."""
    with translated(uri), body:
        for piece in body.iter_chunks(1 << 20):
            if len(piece) > skip:
                yield piece[skip:]
            skip = max(0, skip - len(piece))


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
