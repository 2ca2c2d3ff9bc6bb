"""Weights that clients bring: checked and kept under their version, with nothing loaded and without torch."""

import hashlib
import json
import tempfile
from dataclasses import dataclass
from typing import IO, Any

from nst_core.errors import ConfigError
from nst_core.nets.costs import FLOAT_BYTES, stylize_bytes, weights_bytes
from nst_core.nets.safetensors_header import MAX_HEADER_BYTES
from nst_core.nets.transformer_config import TransformerConfig
from nst_core.nets.weights_header import read_config
from nst_core.protocol.segments import StoredFile
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.domain import addresses
from scheduler.domain.errors import RequestInvalidError, TooLargeError
from scheduler.domain.looks import look_of

#: The largest weights file of a style: that of a network four times as wide as usual, in float32, has 107 MB.
MAX_WEIGHTS_BYTES = 128 * 2**20
#: The most memory of a worker that a style may need for a photo of 512 x 512 pixels.
MAX_STYLIZE_BYTES, LEAST_PHOTO_PIXELS = 4 * 2**30, 2**18
#: Trainings write weights as float16.
TRAINED_NUMBER_BYTES = 2
MAX_CARD_BYTES = 64 * 2**10
#: Of objects and lists in each other; what writes answers stops at some 250.
MAX_CARD_DEPTH = 20
_IN_MEMORY_BYTES = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class KeptWeights:
    """A weights file in its place among the styles."""

    sha256: str
    uri: BlobUri
    config: TransformerConfig

    @property
    def file(self) -> StoredFile:
        """The file, as messages name it."""
        return StoredFile(uri=str(self.uri), sha256=self.sha256)


def keep_weights(
    blobs: BlobStore, source: BlobUri, *, index: int = 0, max_bytes: int = MAX_WEIGHTS_BYTES
) -> KeptWeights:
    """Copy a weights file to its place among the styles, and return what it is there.

    Raises WeightsError if it is not a weights file of a transformer network, RequestInvalidError if that has no style
    of the index, TooLargeError above `max_bytes`, and BlobError if it cannot be read. A second call changes nothing.
    """
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
        digest = _fetch(blobs, source, file, max_bytes=max_bytes)
        config = read_config(file, name=str(source))
        check_memory(config)
        if index >= config.styles:
            message = f"The network has {config.styles} styles, from 0 to {config.styles - 1}, and none is {index}."
            raise RequestInvalidError(message, pointer="/index")
        place = weights_uri(blobs, digest)
        if not blobs.exists(place):
            file.seek(0)
            blobs.put_file(place, file)
    return KeptWeights(sha256=digest, uri=place, config=config)


def put_weights(blobs: BlobStore, data: bytes) -> KeptWeights:
    """Put a weights file of the package into its place among the styles, and return what it is there."""
    digest = hashlib.sha256(data).hexdigest()
    place = weights_uri(blobs, digest)
    if not blobs.exists(place):
        blobs.put(place, data)
    return KeptWeights(sha256=digest, uri=place, config=read_config(data))


def check_trained(config: TransformerConfig, *, pointer: str) -> None:
    """Raise RequestInvalidError for a network that could be trained, and then not kept as a style."""
    needed = TRAINED_NUMBER_BYTES * weights_bytes(config) // FLOAT_BYTES
    if needed > MAX_WEIGHTS_BYTES - MAX_HEADER_BYTES:
        raise RequestInvalidError(
            f"The network has a width of {config.width} and {config.blocks} blocks, and its weights have "
            f"{needed / 2**20:,.0f} MiB; a style may have {MAX_WEIGHTS_BYTES / 2**20:.0f} MiB.",
            pointer=pointer,
        )
    check_memory(config, pointer=pointer)


def check_memory(config: TransformerConfig, *, pointer: str = "/weights") -> None:
    """Raise RequestInvalidError for a network that takes too much memory even for a photo of moderate size."""
    needed = stylize_bytes(config, LEAST_PHOTO_PIXELS)
    if needed > MAX_STYLIZE_BYTES:
        raise RequestInvalidError(
            f"The network has a width of {config.width} and {config.blocks} blocks, and takes {needed / 2**30:.1f} GiB "
            f"of memory for {LEAST_PHOTO_PIXELS:,} pixels; {MAX_STYLIZE_BYTES / 2**30:.0f} GiB are the most.",
            pointer=pointer,
        )


def weights_uri(blobs: BlobStore, file_sha256: str) -> BlobUri:
    """Return where a weights file is, by its SHA-256, which is the version of its first style."""
    return BlobUri(blobs.bucket, f"styles/{file_sha256}.safetensors")


def check_card(card: dict[str, Any], *, pointer: str = "/card", max_bytes: int = MAX_CARD_BYTES) -> None:
    """Raise RequestInvalidError unless a card can be stored and shown again."""
    if _is_deeper(card, MAX_CARD_DEPTH):
        raise RequestInvalidError(f"A card may have at most {MAX_CARD_DEPTH} levels.", pointer=pointer)
    try:
        text = json.dumps(card, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise RequestInvalidError("The card has a number that is not valid in JSON.", pointer=pointer) from error
    # PostgreSQL takes no NUL character, which JSON writes as an escape.
    if not addresses.storable(text) or "\\u0000" in text:
        raise RequestInvalidError("The card has characters that cannot be stored.", pointer=pointer)
    if len(text.encode()) > max_bytes:
        raise RequestInvalidError(f"A card may have at most {max_bytes:,} bytes.", pointer=pointer)
    try:
        look_of(card)
    except ConfigError as error:
        raise RequestInvalidError(error.message, pointer=f"{pointer}/look") from error


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inner)


def _fetch(blobs: BlobStore, source: BlobUri, file: IO[bytes], *, max_bytes: int) -> str:
    """Copy an object into a file, piece by piece, and return the SHA-256 of it."""
    digest, size = hashlib.sha256(), 0
    for piece in blobs.stream(source):
        size += len(piece)
        if size > max_bytes:
            raise TooLargeError(f"The weights file of a style may have at most {max_bytes:,} bytes.")
        digest.update(piece)
        file.write(piece)
    return digest.hexdigest()
